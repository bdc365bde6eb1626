"""The requests of a row on the rungs that ask more than once, and what the plan finds of them in the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from batchpipe.engine.answers.validation import NO_VOTES, fill_answers, validate_answers, validate_documents
from batchpipe.engine.cost.ladder import settings_text
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import Snapshot, texts_sql
from batchpipe.engine.votes.cast import cast_votes
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import Sql, quote_list, sql
from batchpipe.store.database import Session, Work
from batchpipe.store.queries import query

EVERY = Sql("true")
TO_VALIDATE = Sql("work.to_validate")


def fill_parts(connection: Connection, resolved: Resolved) -> None:
    """Fill `work.parts` with the members of every panel of today. Writes `work.parts`."""
    connection.execute(query("parts"))
    for rung, panel in resolved.panels.items():
        for each in panel.parts:
            settings = resolved.rungs[each.seat - 1]
            values = [rung, each.seat, each.place, each.part, settings.model, settings_text(settings)]
            connection.execute(Sql("INSERT INTO work.parts VALUES ($1, $2, $3, $4, $5, $6)"), values)


def fill_part_standings(session: Session, resolved: Resolved) -> None:
    """Find how the members stand of the rows that go on on a rung that asks more than once.

    Reads `work.candidates`, the ledger. Writes `work.parts`, `work.part_standings`.
    """
    if resolved.panels:
        fill_parts(session.connection, resolved)
        session.execute(query("part_standings", pipelines=quote_list(resolved.names)))


def find_stored_parts(
    session: Session, resolved: Resolved, snapshot: Snapshot, due_reasons: Sequence[str], bought: Sql, redo_seq: int
) -> None:
    """Find the stored answers that count as votes of the due rows.

    `bought` is SQL for the requests `q` whose answers were bought under another name for the pipeline to take.
    Reads `work.plan`, `work.rendered`, `work.parts`, the ledger.
    Writes `work.panel_rows`, `work.part_standings`, `work.found_parts`, `work.to_validate`, `work.answers`.
    """
    session.execute(query("panel_rows", due_reasons=quote_list(due_reasons)))
    session.execute(query("forget_other_standings"))
    stored = sql("(q.pipeline IN ({names}) OR {bought})", names=quote_list(resolved.names), bought=bought)
    session.execute(
        query("found_parts", stored_by=stored, pipelines=quote_list(resolved.names)), {"redo_seq": redo_seq}
    )
    values = {"values": texts_sql(resolved.hash_columns), "snapshot": snapshot.relation}
    session.execute(query("parts_to_validate", **values))
    fill_answers(session, Sql("work.to_validate"))


def vote_on_plan(work: Work, resolved: Resolved, snapshot: Snapshot, started: int, now: datetime) -> None:
    """Cast the vote of each due row whose members have all answered or failed, and say of the row what it comes to.

    Reads `work.found_parts`, `work.to_validate`, `work.answers`, `work.panel_rows`, `work.parts`,
    `work.part_standings`, `work.voted`.
    Writes `work.documents`, `work.validity`, `work.ballots`, `work.voters`, `work.plan`, and what `cast_votes` writes.
    """
    connection = work.connection
    validate_documents(work, resolved.answer_rules, Sql("work.answers"))
    validate_answers(work, resolved.answer_rules, Sql("work.to_validate"), members=EVERY)
    connection.execute(query("planned_ballots"))
    values = {"values": texts_sql(resolved.hash_columns), "snapshot": snapshot.relation}
    hashes = {"prompt_version": resolved.version.prompt_version, "policy_hash": resolved.policy_hash}
    connection.execute(query("planned_voters", **values), {"started": started} | hashes)
    cast_votes(work, resolved)
    connection.execute(query("unchanged_votes"))
    connection.execute(query("reasons_of_voters"))
    connection.execute(query("pauses_of_parts"), {"now": now})


def fill_known_votes(session: Session, resolved: Resolved, wanted: Sql = TO_VALIDATE) -> None:
    """Keep the newest votes on the answers in the table `wanted`, for conditions that read them.

    Reads `wanted`, `ledger.votes`. Writes `work.known_votes`.
    """
    if resolved.panels:
        votes = query("standing_votes", pipelines=quote_list(resolved.names), wanted=wanted)
        # work.known_votes: One row is an answer that is validated again, with the newest vote that it won.
        session.execute(sql("CREATE OR REPLACE TABLE work.known_votes AS {votes}", votes=votes))


def known_votes(resolved: Resolved) -> Sql:
    """Return SQL for the votes on the answers that are validated, which are in `work.known_votes`."""
    return Sql("SELECT * FROM work.known_votes") if resolved.panels else NO_VOTES


def rendered_parts_sql(rendered: Sql) -> Sql:
    """Return the statement that lists the rendered requests of members, for the relation `rendered`.

    It reads `work.rendered`, and writes `work.rendered_parts`.
    """
    # work.rendered_parts: One row is a rendered request of a member of a panel.
    return sql(
        "CREATE OR REPLACE TABLE work.rendered_parts AS "
        "SELECT t.key_id, f.continues, f.rung, f.place, f.max_tokens, f.bytes, f.line_bytes, t.request_group "
        "FROM (SELECT * FROM {rendered} WHERE place IS NOT NULL) f "
        "JOIN work.rendered t USING (position, continues)",
        rendered=rendered,
    )
