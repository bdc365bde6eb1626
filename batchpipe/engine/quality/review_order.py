"""Order the rows under review by the probability that the answer is wrong, or by confidence until that is known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchpipe.engine.ledger.events import standing_reviews
from batchpipe.engine.local.texts import embeddings_of, stored_embedding_sql, stored_text_sql
from batchpipe.engine.local.versions import read_model, read_versions, usable_version
from batchpipe.engine.resolved.local_rung import ResolvedLocalRung
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.evaluation.error_model import AnswerFeatures, ReviewedAnswer, by_confidence, doubts_by_model
from batchpipe.schema.describe import is_closed
from batchpipe.sql.canonical import json_field_sql
from batchpipe.sql.quoting import Sql, joined, json_pointer, quote_list, quote_literal, sql
from batchpipe.store.arrow import arrow
from batchpipe.store.database import Session, Work
from batchpipe.store.queries import query

FEWEST_REVIEWS = 100  # with fewer reviewed rows, nothing is read for a model of errors


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersUnderReview:
    """What is known of the answers under review and of those that were reviewed, one of `rows` for each.

    `stored` is the version of the local model that says how likely each answer is: its document and its arrays.
    """

    rows: Sequence[Mapping[str, Any]]
    stored: tuple[str, bytes] | None


def read_answers_under_review(session: Session, resolved: Resolved) -> AnswersUnderReview | None:
    """Return what a model of errors is fitted on. Where the confidence orders the rows instead, write that order and
    return None.

    `work.review_doubts` stays empty without a confidence.
    Reads `work.review_answers`, the ledger. Writes `work.review_doubts`.
    """
    # work.review_doubts: One row is an answer under review, with how likely it is that the answer is wrong.
    session.execute(Sql("CREATE OR REPLACE TABLE work.review_doubts (key_id UUID, doubt DOUBLE)"))
    confidence = _confidence(resolved)
    closed = [name for name, each in resolved.full_schema["properties"].items() if is_closed(each)]
    if confidence is None or not closed:
        return None
    reviews = session.one(query("count_reviews", pipelines=quote_list(resolved.names)))[0]
    if reviews < FEWEST_REVIEWS:
        session.execute(query("doubts_by_confidence", confidence=quote_literal(confidence)))
        return None
    version = usable_version(read_versions(session, resolved), resolved.local.shape) if resolved.local else None
    rows = session.dictionaries(
        query(
            "review_features",
            confidence=quote_literal(confidence),
            values=_values(closed, Sql("output")),
            after=_values(closed, Sql("after")),
            reviewed=standing_reviews(session, resolved.names),
            families=quote_list(resolved.names),
            **_read_by_model(resolved.local if version is not None else None),
        )
    )
    return AnswersUnderReview(
        rows=rows, stored=read_model(session, resolved, version.version) if version is not None else None
    )


def _read_by_model(rung: ResolvedLocalRung | None) -> dict[str, Sql]:
    """Return SQL for what the local model reads of an answer `s`: text, embedding, and the fields as JSON texts."""
    if rung is None:
        return {"text": Sql("NULL::VARCHAR"), "embedding": Sql("NULL::VARCHAR"), "fields": Sql("NULL::VARCHAR")}
    names, texts = Sql("s.input_columns"), Sql("s.input_values")
    fields = (sql("coalesce({value}, 'null')", value=json_field_sql(Sql("s.output"), name)) for name in rung.fields)
    return {
        "text": stored_text_sql(rung.columns, names, texts),
        "embedding": stored_embedding_sql(rung.embedding, names, texts),
        "fields": joined(", ", fields),
    }


def fill_doubts(work: Work, resolved: Resolved, known: AnswersUnderReview) -> None:
    """Fill `work.review_doubts` from the answers, of which those with a `truth` were reviewed."""
    rows, chances, connection = known.rows, _chances(resolved, known), work.connection
    features = [
        AnswerFeatures(
            confidence=each["confidence"],
            rung=each["rung"],
            values=each["said"],
            agreement=each["agreement"],
            chance=chance,
        )
        for each, chance in zip(rows, chances, strict=True)
    ]
    reviewed = [
        ReviewedAnswer(features=known, wrong=each["truth"] != each["said"], sampled="sample" in each["chosen"])
        for known, each in zip(features, rows, strict=True)
        if each["truth"] is not None
    ]
    doubts = doubts_by_model(reviewed, features) or [by_confidence(each) for each in features]
    block = arrow().table({"key_id": [str(each["key_id"]) for each in rows], "doubt": doubts})
    connection.register("doubts_block", block)
    connection.execute(Sql("INSERT INTO work.review_doubts SELECT key_id::UUID, doubt FROM doubts_block"))
    connection.unregister("doubts_block")


def _chances(resolved: Resolved, known: AnswersUnderReview) -> list[float | None]:
    """Return how likely the local model finds each answer; None without a model, or if a text is not known."""
    found: list[float | None] = [None] * len(known.rows)
    places = [place for place, each in enumerate(known.rows) if each["text"] is not None]
    if known.stored is None or resolved.local is None or not places:
        return found
    from batchpipe.local_model.saved import load_model

    document, arrays = known.stored
    model = load_model(arrays, document)
    chosen = [known.rows[place] for place in places]
    answers = [
        dict(zip(resolved.local.fields, [json.loads(text) for text in each["fields"]], strict=True)) for each in chosen
    ]
    embeddings = embeddings_of([each["embedding"] for each in chosen], model.width)
    for place, chance in zip(
        places, model.chances([each["text"] for each in chosen], answers, embeddings), strict=True
    ):
        found[place] = chance
    return found


def _confidence(resolved: Resolved) -> str | None:
    """Return the JSON pointer of the field that says how sure an answer is; None where there is no such field."""
    given = resolved.file.pipeline.eval
    name = given.confidence if given is not None else "confidence"
    return json_pointer(name) if name in {each.name for each in resolved.columns} else None


def _values(names: Sequence[str], document: Sql) -> Sql:
    """Return SQL for the values of the fields in a document, as one text."""
    parts = (json_field_sql(document, name, as_text=True) for name in names)
    return sql("concat_ws(' | ', {parts})", parts=joined(", ", parts))
