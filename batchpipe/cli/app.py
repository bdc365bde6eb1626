"""Define the program's own options, which may stand before or after any command."""

from __future__ import annotations

from typing import Annotated

import typer

from batchpipe import __version__
from batchpipe.commands.call.options import Globals

PROGRAM = "batchpipe"

app = typer.Typer(
    name=PROGRAM,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    directory: Annotated[str | None, typer.Option("-C", metavar="DIR", help="The project's root.")] = None,
    env: Annotated[str | None, typer.Option("--env", metavar="NAME", help="The settings of one environment.")] = None,
    database: Annotated[str | None, typer.Option("--database", metavar="FILE", help="Another DuckDB file.")] = None,
    emulator: Annotated[
        bool, typer.Option("--emulator", help="Work against the built-in emulator: no key, no cost.")
    ] = False,
    answers: Annotated[str | None, typer.Option("--answers", metavar="FILE", help="Answers for the emulator.")] = None,
    faults: Annotated[str | None, typer.Option("--faults", metavar="FILE", help="Faults of the emulator.")] = None,
    log_format: Annotated[
        str | None, typer.Option("--log-format", metavar="FORMAT", help="How events on stderr look: text or json.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Run prompts over DuckDB tables through LLM batch APIs.

    Half the price, never paying twice, never losing a result. To begin: batchpipe init my_project
    """
    context.obj = Globals(
        directory=directory,
        env=env,
        database=database,
        emulator=emulator,
        answers=answers,
        faults=faults,
        log_format=log_format,
        debug=debug,
    )
