"""The project root, and the pipelines that the command line names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from batchpipe.common.errors import PipelineError, Problem, UsageError
from batchpipe.common.likeness import nearest_names
from batchpipe.pipeline.files import FOLDER, declared, labels_folder, pipeline_files
from batchpipe.pipeline.model import PipelineFile

MARKERS = ("pyproject.toml", "batchpipe.toml", ".git")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The pipeline files of a command.

    `single`: exactly one file was named, by its path or its name; `--json` then prints an object, not a list.
    """

    paths: tuple[Path, ...]
    single: bool


def find_root(start: Path) -> Path:
    """Return the project root of `start`, a pipeline file or the working folder.

    It is the nearest folder upward that holds a pyproject.toml, batchpipe.toml or .git, else the parent of the folder
    `pipelines`, else the folder of `start` itself.
    """
    place = start.absolute()
    folder = place if place.is_dir() else place.parent
    upward = (folder, *folder.parents)
    for each in upward:
        if any((each / marker).exists() for marker in MARKERS):
            return each
    return next((each.parent for each in upward if each.name == FOLDER), folder)


def is_root(folder: Path) -> bool:
    """Return whether `folder` is marked as the root of a project, or has pipelines."""
    return any((folder / marker).exists() for marker in (*MARKERS, FOLDER))


def is_project(folder: Path) -> bool:
    """Return whether `folder` is the root of a project of its own, or may not be looked into."""
    try:
        return any((folder / marker).exists() for marker in MARKERS)
    except OSError:
        return True


def find_pipelines(arguments: Sequence[str], root: Path, all: bool = False, start: Path | None = None) -> Selection:
    """Return the pipeline files that `arguments` name, each once and in order.

    An argument is a file, a folder, or the name of a pipeline under `pipelines/`. Paths are looked up from `start`
    (default: `root`), then from `root`. `all` selects every pipeline of the project. Raises UsageError if a pipeline is
    not found or none is named.
    """
    folder = root / FOLDER
    if all:
        if arguments:
            what = f"--all cannot be combined with {arguments[0]!r}"
            raise UsageError(what, where="the command line", hint="Name pipelines, or give --all.")
        return Selection(paths=_some(folder, root), single=False)
    if not arguments:
        hint = _elsewhere(root) or "Name one, or give --all." + _known(root)
        raise UsageError("no pipeline is named", where="the command line", hint=hint)
    paths: dict[Path, None] = {}
    by_folder = False
    for argument in arguments:
        found = _found(argument, root, start or root)
        by_folder = by_folder or found.is_dir()
        paths |= dict.fromkeys(_some(found, root) if found.is_dir() else [found])
    return Selection(paths=tuple(paths), single=len(arguments) == 1 and not by_folder)


def refuse_same_names(files: Sequence[PipelineFile]) -> None:
    """Raise PipelineError if two files have pipelines of the same name, which would share one history."""
    first: dict[str, PipelineFile] = {}
    problems = []
    for file in files:
        name = file.pipeline.name
        other = first.setdefault(name, file)
        if other is not file:
            what = f'the pipeline name "{name}" is also that of {other.where()}'
            problems.append(Problem(what=what, where=file.where("name"), hint="Give one of them another name."))
    if problems:
        raise PipelineError.from_problems(problems)


def _found(argument: str, root: Path, start: Path) -> Path:
    """Return the file or folder that `argument` names; a pipeline's name wins over a folder of that name in `start`."""
    if argument.endswith(".toml") or "/" in argument or "\\" in argument or argument in (".", ".."):
        for base in (start, root):
            if (base / argument).exists():
                return (base / argument).absolute()
    named = _by_name(argument, root)
    if named is not None:
        return named
    for base in (start, root, root / FOLDER):
        if (base / argument).is_dir():
            return (base / argument).absolute()
    raise UsageError(
        f"there is no pipeline {argument!r}", where=str(root / FOLDER), hint=_not_found_hint(argument, root)
    )


def _by_name(name: str, root: Path) -> Path | None:
    """Return the file `pipelines/NAME.toml`, else the file with that stem or with that `name`, else the one that
    `batchpipe.label` has written; None if there is none.
    """
    folder = root / FOLDER
    direct = folder / f"{name}.toml"
    if direct.is_file():
        return direct.absolute()
    files = pipeline_files(folder)
    matches = [path for path in files if path.stem == name] or [path for path in files if declared(path).name == name]
    if not matches:
        labels = labels_folder(root) / f"{name}.toml"
        with suppress(PermissionError):  # a folder of another person
            return labels.absolute() if labels.is_file() else None
    if len(matches) > 1:
        shown = ", ".join(str(path.relative_to(root)) for path in matches)
        raise UsageError(f"{name!r} names several files: {shown}", where=str(folder), hint="Name the file.")
    return matches[0].absolute() if matches else None


def _some(folder: Path, root: Path) -> tuple[Path, ...]:
    paths = tuple(path.absolute() for path in pipeline_files(folder)) if folder.is_dir() else ()
    if not paths:
        hint = f"{_elsewhere(root)} Make the first one: batchpipe new NAME (or a whole project: batchpipe init)."
        raise UsageError("there is no pipeline", where=str(folder), hint=hint.strip())
    return paths


def _names(root: Path) -> list[str]:
    return [path.stem for path in pipeline_files(root / FOLDER)]


def _known(root: Path) -> str:
    names = _names(root)
    return f" There {'is' if len(names) == 1 else 'are'}: {', '.join(names)}." if names else ""


def _elsewhere(root: Path) -> str:
    """Return how to get to the project, where `root` is none that has pipelines."""
    if (root / FOLDER).is_dir():
        return ""
    return f"There is no folder {FOLDER} here. Go to the folder of your project, or name it: batchpipe -C DIR ..."


def _not_found_hint(argument: str, root: Path) -> str:
    stem = Path(argument).name.removesuffix(".toml")
    close = nearest_names(stem, _names(root), 3)
    guess = f"Did you mean {' or '.join(close)}?" if close else _known(root).strip() or _elsewhere(root)
    name = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_0123456789") or "NAME"
    return guess if name in _names(root) else f"{guess} To make it: batchpipe new {name}".strip()
