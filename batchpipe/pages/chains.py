"""Pipelines that read each other: the picture with their states, and what each one waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from batchpipe.commands.graph import Linked, links_chart, links_object, read_links
from batchpipe.commands.printing.text import count
from batchpipe.commands.status.html import states_chart, states_legend
from batchpipe.commands.status.read import Status
from batchpipe.commands.status.states import Named
from batchpipe.common.errors import PipelineError
from batchpipe.engine.upstream.wait import unfinished
from batchpipe.html.blocks import Block, Cell, Command, Picture, Section, Sentences, Table, Text
from batchpipe.html.links import SERVED
from batchpipe.pages.home import read_all
from batchpipe.pages.page import Query
from batchpipe.pages.site import Site

Waits = Mapping[str, Sequence[str]]


def chains_sections(site: Site, query: Query) -> Sequence[Section]:
    """Return the pipelines that read or are read, as a picture with their states, and what each one waits for."""
    linked, waits = site.read(("chains",), lambda: _read(site)).value
    read = {name for each in linked for name in each.reads}
    chained = [each for each in linked if each.reads or each.pipeline in read]
    if not chained:
        words = Sentences(found=["No pipeline reads the table of another one."], tone="soft")
        return [Section(title="Chains", blocks=[words])]
    statuses = _statuses(site)
    states = {name: _state(each, waits.get(name, ())) for name, each in statuses.items()}
    rows = [_line(each, statuses.get(each.pipeline), waits) for each in chained]
    header = ("pipeline", "reads", "rows", "answered", "waits for")
    table = Table(title="pipelines", header=header, rows=rows, right=(3,))
    run = Command(words="To run them in their order:", command=site.call.suggest("run --all"))
    return [
        Section(title="Chains", blocks=[Picture(chart=links_chart(chained, states))]),
        Section(title="What each one waits for", blocks=[table, states_legend(), run]),
    ]


def chains_value(site: Site, query: Query) -> list[dict[str, Any]]:
    """Return what `graph --json` prints."""
    return links_object(_read(site)[0])


def chain_section(site: Site, named: Named) -> Section | None:
    """Return what a pipeline reads, what reads it, and what it waits for; None where there is no chain."""
    try:
        linked, waits = site.read(("chains",), lambda: _read(site)).value
    except PipelineError:
        return None  # the page of chains says what is wrong
    own = next((each for each in linked if each.pipeline == named.name), None)
    readers = [each.pipeline for each in linked if named.name in each.reads]
    if own is None or not (own.reads or readers):
        return None
    near = [each for each in linked if each.pipeline in {named.name, *own.reads, *readers}]
    said = [f"{each[0].upper()}{each[1:]}." for each in waits.get(named.name, ())]
    states = {name: _state(each, waits.get(name, ())) for name, each in _statuses(site).items()}
    blocks: list[Block] = [Picture(chart=links_chart(near, states))]
    blocks.append(Sentences(found=said or ["It waits for no other pipeline."], tone="" if said else "soft"))
    return Section(title="Chain", blocks=blocks)


def _read(site: Site) -> tuple[list[Linked], Waits]:
    """Return the pipelines with what they read, and by name what each one waits for, in sentences."""
    files = site.files()[0]
    with site.context() as context:
        linked = read_links(context, files) if files else []
        waits: dict[str, Sequence[str]] = {}
        for file in files:
            upstream = context.chain.reads(file).upstream
            if upstream:
                found = unfinished(context, file, upstream)
                waits[file.pipeline.name] = [each.text for each in found if each.wait != "none"]
    return linked, waits


def _statuses(site: Site) -> Mapping[str, Status]:
    """Return the status of each pipeline; none where they are not there within a moment."""
    known = site.soon(("statuses",), lambda: read_all(site))
    return {each.pipeline: each for each in known.value} if known is not None else {}


def _state(status: Status, waits: Sequence[str]) -> tuple[str, str]:
    """Return the state of a pipeline in few words, and its colour."""
    rows = status.rows
    answered = rows["accepted"] + rows["kept"]
    if rows["pending"]:
        return f"{count(rows['pending'], 'row')} at the provider", "blue"
    if waits:
        return "waits", "amber"
    if rows["failed"]:
        return f"{count(rows['failed'], 'row')} failed", "red"
    return (f"{count(answered, 'row')} answered", "green") if answered else ("not run yet", "grey")


def _line(linked: Linked, status: Status | None, waits: Waits) -> Sequence[Text]:
    rows = status.rows if status is not None else None
    said = "; ".join(each.removeprefix("it waits for ") for each in waits.get(linked.pipeline, ()))
    return [
        Cell(text=linked.pipeline, href=SERVED.page(linked.pipeline), strong=True),
        ", ".join(linked.reads),
        Cell(text="", chart=states_chart(linked.pipeline, rows)) if rows is not None else "…",
        count(rows["accepted"] + rows["kept"]) if rows is not None else "…",
        said or Cell(text="nothing", tone="soft"),
    ]
