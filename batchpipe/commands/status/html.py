"""Show the states of rows in HTML: one bar, its colours, and the words for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from batchpipe.charts.chart import Chart
from batchpipe.charts.shares import BarShare, shares
from batchpipe.commands.printing.text import count, moment, money
from batchpipe.commands.status.read import Run
from batchpipe.html.blocks import Cell, Legend, Table, Text
from batchpipe.html.links import Links

# Name in the ledger, colour, words.
STATES = (
    ("accepted", "green", "accepted"),
    ("review", "amber", "to review"),
    ("pending", "blue", "at the provider"),
    ("escalated", "purple", "due on a higher rung"),
    ("retry", "pink", "due again"),
    ("kept", "grey", "kept"),
    ("failed", "red", "failed"),
    ("new", "faint", "to be sent again"),
)
RUN_COLOURS = {"done": "green", "pending": "blue", "open": "blue", "gate": "amber", "paused": "amber"}


def states_chart(pipeline: str, rows: Mapping[str, int]) -> Chart:
    """Return the bar of a pipeline's rows by state; `review` is a part of `accepted`."""
    numbers = {**rows, "accepted": rows["accepted"] - rows["review"]}
    found = [BarShare(name=words, number=numbers.get(name, 0), colour=colour) for name, colour, words in STATES]
    return shares(f"rows of {pipeline}", found)


def states_legend() -> Legend:
    """Return the names of the colours."""
    return Legend(found=[(words, colour) for _, colour, words in STATES])


def run_status(status: str) -> Cell:
    """Return the status of a run, with a dot of its colour."""
    return Cell(text=status.replace("_", " "), state=RUN_COLOURS.get(status, "red"))


def runs_table(runs: Sequence[tuple[str, Run]], links: Links, *, named: bool) -> Table:
    """Return a table of runs of the pipelines that stand beside them; with `named` it says the pipeline too."""
    header = ("started", *(["pipeline"] if named else []), "status", "sent", "collected", "cost", "message")
    rows: list[Sequence[Text]] = []
    for pipeline, each in runs:
        rows.append(
            [
                Cell(text=moment(each.started_at), href=links.run(pipeline, each.run_id)),
                *([Cell(text=pipeline, href=links.page(pipeline), strong=True)] if named else []),
                run_status(each.status),
                count(each.submitted),
                count(each.results),
                money(each.cost_usd),
                each.message or "",
            ]
        )
    first = len(header) - 4
    return Table(title="last runs", header=header, rows=rows, right=(first, first + 1, first + 2), empty="no run yet")
