"""Allow one run or evaluation of a pipeline at a time, by a lock of the operating system: a killed process cannot leave
it behind.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from batchpipe.common import modes
from batchpipe.common.errors import LockedError
from batchpipe.pipeline.evaluations import evaluated_pipeline, is_evaluation
from batchpipe.store.disk import disk_error

# How long a model of an evaluation waits for a run, which holds its lock for moments to record what it finds of it.
MOMENTS_SECONDS = 10.0


@contextmanager
def pipeline_lock(folder: Path, pipeline: str, now: datetime, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold the lock of `pipeline` in `folder`.

    Raises LockedError, with the holder's name, where another process still holds the lock after `wait_seconds`.
    """
    from filelock import FileLock, Timeout  # its import takes longer than a command that only looks

    path = folder / f"{pipeline}.lock"
    holder = folder / f"{pipeline}.holder.json"
    try:
        modes.make_folder(folder, below=folder)
        with open(path, "ab", opener=modes.opener) as file:
            fcntl.flock(file, fcntl.LOCK_UN)  # raises where a file system has no locks; filelock would do without
            # The lock keeps the mode of a file that is there.
            lock = FileLock(path, mode=os.fstat(file.fileno()).st_mode & 0o777 | modes.PRIVATE_FILE)
        lock.acquire(timeout=wait_seconds)
    except Timeout as error:
        raise _held(pipeline, holder) from error
    except OSError as error:
        raise disk_error(error, folder) from error
    try:
        _write_holder(holder, now)
        yield
    finally:
        try:
            with suppress(OSError):  # a name that stays is written over by the next holder
                holder.unlink(missing_ok=True)
        finally:
            lock.release()


@contextmanager
def own_folder(make: Callable[[], Path]) -> Iterator[None]:
    """Hold the folder that `make` makes, and remove what others have left beside it when they ended.

    So two runs without a common lock file, because somebody has removed it, do not write into each other's files.
    """
    with ExitStack() as stack:
        folder = make()
        try:
            while not _hold(folder, stack) or not folder.exists():
                folder = make()  # another run has just removed it: it was not held yet
            for old in folder.parent.iterdir():
                if old != folder:
                    _remove_unless_held(old)
        except OSError as error:
            raise disk_error(error, folder) from error
        yield


def _hold(folder: Path, stack: ExitStack) -> bool:
    """Lock a folder until `stack` is closed; return False where another process has it."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return False
    stack.callback(os.close, handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_unless_held(old: Path) -> None:
    if not old.is_dir():
        old.unlink(missing_ok=True)
        return
    with ExitStack() as stack:
        if _hold(old, stack):
            shutil.rmtree(old, ignore_errors=True)


def _write_holder(holder: Path, now: datetime) -> None:
    holding = {"process": os.getpid(), "since": f"{now:%Y-%m-%d %H:%M:%S} UTC"}
    try:
        with open(holder, "w", encoding="utf-8", opener=modes.opener) as file:
            file.write(json.dumps(holding))
    except OSError as error:
        raise disk_error(error, holder) from error


def _held(pipeline: str, holder: Path) -> LockedError:
    """Return the error that names the process that holds the lock."""
    try:
        holding = json.loads(holder.read_text("utf-8"))
        who = f"process {holding['process']}, since {holding['since']}"
    except (OSError, ValueError, KeyError):
        who = "another process"
    name, doing = evaluated_pipeline(pipeline), "evaluated" if is_evaluation(pipeline) else "run"
    what = f"{name} is being {doing} by {who}"
    hint = f"Wait for it, then run the same command again; or look at it with: batchpipe status {name}"
    return LockedError(what, where=str(holder.parent), hint=hint)
