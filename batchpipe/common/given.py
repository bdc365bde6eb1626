"""Paths and texts as people give them: `~` for a home folder, and bytes that are no UTF-8 text."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from batchpipe.common.errors import UsageError


def home_path(given: str | os.PathLike[str], where: str) -> Path:
    """Return the path that somebody gave, with the home folder in the place of `~`.

    Raises UsageError, with the place `where`, for the home of a user that is not there, and for a NUL in a name.
    """
    text = os.fspath(given)
    if "\0" in text:
        raise UsageError(f"{text!r} is no name of a file: it has a NUL", where=where, hint="Write the name without it.")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        home = Path(text).parts[0]
        hint = f"Write the whole path, or ./{text} for a file of that name."
        raise UsageError(f"there is no home folder {home}", where=where, hint=hint) from error


def is_utf_8(text: str) -> bool:
    """Return whether `text` can be written as UTF-8: bytes that the system handed over and that are none cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_utf_8(text: str) -> str:
    """Return `text` with U+FFFD in the place of what is no UTF-8."""
    return text if is_utf_8(text) else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def toml_key(name: str) -> str:
    """Return `name` as a TOML file writes it as a key: in quotes only if TOML needs them."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml_text(name)


def toml_text(text: str) -> str:
    """Return `text` as a string of one line in TOML."""
    # The escapes of JSON are escapes of TOML; TOML alone wants one for DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
