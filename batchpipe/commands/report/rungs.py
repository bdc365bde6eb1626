"""Print the quality in a report: tables and sentences on rungs and ladders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from batchpipe.commands.eval.quality import SEVERAL
from batchpipe.commands.printing.gold import MADE_UP, judged_notes, reviewed_notes, reviewed_object
from batchpipe.commands.printing.text import count, moment, money, safe, share, table
from batchpipe.commands.report.quality import Evaluated, ReportQuality, RungQuality, SubLadder
from batchpipe.engine.gold.agreement import Agreed


def quality_pairs(found: ReportQuality | None) -> list[tuple[str, str | None]]:
    """Return the lines of the summary: the share of right answers, and the cost of 1,000 right ones."""
    if found is None:
        return []
    if found.right is not None:
        cost = None
        if found.usd_per_1000_correct is not None and found.usd_ends is not None:
            low, high = found.usd_ends
            cost = f"{money(found.usd_per_1000_correct)} ({money(low)} to {money(high) if high else 'any'})"
        return [("right", f"{_share(found.right)} of {_rows(found.right.n)}"), ("per 1,000 right", cost)]
    known = found.evaluated
    if known is None:
        return []
    words = f"{_share(known.right)} of {_rows(known.right.n)} by the evaluation of {known.version}"
    usd = known.usd_per_1000_correct
    return [("right", words), ("per 1,000 right", money(usd) if usd is not None else None)]


def quality_parts(found: ReportQuality | None, again: str, terminal: bool) -> list[str]:
    """Return tables and sentences. `again` is the command that evaluates every model."""
    if found is None:
        return []
    parts = []
    if found.right is not None:
        parts.append(_rungs_table("present answers", found.rungs, terminal))
    known = found.evaluated
    if known is not None and known.choices:
        title = f"ladders, by the evaluation of {known.version} of {moment(known.evaluated_at)}"
        parts.append(_choices_table(title, known, terminal))
        parts += [f"  {safe(each)}" for each in rung_sentences(found, known)]
        if not known.whole:
            parts.append(f"  To compare the other ladders with it: {again}")
    elif found.right is not None and len(found.rungs) > 1:
        parts.append(f"  To see whether each rung is worth its cost: {again}")
    notes = judged_notes(found.judged)
    notes += reviewed_notes(found.reviewed, found.right.n) if found.right is not None else []
    notes += [f"Not compared with gold: {found.problem}"] if found.problem else []
    if found.made_up and found.right is not None:
        notes.append(MADE_UP)
    return [*parts, *(f"  {safe(each)}" for each in notes)]


def rung_sentences(found: ReportQuality, known: Evaluated) -> list[str]:
    """Return sentences on whether each rung is worth its cost, and on the cheapest ladder with errors included."""
    present, cheapest = known.full, known.cheapest
    if present is None:
        return []
    said = [] if known.is_present else ["The ladder has other models now: evaluate it again."]
    for rung, model in zip(present.rungs, present.models, strict=True):
        without = known.without(rung)
        if without is not None:
            said.append(f"Rung {rung}, {model}, {keep(present, without)[1]}.")
    if cheapest is not None and found.error_usd is not None:
        price = f"With {money(found.error_usd)} for a wrong row"
        if cheapest == present:
            said.append(f"{price} the whole ladder is the cheapest: {_total(present)} per 1,000 rows, errors included.")
        else:
            why = ""
            if min(cheapest.rungs) > min(present.rungs):
                why = " Correcting errors costs more than the lower rungs save: move up."
            said.append(
                f"{price} the cheapest ladder is {SEVERAL.join(cheapest.models)}: {_total(cheapest)} per 1,000 rows, "
                f"errors included, against {_total(present)} of the whole one.{why}"
            )
    return said


def keep(present: SubLadder, without: SubLadder) -> tuple[bool | None, str]:
    """Return whether a rung is worth its cost, compared with the ladder without it, and why.

    The first value is None where that depends on the cost of a wrong row.
    """
    with_errors, other = present.usd_per_1000_with_errors, without.usd_per_1000_with_errors
    n = present.right.n
    dearer = without.usd_per_1000 - present.usd_per_1000
    fewer = present.right.agreed - without.right.agreed
    change = f"without it 1,000 rows cost {money(abs(dearer))} {'more' if dearer >= 0 else 'less'}"
    rows = f"{count(abs(fewer))} {'fewer' if fewer > 0 else 'more'}" if fewer else "as many"
    change += f", and {rows} of {count(n, 'row')} are right"
    if with_errors is not None and other is not None:
        kept = with_errors <= other
        return kept, f"{'is' if kept else 'is not'} worth its cost: {change}"
    if dearer >= 0 and fewer >= 0:
        return True, f"is worth its cost: {change}"
    if dearer <= 0 and fewer <= 0:
        return False, f"is not worth its cost: {change}"
    limit = money(abs(dearer) * n / (1000 * abs(fewer)))
    return None, f"is worth its cost where a wrong row costs {'more' if fewer > 0 else 'less'} than {limit}: {change}"


def rungs_object(found: ReportQuality | None) -> dict[str, Any] | None:
    """Return the quality for `--json`."""
    if found is None:
        return None
    ends = found.usd_ends
    return {
        "right": _agreed(found.right),
        "gold_from_review": reviewed_object(found.reviewed),
        "usd_per_1000_correct": found.usd_per_1000_correct,
        "usd_per_1000_correct_ci95": list(ends) if ends is not None else None,
        "rungs": [_rung(each) for each in found.rungs],
        "error_usd": found.error_usd,
        "evaluation": _evaluation(found.evaluated) if found.evaluated is not None else None,
        "made_up": found.made_up,
        "problem": found.problem,
    }


def _evaluation(known: Evaluated) -> dict[str, Any]:
    present, cheapest = known.full, known.cheapest
    rungs = []
    for each in known.rungs:
        without = known.without(each.rung)
        kept = keep(present, without)[0] if present is not None and without is not None else None
        rungs.append(_rung(each) | {"earns_its_keep": kept, "without": _choice(without)})
    return {
        "prompt_version": known.version,
        "evaluated_at": known.evaluated_at,
        "is_present": known.is_present,
        "right": _agreed(known.right),
        "usd_per_1000_correct": known.usd_per_1000_correct,
        "rungs": rungs,
        "ladders": [_choice(each) for each in known.choices],
        "cheapest": _choice(cheapest),
    }


def _choice(found: SubLadder | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "rungs": list(found.rungs),
        "models": list(found.models),
        "right": _agreed(found.right),
        "usd_per_1000": found.usd_per_1000,
        "usd_per_1000_correct": found.usd_per_1000_correct,
        "usd_per_1000_with_errors": found.usd_per_1000_with_errors,
    }


def _rung(found: RungQuality) -> dict[str, Any]:
    return {
        "rung": found.rung,
        "model": found.model,
        "rows": found.rows,
        "right": _agreed(found.right),
        "cost_usd": found.cost_usd,
    }


def _agreed(found: Agreed | None) -> dict[str, Any] | None:
    if found is None:
        return None
    ends = list(found.interval) if found.interval is not None else None
    return {"n": found.n, "right": found.agreed, "accuracy": found.share, "ci95": ends}


def _rungs_table(title: str, rungs: Sequence[RungQuality], terminal: bool) -> str:
    cells = [
        (f"{each.rung} {each.model}", count(each.rows), count(each.right.n), _share(each.right), money(each.cost_usd))
        for each in rungs
    ]
    return table((title, "rows", "with gold", "right", "cost"), cells, terminal=terminal, right=(1, 2, 4))


def _choices_table(title: str, known: Evaluated, terminal: bool) -> str:
    priced = any(each.usd_per_1000_with_errors is not None for each in known.choices)
    header = [title, "n", "right", "per 1,000", "per 1,000 right", *(["with errors"] if priced else [])]
    cells = [
        [
            SEVERAL.join(each.models),
            count(each.right.n),
            _share(each.right),
            money(each.usd_per_1000),
            money(each.usd_per_1000_correct) if each.usd_per_1000_correct is not None else None,
            *([_total(each)] if priced else []),
        ]
        for each in known.choices
    ]
    return table(header, cells, terminal=terminal, right=(1, *range(3, len(header))))


def _total(found: SubLadder) -> str:
    return money(found.usd_per_1000_with_errors)


def _rows(n: int) -> str:
    return count(n, "gold row")


def _share(found: Agreed) -> str:
    if found.interval is None:
        return ""
    low, high = (share(each, 1) for each in found.interval)
    return f"{share(found.agreed, found.n)} ({low} to {high})"
