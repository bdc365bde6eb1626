"""The prompt version before the present one, as `[pilot] meanwhile = "previous"` plans rows under it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from batchpipe.common import modes
from batchpipe.engine.context import Context
from batchpipe.engine.plan.plan import Plan, PlanOptions
from batchpipe.engine.plan.planner import Planner
from batchpipe.engine.realtime.local_run import hints_for
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.resolved.versions import KnownInputs, known_versions, read_version, resolve_version
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


def make_planner(context: Context, work: Work, resolved: Resolved, folder: Path) -> Planner:
    """Return a planner with working tables of its own in `work`."""
    return Planner(resolved=resolved, database=context.database, work=work, folder=folder, prices=context.prices())


def unanswered(options: PlanOptions, without: Sequence[str]) -> PlanOptions:
    """Return `options` held to the rows that no version has answered yet, without the keys in `without`."""
    return replace(options, unanswered=without, sample=None)
