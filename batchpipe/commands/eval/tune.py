"""Run `eval --tune`: thresholds that reach a target, the lines to paste, and the curve of cost and accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from batchpipe.charts.tuning_curve import tuning_curve
from batchpipe.commands.call.call import Call
from batchpipe.commands.call.options import EvalRequest
from batchpipe.commands.eval.person import Person, person_object, person_text, rung_names
from batchpipe.commands.eval.quality import Outcome
from batchpipe.commands.eval.report import share_with_interval
from batchpipe.commands.eval.to_paste import rungs_toml
from batchpipe.commands.eval.value_claims import has_values, ladder_accepts, promised_values
from batchpipe.commands.printing.text import count, money, table
from batchpipe.common.durable import written_whole
from batchpipe.common.errors import BatchpipeError, UsageError
from batchpipe.engine.context import Context
from batchpipe.engine.run.options import RunOptions
from batchpipe.engine.run.preview import preview
from batchpipe.evaluation.claims import Claim, ClaimResult
from batchpipe.evaluation.field_comparison import class_name
from batchpipe.evaluation.guarantee import guarantee
from batchpipe.evaluation.ladder_cost import FinalAnswer, LadderResult, Row, ThresholdLadder
from batchpipe.evaluation.sequence import tune_by_all
from batchpipe.evaluation.tuning import RISK, Tuning, tune_by_half
from batchpipe.pipeline.model import PipelineFile
from batchpipe.pipeline.sending import CONFIDENCE_COLUMN, LOCAL
from batchpipe.project.settings_place import price_hint
from batchpipe.schema.columns import Column

DEFAULT_TARGET = 0.9
RIGHT_COLUMNS = ("right", "per 1,000", "per 1,000 right")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """A tuned ladder of `file`. `accepts` has the condition of each rung that is used, None for a rung that accepts
    all, by its place among `names`. `left_out` gold rows were reviewed because they looked doubtful, and promise
    nothing. `local`: the first of the rungs is the local one, which has the number 0.

    `redo_usd` is the cost of `run --redo accept` with this ladder; None where it cannot be known here.
    """

    file: PipelineFile
    tuning: Tuning
    left_out: int
    accepts: Mapping[int, str | None]
    redo_usd: Decimal | None
    top: str | None = None
    person: Person | None = None
    local: bool = False

    @property
    def names(self) -> list[str]:
        """Return the names of the rungs: the local model where it is tuned too, the models, and the person."""
        return [
            *([LOCAL] if self.local else []),
            *rung_names([each.name for each in self.file.pipeline.models], self.person),
        ]

    @property
    def queue(self) -> tuple[float, dict[str, str | None]] | None:
        """Return the promised target, with the condition of each model under which no person sees its answer; None
        without a person or a promise.
        """
        target = self.tuning.target
        if self.person is None or not self.tuning.reached or target is None:
            return None
        return target, {self.names[rung - 1]: accept for rung, accept in self.accepts.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedPromise:
    """What is to be promised: that the share `target` is right, of rows to come or of the held-out half, and `claims`
    about values.

    `target` is None where only values are promised. `risk`: the greatest chance that a promise is given and does not
    hold. `top` is the model that the ladder is to agree with, None where it is to be right.
    """

    target: float | None
    risk: float
    held_out: bool
    claims: tuple[Claim, ...] = ()
    top: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownGold:
    """What is known of the gold rows: the answers of each rung, which of them are right, the rungs that a row may use,
    and the true values. `picked` are the rows that promise nothing. `person` is the last rung, None without one.
    """

    by_rung: Mapping[int, Sequence[Outcome]]
    right: Mapping[int, Mapping[str, bool]]
    masks: Mapping[str, int]
    truths: Mapping[str, Mapping[str, Any]]
    picked: frozenset[str]
    columns: Sequence[Column]
    person: Person | None = None


def promise_of(request: EvalRequest, claims: tuple[Claim, ...] = ()) -> WantedPromise:
    """Return what the options ask to promise: without `--target` the default accuracy, or the claims about values
    alone.
    """
    target = request.target
    if target is None and not claims:
        target = DEFAULT_TARGET
    return WantedPromise(
        target=target,
        risk=RISK if request.risk is None else request.risk,
        held_out=request.held_out,
        claims=claims,
        top=request.as_good_as,
    )


def tune_ladder(
    context: Context, file: PipelineFile, params: Mapping[str, Any], known: KnownGold, wanted: WantedPromise
) -> Tuned:
    """Find the thresholds for the ladder from what each rung answered, and what they would cost the answered rows.

    Raises UsageError where a price or every confidence is missing.
    """
    found = tune_rows(file, known, wanted)
    return replace(found, redo_usd=_redo_usd(context, params, found))


def tune_rows(file: PipelineFile, known: KnownGold, wanted: WantedPromise) -> Tuned:
    """Find the thresholds for the ladder from what each rung answered.

    Raises UsageError where a price or every confidence is missing.
    """
    confidence = file.pipeline.eval.confidence if file.pipeline.eval else "confidence"
    local = [CONFIDENCE_COLUMN] if 0 in known.by_rung else []
    sure_by = [*local, *("_agreement" if each.votes else confidence for each in file.pipeline.models)]
    answers = {number: {each.key: each for each in outcomes} for number, outcomes in known.by_rung.items()}
    if any(each.unpriced for outcomes in known.by_rung.values() for each in outcomes):
        raise UsageError("no price is known for a model of the ladder", where="--tune", hint=price_hint())
    if all(each.confidence is None for outcomes in known.by_rung.values() for each in outcomes):
        hint = 'Name the field or an SQL expression: confidence = "..." under [eval].'
        raise UsageError(f"no answer has a {confidence}", where=file.where("[eval] confidence"), hint=hint)
    keys = [key for key in known.masks if key not in known.picked]
    rows: list[Row] = [
        [
            _answer(
                answers[number].get(key),
                known.right.get(number, {}).get(key, False),
                known.masks[key],
                number,
                wanted.claims,
            )
            for number in sorted(answers)
        ]
        + ([known.person.answer(key, _true_values(wanted.claims, known.truths[key]))] if known.person else [])
        for key in keys
    ]
    if wanted.held_out:
        assert wanted.target is not None
        tuning = tune_by_half(rows, keys, target=wanted.target, risk=wanted.risk)
    else:
        values = promised_values(wanted.claims, keys, known.truths)
        tuning = tune_by_all(rows, target=wanted.target, risk=wanted.risk, values=values)
        if wanted.top is not None:
            words = guarantee(len(rows), tuning.claims, wanted.risk, tuning.labels, wanted.top)
            tuning = replace(tuning, guarantee=words)
    accepts = ladder_accepts(tuning.ladder, wanted.claims, sure_by, known.columns)
    left_out = len(known.masks) - len(keys)
    return Tuned(
        file=file,
        tuning=tuning,
        left_out=left_out,
        accepts={rung: accept for rung, accept in accepts.items() if rung <= len(answers)},
        redo_usd=None,
        top=wanted.top,
        person=known.person,
        local=bool(local),
    )


def _true_values(claims: Sequence[Claim], truth: Mapping[str, Any]) -> tuple[bool, ...]:
    return tuple(class_name(truth[each.field]) == each.value for each in claims)


def _answer(
    given: Outcome | None, correct: bool, mask: int, number: int, claims: Sequence[Claim]
) -> FinalAnswer | None:
    if (number and not mask >> (number - 1) & 1) or (not number and given is None):
        return None
    has = has_values(claims, given.answer if given is not None else None)
    if given is None:
        return FinalAnswer(valid=False, correct=False, confidence=None, cost_usd=Decimal(0), has=has)
    return FinalAnswer(
        valid=given.answer is not None,
        correct=correct,
        confidence=given.confidence,
        cost_usd=given.cost_usd,
        has=has,
    )


def _redo_usd(context: Context, params: Mapping[str, Any], found: Tuned) -> Decimal | None:
    """Return what the answered rows would cost under the tuned ladder; None where the input cannot be read."""
    file, accepts, first = found.file, found.accepts, 1 + found.local
    models = tuple(
        rung.model_copy(update={"accept": accepts[place]})
        for place, rung in enumerate(file.pipeline.models, start=first)
        if place in accepts
    )
    local = file.pipeline.local if found.local and models else None
    if local is not None:
        local = local.model_copy(update={"accept": accepts[1] or "true"}) if 1 in accepts else None
    if not models:
        return None  # the local model alone has nothing to learn from
    tuned = file.model_copy(update={"pipeline": file.pipeline.model_copy(update={"models": models, "local": local})})
    try:
        return preview(context, tuned, RunOptions(params=params, redo="accept")).plan.estimate.cost_usd
    except BatchpipeError:
        return None


def tuned_object(found: Tuned) -> dict[str, Any]:
    """Return what `--json` adds for `--tune`."""
    held = found.tuning.measured
    return {
        "tuned": [
            {"rung": place - found.local, "model": found.names[place - 1], "accept": accept}
            for place, accept in found.accepts.items()
        ],
        "expected": {
            "accuracy": held.accuracy.value,
            "ci95": [held.accuracy.low, held.accuracy.high],
            "usd_per_1000": held.usd_per_1000,
        },
        "promise": {
            "of": "held_out" if found.tuning.held_out else "rows_to_come",
            "as_good_as": found.top,
            "target": found.tuning.target,
            "risk": found.tuning.risk,
            "given": found.tuning.reached,
            "accuracy": found.tuning.promised,
            "gold_rows_needed": found.tuning.labels,
        },
        "promises": [_claim_object(each) for each in found.tuning.claims],
        "left_out_of_promise": found.left_out,
        **person_object(found.person, found.tuning, len(found.names)),
    }


def _claim_object(result: ClaimResult) -> dict[str, Any]:
    claim, counted = result.claim, result.counted
    return {
        "of": claim.kind,
        "field": claim.field or None,
        "value": claim.value or None,
        "target": claim.target,
        "given": result.given,
        "n": counted.n if counted is not None else 0,
        "hits": counted.hits if counted is not None else 0,
        "low": result.low,
        "gold_rows_needed": result.gold_rows,
        "gold_rows_missing": result.missing,
    }


def tuned_text(found: Tuned, call: Call) -> str:
    """Return the ladder, its quality, what is promised, the lines to paste, and the curve."""
    tuning, name = found.tuning, found.file.pipeline.name
    target = _target(tuning) + (f" agreement with {found.top}" if found.top else "")
    title = (
        f"Tuned for {target}" if tuning.reached else f"No ladder can be promised to reach {target}; the best there is"
    )
    held = tuning.measured
    rows = "rows that did not choose it" if tuning.held_out else "rows" if found.top else "gold rows"
    right = f"agree with {found.top}" if found.top else "right"
    accuracy = share_with_interval(held.accuracy)
    expected = f"On the {count(held.accuracy.n)} {rows}: {accuracy} {right}, {_costs(held, found.top)}"
    where = "on the other half" if tuning.held_out else "on all rows" if found.top else "on all gold rows"
    lines = [*_singles(found), ["ladder", accuracy, *_prices(held)]]
    header = (
        where,
        "agrees" if found.top else "right",
        "per 1,000",
        f"per 1,000 {'agreeing' if found.top else 'right'}",
    )
    apply = call.suggest(f"run {name} --redo accept")
    redo = (
        f"about {money(found.redo_usd)}" if found.redo_usd is not None else call.suggest(f"plan {name} --redo accept")
    )
    parts = [
        f"{title}\n{expected}",
        table(header, lines, terminal=call.terminal, right=(2, 3)),
        *_claims(found, call),
        tuning.guarantee,
        *([person_text(found.person, tuning, len(found.names))] if found.person is not None else []),
        *_left_out(found),
        f"To paste:\n\n{tuned_toml(found)}",
        f"It is applied to rows already answered by: {apply}\nIts cost: {redo}",
        f"Cost against accuracy, {where}\n"
        + table(
            ("accept", *header[1:]),
            [
                [
                    _shown(each.measured.ladder, found.local),
                    share_with_interval(each.measured.accuracy),
                    *_prices(each.measured),
                ]
                for each in tuning.curve
            ],
            terminal=call.terminal,
            right=(2, 3),
        ),
    ]
    return "\n\n".join(parts)


def _target(tuning: Tuning) -> str:
    parts = [
        f"{each.claim.target:.1%}{f' {each.claim.words}' if each.claim.field else ''}" for each in tuning.claims
    ] or [f"{tuning.target:.1%}"]
    return " and ".join(parts)


def _claims(found: Tuned, call: Call) -> list[str]:
    """Return the table of what is promised, where it is about values; nothing for the accuracy alone."""
    tuning, words = found.tuning, ("of them agreeing", "rows") if found.top else ("of them right", "gold rows")
    if not any(each.claim.field for each in tuning.claims):
        return []
    lines = [
        [
            each.claim.words,
            f"{each.claim.target:.1%}",
            count(each.counted.n) if each.counted is not None else "0",
            share_with_interval(each.counted) if each.counted is not None else None,
            f"{each.low:.1%}",
            count(each.missing) if each.missing is not None else None,
        ]
        for each in tuning.claims
    ]
    header = ("promise", "target", "rows that count", words[0], "at least", f"{words[1]} missing")
    return [table(header, lines, terminal=call.terminal, right=(1, 2, 4, 5))]


def _left_out(found: Tuned) -> list[str]:
    if not found.left_out:
        return []
    why = "were reviewed because they looked doubtful, and promise nothing of other rows"
    return [f"{count(found.left_out, 'gold row')} left out of the promise: they {why}."]


def tuned_toml(found: Tuned) -> str:
    """Return the rungs as they stand in the file, with their new `accept`. With a promise each later version of the
    local model has to keep it.
    """
    tuning = found.tuning
    keeps = tuning.reached and not tuning.held_out and not found.top and found.person is None
    return rungs_toml(found.file.pipeline, found.accepts, found.local, tuning.target if keeps else None)


def write_plot(found: Tuned, path: Path) -> None:
    """Write the curve as an SVG file.

    Raises UsageError where the file cannot be written.
    """
    try:
        with written_whole(path) as beside:
            curve = tuning_curve(found.tuning, found.names, found.file.pipeline.name)
            beside.write_text(curve.file, encoding="utf-8")
    except OSError as error:
        what = f"the picture cannot be written: {error.strerror}"
        raise UsageError(what, where=str(path), hint="Choose another file: --plot out.svg") from error


def _singles(found: Tuned) -> list[list[object]]:
    return [
        [found.names[each.ladder.rungs[0] - 1], share_with_interval(each.accuracy), *_prices(each)]
        for each in found.tuning.singles
    ]


def _prices(measured: LadderResult) -> list[object]:
    correct = measured.usd_per_1000_correct
    return [money(measured.usd_per_1000), money(correct) if correct is not None else None]


def _costs(measured: LadderResult, top: str | None) -> str:
    correct = measured.usd_per_1000_correct
    right = f", {money(correct)} per 1,000 {'agreeing' if top else 'right'} ones" if correct is not None else ""
    return f"{money(measured.usd_per_1000)} per 1,000 rows{right}"


def _shown(ladder: ThresholdLadder, local: bool) -> str:
    steps = zip((place - local for place in ladder.rungs), ladder.accepts, strict=True)
    return ", ".join(f"{rung}" if accept is None else f"{rung} from {accept:g}" for rung, accept in steps)
