"""Define the commands that look at results: status, show, results, report, eval, diff, review."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from batchpipe.cli.app import app
from batchpipe.cli.shared_options import (
    EPILOG,
    LOOK,
    Against,
    EvalModels,
    FailUnder,
    Json,
    NoWait,
    Params,
    Pipeline,
    Pipelines,
    Tune,
    Wait,
    Where,
    Withdraw,
    Yes,
)
from batchpipe.commands.call.options import DiffRequest, EvalRequest, ReviewRequest, Task

if TYPE_CHECKING:
    from batchpipe.commands.call.call import Call


@app.command(rich_help_panel=LOOK, epilog=EPILOG)
def status(
    context: typer.Context, pipelines: Pipelines = None, withdraw: Withdraw = None, as_json: Json = False
) -> Task:
    """Show rows by state, batches in flight, held chunks, open orders and the last runs."""

    def act(call: Call) -> int:
        from batchpipe.commands.status.status import status as command

        return command(call, pipelines or [], withdraw or ())

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
        from batchpipe.commands.show.show import show as command

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
        from batchpipe.commands.results.results import results as command

        return command(call, pipeline, to, where=where, current=current, review=review, limit=limit, force=force)

    return Task(act=act, given=context.obj, json=as_json, pipelines=[pipeline])


@app.command(rich_help_panel=LOOK, epilog=EPILOG)
def report(context: typer.Context, pipelines: Pipelines = None, as_json: Json = False) -> Task:
    """Report spend, tokens, validity, the ladder, savings, estimate against actual."""

    def act(call: Call) -> int:
        from batchpipe.commands.report.report import report as command

        return command(call, pipelines or [])

    return Task(act=act, given=context.obj, json=as_json, pipelines=pipelines or [])


@app.command("eval", rich_help_panel=LOOK, epilog=EPILOG)
def evaluate(
    context: typer.Context,
    pipeline: Pipeline,
    models: EvalModels = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", metavar="X", help="This model too, also off the ladder.")
    ] = None,
    sample: Annotated[int | None, typer.Option("--sample", min=1, metavar="N", help="Only N of the gold rows.")] = None,
    fail_under: FailUnder = None,
    against: Against = None,
    max_drop: Annotated[
        float | None, typer.Option("--max-drop", min=0, max=1, metavar="X", help="The most that --against may lose.")
    ] = None,
    tune: Tune = False,
    target: Annotated[
        float | None, typer.Option("--target", metavar="X", help="The accuracy to tune for; default: 0.9.")
    ] = None,
    plot: Annotated[
        str | None, typer.Option("--plot", metavar="FILE", help="Draw cost against accuracy into an SVG file.")
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="What evaluations came to, by prompt version.")] = False,
    no_wait: NoWait = False,
    wait: Wait = None,
    max_usd: Annotated[
        str | None, typer.Option("--max-usd", metavar="X", help="The most that each model and judge may spend.")
    ] = None,
    yes: Yes = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="As Markdown, for a pull request.")] = False,
    params: Params = None,
    as_json: Json = False,
) -> Task:
    """Measure quality against gold labels, by model and for the ladder; a gate for CI."""
    request = EvalRequest(
        pipeline=pipeline,
        models=models,
        model=model or [],
        sample=sample,
        fail_under=fail_under or [],
        against=against,
        max_drop=max_drop,
        tune=tune,
        target=target,
        plot=plot,
        history=history,
        no_wait=no_wait,
        wait=wait,
        max_usd=max_usd,
        yes=yes,
        markdown=markdown,
        params=params or [],
    )

    def act(call: Call) -> int:
        from batchpipe.commands.eval.evaluate import evaluate as command

        return command(call, request)

    return Task(act=act, given=context.obj, json=as_json, pipelines=[pipeline])


@app.command(rich_help_panel=LOOK, epilog=EPILOG)
def diff(
    context: typer.Context,
    pipeline: Pipeline,
    from_version: Annotated[
        str | None, typer.Option("--from", metavar="V", help="v3, a hash or a git ref; default: the one before --to.")
    ] = None,
    to_version: Annotated[
        str | None, typer.Option("--to", metavar="V", help="The other one; default: the newest with answers.")
    ] = None,
    from_model: Annotated[
        str | None, typer.Option("--from-model", metavar="MODEL", help="Only its answers on the first side.")
    ] = None,
    to_model: Annotated[
        str | None, typer.Option("--to-model", metavar="MODEL", help="Only its answers on the second side.")
    ] = None,
    rows: Annotated[int, typer.Option("--rows", min=0, metavar="N", help="How many changed rows to show.")] = 10,
    markdown: Annotated[bool, typer.Option("--markdown", help="As Markdown, for a pull request.")] = False,
    html: Annotated[
        str | None, typer.Option("--html", metavar="FILE", help="Write a page that needs nothing beside itself.")
    ] = None,
    params: Params = None,
    as_json: Json = False,
) -> Task:
    """Compare two prompt versions or models: the prompt, and what the same rows were answered."""
    request = DiffRequest(
        pipeline=pipeline,
        from_version=from_version,
        to_version=to_version,
        from_model=from_model,
        to_model=to_model,
        rows=rows,
        markdown=markdown,
        html=html,
        params=params or [],
    )

    def act(call: Call) -> int:
        from batchpipe.commands.diff.diff import diff as command

        return command(call, request)

    return Task(act=act, given=context.obj, json=as_json, pipelines=[pipeline])


@app.command(rich_help_panel=LOOK, epilog=EPILOG)
def review(
    context: typer.Context,
    pipeline: Pipeline,
    export: Annotated[
        str | None, typer.Option("--export", metavar="FILE", help="Write the rows to a .csv file for a spreadsheet.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--import", metavar="FILE", help="Take what was written into such a file.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Rows that were reviewed before too.")] = False,
    report: Annotated[bool, typer.Option("--report", help="Only how often people agreed with the models.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    params: Params = None,
    as_json: Json = False,
) -> Task:
    """Show the rows that a person should see, one by one, and take what the person says."""
    request = ReviewRequest(
        pipeline=pipeline,
        export=export,
        source=source,
        again=again,
        report=report,
        force=force,
        params=params or [],
    )

    def act(call: Call) -> int:
        from batchpipe.commands.review.review import review as command

        return command(call, request)

    return Task(act=act, given=context.obj, json=as_json, pipelines=[pipeline])
