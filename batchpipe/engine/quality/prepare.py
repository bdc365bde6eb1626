"""Prepare an evaluation: the gold rows, the prompt versions that answer them, and the models of each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from batchpipe.common.errors import PipelineError
from batchpipe.decide.fingerprint import as_number, digest
from batchpipe.engine.context import Context
from batchpipe.engine.cost.ladder import settings_text
from batchpipe.engine.gold.gold_rows import (
    Gold,
    GoldInputs,
    choose_rows,
    evaluated_file,
    read_gold,
    reviewed_fields,
)
from batchpipe.engine.gold.reviewed_gold import fill_reviewed, with_reviewed
from batchpipe.engine.quality.evaluate import Contender, EvaluatedPrompt, Evaluation
from batchpipe.engine.quality.judges import NAMING_RECIPE, SHOWN_HASH, FieldJudge, resolve_judges
from batchpipe.engine.resolved.commits import Commit
from batchpipe.engine.resolved.local_rung import refuse_missing_packages
from batchpipe.engine.resolved.panels import settings_of
from batchpipe.engine.resolved.resolve import Resolved, resolve
from batchpipe.engine.resolved.rungs import fitted, fitted_text
from batchpipe.engine.resolved.versions import RecordedVersion, resolve_version
from batchpipe.engine.source.contents import joint_columns
from batchpipe.engine.source.snapshot import InputColumn, Snapshot
from batchpipe.engine.source.source import Source
from batchpipe.pipeline.evaluations import EVALUATION
from batchpipe.pipeline.model import PipelineFile
from batchpipe.pipeline.sending import Member, Rung
from batchpipe.store.database import Work

# The sides of an evaluation and the judges of its fields.
Both = tuple[tuple[EvaluatedPrompt, ...], tuple[FieldJudge, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The options of an evaluation. With `every` each rung answers every row, else only rows that climb; `models`
    do too. `kind` stands in the names of the evaluation's pipelines: `eval`, or `bought` for rows that later runs may
    take the answers to.
    """

    every: bool = False
    models: Sequence[str] = ()
    sample: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    against: tuple[str, RecordedVersion | Commit] | None = None
    kind: str = EVALUATION


def table_to_add(file: PipelineFile) -> str:
    """Return the step that a pipeline without `[eval]` needs before it can be evaluated."""
    return f'Add [eval] with gold = "SELECT ..." to {file.where()}: the key, the true values, the input\'s columns.'


def prepare(context: Context, work: Work, file: PipelineFile, wanted: Wanted, folder: Path) -> Evaluation:
    """Read gold, resolve each model and choose the rows. `[input]` is read only where gold lacks its columns.

    Writes `work.truth`, `work.gold_reviews`. Raises PipelineError and InputError where gold cannot be used.
    """
    if file.pipeline.eval is None:
        raise PipelineError("there is no [eval]", where=file.where(), hint=table_to_add(file))
    refuse_missing_packages(file)
    gold, given, both = _over_gold(context, file, wanted, folder)
    if given is None:
        over_input = evaluated_file(file, gold=False)
        with context.source(over_input, wanted.params) as source:
            columns = source.columns()
            both = _resolve(context, source, columns, over_input, wanted, gold)
            given = source.snapshot(folder / "input.parquet", _read_by(columns, both))
    for each in (gold.snapshot, given):
        if each is not None:
            each.make_room(work.memory)
    sides, judges = both
    prompts = [each.ladder for each in sides]
    with context.database.reading(work) as session:
        fill_reviewed(session, file.pipeline.names, prompts[0].columns, [each.name for each in gold.fields])
    unseen = 0
    if gold.whole:
        read = [*prompts, *(each.resolved for each in judges)]
        needed = {each.name for prompt in read for each in prompt.hash_columns} & {each.name for each in given.columns}
        given, unseen = with_reviewed(work, given, file.pipeline.input.key, needed, folder / "whole.parquet")
    rows = choose_rows(work, gold, given, prompts, folder / "rows.parquet", wanted.sample)
    rows = replace(rows, unseen=unseen)
    return Evaluation(context=context, work=work, folder=folder, gold=gold, rows=rows, sides=sides, judges=judges)


def _resolve(
    context: Context, source: Source, columns: tuple[InputColumn, ...], file: PipelineFile, wanted: Wanted, gold: Gold
) -> Both:
    """Resolve both prompt versions and the judges over the columns of the gold rows."""
    sides = sides_over(context, source, columns, file, wanted)
    answered, provider = sides[0].ladder.columns, context.providers
    return sides, resolve_judges(source, file, columns, answered, gold.fields, provider)


def _over_gold(
    context: Context, file: PipelineFile, wanted: Wanted, folder: Path
) -> tuple[Gold, Snapshot | None, Both]:
    """Read gold. Where it has the input's columns too, return its rows as the input, and what is resolved over it."""
    nothing: Both = ((), ())
    assert file.pipeline.eval is not None
    if file.pipeline.eval.gold is None:
        return Gold(snapshot=None, fields=reviewed_fields(file), whole=False), None, nothing
    over_gold = evaluated_file(file, gold=True)
    with context.source(over_gold, {}) as source:
        gold = read_gold(source, over_gold, folder / "gold.parquet")
        if not gold.whole or gold.snapshot is None:
            return gold, None, nothing
        both = _resolve(context, source, gold.snapshot.columns, over_gold, wanted, gold)
        columns = _read_by(gold.snapshot.columns, both)
        if columns == gold.snapshot.columns:
            return gold, gold.snapshot, both
        return gold, source.snapshot(folder / "gold-files.parquet", columns), both


