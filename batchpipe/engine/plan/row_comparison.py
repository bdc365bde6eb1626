"""Comparing the rows of the input with the ledger: what can be said of each row before anything is rendered.

`compare_rows` goes through phases, each a function. Its docstring says which working tables it reads and writes. Where
the ledger knows nothing of the pipeline, `compare_new_rows` makes the tables that later steps read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import duckdb

from batchpipe.decide.fingerprint import RECIPES
from batchpipe.engine.cost.ladder import LADDER, fill_rung_settings
from batchpipe.engine.ledger.events import CALL_SECONDS, has_open, standing_reviews
from batchpipe.engine.plan.matches import find_tries
from batchpipe.engine.plan.orders import Order, fill_keep, fill_redo, order_condition, output_relation
from batchpipe.engine.plan.plan import REASONS, PlanOptions
from batchpipe.engine.resolved.bind import rungs_sql
from batchpipe.engine.resolved.recorded_recipes import judge_hashes_by_every_recipe, versions_by_every_recipe
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import Snapshot, input_hash_sql, names_sql, recorded_hash_sql, texts_sql
from batchpipe.engine.votes.slots import slots
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import Sql, joined, number_sql, quote_list, sql
from batchpipe.store.database import Session
from batchpipe.store.queries import query

EVERYTHING = PlanOptions()
# SQL over `work.candidates c`: prompt, input and orders let the last decision stand; the checks may still fail it.
STAYS = Sql(
    "(c.known AND c.same_input AND (c.same_version OR c.same_visible) AND c.redo IS NULL AND NOT c.never_sent "
    "AND c.state IN ('accepted', 'kept', 'failed'))"
)


@dataclass(frozen=True, slots=True)
class RecordedInput:
    """What the input hashes of a policy are over, and the hashes of `work.input` that they are compared with.

    `present_hash` numbers the one over the columns' present types; `recorded_hash` that over the recorded types, where
    these are others. There is neither where a column has left the input.
    """

    columns: tuple[str, ...]
    types: tuple[str, ...]
    recipe: int
    present_hash: int | None = None
    recorded_hash: int | None = None


def compare_rows(
    session: Session, resolved: Resolved, snapshot: Snapshot, orders: Sequence[Order], options: PlanOptions
) -> None:
    """Compare each row of `snapshot` with the newest decision on its key, under `orders`.

    `work.compared` gets every row that is not unchanged; `fill_candidates` says more of those that may be due.
    Reads the ledger. Writes `work.standing` and the other tables of `fill_standing`, `work.input`, `work.pending`,
    `work.identities`, `work.present`, `work.all_keys`, `work.redo`, `work.compared`.
    """
    fill_standing(session, resolved)
    ways = fill_input(session, resolved, snapshot, options)
    if has_open(session):
        calls_since = {"calls_since": session.now - timedelta(seconds=CALL_SECONDS)}
        session.execute(query("pending", pipelines=quote_list(resolved.names)), calls_since)
    else:
        session.execute(query("nothing_pending"))
    _fill_identities(session, resolved, ways)
    _fill_present_outputs(session, resolved, orders, options)
    if options.where is not None:
        _select(session, resolved, snapshot, options.where)
    if options.since is None:
        # work.all_keys: One row is a key of the input, with whether it is selected.
        session.execute(Sql("CREATE OR REPLACE TABLE work.all_keys AS SELECT key_id, selected FROM work.input"))
    fill_redo(session, resolved, snapshot, orders)
    same_input = sql(
        "coalesce({hashed}, {read})", hashed=_same_input(ways), read=_same_values(session, resolved, snapshot, ways)
    )
    session.execute(query("compared", same_input=same_input))


def fill_candidates(session: Session, resolved: Resolved, snapshot: Snapshot, orders: Sequence[Order]) -> None:
    """Fill `work.candidates`: the rows that may be due, with their last decision and the rungs that they may use.

    With them comes what says whether they are due: what `try` bought, and what `orders` keep.
    Reads `work.compared`, `work.present`, the ledger.
    Writes `work.candidates`, `work.rung_settings`, `work.tries`, `work.next_rungs`, `work.to_keep`.
    """
    fill_rung_settings(session, resolved)
    find_tries(session, resolved)
    session.execute(query("candidates", pipelines=quote_list(resolved.names), **_usable_rungs(resolved, snapshot)))
    _fill_next_rungs(session, resolved.height)
    fill_keep(session, resolved, snapshot, orders)
    if session.one(Sql("SELECT EXISTS (FROM work.to_keep)"))[0]:
        session.execute(query("keep_no_other_answer", pipelines=quote_list(resolved.names)))


def is_new(
    session: Session, resolved: Resolved, orders: Sequence[Order] = (), options: PlanOptions = EVERYTHING
) -> bool:
    """Return whether nothing in the ledger, no order and no option bears on any row: each is planned alike.

    Reads the ledger.
    """
    if orders or resolved.panels or (options.where, options.unanswered, options.since) != (None, None, None):
        return False
    return not session.knows(resolved.names)


def compare_new_rows(session: Session, resolved: Resolved, snapshot: Snapshot) -> None:
    """Take every row of `snapshot` as one that may be due.

    Writes what `compare_rows` writes for later steps: `work.standing`, `work.standing_policies`, `work.pending`,
    `work.redo`, `work.input`, `work.all_keys`, `work.compared`, `work.candidates`, `work.next_rungs`.
    """
    session.execute(query("nothing_stands"))
    hashed = sql("{hash} AS input_hash", hash=input_hash_sql(resolved.hash_columns, resolved.policy_recipe))
    session.execute(query("input", hashes=hashed, snapshot=snapshot.relation))
    session.execute(Sql("CREATE OR REPLACE TABLE work.all_keys AS SELECT key_id, selected FROM work.input"))
    session.execute(query("candidates_of_new", **_usable_rungs(resolved, snapshot)))
    _fill_next_rungs(session, resolved.height)


def nothing_may_be_due(connection: Connection, resolved: Resolved) -> bool:
    """Return whether no row of a pipeline without panels and files may be due. Reads `work.compared`."""
    plain = not (resolved.panels or resolved.templates.media)
    return plain and connection.execute(query("one_candidate")).fetchone() is None


def fill_nothing_due(connection: Connection, resolved: Resolved) -> None:
    """Make the tables of a plan without candidates, which are empty.

    Writes `work.documents_of_revalidated`, `work.documents_of_validity`, `work.ladder`, `work.rendered`, `work.plan`,
    `work.due`, `work.shared`, `work.leading`, `work.to_send`.
    """
    connection.execute(query("nothing_validated"))
    connection.execute(query("nothing_due"))
    connection.execute(query("leading", **slots(resolved, "leading")))
    connection.execute(LADDER)


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


def fill_input(
    session: Session, resolved: Resolved, snapshot: Snapshot, options: PlanOptions
) -> Sequence[RecordedInput]:
    """Fill `work.input` with the keys of the rows and the hashes of their input; return what standing hashes are over.

    There is one hash for each way in which a standing decision was hashed, and hash 0 is today's. Ways that agree, as
    all recipes do for texts, whole numbers and dates, share one.
    Reads `work.standing`, `work.standing_policies`, `ledger.policies`. Writes `work.input`.
    """
    present = {each.name: each for each in resolved.input_columns}
    hashes = {input_hash_sql(resolved.hash_columns, resolved.policy_recipe): 0}
    ways = []
    for names, types, recipe in session.rows(query("past_columns", pipelines=quote_list(resolved.names))):
        if recipe not in RECIPES or any(name not in present for name in names):
            ways.append(RecordedInput(tuple(names), tuple(types), recipe))
            continue
        columns = [present[name] for name in names]
        number = hashes.setdefault(input_hash_sql(columns, recipe), len(hashes))
        recorded = None
        if [each.type for each in columns] != types:
            hashed = recorded_hash_sql(columns, types, recipe)
            if _binds(session, sql("SELECT {hashed} FROM {rows}", hashed=hashed, rows=snapshot.relation)):
                recorded = hashes.setdefault(hashed, len(hashes))
        ways.append(RecordedInput(tuple(names), tuple(types), recipe, number, recorded))
    listed = [sql("{hashed} AS {name}", hashed=hashed, name=_hash_name(number)) for hashed, number in hashes.items()]
    session.execute(query("input", hashes=joined(", ", listed), snapshot=snapshot.relation))
    _leave_out_rows(session, resolved, options)
    return ways


def _leave_out_rows(session: Session, resolved: Resolved, options: PlanOptions) -> None:
    """Leave out the rows that the options say the plan does not look at.

    Reads `work.standing`. Writes `work.input`.
    """
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


def _binds(session: Session, statement: Sql) -> bool:
    """Return whether DuckDB can run `statement`: a type of before may be one that it no longer knows."""
    try:
        session.execute(sql("EXPLAIN {statement}", statement=statement))
    except duckdb.Error:
        return False
    return True


def count_rows(session: Session, *, new: bool) -> tuple[dict[str, int], int, int, int, int]:
    """Return the rows by reason, and how many keys were known, vanished, appeared and were removed.

    With `new` the ledger knows nothing of the pipeline.
    Reads `work.plan`; where it is not new, `work.compared`, `work.input`, `work.all_keys`, `work.standing_policies`.
    """
    none = dict.fromkeys(REASONS, 0)
    if new:
        by_reason = none | dict(session.rows(query("reason_counts_of_new")))
        return by_reason, 0, 0, sum(by_reason.values()), 0
    known, vanished, appeared, removed = session.one(query("vanished"))
    return none | dict(session.rows(query("reason_counts"))), known, vanished, appeared, removed


def _fill_identities(session: Session, resolved: Resolved, ways: Sequence[RecordedInput]) -> None:
    """Fill `work.identities`: for each prompt version and policy that rows stand under, what of it is today's.

    Today's hashes by every recipe are looked for: the ledger has them as an older recipe made them.
    Reads `work.standing_policies`, `ledger.prompt_versions`, `ledger.policies`.
    """
    versions = versions_by_every_recipe(resolved)
    identities = {
        "prompt_versions": [each.prompt_version for each in versions],
        "visible_hashes": [each.visible_hash for each in (*versions, *resolved.versions_before_renames())],
        "schema_hashes": [each.schema_hash for each in versions],
        "judge_hashes": judge_hashes_by_every_recipe(resolved),
    }
    statement = query(
        "identities",
        pipelines=quote_list(resolved.names),
        present_hash=_number_of_hash([(each, each.present_hash) for each in ways]),
        recorded_hash=_number_of_hash([(each, each.recorded_hash) for each in ways]),
    )
    session.execute(statement, identities)


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


def _usable_rungs(resolved: Resolved, snapshot: Snapshot) -> dict[str, Sql]:
    """Return SQL for the rungs that a candidate may use, and for the join that gives what `when` reads."""
    used = {name for when in resolved.whens if when for name in when.inputs}
    join = sql("JOIN {typed} s2 ON s2.position = c.position", typed=snapshot.typed(used)) if used else Sql("")
    return {"rungs": rungs_sql(resolved.whens), "snapshot_join": join}


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


def _number_of_hash(ways: Sequence[tuple[RecordedInput, int | None]]) -> Sql:
    """Return SQL for the number of the hash that a policy's input hashes are compared with, or NULL."""
    cases = [
        sql(
            "WHEN p.columns = [{columns}]::VARCHAR[] AND p.types = [{types}]::VARCHAR[] AND p.recipe = {recipe} "
            "THEN {number}",
            columns=quote_list(way.columns),
            types=quote_list(way.types),
            recipe=number_sql(way.recipe),
            number=number_sql(number),
        )
        for way, number in ways
        if number is not None
    ]
    return sql("CASE {cases} END", cases=joined(" ", cases)) if cases else Sql("NULL::INTEGER")


