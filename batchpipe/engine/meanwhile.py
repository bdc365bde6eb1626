"""`[pilot] meanwhile = "previous"`: new rows go on under the last approved prompt version while the gate is closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from batchpipe.engine.context import Context
from batchpipe.engine.flight import Flight
from batchpipe.engine.plan import Plan, Planner, PlanOptions
from batchpipe.engine.queue import Queue
from batchpipe.engine.record import record_version
from batchpipe.engine.resolve import Resolved
from batchpipe.engine.snapshot import Snapshot
from batchpipe.engine.submit import Submitter
from batchpipe.engine.versions import KnownInputs, known_versions, read_version, resolve_version
from batchpipe.logs import Tell
from batchpipe.sql import quote_list
from batchpipe.store.database import Work
from batchpipe.store.queries import query


@dataclass(slots=True, kw_only=True)
class Meanwhile:
    """The rows that no version has answered yet, under the version before. It has working tables of its own."""

    planner: Planner
    queue: Queue
    snapshot: Snapshot
    options: PlanOptions
    again: bool = field(default=True, init=False)

    @property
    def done(self) -> bool:
        """Nothing more can be sent now."""
        return not self.again and self.queue.exhausted

    def submit(self, flight: Flight) -> None:
        """Plan where rows have become due, and send what there is room for."""
        if self.again and self.queue.exhausted:
            self.again = False
            self.queue.load(self.planner.plan(self.snapshot, (), self.options))
        self.queue.submit(flight)


def is_asked_for(resolved: Resolved) -> bool:
    """Whether `[pilot]` lets new rows go on under the version before."""
    pilot = resolved.file.pipeline.pilot
    return pilot is not None and pilot.meanwhile == "previous"


def previous(context: Context, work: Work, resolved: Resolved) -> Resolved | None:
    """The present pipeline under the version before; None where there is none."""
    names = resolved.names
    present = {"prompt_version": resolved.version.prompt_version}
    with context.database.reading(work) as session:
        found = session.rows(query("previous_version", pipelines=quote_list(names)), present)
        if not found:
            return None
        known = next(each for each in known_versions(session, names) if each.prompt_version == str(found[0][0]))
        version = read_version(session, names, known)
    inputs = KnownInputs(work.connection, resolved.input_columns)
    return resolve_version(version, resolved.file, inputs, context.default_provider)


def plan_meanwhile(
    context: Context,
    resolved: Resolved,
    snapshot: Snapshot,
    options: PlanOptions,
    pilot_keys: Sequence[str],
    folder: Path,
) -> Plan | None:
    """What goes on under the version before, for `plan`, beside the rows that the pilot takes."""
    if not is_asked_for(resolved):
        return None
    with closing(context.work()) as work:
        before = previous(context, work, resolved)
        if before is None:
            return None
        folder.mkdir()
        return _planner(context, work, before, folder).plan(snapshot, (), _unanswered(options, pilot_keys))


def go_on(
    context: Context,
    stack: ExitStack,
    snapshot: Snapshot,
    options: PlanOptions,
    parts: Mapping[str, Any],
    tell: Tell,
) -> Meanwhile | None:
    """A way for new rows under the version before, with what a run's submitter takes; `stack` closes its tables."""
    if not is_asked_for(parts["resolved"]):
        return None
    work = context.work()
    stack.callback(work.close)
    before = previous(context, work, parts["resolved"])
    if before is None:
        return None
    git_commit = context.git_commit()
    with context.database.writing(work, parts["run_id"]) as session:
        record_version(session, before, parts["run_id"], git_commit)
    planner = _planner(context, work, before, context.database.make_folder("work", before.name, "meanwhile"))
    submitter = Submitter(**{**parts, "resolved": before, "work": work}, account_url=context.account_url)
    queue = Queue(submitter=submitter, planner=planner, context=context, max_usd=None, tell=tell)
    return Meanwhile(planner=planner, queue=queue, snapshot=snapshot, options=_unanswered(options, ()))


def _planner(context: Context, work: Work, resolved: Resolved, folder: Path) -> Planner:
    return Planner(resolved=resolved, database=context.database, work=work, folder=folder, prices=context.prices())


def _unanswered(options: PlanOptions, without: Sequence[str]) -> PlanOptions:
    return replace(options, unanswered=without, sample=None)
