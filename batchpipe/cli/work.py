"""Define the commands that plan and do the work: check, plan, try, run, cancel, recover."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from batchpipe.cli.app import app
from batchpipe.cli.shared_options import (
    EPILOG,
    WORK,
    All,
    Json,
    Keep,
    Limit,
    NoNew,
    NoWait,
    Params,
    Pipeline,
    Pipelines,
    Redo,
    RetryFailed,
    Wait,
    Where,
    Withdraw,
    Yes,
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
        bool, typer.Option("--offline", help="Open no source; [input] columns says what the query gives.")
    ] = False,
    as_json: Json = False,
) -> Task:
    """Find everything that can be known without spending: SQL, templates, schema, model rules, the prompt."""

    def act(call: Call) -> int:
        from batchpipe.commands.check.check import check as command

        return command(call, pipelines or [], params or [], all=every, offline=offline)

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
    withdraw: Withdraw = None,
    no_new: NoNew = False,
    rows: Annotated[bool, typer.Option("--rows", help="List the keys that are due.")] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="The prompt's change, and a few due rows before and after.")
    ] = False,
    from_version: Annotated[
        str | None,
        typer.Option("--from-version", metavar="V", help="Compare with v3, a hash or a git ref, not what answered."),
    ] = None,
    to_version: Annotated[
        str | None, typer.Option("--to-version", metavar="V", help="Plan as if the prompt were that version.")
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="The plan and its diff as Markdown, for a pull request.")
    ] = False,
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
        withdraw=withdraw or (),
        no_new=no_new,
        rows=rows,
        diff=diff,
        from_version=from_version,
        to_version=to_version,
        markdown=markdown,
        params=params or [],
    )

    def act(call: Call) -> int:
        from batchpipe.commands.plan.plan import plan as command

        return command(call, request)

    return Task(act=act, given=context.obj, json=as_json, pipelines=request.pipelines)


@app.command("try", rich_help_panel=WORK, epilog=EPILOG)
def try_rows(
    context: typer.Context,
    pipeline: Pipeline,
    keys: Annotated[list[str] | None, typer.Argument(metavar="KEY", help="These rows; else the first by hash.")] = None,
    rows: Annotated[int, typer.Option("--rows", min=1, metavar="N", help="How many rows, where no key is given.")] = 5,
    where: Where = None,
    rung: Annotated[int | None, typer.Option("--rung", min=1, metavar="N", help="By this rung of the ladder.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="X", help="By this model, also off the ladder.")
    ] = None,
    params: Params = None,
    as_json: Json = False,
) -> Task:
    """Answer a few rows now, by realtime calls; a later run takes their answers, unpaid."""
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
    no_wait: NoWait = False,
    wait: Wait = None,
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
    withdraw: Withdraw = None,
    approve: Annotated[
        bool, typer.Option("--approve", help="Go on after a pilot, or though most keys changed.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after batchpipe cancel.")] = False,
    yes: Yes = False,
    params: Params = None,
    pilot: Annotated[
        int | None, typer.Option("--pilot", min=1, metavar="N", help="Send N rows of a new prompt version, then stop.")
    ] = None,
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
        withdraw=withdraw or (),
        approve=approve,
        resume=resume,
        yes=yes,
        params=params or [],
        pilot=pilot,
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
