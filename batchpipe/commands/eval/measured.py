"""Measure the answers to gold rows that are there already, and make the report. No model is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from batchpipe.commands.call.options import EvalRequest
from batchpipe.commands.eval.agreement import LABELS, agreement_notes
from batchpipe.commands.eval.choices import choices_object
from batchpipe.commands.eval.gate import Bar, Versus, shortfalls, versus
from batchpipe.commands.eval.judges import judge_notes
from batchpipe.commands.eval.person import Person
from batchpipe.commands.eval.quality import SEVERAL, Outcome, Quality, climbed, outcomes_of, quality
from batchpipe.commands.eval.report import EvalReport
from batchpipe.commands.eval.tune import KnownGold, Tuned, promise_of, tune_rows
from batchpipe.commands.printing.gold import reviewed_notes
from batchpipe.commands.printing.text import count
from batchpipe.common.errors import UsageError
from batchpipe.engine.context import Context
from batchpipe.engine.gold.random_rows import picked_keys
from batchpipe.engine.quality.agreement import take_as_true
from batchpipe.engine.quality.evaluate import EvaluatedPrompt, Evaluation
from batchpipe.engine.quality.judges import Judged
from batchpipe.engine.quality.local_line import NAME as LOCAL_NAME
from batchpipe.engine.quality.local_line import NUMBER as LOCAL_NUMBER
from batchpipe.engine.quality.prepare import Wanted, prepare
from batchpipe.engine.resolved.recorded_recipes import under_recorded_recipes
from batchpipe.evaluation.field_comparison import class_name
from batchpipe.evaluation.tuning import check_size
from batchpipe.pipeline.evaluations import EVALUATION, SEPARATOR
from batchpipe.pipeline.model import PipelineFile
from batchpipe.providers import RungSettings
from batchpipe.sql.quoting import quote_list, quote_literal
from batchpipe.store.database import Work
from batchpipe.store.queries import query


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptNumbers:
    """The numbers of one prompt version; `ladder` is None where no row has a final result.

    `choices` are the ladders that leave rungs out, as they are recorded. `unanswered` are the keys of rows that the
    model whose answers count as true did not answer.
    """

    label: str
    models: tuple[Quality, ...]
    ladder: Quality | None
    rows: dict[str, Outcome]
    by_rung: dict[int, list[Outcome]]
    masks: dict[str, int]
    choices: dict[str, Any]
    unanswered: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is known of the quality today: the report of the answers that are there, and the tuned ladder.

    Where there is no `tuned` one, `untuned` says why.
    """

    report: EvalReport
    tuned: Tuned | None
    untuned: str


def read_measured(context: Context, file: PipelineFile) -> Measured:
    """Return the quality of every evaluated model by the answers that are there already. Nothing is sent or recorded.

    Raises PipelineError and InputError where gold cannot be used.
    """
    request = EvalRequest(pipeline=file.pipeline.name)
    with closing(context.work()) as work, context.temporary_folder("eval-") as folder:
        wanted = Wanted(every=True, models=_evaluated_models(context, work, file))
        evaluation = prepare(context, work, file, wanted, folder)
        evaluation.trains = False
        label = _recorded_label(context, evaluation)
        judged = evaluation.judged(evaluation.to_judge())
        found = measure_version(evaluation, evaluation.sides[0], label)
        made_up = context.settings.emulator and context.emulator_answers(file) is None
        report = make_report(file, evaluation, [found], judged, request, [], made_up=made_up)
        known = _answered_by_all(known_gold_rows(evaluation, found, None))
    if not known.masks:
        return Measured(report=report, tuned=None, untuned="no gold row was answered by every rung that it may use")
    try:
        return Measured(report=report, tuned=tune_rows(file, known, promise_of(request)), untuned="")
    except UsageError as error:
        return Measured(report=report, tuned=None, untuned=error.what)


