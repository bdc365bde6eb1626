"""The rows of a pipeline: its output page by page, failed rows by error, and the story of one row."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import Any

import duckdb

from batchpipe.commands.printing.text import count, moment
from batchpipe.commands.report.rows import cell_text
from batchpipe.commands.results.rows import Filters, python_rows, rows_object, take_rows, taken_keys
from batchpipe.commands.show.html import history_sections
from batchpipe.commands.show.row_history import RowHistory
from batchpipe.commands.show.show import read_row_history, read_stored
from batchpipe.common.errors import BatchpipeError, UsageError
from batchpipe.engine.ledger.overview import Failures, read_failures
from batchpipe.html.blocks import Block, Cell, Chips, Command, Files, Pager, Search, Section, Sentences, Table, Text
from batchpipe.html.links import SERVED
from batchpipe.media.content import SUFFIX
from batchpipe.pages.files import row_files
from batchpipe.pages.page import Query
from batchpipe.pages.site import Site
from batchpipe.pipeline.model import PipelineFile
from batchpipe.store.database import Session

ROWS = 50
MOST_ROWS = 10_000
STATEMENT_SECONDS = 2.0
GROWING = frozenset(
    {"range", "generate_series", "repeat", "list_resize", "array_resize", "lpad", "rpad", "bar"}
    | {"printf", "format", "bitstring"}
)
NOT_SHOWN = ("_custom_id", "_batch_id", "_cost_usd", "_current", "_reviewed_by")
SHOWN_ERROR = 160


def rows_sections(site: Site, query: Query) -> Sequence[Section]:
    """Return a page of rows, with the chips that choose among them."""
    if query.values.get("state") == "failed":
        return _failed(site, query)
    blocks: list[Block] = [_chips(site, query), _where(query)]
    try:
        with _taken(site, query) as (taken, rows, keys):
            blocks += _table(query, taken, rows, keys)
    except UsageError as error:
        blocks += [Sentences(found=[error.what], tone="soft"), Sentences(found=[error.hint or ""])]
    except BatchpipeError as error:
        blocks.append(Sentences(found=[error.what, error.hint or ""], tone="bad"))
    to_file = site.call.suggest(f"results {query.pipeline} --to {query.pipeline}.csv")
    blocks.append(Command(words="All of them in a file:", command=to_file))
    return [Section(title="Rows", blocks=blocks)]


def rows_value(site: Site, query: Query) -> dict[str, Any]:
    """Return what `results NAME --limit N --json` prints; for `?state=failed` the failed rows, which have no answer."""
    file = site.file(query.pipeline)
    limit = query.number("limit", ROWS, MOST_ROWS)
    if query.values.get("state") == "failed":
        found = _read_failures(site, query, limit)
        by_error = [{"error": error, "rows": number} for error, number in found.by_error]
        rows = [{**asdict(each), "key": json.loads(each.key)} for each in found.rows]
        return {"pipeline": file.pipeline.name, "matching": found.matching, "by_error": by_error, "rows": rows}
    with site.session() as (_, work, session), _in_time(session):
        taken = take_rows(session, file, _filters(file, query, limit))
        return rows_object(file.pipeline.name, work, taken)


def row_sections(site: Site, query: Query) -> Sequence[Section]:
    """Return the story of one row. What the ledger has is a lookup; what the next run would do takes a look at the
    whole input, and comes with a later look.
    """
    key = ("history", query.pipeline, query.path["key"])
    whole = site.soon(key, lambda: _history(site, query), fresh=True)
    if whole is not None:
        return _with_files(site, query, whole.value)
    with site.context(gives_way=False) as context, closing(context.work()) as work:
        stored = read_stored(context, work, site.file(query.pipeline), [query.path["key"]])
    if stored is None:
        return _with_files(site, query, site.read(key, lambda: _history(site, query)).value)
    return _with_files(site, query, stored, being_read=True)


def _with_files(site: Site, query: Query, found: RowHistory, *, being_read: bool = False) -> Sequence[Section]:
    """Return the sections of a row's story, and the files that it has sent last. Reads `ledger.media`."""
    sections = history_sections(found, site.call.suggest, with_rows=True, being_read=being_read)
    values = found.attempts[-1].input if found.attempts else {}
    if not any(each.endswith(SUFFIX) for each in values):
        return sections
    with site.context() as context, closing(context.work()) as work, context.database.reading(work) as session:
        files = row_files(session, query.pipeline, found.key, values)
    return [*sections, Section(title="Files", blocks=[Files(found=files)])] if files else sections


