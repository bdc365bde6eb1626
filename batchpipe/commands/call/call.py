"""Hold what every command is given: the project, its settings, and the streams for data and messages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from batchpipe.commands.call.failure import failure_event, failure_text
from batchpipe.commands.call.streams import silence, unwritable
from batchpipe.commands.printing.text import json_text, wrapped
from batchpipe.common.errors import BatchpipeError, PipelineError, Problem, UsageError
from batchpipe.common.given import home_path
from batchpipe.common.logs import Event, json_line
from batchpipe.common.machine import THIS_MACHINE, Machine
from batchpipe.common.secrets import redacted
from batchpipe.engine.context import Context
from batchpipe.pipeline.load import load
from batchpipe.pipeline.model import Budget, PipelineFile
from batchpipe.project.project import Selection, find_pipelines, refuse_same_names
from batchpipe.project.settings import Settings

WAIT_SECONDS = 30.0
NO_BUDGET = Budget()


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """The streams for data (stdout) and messages (stderr).

    `terminal`: stdout is a terminal and shows colours. `talks_to_person`: a person watches stderr and can be asked.
    Both are false with `--json`. `width` is that of the terminal. With `quiet` only problems are written.
    """

    json: bool
    terminal: bool
    talks_to_person: bool
    stdout: TextIO
    stderr: TextIO
    width: int = 80
    quiet: bool = False

    def out(self, value: Any) -> None:
        """Write data on stdout: a JSON value with `--json`, else text. Raises UsageError where stdout takes no more."""
        text = json_text(value) if self.json else str(value)
        if self.terminal:
            text = wrapped(text, self.width)
        try:
            self.stdout.write(text + "\n")
            self.stdout.flush()
        except BrokenPipeError:
            silence(self.stdout)
        except OSError as error:
            silence(self.stdout)
            raise unwritable(error) from error

    def say(self, text: str) -> None:
        """Write a message on stderr; with `--quiet`, write nothing."""
        if not self.quiet:
            self.write(text)

    def write(self, text: str) -> None:
        """Write a line on stderr, broken between words for a person. The work goes on even where stderr takes no more:
        nobody reads it, its disk is full, its terminal is gone.
        """
        shown = wrapped(redacted(text), self.width) if self.talks_to_person else redacted(text)
        try:
            self.stderr.write(shown + "\n")
            self.stderr.flush()
        except OSError:
            silence(self.stderr)

    def emit(self, objects: Sequence[Mapping[str, Any]], single: bool) -> None:
        """Write one JSON value: one object where a single pipeline was named by file or name, else the list."""
        self.out(objects[0] if single else list(objects))


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Talk):
    """One call of the command line in a project.

    `start` is the folder of the call: a person's paths begin there, while the process works in `root`. `command` is the
    call as a person would type it again, `options` are its global options.
    """

    root: Path
    start: Path
    settings: Settings
    environment: Mapping[str, str]
    command: str
    options: str
    interrupted: Callable[[], bool]
    debug: bool = False
    machine: Machine = THIS_MACHINE

    def say(self, text: str) -> None:
        """Write a message on stderr, as an event if the log format is "json"; with `--quiet`, write nothing."""
        if not self.quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """Write a message on stderr about what is wrong; as an event where the log format is "json"."""
        if self.settings.log_format == "json":
            text = json_line(self.machine.clock(), "", Event(kind="notice", detail=text))
        self.write(text)

    def complain(self, error: BatchpipeError) -> None:
        """Write an error on stderr that does not end the command."""
        if self.settings.log_format == "json":
            self.write(json_line(self.machine.clock(), "", failure_event(error)))
        else:
            self.write(failure_text(error))

    def ask(self, question: str) -> bool:
        """Put a question to the person at the terminal, and return whether the answer is yes.

        It is no where the terminal is gone.
        """
        try:
            self.stderr.write(question)
            self.stderr.flush()
            return sys.stdin.readline().strip().lower() in ("y", "yes")
        except OSError:
            silence(self.stderr)
            return False

    @contextmanager
    def context(
        self, wait_seconds: float = WAIT_SECONDS, say: Callable[[str], None] | None = None
    ) -> Iterator[Context]:
        """Open the surroundings of the engine, and close them at the end.

        `wait_seconds`: how long to wait for a database that another process holds. `say` (default: stderr) names that
        process.
        """
        context = Context(
            root=self.root,
            settings=self.settings,
            environment=self.environment,
            say=say or self.say,
            wait_seconds=wait_seconds,
            clock=self.machine.clock,
            machine=self.machine,
            ask=self.ask if self.talks_to_person else None,
        )
        try:
            yield context
        finally:
            context.close()

    def select(self, arguments: Sequence[str], all: bool = False) -> Selection:
        """Return the files that the command line names.

        Raises UsageError where a file is not found, or none is named.
        """
        return find_pipelines(arguments, self.root, all=all, start=self.start)

    def pipelines(self, arguments: Sequence[str], all: bool = False) -> tuple[list[PipelineFile], bool]:
        """Return the loaded files, and whether exactly one was named, by file or name.

        Without arguments every pipeline of the project is loaded.
        Raises PipelineError with the problems of every file.
        """
        selection = self.select(arguments, all=all or not arguments)
        files, problems = load_each(selection, self.root, self.settings.budget)
        if problems:
            raise PipelineError.from_problems([each for found in problems.values() for each in found])
        refuse_same_names(files)
        return files, selection.single

    def one_pipeline(self, argument: str, words: str) -> PipelineFile:
        """Return the one pipeline that `argument` names. `words` is a command with NAME in it, for the hint.

        Raises UsageError where the argument names several pipelines, and what `pipelines` raises.
        """
        files, _ = self.pipelines([argument])
        if len(files) > 1:
            hint = f"Such as: {self.suggest(words.replace('NAME', files[0].pipeline.name))}"
            raise UsageError("name one pipeline", where=argument, hint=hint)
        return files[0]

    def path(self, given: str) -> Path:
        """Return an absolute path from one that a person gave: it begins in the folder of the call."""
        return self.start / home_path(given, "the command line")

    def suggest(self, words: str) -> str:
        """Return a command to type, with the global options of this call: `batchpipe run x --emulator`."""
        return f"batchpipe {words}" + (f" {self.options}" if self.options else "")


def load_each(
    selection: Selection, root: Path, budget: Budget = NO_BUDGET
) -> tuple[list[PipelineFile], dict[Path, Sequence[Problem]]]:
    """Return the files of `selection` that can be read, and the problems of the others.

    `budget` is what all pipelines of the project may spend together.
    """
    files: list[PipelineFile] = []
    problems: dict[Path, Sequence[Problem]] = {}
    for path in selection.paths:
        try:
            files.append(load(path, root, budget))
        except PipelineError as error:
            problems[path] = error.problems
    return files, problems
