"""Read gold rows: the key, the true values of some fields, and the columns that the prompt reads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from batchpipe.common.errors import InputError, PipelineError, Problem
from batchpipe.common.given import toml_key
from batchpipe.common.likeness import nearest
from batchpipe.engine.gold.reviewed_gold import FromReview, count_reviewed, take_reviewed
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import InputColumn, Snapshot, present_key_sql
from batchpipe.engine.source.source import Source
from batchpipe.evaluation.field_comparison import FieldComparison
from batchpipe.pipeline.model import Eval, EvalField, Input, PipelineFile, Rerun
from batchpipe.schema.columns import Column
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import Sql, joined, quote_identifier, quote_literal, sql, type_sql
from batchpipe.store.database import Work
from batchpipe.store.queries import query

DATA_FILE = re.compile(r"\S.*\.(csv|tsv|parquet|json|jsonl|ndjson)(\.gz|\.zst)?", re.IGNORECASE)
EXACT = EvalField(compare="exact")


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldField:
    """An output field, the gold column that holds its true value, and how the two are compared.

    `column` is None without `[eval] gold`: then reviews say what is true.
    """

    name: str
    column: InputColumn | None
    compared: EvalField


@dataclass(frozen=True, slots=True, kw_only=True)
class Gold:
    """Gold as it was read: a snapshot of all its columns, or None where reviews are the only gold.

    `whole`: whether gold has the input's columns too.
    """

    snapshot: Snapshot | None
    fields: tuple[GoldField, ...]
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldRows:
    """The rows that models answer: `rows` has the columns that prompts read, `work.truth` has the true values.

    Rows that were left out: `shown` because the prompt shows them, `missing` because the input has no such key,
    `unseen` because a reviewed row lacks a column that the prompt reads. `people`: how many gold rows people reviewed,
    and in how many of them they agreed with gold.
    """

    rows: Snapshot
    shown: int
    missing: int
    reviewed: FromReview
    unseen: int = 0
    people: tuple[int, int] = (0, 0)


class GoldInputs:
    """An input whose columns are known. Small queries run in the session of `source`."""

    def __init__(self, source: Source, columns: tuple[InputColumn, ...]) -> None:
        self.connection: Connection = source.connection
        self._source = source
        self._columns = columns

    def columns(self) -> tuple[InputColumn, ...]:
        """Return the known columns."""
        return self._columns

    def column_problems(self, columns: Sequence[InputColumn]) -> list[Problem]:
        """Return a problem for each column that the file names and `columns` does not have."""
        return self._source.column_problems(columns)

    def table(self, query: str, toml_path: str) -> list[dict[str, Any]]:
        """Return the rows of a small query of the file."""
        return self._source.table(query, toml_path)


def evaluated_file(file: PipelineFile, *, gold: bool) -> PipelineFile:
    """Return `file` as an evaluation uses it: with its prompt, fields, checks and ladder, and without an output table.

    With `gold` the input is `[eval] gold`, without setup and parameters.
    """
    pipeline = file.pipeline
    changed: dict[str, Any] = {
        "output": pipeline.output.model_copy(update={"include": (), "after": ()}),
        "chunking": pipeline.chunking.model_copy(update={"group_by": ()}),
        "rerun": Rerun(),
        "pilot": None,
        "local": None,
    }
    text = file.query
    if gold:
        assert pipeline.eval is not None
        assert pipeline.eval.gold is not None
        changed["input"] = Input(query_file=file.where("[eval] gold"), key=pipeline.input.key)
        given = pipeline.eval.gold.strip()
        text = f"SELECT * FROM {quote_literal(given)}" if DATA_FILE.fullmatch(given) else given
    changed_file = {"pipeline": pipeline.model_copy(update=changed), "query": text}
    learner = file.learner or (pipeline if pipeline.local is not None else None)
    return file.model_copy(update=changed_file | {"evaluates": tuple(pipeline.names), "learner": learner})


def gold_fields(source: Source, file: PipelineFile) -> tuple[GoldField, ...]:
    """Return the fields that gold has true values of. `source` is open over gold.

    Raises PipelineError where gold lacks a column that it needs.
    """
    given = file.pipeline.eval
    assert given is not None
    by_name = {each.name: each for each in source.columns()}
    for name in file.pipeline.input.key:
        if name not in by_name:
            raise _no_column(file, "gold", name, by_name, "every row needs its key")
    return _fields(file, given, by_name)


def read_gold(source: Source, file: PipelineFile, path: Path) -> Gold:
    """Read `[eval] gold` of `file` into a snapshot at `path`. `source` is open over gold.

    Raises InputError where gold has no rows.
    """
    fields, columns = gold_fields(source, file), source.columns()
    snapshot = source.snapshot(path, columns)
    if not snapshot.rows:
        raise InputError("gold has no rows", where=file.where("[eval] gold"), hint="Label some rows of the input.")
    return Gold(snapshot=snapshot, fields=fields, whole=has_input_columns(file, fields, columns))


def has_input_columns(file: PipelineFile, fields: Sequence[GoldField], columns: Sequence[InputColumn]) -> bool:
    """Return whether `columns`, those of gold, are more than the key and the true values: the input's columns too."""
    needed = {*file.pipeline.input.key, *(each.column.name for each in fields if each.column is not None)}
    return any(each.name not in needed for each in columns)


