"""Comparing the rows of the input with the ledger: what can be said of each row before anything is rendered.

`compare_rows` goes through phases, each a function. Its docstring says which working tables it reads and writes.
"""

from __future__ import annotations

from collections.abc import Sequence

from batchpipe.engine.cost.estimate import fill_rung_settings
from batchpipe.engine.ledger.events import standing_reviews
from batchpipe.engine.plan.orders import Order, fill_keep, fill_redo, order_condition, output_relation
from batchpipe.engine.plan.plan import PlanOptions
from batchpipe.engine.resolved.bind import rungs_sql
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import Snapshot, input_hash_sql
from batchpipe.sql.quoting import Sql, joined, number_sql, quote_list, sql
from batchpipe.store.database import Session
from batchpipe.store.queries import query


def compare_rows(
    session: Session, resolved: Resolved, snapshot: Snapshot, orders: Sequence[Order], options: PlanOptions
) -> None:
    """Compare each row of `snapshot` with the newest decision on its key, under `orders`.

    `work.compared` gets every row that is not unchanged; `work.candidates` those of them that may be due.
    Reads the ledger. Writes `work.standing`, `work.standing_policies`, `work.input`, `work.pending`,
    `work.rung_settings`, `work.tries`, `work.identities`, `work.present`, `work.all_keys`, `work.redo`,
    `work.compared`, `work.candidates`, `work.next_rungs`, `work.to_keep`.
    """
    fill_standing(session, resolved)
    column_lists = fill_input(session, resolved, snapshot, options)
    session.execute(query("pending", pipelines=quote_list(resolved.names)))
    fill_rung_settings(session, resolved)
    session.execute(query("tries", bought=_bought(resolved)))
    _fill_identities(session, resolved, column_lists)
    _fill_present_outputs(session, resolved, orders, options)
    if options.where is not None:
        _select(session, resolved, snapshot, options.where)
    if options.since is None:
        # work.all_keys: One row is a key of the input, with whether it is selected.
        session.execute(Sql("CREATE OR REPLACE TABLE work.all_keys AS SELECT key_id, selected FROM work.input"))
    fill_redo(session, resolved, snapshot, orders)
    session.execute(query("compared", same_input=_same_input(column_lists)))
    _fill_candidates(session, resolved, snapshot)
    _fill_next_rungs(session, len(resolved.rungs))
    fill_keep(session, resolved, snapshot, orders)


def fill_standing(session: Session, resolved: Resolved) -> None:
    """Fill `work.standing`, a view: the newest decision on each key. It is read in sessions only.

    Where the last prompt version that decided has decided no key twice, its decisions are taken as they are: grouping
    them costs more than all the rest.
    Reads `ledger.decisions`.
    Writes `work.standing`, `work.standing_policies`, `work.superseded`, `work.decided_before`, and where keys were
    decided twice `work.decided_again`.
    """
    pipelines = quote_list(resolved.names)
    among = {"pipelines": pipelines, "generation": number_sql(session.one(query("generation", pipelines=pipelines))[0])}
    again = session.one(query("any_decided_again", **among))[0]
    if again:
        session.execute(query("decided_again", **among))
    session.execute(query("superseded", **among))
    session.execute(query("decided_before", **among))
    newest = Sql("LEFT JOIN work.decided_again a ON a.key_id = d.key_id") if again else Sql("")
    only_newest = Sql("AND (a.key_id IS NULL OR a.seq = d.seq)") if again else Sql("")
    view = query("standing", seq=number_sql(session.seq), newest=newest, only_newest=only_newest, **among)
    session.execute(view)
    session.execute(query("standing_policies"))


def fill_input(session: Session, resolved: Resolved, snapshot: Snapshot, options: PlanOptions) -> list[list[str]]:
    """Fill `work.input` with the keys of the rows and the hashes of their input; return the lists of hashed columns.

    There is one hash for each list of columns that a standing decision was made over; the first list is today's.
    Lists of which a column has left the input are left out.
    Reads `work.standing`, `work.standing_policies`, `ledger.policies`. Writes `work.input`.
    """
    present = {each.name: each for each in resolved.input_columns}
    lists = [[each.name for each in resolved.hash_columns]]
    for columns, _ in session.rows(query("past_columns", pipelines=quote_list(resolved.names))):
        if columns not in lists and all(name in present for name in columns):
            lists.append(columns)
    hashes = []
    for number, names in enumerate(lists):
        hashed = input_hash_sql((present[name] for name in names), resolved.policy_recipe)
        hashes.append(sql("{hashed} AS {name}", hashed=hashed, name=_hash_name(number)))
    session.execute(query("input", hashes=joined(", ", hashes), snapshot=snapshot.relation))
    if options.unanswered is not None:
        session.execute(
            Sql(
                "DELETE FROM work.input WHERE key_id IN (SELECT key_id FROM work.standing "
                "WHERE NOT (prompt_version = $1::UUID AND state IN ('retry', 'escalated'))) "
                "OR key IN (SELECT unnest($2::VARCHAR[]))"
            ),
            [resolved.version.prompt_version, list(options.unanswered)],
        )
    if options.since is not None:
        session.execute(
            Sql(
                "DELETE FROM work.input WHERE key_id NOT IN (SELECT key_id FROM work.standing "
                "WHERE state IN ('retry', 'escalated') AND (seq > $1 OR not_before IS NOT NULL))"
            ),
            [options.since],
        )
    return lists


