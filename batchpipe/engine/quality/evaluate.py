"""Evaluate models: they answer gold rows through the engine of a run, each as a pipeline of its own.

Such a pipeline is named `NAME:eval:MODEL:HASH`, after its model with its settings and its prompt version; no pipeline
file can have this name. It has one rung without `accept` and no output table. Answers that the pipeline or one of its
evaluations has already are reused. What the ladder makes of a row is computed from the answers of its rungs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from batchpipe.common.errors import PipelineError
from batchpipe.decide.fingerprint import as_number, digest
from batchpipe.engine.answers.validation import fill_answers, validate_answers, validate_documents
from batchpipe.engine.context import Context
from batchpipe.engine.cost.estimate import settings_text
from batchpipe.engine.gold.gold_rows import (
    Gold,
    GoldInputs,
    GoldRows,
    choose_rows,
    evaluated_file,
    read_gold,
    reviewed_fields,
    subset,
)
from batchpipe.engine.gold.reviewed_gold import fill_reviewed, with_reviewed
from batchpipe.engine.quality.judges import FieldJudge, Judged, JudgeVerdict, resolve_judges
from batchpipe.engine.resolved.bind import rungs_sql
from batchpipe.engine.resolved.commits import Commit
from batchpipe.engine.resolved.model_names import split_model
from batchpipe.engine.resolved.resolve import Resolved, resolve
from batchpipe.engine.resolved.versions import RecordedVersion, resolve_version
from batchpipe.engine.source.snapshot import InputColumn, Snapshot, input_hashes_sql, texts_sql
from batchpipe.engine.source.source import Source
from batchpipe.pipeline.model import PipelineFile, Rung
from batchpipe.schema.columns import value_sql
from batchpipe.sql.conditions import INPUT_PREFIX, OUTPUT_PREFIX, parse_condition
from batchpipe.sql.quoting import Sql, joined, quote_identifier, sql
from batchpipe.store.database import Work
from batchpipe.store.queries import query

SHOWN_HASH = 8
NAMING_RECIPE = 1  # of the hashes in these names, whatever recipe is today's


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A model with its settings under one prompt version. `number` is its rung; models off the ladder have the numbers
    after it.
    """

    number: int
    model: str
    on_ladder: bool
    resolved: Resolved


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedPrompt:
    """One prompt version in an evaluation: its ladder, resolved over gold, and the models that answer."""

    label: str
    ladder: Resolved
    contenders: tuple[Contender, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The options of an evaluation. With `every` each rung answers every row, else only rows that climb; `models`
    do too.
    """

    every: bool = False
    models: Sequence[str] = ()
    sample: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    against: tuple[str, RecordedVersion | Commit] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredRow:
    """A gold row as one model answered it: `gold` and `answer` by field, `cost_usd` of all attempts.

    A row that is not `valid` has no answer. `accepts` says whether the `accept` of its rung is true. `judged` has the
    fields that a judge compares.
    """

    number: int
    key: str
    valid: bool
    accepts: bool
    unpriced: bool
    cost_usd: Decimal
    confidence: float | None
    gold: Mapping[str, Any]
    answer: Mapping[str, Any]
    judged: Mapping[str, JudgeVerdict] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Evaluation:
    """Gold rows with the models that answer them. `work` is the working database, `folder` a folder of its own."""

    context: Context
    work: Work
    folder: Path
    gold: Gold
    rows: GoldRows
    sides: tuple[EvaluatedPrompt, ...]
    judges: tuple[FieldJudge, ...]

    def prepared(self, side: EvaluatedPrompt, contender: Contender, *, every: bool) -> tuple[Resolved, Snapshot] | None:
        """Return what a run of `contender` needs: all gold rows, or those that climb to it; None where no row does.

        Reads `work.masks`, `work.answered`. Writes `work.climbing`, and the tables of `read`.
        """
        if every or not contender.on_ladder:
            return contender.resolved, self.rows.rows
        self.read(side)
        statement = query("climbers")
        self.work.connection.execute(
            # work.climbing: One row is a gold row that goes up to the model that is evaluated.
            f"CREATE OR REPLACE TABLE work.climbing AS {statement}",
            {"number": contender.number},
        )
        path = self.folder / f"{contender.resolved.name.replace(':', '-')}.parquet"
        snapshot = subset(self.work, self.rows.rows, Sql("SELECT key_id FROM work.climbing"), path)
        return (contender.resolved, snapshot) if snapshot.rows else None

    def read(self, side: EvaluatedPrompt) -> None:
        """Read every gold row that a model of `side` has a final result for, and validate it as the ladder does.

        Reads the ledger. Writes `work.masks`, `work.answered`.
        """
        self._read_masks(side.ladder)
        fields = "".join(
            f", {quote_identifier('o:' + each.name)} {self._type(side, each.name)}" for each in self.gold.fields
        )
        self.work.connection.execute(
            # work.answered: One row is a gold row that a model has a final result for, with its answer and cost.
            "CREATE OR REPLACE TABLE work.answered (number INTEGER, key_id UUID, valid BOOLEAN, accepts BOOLEAN, "
            f"unpriced BOOLEAN, cost_usd DECIMAL(38, 15), confidence DOUBLE{fields})"
        )
        for contender in side.contenders:
            self._read_contender(side, contender)

    def answered(self, side: EvaluatedPrompt) -> list[AnsweredRow]:
        """Return the rows of `work.answered`, by model and key.

        Reads `work.answered`, `work.truth`.
        """
        names = [each.name for each in self.gold.fields]
        gold = joined(", ", (sql("t.{name}", name=quote_identifier(name)) for name in names))
        given = joined(", ", (sql("a.{o}", o=quote_identifier("o:" + name)) for name in names))
        found = self.work.connection.execute(query("answered_rows", gold=gold, given=given)).fetchall()
        judged = {each.name: each.verdicts(self.work) for each in self.judges}
        width = len(names)
        return [
            AnsweredRow(
                number=row[0],
                key=row[1],
                valid=row[2],
                accepts=row[3],
                unpriced=row[4],
                cost_usd=row[5],
                confidence=row[6],
                gold=dict(zip(names, row[7 : 7 + width], strict=True)),
                answer=dict(zip(names, row[7 + width :], strict=True)),
                judged={name: said[row[0], row[1]] for name, said in judged.items() if row[2]},
            )
            for row in found
        ]

    def to_judge(self) -> list[tuple[FieldJudge, Snapshot]]:
        """Return each judge with the answers of all sides that it has to judge."""
        for judge in self.judges:
            judge.begin(self.work)
        for side in self.sides if self.judges else ():
            self.read(side)
            for judge in self.judges:
                judge.add(self.work)
        return [
            (judge, judge.snapshot(self.work, self.rows.rows, self.folder / f"judged-{judge.number}.parquet"))
            for judge in self.judges
        ]

    def judged(self, given: Sequence[tuple[FieldJudge, Snapshot]]) -> tuple[Judged, ...]:
        """Return what the judges have said of the answers that `to_judge` returned."""
        return tuple(judge.read(self.context, self.work, snapshot) for judge, snapshot in given)

    def masks(self) -> dict[str, int]:
        """Return by the key of each row of `work.truth` its mask from `work.masks`: the rungs that it may use."""
        return dict(self.work.connection.execute(query("answered_masks")).fetchall())

    def _type(self, side: EvaluatedPrompt, name: str) -> str:
        return next((each.type for each in side.ladder.columns if each.name == name), "VARCHAR")

    def _read_masks(self, ladder: Resolved) -> None:
        """Fill `work.masks` with the rungs that each gold row may use."""
        used = {name for when in ladder.whens if when for name in when.inputs}
        snapshot = self.rows.rows
        statement = query(
            "gold_masks", mask=rungs_sql(ladder.whens), rows=snapshot.relation, typed=snapshot.typed(used)
        )
        self.work.connection.execute(statement)

    def _read_contender(self, side: EvaluatedPrompt, contender: Contender) -> None:
        """Read the answers of one model to the gold rows, validate them, and add them to `work.answered`.

        Reads the ledger. Writes `work.evaluated`, `work.evaluated_costs`, `work.to_validate`, `work.answers`,
        `work.documents`, `work.validity`.
        """
        snapshot, own = self.rows.rows, contender.resolved
        with self.context.database.reading(self.work) as session:
            statement = query(
                "evaluated_standings",
                input_hashes=input_hashes_sql(own.hash_columns),
                rows=snapshot.relation,
            )
            session.execute(statement, {"pipeline": own.name})
            statement = query(
                "evaluated_to_validate", values=texts_sql(side.ladder.hash_columns), rows=snapshot.relation
            )
            session.execute(statement, {"number": contender.number})
            fill_answers(session, Sql("work.to_validate"))
            session.execute(query("evaluated_costs"))
        rules = side.ladder.answer_rules
        validate_documents(self.work, rules, Sql("work.answers"))
        validate_answers(self.work, rules, "work.to_validate")
        self._insert_answered(side, contender)

    def _insert_answered(self, side: EvaluatedPrompt, contender: Contender) -> None:
        """Add the validated answers of one model, with their confidence, to `work.answered`."""
        ladder = side.ladder
        confidence, inputs, outputs = self._confidence(ladder)
        columns = {each.name: each for each in ladder.columns}
        wanted = [each for each in columns if each in outputs or each in {field.name for field in self.gold.fields}]
        selected = joined(
            "",
            (
                sql(
                    ", {value} AS {name}",
                    value=value_sql(columns[name], "d.output"),
                    name=quote_identifier(OUTPUT_PREFIX + name),
                )
                for name in wanted
            ),
        )
        read = [sql(", s.{name}", name=quote_identifier(INPUT_PREFIX + name)) for name in sorted(inputs)]
        selected = joined("", [selected, *read])
        values = joined(
            "",
            (
                sql(", {name}", name=quote_identifier(OUTPUT_PREFIX + each.name))
                if each.name in columns
                else Sql(", NULL")
                for each in self.gold.fields
            ),
        )
        snapshot = self.rows.rows
        statement = query(
            "evaluated_rows",
            confidence=confidence,
            values=values,
            columns=selected,
            rows=snapshot.relation,
            typed=snapshot.typed(inputs),
        )
        self.work.connection.execute(statement, {"number": contender.number})

    def _confidence(self, ladder: Resolved) -> tuple[Sql, frozenset[str], frozenset[str]]:
        """Return SQL for the confidence, with the input columns and the fields that it reads; NULL where there is no
        such field.
        """
        given = ladder.file.pipeline.eval
        names = [each.name for each in ladder.columns]
        if given is None or (given.confidence == "confidence" and "confidence" not in names):
            return Sql("NULL"), frozenset(), frozenset()
        condition = parse_condition(
            self.work.connection,
            given.confidence,
            fields=names,
            columns=[each.name for each in ladder.input_columns],
            where=ladder.file.where("[eval] confidence"),
        )
        return condition.sql, condition.inputs, condition.outputs


# The sides of an evaluation and the judges of its fields.
Both = tuple[tuple[EvaluatedPrompt, ...], tuple[FieldJudge, ...]]


def prepare(context: Context, work: Work, file: PipelineFile, wanted: Wanted, folder: Path) -> Evaluation:
    """Read gold, resolve each model and choose the rows. `[input]` is read only where gold lacks its columns.

    Writes `work.truth`, `work.gold_reviews`. Raises PipelineError and InputError where gold cannot be used.
    """
    if file.pipeline.eval is None:
        hint = f'Add [eval] with gold = "SELECT ..." to {file.where()}: the key, the true values, the input\'s columns.'
        raise PipelineError("there is no [eval]", where=file.where(), hint=hint)
    gold, given, both = _over_gold(context, file, wanted, folder)
    if given is None:
        over_input = evaluated_file(file, gold=False)
        with context.source(over_input, wanted.params) as source:
            columns = source.columns()
            both = _resolve(context, source, columns, over_input, wanted, gold)
            given = source.snapshot(folder / "input.parquet", columns)
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
    sides = _sides(context, source, columns, file, wanted)
    answered, provider = sides[0].ladder.columns, context.default_provider
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
        return gold, gold.snapshot, _resolve(context, source, gold.snapshot.columns, over_gold, wanted, gold)


def _sides(
    context: Context, source: Source, columns: tuple[InputColumn, ...], file: PipelineFile, wanted: Wanted
) -> tuple[EvaluatedPrompt, ...]:
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
            return resolve(given, inputs, context.default_provider)
        return resolve_version(version, given, inputs, context.default_provider)

    rungs = file.pipeline.models
    listed = {split_model(each.model, context.default_provider) for each in rungs}
    asked = dict.fromkeys(wanted.models)
    others = [each for each in asked if split_model(each, context.default_provider) not in listed]
    models = [*rungs, *(Rung(model=each, max_tokens=rungs[0].max_tokens) for each in others)]
    contenders = []
    for number, rung in enumerate(models, start=1):
        alone = rung.model_copy(update={"accept": None, "when": None})
        pipeline = file.pipeline.model_copy(update={"models": (alone,)})
        own = _named(resolved(file.model_copy(update={"pipeline": pipeline})))
        model = own.rungs[0].model
        contenders.append(Contender(number=number, model=model, on_ladder=number <= len(rungs), resolved=own))
    return EvaluatedPrompt(label=label, ladder=resolved(file), contenders=tuple(contenders))


def _named(resolved: Resolved) -> Resolved:
    """Return `resolved` under the name of an evaluation of its prompt version and its one model."""
    rung = resolved.rungs[0]
    version = as_number(resolved.version_under(NAMING_RECIPE).prompt_version)
    mark = digest([version, settings_text(rung), rung.max_tokens])[:SHOWN_HASH]
    model = re.sub(r"[^A-Za-z0-9._-]+", "-", rung.model)
    name = f"{resolved.name}:eval:{model}:{mark}"
    pipeline = resolved.file.pipeline.model_copy(update={"name": name, "renamed_from": None})
    return replace(resolved, file=resolved.file.model_copy(update={"pipeline": pipeline}))
