"""The parser of the command line: what is typed becomes a `Task`, which runs outside of it.

Commands are imported when they run, so that `--help` loads nothing but the parser.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from batchpipe import __version__
from batchpipe.commands.options import Globals, PlanRequest, RunRequest, Task

if TYPE_CHECKING:
    from batchpipe.commands.call import Call, Talk

PROGRAM = "batchpipe"
EPILOG = "--emulator and the other options of batchpipe itself may stand here too; they are in batchpipe --help."
BEGIN, WORK, LOOK = "Begin", "Work", "Look"

Json: TypeAlias = Annotated[bool, typer.Option("--json", help="One JSON value on stdout, nothing else there.")]
Pipelines: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(metavar="PIPELINE", help="Files, folders or names under pipelines/."),
]
Pipeline: TypeAlias = Annotated[str, typer.Argument(metavar="PIPELINE", help="A file, or a name under pipelines/.")]
All: TypeAlias = Annotated[bool, typer.Option("--all", help="Every pipeline of the project.")]
Params: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="NAME=VALUE", help="A value for $NAME in the input query."),
]
NoNew: TypeAlias = Annotated[bool, typer.Option("--no-new", help="Only collect, retry and escalate what is under way.")]
Limit: TypeAlias = Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="Only the next N due rows.")]
Where: TypeAlias = Annotated[
    str | None,
    typer.Option("--where", metavar="SQL", help="Only rows that this condition holds for."),
]
Redo: TypeAlias = Annotated[
    str | None,
    typer.Option("--redo", metavar="WHAT", help="Answer again: all, model, accept or an SQL condition."),
]
Keep: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--keep", metavar="WHAT", help="Keep results though input or prompt changed: all or an SQL condition."
    ),
]
RetryFailed: TypeAlias = Annotated[bool, typer.Option("--retry-failed", help="Rows that ended failed are due again.")]

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


@app.command(rich_help_panel=BEGIN)
def init(
    context: typer.Context,
    directory: Annotated[str, typer.Argument(metavar="DIR", help="The folder to write it to.")] = ".",
    as_json: Json = False,
) -> Task:
    """Write a project to start from: a pipeline, a prompt, data, a test in CI."""

    def act(talk: Talk) -> int:
        from batchpipe.commands.init import init as command

        return command(talk, directory)

    return Task(act=act, given=context.obj, json=as_json, in_project=False)


@app.command(rich_help_panel=BEGIN, epilog=EPILOG)
def new(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the pipeline.")],
    source: Annotated[
        str | None,
        typer.Option("--input", metavar="FILE", help="Its rows: csv, parquet, json or a database."),
    ] = None,
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="A,B,C", help="Classify the rows by these labels.")
    ] = None,
    as_json: Json = False,
) -> Task:
    """Write one more pipeline into this project, from the data's columns."""

    def act(call: Call) -> int:
        from batchpipe.commands.new import new as command

        return command(call, name, source, labels)

    return Task(act=act, given=context.obj, json=as_json)


@app.command(rich_help_panel=BEGIN)
def schema(context: typer.Context, as_json: Json = False) -> Task:
    """Print the JSON Schema of the pipeline file, for editors."""

    def act(talk: Talk) -> int:
        from batchpipe.commands.schema import schema as command

        return command(talk)

    return Task(act=act, given=context.obj, json=as_json, in_project=False)


@app.command(rich_help_panel=BEGIN, epilog=EPILOG)
def emulator(
    context: typer.Context,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    folder: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where its batches are kept; else a temporary folder.")
    ] = None,
    delay: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Until a batch ends.")] = 0.0,
    as_json: Json = False,
) -> Task:
    """Serve the Batch API on loopback, for tests and trials. Takes --answers FILE and --faults FILE."""

    def act(call: Call) -> int:
        from batchpipe.commands.emulator import emulator as command

        return command(call, port=port, folder=folder, delay=delay)

    return Task(act=act, given=context.obj, json=as_json, serves=True)


@app.command(rich_help_panel=WORK, epilog=EPILOG)
def check(
    context: typer.Context,
    pipelines: Pipelines = None,
    every: All = False,
    params: Params = None,
    as_json: Json = False,
) -> Task:
    """Find everything that can be known without spending: SQL, templates, schema, model rules."""

    def act(call: Call) -> int:
        from batchpipe.commands.check import check as command

        return command(call, pipelines or [], params or [], all=every)

    return Task(act=act, given=context.obj, json=as_json, pipelines=pipelines or [])


@app.command(rich_help_panel=WORK, epilog=EPILOG)
def plan(
    context: typer.Context,
    pipelines: Pipelines = None,
    every: All = False,
    redo: Redo = None,
    keep: Keep = None,
    where: Where = None,
    limit: Limit = None,
    retry_failed: RetryFailed = False,
    no_new: NoNew = False,
    rows: Annotated[bool, typer.Option("--rows", help="List the keys that are due.")] = False,
    params: Params = None,
    as_json: Json = False,
) -> Task:
    """Show what a run would do, why, and what it would cost. Sends nothing, records nothing."""
    request = PlanRequest(
        pipelines=pipelines or [],
        all=every,
        redo=redo,
        keep=keep,
        where=where,
        limit=limit,
        retry_failed=retry_failed,
        no_new=no_new,
        rows=rows,
        params=params or [],
    )

    def act(call: Call) -> int:
        from batchpipe.commands.plan import plan as command

        return command(call, request)

    return Task(act=act, given=context.obj, json=as_json, pipelines=request.pipelines)


