"""The databases that an input query may read, and the names by which SQL calls them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDatabases:
    """The databases that the input may read. The first is searched first; those that do not exist are left out."""

    paths: tuple[Path, ...]
    wait_seconds: float


def aliases_of(paths: Sequence[Path]) -> list[str]:
    """Return the names by which SQL calls the databases at `paths`: the file's, and one of its own for a second."""
    return [path.stem if number == 0 else f"{path.stem}_project" for number, path in enumerate(paths)]
