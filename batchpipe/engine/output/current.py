"""Set `_current`: a row is current where its newest final decision for today's input and prompt is a valid answer."""

from __future__ import annotations

from batchpipe.decide.fingerprint import newest_recipe
from batchpipe.engine.answers.validation import validate_answers
from batchpipe.engine.ledger.events import standing_reviews
from batchpipe.engine.resolved.recorded_recipes import judge_hashes_by_every_recipe, versions_by_every_recipe
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import Snapshot, canonical_text, key_sql, present_key_sql, texts_sql
from batchpipe.sql.quoting import Sql, quote_identifier, quote_list, sql
from batchpipe.store.database import Session
from batchpipe.store.queries import query


def refresh_output(session: Session, resolved: Resolved, snapshot: Snapshot, table: Sql, *, all_kept: bool) -> None:
    """Set `_current` of every row of `table`, the output table.

    A row is current where its newest final decision (accepted, kept, failed) for today's input and prompt is accepted
    or kept, and today's checks and types hold. Retries and escalations change nothing. Kept rows that were not judged
    now stay as they are, unless `all_kept` were to be.
    Reads `work.input`, `work.compared`, `work.kept_judged`, the ledger, and `snapshot`. Writes the output table.
    """
    hashes = judge_hashes_by_every_recipe(resolved)
    statement = query(
        "refresh_current",
        table=table,
        keyed=_keyed(resolved, snapshot, table),
        pipelines=quote_list(resolved.names),
        unjudged=Sql("false") if all_kept else Sql("t._current"),
    )
    session.execute(statement, {"prompt_versions": prompt_versions(resolved), "judge_hashes": hashes})


def judge_kept(session: Session, resolved: Resolved, snapshot: Snapshot, table: Sql, *, all_kept: bool) -> None:
    """Judge by today's checks and types the answers of kept rows: all, or those kept now or not current in `table`.

    A kept row may lack fields that are newer than its answer: they are not asked for.
    Reads `work.plan`, `work.compared`, the ledger, the output table, `snapshot`.
    Writes `work.kept`, `work.documents`, `work.validity`, `work.kept_judged`.
    """
    keyed = _keyed(resolved, snapshot, table)
    unsure = sql("NOT was_kept OR key_id IN (SELECT key_id FROM {keyed} WHERE NOT _current)", keyed=keyed)
    statement = query(
        "kept_documents",
        pipelines=quote_list(resolved.names),
        reviewed=standing_reviews(session, resolved.names),
        unsure=Sql("true") if all_kept else unsure,
        values=texts_sql(resolved.hash_columns),
        snapshot=snapshot.relation,
    )
    session.execute(statement)
    session.execute(query("documents_of_kept"))
    validate_answers(session.work, resolved.answer_rules, Sql("work.kept"), members=Sql("true"))
    session.execute(query("kept_judged"))


def prompt_versions(resolved: Resolved) -> list[str]:
    """Return the identities of today's prompt version, by today's recipe and by every other one."""
    return [each.prompt_version for each in versions_by_every_recipe(resolved)]


def _keyed(resolved: Resolved, snapshot: Snapshot, table: Sql) -> Sql:
    """Return SQL for the number, the flag and the key_id of each row of the output table.

    A key that the ledger has in another way than its columns write it is looked up in `snapshot`.
    """
    recipe = newest_recipe().number
    columns = resolved.key_columns
    present = key_sql(canonical_text(quote_identifier(each.name), each.type, recipe) for each in columns)
    keyed, stored = query("rows_with_keys", key=present, table=table), Sql("key")
    if not snapshot.key_columns:
        written = present_key_sql(columns)
        keyed = query("rows_with_stored_keys_of_input", rows=keyed, key=written, input=snapshot.file)
        stored = Sql("coalesce(stored, key)")
    return sql(
        "(SELECT row_number, _current, unhex(md5({stored}))::UUID AS key_id FROM {keyed})", stored=stored, keyed=keyed
    )
