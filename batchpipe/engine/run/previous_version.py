"""The prompt version before the present one: `[pilot] meanwhile = "previous"` plans and sends new rows under it.

A run does so while the gate is closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

from batchpipe.common import modes
from batchpipe.common.logs import Tell
from batchpipe.engine.batches.free_decisions import record_version
from batchpipe.engine.batches.in_flight import BatchesInFlight
from batchpipe.engine.batches.sending import DueRequests
from batchpipe.engine.context import Context
from batchpipe.engine.plan.plan import Plan, PlanOptions
from batchpipe.engine.plan.planner import Planner
from batchpipe.engine.realtime.due_requests import make_due_requests
from batchpipe.engine.realtime.local_run import hints_for
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import Snapshot
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Work
from batchpipe.store.queries import query


def is_asked_for(resolved: Resolved) -> bool:
    """Return whether `[pilot]` lets new rows go on under the previous version."""
    pilot = resolved.file.pipeline.pilot
    return pilot is not None and pilot.meanwhile == "previous"


def previous(context: Context, work: Work, resolved: Resolved) -> Resolved | None:
    """Return the present pipeline under the previous version; None where there is none.

    Reads `ledger.prompt_versions`, `ledger.events`.
    """
    from batchpipe.engine.resolved.versions import KnownInputs, known_versions, read_version, resolve_version

    names = resolved.names
    present = {"prompt_version": resolved.version.prompt_version}
    with context.database.reading(work) as session:
        found = session.rows(query("previous_version", pipelines=quote_list(names)), present)
        if not found:
            return None
        known = next(each for each in known_versions(session, names) if each.prompt_version == str(found[0][0]))
        version = read_version(session, names, known)
    inputs = KnownInputs(work.connection, resolved.input_columns)
    return resolve_version(version, resolved.file, inputs, context.providers)


def plan_meanwhile(
    context: Context,
    resolved: Resolved,
    snapshot: Snapshot,
    options: PlanOptions,
    pilot_keys: Sequence[str],
    folder: Path,
) -> Plan | None:
    """Plan what goes on under the previous version, beside the rows that the pilot takes.

    `pilot_keys` are those rows. Return None where `[pilot]` does not ask for it or there is no previous version.
    """
    if not is_asked_for(resolved):
        return None
    with closing(context.work()) as work:
        before = previous(context, work, resolved)
        if before is None:
            return None
        modes.make_folder(folder, below=folder)
        planner = make_planner(context, work, before, folder)
        planner.hints = hints_for(context, work, before, snapshot, None, like=resolved)
        return planner.plan(snapshot, (), unanswered(options, pilot_keys))


def make_planner(context: Context, work: Work, resolved: Resolved, folder: Path, linked: Sequence[str] = ()) -> Planner:
    """Return a planner with working tables of its own in `work`. `linked` are names that renames link."""
    return Planner(
        resolved=resolved,
        database=context.database,
        work=work,
        folder=folder,
        prices=context.prices(),
        linked=linked,
    )


def unanswered(options: PlanOptions, without: Sequence[str]) -> PlanOptions:
    """Return `options` held to the rows that no version has answered yet, without the keys in `without`."""
    return replace(options, unanswered=without, sample=None)


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
    folder = context.database.make_folder("work", before.name, parts.run_id, "meanwhile")
    planner = make_planner(context, work, before, folder)
    planner.hints = hints_for(context, work, before, snapshot, None, like=parts.resolved)
    due_requests = make_due_requests(
        replace(parts, resolved=before, work=work), context, planner, in_flight, tell, max_usd
    )
    return PreviousVersionRun(
        planner=planner, due_requests=due_requests, snapshot=snapshot, options=unanswered(options, ())
    )
