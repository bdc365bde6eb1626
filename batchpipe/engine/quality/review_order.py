"""The order of rows under review: by the probability that the answer is wrong, by confidence until that is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from batchpipe.engine.ledger.events import standing_reviews
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.evaluation.error_model import AnswerFeatures, ReviewedAnswer, by_confidence, doubts_by_model
from batchpipe.schema.describe import is_closed
from batchpipe.sql.quoting import Sql, joined, quote_list, quote_literal, sql
from batchpipe.store.arrow import arrow
from batchpipe.store.database import Session
from batchpipe.store.queries import query

FEWEST_REVIEWS = 100  # before that many rows are reviewed, nothing is looked up for a model


def fill_doubts(session: Session, resolved: Resolved) -> None:
    """Fill `work.review_doubts` with the doubt in each answer under review; it stays empty without a confidence.

    Reads `work.review_answers`, the ledger. Writes `work.review_doubts`.
    """
    # work.review_doubts: One row is an answer under review, with how likely it is that the answer is wrong.
    session.execute(Sql("CREATE OR REPLACE TABLE work.review_doubts (key_id UUID, doubt DOUBLE)"))
    confidence = _confidence(resolved)
    closed = [name for name, each in resolved.full_schema["properties"].items() if is_closed(each)]
    if confidence is None or not closed:
        return
    reviews = session.one(query("count_reviews", pipelines=quote_list(resolved.names)))[0]
    if reviews < FEWEST_REVIEWS:
        session.execute(query("doubts_by_confidence", confidence=quote_literal(confidence)))
        return
    rows = session.dictionaries(
        query(
            "review_features",
            confidence=quote_literal(confidence),
            values=_values(closed, Sql("output")),
            after=_values(closed, Sql("after")),
            reviewed=standing_reviews(session, resolved.names),
            families=quote_list(resolved.names),
        )
    )
    _fill(session, rows)


def _fill(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Fill `work.review_doubts` from the answers, of which those with a `truth` were reviewed."""
    features = [
        AnswerFeatures(
            confidence=each["confidence"], rung=each["rung"], values=each["said"], agreement=each["agreement"]
        )
        for each in rows
    ]
    reviewed = [
        ReviewedAnswer(features=known, wrong=each["truth"] != each["said"], sampled="sample" in each["chosen"])
        for known, each in zip(features, rows, strict=True)
        if each["truth"] is not None
    ]
    doubts = doubts_by_model(reviewed, features) or [by_confidence(each) for each in features]
    block = arrow().table({"key_id": [str(each["key_id"]) for each in rows], "doubt": doubts})
    connection = session.connection
    connection.register("doubts_block", block)
    connection.execute("INSERT INTO work.review_doubts SELECT key_id::UUID, doubt FROM doubts_block")
    connection.unregister("doubts_block")


def _confidence(resolved: Resolved) -> str | None:
    """Return the JSON pointer of the field that says how sure an answer is; None where there is no such field."""
    given = resolved.file.pipeline.eval
    name = given.confidence if given is not None else "confidence"
    return _pointer(name) if name in {each.name for each in resolved.columns} else None


def _values(names: Sequence[str], document: Sql) -> Sql:
    """Return SQL for the values of the fields in a document, as one text."""
    parts = (
        sql("json_extract_string({document}, {name})", document=document, name=quote_literal(_pointer(name)))
        for name in names
    )
    return sql("concat_ws(' | ', {parts})", parts=joined(", ", parts))


def _pointer(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")