def _answered_by_all(known: KnownGold) -> KnownGold:
    """Return what is known of the rows that have an answer of every rung they may use."""
    answered = {number: {each.key for each in outcomes} for number, outcomes in known.by_rung.items()}
    whole = {
        key: mask
        for key, mask in known.masks.items()
        if all(key in keys for number, keys in answered.items() if number and mask >> (number - 1) & 1)
    }
    return replace(known, masks=whole)


def confusion_counts(report: EvalReport, name: str) -> Mapping[tuple[str, str | None], int]:
    """Return how often the ladder answered what (None: nothing valid) to rows of each true class of a field."""
    return Counter(_confused(each, name) for each in report.ladder_rows.values())


def confused_rows(report: EvalReport, name: str, gold: str, answer: str | None) -> list[Outcome]:
    """Return the rows of the class `gold` of a field to which the ladder answered `answer`."""
    return [each for each in report.ladder_rows.values() if _confused(each, name) == (gold, answer)]


def _confused(found: Outcome, name: str) -> tuple[str, str | None]:
    return class_name(found.gold[name]), None if found.answer is None else class_name(found.answer[name])


def _evaluated_models(context: Context, work: Work, file: PipelineFile) -> list[str]:
    """Return the models, on the ladder or not, that evaluations of the pipeline asked.

    Reads `ledger.batches`.
    """
    prefix = f"{file.pipeline.name}{SEPARATOR}{EVALUATION}{SEPARATOR}"
    with context.database.reading(work) as session:
        found = session.rows(query("evaluated_models", prefix=quote_literal(prefix)))
    known = context.providers
    names = [
        known.full_name(RungSettings(model=model, max_tokens=1, provider=provider or "")) for provider, model in found
    ]
    return [each for each in names if known.split(each)[0] in known.by_name]


def _recorded_label(context: Context, evaluation: Evaluation) -> str:
    """Give the present prompt version its recorded identity, and return its name; "not run yet" where it has none.

    Reads `ledger.prompt_versions`.
    """
    [side] = evaluation.sides
    names = quote_list(side.ladder.names)
    with context.database.reading(evaluation.work) as session:
        side = replace(side, ladder=under_recorded_recipes(session, side.ladder))
        evaluation.sides = (side,)
        version = {"prompt_version": side.ladder.version.prompt_version}
        found = session.rows(query("version_number", pipelines=names), version)
    return str(found[0][0]) if found else "not run yet"


def refuse_few(evaluation: Evaluation) -> None:
    """Raise UsageError where there are too few rows to tune on: before a row is sent."""
    rows = evaluation.rows.rows.rows
    if evaluation.top is not None:
        check_size(rows, "rows of the input")
    else:
        check_size(rows - len(_picked(evaluation)))


def _picked(evaluation: Evaluation) -> frozenset[str]:
    key = evaluation.sides[0].ladder.file.pipeline.input.key
    return picked_keys(evaluation.work, evaluation.gold, evaluation.rows, key)


def known_gold_rows(evaluation: Evaluation, numbers: PromptNumbers, person: Person | None) -> KnownGold:
    """Return what is known of the gold rows for tuning."""
    failed = numbers.unanswered
    return KnownGold(
        by_rung=numbers.by_rung,
        right={
            each.rung: {key: right and key not in failed for key, right in each.right_by_key.items()}
            for each in numbers.models
            if each.rung is not None
        },
        masks=numbers.masks,
        truths=evaluation.truths(),
        picked=frozenset() if evaluation.top is not None else _picked(evaluation),
        columns=evaluation.sides[0].ladder.columns,
        person=person,
    )


