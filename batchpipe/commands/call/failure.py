"""Show the error that stops a command to people and programs, and write the report of a bug."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import re
import shlex
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path

from batchpipe import __version__
from batchpipe.commands.printing.text import safe
from batchpipe.common import modes
from batchpipe.common.errors import BatchpipeError, DatabaseError, InternalError, PipelineError, Problem, UsageError
from batchpipe.common.logs import Event
from batchpipe.common.secrets import redacted

SHOWN_NAME = 100  # characters of a name that is too long
NO_ROOM = re.compile("No space left on device|File too large|Disk quota exceeded")


def failure(error: BatchpipeError) -> dict[str, str | None]:
    """Return the `error` object of `--json`."""
    hint = error.hint
    message = error.what
    if isinstance(error, PipelineError) and len(error.problems) > 1:
        listed = "\n".join(f"{each.where}: {each.what}" for each in error.problems)
        message = f"{len(error.problems)} problems:\n{listed}"
        hint = "\n".join(dict.fromkeys(each.hint for each in error.problems))
    return {"code": error.code, "message": message, "where": error.where, "hint": hint}


def failure_event(error: BatchpipeError) -> Event:
    """Return the error as an event for a log store."""
    found = failure(error)
    place = f"{found['where']}: " if found["where"] else ""
    return Event(kind="error", level="error", error_code=error.code, detail=f"{place}{found['message']}")


def failure_text(error: BatchpipeError) -> str:
    """Return the error for people: what is wrong, where, and the command or edit that fixes it."""
    if isinstance(error, PipelineError):
        lines = [problem_text(each) for each in error.problems]
        more = f"{len(lines)} problems:\n" if len(lines) > 1 else ""
        return "error: " + more + "\n".join(lines)
    place = f"{safe(error.where)}: " if error.where else ""
    hint = f"\n  {safe(error.hint, lines=True)}" if error.hint else ""
    return f"error: {place}{safe(error.what, lines=True)}{hint}"


def problem_text(problem: Problem) -> str:
    """Return a problem of a pipeline file for people."""
    return f"{safe(problem.where)}: {safe(problem.what, lines=True)}\n  {safe(problem.hint, lines=True)}"


def bug(report: Path) -> InternalError:
    """Return the error that tells a person about a bug and where its report is."""
    hint = "Nothing is lost: run the same command again. Please send the report to batchpipe's makers."
    return InternalError("this is a bug in batchpipe; this file has the report", where=str(report), hint=hint)


def of_system(error: Exception) -> BatchpipeError | None:
    """Return the error for what the system refuses, which no command has to foresee; None for any other.

    That is memory, a thread, room on the disk, one more open file, or a file that may not be read.
    """
    if type(error).__name__ == "OutOfMemoryException" and "used)" in str(error):
        hint = "Send fewer rows at once, as with --limit 500, or shorten the texts of the prompt and the input."
        return DatabaseError("the texts are too long for the memory that DuckDB may use here", hint=hint)
    unloaded = isinstance(error, ImportError) and re.search("failed to map|Cannot allocate", str(error))
    if unloaded or isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryException":
        return _refused("there is not enough memory", "Free memory, or let the process have more of it (ulimit -v)")
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return _refused("the process may not start another thread", "Let it have more of them (ulimit -u)")
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return _refused("too many files are open", "Let the process open more of them (ulimit -n 1024)")
    if isinstance(error, RuntimeError) and isinstance(error.__context__, OSError):
        error = error.__context__  # pathlib hides that a link leads to itself, up to Python 3.12
    full = NO_ROOM.search(str(error)) if isinstance(error, OSError) or type(error).__name__ == "IOException" else None
    if full is not None and getattr(error, "filename", None) is None:  # a library names no file
        return _refused(f"a file cannot be written: {full[0]}", "Free some disk space")
    if not isinstance(error, OSError) or error.filename is None:
        return None
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(error.filename)
    if error.errno == errno.ENAMETOOLONG:
        hint = "Give a shorter name."
        return UsageError("a name is longer than the file system takes", where=f"{name[:SHOWN_NAME]}...", hint=hint)
    if error.errno == errno.ELOOP:
        places = (*reversed(Path(name).parents), Path(name))
        link = os.fspath(next((each for each in places if each.is_symlink() and not each.exists()), name))
        return UsageError("a symbolic link leads to itself", where=link, hint=f"Remove it: rm {shlex.quote(link)}")
    if error.errno in (errno.EACCES, errno.EPERM):
        hint = "Let this user read it, with the folders that it lies in; or give the command as its owner."
        return UsageError("permission denied", where=name, hint=hint)
    from batchpipe.store.disk import disk_error, is_of_disk  # where no command ran, DuckDB is not loaded for it

    return disk_error(error, Path(name)) if is_of_disk(error) else None


def _refused(what: str, remedy: str) -> DatabaseError:
    """Return the error for something that the system does not give to the process."""
    hint = f"{remedy}, then run the same command again: nothing is lost."
    return DatabaseError(what, where="this machine", hint=hint)


def write_bug_report(error: BaseException, folder: Path | None, command: str) -> Path:
    """Write a Markdown report into `folder`, or into a temporary folder where that is not possible; return its path."""
    text = redacted(_report(error, command))
    name = f"bug-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}.md"
    try:
        elsewhere = Path(tempfile.gettempdir()) / "batchpipe-logs"
    except OSError:  # no folder for temporary files can be written
        elsewhere = None
    for place in (folder, elsewhere):
        if place is None:
            continue
        try:
            modes.make_folder(place, below=place.parent)
            for file, content in ((".gitignore", "*\n"), (name, text)):
                with open(
                    place / file, "w", encoding="utf-8", errors="backslashreplace", opener=modes.opener
                ) as opened:
                    opened.write(content)
        except OSError:
            continue
        return place / name
    with contextlib.suppress(OSError):
        sys.stderr.write(text)
    return Path(name)


def _report(error: BaseException, command: str) -> str:
    trace = "".join(traceback.format_exception(error))
    return (
        f"# batchpipe bug report\n\n"
        f"- batchpipe {__version__}\n"
        f"- Python {platform.python_version()}, {platform.platform()}\n"
        f"- {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n\n"
        f"## Command\n\n```console\n{command}\n```\n\n"
        f"## Traceback\n\n```pytb\n{trace}```\n"
    )
