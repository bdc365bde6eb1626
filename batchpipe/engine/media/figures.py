"""Count the files of a plan's requests: how many, of what size, and their tokens by each provider's formula."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from batchpipe.engine.resolved.bind import rungs_sql
from batchpipe.engine.resolved.contents import why_no_rung
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.contents import content_columns, content_lines
from batchpipe.engine.source.snapshot import Snapshot
from batchpipe.providers import Block
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import Sql, joined, number_sql, sql
from batchpipe.store.queries import query

SHOWN_ROWS = 5
_PDF = "application/pdf"


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFigures:
    """The files of the requests to one rung: `blocks` in its requests, of so many distinct `files` with `bytes`.

    `tokens` is their sum by the provider's formula; one has `least` to `most` of them. `addresses` are fetched by the
    provider, so that their sizes are not known. `shared` files are uploaded once, and named by several requests.
    """

    rung: int
    model: str
    provider: str
    blocks: int
    files: int
    bytes: int
    pages: int
    addresses: int
    tokens: int
    least: int
    most: int
    shared: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfitRow:
    """A row that fails before anything is sent, and why: what is wrong with its files."""

    key: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPlan:
    """The files of a plan: figures for each rung, how many rows are `unfit` for every rung, and the first of them."""

    figures: Sequence[MediaFigures] = ()
    unfit: int = 0
    rows: Sequence[UnfitRow] = ()


def media_plan(connection: Connection, resolved: Resolved, snapshot: Snapshot) -> MediaPlan:
    """Return the figures of the requests to send, and the rows that fail for their files.

    Reads `work.to_send`, `work.plan`, `work.shared_files` and the snapshot.
    """
    unfit = Sql("(SELECT position FROM work.plan WHERE rungs = 0)")
    return _planned(connection, resolved, snapshot, Sql("work.to_send"), Sql("work.shared_files"), unfit)


def media_check(connection: Connection, resolved: Resolved, snapshot: Snapshot) -> MediaPlan:
    """Return the figures of all rows, each sent to the first rung that takes it, and the rows that no rung takes.

    Reads the snapshot.
    """
    used = {name for when in resolved.whens if when is not None for name in when.inputs}
    masks = rungs_sql(resolved.whens)
    rungs = sql("SELECT position, {masks} AS rungs FROM {typed}", masks=masks, typed=snapshot.typed(used))
    whens = (
        sql("WHEN rungs >> {bit} & 1 = 1 THEN {rung}", bit=number_sql(each), rung=number_sql(each + 1))
        for each in range(len(resolved.rungs))
    )
    first = joined(" ", whens)
    sends = sql("(SELECT position, CASE {first} END AS rung FROM ({rungs}) WHERE rungs <> 0)", first=first, rungs=rungs)
    unfit = sql("(SELECT position FROM ({rungs}) WHERE rungs = 0)", rungs=rungs)
    nothing = Sql("(SELECT 0 AS rung, '' AS sha256 WHERE false)")
    return _planned(connection, resolved, snapshot, sends, nothing, unfit)


def _planned(
    connection: Connection, resolved: Resolved, snapshot: Snapshot, sends: Sql, shared: Sql, unfit: Sql
) -> MediaPlan:
    """Return the figures of `sends` (position, rung), and the rows at the positions of `unfit`.

    `shared` are the contents (rung, sha256) that are uploaded once.
    """
    columns = content_columns(resolved.input_columns)
    lines = content_lines(columns, snapshot.file)
    found: dict[int, list[tuple[Block, int]]] = {}
    for rung, kind, content, size, width, height, pages, blocks in connection.execute(
        query("files_by_size", lines=lines, sends=sends)
    ).fetchall():
        url = "-" if content == "url" else ""
        block = Block(kind, "" if url else content, "", url, size, width, height, pages)
        found.setdefault(rung, []).append((block, blocks))
    counted = connection.execute(query("files_of_rungs", lines=lines, sends=sends, shared=shared)).fetchall()
    sums = {rung: rest for rung, *rest in counted}
    figures = [_figures(resolved, rung, blocks, sums[rung]) for rung, blocks in found.items()]
    named = joined(", ", (each.stored for each in columns))
    why = why_no_rung(resolved.input_columns, snapshot.file)
    wrong = connection.execute(
        query("unfit_rows", rows=snapshot.relation, lines=named, why=why, unfit=unfit)
    ).fetchall()
    shown = [UnfitRow(key=key, why=why) for key, why in wrong[:SHOWN_ROWS]]
    return MediaPlan(figures=sorted(figures, key=lambda each: each.rung), unfit=len(wrong), rows=shown)


def _figures(resolved: Resolved, rung: int, blocks: Sequence[tuple[Block, int]], sums: Sequence[int]) -> MediaFigures:
    settings = resolved.rungs[rung - 1]
    rules = resolved.rules_of(settings)
    tokens = [(rules.media_tokens(settings, block), count) for block, count in blocks]
    files, size, shared = sums
    return MediaFigures(
        rung=resolved.rung_of(rung),
        model=settings.model,
        provider=settings.provider,
        blocks=sum(count for _, count in blocks),
        files=files,
        bytes=size,
        pages=sum(max(block.pages, 1) * count for block, count in blocks if block.type == _PDF),
        addresses=sum(count for block, count in blocks if block.url),
        tokens=sum(each * count for each, count in tokens),
        least=min(each for each, _ in tokens),
        most=max(each for each, _ in tokens),
        shared=shared,
    )
