"""Render and encode: each row to be sent becomes request parameters, streamed in blocks to a Parquet file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from batchpipe.common import modes
from batchpipe.common.errors import TemplateError
from batchpipe.common.progress import Phase
from batchpipe.decide.fingerprint import RECIPES, Fingerprint
from batchpipe.engine.local.plan_part import Hints
from batchpipe.engine.plan.cache_marks import CacheMarks, cached_head, fixed_cache_marks
from batchpipe.engine.plan.too_long import longest_requests, rung_that_takes
from batchpipe.engine.resolved.request_bytes import known_text, request_bytes
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.row_values import RowValues, row_values
from batchpipe.engine.source.snapshot import Snapshot, texts_sql
from batchpipe.engine.votes.parts import rendered_parts_sql
from batchpipe.providers import CacheTtl, Encoder, Message, RungSettings
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import Sql, joined, quote_literal, sql
from batchpipe.store.arrow import arrow
from batchpipe.store.queries import query
from batchpipe.template.hints import RowHints

Render: TypeAlias = Callable[[Mapping[str, Any]], Message]
# Rows are rendered and kept in blocks. Who reads a block holds it, so that long requests make small ones.
BLOCK_ROWS, FIRST_BLOCK_ROWS = 5_000, 64
BLOCK_BYTES = 16_000_000
WINDOW_ROWS = 100_000
MAX_SHOWN_ANSWER = 4_000
MAX_SHOWN_KEY = 100

# The columns of a rendered row with pyarrow's names of their types; then SQL in the place of the file where no row is
# rendered.
RENDERED = {
    "position": "int64",
    "continues": "bool_",
    "next_rung": "int16",
    "max_tokens": "int32",
    "fingerprint": "string",
    "older": "string",
    "bytes": "int32",
    "line_bytes": "int32",
    "params": "binary",
}
# Beside them, for a pipeline whose rungs may ask more than once: a member's request has its rung and its place there.
OF_PARTS = {"rung": "int16", "place": "int16"}
NOTHING = Sql(
    "(SELECT NULL::BIGINT AS position, NULL::BOOLEAN AS continues, NULL::SMALLINT AS next_rung, "
    "NULL::VARCHAR AS fingerprint, "
    "NULL::VARCHAR AS older, NULL::INTEGER AS bytes, NULL::INTEGER AS line_bytes, NULL::SMALLINT AS rung, "
    "NULL::SMALLINT AS place, NULL::INTEGER AS max_tokens WHERE false)"
)


def render_rows(
    connection: Connection,
    resolved: Resolved,
    snapshot: Snapshot,
    path: Path,
    cache_marks: CacheMarks,
    older_recipes: Sequence[int] = (),
    hints: Hints | None = None,
    watch: Callable[[Phase], None] | None = None,
) -> None:
    """Render every row of `work.to_render` into the file `path`, with `cache_marks`.

    `older_recipes` are the recipes whose fingerprints of the same requests are wanted too. `hints` says what templates
    ask of the local model. `watch` is told how many rows are rendered.
    Reads `work.to_render`, and drops it. Writes `work.rendered`, which describes the requests without their parameters,
    and with `older_recipes` `work.prints`.
    """
    windows = _windows(connection)
    if windows:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(connection, resolved, snapshot, path, cache_marks, windows, older_recipes, hints, watch)
    rendered = sql("read_parquet({path})", path=quote_literal(str(path))) if windows else NOTHING
    every = rendered
    if resolved.panels:
        rendered = sql("(SELECT * FROM {every} WHERE place IS NULL)", every=every)
    groups = resolved.group_columns
    group, join = Sql("''"), Sql("")
    if groups:
        group = sql("to_json({texts})::VARCHAR", texts=texts_sql(groups))
        join = sql("JOIN {relation} s USING (position)", relation=snapshot.relation)
    connection.execute(query("rendered", rendered=rendered, request_group=group, join=join))
    if older_recipes:
        connection.execute(query("prints_of_recipes", rendered=rendered))
    if resolved.panels:
        connection.execute(rendered_parts_sql(every))
    connection.execute(Sql("DROP TABLE work.to_render"))


def _write(
    connection: Connection,
    resolved: Resolved,
    snapshot: Snapshot,
    path: Path,
    cache_marks: CacheMarks,
    windows: Sequence[tuple[int, int, int]],
    older_recipes: Sequence[int],
    hints: Hints | None,
    watch: Callable[[Phase], None] | None,
) -> None:
    """Write the rendered requests of all windows to the file `path`.

    Reads `work.to_render`.
    """
    recipes = (resolved.version.recipe, *older_recipes)
    read = [template_values(resolved, recipe) for recipe in recipes]
    pyarrow = arrow()
    columns = RENDERED | OF_PARTS if resolved.panels else RENDERED
    schema = pyarrow.schema([(name, getattr(pyarrow, kind)()) for name, kind in columns.items()])
    with pyarrow.parquet.ParquetWriter(
        path, schema, compression="lz4", use_dictionary=False, write_statistics=["position"]
    ) as writer:
        done, total = 0, sum(rows for _, _, rows in windows)
        reader, rows_of_block = connection.cursor(), FIRST_BLOCK_ROWS
        for _ in _read_windows(reader, snapshot, read, windows, hints, with_parts=bool(resolved.panels)):
            while given := reader.fetchmany(rows_of_block):
                if watch is not None:
                    watch(Phase(name="rendering", done=done, total=total))
                said = hints.of([row[-3:] for row in given]) if hints is not None else [None] * len(given)
                block = [row[:-3] for row in given] if hints is not None else given
                try:
                    if resolved.panels:
                        rows = _rendered_with_parts(block, said, read, resolved, cache_marks, older_recipes)
                    else:
                        rows = _rendered(block, said, read, resolved, cache_marks, older_recipes, [])
                except TemplateError as error:
                    raise _error_of_row(error, connection, resolved, snapshot, block, read[0]) from error
                rows_of_block = min(max(BLOCK_BYTES // max(map(len, rows["params"]), default=1), 1), BLOCK_ROWS)
                writer.write_table(pyarrow.table(rows, schema=schema), row_group_size=rows_of_block)
                done += len(block)
    modes.settle(path)


def _error_of_row(
    error: TemplateError,
    connection: Connection,
    resolved: Resolved,
    snapshot: Snapshot,
    block: list[tuple[Any, ...]],
    read: RowValues,
) -> TemplateError:
    """Return the error of the first row of `block` that does not render, with the row's key."""
    for position, _, _, _, _, _, _, *values in block:
        try:
            resolved.templates.identity(read.row(values[: len(read.names)]))
        except TemplateError as found:
            row = connection.execute(
                sql("SELECT key FROM {relation} WHERE position = $1", relation=snapshot.relation), [position]
            ).fetchone()
            texts = json.loads(row[0]) if row else []
            shown = str(texts[0]) if len(texts) == 1 else json.dumps(texts, ensure_ascii=False)
            what = f"{found.what} (the row with the key {shown[:MAX_SHOWN_KEY]})"
            return TemplateError(what, where=found.where or "", hint=found.hint or "")
    return error


