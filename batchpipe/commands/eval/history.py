"""Record the result of an evaluation, and print the recorded results by prompt version."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from batchpipe.charts.points import Point, Words, points
from batchpipe.commands.call.call import Call
from batchpipe.commands.eval.quality import Quality
from batchpipe.commands.eval.report import share_with_interval
from batchpipe.commands.printing.text import count, moment, money, table
from batchpipe.engine.context import Context
from batchpipe.engine.ledger.events import add_event
from batchpipe.engine.ledger.renames import with_histories
from batchpipe.engine.quality.evaluate import EvaluatedPrompt
from batchpipe.engine.quality.prepare import table_to_add
from batchpipe.evaluation.statistics import Proportion, proportion
from batchpipe.html.blocks import Block, Picture, Section, Table, Text
from batchpipe.html.render import one_file, write_report
from batchpipe.pipeline.model import PipelineFile
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Work
from batchpipe.store.queries import query


def record_evaluation(
    context: Context,
    work: Work,
    file: PipelineFile,
    version: str,
    side: EvaluatedPrompt,
    ladder: Quality | None,
    more: Mapping[str, Any],
) -> None:
    """Record the result of the ladder, unless the newest evaluation had the same result.

    `more` is recorded with it: `reviewed`, the number of gold rows that come from review, and the ladders of some
    rungs.
    Reads `ledger.events`. Writes `ledger.events`.
    """
    if ladder is None:
        return
    data = {
        "prompt_version": side.ladder.version.prompt_version,
        "version": version,
        "model": ladder.model,
        "n": ladder.right.n,
        "hits": ladder.right.hits,
        **more,
        "cost_usd": None if ladder.cost_usd is None else str(ladder.cost_usd),
    }
    newest = query("newest_evaluation", pipelines=quote_list(file.pipeline.names))
    with context.database.reading(work) as session:
        found = session.rows(newest)
    if found and json.loads(found[0][0]) == data:
        return
    with context.database.writing(work, None) as session:
        add_event(session, file.pipeline.name, "evaluated", data)


HEADER = ("version", "evaluated", "ladder", "n", "right", "per 1,000")


@dataclass(frozen=True, slots=True, kw_only=True)
class PastEvaluation:
    """The newest evaluation of a prompt version: `right` of the answers to gold rows, `reviewed` of them from review.

    `usd_per_1000` is None where a price was not known.
    """

    version: str
    evaluated_at: datetime
    model: str
    right: Proportion
    reviewed: int
    usd_per_1000: Decimal | None


def read_history(context: Context, names: Sequence[str]) -> list[PastEvaluation]:
    """Return the newest evaluation of each prompt version of the pipelines called `names`, oldest version first.

    Reads `ledger.events`.
    """
    statement = query("evaluations", pipelines=quote_list(names))
    with closing(context.work()) as work, context.database.reading(work) as session:
        found = [(json.loads(data), at) for data, at in session.rows(statement)]
    return [_past(data, at) for data, at in found]


def history_object(found: Sequence[PastEvaluation]) -> list[dict[str, Any]]:
    """Return the list of `eval --history --json`."""
    return [
        {
            "prompt_version": each.version,
            "evaluated_at": each.evaluated_at,
            "model": each.model,
            "n": each.right.n,
            "gold_from_review": each.reviewed,
            "accuracy": each.right.value,
            "ci95": [each.right.low, each.right.high],
            "usd_per_1000": each.usd_per_1000,
        }
        for each in found
    ]


def remember_tuned(context: Context, work: Work, file: PipelineFile, target: float, accepts: Mapping[str, Any]) -> None:
    """Record the thresholds with which a person as the last rung is promised to bring the table to `target`.

    `accepts` has the condition of each model that is used, None for one whose every answer stands.
    Writes `ledger.events`.
    """
    with context.database.writing(work, None) as session:
        add_event(session, file.pipeline.name, "tuned", {"target": target, "accepts": dict(accepts)})


def history(call: Call, file: PipelineFile, page: Path | None = None) -> int:
    """Print the newest evaluation of each prompt version, or write it to an HTML page. Nothing is sent."""
    with call.context() as context:
        (file,) = with_histories(context.database, context.work, [file])
        found = read_history(context, file.pipeline.names)
    if page is not None:
        title = f"batchpipe eval: {file.pipeline.name}"
        sections = [Section(title="Evaluations by prompt version", blocks=history_blocks(found))]
        write_report(page, one_file(title, [(title, sections)], [], moment(call.machine.clock())))
        call.say(f"written to {page}")
    if call.json:
        call.out(history_object(found))
        return 0
    if page is not None:
        return 0
    if not found:
        make = call.suggest(f"eval {file.pipeline.name}")
        none = f"{table_to_add(file)} Then" if file.pipeline.eval is None else "To make one"
        call.say(f"No evaluation yet. {none}: {make}")
        return 0
    rows = [
        [
            each.version,
            moment(each.evaluated_at),
            each.model,
            gold_rows(each.right.n, each.reviewed),
            share_with_interval(each.right),
            money(each.usd_per_1000),
        ]
        for each in found
    ]
    call.out(table(HEADER, rows, terminal=call.terminal, right=(3, 5)))
    return 0


def history_blocks(found: Sequence[PastEvaluation]) -> list[Block]:
    """Return the evaluations as a chart of cost and accuracy, and as a table."""
    rows: list[Sequence[Text]] = [
        [
            each.version,
            moment(each.evaluated_at),
            each.model,
            gold_rows(each.right.n, each.reviewed),
            share_with_interval(each.right),
            money(each.usd_per_1000),
        ]
        for each in found
    ]
    places = [
        Point(
            name=each.version,
            x=float(each.usd_per_1000),
            y=each.right.value,
            low=each.right.low,
            high=each.right.high,
            colour="amber" if each is found[-1] else "blue",
            strong=each is found[-1],
        )
        for each in found
        if each.usd_per_1000 is not None
    ]
    table = Table(title="evaluations", header=HEADER, rows=rows, right=(3, 5), empty="No evaluation yet.")
    return [*([Picture(chart=points(Words(title="Prompt versions"), places))] if places else []), table]


def _past(data: Mapping[str, Any], at: datetime) -> PastEvaluation:
    cost, share = data["cost_usd"], proportion(data["hits"], data["n"])
    return PastEvaluation(
        version=data["version"],
        evaluated_at=at,
        model=data["model"],
        right=share,
        reviewed=data.get("reviewed", 0),
        usd_per_1000=None if cost is None else Decimal(cost) * 1000 / share.n,
    )


def gold_rows(n: int, reviewed: int) -> str:
    """Return the number of gold rows, and of those that come from review."""
    return f"{count(n)}, {count(reviewed)} reviewed" if reviewed else count(n)
