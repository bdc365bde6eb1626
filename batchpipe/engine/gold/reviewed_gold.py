"""Turn reviews into gold: the true values of the rows that people saw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from batchpipe.engine.ledger.events import standing_reviews
from batchpipe.engine.source.keys import key_value_sql
from batchpipe.engine.source.snapshot import InputColumn, Snapshot, names_sql, texts_sql
from batchpipe.schema.columns import Column, uncast_sql, value_sql
from batchpipe.sql.quoting import Sql, joined, quote_identifier, quote_list, quote_literal, sql
from batchpipe.sql.recorded import recorded_value
from batchpipe.store.database import Session, Work
from batchpipe.store.queries import query


@dataclass(frozen=True, slots=True, kw_only=True)
class FromReview:
    """The number of gold rows that come from review, by why a person saw them. Each row counts once, under the first
    reason in this order.

    Only the rows of `sample` are a random share of the input.
    """

    sample: int = 0
    ladder: int = 0
    where: int = 0
    other: int = 0

    @property
    def rows(self) -> int:
        """Return the number of gold rows that come from review."""
        return self.sample + self.ladder + self.where + self.other


def fill_reviewed(session: Session, names: Sequence[str], columns: Iterable[Column], wanted: Iterable[str]) -> None:
    """Fill the reviews that are valid now, of the fields called `wanted`, with the input as the person saw it.

    Ignore a review that was made before a field existed, or whose value the field's type no longer takes.
    Reads `ledger.reviews`. Writes `work.gold_reviews`.
    """
    by_name = {each.name: each for each in columns}
    fields = [by_name[name] for name in wanted]
    values = joined(
        "",
        (
            sql(", {value} AS {name}", value=value_sql(each, "h.after"), name=quote_identifier(each.name))
            for each in fields
        ),
    )
    tests = [sql("NOT {uncast}", uncast=uncast_sql(each, "h.after")) for each in fields]
    tests += [
        sql("list_contains(json_keys(h.after), {name})", name=quote_literal(each.name))
        for each in fields
        if not each.optional
    ]
    reviewed = standing_reviews(session, names)
    session.execute(query("gold_reviews", values=values, reviewed=reviewed, whole=joined(" AND ", tests)))


def with_reviewed(
    work: Work, gold: Snapshot, key: Sequence[str], needed: Iterable[str], path: Path
) -> tuple[Snapshot, int]:
    """Return `gold` and the reviewed rows that it lacks as a snapshot at `path`; the second value counts the rows left
    out.

    A reviewed row has its input as the person saw it. It is left out where a `needed` column of its input is not known.
    Reads `work.gold_reviews`.
    """
    covered = sql("list_has_all(r._columns, [{needed}]::VARCHAR[])", needed=quote_list(set(needed) - set(key)))
    relations = {"gold": gold.relation, "covered": covered}
    values = joined(
        "", (sql(", {seen} AS {stored}", seen=_seen(each, key), stored=each.stored) for each in gold.columns)
    )
    statement = query("gold_and_reviewed", values=values, **relations)
    whole = gold.of_rows(work.connection, statement, path)
    [(uncovered,)] = work.connection.execute(query("reviewed_beside_gold", **relations)).fetchall()
    return whole, uncovered


def _seen(column: InputColumn, key: Sequence[str]) -> Sql:
    """Return SQL for the value of `column` as the person saw it."""
    if column.name in key:
        return column.held(key_value_sql(list(key).index(column.name), column, Sql("r.key")))
    text = sql("r._texts[list_position(r._columns, {name})]", name=quote_literal(column.name))
    return text if column.as_text else recorded_value(text, column.type)


def take_reviewed(work: Work, given: Snapshot, *, empty: bool) -> None:
    """Put reviewed values into `work.truth`, over those that are there, where `given` has the row that was reviewed.

    With `empty` the table is made first.
    Reads `work.gold_reviews`. Writes `work.truth`, `work.reviewed_truth`.
    """
    connection = work.connection
    if empty:
        connection.execute(query("empty_truth"))
    same = same_row_sql(names_sql(given.columns), Sql("s._given"), Sql("r._columns"), Sql("r._texts"))
    parts = {"same": same, "texts": texts_sql(given.columns), "rows": given.relation}
    connection.execute(query("reviewed_truth", **parts))
    connection.execute(Sql("DELETE FROM work.truth WHERE key_id IN (SELECT key_id FROM work.reviewed_truth)"))
    connection.execute(Sql("INSERT INTO work.truth BY NAME SELECT * EXCLUDE (_chosen) FROM work.reviewed_truth"))


def same_row_sql(names: Sql, texts: Sql, other_names: Sql, other_texts: Sql) -> Sql:
    """Return SQL for whether two lists of texts, each with its column names, agree in every column that both have.

    NULL and '' agree, because they render to the same text. Numbers and times agree where only their types differ: 5
    and 5.0, 2026-01-01 and 2026-01-01 00:00:00.
    """
    one = sql("{texts}[list_position({names}, name)]", texts=texts, names=names)
    two = sql("{texts}[list_position({names}, name)]", texts=other_texts, names=other_names)
    unlike = [sql("coalesce({one}, '') <> coalesce({two}, '')", one=one, two=two)]
    unlike += [
        sql("coalesce(TRY_CAST({one} AS {kind}) <> TRY_CAST({two} AS {kind}), true)", one=one, two=two, kind=kind)
        for kind in (Sql("DOUBLE"), Sql("TIMESTAMP"))
    ]
    differing = sql(
        "list_filter({names}, lambda name: list_contains({other_names}, name) AND {unlike})",
        names=names,
        other_names=other_names,
        unlike=joined(" AND ", unlike),
    )
    return sql("len({differing}) = 0", differing=differing)


def count_reviewed(work: Work) -> FromReview:
    """Count the rows of `work.truth` that come from review, by the reason for the review.

    Reads `work.truth`, `work.reviewed_truth`.
    """
    [found] = work.connection.execute(query("count_reviewed")).fetchall()
    return FromReview(sample=found[0], ladder=found[1], where=found[2], other=found[3])
