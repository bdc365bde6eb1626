"""Turn a command line into an exit code. This is the one place where errors are caught."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import re
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from batchpipe.commands.call.options import Task
from batchpipe.commands.call.streams import STDOUT, open_streams, silence, takes_more, unwritable
from batchpipe.common.errors import BatchpipeError, UsageError
from batchpipe.common.hints import use_options
from batchpipe.common.likeness import nearest
from batchpipe.common.machine import THIS_MACHINE, Machine
from batchpipe.common.secrets import forget, redacted

if TYPE_CHECKING:
    from typer import TyperException

    from batchpipe.commands.call.call import Call

COMMAND_LINE = "the command line"
GLOBAL_FLAGS = ("--emulator", "--debug", "--quiet", "-q")
GLOBAL_VALUES = ("-C", "--env", "--database", "--answers", "--faults", "--log-format")
# Imports and rows make almost no reference cycles. The default thresholds would spend a fifth of a start on them.
GARBAGE_THRESHOLDS = (200_000, 50, 100)
_NO_COMMAND = re.compile("No such command '(.*)'\\.", re.DOTALL)
BUG = 70
INTERRUPTED = 130


@dataclass(slots=True, kw_only=True)
class Handled:
    """One call, with what the handler of its errors needs to know."""

    arguments: Sequence[str]
    logs: Path | None = None
    log_format: str = "text"
    machine: Machine = THIS_MACHINE
    signals: list[int] = field(default_factory=list)

    @property
    def command(self) -> str:
        """Return the call as a person would type it again."""
        return shlex.join(["batchpipe", *self.arguments])

    def given(self, flag: str) -> bool:
        """Return whether `flag` was typed, also where the rest was not understood."""
        words = list(self.arguments)
        return flag in (words[: words.index("--")] if "--" in words else words)

    def interrupted(self) -> bool:
        """Return whether an interrupt or a polite kill has come."""
        return bool(self.signals)


def main(argv: Sequence[str] | None = None, machine: Machine = THIS_MACHINE) -> int:
    """Run one command line (default: that of the process) on `machine`, and return its exit code."""
    call = Handled(arguments=list(sys.argv[1:] if argv is None else argv), machine=machine)
    forget()
    use_options("")
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    open_streams()
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for plugins takes a tenth of a start
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may lack a character: that is no reason to fail
            stream.reconfigure(errors="backslashreplace")
    with _signals(call):
        try:
            return _run(call)
        except KeyboardInterrupt:
            return _interrupted(call)
        except BatchpipeError as error:
            return _interrupted(call) if call.interrupted() else _failed(call, error)
        except BrokenPipeError:
            return _unread()
        except Exception as error:  # noqa: BLE001 - the one broad handler: the unexpected is a bug
            return _interrupted(call) if call.interrupted() else _bug(call, error)


def understood(arguments: Sequence[str]) -> Task | int:
    """Return the task that `arguments` ask for; an exit code where help or the version was shown.

    Raises UsageError, with the nearest name, for what is not known.
    """
    import typer

    from batchpipe.cli.parser import parsed_command

    try:
        found = parsed_command(hoisted(arguments))
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    except SystemExit as ended:  # what shell completion asks for ends so
        return ended.code if isinstance(ended.code, int) else 0
    except typer.TyperException as error:
        raise _usage_error(error) from error
    if found is None:
        with contextlib.redirect_stdout(sys.stderr):
            parsed_command(["--help"])
        raise UsageError("no command is given", where=COMMAND_LINE, hint="To begin: batchpipe init my_project")
    return found if isinstance(found, Task) else int(str(found))


def hoisted(arguments: Sequence[str]) -> list[str]:
    """Return `arguments` with the program's own options before the command, and `--json` after it."""
    front: list[str] = []
    rest: list[str] = []
    late: list[str] = []
    words = iter(arguments)
    for word in words:
        name, equals, _ = word.partition("=")
        if word == "--":
            rest += [word, *words]
        elif word == "--json" and not rest:
            late.append(word)
        elif word in GLOBAL_FLAGS or (equals and name in GLOBAL_VALUES):
            front.append(word)
        elif word in GLOBAL_VALUES:
            value = next(words, None)
            if value is None:
                raise UsageError(f"{word} needs a value", where=COMMAND_LINE, hint="See: batchpipe --help")
            front += [word, value]
        else:
            rest.append(word)
    return [*front, *rest[:1], *late, *rest[1:]]


def _usage_error(error: TyperException) -> UsageError:
    """Return the parser's error as a UsageError, with the nearest names."""
    from batchpipe.cli.number_words import number_words

    place = getattr(getattr(error, "ctx", None), "command_path", "batchpipe")
    number = number_words(error)
    if number is not None:
        return UsageError(number[0], where=COMMAND_LINE, hint=f"{number[1]} See: {place} --help")
    what = error.format_message().replace("\n\t", " ").split(" Did you mean ", 1)[0]
    command = getattr(getattr(error, "ctx", None), "command", None)
    near = None
    if hasattr(error, "possibilities"):
        name = str(getattr(error, "option_name", ""))
        what = f"there is no option {name}"
        options = [each for given in getattr(command, "params", ()) for each in (*given.opts, *given.secondary_opts)]
        near = nearest(name, [*(each for each in options if each.startswith("-")), *GLOBAL_FLAGS, *GLOBAL_VALUES])
    elif (unknown := _NO_COMMAND.fullmatch(what)) is not None:
        near = nearest(unknown[1], getattr(command, "commands", ()))
    guess = f"Did you mean {near}? " if near else ""
    return UsageError(what, where=COMMAND_LINE, hint=f"{guess}See: {place} --help")