def render_row(
    resolved: Resolved,
    row: Mapping[str, Any],
    *,
    rung: int = 1,
    settings: RungSettings | None = None,
    hints: RowHints | None = None,
) -> tuple[Message, bytes]:
    """Return one row as the model would see it, and its request parameters.

    They are for `rung`, or for `settings` of a model that is no rung. `hints`: what the local model says of the row.
    Raises TemplateError where the row does not render.
    """
    message = resolved.templates.render(row, hints)
    settings = settings or resolved.rungs[rung - 1]
    return message, _encoder(resolved, settings, fixed_cache_marks(resolved).fixed)(
        message, max_tokens=settings.max_tokens
    )


def feedback_text(answer: str, error: str) -> str:
    """Return what the model is told on a retry after an invalid answer."""
    shown = answer if len(answer) <= MAX_SHOWN_ANSWER else answer[:MAX_SHOWN_ANSWER] + " [...]"
    return (
        "Your previous answer to this was:\n<previous_answer>\n"
        f"{shown}\n</previous_answer>\nIt was not valid: {error}\nAnswer again, and follow every instruction above."
    )


def _encoder(resolved: Resolved, rung: RungSettings, ttl: CacheTtl | None) -> Encoder:
    """Return the function that makes request parameters of a message for `rung`."""
    provider = resolved.provider_of(rung)
    return provider.rules.encoder(
        provider.named(rung),
        output_format=resolved.file.pipeline.output.format,
        sent_schema=resolved.sent_schema(rung),
        cache=ttl,
        head=cached_head(resolved),
        turns=resolved.templates.turns,
    )


