"""Compare two prompt versions or models side by side: what they answered to the same rows, in SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from batchpipe.engine.gold.answered_gold import Examples, TrueValues
from batchpipe.engine.quality.gold_diff import GoldDiff, diff_gold
from batchpipe.engine.resolved.prompt_text import PartDiff, VersionText, diff_texts
from batchpipe.engine.resolved.versions import KnownVersion
from batchpipe.engine.source.snapshot import shown_values
from batchpipe.pipeline.model import Output
from batchpipe.providers.known import with_provider
from batchpipe.schema.columns import Column, output_columns, value_sql
from batchpipe.sql.quoting import Sql, json_pointer, number_sql, quote_list, quote_literal, sql
from batchpipe.store.database import Session
from batchpipe.store.queries import query

SHOWN_PAIRS = 20
SHORT_CHARACTERS = 40
FEW_PAIRS = 50

Kind = Literal["values", "number", "text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweringModel:
    """A model whose answers one side of a diff takes, and the provider that it was asked at."""

    provider: str
    model: str

    @property
    def name(self) -> str:
        """Return the model as it is shown and typed: with its provider before it where that is not the usual one."""
        return with_provider(self.provider, self.model)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffSide:
    """One side of a diff: a prompt version, with the answers of one model or of any.

    `known` is None where the version was never run. `examples` are the rows of the prompt's queries.
    """

    text: VersionText
    full_schema: Mapping[str, Any]
    known: KnownVersion | None
    model: AnsweringModel | None = None
    examples: Examples = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Return the side's name for a person: the version, and the model where one is named."""
        return f"{self.text.label}, {self.model.name}" if self.model else self.text.label


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """A field whose value differs in `changed` rows. None stands for null or for no value.

    `pairs` (before, after, rows) are the most frequent changes, where there are few or short values; `other_pairs`
    counts the rows of the other changes. The means of a number are over all rows that have one on both sides.
    """

    name: str
    kind: Kind
    changed: int
    pairs: Sequence[tuple[str | None, str | None, int]] = ()
    other_pairs: int = 0
    mean_before: float | None = None
    mean_after: float | None = None

    @property
    def mean_change(self) -> float | None:
        """Return the mean after minus the mean before; None if either is not known."""
        if self.mean_before is None or self.mean_after is None:
            return None
        return self.mean_after - self.mean_before


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedRow:
    """A row whose answer differs: its input as text as it was sent, and the changed fields as (name, before, after)."""

    key: str | None
    input: Mapping[str, str | None]
    from_model: str | None
    to_model: str | None
    fields: Sequence[tuple[str, str | None, str | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffCost:
    """US dollars of each side for the same `rows`, which both sides answered themselves. A result without a price
    counts as nothing.
    """

    rows: int
    from_usd: Decimal
    to_usd: Decimal
    unpriced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerDiff:
    """The differences between two sides.

    `compared` rows have an answer on both sides. They are `changed` or not; of the unchanged ones `carried_over` have
    the very same answer. `input_changed` counts the compared rows whose input changed too. `gold` is None where no
    compared row has a true value.
    """

    pipeline: str
    before: DiffSide
    after: DiffSide
    prompt: Sequence[PartDiff]
    compared: int
    changed: int
    carried_over: int
    input_changed: int
    only_from: int
    only_to: int
    added_fields: Sequence[str]
    removed_fields: Sequence[str]
    fields: Sequence[FieldChange]
    rows: Sequence[ChangedRow]
    cost: DiffCost
    gold: GoldDiff | None = None

    @property
    def unchanged(self) -> int:
        """Return how many compared rows have the same answer on both sides."""
        return self.compared - self.changed


def answering_models(session: Session, names: Sequence[str]) -> list[AnsweringModel]:
    """Return the models that answered the pipeline called `names`, by what they were asked as and answered as.

    Reads the ledger.
    """
    found = session.dictionaries(query("answering_models", pipelines=quote_list(names)))
    return [AnsweringModel(**each) for each in found]


def diff_answers(
    session: Session,
    names: Sequence[str],
    before: DiffSide,
    after: DiffSide,
    *,
    rows: int,
    gold: TrueValues | None = None,
) -> AnswerDiff:
    """Compare two sides of the pipeline called `names`, and return at most `rows` changed rows.

    Reads the ledger, `work.true_values`. Writes `work.side_before`, `work.side_after`, `work.pairs`, `work.cells`.
    """
    pipelines = quote_list(names)
    _fill_side(session, pipelines, before, Sql("work.side_before"))
    _fill_side(session, pipelines, after, Sql("work.side_after"))
    session.execute(query("answered_pairs", pipelines=pipelines))
    earlier, later = side_columns(before), side_columns(after)
    common = [(each, earlier[name]) for name, each in later.items() if name in earlier]
    _fill_cells(session, common)
    counts = session.dictionaries(query("pair_counts"))[0]
    changes = [_field_change(session, column, older, after) for column, older in common]
    graded = _graded_on_both_sides(gold, [column.name for column, _ in common])
    return AnswerDiff(
        pipeline=names[0],
        before=before,
        after=after,
        prompt=diff_texts(before.text, after.text) if before.text.parts != after.text.parts else (),
        **counts,
        added_fields=[name for name in later if name not in earlier],
        removed_fields=[name for name in earlier if name not in later],
        fields=[each for each in changes if each.changed],
        rows=_changed_rows(session, pipelines, [each.name for each, _ in common], rows),
        cost=_cost(session, pipelines, before, after, counts["compared"] - counts["carried_over"]),
        gold=diff_gold(session, graded, names, [before.examples, after.examples]) if graded else None,
    )


def _graded_on_both_sides(gold: TrueValues | None, common: Sequence[str]) -> TrueValues | None:
    """Return the true values of the fields in `common`, which both sides have: neither side can be right about other
    fields.
    """
    fields = tuple(each for each in gold.fields if each.name in common) if gold is not None else ()
    return replace(gold, fields=fields) if gold is not None and fields else None


def side_columns(side: DiffSide) -> dict[str, Column]:
    """Return the fields of a side as columns, by name."""
    return {each.name: each for each in output_columns(side.full_schema, Output())}


def _fill_side(session: Session, pipelines: Sql, side: DiffSide, table: Sql) -> None:
    """Fill `table` with the newest answer to each key; with no row where the version was never run.

    Reads the ledger. Writes `work.side_before` or `work.side_after`.
    """
    answered = query("newest_answers", pipelines=pipelines)
    if side.model is not None:
        model, provider = quote_literal(side.model.model), quote_literal(side.model.provider)
        among = query("answers_of_model", pipelines=pipelines, model=model, provider=provider)
        answered = query("newest_answers_of_model", pipelines=pipelines, among=among)
    number = side.known.prompt_version if side.known else str(UUID(int=0))
    statement = query("side", side=table, pipelines=pipelines, answered=answered)
    session.execute(statement, {"prompt_version": number})


def _fill_cells(session: Session, columns: Sequence[tuple[Column, Column]]) -> None:
    """Fill a row for each field that changed in a row, with both values as text.

    Reads `work.pairs`. Writes `work.cells`.
    """
    # work.cells: One row is a field of a key that differs between the two sides of a comparison.
    session.execute(
        Sql("CREATE OR REPLACE TABLE work.cells (key_id UUID, field VARCHAR, before VARCHAR, after VARCHAR)")
    )
    for column, older in columns:
        same_type = column.type == older.type
        old, new = (_text(column, Sql("before")), _text(column, Sql("after")))
        compared = (value_sql(column, "before"), value_sql(column, "after")) if same_type else (old, new)
        session.execute(
            sql(
                "INSERT INTO work.cells SELECT key_id, $field, {old}, {new} FROM work.pairs "
                "WHERE NOT same_answer AND {before} IS DISTINCT FROM {after}",
                old=old,
                new=new,
                before=compared[0],
                after=compared[1],
            ),
            {"field": column.name},
        )


def _text(column: Column, document: Sql) -> Sql:
    """Return SQL for the field's value as text, a string without quotes; NULL for null and for no value."""
    pointer = quote_literal(json_pointer(column.name))
    return sql("json_extract_string({document}, {pointer})", document=document, pointer=pointer)


def _field_change(session: Session, column: Column, older: Column, after: DiffSide) -> FieldChange:
    """Return how a field changed: by its values, by the mean of its numbers, or only by the number of rows.

    Reads `work.cells`, `work.pairs`.
    """
    field = {"field": column.name}
    counts = session.dictionaries(query("changed_field"), field)[0]
    if column.type == older.type and column.type in ("DOUBLE", "BIGINT"):
        old, new = value_sql(column, "before"), value_sql(column, "after")
        means = session.one(
            sql(
                "SELECT avg(old), avg(new) FROM (SELECT {old} AS old, {new} AS new FROM work.pairs) "
                "WHERE old IS NOT NULL AND new IS NOT NULL",
                old=old,
                new=new,
            )
        )
        return FieldChange(
            name=column.name, kind="number", changed=counts["changed"], mean_before=means[0], mean_after=means[1]
        )
    node = after.full_schema.get("properties", {}).get(column.name)
    named = isinstance(node, Mapping) and ("enum" in node or "const" in node)
    few = counts["longest"] <= SHORT_CHARACTERS and counts["pairs"] <= FEW_PAIRS
    if not (named or column.type == "BOOLEAN" or few):
        return FieldChange(name=column.name, kind="text", changed=counts["changed"])
    pairs = [tuple(row) for row in session.rows(query("changed_values", limit=number_sql(SHOWN_PAIRS)), field)]
    return FieldChange(
        name=column.name,
        kind="values",
        changed=counts["changed"],
        pairs=[(old, new, number) for old, new, number in pairs],
        other_pairs=counts["changed"] - sum(number for _, _, number in pairs),
    )


def _changed_rows(session: Session, pipelines: Sql, names: Sequence[str], count: int) -> list[ChangedRow]:
    """Return the first `count` changed rows with their input.

    Reads `work.cells`, `work.side_before`, `work.side_after`, the ledger.
    """
    cells: dict[str, dict[str, tuple[str | None, str | None]]] = {}
    for key_id, name, old, new in session.rows(query("changed_cells"), {"count": count}):
        cells.setdefault(key_id, {})[name] = (old, new)
    found = session.dictionaries(query("changed_rows", pipelines=pipelines), {"count": count})
    return [
        ChangedRow(
            key=row["key"],
            input=shown_values(session.connection, row["columns"] or (), row["types"] or (), row["input_values"] or ()),
            from_model=_shown_model(row["from_provider"], row["from_model"]),
            to_model=_shown_model(row["to_provider"], row["to_model"]),
            fields=[(name, *cells[row["key_id"]][name]) for name in names if name in cells[row["key_id"]]],
        )
        for row in found
    ]


def _shown_model(provider: str | None, model: str | None) -> str | None:
    return None if model is None else with_provider(provider, model)


def _cost(session: Session, pipelines: Sql, before: DiffSide, after: DiffSide, rows: int) -> DiffCost:
    """Return what both sides cost for the `rows` that each answered itself.

    Reads `work.pairs`, `work.side_before`, `work.side_after`, the ledger.
    """
    sums = []
    for side, table in ((before, Sql("work.side_before")), (after, Sql("work.side_after"))):
        model = Sql("true")
        if side.model is not None:
            name, provider = quote_literal(side.model.model), quote_literal(side.model.provider)
            model = query("asked_of_model", model=name, provider=provider)
        sums.append(session.one(query("side_cost", side=table, pipelines=pipelines, of_model=model)))
    return DiffCost(rows=rows, from_usd=sums[0][0], to_usd=sums[1][0], unpriced=sums[0][1] + sums[1][1])
