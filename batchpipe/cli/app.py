"""Define the program's own options, which may stand before or after any command."""

from __future__ import annotations

from typing import Annotated

import typer

from batchpipe import __version__
from batchpipe.commands.call.options import Globals

PROGRAM = "batchpipe"

app = typer.Typer(
    name=PROGRAM,
    add_completion=True,
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
    directory: Annotated[
        str | None,
        typer.Option(
            "-C", metavar="DIR", help="The folder of the project. Default: found from the named files or this folder."
        ),
    ] = None,
    env: Annotated[
        str | None, typer.Option("--env", metavar="NAME", help="Use the settings of this environment.")
    ] = None,
    database: Annotated[
        str | None, typer.Option("--database", metavar="FILE", help="Use this DuckDB file as the database.")
    ] = None,
    emulator: Annotated[
        bool, typer.Option("--emulator", help="Work against the built-in emulator: no key, no cost.")
    ] = False,
    answers: Annotated[
        str | None, typer.Option("--answers", metavar="FILE", help="The file with the emulator's answers.")
    ] = None,
    faults: Annotated[
        str | None, typer.Option("--faults", metavar="FILE", help="The file with the faults that the emulator makes.")
    ] = None,
    log_format: Annotated[
        str | None, typer.Option("--log-format", metavar="FORMAT", help="The form of events on stderr: text or json.")
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing where nothing is wrong: for cron.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Run prompts over DuckDB tables through LLM batch APIs.

    It costs half the price of single calls, never pays twice and never loses a result.

    To begin: batchpipe init my_project
    """
    context.obj = Globals(
        directory=directory,
        env=env,
        database=database,
        emulator=emulator,
        answers=answers,
        faults=faults,
        log_format=log_format,
        quiet=quiet,
        debug=debug,
    )
