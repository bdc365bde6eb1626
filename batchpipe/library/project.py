"""A project, as a Python program opens it."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from batchpipe.common.errors import UsageError
from batchpipe.common.given import home_path
from batchpipe.library.options import Money, row_options, run_call
from batchpipe.library.pipeline import Pipeline
from batchpipe.library.runs import in_thread
from batchpipe.library.several import ByPipeline, ChosenFiles, chosen_files, plan_several, run_several
from batchpipe.library.surroundings import Surroundings, surroundings
from batchpipe.library.values import Plan, Result
from batchpipe.pipeline.files import FOLDER, pipeline_files
from batchpipe.project.project import find_pipelines, is_root

SETTINGS_FILE = "batchpipe.toml"
NEW_SETTINGS = """\
# Settings of batchpipe for this project, such as: database = "batchpipe.duckdb"
"""


class Project:
    """A project: a folder with settings, pipelines and a ledger of what was asked and answered.

    `folder` lies in the project: its root is found upward, as the command line finds it. `settings` are any settings of
    the project, such as `emulator=True` or `database="other.duckdb"`; they come before the environment's and the
    files'. `env` names a group of settings, as `--env` does. Each call opens what it needs and closes it again.
    """

    def __init__(self, folder: str | os.PathLike[str] = ".", *, env: str | None = None, **settings: Any) -> None:
        """Find the project's root, and read its settings.

        Raises UsageError for a folder that does not exist, an unknown setting, and a bad value.
        """
        self._around = surroundings(folder, settings, env)

    @classmethod
    def create(cls, folder: str | os.PathLike[str], *, env: str | None = None, **settings: Any) -> Project:
        """Make a project of `folder`, which is made where it is missing, and open it.

        A folder that is a root already stays as it is. `batchpipe init` makes a project with a first pipeline.
        Raises UsageError where the folder cannot be written.
        """
        place = home_path(folder, "batchpipe.Project")
        try:
            place.mkdir(parents=True, exist_ok=True)
            if not is_root(place):
                (place / SETTINGS_FILE).write_text(NEW_SETTINGS, encoding="utf-8")
        except OSError as error:
            what = f"the project cannot be made: {error.strerror}"
            raise UsageError(what, where=str(place), hint="Name a folder that can be written.") from error
        return cls(place, env=env, **settings)

    @property
    def root(self) -> Path:
        """Return the project's root."""
        return self._around.root

    @property
    def around(self) -> Surroundings:
        """Return the project's root, settings and environment."""
        return self._around

    def pipeline(self, name: str | os.PathLike[str]) -> Pipeline:
        """Return the pipeline of this name, or of this file.

        Raises UsageError where there is none, with the nearest names.
        """
        found = find_pipelines([os.fspath(name)], self.root, start=Path.cwd())
        if not found.single:
            what = f"{os.fspath(name)} is a folder of pipelines"
            raise UsageError(what, where="Project.pipeline", hint="Name one of them; Project.pipelines() has all.")
        return Pipeline(self._around, found.paths[0])

    def pipelines(self) -> list[Pipeline]:
        """Return every pipeline under `pipelines/`, by the names of their files."""
        return [Pipeline(self._around, path.absolute()) for path in pipeline_files(self.root / FOLDER)]

    def plan(
        self,
        pipelines: Sequence[str | os.PathLike[str]] | None = None,
        *,
        with_upstream: bool = False,
        raises: bool = True,
        redo: str | None = None,
        keep: str | None = None,
        where: str | None = None,
        limit: int | None = None,
        retry_failed: bool = False,
        no_new: bool = False,
        params: Mapping[str, Any] | None = None,
    ) -> ByPipeline[Plan]:
        """Return the plans of several pipelines by their names: those of these names or files, or all of the project.

        A pipeline that reads another one comes after it, and is planned by the rows that are expected there.
        `with_upstream` plans too what the named ones read. Errors are raised once all are planned; with `raises=False`
        they are in `.errors`.
        """
        chosen = self._chosen(pipelines)
        options = row_options(
            chosen.files,
            redo=redo,
            keep=keep,
            where=where,
            limit=limit,
            retry_failed=retry_failed,
            no_new=no_new,
            params=params,
        )
        return plan_several(self._around, chosen, options, with_upstream=with_upstream, raises=raises)

    def run(
        self,
        pipelines: Sequence[str | os.PathLike[str]] | None = None,
        *,
        with_upstream: bool = False,
        raises: bool = True,
        max_usd: Money | None = None,
        wait: bool | float | timedelta = True,
        redo: str | None = None,
        keep: str | None = None,
        where: str | None = None,
        limit: int | None = None,
        retry_failed: bool = False,
        no_new: bool = False,
        pilot: int | None = None,
        approve: bool = False,
        resume: bool = False,
        params: Mapping[str, Any] | None = None,
        progress: bool | None = None,
    ) -> ByPipeline[Result]:
        """Run several pipelines together: those of these names or files, or all of the project, as `run --all` does.

        Return their results by name, in the order in which they went: a pipeline that reads another one goes after it.
        `with_upstream` runs too what the named ones read. `max_usd` bounds each pipeline. The other options are those
        of `Pipeline.run`. The error of one does not stop the others: it is raised once all have ended, with a note of
        how each other one ended; with `raises=False` it is in `.errors`.
        """
        given = dict(locals())
        given.pop("self")
        return self._run(threading.Event(), **given)

    async def run_async(
        self, pipelines: Sequence[str | os.PathLike[str]] | None = None, **options: Any
    ) -> ByPipeline[Result]:
        """Run as `run` does, with its options, in a thread of its own, so that an event loop goes on meanwhile.

        A task that is canceled stops the runs within about a second; the same call goes on from there.
        """
        return await in_thread(self._run, {"pipelines": pipelines, **options})

    def _run(
        self,
        stop: threading.Event,
        *,
        pipelines: Sequence[str | os.PathLike[str]] | None = None,
        with_upstream: bool = False,
        raises: bool = True,
        **options: Any,
    ) -> ByPipeline[Result]:
        chosen = self._chosen(pipelines)
        call = run_call(chosen.files, stop, **options)
        return run_several(self._around, chosen, call, with_upstream=with_upstream, raises=raises)

    def _chosen(self, pipelines: Sequence[str | os.PathLike[str]] | None) -> ChosenFiles:
        """Return the pipelines of these names or files; a single name is one."""
        if isinstance(pipelines, str | os.PathLike):
            pipelines = [pipelines]
        names = None if pipelines is None else [os.fspath(each) for each in pipelines]
        return chosen_files(self._around, names)

    def __repr__(self) -> str:
        return f"<batchpipe project {self.root}>"