def _read_by(columns: tuple[InputColumn, ...], both: Both) -> tuple[InputColumn, ...]:
    """Return the columns of the snapshot, with those of the files that prompts send."""
    sides, _ = both
    return joint_columns(columns, [each.ladder.input_columns for each in sides])


def sides_over(
    context: Context, source: Source, columns: tuple[InputColumn, ...], file: PipelineFile, wanted: Wanted
) -> tuple[EvaluatedPrompt, ...]:
    """Resolve the prompt versions that are evaluated, each with its models, over the columns of the rows."""
    inputs = GoldInputs(source, columns)
    sides = [_side(context, inputs, file, wanted, "", None)]
    if wanted.against is not None:
        label, version = wanted.against
        sides.append(_side(context, inputs, file, wanted, label, version))
    return tuple(sides)


def _side(
    context: Context,
    inputs: GoldInputs,
    file: PipelineFile,
    wanted: Wanted,
    label: str,
    version: RecordedVersion | Commit | None,
) -> EvaluatedPrompt:
    def resolved(given: PipelineFile) -> Resolved:
        if version is None:
            return resolve(given, inputs, context.providers)
        return resolve_version(version, given, inputs, context.providers)

    rungs = file.pipeline.models
    listed = {context.providers.split(each.name) for each in rungs}
    asked = dict.fromkeys(wanted.models)
    others = [each for each in asked if context.providers.split(each) not in listed]
    room = rungs[0].members[0].max_tokens or 0
    named = [_named_rung(context, file, each, room) for each in others]
    models = [*rungs, *_members(context, rungs, wanted), *named]
    ladder, contenders = resolved(file), []
    for number, rung in enumerate(models, start=1):
        alone = rung.model_copy(update={"accept": None, "when": None})
        pipeline = file.pipeline.model_copy(update={"models": (alone,)})
        try:
            own = _named(wanted.kind, resolved(file.model_copy(update={"pipeline": pipeline})))
        except PipelineError as error:
            if rung.model not in others:
                raise
            # The command line named it: the file, which is right, has no place for what is wrong with it.
            wrong = [replace(each, where=f"the model {rung.model}") for each in error.problems]
            raise PipelineError.from_problems(wrong) from error
        model = rung.name if rung.votes else context.providers.full_name(own.rungs[0])
        most = own.rungs[0].max_tokens
        note = fitted_text(model, most, room) if any(rung is each for each in named) and most < room else None
        on_ladder = number <= len(rungs)
        contenders.append(Contender(number=number, model=model, on_ladder=on_ladder, resolved=own, note=note))
    return EvaluatedPrompt(label=label, ladder=ladder, contenders=tuple(contenders))


def _named_rung(context: Context, file: PipelineFile, name: str, room: int) -> Rung:
    """Return the rung of a model that the command line names: with this room for an answer, or what the model writes at
    most.
    """
    rung = settings_of(file, context.providers, Member(model=name, max_tokens=room), "")
    return Rung(model=name, max_tokens=fitted(context.providers, rung, rung.mode).max_tokens)


def _members(context: Context, rungs: Sequence[Rung], wanted: Wanted) -> list[Rung]:
    """Return the members of panels as rungs of their own, each model with its settings once, where every rung answers
    every row. Those that are on the ladder or named by themselves are left out.
    """
    taken = [(context.providers.split(each.name), each.settings) for each in rungs if not each.votes]
    taken += [(context.providers.split(each), {}) for each in wanted.models]
    found = []
    for each in (member for rung in rungs if rung.votes for member in rung.members) if wanted.every else ():
        own = (context.providers.split(each.model), each.settings)
        if own not in taken:
            taken.append(own)
            found.append(Rung.model_validate({**each.settings, "model": each.model, "max_tokens": each.max_tokens}))
    return found


def _named(kind: str, resolved: Resolved) -> Resolved:
    """Return `resolved` under the name of an evaluation of its prompt version and its one model."""
    rung = resolved.rungs[0]
    version = as_number(resolved.version_under(NAMING_RECIPE).prompt_version)
    given = resolved.file.pipeline.models[0]
    asked: list[object] = [settings_text(rung), rung.max_tokens]
    if given.votes:
        parts = [resolved.rungs[each.seat - 1] for each in resolved.panels[1].parts]
        asked = [[settings_text(each), each.max_tokens] for each in parts]
    mark = digest([version, *asked])[:SHOWN_HASH]
    model = re.sub(r"[^A-Za-z0-9._-]+", "-", given.name if given.votes else rung.model)
    pipeline = resolved.file.pipeline.as_evaluation(kind, model, mark)
    return replace(resolved, file=resolved.file.model_copy(update={"pipeline": pipeline}))