def row_value(site: Site, query: Query) -> dict[str, Any]:
    """Return what `show NAME KEY --json` prints."""
    return asdict(_history(site, query))


def _history(site: Site, query: Query) -> RowHistory:
    file = site.file(query.pipeline)
    with site.context() as context, closing(context.work()) as work:
        return read_row_history(context, work, file, [query.path["key"]], {})


def _filters(file: PipelineFile, query: Query, limit: int) -> Filters:
    values = query.values
    where = values.get("where") or None
    if where is not None:
        _refuse_growing(where)
    return Filters(
        where=where,
        current=values.get("current") == "1",
        review=values.get("review") == "1",
        stale=values.get("stale") == "1",
        rung=query.number("rung", 0, 1000) if "rung" in values else None,
        version=values.get("version") or None,
        limit=limit,
        offset=query.number("offset"),
        items=values["items"] if values.get("items", "") in file.pipeline.output.rows else None,
        place="where",
    )


@contextmanager
def _taken(site: Site, query: Query) -> Iterator[tuple[Any, list[tuple[Any, ...]], list[str]]]:
    file = site.file(query.pipeline)
    with site.session(gives_way="where" in query.values) as (_, work, session):  # a condition may take long
        with _in_time(session):
            taken = take_rows(session, file, _filters(file, query, ROWS))
        yield taken, list(python_rows(work, taken.output)), taken_keys(work, taken.output)


def _refuse_growing(where: str) -> None:
    """Raise UsageError for a function that makes a value of any size out of a number: it cannot be interrupted."""
    found = duckdb.execute("SELECT json_serialize_sql('SELECT 1 WHERE ' || $1)", [f"({_utf8(where)}\n)"]).fetchone()
    for name in re.findall(r'"function_name":"([^"]*)"', str(found[0]) if found is not None else ""):
        if name.lower() in GROWING:
            what = f"{name}() makes values of any size, and cannot be stopped"
            hint = "Write the condition without it, or use: batchpipe results NAME --where ..."
            raise UsageError(what, where="where", hint=hint)


def _utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


@contextmanager
def _in_time(session: Session) -> Iterator[None]:
    """Stop a statement that takes too long. Raises UsageError then."""
    late = threading.Event()

    def interrupt() -> None:
        late.set()
        session.connection.interrupt()

    timer = threading.Timer(STATEMENT_SECONDS, interrupt)
    timer.start()
    try:
        yield
    except duckdb.InterruptException as error:
        if not late.is_set():
            raise
        hint = "Look for fewer rows, or in a file: batchpipe results NAME --where ... --to rows.csv"
        what = f"the condition takes longer than {STATEMENT_SECONDS:g} seconds"
        raise UsageError(what, where="where", hint=hint) from error
    finally:
        timer.cancel()


def _table(query: Query, taken: Any, rows: Sequence[tuple[Any, ...]], keys: Sequence[str]) -> list[Block]:
    names: list[str] = taken.output.names
    key = set(taken.output.key)
    shown = [number for number, name in enumerate(names) if name not in NOT_SHOWN]
    lines: list[Sequence[Text]] = []
    for row, own in zip(rows, keys, strict=True):
        link = SERVED.row(query.pipeline, json.loads(own))
        lines.append([_cell(row[number], link if names[number] in key else None) for number in shown])
    offset = query.number("offset")
    table = Table(title="rows", header=[names[number] for number in shown], rows=lines, empty="No row is like that.")
    first = offset + 1 if rows else offset
    words = f"{count(first)} to {count(offset + len(rows))} of {count(taken.matching, 'row')}"
    before = _link(query, offset=max(offset - ROWS, 0) or None) if offset else None
    after = _link(query, offset=offset + ROWS) if offset + len(rows) < taken.matching else None
    return [table, Pager(words=words, before=before, after=after)]


def _cell(value: Any, link: str | None) -> Text:
    text = cell_text(value)
    return Cell(text=text, href=link) if link else text


