"""Turn a plan of the engine into the value of a Python program."""

from __future__ import annotations

from collections.abc import Callable

from batchpipe.commands.plan.chained import Planned, waiting_object, waiting_text
from batchpipe.commands.plan.due_work import work_text
from batchpipe.commands.plan.plan import plan_object, plan_text
from batchpipe.library.values import Plan, plan_of


def plan_of_planned(planned: Planned, suggest: Callable[[str], str]) -> Plan:
    """Return the value of a plan that has no error. `suggest` returns a command to type that does the same."""
    found = planned.found
    assert found is not None, "a pipeline is planned, or an error says why not"
    whole = plan_object(found)
    if planned.waits_for:
        return plan_of(waiting_object(planned, whole), plan_text(found, suggest, waiting_text(planned, suggest)))
    return plan_of(whole, plan_text(found, suggest, work_text(found.resolved, found.plan)))
