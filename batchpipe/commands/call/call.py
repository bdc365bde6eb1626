"""What every command is given: the project, its settings, and where data and talk go."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from batchpipe.commands.call.failure import failure_event, failure_text
from batchpipe.commands.printing.text import json_text
from batchpipe.common.errors import BatchpipeError, PipelineError, Problem, UsageError
from batchpipe.common.logs import Event, json_line
from batchpipe.engine.context import Context, utc_now
from batchpipe.pipeline.load import load
from batchpipe.pipeline.model import PipelineFile
from batchpipe.project.project import Selection, find_pipelines, refuse_same_names
from batchpipe.project.settings import Settings

WAIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """Where data and talk go.

    `terminal` says that stdout is a terminal and takes colours, `talks_to_person` that somebody watches
    stderr and can be asked; with `--json` neither is so.
    """

    json: bool
    terminal: bool
    talks_to_person: bool
    stdout: TextIO
    stderr: TextIO

    def out(self, value: Any) -> None:
        """Data, on stdout: a JSON value with `--json`, else text."""
        text = json_text(value) if self.json else str(value)
        try:
            self.stdout.write(text + "\n")
            self.stdout.flush()
        except BrokenPipeError:
            silence(self.stdout)

    def say(self, text: str) -> None:
        """Talk, on stderr."""
        self.write(text)

    def write(self, text: str) -> None:
        """A line on stderr as it is. That nobody listens any more stops no work."""
        try:
            self.stderr.write(text + "\n")
            self.stderr.flush()
        except BrokenPipeError:
            silence(self.stderr)

    def emit(self, objects: Sequence[Mapping[str, Any]], single: bool) -> None:
        """One JSON value: the object of one pipeline that was named by file or name, else the list."""
        self.out(objects[0] if single else list(objects))


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Talk):
    """One call of the command line in a project.

    `start` is the folder that it was made in: paths that users give start there, while the process works in
    `root`. `command` is the call as it can be typed again, `options` the global options that it was given.
    """

    root: Path
    start: Path
    settings: Settings
    environment: Mapping[str, str]
    command: str
    options: str
    interrupted: Callable[[], bool]
    debug: bool = False

    def say(self, text: str) -> None:
        """Talk, on stderr; with the log format "json" as an event."""
        if self.settings.log_format == "json":
            text = json_line(utc_now(), "", Event(kind="notice", detail=text))
        self.write(text)

    def complain(self, error: BatchpipeError) -> None:
        """An error that does not end the command, on stderr."""
        if self.settings.log_format == "json":
            self.write(json_line(utc_now(), "", failure_event(error)))
        else:
            self.write(failure_text(error))

    @contextmanager
    def context(
        self, wait_seconds: float = WAIT_SECONDS, say: Callable[[str], None] | None = None
    ) -> Iterator[Context]:
        """The engine's surroundings, closed at the end.

        `wait_seconds` is how long a held database is tried; `say` (default: stderr) is told who holds it.
        """
        context = Context(
            root=self.root,
            settings=self.settings,
            environment=self.environment,
            say=say or self.say,
            wait_seconds=wait_seconds,
        )
        try:
            yield context
        finally:
            context.close()

    def select(self, arguments: Sequence[str], all: bool = False) -> Selection:
        """The files that the command line names; UsageError where one is not found or none is named."""
        return find_pipelines(arguments, self.root, all=all, start=self.start)

    def pipelines(self, arguments: Sequence[str], all: bool = False) -> tuple[list[PipelineFile], bool]:
        """The loaded files, and whether it is one that was named by file or name.

        With no argument and without `all` it is every pipeline of the project. PipelineError with the
        problems of every file.
        """
        selection = self.select(arguments, all=all or not arguments)
        files, problems = load_each(selection, self.root)
        if problems:
            raise PipelineError.from_problems([each for found in problems.values() for each in found])
        refuse_same_names(files)
        return files, selection.single

    def one_pipeline(self, argument: str, words: str) -> PipelineFile:
        """The one pipeline that `argument` names; `words` is a command with NAME for it, to show how it is asked for.

        UsageError where it names several, else as `pipelines`.
        """
        files, _ = self.pipelines([argument])
        if len(files) > 1:
            hint = f"Such as: {self.suggest(words.replace('NAME', files[0].pipeline.name))}"
            raise UsageError("name one pipeline", where=argument, hint=hint)
        return files[0]

    def path(self, given: str) -> Path:
        """A path that the user gave, absolute: it starts where the command was called."""
        return self.start / Path(given).expanduser()

    def suggest(self, words: str) -> str:
        """A command to type, with the global options of this call: `batchpipe run x --emulator`."""
        return f"batchpipe {words}" + (f" {self.options}" if self.options else "")


def load_each(selection: Selection, root: Path) -> tuple[list[PipelineFile], dict[Path, Sequence[Problem]]]:
    """The files of `selection` that can be read, and the problems of the others."""
    files: list[PipelineFile] = []
    problems: dict[Path, Sequence[Problem]] = {}
    for path in selection.paths:
        try:
            files.append(load(path, root))
        except PipelineError as error:
            problems[path] = error.problems
    return files, problems


def silence(stream: TextIO) -> None:
    """Nobody reads `stream` any more: what is written goes nowhere, also at the interpreter's end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
