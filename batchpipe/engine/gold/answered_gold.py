"""Grade stored answers: compare them with the true values of their rows.

A true value belongs to a row's key and its input: it is used for an answer only where gold (or a review) and the
request have the same values in every input column that both have. A review goes before `[eval] gold`. Rows that the
prompt shows as examples are left out, as in an evaluation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchpipe.decide.fingerprint import newest_recipe
from batchpipe.engine.context import Context
from batchpipe.engine.gold.gold_rows import (
    Gold,
    GoldField,
    evaluated_file,
    field_comparison,
    read_gold,
    reviewed_fields,
    truth_values,
)
from batchpipe.engine.gold.reviewed_gold import FromReview, fill_reviewed, same_row_sql
from batchpipe.engine.resolved.recorded_recipes import with_keys_of
from batchpipe.engine.source.snapshot import Snapshot, names_sql, texts_sql
from batchpipe.evaluation.field_comparison import is_correct
from batchpipe.pipeline.model import PipelineFile
from batchpipe.schema.columns import Column, value_sql
from batchpipe.sql.quoting import Sql, joined, quote_identifier, quote_list, sql
from batchpipe.store.database import Session, Work
from batchpipe.store.queries import query

# The rows that a prompt shows, by the name of the query.
Examples = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueValues:
    """The true values in `work.true_values`: their fields, with the output columns, and the names of the key columns.

    `judged` names the fields that are left out: a judge compares them, and only an evaluation asks a judge.
    """

    key: tuple[str, ...]
    fields: tuple[GoldField, ...]
    judged: tuple[str, ...]
    columns: Mapping[str, Column]


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedAnswer:
    """An answer to a row whose true values are known. `correct` says of each field whether it is right.

    `chosen` says why a person saw the row, where the true value comes from a review, else it is None. `extra` has the
    values of the extra columns that the caller asked for.
    """

    key: str
    correct: Mapping[str, bool]
    chosen: Sequence[str] | None
    extra: tuple[Any, ...]

    @property
    def right(self) -> bool:
        """Return whether every compared field is right."""
        return all(self.correct.values())


def read_true_values(context: Context, work: Work, file: PipelineFile, columns: Sequence[Column]) -> TrueValues | None:
    """Read `[eval] gold` and reviews into `work.true_values`, without reading the input.

    Return None without `[eval]`, and where judges compare every field. `columns` are those of the output table.
    Tables read: `ledger.reviews`. Tables written: `work.true_values`, `work.gold_reviews`.
    Raises PipelineError and InputError for gold that cannot be used.
    """
    if file.pipeline.eval is None:
        return None
    by_name = {each.name: each for each in columns}
    with context.temporary_folder("gold-") as folder:
        gold = _read_gold(context, file, folder / "gold.parquet")
        known = [each for each in gold.fields if each.name in by_name]
        fields = tuple(each for each in known if field_comparison(each) is not None)
        if not fields:
            return None
        if gold.snapshot is not None:
            gold.snapshot.make_room(work.memory)
        with context.database.reading(work) as session:
            fill_reviewed(session, file.pipeline.names, columns, [each.name for each in fields])
            keyed = _with_stored_keys(session, file, gold.snapshot) if gold.snapshot is not None else None
        values = joined("", (sql(", {name}", name=quote_identifier(each.name)) for each in fields))
        work.connection.execute(query("true_values_from_review", values=values))
        if keyed is not None:
            _take_gold(work, keyed, fields, by_name, file)
    judged = tuple(each.name for each in known if each not in fields)
    return TrueValues(key=tuple(file.pipeline.input.key), fields=fields, judged=judged, columns=by_name)


def _read_gold(context: Context, file: PipelineFile, path: Path) -> Gold:
    """Read `[eval] gold`; without it, only the fields that reviews may have true values of."""
    if file.pipeline.eval is None or file.pipeline.eval.gold is None:
        return Gold(snapshot=None, fields=reviewed_fields(file), whole=False)
    over_gold = evaluated_file(file, gold=True)
    with context.source(over_gold, {}) as source:
        return read_gold(source, over_gold, path)


def _with_stored_keys(session: Session, file: PipelineFile, snapshot: Snapshot) -> Snapshot:
    """Return gold with its keys written as the ledger has them: gold may have them in another type than the input.

    Reads `ledger.policies`, `ledger.requests`. Writes `work.stored_keys`.
    """
    by_name = {each.name: each for each in snapshot.columns}
    key = [by_name[name] for name in file.pipeline.input.key]
    path = snapshot.path.with_name("gold-keyed.parquet")
    return with_keys_of(session, file.pipeline.names, key, snapshot, path, recipe=newest_recipe().number)


def _take_gold(
    work: Work, snapshot: Snapshot, fields: Sequence[GoldField], types: Mapping[str, Column], file: PipelineFile
) -> None:
    """Add the true values of the gold rows to `work.true_values`.

    Writes `work.true_values`.
    """
    true = {each.column.name for each in fields if each.column is not None}
    inputs = [each for each in snapshot.columns if each.name not in true]
    statement = query(
        "true_values_from_gold",
        names=names_sql(inputs),
        texts=texts_sql(inputs),
        values=truth_values(work, snapshot, fields, types, file),
        gold=snapshot.relation,
    )
    work.connection.execute(statement)


def fill_keys_with_gold(work: Work, snapshot: Snapshot | None) -> None:
    """Fill the keys of the input `snapshot` that have a true value; no keys without a snapshot.

    Reads `work.true_values`. Writes `work.keys_with_gold`.
    """
    if snapshot is None:
        work.connection.execute(Sql("CREATE OR REPLACE TABLE work.keys_with_gold (key_id UUID)"))
        return
    same = same_row_sql(names_sql(snapshot.columns), Sql("s._given"), Sql("g._columns"), Sql("g._texts"))
    parts = {"same": same, "texts": texts_sql(snapshot.columns), "rows": snapshot.relation}
    work.connection.execute(query("keys_with_gold", **parts))


def grade_answers(
    session: Session,
    gold: TrueValues,
    names: Sequence[str],
    answers: Sql,
    examples: Sequence[Examples] = (),
    extra_columns: Sequence[str] = (),
) -> list[GradedAnswer]:
    """Return the answers whose row has a true value, with what is right. An answer that is not valid is wrong.

    `answers` is a relation of key_id, custom_id, output, valid and `extra_columns`. `examples` are the rows that the
    prompts show.
    Reads `work.true_values`, `ledger.requests`, `ledger.policies`.
    """
    session.work.memory.make_room_for_rows(names)
    columns = [gold.columns[each.name] for each in gold.fields]
    statement = query(
        "graded_answers",
        pipelines=quote_list(names),
        answers=answers,
        same=same_row_sql(Sql("p.columns"), Sql("q.texts"), Sql("g._columns"), Sql("g._texts")),
        extra=joined("", (sql(", a.{name}", name=quote_identifier(each)) for each in extra_columns)),
        true=joined("", (sql(", g.{name}", name=quote_identifier(each.name)) for each in gold.fields)),
        given=joined("", (sql(", {value}", value=value_sql(each, "a.output")) for each in columns)),
    )
    shown = [_PromptExamples(gold.key, rows) for each in examples for rows in each.values() if rows]
    found, width = [], len(gold.fields)
    for key, valid, chosen, asked, texts, *values in session.rows(statement):
        extra, true, given = values[: len(extra_columns)], values[len(extra_columns) : -width], values[-width:]
        if any(each.has(key, asked, texts) for each in shown):
            continue
        correct = {
            field.name: valid and is_correct(how, right, said)
            for field, right, said in zip(gold.fields, true, given, strict=True)
            if (how := field_comparison(field)) is not None
        }
        found.append(GradedAnswer(key=key, correct=correct, chosen=chosen, extra=tuple(extra)))
    return found


class _PromptExamples:
    """The rows of one query of a prompt, and the key's column names."""

    def __init__(self, key: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        self._key = key
        self._rows = [{name: _text(value) for name, value in row.items()} for row in rows]
        self._known: dict[tuple[str, ...], set[tuple[str | None, ...]]] = {}

    def has(self, key: str, asked: Sequence[str], texts: Sequence[str | None]) -> bool:
        """Return whether the prompt shows a row: an example has the same key and the same request values, as far as it
        has those columns.
        """
        names = tuple(name for name in dict.fromkeys([*asked, *self._key]) if name in self._rows[0])
        if not set(names) & set(asked) and not set(self._key) <= set(names):
            return False
        if names not in self._known:
            self._known[names] = {tuple(row[name] for name in names) for row in self._rows}
        given = dict(zip(self._key, json.loads(key), strict=True)) | dict(zip(asked, texts, strict=False))
        return tuple(given[name] for name in names) in self._known[names]


def _text(value: Any) -> str | None:
    """Return a value as DuckDB reads it out of JSON as text."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, default=str).strip('"')


def reviewed_among(found: Sequence[GradedAnswer]) -> FromReview:
    """Count the answers whose true value comes from a review, by the reason for the review."""
    counts = dict.fromkeys(("sample", "ladder", "where", "other"), 0)
    for word in _reasons(found):
        counts[word] += 1
    return FromReview(**counts)


def _reasons(found: Sequence[GradedAnswer]) -> Iterator[str]:
    """Yield for each reviewed answer the first reason for its review."""
    for each in found:
        if each.chosen is not None:
            yield next((word for word in ("sample", "ladder", "where") if word in each.chosen), "other")
