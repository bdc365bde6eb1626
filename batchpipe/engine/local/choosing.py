"""Choose the due rows that the local model answers: those that it is sure of, less the audited ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from batchpipe.engine.answers.validation import AnswerRules, validate_answers, validate_documents
from batchpipe.engine.local.plan_part import LocalPlan
from batchpipe.engine.local.texts import embedding_sql, embeddings_of, read_by_sql, text_sql
from batchpipe.engine.resolved.local_rung import ResolvedLocalRung
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import Snapshot, texts_sql
from batchpipe.local_model.model import LocalAnswer, LocalModel
from batchpipe.schema.columns import value_sql
from batchpipe.sql.conditions import INPUT_PREFIX, OUTPUT_PREFIX
from batchpipe.sql.quoting import Sql, joined, number_sql, quote_identifier, sql
from batchpipe.sql.recorded import recorded_value
from batchpipe.store.arrow import arrow
from batchpipe.store.database import Work
from batchpipe.store.queries import query

BLOCK_ROWS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalVersion:
    """A version of the local model that may answer.

    `expected`: the lower limit of how often it agreed, out of fold, on the rows that `accept` holds for.
    """

    number: int
    model: LocalModel
    expected: float

    @property
    def name(self) -> str:
        """Return what `_model` calls it: `local:v7`."""
        return f"local:v{self.number}"


@dataclass(slots=True, kw_only=True)
class LocalChoice:
    """Chooses rows for one pipeline out of `snapshot`.

    `version` is None where no version may answer now. `emulated`: it learns from made-up answers, of the emulator.
    `recorded`: how many rows this run has recorded so far.
    """

    resolved: Resolved
    snapshot: Snapshot
    version: LocalVersion | None
    says: str
    emulated: bool = False
    recorded: int = 0
    _chosen: bool = field(default=False, init=False)
    _unread: int = field(default=0, init=False)

    @property
    def rung(self) -> ResolvedLocalRung:
        """Return the rung as the file has it."""
        assert self.resolved.local is not None
        return self.resolved.local

    @property
    def answered_in_run(self) -> dict[str, Any]:
        """Return what the local rung did in this run, as `run --json` has it."""
        model = self.version.name if self.version is not None else None
        return {"model": model, "answered": self.recorded, "says": self.says}

    def choose(self, work: Work, *, holds: bool) -> None:
        """Take the rows that the model answers out of the due ones; none where a pilot `holds` rows back.

        Reads `work.due`. Writes `work.due`, `work.local_predictions`, `work.local_sure`, `work.local_due`,
        `work.validated`, `work.documents`, `work.validity`.
        """
        connection, version = work.connection, self.version
        connection.execute(query("no_local_due"))
        self._chosen = version is not None and not holds
        if version is None or holds:
            return
        asked, width = self._asked(), version.model.width
        if width:
            unread = query("local_unread", asked=asked, read=read_by_sql(Sql("embedding"), width))
            (self._unread,) = connection.execute(unread).fetchone() or (0,)
        find_sure_rows(work, self.resolved, version, asked=asked, rows=self._rows)
        connection.execute(query("local_due"))

    def plan(self, work: Work) -> LocalPlan:
        """Return what was chosen last. Reads `work.local_sure`."""
        if not self._chosen or self.version is None:
            return LocalPlan(model=None, answered=0, audited=0, says=self.says)
        found = work.connection.execute(
            Sql("SELECT count(*) FILTER (NOT audited), count(*) FILTER (audited) FROM work.local_sure")
        ).fetchone() or (0, 0)
        return LocalPlan(model=self.version.name, answered=found[0], audited=found[1], says=self.says + self._left_out)

    @property
    def _left_out(self) -> str:
        """Return which rows the model could not be asked about, in words; "" for none."""
        if not self._unread or self.version is None or self.rung.embedding is None:
            return ""
        rows = f"{self._unread:,} rows go up" if self._unread > 1 else "1 row goes up"
        what = f"a list of {self.version.model.width:,} finite numbers"
        return f"; {rows}: {self.rung.embedding.name} is not {what} there"

    def _asked(self) -> Sql:
        """Return SQL for the due rows that the model is asked about: key_id, text, embedding. It reads `work.due`."""
        rung, relation = self.rung, self.snapshot.relation
        when = rung.when.truth if rung.when is not None else Sql("true")
        used = sorted(rung.when.inputs) if rung.when is not None else []
        if used:
            typed = self.snapshot.typed(used)
            when = sql("position IN (SELECT position FROM {typed} WHERE {when})", typed=typed, when=when)
        given = {"text": text_sql(rung.columns), "embedding": embedding_sql(rung.embedding)}
        return query("local_asked", snapshot=relation, when=when, **given)

    @property
    def _rows(self) -> Sql:
        """Return SQL for the rows that the model was asked about, with what conditions read of them."""
        values = texts_sql(self.resolved.hash_columns)
        return query("local_rows", values=values, snapshot=self.snapshot.relation)


def find_sure_rows(work: Work, resolved: Resolved, version: LocalVersion, *, asked: Sql, rows: Sql) -> None:
    """Fill `work.local_sure` with the rows whose answer is valid and passes `accept`.

    `asked` is SQL for key_id, text and embedding of the rows; `rows` SQL for the predicted ones with `input_values`.
    Writes `work.local_predictions`, `work.local_sure`, `work.validated`, `work.documents`, `work.validity`.
    """
    rung = resolved.local
    assert rung is not None
    _predict(work, rung, version, asked)
    rules = resolved.answer_rules
    plain = AnswerRules(
        output_format="json",
        full_schema=rules.full_schema,
        columns=rules.columns,
        input_columns=rules.input_columns,
        checks=rules.checks,
        accepts=(),
    )
    validate_documents(work, plain, sql("({answers})", answers=query("local_answered")))
    validate_answers(work, plain, sql("({rows})", rows=rows))
    work.connection.execute(
        query("local_sure", rows=rows, columns=_condition_values(resolved, rung), truth=rung.accept.truth),
        {"version": version.number, "audit": rung.audit},
    )


def _predict(work: Work, rung: ResolvedLocalRung, version: LocalVersion, asked: Sql) -> None:
    """Ask the model about rows. It says nothing of a row whose embedding it cannot read.

    Writes `work.local_predictions`.
    """
    connection, width = work.connection, version.model.width
    connection.execute(query("no_local_predictions"))
    reader = connection.cursor()
    read = read_by_sql(Sql("embedding"), width)
    reader.execute(sql("SELECT * FROM ({asked}) WHERE {read}", asked=asked, read=read))
    while block := reader.fetchmany(BLOCK_ROWS):
        answers = version.model.answer(
            [text for _, text, _ in block], embeddings_of([embedding for *_, embedding in block], width)
        )
        table = arrow().table(
            {
                "key_id": arrow().array([str(key_id) for key_id, *_ in block], arrow().string()),
                "output": arrow().array([_document(rung, each) for each in answers], arrow().string()),
                "confidence": arrow().array([float(each.confidence) for each in answers], arrow().float64()),
            }
        )
        connection.register("local_block", table)
        connection.execute(query("add_local_predictions"))
        connection.unregister("local_block")


def _document(rung: ResolvedLocalRung, answer: LocalAnswer) -> str:
    """Return an answer as the JSON text of a document of the schema."""
    sure = {rung.confidence: answer.confidence} if rung.confidence is not None else {}
    return json.dumps({**answer.fields, **sure}, ensure_ascii=False)


def _condition_values(resolved: Resolved, rung: ResolvedLocalRung) -> Sql:
    """Return SQL for the values that `accept` reads, beside the confidence."""
    rules = resolved.answer_rules
    places = {name: (number, kind) for number, (name, kind) in enumerate(rules.input_columns, start=1)}
    found: Sequence[Sql] = [
        *(
            sql(
                "{value} AS {name}",
                value=value_sql(column, "c.output"),
                name=quote_identifier(OUTPUT_PREFIX + column.name),
            )
            for column in rules.columns
            if column.name in rung.accept.outputs
        ),
        *(
            sql(
                "{value} AS {name}",
                value=recorded_value(
                    sql("r.input_values[{place}]", place=number_sql(places[name][0])), places[name][1]
                ),
                name=quote_identifier(INPUT_PREFIX + name),
            )
            for name in sorted(rung.accept.inputs)
        ),
        Sql("r.input_values"),
    ]
    return joined(", ", found)
