"""Print how often people agreed with the models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from batchpipe.commands.printing.text import count, share, table
from batchpipe.engine.gold.agreement import Agreed, Agreement

WORDS = {"ladder": "the ladder was not sure", "where": "[review] where", "sample": "the sample"}


def agreement_line(found: Agreed) -> str:
    """Return the agreement in one line: `14 of 17 answers, 82.4% (95% interval 59.0% to 93.8%)`."""
    interval = found.interval
    if interval is None:
        return "no answer was reviewed yet"
    low, high = (share(each, 1) for each in interval)
    answers = count(found.n, "answer")
    return f"{count(found.agreed)} of {answers}, {share(found.agreed, found.n)} (95% interval {low} to {high})"


def agreement_text(pipeline: str, found: Agreement, terminal: bool) -> str:
    """Return the agreement about a pipeline's answers: in total, by reason, by field, by person."""
    head = f"{pipeline}\n  people agreed with {agreement_line(found.total)}"
    if not found.total.n:
        return f"{pipeline}\n  {agreement_line(found.total)}"
    rows = [
        *(("here because of", WORDS.get(each.name, each.name), each) for each in found.chosen),
        *(("field", each.name, each) for each in found.fields),
        *(("reviewed by", each.name, each) for each in found.people),
    ]
    cells = [
        (kind, name, count(each.n), count(each.agreed), share(each.agreed, each.n), *_ends(each))
        for kind, name, each in rows
    ]
    header = ("of", "", "n", "agreed", "share", "95% from", "to")
    note = "  Only the sample represents all rows; the others were shown because they were doubtful."
    parts = [head, table(header, cells, terminal=terminal, right=(2, 3, 4, 5, 6))]
    return "\n".join([*parts, note] if any(each.name == "sample" for each in found.chosen) else parts)


def agreement_object(found: Agreement) -> dict[str, Any]:
    """Return the agreement for `--json`."""
    return {
        **_object(found.total),
        "chosen": _by_name(found.chosen),
        "fields": _by_name(found.fields),
        "people": _by_name(found.people),
    }


def _by_name(found: Sequence[Agreed]) -> dict[str, Any]:
    return {each.name: _object(each) for each in found}


def _object(found: Agreed) -> dict[str, Any]:
    interval = found.interval
    return {
        "n": found.n,
        "agreed": found.agreed,
        "agreement": found.share,
        "ci95": list(interval) if interval is not None else None,
    }


def _ends(found: Agreed) -> tuple[str, str]:
    low, high = found.interval or (0.0, 1.0)
    return share(low, 1), share(high, 1)