@app.command(rich_help_panel=WORK, epilog=EPILOG)
def run(
    context: typer.Context,
    pipelines: Pipelines = None,
    every: All = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Submit and collect what is ready, then leave.")] = False,
    wait: Annotated[str | None, typer.Option("--wait", metavar="TIME", help="Leave after 45m, 2h or 90s.")] = None,
    pending_ok: Annotated[
        bool, typer.Option("--pending-ok", help="Exit 0, not 5, while batches are in flight.")
    ] = False,
    no_new: NoNew = False,
    limit: Limit = None,
    where: Where = None,
    max_usd: Annotated[
        str | None, typer.Option("--max-usd", metavar="X", help="The most that this call may spend.")
    ] = None,
    redo: Redo = None,
    keep: Keep = None,
    retry_failed: RetryFailed = False,
    approve: Annotated[bool, typer.Option("--approve", help="Go on though most keys of the input changed.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after batchpipe cancel.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    params: Params = None,
    pilot: Annotated[int | None, typer.Option("--pilot", hidden=True)] = None,
    as_json: Json = False,
) -> Task:
    """Submit what is due, wait for it, collect it; retry and escalate until nothing is due."""
    request = RunRequest(
        pipelines=pipelines or [],
        all=every,
        no_wait=no_wait,
        wait=wait,
        pending_ok=pending_ok,
        no_new=no_new,
        limit=limit,
        where=where,
        max_usd=max_usd,
        redo=redo,
        keep=keep,
        retry_failed=retry_failed,
        approve=approve,
        resume=resume,
        yes=yes,
        params=params or [],
        pilot=pilot,
    )

    def act(call: Call) -> int:
        from batchpipe.commands.run import run as command

        return command(call, request)

    return Task(act=act, given=context.obj, json=as_json, pipelines=request.pipelines)


@app.command(rich_help_panel=WORK, epilog=EPILOG)
def cancel(
    context: typer.Context,
    pipelines: Pipelines = None,
    as_json: Json = False,
) -> Task:
    """Cancel batches in flight, keep what is finished, and pause until run --resume."""

    def act(call: Call) -> int:
        from batchpipe.commands.cancel import cancel as command

        return command(call, pipelines or [])

    return Task(act=act, given=context.obj, json=as_json, pipelines=pipelines or [])


@app.command(rich_help_panel=WORK, epilog=EPILOG)
def recover(
    context: typer.Context,
    pipeline: Pipeline,
    adopt: Annotated[
        str | None, typer.Option("--adopt", metavar="BATCH_ID", help="This batch is a held chunk's.")
    ] = None,
    abandon: Annotated[
        bool, typer.Option("--abandon", help="Give up held chunks and lost batches: their rows are due again.")
    ] = False,
    from_raw: Annotated[
        bool, typer.Option("--from-raw", help="Bring back from raw files what the database lost.")
    ] = False,
    as_json: Json = False,
) -> Task:
    """Decide about submits of unknown outcome; without options, list them."""

    def act(call: Call) -> int:
        from batchpipe.commands.recover import recover as command

        return command(call, pipeline, adopt, abandon=abandon, from_raw=from_raw)

    return Task(act=act, given=context.obj, json=as_json, pipelines=[pipeline])


@app.command(rich_help_panel=LOOK, epilog=EPILOG)
def status(context: typer.Context, pipelines: Pipelines = None, as_json: Json = False) -> Task:
    """Show rows by state, batches in flight, held chunks and the last runs."""

    def act(call: Call) -> int:
        from batchpipe.commands.status import status as command

        return command(call, pipelines or [])

    return Task(act=act, given=context.obj, json=as_json, pipelines=pipelines or [])


@app.command(rich_help_panel=LOOK, epilog=EPILOG)
def show(
    context: typer.Context,
    pipeline: Pipeline,
    key: Annotated[list[str], typer.Argument(metavar="KEY", help="The key; of several columns, each value.")],
    params: Params = None,
    as_json: Json = False,
) -> Task:
    """Tell one row's whole story: input, prompt, every attempt, errors, cost."""

    def act(call: Call) -> int:
        from batchpipe.commands.show import show as command

        return command(call, pipeline, key, params or [])

    return Task(act=act, given=context.obj, json=as_json, pipelines=[pipeline])


@app.command(rich_help_panel=LOOK, epilog=EPILOG)
def results(
    context: typer.Context,
    pipeline: Pipeline,
    to: Annotated[
        str | None, typer.Option("--to", metavar="FILE", help="A .parquet, .csv, .json or .xlsx file.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    where: Where = None,
    current: Annotated[bool, typer.Option("--current", help="Only rows of the present input and prompt.")] = False,
    review: Annotated[bool, typer.Option("--review", help="Only rows that a person should look at.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=0, metavar="N", help="Only the first N rows.")] = None,
    as_json: Json = False,
) -> Task:
    """Print the output table, or write it to a file."""

    def act(call: Call) -> int:
        from batchpipe.commands.results import results as command

        return command(call, pipeline, to, where=where, current=current, review=review, limit=limit, force=force)

    return Task(act=act, given=context.obj, json=as_json, pipelines=[pipeline])


@app.command(rich_help_panel=LOOK, epilog=EPILOG)
def report(context: typer.Context, pipelines: Pipelines = None, as_json: Json = False) -> Task:
    """Report spend, tokens, validity, the ladder, savings, estimate against actual."""

    def act(call: Call) -> int:
        from batchpipe.commands.report import report as command

        return command(call, pipelines or [])

    return Task(act=act, given=context.obj, json=as_json, pipelines=pipelines or [])
