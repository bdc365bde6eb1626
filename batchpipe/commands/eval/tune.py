"""Run `eval --tune`: thresholds that reach a target, the lines to paste, and the curve of cost and accuracy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from batchpipe.charts.tuning_curve import tuning_curve
from batchpipe.commands.call.call import Call
from batchpipe.commands.call.options import EvalRequest
from batchpipe.commands.eval.quality import Outcome
from batchpipe.commands.eval.report import interval
from batchpipe.commands.printing.text import count, money, table
from batchpipe.common.errors import BatchpipeError, UsageError
from batchpipe.engine.context import Context
from batchpipe.engine.run.options import RunOptions
from batchpipe.engine.run.preview import preview
from batchpipe.evaluation.ladder_cost import Answer, Ladder, LadderResult, Row
from batchpipe.evaluation.sequence import tune_by_all
from batchpipe.evaluation.tuning import RISK, Tuning, accept_condition, tune_by_half
from batchpipe.pipeline.model import PipelineFile

DEFAULT_TARGET = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """A tuned ladder of `file`. `accepts` has the condition of each rung that is used, None for a rung that accepts
    all.

    `redo_usd` is the cost of `run --redo accept` with this ladder; None where it cannot be known here.
    """

    file: PipelineFile
    tuning: Tuning
    accepts: Mapping[int, str | None]
    redo_usd: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What is to be promised: that the share `target` is right, of rows to come or of the held-out half.

    `risk`: the greatest chance that a promise is given and does not hold.
    """

    target: float
    risk: float
    held_out: bool


def promise_of(request: EvalRequest) -> Promise:
    """Return what the options ask to promise."""
    return Promise(
        target=DEFAULT_TARGET if request.target is None else request.target,
        risk=RISK if request.risk is None else request.risk,
        held_out=request.held_out,
    )


def tune_ladder(
    context: Context,
    file: PipelineFile,
    params: Mapping[str, Any],
    by_rung: Mapping[int, Sequence[Outcome]],
    right: Mapping[int, Mapping[str, bool]],
    masks: Mapping[str, int],
    wanted: Promise,
) -> Tuned:
    """Find the thresholds for the ladder from what each rung answered; `right` says which answers are right.

    Raises UsageError where a price or every confidence is missing.
    """
    confidence = file.pipeline.eval.confidence if file.pipeline.eval else "confidence"
    answers = {number: {each.key: each for each in outcomes} for number, outcomes in by_rung.items()}
    if any(each.unpriced for outcomes in by_rung.values() for each in outcomes):
        hint = 'Give its price in a file: prices = "prices.toml" under [tool.batchpipe].'
        raise UsageError("no price is known for a model of the ladder", where="--tune", hint=hint)
    if all(each.confidence is None for outcomes in by_rung.values() for each in outcomes):
        hint = 'Name the field or an SQL expression: confidence = "..." under [eval].'
        raise UsageError(f"no answer has a {confidence}", where=file.where("[eval] confidence"), hint=hint)
    keys = list(masks)
    rows: list[Row] = [
        [
            _answer(answers[number].get(key), right.get(number, {}).get(key, False), masks[key], number)
            for number in sorted(answers)
        ]
        for key in keys
    ]
    if wanted.held_out:
        tuning = tune_by_half(rows, keys, target=wanted.target, risk=wanted.risk)
    else:
        tuning = tune_by_all(rows, target=wanted.target, risk=wanted.risk)
    accepts = _accepts(tuning.ladder, confidence)
    return Tuned(file=file, tuning=tuning, accepts=accepts, redo_usd=_redo_usd(context, file, params, accepts))


def _answer(given: Outcome | None, correct: bool, mask: int, number: int) -> Answer | None:
    if not mask >> (number - 1) & 1:
        return None
    if given is None:
        return Answer(valid=False, correct=False, confidence=None, cost_usd=Decimal(0))
    return Answer(valid=given.answer is not None, correct=correct, confidence=given.confidence, cost_usd=given.cost_usd)


def _accepts(ladder: Ladder, confidence: str) -> dict[int, str | None]:
    return {
        rung: None if threshold is None else accept_condition(threshold, confidence)
        for rung, threshold in zip(ladder.rungs, ladder.accepts, strict=True)
    }


def _redo_usd(
    context: Context, file: PipelineFile, params: Mapping[str, Any], accepts: Mapping[int, str | None]
) -> Decimal | None:
    """Return what the answered rows would cost under the tuned ladder; None where the input cannot be read."""
    models = tuple(
        rung.model_copy(update={"accept": accepts[number]})
        for number, rung in enumerate(file.pipeline.models, start=1)
        if number in accepts
    )
    tuned = file.model_copy(update={"pipeline": file.pipeline.model_copy(update={"models": models})})
    try:
        return preview(context, tuned, RunOptions(params=params, redo="accept")).plan.estimate.cost_usd
    except BatchpipeError:
        return None


