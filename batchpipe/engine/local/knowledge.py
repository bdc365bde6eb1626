"""What the local model learns from: answers of the rungs above it, less every row that the truth is measured on.

Gold, rows of the review sample, rows bought for `--as-good-as`, and rows with the same text as one of these never teach
it; neither do its own answers. An answer counts by 1 / the probability that its row went up a rung.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from batchpipe.engine.context import Context
from batchpipe.engine.gold.answered_gold import TrueValues, read_true_values
from batchpipe.engine.gold.sample import sample_parameter, sample_parts
from batchpipe.engine.ledger.events import standing_reviews
from batchpipe.engine.local.texts import (
    embedding_sql,
    embeddings_of,
    read_by_sql,
    stored_embedding_sql,
    stored_text_sql,
    text_sql,
    usable_embedding_sql,
)
from batchpipe.engine.resolved.local_rung import ResolvedLocalRung
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import Snapshot
from batchpipe.local_model.trust import MOST_WEIGHT
from batchpipe.pipeline.evaluations import BOUGHT, SEPARATOR
from batchpipe.sql.canonical import json_field_sql
from batchpipe.sql.quoting import Sql, joined, number_sql, quote_identifier, quote_list, quote_literal, sql
from batchpipe.store.database import Session, Work
from batchpipe.store.queries import query

# Texts that differ only in case and spaces are the same.
SAME_TEXT = Sql(r"md5(trim(regexp_replace(lower(text), '\s+', ' ', 'g')))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessons:
    """Answers to learn from: the keys of the rows, their texts and embeddings, values of the fields, weights."""

    keys: Sequence[str]
    texts: Sequence[str]
    embeddings: Sequence[Sequence[float]] | None
    answers: Sequence[Mapping[str, object]]
    weights: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLessons:
    """How many answers there are to learn from, how many teach nothing because their embedding cannot be read, how many
    numbers an embedding has, and the true values that may test a model.
    """

    count: int
    unread: int
    width: int
    gold: TrueValues | None


def fill_lessons(
    context: Context, work: Work, resolved: Resolved, snapshot: Snapshot, *, compared: bool = False
) -> FoundLessons:
    """Fill `work.local_lessons`; return what is in it.

    `compared`: the rows of `snapshot` are those of an evaluation, and teach nothing either.
    Reads the ledger, `[eval] gold`, `work.true_values`. Writes `work.local_knowledge`, `work.local_gold`,
    `work.local_left_out`, `work.local_lessons`, and what `read_true_values` writes.
    """
    rung = resolved.local
    assert rung is not None
    gold = read_true_values(context, work, resolved.file, resolved.columns)
    with context.database.reading(work) as session:
        _fill_knowledge(session, resolved, rung)
    connection = work.connection
    connection.execute(
        query("local_gold", text=stored_text_sql(rung.columns, Sql("_columns"), Sql("_texts")))
        if gold is not None
        else query("no_local_gold")
    )
    if compared:
        connection.execute(query("local_compared", text=text_sql(rung.columns), snapshot=snapshot.relation))
    texts = query("local_gold_texts", text=text_sql(rung.columns), snapshot=snapshot.relation)
    connection.execute(query("local_left_out", gold=texts, same=SAME_TEXT))
    width = _width(work, rung, snapshot)
    read = {
        "embedding": Sql("embedding") if width else Sql("NULL::VARCHAR"),
        "readable": read_by_sql(Sql("embedding"), width),
    }
    connection.execute(query("local_lessons", values=_values(rung), known=_known(rung), same=SAME_TEXT, **read))
    found = connection.execute(query("count_lessons", readable=read["readable"])).fetchone()
    count, unread = found if found is not None else (0, 0)
    return FoundLessons(count=count, unread=unread, width=width, gold=gold)


def _width(work: Work, rung: ResolvedLocalRung, snapshot: Snapshot) -> int:
    """Return how many numbers the model reads of a row beside its texts: those of the column's type, else as many as
    most rows of the input have, else as many as most answered rows; 0 where none has a list of finite numbers.
    """
    if rung.width is not None:
        return rung.width
    usable = usable_embedding_sql(Sql("numbers"), Sql("width"))
    numbers = embedding_sql(rung.embedding)
    for rows in (
        sql("SELECT {numbers} AS numbers FROM {snapshot} s", numbers=numbers, snapshot=snapshot.relation),
        Sql("SELECT embedding AS numbers FROM work.local_knowledge"),
    ):
        found = work.connection.execute(query("embedding_width", rows=rows, usable=usable)).fetchone()
        if found is not None:
            return int(found[0])
    return 0


def _fill_knowledge(session: Session, resolved: Resolved, rung: ResolvedLocalRung) -> None:
    """Fill `work.local_knowledge`. Reads the ledger."""
    bought = [
        sql("starts_with(pipeline, {name})", name=quote_literal(SEPARATOR.join((each, BOUGHT, ""))))
        for each in resolved.names
    ]
    statement = query(
        "local_knowledge",
        pipelines=quote_list(resolved.names),
        bought=sql("({bought})", bought=joined(" OR ", bought)),
        reviewed=standing_reviews(session, resolved.names),
        texts=stored_text_sql(rung.columns, Sql("q.columns"), Sql("q.input_values")),
        embedding=stored_embedding_sql(rung.embedding, Sql("q.columns"), Sql("q.input_values")),
        most_weight=number_sql(int(MOST_WEIGHT)),
        **sample_parts(resolved.file),
    )
    session.execute(statement, {"sample": sample_parameter(resolved.file)})


def read_lessons(work: Work, rung: ResolvedLocalRung) -> Lessons:
    """Return the lessons, in the order of their keys' hash. Reads `work.local_lessons`."""
    names = list(rung.fields)
    chosen = joined(", ", (quote_identifier(value_column(place)) for place in range(len(names))))
    rows = work.connection.execute(
        sql(
            "SELECT key_id, text, embedding, weight, {chosen} FROM work.local_lessons ORDER BY key_id",
            chosen=chosen,
        )
    ).fetchall()
    parsed: dict[str, object] = {}
    width = rows[0][2].count(",") + 1 if rows and rows[0][2] is not None else 0
    return Lessons(
        keys=[str(row[0]) for row in rows],
        texts=[row[1] for row in rows],
        embeddings=embeddings_of([row[2] for row in rows], width),
        weights=[float(row[3]) for row in rows],
        answers=[
            {name: parsed.setdefault(text, json.loads(text)) for name, text in zip(names, row[4:], strict=True)}
            for row in rows
        ],
    )


def value_column(place: int) -> str:
    """Return the column of `work.local_lessons` that holds the field at a place, as a JSON text."""
    return f"value_{place}"


def _value(name: str) -> Sql:
    """Return SQL for a field of `output` as a JSON text; a field that is not there is null."""
    return sql("coalesce({value}, 'null')", value=json_field_sql(Sql("output"), name))


def _values(rung: ResolvedLocalRung) -> Sql:
    return joined(
        ", ",
        (
            sql("{value} AS {name}", value=_value(name), name=quote_identifier(value_column(place)))
            for place, name in enumerate(rung.fields)
        ),
    )


def _known(rung: ResolvedLocalRung) -> Sql:
    """Return SQL for whether every value is one that its field may have now."""
    return joined(
        " AND ",
        (
            sql("{value} IN ({values})", value=_value(name), values=joined(", ", map(_allowed, values)))
            for name, values in rung.fields.items()
        ),
    )


def _allowed(text: str) -> Sql:
    """Return SQL for the JSON text of an allowed value, as DuckDB writes it."""
    return json_field_sql(sql("json_object('value', {value}::JSON)", value=quote_literal(text)), "value")
