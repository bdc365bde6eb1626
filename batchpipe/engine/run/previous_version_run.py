"""`[pilot] meanwhile = "previous"`: send new rows under the last approved prompt version while the gate is closed."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from decimal import Decimal

from batchpipe.common.logs import Tell
from batchpipe.engine.batches.free_decisions import record_version
from batchpipe.engine.batches.in_flight import BatchesInFlight
from batchpipe.engine.batches.sending import DueRequests
from batchpipe.engine.context import Context
from batchpipe.engine.plan.plan import PlanOptions
from batchpipe.engine.plan.planner import Planner
from batchpipe.engine.realtime.due_requests import make_due_requests
from batchpipe.engine.realtime.local_run import hints_for
from batchpipe.engine.run.previous_version import is_asked_for, make_planner, previous, unanswered
from batchpipe.engine.source.snapshot import Snapshot


@dataclass(slots=True, kw_only=True)
class PreviousVersionRun:
    """Sends the rows that no version has answered yet, under the previous prompt version.

    It has working tables of its own. `plan_again` says that rows may have become due.
    """

    planner: Planner
    due_requests: DueRequests
    snapshot: Snapshot
    options: PlanOptions
    plan_again: bool = field(default=True, init=False)

    @property
    def done(self) -> bool:
        """Return whether nothing more can be sent now."""
        return not self.plan_again and self.due_requests.all_sent

    def submit(self, in_flight: BatchesInFlight) -> None:
        """Plan where rows may have become due, and send what the limits allow."""
        if self.plan_again and (self.due_requests.all_sent or self.due_requests.overtaken):
            self.plan_again = False
            self.due_requests.load(self.planner.plan(self.snapshot, (), self.options))
        self.due_requests.submit(in_flight)
        self.plan_again = self.plan_again or self.due_requests.overtaken


def begin_previous_version_run(
    context: Context,
    stack: ExitStack,
    snapshot: Snapshot,
    options: PlanOptions,
    in_flight: BatchesInFlight,
    tell: Tell,
    max_usd: Decimal | None,
) -> PreviousVersionRun | None:
    """Return what sends new rows under the previous version; None where `[pilot]` does not ask for it.

    `max_usd` bounds the call (US dollars). `in_flight` is that of the run; `stack` closes the working tables.
    Writes `ledger.prompt_versions`, `ledger.policies`.
    """
    parts = in_flight.parts
    if not is_asked_for(parts.resolved):
        return None
    work = context.work()
    stack.callback(work.close)
    before = previous(context, work, parts.resolved)
    if before is None:
        return None
    git_commit = context.git_commit()
    with context.database.writing(work, parts.run_id) as session:
        record_version(session, before, parts.run_id, git_commit)
    planner = make_planner(context, work, before, context.database.make_folder("work", before.name, "meanwhile"))
    planner.hints = hints_for(context, work, before, snapshot, None, like=parts.resolved)
    due_requests = make_due_requests(
        replace(parts, resolved=before, work=work), context, planner, in_flight, tell, max_usd
    )
    return PreviousVersionRun(
        planner=planner, due_requests=due_requests, snapshot=snapshot, options=unanswered(options, ())
    )