def tuned_object(found: Tuned) -> dict[str, Any]:
    """Return what `--json` adds for `--tune`."""
    held, models = found.tuning.measured, found.file.pipeline.models
    return {
        "tuned": [
            {"rung": rung, "model": models[rung - 1].model, "accept": accept} for rung, accept in found.accepts.items()
        ],
        "expected": {
            "accuracy": held.accuracy.value,
            "ci95": [held.accuracy.low, held.accuracy.high],
            "usd_per_1000": held.usd_per_1000,
        },
        "promise": {
            "of": "held_out" if found.tuning.held_out else "rows_to_come",
            "target": found.tuning.target,
            "risk": found.tuning.risk,
            "given": found.tuning.reached,
            "accuracy": found.tuning.promised,
            "gold_rows_needed": found.tuning.labels,
        },
    }


def tuned_text(found: Tuned, call: Call) -> str:
    """Return the ladder, its quality, what is promised, the lines to paste, and the curve."""
    tuning, name = found.tuning, found.file.pipeline.name
    target = f"{tuning.target:.1%}"
    title = (
        f"Tuned for {target}" if tuning.reached else f"No ladder can be promised to reach {target}; the best there is"
    )
    held = tuning.measured
    expected = (
        f"On the {count(held.accuracy.n)} {'rows that did not choose it' if tuning.held_out else 'gold rows'}: "
        f"{interval(held.accuracy)} right, {_costs(held)}"
    )
    where = "on the other half" if tuning.held_out else "on all gold rows"
    lines = [*_singles(found), ["ladder", interval(held.accuracy), *_prices(held)]]
    header = (where, "right", "per 1,000", "per 1,000 right")
    apply = call.suggest(f"run {name} --redo accept")
    redo = (
        f"about {money(found.redo_usd)}" if found.redo_usd is not None else call.suggest(f"plan {name} --redo accept")
    )
    parts = [
        f"{title}\n{expected}",
        table(header, lines, terminal=call.terminal, right=(2, 3)),
        tuning.guarantee,
        f"To paste:\n\n{tuned_toml(found)}",
        f"It is applied to rows already answered by: {apply}\nIts cost: {redo}",
        f"Cost against accuracy, {where}\n"
        + table(
            ("accept", "right", "per 1,000", "per 1,000 right"),
            [
                [_shown(each.measured.ladder), interval(each.measured.accuracy), *_prices(each.measured)]
                for each in tuning.curve
            ],
            terminal=call.terminal,
            right=(2, 3),
        ),
    ]
    return "\n\n".join(parts)


def tuned_toml(found: Tuned) -> str:
    """Return the rungs as they stand in the file, with their new `accept`."""
    parts = []
    for number, rung in enumerate(found.file.pipeline.models, start=1):
        accept = found.accepts.get(number)
        lines = [f"model = {json.dumps(rung.model)}"]
        if accept is not None:
            lines.append(f"accept = {json.dumps(accept)}")
        if number in found.accepts:
            parts.append("\n".join(["[[models]]", *lines]))
        else:
            parts.append(f"# leave out: {lines[0]}")
    return "\n\n".join(parts)


def write_plot(found: Tuned, path: Path) -> None:
    """Write the curve as an SVG file.

    Raises UsageError where the file cannot be written.
    """
    models = [each.model for each in found.file.pipeline.models]
    try:
        path.write_text(tuning_curve(found.tuning, models, found.file.pipeline.name).file, encoding="utf-8")
    except OSError as error:
        what = f"the picture cannot be written: {error.strerror}"
        raise UsageError(what, where=str(path), hint="Choose another file: --plot out.svg") from error


def _singles(found: Tuned) -> list[list[object]]:
    models = found.file.pipeline.models
    return [
        [models[each.ladder.rungs[0] - 1].model, interval(each.accuracy), *_prices(each)]
        for each in found.tuning.singles
    ]


def _prices(measured: LadderResult) -> list[object]:
    correct = measured.usd_per_1000_correct
    return [money(measured.usd_per_1000), money(correct) if correct is not None else None]


def _costs(measured: LadderResult) -> str:
    correct = measured.usd_per_1000_correct
    right = f", {money(correct)} per 1,000 right ones" if correct is not None else ""
    return f"{money(measured.usd_per_1000)} per 1,000 rows{right}"


def _shown(ladder: Ladder) -> str:
    steps = zip(ladder.rungs, ladder.accepts, strict=True)
    return ", ".join(f"{rung}" if accept is None else f"{rung} from {accept:g}" for rung, accept in steps)
