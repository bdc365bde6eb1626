"""Define the commands that serve pages: ui, serve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from batchpipe.cli.app import app
from batchpipe.cli.shared_options import EPILOG, LOOK, Json, pipeline_names
from batchpipe.commands.call.options import Task

if TYPE_CHECKING:
    from batchpipe.commands.call.call import Call

Port = Annotated[
    int | None, typer.Option("--port", min=0, max=65535, metavar="N", help="The port on loopback; 0 takes a free one.")
]
ReadOnly = Annotated[bool, typer.Option("--read-only", help="Show pages only: nobody reviews, approves or cancels.")]


@app.command(rich_help_panel=LOOK, epilog=EPILOG)
def ui(
    context: typer.Context,
    pipeline: Annotated[
        str | None,
        typer.Argument(
            metavar="PIPELINE", help="The pipeline to begin with. Default: the project.", autocompletion=pipeline_names
        ),
    ] = None,
    port: Port = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Print the URL only, and open no browser.")] = False,
    read_only: ReadOnly = False,
    as_json: Json = False,
) -> Task:
    """Show the project in the browser: dashboard, rows, reviews, quality, versions."""

    def act(call: Call) -> int:
        from batchpipe.commands.ui import ui as command

        return command(call, pipeline, port=port, no_open=no_open, read_only=read_only)

    return Task(act=act, given=context.obj, json=as_json, pipelines=[pipeline] if pipeline is not None else [])


@app.command(rich_help_panel=LOOK, epilog=EPILOG)
def serve(
    context: typer.Context,
    public_url: Annotated[
        str, typer.Option("--public-url", metavar="URL", help="Where people see the pages, behind the proxy.")
    ],
    person_header: Annotated[
        str,
        typer.Option("--person-header", metavar="NAME", help="The header in which the proxy says who asks."),
    ],
    port: Port = None,
    uds: Annotated[
        str | None, typer.Option("--uds", metavar="PATH", help="Serve at this Unix socket instead of a port.")
    ] = None,
    read_only: ReadOnly = False,
    as_json: Json = False,
) -> Task:
    """Serve the same pages to several people, behind a proxy that logs them in."""

    def act(call: Call) -> int:
        from batchpipe.commands.ui import serve_pages as command

        return command(
            call, public_url=public_url, person_header=person_header, port=port, uds=uds, read_only=read_only
        )

    return Task(act=act, given=context.obj, json=as_json)
