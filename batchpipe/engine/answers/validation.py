"""Validate answers: JSON by the compiled schema, then casts, checks and `accept` in SQL.

A check reads the row as it was sent. The rules are made of a policy, which is plain data: the present policy of the
pipeline, or the policy under which the requests of an older prompt version were sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from batchpipe.common.secrets import redacted
from batchpipe.schema.casts import bounds_of_times
from batchpipe.schema.columns import Column, leaf_types, uncast_sql, value_sql
from batchpipe.schema.validate import AnswerValidator
from batchpipe.sql.conditions import INPUT_PREFIX, OUTPUT_PREFIX, Condition
from batchpipe.sql.quoting import Sql, joined, number_sql, quote_identifier, quote_literal, sql
from batchpipe.sql.recorded import recorded_value
from batchpipe.store.arrow import arrow
from batchpipe.store.database import Session, Work
from batchpipe.store.memory import TOKEN_BYTES, VECTOR_ROWS
from batchpipe.store.queries import query

BLOCK_ROWS = 10_000
BLOCK_BYTES = 16_000_000
MAX_SHOWN_CHECK = 200

# SQL for whether an answer is a member's, and what a check that reads votes adds to its condition.
ALONE = Sql("false")
VOTED_ON = Sql(" AND NOT of_member")

Format = Literal["json_schema", "tool", "json", "text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRules:
    """What an answer is validated against: the schema, the columns, the checks and the `accept` of each rung.

    `input_columns` are (name, DuckDB type) in the order of `input_values`. `renames` has the older names of fields,
    which stored answers have.
    """

    output_format: Format
    full_schema: Mapping[str, Any]
    columns: tuple[Column, ...]
    input_columns: tuple[tuple[str, str], ...]
    checks: Mapping[str, Condition]
    accepts: Sequence[Condition | None]
    renames: Mapping[str, str] = field(default_factory=dict)

    @property
    def conditions(self) -> list[Condition]:
        """Return every check and every `accept`."""
        return [*self.checks.values(), *(each for each in self.accepts if each is not None)]

    @property
    def inputs(self) -> frozenset[str]:
        """Return the names of the input columns that the conditions read."""
        return frozenset[str]().union(*(each.inputs for each in self.conditions))


def fill_answers(session: Session, wanted: Sql) -> None:
    """Fill `work.answers` with the newest answer to each custom_id of the relation `wanted`.

    Reads `ledger.results`. Writes `work.answers` (custom_id, answer).
    """
    make_room_for_stored(session, sql("custom_id IN (SELECT custom_id FROM {wanted})", wanted=wanted), 0)
    session.execute(query("stored_answers", wanted=wanted))


def make_room_for_stored(session: Session, among: Sql, fields: int) -> None:
    """Limit how many long answers a statement reads at once, so that the statement fits into memory.

    The statement reads `fields` fields out of the results for which the condition `among` is true.
    Reads `ledger.results`.
    """
    numbers = {"rows": number_sql(VECTOR_ROWS), "token_bytes": number_sql(TOKEN_BYTES)}
    tokens, longest = session.one(query("longest_stored", among=among, **numbers))
    session.work.memory.make_room_for_answers(TOKEN_BYTES * tokens, fields, TOKEN_BYTES * longest)


def validate_documents(work: Work, rules: AnswerRules, answers: Sql) -> None:
    """Validate the relation `answers` (custom_id, answer) against the schema.

    Answers with the same text are validated once: labels and scores repeat.
    Writes `work.validated`, `work.documents` (custom_id, output, error).
    """
    connection = work.connection
    measured = connection.execute(query("longest_answers", answers=answers, rows=number_sql(VECTOR_ROWS))).fetchone()
    vector_bytes, longest_bytes = measured or (0, 0)
    work.memory.make_room_for_answers(vector_bytes, len(rules.columns), longest_bytes)
    block_rows = min(BLOCK_ROWS, max(VECTOR_ROWS * BLOCK_BYTES // max(vector_bytes, 1), 1))
    # work.validated: One row is a distinct answer text, with its document or the error that makes it invalid.
    connection.execute(Sql("CREATE OR REPLACE TABLE work.validated (answer VARCHAR, output JSON, error VARCHAR)"))
    validator = AnswerValidator(rules.full_schema, rules.output_format, rules.renames)
    reader = connection.cursor()
    reader.execute(sql("SELECT DISTINCT coalesce(answer, '') FROM {answers}", answers=answers))
    while block := reader.fetchmany(block_rows):
        verdicts = [validator.validate(answer) for (answer,) in block]
        documents = arrow().table(
            {
                "answer": arrow().array([answer for (answer,) in block], arrow().string()),
                "output": arrow().array([output for output, _ in verdicts], arrow().string()),
                "error": arrow().array([error and redacted(error) for _, error in verdicts], arrow().string()),
            }
        )
        connection.register("documents_block", documents)
        connection.execute(Sql("INSERT INTO work.validated SELECT * FROM documents_block"))
        connection.unregister("documents_block")
    connection.execute(
        # work.documents: One row is an answer by its request, with its document or the error that makes it invalid.
        sql(
            "CREATE OR REPLACE TABLE work.documents AS SELECT a.custom_id, v.output, v.error "
            "FROM {answers} a JOIN work.validated v ON v.answer = coalesce(a.answer, '')",
            answers=answers,
        )
    )


NO_VOTES = query("no_votes")


def validate_answers(
    work: Work, rules: AnswerRules, rows: Sql, *, votes: Sql | None = NO_VOTES, members: Sql = ALONE
) -> None:
    """Apply the casts, the checks and `accept` to the documents of `rows`.

    `votes` is a relation (custom_id, agreement, votes) of what conditions read of votes; with None `rows` has it, as
    `_agreement` and `_votes`. `members` is SQL for whether a row `r` is the answer of a member of a panel: checks that
    read votes are for the answer that stands.

    `rows` is a relation of (key_id, custom_id, rung, input_values VARCHAR[]); `input_values` is needed only where a
    condition reads the input. Several rows may share an answer, and each is checked with its own input values.
    Reads `work.documents`. Writes `work.validity` (key_id, custom_id, valid, accepts, error).
    """
    needed = frozenset[str]().union(*(each.outputs for each in rules.conditions))
    voted = sorted(needed & {"_agreement", "_votes"})
    if voted and votes is not None:
        rows = sql(
            "(SELECT r.*, v.agreement AS _agreement, v.votes AS _votes "
            "FROM {rows} r LEFT JOIN ({votes}) v USING (custom_id))",
            rows=rows,
            votes=votes,
        )
    select = _selected(rules, needed, voted, members)
    for part in range(work.memory.parts):
        of_part = Sql("")
        if work.memory.parts > 1:
            numbers = {"parts": number_sql(work.memory.parts), "part": number_sql(part)}
            of_part = sql("WHERE hash(custom_id) % {parts} = {part}", **numbers)
        # work.validity: One row is a row and an answer, with whether it is valid and whether `accept` holds for it.
        made = Sql("CREATE OR REPLACE TABLE work.validity AS")
        work.connection.execute(
            sql(
                "{into} SELECT key_id, custom_id, problem IS NULL AS valid, problem IS NULL AND {accept} AS accepts, "
                "problem AS error FROM (SELECT *, coalesce(error, uncast, {failed_check}) AS problem "
                "FROM (SELECT {select} FROM {rows} r JOIN work.documents d USING (custom_id) {of_part}))",
                into=Sql("INSERT INTO work.validity") if part else made,
                accept=_accept(rules),
                failed_check=_failed_check(rules),
                select=select,
                rows=rows,
                of_part=of_part,
            )
        )


def _selected(rules: AnswerRules, needed: frozenset[str], voted: Sequence[str], members: Sql) -> Sql:
    """Return SQL for what conditions read of a row `r` and its document `d`: fields that are `needed`, and votes."""
    positions = {name: number for number, (name, _) in enumerate(rules.input_columns, start=1)}
    types = dict(rules.input_columns)
    inputs = [
        sql(
            "{value} AS {name}",
            value=recorded_value(sql("r.input_values[{position}]", position=number_sql(positions[name])), types[name]),
            name=quote_identifier(INPUT_PREFIX + name),
        )
        for name in sorted(rules.inputs)
    ]
    for each in voted:
        inputs.append(
            sql("r.{name} AS {seen}", name=quote_identifier(each), seen=quote_identifier(OUTPUT_PREFIX + each))
        )
    inputs += [sql("{members} AS of_member", members=members)] if voted else []
    outputs = [
        sql(
            "{value} AS {name}",
            value=value_sql(column, "d.output"),
            name=quote_identifier(OUTPUT_PREFIX + column.name),
        )
        for column in rules.columns
        if column.name in needed
    ]
    uncast = sql("r.key_id, r.custom_id, r.rung, d.error, {uncast} AS uncast", uncast=_uncast(rules))
    return joined(", ", [uncast, *inputs, *outputs])


def _uncast(rules: AnswerRules) -> Sql:
    """Return SQL for the text on the first field whose value does not cast to its column; NULL where all cast."""
    cases = []
    for column in rules.columns:
        said = f"{column.name}: the value does not fit {column.type}{bounds_of_times(leaf_types(column.shape))}"
        if (test := uncast_sql(column, "d.output")) != "false":
            cases.append(sql("WHEN {test} THEN {said}", test=test, said=quote_literal(said)))
    if not cases:
        return Sql("NULL::VARCHAR")
    return sql("CASE WHEN d.error IS NOT NULL THEN NULL {cases} END", cases=joined(" ", cases))


def _failed_check(rules: AnswerRules) -> Sql:
    """Return SQL for the text on the first check that fails, else NULL. A retry shows this text to the model."""
    cases = []
    for name, check in rules.checks.items():
        said = quote_literal(f"check {name} does not hold: {check.text[:MAX_SHOWN_CHECK]}")
        alone = VOTED_ON if check.outputs & {"_agreement", "_votes"} else Sql("")
        cases.append(sql("WHEN NOT {truth}{alone} THEN {said}", truth=check.truth, alone=alone, said=said))
    return sql("CASE {cases} END", cases=joined(" ", cases)) if cases else Sql("NULL::VARCHAR")


def _accept(rules: AnswerRules) -> Sql:
    """Return SQL for whether the `accept` of the row's rung is true."""
    cases = [
        sql("WHEN {rung} THEN {truth}", rung=number_sql(rung), truth=accept.truth)
        for rung, accept in enumerate(rules.accepts, start=1)
        if accept is not None
    ]
    return sql("CASE rung {cases} ELSE true END", cases=joined(" ", cases)) if cases else Sql("true")
