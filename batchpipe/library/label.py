"""Label the rows of a table by a prompt, in one call: `batchpipe.label`."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from batchpipe.commands.printing.text import count, money
from batchpipe.common import modes
from batchpipe.common.errors import GateError, InternalError, UsageError
from batchpipe.common.given import home_path
from batchpipe.engine.context import Context
from batchpipe.engine.ledger.locks import pipeline_lock
from batchpipe.engine.output.labels import label_columns
from batchpipe.engine.plan.plan import Plan as DuePlan
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.run.options import RunOptions
from batchpipe.library.frames import frame_of, write_rows
from batchpipe.library.label_file import LabelTask, task_of, write_file
from batchpipe.library.options import Money, dollars
from batchpipe.library.project import Project
from batchpipe.library.runs import Confirm, RunCall, run_file
from batchpipe.library.surroundings import Surroundings
from batchpipe.library.values import Result
from batchpipe.pipeline.files import labels_folder
from batchpipe.pipeline.model import PipelineFile
from batchpipe.project.project import find_root, is_root
from batchpipe.store.disk import disk_error

ERROR_COLUMN = "_error"
WHERE = "batchpipe.label"
T = TypeVar("T")
_guard = threading.Lock()
_tasks: dict[Path, threading.Lock] = {}


def label(
    frame: T,
    *,
    key: str | Sequence[str],
    prompt: str,
    fields: Mapping[str, Any],
    models: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]],
    name: str | None = None,
    project: Project | str | os.PathLike[str] | None = None,
    max_usd: Money | None = None,
    system: str | None = None,
    checks: Mapping[str, str] | None = None,
    max_tokens: int = 1_000,
    retry_failed: bool = False,
    progress: bool | None = None,
) -> T:
    """Return `frame` with the answers of models to a prompt over each of its rows.

    `frame` is a pandas DataFrame, a Polars DataFrame or a pyarrow Table, and so is what comes back: all rows in their
    order, with a column for each of `fields` and `_error`, which says why a row failed (its fields are NULL then). A
    column of such a name is replaced. `key` names the column, or the columns, that tell rows apart.

    `prompt` and `system` are Jinja templates over the columns. `fields` has for each field its allowed values, a type
    (`str`, `int`, `float`, `bool`, ...), or a table in the words of a pipeline file. `models` is the ladder, cheapest
    first: names, or tables such as `{"model": ..., "accept": "confidence >= 0.8"}`. `checks` are SQL conditions that an
    answer must satisfy.

    Answers are kept in the ledger of the nearest project (or of `project`), under `name` (default: `label_` and the
    names of the fields): what was answered is not asked again, whatever table it comes in. `max_usd` (US dollars)
    bounds the call; without it a call that is expected to cost more than the setting `confirm_above_usd` is refused.

    Raises UsageError where there is no project, InputError for a key that is doubled or missing, GateError where the
    cost is not allowed or the budget is used up, and the errors of a run. Ctrl-C raises KeyboardInterrupt: the same
    call goes on from there.
    """
    given = frame_of(frame)
    around = _project(project).around
    task = task_of(
        name=name,
        key=key,
        prompt=prompt,
        system=system,
        fields=fields,
        models=models,
        checks=checks,
        max_tokens=max_tokens,
    )
    options = RunOptions(max_usd=dollars(max_usd), retry_failed=retry_failed)
    confirm = _confirm(around, bounded=max_usd is not None)
    with _task_folder(around, task) as folder:
        rows = folder / f"{task.name}.parquet"
        write_rows(given, rows, task.key, task.used, [*task.fields, ERROR_COLUMN])
        file = around.load(write_file(task, folder, rows))
        result = run_file(around, file, RunCall(options=options, progress=progress, confirm=confirm))
        _require_whole(result)
        labelled: T = given.labelled(_read(around, file))
    return labelled


def _require_whole(result: Result) -> None:
    """Raise GateError where rows of the table are not answered: a part must not be taken for the whole."""
    if result.status == "gate":
        answered = count(result.rows["accepted"] or 0, "row")
        hint = result.hint or "Raise max_usd, or the budget, and call again: what is answered is not asked again."
        raise GateError(f"{result.gate}; {answered} of this table are answered", where=result.pipeline, hint=hint)
    if result.status == "pending":
        raise InternalError("the run ended before its batches", where=result.pipeline, hint="Call again.")


def _read(around: Surroundings, file: PipelineFile) -> Any:
    """Return the fields and the error of each row of the table, in the order of its rows, as an Arrow table."""
    with around.context() as context, closing(context.work()) as work, _resolved(context, file) as (resolved, snapshot):
        snapshot.make_room(work.memory)
        return label_columns(context.database, work, resolved, snapshot, ERROR_COLUMN)


@contextmanager
def _resolved(context: Context, file: PipelineFile) -> Iterator[tuple[Resolved, Any]]:
    """Resolve the file and read its input, into a folder that is removed at the end."""
    with context.temporary_folder("label-") as folder, context.source(file, {}) as source:
        resolved = context.resolve(file, source)
        yield resolved, source.snapshot(folder / "input.parquet", resolved.input_columns)


def _project(given: Project | str | os.PathLike[str] | None) -> Project:
    """Return the project whose ledger keeps the answers. Raises UsageError where there is none."""
    if isinstance(given, Project):
        return given
    place = home_path(given or ".", "batchpipe.label")
    root = find_root(place)
    if not root.is_dir() or not is_root(root):
        shown = "." if given is None else os.fspath(given)
        what = "there is no project here that could keep what is paid for"
        hint = f"To make one: batchpipe.Project.create({shown!r})"
        raise UsageError(what, where=str(place.absolute()), hint=hint)
    return Project(root)


def _confirm(around: Surroundings, *, bounded: bool) -> Confirm:
    """Return what refuses a plan that costs more than may be spent without `max_usd`. The emulator costs nothing."""

    def confirm(resolved: Resolved, whole: Callable[[], DuePlan]) -> bool:
        if bounded or around.settings.emulator:
            return True
        plan = whole()
        cost, allowed = plan.estimate.cost_usd, around.settings.confirm_above_usd
        if not plan.requests or (cost is not None and cost <= allowed):
            return True
        about = f"about {money(cost)}, {money(plan.estimate.max_usd)} at most"
        if cost is None:
            about = "a cost that is not known"
        limit = f"max_usd={_rounded_up(plan)}" if cost is not None else "max_usd=..."
        what = f"{count(plan.requests, 'request')} would be sent for {about}: nothing was sent"
        hint = f"Give the most that the call may spend: {limit}. Without it up to {money(allowed)} is spent."
        raise GateError(what, where=resolved.name, hint=hint)

    return confirm


def _rounded_up(plan: DuePlan) -> str:
    """Return the expected cost in whole cents, rounded up."""
    cost = plan.estimate.high_usd or plan.estimate.cost_usd
    assert cost is not None
    return f"{float(cost) + 0.005:.2f}"


@contextmanager
def _task_folder(around: Surroundings, task: LabelTask) -> Iterator[Path]:
    """Make the folder of the task's files, and hold it for the block. Threads of this process wait for one another.

    Raises LockedError where another process has it.
    """
    folder = labels_folder(around.root)
    try:
        modes.make_folder(folder, below=folder.parent)
        ignore = folder.parent / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise disk_error(error, folder) from error
    with (
        _one_thread(folder / task.name),
        around.context() as context,
        pipeline_lock(folder, task.name, context.clock()),
    ):
        yield folder


def _one_thread(path: Path) -> threading.Lock:
    """Return the lock that lets one thread of this process after the other work at the task whose files are `path`."""
    with _guard:
        return _tasks.setdefault(path.resolve(), threading.Lock())
