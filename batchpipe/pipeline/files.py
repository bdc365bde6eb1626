"""The pipeline files of a project, and what each of them says of itself: its name, its table, its older name."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = "pipelines"
NOT_PIPELINES = ("data", "schemas")


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """Describes what a pipeline file says of itself. A file that cannot be read is known by its stem alone."""

    path: Path
    name: str
    table: str
    older_names: tuple[str, ...] = ()
    children: tuple[str, ...] = ()

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the output table and the tables of its list fields."""
        return (self.table, *self.children)


def pipeline_files(folder: Path) -> list[Path]:
    """Return the pipeline files in `folder` and below, sorted, without those under data/, schemas/ or hidden
    folders.
    """
    found = []
    for path in sorted(folder.rglob("*.toml")):
        parents = path.relative_to(folder).parts[:-1]
        if path.is_file() and not any(part in NOT_PIPELINES or part.startswith(".") for part in parents):
            found.append(path)
    return found


def labels_folder(root: Path) -> Path:
    """Return the folder of the pipelines that `batchpipe.label` makes of a program's tables; git ignores it."""
    return root / ".batchpipe" / "labels"


def declared(path: Path) -> Declared:
    """Return what the file at `path` says of itself; mistakes in it are reported where it is loaded."""
    data = toml_table(path)
    output = data.get("output")
    name, older = _text(data.get("name")) or path.stem, data.get("renamed_from")
    older_names = tuple(each for each in (older if isinstance(older, list) else [older]) if isinstance(each, str))
    table = _text(output.get("table")) if isinstance(output, dict) else None
    rows = output.get("rows") if isinstance(output, dict) else None
    children = tuple(each for each in rows.values() if isinstance(each, str)) if isinstance(rows, dict) else ()
    return Declared(path=path, name=name, table=table or name, older_names=older_names, children=children)


def declared_in(root: Path, *further: Path) -> Sequence[Declared]:
    """Return what each pipeline file of the project at `root`, and each of `further`, says of itself.

    Those that `batchpipe.label` has made are among them.
    """
    labels: list[Path] = []
    with suppress(PermissionError):  # a folder of another person
        labels = sorted(labels_folder(root).glob("*.toml"))
    paths = dict.fromkeys((*pipeline_files(root / FOLDER), *labels, *further))
    return [declared(path) for path in paths]


def toml_table(path: Path) -> dict[str, Any]:
    """Return what a TOML file has; nothing where it cannot be read, since `load` reports what is wrong with it."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