def reviewed_fields(file: PipelineFile) -> tuple[GoldField, ...]:
    """Return the fields that the file lists, where reviews are the only gold."""
    given = file.pipeline.eval
    assert given is not None
    _refuse_unknown(file, given)
    return tuple(GoldField(name=name, column=None, compared=how) for name, how in given.fields.items())


def _refuse_unknown(file: PipelineFile, given: Eval) -> list[str]:
    """Return the names of the output fields.

    Raises PipelineError where `[eval]` names a field that is not one of them.
    """
    known = _field_names(file)
    for key, names in (("expect", given.expect), ("fields", given.fields)):
        for name in names:
            if name not in known:
                near = nearest(name, known)
                hint = f"Did you mean {near!r}?" if near else f"The fields: {', '.join(known)}."
                what = f"there is no output field {name!r}"
                raise PipelineError(what, where=file.where(f"[eval] {key}"), hint=hint)
    return known


def _fields(file: PipelineFile, given: Eval, columns: Mapping[str, InputColumn]) -> tuple[GoldField, ...]:
    """Return the fields to compare: those that the file lists, else each field that gold has a column of."""
    known = _refuse_unknown(file, given)
    wanted = [*given.fields] or [name for name in known if name in given.expect or name in columns]
    found = []
    for name in wanted:
        column = given.expect.get(name, name)
        if column not in columns:
            raise _no_column(file, "expect", column, columns, f"it is to hold the true values of {name}")
        found.append(GoldField(name=name, column=columns[column], compared=given.fields.get(name, EXACT)))
    if not found:
        hint = f'Name the column: expect = {{ {toml_key(next(iter(known), "label"))} = "column" }}'
        raise PipelineError("gold has no true values of any output field", where=file.where("[eval]"), hint=hint)
    return tuple(found)


def _field_names(file: PipelineFile) -> list[str]:
    return list((file.schema_content or {}).get("properties", file.pipeline.output.fields))


def _no_column(file: PipelineFile, key: str, name: str, columns: Mapping[str, Any], why: str) -> PipelineError:
    hint = f"Its columns: {', '.join(columns)}."
    return PipelineError(f"gold has no column {name!r}: {why}", where=file.where(f"[eval] {key}"), hint=hint)


def choose_rows(
    work: Work, gold: Gold, given: Snapshot, prompts: Sequence[Resolved], path: Path, sample: int | None
) -> GoldRows:
    """Fill `work.truth` and return the rows to ask: those of `given` that gold has and that no prompt shows.

    `sample` is how many of them to take, in the order of the key's hash; None takes all.
    Reads `work.gold_reviews`. Writes `work.truth`.
    """
    connection = work.connection
    missing = _fill_truth(work, gold.snapshot, gold, given, prompts[0]) if gold.snapshot is not None else 0
    people = _people(work, gold) if gold.snapshot is not None else (0, 0)
    take_reviewed(work, given, empty=gold.snapshot is None)
    shown = 0
    for prompt in prompts:
        for rows in prompt.version.queries.values():
            shown += leave_out(work, given, prompt, rows)
    if sample is not None:
        connection.execute(query("gold_sample"), {"rows": sample})
    if not _count(work, Sql("SELECT count(*) FROM work.truth")):
        raise _nothing_left(gold, prompts[0].file)
    rows = subset(work, given, Sql("SELECT key_id FROM work.truth"), path)
    return GoldRows(rows=rows, shown=shown, missing=missing, reviewed=count_reviewed(work), people=people)


def _people(work: Work, gold: Gold) -> tuple[int, int]:
    """Return how many rows of `work.truth` people reviewed, and in how many of them they agreed with gold.

    Reads `work.truth`, `work.gold_reviews`.
    """
    names = (quote_identifier(each.name) for each in gold.fields)
    same = joined(" AND ", (sql("t.{name} IS NOT DISTINCT FROM r.{name}", name=name) for name in names))
    [found] = work.connection.execute(query("reviewed_and_gold", same=same)).fetchall()
    return found[0], found[1]


def field_comparison(field: GoldField) -> FieldComparison | None:
    """Return how the file says that a field is compared; None where a judge compares it."""
    kind = field.compared.compare
    return None if kind == "judge" else FieldComparison(kind=kind, tolerance=Decimal(str(field.compared.tolerance)))


