"""Errors about files and disks, DuckDB's and the system's, as DatabaseError with a hint; a file put in place whole."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from batchpipe.common.errors import DatabaseError, GoneDatabaseError

_STORAGE_MESSAGE = re.compile(
    "No space left|File too large|orrupt|checksum|Failed to commit|has been invalidated|Read-only|read-only mode"
)
_DISK_ERRORS = {
    errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO,
    errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ESTALE, errno.ENOTCONN, errno.ENOLCK,
}  # fmt: skip
# The errors of file systems without hard links.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_INNER = re.compile(r'"exception_message":("(?:[^"\\]|\\.)*")')
_FULL = re.compile("No space left|File too large|Disk quota")
# What a file system without file locks answers to DuckDB or to us.
_NO_LOCKS = re.compile(
    "locks are not supported|"
    + "|".join(re.escape(os.strerror(each)) for each in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP))
)
_DENIED = re.compile("ermission denied|[Rr]ead-only|not permitted")
_IN_THE_WAY = re.compile("ot a directory|s a directory|symbolic links")
# The hint of the first pattern that is found in the message of DuckDB or of the system.
_HINTS = (
    (
        _NO_LOCKS,
        "Set a `database` on a disk of this machine, or mount this one with file locks: without them two runs could "
        "pay for the same rows.",
    ),
    (
        _FULL,
        "Free some disk space, then run the same command again: nothing is lost, and no results are downloaded twice.",
    ),
    (
        _DENIED,
        "Make the file and its folder writable, or set another `database`.",
    ),
    (
        _IN_THE_WAY,
        "Something else has the name of a folder or file of batchpipe: move it away, or mend the link.",
    ),
    (
        re.compile("not a valid DuckDB database"),
        "Set another `database`, or move the file away: raw results are safe under .batchpipe/raw.",
    ),
    (
        re.compile("version number|newer version|newer DuckDB"),
        "The file was made by another version of DuckDB: pip install -U duckdb",
    ),
    (
        re.compile("No such file or directory|No files found that match the pattern"),
        "Somebody has removed files of the working folder while they were used. Run the same command again.",
    ),
    (
        re.compile("orrupt|checksum|serialize|read enough bytes|invalidated"),
        "Restore the file from a backup (or move it away), then: batchpipe recover PIPELINE --from-raw",
    ),
)
WORKING_FOLDER = ".batchpipe"
_OTHER_HINT = "Run the same command again; add --debug to see more."


def is_of_storage(error: duckdb.Error) -> bool:
    """Return whether `error` is about the file or the disk, not about a statement."""
    return isinstance(error, duckdb.IOException) or _STORAGE_MESSAGE.search(str(error)) is not None


def plain_message(error: duckdb.Error) -> str:
    """Return the first line of DuckDB's message; where it holds another error as JSON, the message of that one."""
    text = str(error)
    inner = _INNER.search(text)
    return (str(json.loads(inner[1])) if inner else text).split("\n", 1)[0]


def disk_is_full(error: duckdb.Error) -> bool:
    """Return whether `error` says that nothing more can be written."""
    return _FULL.search(str(error)) is not None


def cannot_be_locked(error: duckdb.Error) -> bool:
    """Return whether `error` says that the file system has no file locks, so that nobody holds the file."""
    return _NO_LOCKS.search(str(error)) is not None


def storage_error(error: duckdb.Error, path: Path) -> DatabaseError:
    """Return DuckDB's error about the file at `path` as DatabaseError, with the step that fixes it."""
    message = plain_message(error)
    hint = next((hint for pattern, hint in _HINTS if pattern.search(str(error))), _OTHER_HINT)
    return DatabaseError(message, where=str(path), hint=hint)


def disk_error(error: OSError, path: Path | None = None) -> DatabaseError:
    """Return the system's error about one of our files as DatabaseError, with the step that fixes it."""
    message = os.strerror(error.errno) if error.errno else str(error)
    hint = next((hint for pattern, hint in _HINTS if pattern.search(message)), _OTHER_HINT)
    place = str(path or error.filename or "the working folder")
    with suppress(OSError):
        hint = _what_stands_there(Path(place), message) or hint
    return DatabaseError(f"a file cannot be written: {message}", where=place, hint=hint)