def measure_version(evaluation: Evaluation, side: EvaluatedPrompt, label: str) -> PromptNumbers:
    """Compute the numbers of one prompt version."""
    evaluation.read(side)
    unanswered = take_as_true(evaluation) if evaluation.top is not None else frozenset[str]()
    has_local = evaluation.read_local(side)
    rows, masks, fields = evaluation.answered(side), evaluation.masks(), evaluation.gold.fields
    models = []
    if has_local:
        own = outcomes_of([row for row in rows if row.number == LOCAL_NUMBER])
        models.append(quality(LOCAL_NAME, LOCAL_NUMBER, own, fields))
    for each in side.contenders:
        own = outcomes_of([row for row in rows if row.number == each.number])
        models.append(quality(each.model, each.number if each.on_ladder else None, own, fields))
    rungs = [each.model for each in side.contenders if each.on_ladder]
    outcomes = climbed(rows, masks, len(rungs))
    numbers = [*([LOCAL_NUMBER] if has_local else []), *range(1, len(rungs) + 1)]
    return PromptNumbers(
        label=label,
        models=tuple(each for each in models if each is not None),
        ladder=quality(SEVERAL.join([*([LOCAL_NAME] if has_local else []), *rungs]), None, outcomes, fields),
        rows={each.key: each for each in outcomes},
        by_rung={number: outcomes_of([row for row in rows if row.number == number]) for number in numbers},
        masks=masks,
        choices=choices_object(rows, [each for each in models if each is not None], masks, rungs),
        unanswered=unanswered,
    )


def make_report(
    file: PipelineFile,
    evaluation: Evaluation,
    found: list[PromptNumbers],
    judged: tuple[Judged, ...],
    request: EvalRequest,
    bars: list[Bar],
    *,
    made_up: bool,
) -> EvalReport:
    """Put together the report of an evaluation."""
    now, rows = found[0], evaluation.rows
    against: Versus | None = None
    if len(found) > 1 and now.ladder is not None and found[1].ladder is not None:
        against = versus(found[1].label, found[1].ladder, now.ladder)
    notes = []
    if rows.shown:
        notes.append(f"{count(rows.shown, 'gold row')} left out: the prompt shows them as examples.")
    if rows.missing:
        notes.append(f"{count(rows.missing, 'gold row')} left out: the input has no such key.")
    if rows.unseen:
        words = (
            "left out: gold lacks the key, and a column that the prompt reads was not there when they were reviewed."
        )
        notes.append(f"{count(rows.unseen, 'reviewed row')} {words}")
    notes += [each.note for each in evaluation.sides[0].contenders if each.note is not None]
    notes += reviewed_notes(rows.reviewed, rows.rows.rows)
    notes += _impossible_values(evaluation, list(now.rows.values()))
    failed = now.ladder.failed if now.ladder is not None else 0
    if failed:
        notes.append(f"{count(failed, 'row')} without a valid answer count as wrong.")
    notes += judge_notes(judged)
    if request.as_good_as is not None:
        asked = LABELS if request.labels is None else request.labels
        notes += agreement_notes(request.as_good_as, asked, rows.rows.rows, len(now.unanswered))
    if made_up:
        notes.append("The numbers are made up, because the emulator's answers are: nothing was measured.")
    return EvalReport(
        pipeline=file.pipeline.name,
        version=now.label,
        gold=rows.rows.rows,
        reviewed=rows.reviewed,
        models=now.models,
        ladder=now.ladder,
        ladder_rows=now.rows,
        against=against,
        before_rows=found[1].rows if len(found) > 1 else {},
        judged=judged,
        error_usd=file.pipeline.eval.error_usd if file.pipeline.eval else None,
        notes=tuple(notes),
        shortfalls=tuple(shortfalls(now.ladder, bars, against, request.max_drop)) if now.ladder is not None else (),
    )


def _impossible_values(evaluation: Evaluation, rows: Sequence[Outcome]) -> list[str]:
    """Return a note for each field whose true values are not all among those that it may have: such rows are wrong."""
    schemas = evaluation.sides[0].ladder.full_schema.get("properties", {})
    notes = []
    for field in evaluation.gold.fields if evaluation.top is None else ():
        schema = schemas.get(field.name, {})
        if field.compared.compare != "exact" or "enum" not in schema:
            continue
        known = {class_name(each) for each in schema["enum"]}
        strange = sum(class_name(each.gold[field.name]) not in known for each in rows)
        if strange:
            words = f"a true value that {field.name} cannot have, and count as wrong whatever a model answers"
            notes.append(f"{count(strange, 'gold row')} {'has' if strange == 1 else 'have'} {words}.")
    return notes