def _chips(site: Site, query: Query) -> Chips:
    """Return what chooses rows: to review, failed, by rung, by version, not current."""
    values = query.values
    found = [(Cell(text="all", href=SERVED.page(query.pipeline, "rows")), not set(values) - {"offset"})]
    for name, words in (("review", "to review"), ("stale", "not current"), ("current", "current")):
        chosen = values.get(name) == "1"
        found.append((Cell(text=words, href=_link(query, **{name: None if chosen else 1}, offset=None)), chosen))
    found.append((Cell(text="failed", href=SERVED.page(query.pipeline, "rows", state="failed")), False))
    file = site.file(query.pipeline)
    rungs = [*([0] if file.pipeline.local is not None else []), *range(1, len(file.pipeline.models) + 1)]
    for number in rungs if len(rungs) > 1 else ():
        chosen = values.get("rung") == str(number)
        link = _link(query, rung=None if chosen else number, offset=None)
        found.append((Cell(text=f"rung {number}" if number else "local model", href=link), chosen))
    for field in file.pipeline.output.rows:
        chosen = values.get("items") == field
        link = _link(query, items=None if chosen else field, where=None, offset=None)
        found.append((Cell(text=f"items of {field}", href=link), chosen))
    if version := values.get("version"):
        found.append((Cell(text=f"prompt {version}", href=_link(query, version=None, offset=None)), True))
    return Chips(found=found)


def _where(query: Query) -> Search:
    kept = [(name, value) for name, value in query.values.items() if name not in ("where", "offset")]
    return Search(
        action=SERVED.page(query.pipeline, "rows") or "",
        label="where",
        name="where",
        value=query.values.get("where", ""),
        hint="label = 'bug' AND confidence < 0.7",
        kept=kept,
    )


def _link(query: Query, **changes: str | int | None) -> str | None:
    values: dict[str, str | int | None] = {**query.values, **changes}
    return SERVED.page(query.pipeline, "rows", **values)


def _read_failures(site: Site, query: Query, limit: int) -> Failures:
    names, error = site.file(query.pipeline).pipeline.names, query.values.get("error") or None
    with site.session() as (_, _, session):
        return read_failures(session, names, error=error, limit=limit, offset=query.number("offset"))


def _failed(site: Site, query: Query) -> Sequence[Section]:
    """Return failed rows, and their errors with the number of rows."""
    found, error, offset = _read_failures(site, query, ROWS), query.values.get("error"), query.number("offset")
    by_error: list[Sequence[Text]] = [
        [Cell(text=each[:SHOWN_ERROR], href=_link(query, error=each, offset=None), strong=each == error), count(number)]
        for each, number in found.by_error
    ]
    listed: list[Sequence[Text]] = []
    for each in found.rows:
        key = json.loads(each.key)
        name = key[0] if len(key) == 1 else json.dumps(key, ensure_ascii=False)
        link, decided = SERVED.row(query.pipeline, key), moment(each.decided_at)
        tried = f"{each.attempts} on rung {each.rung}"
        listed.append([Cell(text=name, href=link), (each.error or "")[:400], each.model or "", tried, decided])
    before = _link(query, offset=max(offset - ROWS, 0) or None) if offset else None
    after = _link(query, offset=offset + ROWS) if offset + len(listed) < found.matching else None
    all_rows = SERVED.page(query.pipeline, "rows")
    chips = [(Cell(text="all rows", href=all_rows), False)]
    chips.append((Cell(text="failed", href=SERVED.page(query.pipeline, "rows", state="failed")), True))
    again = Command(
        words="To try failed rows again:", command=site.call.suggest(f"run {query.pipeline} --retry-failed")
    )
    table = Table(
        title="failed rows",
        header=("key", "error", "model", "tries", "decided"),
        rows=listed,
        empty="No row has failed.",
    )
    first, last = offset + 1 if listed else 0, offset + len(listed) if listed else 0
    words = f"{count(first)} to {count(last)} of {count(found.matching, 'failed row')}"
    errors_table = Table(
        title="errors", header=("error", "rows"), rows=by_error, right=(1,), empty="No row has failed."
    )
    return [
        Section(title="Failed rows by error", blocks=[Chips(found=chips), errors_table, again]),
        Section(title="Failed rows", blocks=[table, Pager(words=words, before=before, after=after)]),
    ]
