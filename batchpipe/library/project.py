"""A project, as a Python program opens it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from batchpipe.common.errors import UsageError
from batchpipe.library.pipeline import Pipeline
from batchpipe.library.surroundings import Surroundings, surroundings
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
        place = Path(folder).expanduser()
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

    def __repr__(self) -> str:
        return f"<batchpipe project {self.root}>"
