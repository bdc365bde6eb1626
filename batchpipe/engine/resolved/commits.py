"""Read a pipeline's files out of a git commit and unpack them into a folder."""

from __future__ import annotations

import io
import shlex
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from batchpipe.common.errors import PipelineError, Problem, UsageError
from batchpipe.pipeline.files import declared, toml_table
from batchpipe.pipeline.load import load
from batchpipe.pipeline.model import PipelineFile

SECONDS = 60
FOLDERS = ("pipelines", "prompts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A commit (40 hex digits) and the name that a person gave for it."""

    ref: str
    commit: str

    @property
    def label(self) -> str:
        """Return the name with the short hash: `main (1a2b3c4d5e6f)`."""
        short = self.commit[:12]
        return short if self.commit.startswith(self.ref) else f"{self.ref} ({short})"


def find_commit(root: Path, ref: str) -> Commit | None:
    """Return the commit that git finds for `ref` in the repository of `root`; None where there is none."""
    found = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    return Commit(ref=ref, commit=found.decode().strip()) if found else None


def unpack(commit: Commit, file: PipelineFile, folder: Path) -> PipelineFile:
    """Unpack the pipeline `file` of `commit`, with its prompts and the files that it names, under `folder`.

    Raises UsageError where the commit has no such pipeline, PipelineError where the pipeline cannot be read.
    """
    own = _inside(file)
    names = _tracked(file.root, commit, [*FOLDERS, own])
    files = [each for each in names if each == own or each.endswith(".toml") or each.startswith("prompts/")]
    _archive(file.root, commit, files, folder)
    path = _same_pipeline(file, commit, [each for each in files if not each.startswith("prompts/")], own, folder)
    named = [each for each in _named_files(path) if each in _tracked(file.root, commit, [each])]
    _archive(file.root, commit, named, folder)
    try:
        return load(path, folder)
    except PipelineError as error:
        raise PipelineError.from_problems(
            [Problem(what=each.what, where=f"{commit.label}: {each.where}", hint=each.hint) for each in error.problems]
        ) from error


def _inside(file: PipelineFile) -> str:
    """Return the path of the pipeline file from the project root."""
    try:
        return file.path.relative_to(file.root).as_posix()
    except ValueError as error:
        hint = "Move the file under pipelines/."
        raise UsageError("the pipeline file lies outside the project", where=str(file.path), hint=hint) from error


def _tracked(root: Path, commit: Commit, paths: Sequence[str]) -> list[str]:
    """Return the files of a commit under `paths`, named from `root`."""
    found = _git(root, "--literal-pathspecs", "ls-tree", "-r", "-z", "--name-only", commit.commit, "--", *paths)
    return [each for each in (found or b"").decode("utf-8", "surrogateescape").split("\0") if each]


def _archive(root: Path, commit: Commit, names: Sequence[str], folder: Path) -> None:
    """Unpack the files called `names` of a commit into `folder`."""
    if not names:
        return
    packed = _git(root, "--literal-pathspecs", "archive", "--format=tar", commit.commit, "--", *names)
    if packed is None:
        hint = "Try it yourself: git archive " + commit.commit
        raise UsageError("git cannot unpack the commit", where=commit.label, hint=hint)
    try:
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(folder, filter="data")
    except tarfile.TarError as error:
        hint = "Links that lead out of the project cannot be followed into a commit."
        raise UsageError(f"the commit cannot be unpacked: {error}", where=commit.label, hint=hint) from error


def _same_pipeline(file: PipelineFile, commit: Commit, files: Sequence[str], own: str, folder: Path) -> Path:
    """Return the pipeline's file: the one at the same path, else the one that has one of the pipeline's names."""
    if (folder / own).is_file():
        return folder / own
    for each in files:
        path = folder / each
        if declared(path).name in file.pipeline.names:
            return path
    hint = f"It was made later or under another name: git log --oneline -- {shlex.quote(own)}"
    raise UsageError(f"there is no pipeline {file.pipeline.name}", where=commit.label, hint=hint)


def _named_files(path: Path) -> list[str]:
    """Return the other files that a pipeline file reads: its query and its schema."""
    data = toml_table(path)
    places = (("input", "query_file"), ("output", "schema_file"))
    tables = ((data.get(table), key) for table, key in places)
    found = [table.get(key) for table, key in tables if isinstance(table, dict)]
    return [each for each in found if isinstance(each, str)]


def _git(root: Path, *words: str) -> bytes | None:
    """Return what git printed; None where git failed or is not installed."""
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
