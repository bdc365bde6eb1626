"""Take back reviews: a withdrawal is a review of its own, after which the review before it stands again. A person takes
back only a review of their own, and only the newest one of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from batchpipe.engine.context import Context
from batchpipe.engine.ledger.events import not_withdrawn
from batchpipe.engine.ledger.renames import record_rename
from batchpipe.engine.output.output_table import merge_output, writing_output
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.schema import exact_json
from batchpipe.sql.quoting import quote_list, sql
from batchpipe.store.database import Session, Work
from batchpipe.store.queries import query


@dataclass(frozen=True, slots=True, kw_only=True)
class PastReview:
    """The newest review of a row that was not taken back. `before` is the model's document, `document` the person's.

    `seq` is its commit, `custom_id` the request whose answer it is about.
    """

    key: str
    seq: int
    reviewed_by: str
    custom_id: str
    verdict: str
    before: Any
    document: Any


def newest_reviews(session: Session, names: Sequence[str], keys: Sequence[str]) -> dict[str, PastReview]:
    """Return the newest review of each of `keys` (JSON lists of texts) that was not taken back.

    Reads `ledger.reviews`.
    """
    statement = query("newest_reviews", pipelines=quote_list(names), not_withdrawn=not_withdrawn(names))
    rows = session.dictionaries(statement, {"keys": list(keys)})
    found = [
        PastReview(**{**row, "before": exact_json.loads(row["before"]), "document": exact_json.loads(row["document"])})
        for row in rows
    ]
    return {each.key: each for each in found}


def withdraw(
    context: Context, work: Work, resolved: Resolved, keys: Sequence[str], person: str
) -> dict[str, PastReview]:
    """Take back the person's newest review of each of `keys`, in one commit; return the reviews that were taken back. A
    row whose newest review is somebody else's, or that has none, is left as it is.
    Reads `ledger.reviews`. Writes `ledger.reviews`, the output table.
    """
    with context.database.writing(work, None) as session:
        known = newest_reviews(session, resolved.names, keys)
        own = {key: review for key, review in known.items() if review.reviewed_by == person}
        if not own:
            return {}
        stamp = {
            "pipeline": resolved.name,
            "now": session.now,
            "seq": session.seq,
            "keys": list(own),
            "seqs": [review.seq for review in own.values()],
        }
        record_rename(session, resolved.file, None)
        session.execute(query("insert_withdrawals", pipelines=quote_list(resolved.names)), stamp)
        keys = sql("SELECT md5(key)::UUID AS key_id FROM (SELECT unnest([{keys}]) AS key)", keys=quote_list(own))
        with writing_output(session, resolved, None):
            merge_output(session, resolved, keys, answered=False)
    return own
