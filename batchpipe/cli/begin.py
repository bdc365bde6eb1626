"""Define the commands to begin with: init, new, docs, schema, emulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from batchpipe.cli.app import app
from batchpipe.cli.shared_options import BEGIN, EPILOG, Json, page_names
from batchpipe.commands.call.options import Task

if TYPE_CHECKING:
    from batchpipe.commands.call.call import Call, Talk


@app.command(rich_help_panel=BEGIN)
def init(
    context: typer.Context,
    directory: Annotated[str, typer.Argument(metavar="DIR", help="The folder to write the project to.")] = ".",
    as_json: Json = False,
) -> Task:
    """Write a project to start from: a pipeline, a prompt, data and a CI file."""

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
        typer.Option("--input", metavar="FILE", help="The file with its rows: csv, parquet, json or a database."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option("--labels", metavar="A,B,C", help="Let the model choose one of these labels for each row."),
    ] = None,
    table: Annotated[
        str | None, typer.Option("--table", metavar="NAME", help="The table of a database file with several tables.")
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", metavar="COLUMN", help="With --summarize: the column that is summed up.")
    ] = None,
    summarize: Annotated[
        bool,
        typer.Option("--summarize", help="Sum up long texts: one pipeline over their parts, and one over the sums."),
    ] = False,
    panel: Annotated[
        list[str] | None,
        typer.Option("--panel", metavar="MODEL", help="A model that votes on the label. Give it once for each model."),
    ] = None,
    samples: Annotated[
        int,
        typer.Option(
            "--samples", min=1, max=15, metavar="N", help="Ask one model N times; its answers vote on the label."
        ),
    ] = 1,
    as_json: Json = False,
) -> Task:
    """Add a pipeline to this project, made from the columns of your data."""

    def act(call: Call) -> int:
        from batchpipe.commands.new import new as command

        return command(
            call, name, source, labels, table, summarize=summarize, text=text, panel=panel or (), samples=samples
        )

    return Task(act=act, given=context.obj, json=as_json)


@app.command(rich_help_panel=BEGIN)
def docs(
    context: typer.Context,
    topic: Annotated[
        str | None,
        typer.Argument(metavar="TOPIC", help="The page to show, such as guides/review.", autocompletion=page_names),
    ] = None,
    html: Annotated[
        str | None, typer.Option("--html", metavar="DIR", help="Write all pages into this folder as HTML.")
    ] = None,
    as_json: Json = False,
) -> Task:
    """Show the documentation: the list of pages, or one page."""

    def act(talk: Talk) -> int:
        from batchpipe.commands.docs.docs import docs as command

        return command(talk, topic, html)

    return Task(act=act, given=context.obj, json=as_json, in_project=False)


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
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on. 0 takes a free one.")] = 0,
    folder: Annotated[
        str | None, typer.Option(metavar="DIR", help="The folder to keep the batches in. Default: a temporary folder.")
    ] = None,
    delay: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="The time until a batch ends.")] = 0.0,
    as_json: Json = False,
) -> Task:
    """Serve the Batch API on this machine, for tests. It also takes --answers FILE and --faults FILE."""

    def act(call: Call) -> int:
        from batchpipe.commands.emulator import emulator as command

        return command(call, port=port, folder=folder, delay=delay)

    return Task(act=act, given=context.obj, json=as_json, serves=True)
