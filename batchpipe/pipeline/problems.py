"""The list of all mistakes in a pipeline file: each with its place, the value found, and what to write instead."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from batchpipe.common.errors import Problem
from batchpipe.common.likeness import nearest
from batchpipe.pipeline.places import Path, line_of, toml_path, value_at
from batchpipe.pipeline.type_words import alternatives, key_names, node_at, type_text

MAX_VALUE = 60
TABLES = ("input", "prompt", "output", "models", "chunking", "retry", "budget", "check")


def shown_value(value: Any) -> str:
    """Return `value` much as it is written in TOML, cut to `MAX_VALUE` characters for a message."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"


def nearest_key(name: str, names: Iterable[str]) -> str | None:
    """Return the one of `names` that `name` is probably a misspelling of; None where none is near."""
    return nearest(name, names, 0.7)


@dataclass
class ProblemList:
    """The mistakes of one file. `lines` maps keys to lines; `reported` are the paths that have a mistake already."""

    file: str
    data: Mapping[str, Any]
    lines: Mapping[Path, int]
    found: list[tuple[int, Problem]] = field(default_factory=list)
    reported: set[Path] = field(default_factory=set)
    first_is_local: bool = False  # the first of `[[models]]` was validated apart from the others

    def add(self, path: Path, what: str, hint: str) -> None:
        """Add a mistake at `path`."""
        line = line_of(path, self.lines)
        shown = toml_path(path, self.data)
        where = f"{self.file}{f':{line}' if line else ''} {shown}".rstrip()
        self.reported.add(path)
        self.found.append((line or 0, Problem(what=what, where=where, hint=hint)))

    @property
    def in_order(self) -> list[Problem]:
        """Return each mistake once, ordered by line."""
        ordered = sorted(self.found, key=lambda each: each[0])
        return list(dict.fromkeys(problem for _, problem in ordered))

    def add_validation(self, error: ValidationError) -> None:
        """Add the errors that pydantic found, in our own words, one for each key."""
        for each in error.errors(include_url=False):
            path = self._key_path(each["loc"], missing=each["type"] in ("missing", "extra_forbidden"))
            # A list counts as too short for the models when its items failed, which is reported already.
            if path in self.reported or (each["type"] == "too_short" and value_at(path, self.data)):
                continue
            match each["type"]:
                case "missing":
                    self._missing(path)
                case "extra_forbidden":
                    self._unknown(path)
                case _:
                    self._bad_value(path)

    def _key_path(self, location: tuple[int | str, ...], *, missing: bool) -> Path:
        """Return pydantic's location without the parts that are no keys: the branches of unions."""
        path: Path = ()
        if self.first_is_local and location[0] == "local":
            location = ("models", 0, *location[1:])
        elif self.first_is_local and location[0] == "models" and len(location) > 1:
            location = ("models", int(location[1]) + 1, *location[2:])
        for position, part in enumerate(location):
            there = value_at(path, self.data)
            known = isinstance(there, Mapping) and part in there
            known = known or (isinstance(there, list) and isinstance(part, int))
            if known or (missing and position == len(location) - 1):
                path = (*path, part)
        return path

    def _missing(self, path: Path) -> None:
        key, node = str(path[-1]), node_at(path) or {}
        about = node.get("description", "")
        if len(path) == 1 and key != "name":
            bracketed = f"[[{key}]]" if key == "models" else f"[{key}]"
            typed = nearest_key(key, [name for name in self.data if name not in key_names(())])
            hint = f'"{typed}" is there: did you mean "{key}"?' if typed else f"Add {bracketed} and its keys."
            self.add(path, f"the table {bracketed} is missing", hint)
            return
        given = [name for name in value_at(path[:-1], self.data) or {} if name not in key_names(path[:-1])]
        typed = nearest_key(key, given)
        hint = f'"{typed}" is there: did you mean "{key}"?' if typed else f"Add {key} = ... ({about})"
        self.add(path, f"{key} is missing", hint)

    def _unknown(self, path: Path) -> None:
        key, table = str(path[-1]), path[:-1]
        names = key_names(table)
        close = nearest_key(key, names)
        homes = [each for each in TABLES if key in key_names((each, 0) if each == "models" else (each,))]
        inner = [each for each in names if table and key in key_names((*table, each))]
        listed = [each for each in names if table and key in key_names((*table, each, 0))]
        if close:
            hint = f'Did you mean "{close}"?'
        elif inner or listed:
            around = toml_path(table, self.data).strip("[]")
            hint = f"It belongs in [{around}.{inner[0]}]." if inner else f"It belongs in [[{around}.{listed[0]}]]."
        elif homes and table != (homes[0],):
            hint = f"It belongs in {'[[models]]' if homes[0] == 'models' else f'[{homes[0]}]'}."
        else:
            hint = f"Remove it. Known keys here: {', '.join(names)}."
        self.add(path, f'unknown key "{key}"', hint)

    def _bad_value(self, path: Path) -> None:
        value, node = value_at(path, self.data), node_at(path) or {}
        what = f"cannot be {shown_value(value)}"
        if path in (("name",), ("renamed_from",)) and isinstance(value, str):
            plain = re.sub(r"[^a-z0-9]+", "_", value.lower()).strip("_").lstrip("0123456789_")[:100] or "my_pipeline"
            most = ", at most 100 of them" if len(value) > 100 else ""
            given = "" if path in self.lines else "; without `name` it is the file's"
            hint = f'Lower-case letters, digits and _, a letter first{most}{given}. Write {path[0]} = "{plain}".'
            self.add(path, what, hint)
            return
        choices = [choice for option in alternatives(node) for choice in option.get("enum", [])]
        close = nearest_key(value, choices) if isinstance(value, str) else None
        takes = f'"{close}"' if close else type_text(node)
        about = node.get("description", "")
        self.add(path, what, f"Write {takes}." + (f" ({about.rstrip('.')}.)" if about else ""))
