"""Give the parts of statements that differ if a row may have several requests, and the columns of votes in the output
table.

A pipeline without a panel has its statements unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping

from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.sql.conditions import OUTPUT_PREFIX, Condition
from batchpipe.sql.quoting import Sql, quote_identifier, quote_list, sql
from batchpipe.store.database import Session
from batchpipe.store.queries import query

PLAIN: Mapping[str, Mapping[str, Sql]] = {
    "shared_requests": {"place": Sql(""), "leader_place": Sql(""), "part": Sql("''")},
    "leading": {"place": Sql("")},
    "number_requests": {"place": Sql(""), "rungs": Sql("rungs")},
    "chunk": {"place": Sql(""), "q_place": Sql(""), "id_place": Sql("")},
    "add_followers": {"leader": Sql(""), "own": Sql("")},
    "insert_requests": {"part": Sql("''"), "rung": Sql("c.rung")},
    "chunk_params": {"own": Sql("")},
    "calls_of_chunk": {"place": Sql(""), "own": Sql("")},
    "record_followers": {"carried": Sql(""), "followed": Sql(""), "part": Sql("''"), "rung": Sql("q.rung")},
    "record_decisions": {"unvoted": Sql("")},
    "record_validated_again": {"voted": Sql("")},
    "sent_under_policy": {"part": Sql("")},
    "insert_decisions": {"single": Sql("")},
    "output_source": {"cost": Sql("CASE WHEN q.leads THEN r.cost_usd ELSE 0 END"), "voted": Sql(""), "votes": Sql("")},
}
VOTING: Mapping[str, Mapping[str, Sql]] = {
    "shared_requests": {
        "place": Sql(", d.place"),
        "leader_place": Sql(", first_value(d.place) OVER same AS leader_place"),
        "part": Sql("CASE WHEN d.part = '1' THEN '' ELSE d.part END"),
    },
    "leading": {"place": Sql(", place")},
    # A row climbs once, however many members it asks.
    "number_requests": {
        "place": Sql(", place, of_rung"),
        "rungs": Sql(
            "CASE WHEN row_number() OVER (PARTITION BY key_id ORDER BY place) > 1 THEN 0::UINTEGER ELSE rungs END "
            "AS rungs"
        ),
    },
    "chunk": {"place": Sql(", place"), "q_place": Sql(", q.place"), "id_place": Sql(", ' ', d.place")},
    "add_followers": {"leader": Sql(" AND l.place = s.leader_place"), "own": Sql(" AND d.place = s.place")},
    "insert_requests": {"part": Sql("c.part"), "rung": Sql("c.of_rung")},
    "chunk_params": {"own": Sql(" AND coalesce(f.place, 0) = c.place")},
    "calls_of_chunk": {"place": Sql(", place"), "own": Sql(" AND coalesce(f.place, 0) = c.place")},
    "record_followers": {
        "carried": Sql(", '' AS part, NULL::SMALLINT AS of_rung"),
        "followed": Sql(", part, of_rung"),
        "part": Sql("f.part"),
        "rung": Sql("coalesce(f.of_rung, q.rung)"),
    },
    "record_validated_again": {
        "voted": Sql("UNION SELECT custom_id, output FROM work.ballots WHERE state = 'valid' AND NOT stands")
    },
    "record_decisions": {"unvoted": Sql("AND p.key_id NOT IN (SELECT key_id FROM work.voters)")},
    "sent_under_policy": {"part": Sql(", part")},
    "insert_decisions": {
        "single": Sql("WHERE (o.key_id, o.custom_id) NOT IN (SELECT (key_id, custom_id) FROM work.sent_parts)")
    },
    "output_source": {
        "cost": Sql("CASE WHEN b.custom_ids IS NOT NULL THEN b.cost_usd WHEN q.leads THEN r.cost_usd ELSE 0 END"),
        "voted": Sql(" b.agreement AS _agreement, b.votes AS _votes,"),
        "votes": Sql("LEFT JOIN temp.standing_votes b ON b.key_id = r.key_id AND b.custom_id = r.custom_id"),
    },
}


def slots(resolved: Resolved, statement: str) -> Mapping[str, Sql]:
    """Return the parts of the statement of that name that differ where a row may have several requests."""
    return (VOTING if resolved.panels else PLAIN)[statement]


def fill_standing_votes(session: Session, resolved: Resolved, accepted: Sql) -> None:
    """Fill `temp.standing_votes` with the votes of the answers in `accepted` (key_id, custom_id), and their costs.

    Reads `ledger.votes`, `ledger.requests`, `ledger.results`. Writes `temp.standing_votes`.
    """
    if not resolved.panels:
        return
    session.execute(query("fill_standing_votes", pipelines=quote_list(resolved.names), accepted=accepted))


def voted_columns(condition: Condition) -> list[Sql]:
    """Return SQL for the columns of votes that a condition reads, over a relation `v` of votes."""
    columns = {"_agreement": Sql("v.agreement"), "_votes": Sql("v.votes")}
    return [
        sql("{value} AS {name}", value=columns[name], name=quote_identifier(OUTPUT_PREFIX + name))
        for name in sorted(condition.outputs & set(columns))
    ]


def votes_join(resolved: Resolved, condition: Condition) -> Sql:
    """Return SQL that joins the votes of the answers `o` of `work.present`, where a condition reads them."""
    if not voted_columns(condition):
        return Sql("")
    votes = query("standing_votes", pipelines=quote_list(resolved.names), wanted=Sql("work.present"))
    return sql("LEFT JOIN ({votes}) v ON v.custom_id = o.custom_id", votes=votes)