def _nothing_left(gold: Gold, file: PipelineFile) -> InputError:
    """Return the error for gold of which no row can be asked."""
    if gold.snapshot is None:
        hint = f'Review some rows (batchpipe review {file.pipeline.name}), or add gold = "SELECT ...".'
        return InputError(
            "nobody has reviewed a row of the input: there is no gold", where=file.where("[eval]"), hint=hint
        )
    what = "no gold row is left: the prompt shows all of them, or the input has none of their keys"
    return InputError(what, where=file.where("[eval] gold"), hint="Label rows that the prompt does not show.")


def _fill_truth(work: Work, snapshot: Snapshot, gold: Gold, given: Snapshot, prompt: Resolved) -> int:
    """Fill `work.truth` from `[eval] gold`, and return how many gold rows `given` lacks."""
    values = truth_values(work, snapshot, gold.fields, {each.name: each for each in prompt.columns}, prompt.file)
    key = prompt.file.pipeline.input.key
    relations = {
        "gold": snapshot.relation,
        "rows": given.relation,
        "gold_key": _canonical_key(snapshot, key),
        "row_key": _canonical_key(given, key),
    }
    work.connection.execute(query("gold_truth", values=values, **relations))
    return _count(work, query("gold_missing", **relations))


def _canonical_key(snapshot: Snapshot, key: Sequence[str]) -> Sql:
    """Return SQL for the canonical text of a key over a snapshot: gold may have it in another type than the input."""
    by_name = {each.name: each for each in snapshot.columns}
    return present_key_sql(by_name[name] for name in key)


def subset(work: Work, snapshot: Snapshot, keys: Sql, path: Path) -> Snapshot:
    """Write the rows of `snapshot` whose key_id is in `keys` (SQL) as a snapshot at `path`."""
    return snapshot.of_rows(work.connection, query("gold_rows", rows=snapshot.relation, keys=keys), path)


def truth_values(
    work: Work, snapshot: Snapshot, fields: Sequence[GoldField], types: Mapping[str, Column], file: PipelineFile
) -> Sql:
    """Return SQL for the true values of `fields` in gold `g`, each after a comma.

    Raises InputError for a true value that the field's type does not take.
    """
    _refuse_strange(work, snapshot, fields, types, file)
    return joined(
        "",
        (
            sql(", {truth} AS {name}", truth=_truth(each, types[each.name]), name=quote_identifier(each.name))
            for each in fields
        ),
    )


def _truth(field: GoldField, column: Column) -> Sql:
    assert field.column is not None
    return sql("TRY_CAST(g.{stored} AS {type})", stored=field.column.stored, type=type_sql(column.type))


def _refuse_strange(
    work: Work, snapshot: Snapshot, fields: Sequence[GoldField], types: Mapping[str, Column], file: PipelineFile
) -> None:
    """Check that every true value fits its field's type: one that does not fit would make every answer wrong."""
    for each in fields:
        assert each.column is not None
        truth = _truth(each, types[each.name])
        test = sql("g.{stored} IS NOT NULL AND {truth} IS NULL", stored=each.column.stored, truth=truth)
        row = work.connection.execute(
            sql(
                "SELECT key, {text} FROM {relation} g WHERE {test} LIMIT 1",
                text=each.column.text,
                relation=snapshot.relation,
                test=test,
            )
        ).fetchone()
        if row is not None:
            what = (
                f"the true value {row[1]!r} of row {row[0]} does not fit {each.name}, which is {types[each.name].type}"
            )
            hint = "Correct it, or cast it in the query."
            raise InputError(what, where=file.where("[eval] gold"), hint=hint)


def leave_out(work: Work, given: Snapshot, prompt: Resolved, rows: Sequence[Mapping[str, Any]]) -> int:
    """Delete the rows that a query of the prompt shows from `work.truth`, and return how many.

    A row is shown where an example has the same values in every column that the example and the prompt's row share.
    """
    names = {each.name: each for each in given.columns}
    read = {*prompt.templates.columns, *prompt.file.pipeline.input.key} & set(names)
    shared = sorted(read & set(rows[0])) if rows else []
    if not set(shared) & prompt.templates.columns and not set(prompt.file.pipeline.input.key) <= set(shared):
        return 0
    same = joined(
        " AND ",
        (
            sql(
                "{text} IS NOT DISTINCT FROM json_extract_string(e.example, {json_path})",
                text=names[name].text,
                json_path=quote_literal(_json_path(name)),
            )
            for name in shared
        ),
    )
    statement = query("gold_leave_out", rows=given.relation, same=same)
    texts = [json.dumps({name: row[name] for name in shared}, default=str, ensure_ascii=False) for row in rows]
    return len(work.connection.execute(statement, {"examples": texts}).fetchall())


def _json_path(name: str) -> str:
    return "$." + quote_identifier(name)


def _count(work: Work, statement: Sql) -> int:
    row = work.connection.execute(statement).fetchone()
    return int(row[0]) if row else 0
