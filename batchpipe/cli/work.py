"""Define the commands that plan and do the work: check, plan, try, run, cancel, recover."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from batchpipe.cli.app import app
from batchpipe.cli.shared_options import (
    EPILOG,
    WORK,
    All,
    By,
    Json,
    Keep,
    Limit,
    MaxUsd,
    NoNew,
    NoWait,
    Params,
    PendingOk,
    Pilot,
    Pipeline,
    Pipelines,
    Realtime,
    Redo,
    RetryFailed,
    Wait,
    Where,
    Withdraw,
    WithUpstream,
    Yes,
    at_most,
)
from batchpipe.commands.call.options import PlanRequest, RunRequest, Task, TryRequest

if TYPE_CHECKING:
    from batchpipe.commands.call.call import Call


@app.command(rich_help_panel=WORK, epilog=EPILOG)
def check(
    context: typer.Context,
    pipelines: Pipelines = None,
    every: All = False,
    params: Params = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not open the source; take its columns from \\[input] columns.")
    ] = False,
    as_json: Json = False,
) -> Task:
    """Find mistakes without spending: in SQL, templates, schema, model settings and the prompt."""

    def act(call: Call) -> int:
        from batchpipe.commands.check.check import check as command

        return command(call, pipelines or [], params or [], all=every, offline=offline)

    return Task(act=act, given=context.obj, json=as_json, pipelines=pipelines or [])


@app.command(rich_help_panel=WORK, epilog=EPILOG)
def plan(
    context: typer.Context,
    pipelines: Pipelines = None,
    every: All = False,
    with_upstream: WithUpstream = False,
    redo: Redo = None,
    keep: Keep = None,
    where: Where = None,
    limit: Limit = None,
    retry_failed: RetryFailed = False,
    withdraw: Withdraw = None,
    no_new: NoNew = False,
    rows: Annotated[bool, typer.Option("--rows", help="List the keys of the due rows.")] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Show how the prompt changed, and a few due rows before and after.")
    ] = False,
    from_version: Annotated[
        str | None,
        typer.Option("--from-version", metavar="V", help="Compare with this version: v3, a hash or a git ref."),
    ] = None,
    to_version: Annotated[
        str | None, typer.Option("--to-version", metavar="V", help="Plan as if the prompt were this version.")
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the plan and its diff as Markdown, for a pull request.")
    ] = False,
    params: Params = None,
    realtime: Realtime = False,
    by: By = None,
    as_json: Json = False,
) -> Task:
    """Show what a run would do, why, and what it would cost. Nothing is sent or recorded."""
    request = PlanRequest(
        pipelines=pipelines or [],
        all=every,
        with_upstream=with_upstream,
        redo=redo,
        keep=keep,
        where=where,
        limit=limit,
        retry_failed=retry_failed,
        withdraw=withdraw or (),
        no_new=no_new,
        rows=rows,
        diff=diff,
        from_version=from_version,
        to_version=to_version,
        markdown=markdown,
        params=params or [],
        realtime=realtime,
        by=by,
    )

    def act(call: Call) -> int:
        from batchpipe.commands.plan.plan import plan as command

        return command(call, request)

    return Task(act=act, given=context.obj, json=as_json, pipelines=request.pipelines)


@app.command("try", rich_help_panel=WORK, epilog=EPILOG)
def try_rows(
    context: typer.Context,
    pipeline: Pipeline,
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="KEY", help="The keys of the rows. Default: the first rows by hash.")
    ] = None,
    rows: Annotated[
        int,
        typer.Option(
            "--rows", min=1, callback=at_most, metavar="N", help="How many rows to take where no key is given."
        ),
    ] = 5,
    where: Where = None,
    rung: Annotated[int | None, typer.Option("--rung", min=1, metavar="N", help="Ask this rung of the ladder.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="X", help="Ask this model, on the ladder or not.")
    ] = None,
    params: Params = None,
    as_json: Json = False,
) -> Task:
    """Answer a few rows now, with realtime calls. A later run uses their answers and does not pay again."""
    request = TryRequest(
        pipeline=pipeline, keys=keys or [], rows=rows, where=where, rung=rung, model=model, params=params or []
    )

    def act(call: Call) -> int:
        from batchpipe.commands.try_rows import try_rows as command

        return command(call, request)

    return Task(act=act, given=context.obj, json=as_json, pipelines=[pipeline])


@app.command(rich_help_panel=WORK, epilog=EPILOG)
def run(
    context: typer.Context,
    pipelines: Pipelines = None,
    every: All = False,
    with_upstream: WithUpstream = False,
    no_wait: NoWait = False,
    wait: Wait = None,
    pending_ok: PendingOk = False,
    no_new: NoNew = False,
    limit: Limit = None,
    where: Where = None,
    max_usd: MaxUsd = None,
    redo: Redo = None,
    keep: Keep = None,
    retry_failed: RetryFailed = False,
    withdraw: Withdraw = None,
    approve: Annotated[
        bool, typer.Option("--approve", help="Go on after a pilot, or although most keys changed.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after `batchpipe cancel`.")] = False,
    yes: Yes = False,
    params: Params = None,
    pilot: Pilot = None,
    realtime: Realtime = False,
    by: By = None,
    as_json: Json = False,
) -> Task:
    """Submit what is due, wait and collect it; retry and escalate until nothing is due."""
    request = RunRequest(
        pipelines=pipelines or [],
        all=every,
        with_upstream=with_upstream,
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
        withdraw=withdraw or (),
        approve=approve,
        resume=resume,
        yes=yes,
        params=params or [],
        pilot=pilot,
        realtime=realtime,
        by=by,
    )

    def act(call: Call) -> int:
        from batchpipe.commands.run.run import run as command

        return command(call, request)

    return Task(act=act, given=context.obj, json=as_json, pipelines=request.pipelines)


@app.command(rich_help_panel=WORK, epilog=EPILOG)
def cancel(
    context: typer.Context,
    pipelines: Pipelines = None,
    as_json: Json = False,
) -> Task:
    """Cancel the batches in flight, keep finished results, and pause until `run --resume`."""

    def act(call: Call) -> int:
        from batchpipe.commands.cancel import cancel as command

        return command(call, pipelines or [])

    return Task(act=act, given=context.obj, json=as_json, pipelines=pipelines or [])


@app.command(rich_help_panel=WORK, epilog=EPILOG)
def recover(
    context: typer.Context,
    pipeline: Pipeline,
    adopt: Annotated[
        str | None, typer.Option("--adopt", metavar="BATCH_ID", help="Take this batch for the held chunk that it fits.")
    ] = None,
    abandon: Annotated[
        bool, typer.Option("--abandon", help="Give up held chunks and lost batches; their rows become due again.")
    ] = False,
    from_raw: Annotated[
        bool, typer.Option("--from-raw", help="Take in from raw files what the database does not know.")
    ] = False,
    leave: Annotated[
        bool, typer.Option("--leave", help="Leave alone what another database has bought; give up what cannot be read.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Write the output table again where it was changed by hand.")
    ] = False,
    as_json: Json = False,
) -> Task:
    """List batches whose sending was interrupted, and decide whether they exist."""

    def act(call: Call) -> int:
        from batchpipe.commands.recover import recover as command

        return command(call, pipeline, adopt, abandon=abandon, from_raw=from_raw, leave=leave, repairs=repair)

    return Task(act=act, given=context.obj, json=as_json, pipelines=[pipeline])
