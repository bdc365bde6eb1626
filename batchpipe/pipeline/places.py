"""Places in a TOML file: the path of a key as people write it, and its line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Path = tuple[str | int, ...]

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_KEYS = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_KEYS})\s*\]\]?\s*(?:#.*)?$")
_ASSIGNMENT = re.compile(rf"\s*({_KEYS})\s*=")
_TABLES = {"input", "prompt", "output", "models", "chunking", "retry", "budget", "rerun", "pilot", "check"}


def toml_path(path: Path, data: Mapping[str, Any]) -> str:
    """Return `path` as people write it: `[input] key`, `[output.fields.label]`, `[[models]] 2 max_tokens`."""
    if not path:
        return ""
    is_table = isinstance(value_at(path, data), Mapping) or (len(path) == 1 and path[0] in _TABLES)
    table, key = (path, "") if is_table else (path[:-1], path[-1])
    if isinstance(key, int):
        table, key = path[:-2], f"{path[-2]}[{key}]"
    return f"{_shown_table(table)} {key}".strip()


def value_at(path: Sequence[str | int], data: Any) -> Any:
    """Return the value at `path`; None if there is none."""
    for part in path:
        if isinstance(part, str) and isinstance(data, Mapping):
            data = data.get(part)
        elif isinstance(part, int) and isinstance(data, list) and part < len(data):
            data = data[part]
        else:
            return None
    return data


def find_lines(text: str) -> dict[Path, int]:
    """Return the line number, from 1, of each table and key that begins a line of a TOML text."""
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    quote = ""
    for number, line in enumerate(text.splitlines(), 1):
        if quote:
            if line.count(quote) % 2:
                quote = ""
            continue
        header = _HEADER.match(line)
        if header:
            table = _under_arrays(_parts(header[2]), counts)
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            lines.setdefault(table, number)
            continue
        assignment = _ASSIGNMENT.match(line)
        if assignment:
            lines.setdefault((*table, *_parts(assignment[1])), number)
        quote = next((each for each in ('"""', "'''") if line.count(each) % 2), "")
    return lines


def line_of(path: Path, lines: Mapping[Path, int]) -> int | None:
    """Return the line of `path`, or of the nearest table around it; None if neither has one."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None


def _parts(keys: str) -> Path:
    return tuple(part.strip("\"'") for part in re.findall(_PART, keys))


def _under_arrays(path: Path, counts: Mapping[Path, int]) -> Path:
    """Return `path` with the index of the newest element of each array of tables on it.

    `[models.thinking]` belongs to the `[[models]]` before it.
    """
    resolved: Path = ()
    for position, part in enumerate(path):
        resolved = (*resolved, part)
        if position < len(path) - 1 and resolved in counts:
            resolved = (*resolved, counts[resolved])
    return resolved


def _shown_table(path: Path) -> str:
    if not path:
        return ""
    place = next((place for place, part in enumerate(path) if isinstance(part, int)), None)
    if place is not None:
        rest = ".".join(str(part) for part in path[place + 1 :])
        return f"[{_shown_table(path[:place])}] {int(path[place]) + 1}" + (f" {rest}" if rest else "")
    names = [str(part) if re.fullmatch(r"[A-Za-z0-9_-]+", str(part)) else f'"{part}"' for part in path]
    return f"[{'.'.join(names)}]"
