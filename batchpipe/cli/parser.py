"""Parse the command line: what is typed becomes a `Task`, which runs outside of the parser.

Commands are imported when they run, so that `--help` loads nothing but the parser.
"""

from collections.abc import Callable, Sequence
from functools import cache

from typer.main import get_command

from batchpipe.cli import begin, look, pages, work
from batchpipe.cli.app import PROGRAM, app

__all__ = ["PROGRAM", "app", "begin", "look", "pages", "parsed_command", "work"]


@cache
def _command() -> Callable[..., object]:
    """Return the parser, which is built once in a process. Its help shows no type beside a flag."""
    command = get_command(app)
    for each in (command, *getattr(command, "commands", {}).values()):
        for parameter in each.params:
            if getattr(parameter, "is_flag", False):
                parameter.metavar = ""
    return command


def parsed_command(arguments: Sequence[str]) -> object:
    """Return what the command that `arguments` name returns. Raises what typer raises for what is not known."""
    return _command()(args=list(arguments), prog_name=PROGRAM, standalone_mode=False)
