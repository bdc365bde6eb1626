"""Plans that need few statements count the same, and leave the same working tables, as a plan that needs all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

from projects import BASIC, Project, numbered

from batchpipe.engine.plan.orders import Order, make_order
from batchpipe.engine.plan.plan import Plan, PlanOptions
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.run.previous_version import make_planner
from batchpipe.pipeline.load import load
from batchpipe.sql.quoting import Sql
from batchpipe.store.database import Work

Columns = dict[str, list[tuple[str, str]]]
# Tables that only the statements read that a short plan leaves out.
OF_FULL_PLANS = {
    *("answers", "decided_before", "documents", "going_up", "identities", "matches", "next_rungs", "recent_batches"),
    *("revalidated", "rung_settings", "seen", "superseded", "to_keep", "to_validate", "tries", "validated", "validity"),
}
COUNTS = ("rows_by_reason", "known", "vanished", "appeared", "removed", "requests", "followers", "chunks", "estimate")


def planned(
    project: Project, orders: Callable[[Resolved, Work], Sequence[Order]] = lambda *_: ()
) -> tuple[Plan, Columns]:
    """Return the plan of the pipeline, and the columns of the working tables that it leaves."""
    context = project.context()
    file = load(project.root / "pipelines" / "demo.toml", project.root)
    with closing(context), closing(context.work()) as work, context.temporary_folder("plan-") as folder:
        with context.source(file, {}) as source:
            resolved = context.resolve(file, source)
            snapshot = source.snapshot(folder / "input.parquet", resolved.input_columns)
        plan = make_planner(context, work, resolved, folder).plan(snapshot, orders(resolved, work), PlanOptions())
        found = work.connection.execute(
            Sql(
                "SELECT table_name, list((column_name, data_type) ORDER BY column_index) FROM duckdb_columns() "
                "WHERE database_name = 'work' GROUP BY table_name"
            )
        )
        return plan, dict(found.fetchall())


def alike(short: Columns, full: Columns) -> None:
    """Check that the short plan's tables have the columns of the full one's, and that none is missing later."""
    assert {name: full[name] for name in short} == short
    assert set(full) - set(short) <= OF_FULL_PLANS


def test_of_a_pipeline_that_the_ledger_does_not_know(project: Project) -> None:
    project.pipeline(BASIC + "when = \"lang = 'en'\"\n" + BASIC[BASIC.index("[[models]]") :])
    project.rows([*numbered(6, german=2), *[{**each, "id": int(each["id"]) + 6} for each in numbered(3)]])
    short, tables = planned(project)
    # An order makes the planner compare all rows with the ledger, which has none of them.
    full, full_tables = planned(project, lambda resolved, work: [make_order(resolved, work.connection, "redo", "all")])
    alike(tables, full_tables)
    assert (short.due, short.requests, short.appeared) == (9, 8, 9)
    assert [getattr(short, name) for name in COUNTS] == [getattr(full, name) for name in COUNTS]


def test_of_an_input_that_has_not_changed(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(6))
    project.run()
    short, tables = planned(project)
    assert (short.due, short.rows_by_reason["unchanged"], short.known, short.removed) == (0, 6, 6, 0)
    project.rows(numbered(7))
    full, full_tables = planned(project)
    alike(tables, full_tables)
    assert (full.due, full.rows_by_reason["unchanged"], full.known, full.removed) == (1, 6, 6, 0)
