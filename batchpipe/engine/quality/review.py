"""Choose the answers that a person should see, validate what the person changes, and record the review.

A review stands beside the model's answer in the ledger. It is valid while the row's input is the same in every column
that both the reviewed and the newest answer used. As long as it is valid, the output table shows it instead of any
later answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from batchpipe.engine.answers.validation import validate_answers, validate_documents
from batchpipe.engine.context import Context
from batchpipe.engine.gold.sample import sample_parameter, sample_parts
from batchpipe.engine.ledger.events import standing_reviews
from batchpipe.engine.ledger.renames import record_rename
from batchpipe.engine.output.output_table import merge_output, writing_output
from batchpipe.engine.quality.review_order import fill_doubts, read_answers_under_review
from batchpipe.engine.quality.review_target import target_conditions
from batchpipe.engine.resolved.recorded_recipes import with_stored_keys
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import Snapshot, texts_sql
from batchpipe.engine.votes.parts import EVERY, fill_known_votes
from batchpipe.engine.votes.slots import voted_columns
from batchpipe.providers.known import with_provider
from batchpipe.schema import exact_json
from batchpipe.schema.columns import value_sql
from batchpipe.schema.describe import is_closed
from batchpipe.schema.typed import FieldForm, field_forms
from batchpipe.sql.conditions import INPUT_PREFIX, OUTPUT_PREFIX, Condition
from batchpipe.sql.quoting import Sql, joined, number_sql, quote_identifier, quote_list, sql
from batchpipe.store.arrow import arrow
from batchpipe.store.database import Session, Work, streamed_rows
from batchpipe.store.queries import query

WANTED = {
    "open": Sql("same_input AND reviewed_by IS NULL AND len(chosen) > 0"),
    "again": Sql("same_input AND (reviewed_by IS NOT NULL OR len(chosen) > 0)"),
    "every": Sql("true"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewRow:
    """An answer under review. `answer` is the model's document, `document` the same with what was corrected before.

    `key` is a JSON list of texts. `chosen` says why a person should see the row: ladder, target, where, sample. `token`
    changes with the answer and with each review of it. `hidden` are the fields that the person chooses without the
    model's answer; `document` lacks them.
    """

    number: int
    key: str
    custom_id: str
    rung: int
    model: str | None
    version: str | None
    chosen: Sequence[str]
    answer: Mapping[str, Any]
    document: Mapping[str, Any]
    reviewed_by: str | None
    same_input: bool
    token: str
    input: Mapping[str, str | None]
    hidden: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class RowReview:
    """A person's review of row `number`: the document as it should be, and whether that is the model's own.

    `reviewed_by` is None for the person who runs the call.
    """

    number: int
    document: Mapping[str, Any]
    accepted: bool
    reviewed_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherReview:
    """What another session said of row `number` after this one had chosen its rows. `seq` is its commit.

    With the verdict "withdrawn" the person took a review back.
    """

    number: int
    seq: int
    reviewed_by: str
    verdict: str
    document: Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class Desk:
    """The rows of one pipeline that a person should see, numbered from 0: the sample first, then the most doubtful.

    The database is open only while rows are chosen and while reviews are recorded. `meanwhile` has what other sessions
    have said of rows that were to be recorded.
    """

    context: Context
    work: Work
    resolved: Resolved
    snapshot: Snapshot
    rows: int = 0
    meanwhile: dict[int, OtherReview] = field(default_factory=dict, init=False)
    _seen: dict[tuple[int, str | None], int] = field(default_factory=dict, init=False)

    @property
    def shown_columns(self) -> list[str]:
        """Return the input columns that a person sees: the key, those that the prompt uses, and `[review] show`."""
        file = self.resolved.file.pipeline
        shown = {*file.input.key, *self.resolved.templates.columns, *file.review.show}
        return [each.name for each in self.snapshot.columns if each.name in shown]

    def overrule(self, number: int) -> None:
        """Let the next review of row `number` replace what another session said, because the person has seen that."""
        self.saw(number, self.meanwhile.pop(number).seq)

    def saw(self, number: int, seq: int, person: str | None = None) -> None:
        """Note that a person has seen what was said of row `number` until the commit `seq`."""
        self._seen[number, person] = max(seq, self._seen.get((number, person), 0))

    @property
    def forms(self) -> list[FieldForm]:
        """Return the fields of the answer as a person edits them."""
        return field_forms(self.resolved.full_schema)

    def choose(self, which: str = "open") -> None:
        """Choose the rows: those to review (`open`), also those reviewed before (`again`), or all answered ones
        (`every`).

        Reads the ledger. Writes `work.review_answers`, `work.review_doubts`, `work.review`.
        """
        with self.work.on_all_cores():
            self._choose(which)

    def _choose(self, which: str) -> None:
        # Answers that nobody will see are not looked up, unless `where` decides who sees what: that is known only
        # later.
        review = self.resolved.file.pipeline.review
        few = which == "open" and self.resolved.review_where is None and review.target is None
        names = quote_list(self.resolved.names)
        # Only a sample by doubt reads which answer is the newest, of every key.
        weighed = Sql("") if review.by == "uniform" else Sql(", arg_max(custom_id, seq) AS custom_id")
        with self.context.database.reading(self.work) as session:
            keyed = self.snapshot.path.with_name("keyed.parquet")
            self.snapshot = with_stored_keys(session, self.resolved, self.snapshot, keyed)
            statement = query(
                "review_answers",
                pipelines=names,
                weighed=weighed,
                among=Sql("review OR sampled") if few else Sql("true"),
                reviewed=standing_reviews(session, self.resolved.names),
                **sample_parts(self.resolved.file),
            )
            session.execute(statement, {"sample": sample_parameter(self.resolved.file)})
            fill_known_votes(session, self.resolved, Sql("work.review_answers"))
            doubted = read_answers_under_review(session, self.resolved)
            target = target_conditions(session, self.resolved, self.context.providers)
        if doubted is not None:
            fill_doubts(self.work, self.resolved, doubted)
        columns = self.snapshot.columns
        listed = quote_list(each.name for each in columns)
        connection = self.work.connection
        connection.execute(
            query(
                "review_rows",
                values_as_now=texts_sql(self.resolved.hash_columns),
                names=sql("[{listed}]", listed=listed),
                texts=texts_sql(columns),
                where=self._where(self.resolved.review_where),
                sure=self._sure(target or {}),
                by_target=Sql("false") if target is None else Sql("true"),
                snapshot=self.snapshot.relation,
                wanted=WANTED[which],
            )
        )
        [(self.rows,)] = connection.execute(Sql("SELECT count(*) FROM work.review")).fetchall()

    def row(self, number: int) -> ReviewRow:
        """Return one row, by its number from 0 to `rows` - 1.

        Reads `work.review`.
        """
        return next(self._read(sql("w.number = {number}", number=number_sql(number))))

    def rows_of(self, numbers: Sequence[int]) -> list[ReviewRow]:
        """Return the rows with these numbers, in their order.

        Reads `work.review`.
        """
        listed = joined(", ", (number_sql(each) for each in numbers))
        return list(self._read(sql("w.number IN ({listed})", listed=listed)))

    def all_rows(self) -> Iterator[ReviewRow]:
        """Yield all rows in order.

        Reads `work.review`.
        """
        return self._read(Sql("true"))

    def validate(
        self, documents: Sequence[tuple[int, Mapping[str, Any]]]
    ) -> list[tuple[Mapping[str, Any] | None, str]]:
        """Validate each (row number, document) against the full schema, the casts and the checks.

        Return for each the document as it is accepted (an enum value in its own spelling) and "", or None and the
        error. A check reads the row's input as it is now.
        Reads `work.review`. Writes `work.typed`, `work.typed_rows`, `work.documents`, `work.validity`.
        """
        connection = self.work.connection
        table = arrow().table(
            {
                "custom_id": [str(place) for place in range(len(documents))],
                "number": arrow().array([number for number, _ in documents], arrow().int64()),
                "answer": arrow().array([exact_json.dumps(document) for _, document in documents], arrow().string()),
            }
        )
        connection.register("typed_block", table)
        # work.typed: One row is a document that a person typed, by its number on the screen.
        connection.execute(Sql("CREATE OR REPLACE TABLE work.typed AS SELECT * FROM typed_block"))
        connection.unregister("typed_block")
        connection.execute(
            # work.typed_rows: One row is a reviewed row whose typed document is to be validated.
            Sql(
                "CREATE OR REPLACE TABLE work.typed_rows AS "
                "SELECT w.key_id, t.custom_id, w.rung, w.values_as_now AS input_values "
                "FROM work.typed t JOIN work.review w USING (number)"
            )
        )
        rules = replace(self.resolved.answer_rules, output_format="json_schema")
        validate_documents(self.work, rules, Sql("work.typed"))
        validate_answers(self.work, rules, Sql("work.typed_rows"), members=EVERY)
        rows = connection.execute(
            Sql(
                "SELECT d.output::VARCHAR, j.error FROM work.validity j JOIN work.documents d USING (custom_id) "
                "ORDER BY custom_id::BIGINT"
            )
        ).fetchall()
        return [(None, error) if error is not None else (exact_json.loads(output), "") for output, error in rows]

    def record(self, verdicts: Sequence[RowReview]) -> list[int]:
        """Record the reviews and write them into the output table, in one commit.

        Return the numbers of the rows that have another answer by now, or that another session has reviewed since the
        rows were chosen. If there are any, nothing is recorded: `meanwhile` holds the other session's reviews, and
        `overrule` marks one as seen.
        Reads `work.review`, `ledger.reviews`. Writes `work.new_reviews`, `ledger.reviews`, the output table.
        """
        table = arrow().table(
            {
                "number": arrow().array([each.number for each in verdicts], arrow().int64()),
                "verdict": ["accepted" if each.accepted else "corrected" for each in verdicts],
                "after": [exact_json.dumps(each.document) for each in verdicts],
                "reviewed_by": arrow().array([each.reviewed_by for each in verdicts], arrow().string()),
            }
        )
        self.work.connection.register("verdicts_block", table)
        # work.new_reviews: One row is a verdict of a person that is to be recorded.
        self.work.connection.execute(Sql("CREATE OR REPLACE TABLE work.new_reviews AS SELECT * FROM verdicts_block"))
        self.work.connection.unregister("verdicts_block")
        with self.context.database.writing(self.work, None) as session:
            names = quote_list(self.resolved.names)
            overtaken = [number for (number,) in session.rows(query("overtaken", pipelines=names))]
            if overtaken:
                return overtaken
            self.meanwhile = self._said_meanwhile(session, names, verdicts)
            if self.meanwhile:
                return list(self.meanwhile)
            stamp = {
                "pipeline": self.resolved.name,
                "reviewed_by": self.context.person,
                "now": session.now,
                "seq": session.seq,
            }
            record_rename(session, self.resolved.file, None)
            session.execute(query("insert_reviews"), stamp)
            keys = Sql("SELECT key_id FROM work.review WHERE number IN (SELECT number FROM work.new_reviews)")
            with writing_output(session, self.resolved, None):
                merge_output(session, self.resolved, keys, answered=False)
            for each in verdicts:
                self.saw(each.number, session.seq, each.reviewed_by)
        return []

    def _said_meanwhile(self, session: Session, names: Sql, verdicts: Sequence[RowReview]) -> dict[int, OtherReview]:
        """Return what other sessions said of the rows that are to be recorded, and that this one has not seen.

        Reads `work.review`, `work.new_reviews`, `ledger.reviews`.
        """
        found = session.dictionaries(query("reviewed_meanwhile", pipelines=names))
        others = [OtherReview(**{**each, "document": exact_json.loads(each["document"])}) for each in found]
        people = {each.number: each.reviewed_by for each in verdicts}
        return {
            each.number: each for each in others if each.seq > self._seen.get((each.number, people[each.number]), 0)
        }

    def _sure(self, conditions: Mapping[int, Condition | None]) -> Sql:
        """Return SQL for the key_id of the answers that reach `[review] target` without a person.

        Reads `work.review_answers`.
        """
        parts = [
            sql(
                "SELECT key_id FROM work.review_answers WHERE rung = {rung}{condition}",
                rung=number_sql(rung),
                condition=sql(" AND key_id IN ({keys})", keys=self._where(each)) if each is not None else Sql(""),
            )
            for rung, each in conditions.items()
        ]
        return joined(" UNION ALL ", [self._where(None), *parts])

    def _where(self, condition: Condition | None) -> Sql:
        """Return SQL for the key_id of the answers for which `condition` is true.

        Reads `work.review_answers`, `work.known_votes`.
        """
        if condition is None:
            return Sql("SELECT NULL::UUID AS key_id WHERE false")
        outputs = [
            sql(
                "{value} AS {column}",
                value=value_sql(column, "o.answer"),
                column=quote_identifier(OUTPUT_PREFIX + column.name),
            )
            for column in self.resolved.columns
            if column.name in condition.outputs
        ]
        outputs += voted_columns(condition)
        inputs = [sql("t.{name}", name=quote_identifier(INPUT_PREFIX + name)) for name in sorted(condition.inputs)]
        return sql(
            "SELECT key_id FROM (SELECT {columns} FROM work.review_answers o {votes} "
            "JOIN (SELECT position, md5(key)::UUID AS key_id FROM {relation}) k ON k.key_id = o.key_id "
            "JOIN {typed} t ON t.position = k.position) WHERE {truth}",
            columns=joined(", ", [Sql("o.key_id"), *outputs, *inputs]),
            relation=self.snapshot.relation,
            typed=self.snapshot.typed(condition.inputs),
            truth=condition.truth,
            votes=Sql("LEFT JOIN work.known_votes v USING (custom_id)") if voted_columns(condition) else Sql(""),
        )

    @property
    def _blind(self) -> frozenset[str]:
        """Return the fields that are hidden in rows of the sample: those whose values the schema lists."""
        review = self.resolved.file.pipeline.review
        if not review.blind or not review.sample:
            return frozenset()
        return frozenset(name for name, each in self.resolved.full_schema["properties"].items() if is_closed(each))

    def _read(self, chosen: Sql) -> Iterator[ReviewRow]:
        names = [each.name for each in self.snapshot.columns]
        key = self.resolved.file.pipeline.input.key  # a sheet is read back by the texts of its keys
        shown = joined(", ", (each.text if each.name in key else each.shown for each in self.snapshot.columns))
        texts = sql("[{shown}]::VARCHAR[]", shown=shown)
        blind = self._blind
        cursor = self.work.connection.cursor()
        cursor.execute(query("review_row", texts=texts, snapshot=self.snapshot.relation, chosen=chosen))
        columns = [each[0] for each in cursor.description or ()]
        for values in streamed_rows(cursor):
            found = dict(zip(columns, values, strict=True))
            provider, model = found.pop("provider"), found["model"]
            found["model"] = with_provider(provider, model) if model is not None else None
            found["answer"], found["document"] = map(exact_json.loads, (found["answer"], found["document"]))
            found["input"] = dict(zip(names, found["input"], strict=True))
            if blind and "sample" in found["chosen"] and found["reviewed_by"] is None:
                found["hidden"] = blind
                found["document"] = {name: each for name, each in found["document"].items() if name not in blind}
            yield ReviewRow(**found)


def reviewed_values(session: Session, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the valid reviews, one per key: key, before and after as JSON text, reviewed_by and the other columns.

    Reads `ledger.reviews`.
    """
    return session.dictionaries(standing_reviews(session, names))