def _encoders(resolved: Resolved, cache_marks: CacheMarks) -> list[Encoder]:
    """Return for each of `resolved.rungs` the function that makes its request parameters."""
    return [_encoder(resolved, each, cache_marks.ttl(number)) for number, each in enumerate(resolved.rungs, start=1)]


def template_values(resolved: Resolved, recipe: int | None = None) -> RowValues:
    """Return how the input columns that the templates read are read for them, under `recipe` or the version's own."""
    columns = [each for each in resolved.input_columns if each.name in resolved.templates.columns]
    return row_values(columns, resolved.version.recipe if recipe is None else recipe)


def _read_windows(
    reader: Connection,
    snapshot: Snapshot,
    read: Sequence[RowValues],
    windows: Sequence[tuple[int, int, int]],
    hints: Hints | None,
    *,
    with_parts: bool,
) -> Iterator[None]:
    """Let `reader` read one window after the other, and yield when its rows can be fetched.

    A row has position, continues, rungs, next_rung, max_tokens, feedback answer and error, and the columns.

    The columns come once as each of `read` reads them. `with_parts` adds how the row's members stand. Last comes what
    `hints` takes of a row.

    Reads `work.to_render`, `work.part_standings` and the snapshot.
    """
    values = [Sql("t.feedback_error"), *(select for each in read for select in each.select)]
    values += [Sql("p.parts")] if with_parts else []
    values += hints.select if hints is not None else []
    parts = query("standings_to_render") if with_parts else Sql("")
    values_of = {"values": joined(", ", values), "snapshot": snapshot.relation, "parts": parts}
    statement = query("values_to_render", **values_of)
    for first, last, _ in windows:
        reader.execute(statement, {"first": first, "last": last})
        yield


def _windows(connection: Connection) -> list[tuple[int, int, int]]:
    """Return first and last positions of `work.to_render` and the rows between, so many that their join fits into
    memory.

    The positions in the file rise by windows, so that a chunk finds its parameters in few places.
    """
    return connection.execute(query("windows_to_render"), {"rows": WINDOW_ROWS}).fetchall()


def _rendered_before(render: Render, row: Mapping[str, Any]) -> Message | None:
    """Return a row's message as an older recipe printed it; None where it did not render then, and was never sent."""
    try:
        return render(row)
    except TemplateError:
        return None


def fingerprints_by_recipe(connection: Connection, resolved: Resolved, snapshot: Snapshot, key: str) -> dict[int, str]:
    """Return the fingerprint of the row called `key` under each recipe, as hex digits."""
    found = {}
    for number in RECIPES:
        read = template_values(resolved, number)
        chosen = joined(", ", [Sql("1"), *read.select])
        statement = sql(
            "SELECT {chosen} FROM {relation} s WHERE s.key = $key", chosen=chosen, relation=snapshot.relation
        )
        row = connection.execute(statement, {"key": key}).fetchone()
        message = _rendered_before(resolved.templates.under(number).identity, read.row(row[1:] if row else ()))
        if message is not None:
            fingerprint = resolved.fingerprinter(number)
            known = known_text(message) if resolved.templates.media else message.user
            found[number] = fingerprint(message.system, known)
    return found


def _older_ways(
    resolved: Resolved, read: Sequence[RowValues], older_recipes: Sequence[int]
) -> list[tuple[Fingerprint, Render, Callable[[Sequence[Any]], dict[str, Any]], slice]]:
    """Return for each older recipe how it makes fingerprints, renders, reads values, and where its values stand."""
    width = len(read[0].names)
    return [
        (
            resolved.fingerprinter(each),
            resolved.templates.under(each).identity,
            row.row,
            slice(place * width, (place + 1) * width),
        )
        for place, (each, row) in enumerate(zip(older_recipes, read[1:], strict=True), start=1)
    ]