def _what_stands_there(path: Path, message: str) -> str | None:
    """Return the command that helps where something else has the name of our file, or it may not be used; else None."""
    typed, aside = (shlex.quote(str(each)) for each in (path, path.with_name(path.name + ".aside")))
    if path.is_symlink() and not path.exists():
        return f"Mount or restore what the link leads to, {path.readlink()}. Or remove the link: rm {typed}"
    if path.is_dir() and _IN_THE_WAY.search(message):
        return f"A folder has the name of a file of batchpipe. To move it away: mv {typed} {aside}"
    if path.is_file() and _DENIED.search(message):
        return f"The file must be readable and writable: chmod u+rw {typed}"
    return None


def why_unreadable(path: Path) -> str | None:
    """Return a sentence that says why the file at `path` cannot be opened, with what helps; None where it can."""
    try:
        with path.open("rb"):
            return None
    except PermissionError:
        return f"{path} may not be read; to change that: chmod u+r {shlex.quote(str(path))}"
    except OSError:
        if path.is_symlink():
            return f"{path} is a link to {path.readlink()}, which is not there: mount or restore it."
        return f"{path} is a folder." if path.is_dir() else None


def refuse_broken_link(path: Path) -> None:
    """Raise DatabaseError where `path` is a link that leads to nothing: the disk with the file may be missing."""
    if path.is_symlink() and not path.exists():
        raise disk_error(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)), path)


def gone_error(path: Path, working_folder: Path) -> GoneDatabaseError:
    """Return the error for a database that is not there any more, or is another one, with what the raw folder has."""
    raw = working_folder / "raw"
    hint = f"Run the same command again: it takes in what {raw} holds, and pays for none of that again."
    with suppress(OSError):
        if not raw.is_dir() or not any(raw.iterdir()):
            hint = (
                f"There is nothing in {raw}, either: restore that folder or the database from a backup, if there is "
                "one, before you run the same command again. It else asks again for whatever was answered."
            )
    return GoneDatabaseError("the database was removed or replaced while this ran", where=str(path), hint=hint)


def is_of_disk(error: OSError) -> bool:
    """Return whether `error` says that the disk is full or broken, that we may not write to it, or that somebody has
    removed the working folder.
    """
    removed = error.errno == errno.ENOENT and WORKING_FOLDER in Path(str(error.filename)).parts
    return removed or error.errno in _DISK_ERRORS


def followed(path: Path) -> Path:
    """Return the file that `path` leads to over links; it need not be there.

    Raises DatabaseError where a link on the way leads to nothing: the disk with the file may be missing, and a new
    database would know nothing of what is paid for.
    """
    if not path.exists():
        broken = next((each for each in (path, *path.parents) if each.is_symlink() and not each.exists()), None)
        if broken is not None:
            what = f"the link {broken.name} leads to {broken.readlink()}, which is not there"
            hint = "Mount or restore what it leads to; or remove the link, and a new database is made in its place."
            raise DatabaseError(what, where=str(path), hint=hint)
    return Path(os.path.realpath(path))


def put(part: Path, path: Path) -> None:
    """Give the file `part` the name `path`, unless another process has made that file already."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    try:
        os.link(part, path)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if not path.exists():
            part.rename(path)


def temporary_folder(
    database_folder: Path, *, prefix: str = "batchpipe-", below: Path | None = None
) -> TemporaryDirectory[str]:
    """Make a temporary folder, in the machine's own place for them where there is none `below`.

    Raises DatabaseError, about the folder of the database, where none can be made.
    """
    try:
        return TemporaryDirectory(prefix=prefix, dir=below)
    except OSError as error:
        what = f"there is no room for temporary files: {error.strerror}"
        hint = "Free some disk space, or name another folder for them: export TMPDIR=/path/to/folder"
        raise DatabaseError(what, where=str(database_folder), hint=hint) from error