def _same_input(ways: Sequence[RecordedInput]) -> Sql:
    """Return SQL for whether a row's input is the one decided on, as that decision hashed it.

    It is NULL where that is not known.
    """
    present = _compared(Sql("v.present_hash"), [each.present_hash for each in ways])
    recorded = _compared(Sql("v.recorded_hash"), [each.recorded_hash for each in ways])
    return sql("({present} OR coalesce({recorded}, false))", present=present, recorded=recorded)


def _same_values(session: Session, resolved: Resolved, snapshot: Snapshot, ways: Sequence[RecordedInput]) -> Sql:
    """Return SQL for whether what is left of a row's input is what was asked, where a column has left the input.

    Columns of another type than then are not compared. Reads `work.standing`, `work.identities`, `work.input`, the
    ledger. Writes `work.changed_otherwise`.
    """
    if all(each.present_hash is not None for each in ways):
        return Sql("true")
    columns = snapshot.columns
    session.execute(
        query(
            "changed_otherwise",
            names=names_sql(columns),
            types=quote_list(each.type for each in columns),
            texts=texts_sql(columns),
            snapshot=snapshot.relation,
            pipelines=quote_list(resolved.names),
        )
    )
    return Sql("i.key_id NOT IN (SELECT key_id FROM work.changed_otherwise)")


def _compared(number: Sql, numbers: Sequence[int | None]) -> Sql:
    """Return SQL for whether the hash of that `number`, one of `numbers`, is the one decided on, or NULL."""
    cases = [
        sql(
            "WHEN {number} = {each} THEN i.{name} = s.input_hash",
            number=number,
            each=number_sql(each),
            name=_hash_name(each),
        )
        for each in sorted({each for each in numbers if each is not None})
    ]
    return sql("CASE {cases} END", cases=joined(" ", cases)) if cases else Sql("NULL::BOOLEAN")


def _hash_name(number: int) -> Sql:
    """Return the column of `work.input` with hash `number`; hash 0 is today's."""
    return sql("input_hash_{number}", number=number_sql(number)) if number else Sql("input_hash")
