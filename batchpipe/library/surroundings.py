"""What a call of the library works in: the project's root, its settings, and the environment of the process."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from batchpipe.common.errors import UsageError
from batchpipe.common.given import home_path
from batchpipe.common.hints import use_options
from batchpipe.engine.context import Context
from batchpipe.library.logger import LOGGER
from batchpipe.pipeline.load import load
from batchpipe.pipeline.model import PipelineFile
from batchpipe.project.project import find_root
from batchpipe.project.settings import Settings, load_settings

WAIT_SECONDS = 30.0
RUN_WAIT_SECONDS = 1_800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The project's root, its settings and the environment. `options` are those of a command that does the same."""

    root: Path
    settings: Settings
    environment: Mapping[str, str]
    options: str

    def load(self, path: Path) -> PipelineFile:
        """Return the pipeline file at `path`, under the budget of the whole project. Raises PipelineError."""
        return load(path, self.root, self.settings.budget)

    def suggest(self, words: str) -> str:
        """Return a command to type that does the same."""
        return f"batchpipe {words}" + (f" {self.options}" if self.options else "")

    @contextmanager
    def context(self, wait_seconds: float = WAIT_SECONDS) -> Iterator[Context]:
        """Open the surroundings of the engine for one call, and close them at its end.

        `wait_seconds`: how long to wait for a database that another process holds. An interrupt that DuckDB turned into
        an error of its own is raised as KeyboardInterrupt.
        """
        use_options(self.options)
        context = Context(
            root=self.root,
            settings=self.settings,
            environment=self.environment,
            say=LOGGER.info,
            wait_seconds=wait_seconds,
        )
        try:
            yield context
        except (RuntimeError, duckdb.InterruptException) as error:
            if isinstance(error, RuntimeError) and "interrupt" not in str(error).lower():
                raise
            raise KeyboardInterrupt from error
        finally:
            context.close()


def surroundings(folder: str | os.PathLike[str], settings: Mapping[str, Any], env: str | None) -> Surroundings:
    """Return the surroundings of the project that `folder` lies in, with `settings` before all others.

    Raises UsageError for a folder that does not exist, an unknown setting, and a bad value.
    """
    place = home_path(folder, "batchpipe.Project")
    if not place.is_dir():
        hint = f"Name the project's folder; to make one: batchpipe.Project.create({str(folder)!r})"
        raise UsageError(f"there is no folder {place}", where="batchpipe.Project", hint=hint)
    root = find_root(place).resolve()
    environment = dict(os.environ)
    loaded = load_settings(root, environment=environment, command_line=settings, env=env, given_in="batchpipe.Project")
    return Surroundings(root=root, settings=loaded, environment=environment, options=_typed(root, loaded, env))


def _typed(root: Path, settings: Settings, env: str | None) -> str:
    """Return the options that lead a command, typed anywhere, to the same project and service."""
    words = [*(["-C", str(root)] if find_root(Path.cwd()).resolve() != root else []), *(["--env", env] if env else [])]
    return shlex.join([*words, *(["--emulator"] if settings.emulator else [])])
