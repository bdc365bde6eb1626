"""A test of the time of a plan: a retry pause that ends while it is made is due or waited for, never neither."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from projects import BASIC, Project, numbered

from batchpipe.engine.plan.plan import Plan
from batchpipe.engine.run.options import RunOptions
from batchpipe.engine.run.preview import preview
from batchpipe.pipeline.load import load


def planned(project: Project, clock: Callable[[], datetime]) -> Plan:
    """Plan by a clock."""
    context = project.context()
    context.clock = context.database.clock = clock
    try:
        return preview(context, load(project.root / "pipelines" / "demo.toml", project.root), RunOptions()).plan
    finally:
        context.close()


def test_a_pause_that_ends_while_a_plan_is_made_is_due_or_waited_for(project: Project) -> None:
    project.settings["poll_interval"] = 3600.0
    project.faults({"requests": [{"outcome": "errored_overloaded"}]})
    project.rows(numbered(1))
    project.pipeline(BASIC)
    for _ in range(40):
        project.run(no_wait=True)
        if not project.sql("SELECT 1 FROM ledger.batches WHERE is_open"):
            break
        time.sleep(0.05)
    ((found,),) = project.sql("SELECT not_before FROM ledger.decisions WHERE state = 'retry'")
    ends: datetime = found
    seen = 0

    def counting() -> datetime:
        """Count the looks at the clock."""
        nonlocal seen
        seen += 1
        return ends - timedelta(seconds=1)

    assert planned(project, counting).deferred_until == ends
    plans = []
    for looks in range(1, seen):
        left = looks

        def passing() -> datetime:
            """Be before the end of the pause for some looks, then after it."""
            nonlocal left
            left -= 1
            return ends + timedelta(seconds=1 if left < 0 else -1)

        plan = planned(project, passing)
        plans.append((plan.requests, plan.deferred_until))
    assert all(each in ((1, None), (0, ends)) for each in plans), plans