def _run(call: Handled) -> int:
    """Parse the arguments and run the command in the project's root."""
    task = understood(call.arguments)
    if isinstance(task, int):
        return task
    use_options(task.given.typed)
    from batchpipe.commands.call.begin import make_talk

    if not task.in_project:
        return task.act(make_talk(json=task.json, environment=os.environ, quiet=task.given.quiet))
    begun = _begin(call, task)
    use_options(begun.options)
    call.log_format = begun.settings.log_format
    call.logs = begun.settings.database_path(begun.root, begun.environment).parent / ".batchpipe" / "logs"
    with contextlib.chdir(begun.root):
        return task.act(begun)


def _begin(call: Handled, task: Task) -> Call:
    """Return the `Call` of a task: the root is found and the settings are read."""
    from batchpipe.commands.call.begin import make_call

    return make_call(
        task.given,
        task.pipelines,
        json=task.json,
        start=Path.cwd(),
        environment=dict(os.environ),
        command=call.command,
        interrupted=call.interrupted,
        serves=task.serves,
        machine=call.machine,
    )


def _failed(call: Handled, error: BatchpipeError) -> int:
    """Report an error, and return its exit code."""
    if error.exit_code == BUG:
        return _bug(call, error)
    _report(call, error, error)
    return error.exit_code


def _bug(call: Handled, error: Exception) -> int:
    """Write the report of a bug, tell the person where it is, and return the exit code."""
    from batchpipe.commands.call.failure import bug, of_system, write_bug_report

    if isinstance(error, OSError) and not takes_more(sys.stdout):
        silence(sys.stdout)
        return _failed(call, unwritable(error))
    known = of_system(error)
    if known is not None:
        known.__cause__ = error
        return _failed(call, known)
    _report(call, error, bug(write_bug_report(error, call.logs, call.command)))
    return BUG


def _report(call: Handled, error: Exception, known: BatchpipeError) -> None:
    """Write what stopped the command: for a person or a log store on stderr, for a program on stdout."""
    from batchpipe.commands.call.failure import failure, failure_event, failure_text
    from batchpipe.common.logs import json_line

    if call.given("--debug"):
        _say("".join(traceback.format_exception(error)).rstrip())
    if call.log_format == "json":
        _say(json_line(call.machine.clock(), "", failure_event(known)))
    elif not call.given("--json") or known.where == STDOUT:
        _say(failure_text(known))
    if call.given("--json"):
        _print_json({"error": failure(known)})


def _interrupted(call: Handled) -> int:
    """Tell the person or program about an interrupt, and return the exit code."""
    message, hint = "interrupted: nothing is lost", f"Run the same command again: {call.command}"
    if call.given("--json"):
        error = {"code": "interrupted", "message": message, "where": None, "hint": hint}
        _print_json({"error": error})
    else:
        _say(f"\n{message}; run the same command again: {call.command}")
    return INTERRUPTED


def _unread() -> int:
    """Return 0 if nobody reads the output any more: that is not an error of the program."""
    silence(sys.stdout)
    return 0


def _print_json(value: Any) -> None:
    from batchpipe.commands.printing.text import json_text

    _write(sys.stdout, json_text(value))


def _say(text: str) -> None:
    _write(sys.stderr, redacted(text))


def _write(stream: TextIO, text: str) -> None:
    """Write a line, also where the stream takes no more: then the exit code alone tells how the call ended."""
    try:
        stream.write(text + "\n")
        stream.flush()
    except OSError:
        silence(stream)


@contextlib.contextmanager
def _signals(call: Handled) -> Iterator[None]:
    """Let an interrupt, a polite kill and a terminal that hangs up end the work at once, and remember that they came.

    Libraries turn an interrupt into errors of their own, which must not be reported.
    """
    numbers = [signal.SIGINT, signal.SIGTERM, *_hang_up()]

    def stop(number: int, _: object) -> None:
        call.signals.append(number)
        for each in _hang_up():  # the shell says again what the system has said: it must not stop the saving
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        with _statements_stop():
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _hang_up() -> list[signal.Signals]:
    """Return the signal that a terminal is gone, where the system has it and `nohup` does not let it be ignored."""
    number = getattr(signal, "SIGHUP", None)
    return [] if number is None or signal.getsignal(number) == signal.SIG_IGN else [number]


@contextlib.contextmanager
def _statements_stop() -> Iterator[None]:
    """Let a signal stop long statements at once: the handler itself runs only when the statement has ended.

    The operating system's part of the handler writes a byte that wakes a thread.
    """
    if os.name != "posix":
        yield
        return
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    before = signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    thread = threading.Thread(target=_stop_statements, args=(woken,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(wakes)
        thread.join()
        os.close(woken)


def _stop_statements(woken: int) -> None:
    """Stop the statements that run now at each byte that comes, until the pipe is closed."""
    while os.read(woken, 1):
        interrupting = sys.modules.get("batchpipe.sql.interrupting")  # where it is not loaded, no statement runs
        if interrupting is not None:
            interrupting.interrupt_statements()
