"""Define the commands that look at results: status, show, results, report, eval, diff, review."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated

import typer

from batchpipe.cli.app import app
from batchpipe.cli.shared_options import (
    EPILOG,
    LOOK,
    Against,
    AsGoodAs,
    EvalMaxUsd,
    EvalModels,
    FailUnder,
    GoldSample,
    HeldOut,
    History,
    Html,
    Json,
    Labels,
    MaxDrop,
    NoWait,
    OtherModels,
    Params,
    Pipeline,
    Pipelines,
    Plot,
    Precision,
    Recall,
    ReviewerAccuracy,
    ReviewerUsd,
    Risk,
    Shares,
    SharesBy,
    Target,
    Tune,
    Wait,
    Where,
    Withdraw,
    WithRows,
    Yes,
    at_most,
)
from batchpipe.commands.call.options import DiffRequest, EvalRequest, ReviewRequest, Task

if TYPE_CHECKING:
    from batchpipe.commands.call.call import Call


@app.command(rich_help_panel=LOOK, epilog=EPILOG)
def status(
    context: typer.Context,
    pipelines: Pipelines = None,
    withdraw: Withdraw = None,
    notify: Annotated[
        bool,
        typer.Option("--notify", help="Send the notices about ended runs and stuck batches that were not sent yet."),
    ] = False,
    as_json: Json = False,
) -> Task:
    """Show rows by state, batches in flight, held chunks, open orders and the last runs."""

    def act(call: Call) -> int:
        from batchpipe.commands.status.status import status as command

        return command(call, pipelines or [], withdraw or (), notify=notify)

    return Task(act=act, given=context.obj, json=as_json, pipelines=pipelines or [])


@app.command(rich_help_panel=LOOK, epilog=EPILOG)
def graph(
    context: typer.Context,
    pipelines: Pipelines = None,
    svg: Annotated[bool, typer.Option("--svg", help="Print the picture as SVG.")] = False,
    as_json: Json = False,
) -> Task:
    """Draw which pipelines read the output tables of which others."""

    def act(call: Call) -> int:
        from batchpipe.commands.graph import graph as command

        return command(call, pipelines or [], svg=svg)

    return Task(act=act, given=context.obj, json=as_json, pipelines=pipelines or [])


@app.command(rich_help_panel=LOOK, epilog=EPILOG)
def show(
    context: typer.Context,
    pipeline: Pipeline,
    key: Annotated[
        list[str], typer.Argument(metavar="KEY", help="The row's key. For a key of several columns, give each value.")
    ],
    html: Html = None,
    with_rows: WithRows = False,
    params: Params = None,
    as_json: Json = False,
) -> Task:
    """Show everything about one row: input, prompt, every attempt, errors, cost."""

    def act(call: Call) -> int:
        from batchpipe.commands.show.show import show as command

        return command(call, pipeline, key, params or [], html=html, with_rows=with_rows)

    return Task(act=act, given=context.obj, json=as_json, pipelines=[pipeline])


@app.command(rich_help_panel=LOOK, epilog=EPILOG)
def results(
    context: typer.Context,
    pipeline: Pipeline,
    to: Annotated[
        str | None, typer.Option("--to", metavar="FILE", help="Write to this file: .parquet, .csv, .json or .xlsx.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    where: Where = None,
    current: Annotated[
        bool, typer.Option("--current", help="Take only answers to the present input and prompt.")
    ] = False,
    review: Annotated[bool, typer.Option("--review", help="Take only rows that a person should review.")] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", min=0, callback=at_most, metavar="N", help="Take only the first N rows.")
    ] = None,
    as_json: Json = False,
) -> Task:
    """Print the output table, or write it to a file."""

    def act(call: Call) -> int:
        from batchpipe.commands.results.results import results as command

        return command(call, pipeline, to, where=where, current=current, review=review, limit=limit, force=force)

    return Task(act=act, given=context.obj, json=as_json, pipelines=[pipeline])


@app.command(rich_help_panel=LOOK, epilog=EPILOG)
def report(
    context: typer.Context,
    pipelines: Pipelines = None,
    html: Html = None,
    with_rows: WithRows = False,
    shares: Shares = None,
    by: SharesBy = None,
    as_json: Json = False,
) -> Task:
    """Report cost, savings, tokens, valid answers by rung, and how good the estimates were."""

    def act(call: Call) -> int:
        from batchpipe.commands.report.report import report as command

        return command(call, pipelines or [], html=html, with_rows=with_rows, shares=shares, by=by)

    return Task(act=act, given=context.obj, json=as_json, pipelines=pipelines or [])


@app.command("eval", rich_help_panel=LOOK, epilog=EPILOG)
def evaluate(
    context: typer.Context,
    pipeline: Pipeline,
    models: EvalModels = None,
    model: OtherModels = None,
    sample: GoldSample = None,
    fail_under: FailUnder = None,
    against: Against = None,
    max_drop: MaxDrop = None,
    tune: Tune = False,
    target: Target = None,
    as_good_as: AsGoodAs = None,
    labels: Labels = None,
    reviewer_usd: ReviewerUsd = None,
    reviewer_accuracy: ReviewerAccuracy = None,
    precision: Precision = None,
    recall: Recall = None,
    risk: Risk = None,
    held_out: HeldOut = False,
    plot: Plot = None,
    html: Html = None,
    with_rows: WithRows = False,
    history: History = False,
    no_wait: NoWait = False,
    wait: Wait = None,
    max_usd: EvalMaxUsd = None,
    yes: Yes = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a pull request.")] = False,
    params: Params = None,
    as_json: Json = False,
) -> Task:
    """Measure quality with gold rows, by model and for the ladder. It can stop CI."""
    given = {each.name: context.params[each.name] for each in fields(EvalRequest)}
    request = EvalRequest(**{name: value for name, value in given.items() if value is not None})

    def act(call: Call) -> int:
        from batchpipe.commands.eval.evaluate import evaluate as command

        return command(call, request)

    return Task(act=act, given=context.obj, json=as_json, pipelines=[pipeline])


@app.command(rich_help_panel=LOOK, epilog=EPILOG)
def diff(
    context: typer.Context,
    pipeline: Pipeline,
    from_version: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="V", help="The first version: v3, a hash or a git ref. Default: the one before --to."
        ),
    ] = None,
    to_version: Annotated[
        str | None, typer.Option("--to", metavar="V", help="The second version. Default: the newest that has answers.")
    ] = None,
    from_model: Annotated[
        str | None,
        typer.Option("--from-model", metavar="MODEL", help="Take only this model's answers on the first side."),
    ] = None,
    to_model: Annotated[
        str | None,
        typer.Option("--to-model", metavar="MODEL", help="Take only this model's answers on the second side."),
    ] = None,
    rows: Annotated[
        int, typer.Option("--rows", min=0, callback=at_most, metavar="N", help="How many changed rows to show.")
    ] = 10,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a pull request.")] = False,
    html: Html = None,
    with_rows: WithRows = False,
    params: Params = None,
    as_json: Json = False,
) -> Task:
    """Compare two prompt versions or models: the prompts, and the answers to the same rows."""
    request = DiffRequest(
        pipeline=pipeline,
        from_version=from_version,
        to_version=to_version,
        from_model=from_model,
        to_model=to_model,
        rows=rows,
        markdown=markdown,
        html=html,
        with_rows=with_rows,
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
        str | None, typer.Option("--import", metavar="FILE", help="Read the reviews from a file that --export wrote.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Take rows that were reviewed before, too.")] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Only print how often people agreed with the models.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    params: Params = None,
    as_json: Json = False,
) -> Task:
    """Show the rows that a person should see, one by one, and record what the person says."""
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