def _bought(resolved: Resolved) -> Sql:
    """Return SQL for the requests whose answers are taken wherever a rung asks the same.

    For an evaluation these are all requests of the pipeline and of its evaluations, else those of `try`.
    """
    evaluated = resolved.file.evaluates
    if evaluated:
        return sql("q.leads AND split_part(q.pipeline, ':', 1) IN ({evaluated})", evaluated=quote_list(evaluated))
    return sql("q.reason = 'try' AND q.pipeline IN ({names})", names=quote_list(resolved.names))


def _fill_identities(session: Session, resolved: Resolved, column_lists: Sequence[Sequence[str]]) -> None:
    """Fill `work.identities`: for each prompt version and policy that rows stand under, what of it is today's.

    Reads `work.standing_policies`, `ledger.prompt_versions`, `ledger.policies`.
    """
    version = resolved.version
    identities = {
        "prompt_version": version.prompt_version,
        "visible_hash": version.visible_hash,
        "schema_hash": version.schema_hash,
        "judge_hash": resolved.judge_hash,
    }
    pipelines, column_list = quote_list(resolved.names), _column_list(column_lists)
    session.execute(query("identities", pipelines=pipelines, column_list=column_list), identities)


def _fill_present_outputs(session: Session, resolved: Resolved, orders: Sequence[Order], options: PlanOptions) -> None:
    """Fill `work.present` with the outputs as they stand, where `--where`, `[rerun]` or an order reads them.

    Reads `ledger.decisions`, `ledger.results`, the standing reviews.
    """
    keeps = any(rule is not True for rule in resolved.rerun.values())
    if options.where is not None or keeps or any(each.needs_output for each in orders):
        reviewed = standing_reviews(session, resolved.names)
        session.execute(query("present_outputs", pipelines=quote_list(resolved.names), reviewed=reviewed))


def _select(session: Session, resolved: Resolved, snapshot: Snapshot, where: str) -> None:
    """Mark in `work.input` the rows that `--where` selects. Reads `work.present`."""
    condition = order_condition(resolved, session.connection, where, "--where")
    session.execute(
        sql(
            "UPDATE work.input SET selected = key_id IN (SELECT key_id FROM ({output_relation}) WHERE {truth})",
            output_relation=output_relation(resolved, snapshot, condition),
            truth=condition.truth,
        )
    )


def _fill_candidates(session: Session, resolved: Resolved, snapshot: Snapshot) -> None:
    """Fill `work.candidates`: the rows that may be due, with their last decision and the rungs that they may use.

    Reads `work.compared`, `ledger.decisions`, `ledger.results`.
    """
    masks = rungs_sql(resolved.whens)
    used = {name for when in resolved.whens if when for name in when.inputs}
    join = sql("JOIN {typed} s2 ON s2.position = c.position", typed=snapshot.typed(used)) if used else Sql("")
    session.execute(query("candidates", pipelines=quote_list(resolved.names), rungs=masks, snapshot_join=join))


def _fill_next_rungs(session: Session, rungs: int) -> None:
    """Fill `work.next_rungs`: for each mask of usable rungs, the usable rung above each rung; 0 is below the first.

    Reads `work.candidates`.
    """
    masks = [mask for (mask,) in session.rows(Sql("SELECT DISTINCT rungs FROM work.candidates"))]
    # work.next_rungs: One row is a set of usable rungs and a rung, with the next rung above it.
    session.execute(Sql("CREATE OR REPLACE TABLE work.next_rungs (rungs UINTEGER, rung SMALLINT, next_rung SMALLINT)"))
    for mask in masks:
        for rung in range(rungs + 1):
            above = next((each for each in range(rung + 1, rungs + 1) if mask >> (each - 1) & 1), None)
            session.execute(Sql("INSERT INTO work.next_rungs VALUES ($1, $2, $3)"), [mask, rung, above])


def _column_list(column_lists: Sequence[Sequence[str]]) -> Sql:
    """Return SQL for the number of the list of columns that a policy's input hashes are over.

    It is NULL where a column of that list has left the input.
    """
    cases = [
        sql("WHEN p.columns = [{names}]::VARCHAR[] THEN {number}", names=quote_list(names), number=number_sql(number))
        for number, names in enumerate(column_lists)
    ]
    return sql("CASE {cases} END", cases=joined(" ", cases))


def _same_input(column_lists: Sequence[Sequence[str]]) -> Sql:
    """Return SQL for whether a row's input is the one decided on, over the columns of that decision.

    It is NULL where that is not known.
    """
    numbers = range(len(column_lists))
    cases = [
        sql(
            "WHEN v.column_list = {number} THEN i.{hash_name} = s.input_hash",
            number=number_sql(number),
            hash_name=_hash_name(number),
        )
        for number in numbers
    ]
    return sql("CASE {cases} END", cases=joined(" ", cases))


def _hash_name(number: int) -> Sql:
    """Return the column of `work.input` with the hashes over list `number` of columns; list 0 is today's."""
    return sql("input_hash_{number}", number=number_sql(number)) if number else Sql("input_hash")