def _rendered(
    block: list[tuple[Any, ...]],
    said: Sequence[RowHints | None],
    read: Sequence[RowValues],
    resolved: Resolved,
    cache_marks: CacheMarks,
    older_recipes: Sequence[int],
    messages: list[Message],
) -> dict[str, list[Any]]:
    """Render a block of rows; return the columns of `RENDERED`. Where panels need them, `messages` gets its messages.

    An older recipe may have printed a value otherwise: its fingerprint is of the message as it was then. What the local
    model has `said` of a row is no part of a fingerprint.
    """
    present, width = read[0], len(read[0].names)
    fingerprint = resolved.fingerprinter(resolved.version.recipe)
    by_recipe = _older_ways(resolved, read, older_recipes)
    encoders = _encoders(resolved, cache_marks)
    templates, prints = resolved.templates, list[str]()
    older: list[str | None] = []
    params, rungs = [], []
    known, row_of, render = known_text if templates.media else None, present.row, templates.render
    weights: list[tuple[int, int]] = []
    longest = longest_requests(resolved)
    for (_, _, mask, lowest, max_tokens, answer, error, *values), hints in zip(block, said, strict=True):
        rung = lowest
        row = row_of(values[:width] if by_recipe else values)
        message = render(row, hints)
        same = templates.identity(row) if templates.hints else message
        prints.append(fingerprint(same.system, known(same) if known else same.user))
        if resolved.panels:
            messages.append(message)
        if by_recipe:
            earlier = (
                (each, _rendered_before(render_older, read_older(values[part])) or same)
                for each, render_older, read_older, part in by_recipe
            )
            older.append(" ".join(each(then.system, known(then) if known else then.user) for each, then in earlier))
        if error is not None:
            message = message._replace(feedback=feedback_text(answer or "", error))
        encoded = encoders[rung - 1](message, max_tokens=max_tokens or resolved.rungs[rung - 1].max_tokens)
        if len(encoded) > longest[rung - 1] and max_tokens is None:
            rung = rung_that_takes(len(encoded), rung, mask, longest)
            encoded = encoders[rung - 1](message, max_tokens=resolved.rungs[rung - 1].max_tokens)
        params.append(encoded)
        rungs.append(rung)
        if known:
            weights.append(request_bytes(resolved.rungs[rung - 1], resolved, message, encoded))
    sizes = [len(each) for each in params]
    return {
        "position": [row[0] for row in block],
        "continues": [row[1] for row in block],
        "next_rung": rungs,
        "max_tokens": [row[4] for row in block],
        "fingerprint": prints,
        "older": older or [None] * len(block),
        "bytes": [each for each, _ in weights] if known else sizes,
        "line_bytes": [each for _, each in weights] if known else sizes,
        "params": params,
    }


def _rendered_with_parts(
    block: list[tuple[Any, ...]],
    said: Sequence[RowHints | None],
    read: Sequence[RowValues],
    resolved: Resolved,
    cache_marks: CacheMarks,
    older_recipes: Sequence[int],
) -> dict[str, list[Any]]:
    """Render a block of rows, and after them the requests of the members of each row whose rung asks more than once.

    What comes last in a row says how its members stand: those that have an answer, or have failed, are not asked again.
    """
    messages: list[Message] = []
    found = _rendered([row[:-1] for row in block], said, read, resolved, cache_marks, older_recipes, messages)
    found = {name: list(each) for name, each in found.items()} | {name: [None] * len(messages) for name in OF_PARTS}
    encoders = _encoders(resolved, cache_marks)
    for place, (message, known) in enumerate(zip(messages, [row[-1] for row in block], strict=True)):
        panel = resolved.panels.get(found["next_rung"][place])
        stands = {each["place"]: each for each in known or ()}
        for part in panel.parts if panel is not None else ():
            own = stands.get(part.place, {})
            if own.get("state") in ("valid", "failed"):
                continue
            told = message
            if own.get("error") is not None:
                told = message._replace(feedback=feedback_text(own.get("answer") or "", own["error"]))
            room = own.get("max_tokens")
            encoded = encoders[part.seat - 1](told, max_tokens=room or resolved.rungs[part.seat - 1].max_tokens)
            size, line = request_bytes(resolved.rungs[part.seat - 1], resolved, message, encoded)
            values = {"bytes": size, "line_bytes": line, "params": encoded, "max_tokens": room, "next_rung": part.seat}
            same = {name: found[name][place] for name in ("position", "continues", "fingerprint", "older")}
            for name, value in (values | same | {"rung": found["next_rung"][place], "place": part.place}).items():
                found[name].append(value)
    return found
