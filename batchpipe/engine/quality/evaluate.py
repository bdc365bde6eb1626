"""Evaluate models: they answer gold rows through the engine of a run, each as a pipeline of its own.

Such a pipeline is named `NAME:eval:MODEL:HASH`, after its model with its settings and its prompt version; no pipeline
file can have this name. It has one rung without `accept` and no output table. Answers that the pipeline or one of its
evaluations already has are reused. The ladder's answer to a row is computed from the answers of its rungs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from batchpipe.engine.answers.validation import ALONE, fill_answers, validate_answers, validate_documents
from batchpipe.engine.context import Context
from batchpipe.engine.gold.gold_rows import (
    Gold,
    GoldRows,
    subset,
)
from batchpipe.engine.quality.judges import FieldJudge, Judged, JudgeVerdict
from batchpipe.engine.quality.local_line import local_answers
from batchpipe.engine.resolved.bind import rungs_sql
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import Snapshot, input_hashes_sql, texts_sql
from batchpipe.engine.votes.parts import EVERY, fill_known_votes, known_votes
from batchpipe.schema.columns import value_sql
from batchpipe.sql.conditions import INPUT_PREFIX, OUTPUT_PREFIX, parse_condition
from batchpipe.sql.quoting import Sql, joined, quote_identifier, sql, type_sql
from batchpipe.store.database import Work
from batchpipe.store.queries import query

# SQL for the confidence of an answer that a vote chose.
AGREEMENT = Sql("_agreement")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A model with its settings under one prompt version. `number` is its rung; models off the ladder have the numbers
    after it. `note` says that one is asked for shorter answers than the first rung is.
    """

    number: int
    model: str
    on_ladder: bool
    resolved: Resolved
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedPrompt:
    """One prompt version in an evaluation: its ladder, resolved over gold, and the models that answer."""

    label: str
    ladder: Resolved
    contenders: tuple[Contender, ...]


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
    """Gold rows with the models that answer them. `work` is the working database, `folder` a folder of its own.

    `top` is the number of the contender whose answers are taken as true, None where gold says what is true. `trains`:
    the local model is trained in memory where that is due.
    """

    context: Context
    work: Work
    folder: Path
    gold: Gold
    rows: GoldRows
    sides: tuple[EvaluatedPrompt, ...]
    judges: tuple[FieldJudge, ...]
    top: int | None = None
    trains: bool = True
    _local: dict[str, Any] = field(default_factory=dict, init=False)

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
            sql("CREATE OR REPLACE TABLE work.climbing AS {statement}", statement=statement),
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
        fields = joined(
            "",
            (
                sql(
                    ", {name} {type}",
                    name=quote_identifier("o:" + each.name),
                    type=self._type(side, each.name),
                )
                for each in self.gold.fields
            ),
        )
        self.work.connection.execute(
            # work.answered: One row is a gold row that a model has a final result for, with its answer and cost.
            sql(
                "CREATE OR REPLACE TABLE work.answered (number INTEGER, key_id UUID, valid BOOLEAN, accepts BOOLEAN, "
                "unpriced BOOLEAN, cost_usd DECIMAL(38, 15), confidence DOUBLE{fields})",
                fields=fields,
            )
        )
        for contender in side.contenders:
            self._read_contender(side, contender)

    def read_local(self, side: EvaluatedPrompt) -> bool:
        """Add what the local model says of the gold rows as the answers of rung 0; return whether there is a model.

        Reads the ledger. Writes `work.answered`.
        """
        if side.label not in self._local:
            self._local[side.label] = local_answers(self.context, side.ladder, self.rows.rows, trains=self.trains)
        said, columns = self._local[side.label], {each.name: each for each in side.ladder.columns}
        if said is None:
            return False
        values = joined(
            "",
            (
                sql(", {value}", value=value_sql(columns[each.name], Sql("d.output")))
                if each.name in columns
                else Sql(", NULL")
                for each in self.gold.fields
            ),
        )
        self.work.connection.register("local_said", said)
        self.work.connection.execute(query("local_answered_rows", values=values))
        self.work.connection.unregister("local_said")
        return True

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

    def truths(self) -> dict[str, dict[str, Any]]:
        """Return the true values of each row of `work.truth`, by the row's key and the field."""
        names = [each.name for each in self.gold.fields]
        columns = joined(", ", map(quote_identifier, names))
        found = self.work.connection.execute(sql("SELECT key, {columns} FROM work.truth", columns=columns)).fetchall()
        return {row[0]: dict(zip(names, row[1:], strict=True)) for row in found}

    def _type(self, side: EvaluatedPrompt, name: str) -> Sql:
        return type_sql(next((each.type for each in side.ladder.columns if each.name == name), "VARCHAR"))

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
            fill_known_votes(session, own)
            if own.panels:
                session.execute(query("evaluated_vote_costs"), {"pipeline": own.name})
            else:
                session.execute(query("evaluated_costs"))
        rules = side.ladder.answer_rules
        validate_documents(self.work, rules, Sql("work.answers"))
        # A model that the ladder does not ask alone is measured without the checks that read votes.
        members = ALONE if contender.on_ladder else EVERY
        validate_answers(self.work, rules, Sql("work.to_validate"), votes=known_votes(own), members=members)
        self._insert_answered(side, contender)

    def _insert_answered(self, side: EvaluatedPrompt, contender: Contender) -> None:
        """Add the validated answers of one model, with their confidence, to `work.answered`.

        Reads `work.known_votes`.
        """
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
        agreement = [Sql(", v.agreement AS _agreement")] if contender.resolved.panels else []
        read = [sql(", s.{name}", name=quote_identifier(INPUT_PREFIX + name)) for name in sorted(inputs)]
        selected = joined("", [selected, *read, *agreement])
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
            confidence=AGREEMENT if contender.resolved.panels else confidence,
            values=values,
            columns=selected,
            votes=Sql("LEFT JOIN work.known_votes v ON v.custom_id = e.custom_id") if agreement else Sql(""),
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
            fields=[*names, *ladder.vote_columns],
            columns=[each.name for each in ladder.input_columns],
            where=ladder.file.where("[eval] confidence"),
        )
        if condition.outputs & set(ladder.vote_columns):  # NULL for single asks
            return Sql("NULL"), frozenset(), frozenset()
        return condition.sql, condition.inputs, condition.outputs
