"""Record the result of an evaluation, and print the recorded results by prompt version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from decimal import Decimal
from typing import Any

from batchpipe.commands.call.call import Call
from batchpipe.commands.eval.quality import Quality
from batchpipe.commands.eval.report import interval
from batchpipe.commands.printing.text import count, moment, money, table
from batchpipe.engine.context import Context
from batchpipe.engine.ledger.events import add_event
from batchpipe.engine.quality.evaluate import EvaluatedPrompt
from batchpipe.evaluation.statistics import proportion
from batchpipe.pipeline.model import PipelineFile
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Work
from batchpipe.store.queries import query


def remember(
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


def history(call: Call, file: PipelineFile) -> int:
    """Print the newest evaluation of each prompt version. Nothing is sent."""
    statement = query("evaluations", pipelines=quote_list(file.pipeline.names))
    with call.context() as context, closing(context.work()) as work, context.database.reading(work) as session:
        found = [(json.loads(data), at) for data, at in session.rows(statement)]
    lines = []
    for each, at in found:
        share = proportion(each["hits"], each["n"])
        cost = None if each["cost_usd"] is None else Decimal(each["cost_usd"])
        lines.append((each, at, share, None if cost is None else cost * 1000 / share.n))
    if call.json:
        call.out(
            [
                {
                    "prompt_version": each["version"],
                    "evaluated_at": at,
                    "model": each["model"],
                    "n": share.n,
                    "gold_from_review": each.get("reviewed", 0),
                    "accuracy": share.value,
                    "ci95": [share.low, share.high],
                    "usd_per_1000": usd,
                }
                for each, at, share, usd in lines
            ]
        )
        return 0
    if not lines:
        call.say(f"No evaluation yet. To make one: {call.suggest(f'eval {file.pipeline.name}')}")
        return 0
    rows = [
        [
            each["version"],
            moment(at),
            each["model"],
            _rows(share.n, each.get("reviewed", 0)),
            interval(share),
            money(usd),
        ]
        for each, at, share, usd in lines
    ]
    header = ("version", "evaluated", "ladder", "n", "right", "per 1,000")
    call.out(table(header, rows, terminal=call.terminal, right=(3, 5)))
    return 0


def _rows(n: int, reviewed: int) -> str:
    return f"{count(n)}, {count(reviewed)} reviewed" if reviewed else count(n)
