"""Start a run: refuse a paused pipeline, record the start, read the input."""

from __future__ import annotations

from typing import NoReturn

from batchpipe import __version__
from batchpipe.common.errors import GateError
from batchpipe.common.logs import Event, Tell
from batchpipe.engine.batches.free_decisions import record_version
from batchpipe.engine.context import Context
from batchpipe.engine.ledger.events import add_event
from batchpipe.engine.ledger.renames import Link, record_rename, rename_links
from batchpipe.engine.output.output_table import ensure_output
from batchpipe.engine.output.unfit_keys import unfit_keys
from batchpipe.engine.plan.history_gate import history_doubt, history_gate
from batchpipe.engine.resolved.recorded_recipes import recorded_keys, under_recorded_recipes, with_stored_keys
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.run.options import RunOptions
from batchpipe.engine.source.files import kept_looks, record_files
from batchpipe.engine.source.snapshot import Snapshot
from batchpipe.pipeline.evaluations import evaluated_pipeline, is_evaluation
from batchpipe.pipeline.model import PipelineFile
from batchpipe.store.database import Database, Session, Work


def refuse_paused(name: str) -> NoReturn:
    """Raise GateError: the pipeline or evaluation `name` is paused."""
    pipeline = evaluated_pipeline(name)
    again = f"eval {pipeline}" if is_evaluation(name) else f"run {pipeline} --resume"
    raise GateError(f"{name} is paused by `batchpipe cancel`", where=name, hint=f"To go on: batchpipe {again}")


def record_start(database: Database, work: Work, name: str, *, resumes: bool) -> tuple[str, int, list[Link]]:
    """Record that a run of the pipeline `name` began; return its id, the commit, and the links of renames.

    `resumes` says that it ends a pause.
    Writes `ledger.events`.
    """
    with database.writing(work, None) as session:
        run_id = session.new_id()
        add_event(session, name, "run_started", {"version": __version__}, run_id=run_id)
        if resumes:
            add_event(session, name, "resumed", {}, run_id=run_id)
        return run_id, session.seq, rename_links(session)


def read_input(
    context: Context, file: PipelineFile, work: Work, run_id: str, options: RunOptions, tell: Tell
) -> tuple[Resolved, Snapshot]:
    """Resolve the file, make the output table, then read the input once into a snapshot.

    Where it is in doubt whose history the pipeline goes on
    with, nothing is recorded before the keys are known.
    Writes `ledger.prompt_versions`, `ledger.policies`, `ledger.events`, the output table. Raises GateError where the
    pipeline looks like another one.
    """
    with context.source(file, options.params) as source:
        resolved = context.resolve(file, source)
        source.release_databases()
        with context.database.writing(work, run_id) as session:
            resolved = under_recorded_recipes(session, resolved)
            doubt = history_doubt(session, resolved)
            if doubt is None:
                _record(session, context, resolved, run_id, tell)
            keys_differ = bool(recorded_keys(session, resolved))
        folder = context.database.make_folder("work", file.pipeline.name, run_id)
        snapshot = source.snapshot(folder / "input.parquet", resolved.input_columns)
    if resolved.templates.media and (looks := kept_looks(context.looks_folder)):
        with context.database.writing(work, run_id) as session:
            record_files(session, looks)
        for each in looks:
            each.unlink(missing_ok=True)
    if keys_differ:
        with context.database.reading(work) as session:
            snapshot = with_stored_keys(session, resolved, snapshot, folder / "keyed.parquet")
    if doubt is not None:
        with context.database.writing(work, run_id) as session:
            gate = history_gate(session, resolved, snapshot, doubt)
            if gate is not None and (doubt.vanished or not options.approve):
                raise gate
            _record(session, context, resolved, run_id, tell)
    return resolved, snapshot


def _record(session: Session, context: Context, resolved: Resolved, run_id: str, tell: Tell) -> None:
    """Record the version and the link of a rename where they are new, and make the output table.

    Writes `ledger.prompt_versions`, `ledger.policies`, `ledger.events`, the output table.
    """
    record_version(session, resolved, run_id, context.git_commit())
    record_rename(session, resolved.file, run_id)
    repaired = ensure_output(session, resolved, run_id)
    unfit = unfit_keys(session, resolved)
    for said in (repaired, unfit.text if unfit is not None else None):
        if said is not None:
            tell(Event(kind="notice", level="warning", detail=said))
