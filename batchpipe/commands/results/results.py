"""Run `batchpipe results`: print the output table, or write it to a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb

from batchpipe.commands.call.call import Call
from batchpipe.commands.printing.text import count, json_text, shortened, table, table_value
from batchpipe.commands.results.rows import NESTED, TAKEN, Filters, TakenRows, python_rows, rows_object, take_rows
from batchpipe.commands.results.spreadsheet import save_workbook
from batchpipe.common.durable import written_whole
from batchpipe.common.errors import UsageError
from batchpipe.engine.context import Context
from batchpipe.sql.canonical import canonical_sql
from batchpipe.sql.quoting import Sql, joined, number_sql, quote_identifier, quote_literal, sql
from batchpipe.sql.type_tree import TypeTree, type_tree
from batchpipe.store.database import Work
from batchpipe.store.disk import plain_message

SCREEN_ROWS = 20
SCREEN_CELL = 60
NOT_ON_SCREEN = ("_model", "_prompt_version", "_custom_id", "_batch_id", "_completed_at", "_cost_usd")
BLOCK_BYTES = 1 << 20
# One text for each row, as it is.
LINES = Sql("FORMAT csv, HEADER false, QUOTE '', ESCAPE ''")
FORMATS: Mapping[str, Sql] = {
    ".csv": Sql("FORMAT csv, HEADER true"),
    ".parquet": Sql("FORMAT parquet, COMPRESSION zstd"),
    ".json": LINES,
    ".ndjson": LINES,
    ".jsonl": LINES,
    ".xlsx": Sql(""),
}
JSON = (".json", ".ndjson", ".jsonl")
FRACTIONS = ("DOUBLE", "FLOAT")
# A spreadsheet takes such a cell for a formula. A model's answer must not become a formula.
FORMULA = r"^[=+\-@\t\r]"
# Parquet has no such types: numbers of them would be rounded, and times would lose their offset or their end.
LARGE_INTEGERS = ("HUGEINT", "UHUGEINT")
NOT_IN_PARQUET = (*LARGE_INTEGERS, "INTERVAL", "TIME WITH TIME ZONE")
LARGE = TypeTree("DECIMAL(38,0)")


def results(
    call: Call,
    pipeline: str,
    to: str | None = None,
    *,
    where: str | None = None,
    current: bool = False,
    review: bool = False,
    limit: int | None = None,
    force: bool = False,
) -> int:
    """Print the output table of one pipeline, or write it to the file `to`.

    Raises UsageError for a file that exists already (without `force`), an unknown ending, a bad `limit`.
    """
    file = call.one_pipeline(pipeline, "results NAME")
    if limit is not None and limit < 0:
        raise UsageError(f"{limit} is not a number of rows", where="--limit", hint="Write 0 or more.")
    target = _target(call, to, force) if to is not None else None
    if limit is None and target is None and call.terminal:
        limit = SCREEN_ROWS
    filters = Filters(where=where, current=current, review=review, limit=limit)
    with call.context() as context:
        work = context.work()
        try:
            with context.database.reading(work) as session:
                taken = take_rows(session, file, filters)
            if target is not None:
                save_rows(work, taken, target)
                call.say(f"{count(taken.rows, 'row')} to {to}")
            else:
                _print(call, file.pipeline.name, work, taken, context)
        finally:
            work.close()
    return 0


def save_rows(work: Work, taken: TakenRows, target: Path) -> None:
    """Write `work.taken` to `target`, whole or not at all.

    Raises UsageError where the file cannot be written.
    """
    ending = target.suffix.lower()
    try:
        with written_whole(target) as path:
            if ending == ".xlsx":
                select = sql("SELECT {cells} FROM {taken}", cells=_cells(taken, ending), taken=TAKEN)
                save_workbook(work.connection, select, path, taken.rows)
            else:
                work.connection.execute(_copy(work, taken, path, ending))
    except (OSError, duckdb.Error) as error:
        reason = plain_message(error) if isinstance(error, duckdb.Error) else error.strerror
        hint = "See that the folder can be written and has room, or name another file."
        raise UsageError(f"the file cannot be written: {reason}", where=str(target), hint=hint) from error


def _in_parquet(work: Work, name: str, kind: str) -> Sql:
    """Return SQL for a column in a Parquet file: large whole numbers as DECIMAL(38,0) where they fit, and as text what
    Parquet would change.
    """
    column, tree = quote_identifier(name), type_tree(kind)
    if not tree.some(lambda each: each.name in NOT_IN_PARQUET):
        return column
    kept = tree.changed(lambda each: TypeTree("VARCHAR") if each.name in NOT_IN_PARQUET else each)
    if tree.name in LARGE_INTEGERS:
        large = sql("TRY_CAST({column} AS {large})", column=column, large=LARGE.sql)
        fits = sql("SELECT count({column}) = count({large}) FROM {taken}", column=column, large=large, taken=TAKEN)
        kept = LARGE if work.connection.execute(fits).fetchone() == (True,) else kept
    return sql("CAST({column} AS {kept}) AS {column}", column=column, kept=kept.sql)


def _in_json(name: str, kind: str) -> Sql:
    """Return SQL for the JSON text of a column, in one line: NaN and the infinities, which JSON does not know, are
    texts.
    """
    column, tree = quote_identifier(name), type_tree(kind)
    if tree.children:
        value = _nested_json(column, kind)
    elif tree.name == "JSON":  # its line breaks stand between values: JSON has none in a text
        value = sql(
            "translate(CAST({column} AS VARCHAR), {breaks}, '  ')", column=column, breaks=Sql("chr(10) || chr(13)")
        )
    elif tree.name in FRACTIONS:
        text = sql("CAST({column} AS VARCHAR)", column=column)
        number = sql("to_json(CAST({text} AS DOUBLE))", text=text)
        value = sql(
            "CASE WHEN isfinite({column}) THEN {number} ELSE to_json({text}) END",
            column=column,
            number=number,
            text=text,
        )
    else:
        value = sql("to_json({column})", column=column)
    return sql("coalesce(CAST({value} AS VARCHAR), 'null')", value=value)


def _nested_json(column: Sql, kind: str) -> Sql:
    """Return SQL for the JSON text of a nested value that every reader takes: `to_json` writes NaN as a number, a FLOAT
    with the digits of a DOUBLE, and reads what is JSON again.
    """
    tree, texts = type_tree(kind), canonical_sql(column, kind, False)
    if tree.some(lambda each: each.name in ("JSON", "FLOAT")):
        return sql("translate({texts}, chr(10) || chr(13), '  ')", texts=texts)
    as_it_is = sql("CAST(to_json({column}) AS VARCHAR)", column=column)
    if not tree.some(lambda each: each.name == "DOUBLE"):
        return as_it_is
    return sql(
        "CASE WHEN regexp_matches({as_it_is}, 'NaN|Infinity') THEN {texts} ELSE {as_it_is} END",
        as_it_is=as_it_is,
        texts=texts,
    )


def _json_lines(taken: TakenRows, ending: str) -> Sql:
    """Return a SELECT of one text for each row: an object, and in a `.json` file what makes them one list."""
    columns = (
        sql("{name} || ':' || {value}", name=quote_literal(json_text(name, ascii_only=False)), value=_in_json(name, of))
        for name, of in taken.output.columns
    )
    line = sql("'{{' || {columns} || '}}'", columns=joined(" || ',' || ", columns))
    if ending != ".json":
        return sql("SELECT {line} FROM {taken}", line=line, taken=TAKEN)
    if taken.rows == 0:
        return Sql("SELECT '[]'")
    return sql(
        "SELECT if(row_number() OVER () = 1, '[' || chr(10), '') || chr(9) || {line} "
        "|| if(row_number() OVER () = {rows}, chr(10) || ']', ',') FROM {taken}",
        line=line,
        rows=number_sql(taken.rows),
        taken=TAKEN,
    )


def _copy(work: Work, taken: TakenRows, path: Path, ending: str) -> Sql:
    """Return the statement that writes `work.taken` to `path`. Texts are quoted, since DuckDB does not quote a lone CR
    itself. JSON is written as text, since DuckDB would read its numbers again.
    """
    values, options = Sql("*"), FORMATS[ending]
    if ending == ".parquet":
        values = joined(", ", (_in_parquet(work, name, kind) for name, kind in taken.output.columns))
    if ending == ".csv":
        values = _cells(taken, ending)
        texts = [quote_identifier(name) for name, kind in taken.output.columns if _is_text(kind)]
        options = sql("{options}, FORCE_QUOTE ({texts})", options=options, texts=joined(", ", texts))
    select = sql("SELECT {values} FROM {taken}", values=values, taken=TAKEN)
    if ending in JSON:
        select = _json_lines(taken, ending)
    return sql("COPY ({select}) TO {path} ({options})", select=select, path=quote_literal(str(path)), options=options)


def _cells(taken: TakenRows, ending: str) -> Sql:
    """Return SQL for all columns as cells of a flat file."""
    columns = taken.output.columns
    cells = ((_cell(name, kind, ending), quote_identifier(name)) for name, kind in columns)
    return joined(", ", (sql("{cell} AS {name}", cell=cell, name=name) for cell, name in cells))


def _is_text(kind: str) -> bool:
    """Return whether a column of this type is text in a flat file."""
    return kind in ("VARCHAR", "JSON", "BLOB") or kind.startswith("ENUM") or bool(NESTED.search(kind))


def _cell(name: str, kind: str, ending: str) -> Sql:
    """Return SQL for a column as a cell of a flat file: nested values as JSON, and no text is a formula."""
    column = quote_identifier(name)
    if NESTED.search(kind):
        return _nested_json(column, kind)
    if not _is_text(kind):
        return column
    text = sql("{column}::VARCHAR", column=column)
    if ending == ".xlsx":
        text = sql("regexp_replace({text}, '[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f]', '\ufffd', 'g')", text=text)
    formula = quote_literal(FORMULA)
    return sql(
        "CASE WHEN regexp_matches({text}, {formula}) THEN chr(39) || {text} ELSE {text} END", text=text, formula=formula
    )


def _print(call: Call, pipeline: str, work: Work, taken: TakenRows, context: Context) -> None:
    if call.json:
        call.out(rows_object(pipeline, work, taken))
        return
    if call.terminal:
        found = list(python_rows(work, taken.output))
        chosen = [
            number
            for number, name in enumerate(taken.output.names)
            if name not in NOT_ON_SCREEN and (name != "_reviewed_by" or any(row[number] for row in found))
        ]
        cells = [[_shown(row[number]) for number in chosen] for row in found]
        call.out(table([taken.output.names[number] for number in chosen], cells, terminal=True))
    else:
        with context.temporary_folder("results-") as folder:
            for block in _csv_blocks(taken, work, folder):
                call.out(block)
    if taken.matching == 0:
        call.say(f"no rows; how the rows stand: {call.suggest(f'status {pipeline}')}")
    if taken.rows < taken.matching:
        call.say(f"{taken.rows:,} of {count(taken.matching, 'row')}; for more: --limit N, for all: --to FILE.csv")


def _csv_blocks(taken: TakenRows, work: Work, folder: Path) -> Iterator[str]:
    """Yield the rows as CSV, by the same statement as a file, in blocks that end before a line break."""
    path = folder / "rows.csv"
    work.connection.execute(_copy(work, taken, path, ".csv"))
    with path.open(encoding="utf-8", newline="") as file:
        while lines := file.readlines(BLOCK_BYTES):
            yield "".join(lines).removesuffix("\n")


def _shown(value: Any) -> str | None:
    """Return a value as a cell of the screen's table, cut where it is long."""
    text = table_value(value)
    return None if text is None else shortened(text, SCREEN_CELL)


def _target(call: Call, to: str, force: bool) -> Path:
    """Return the path to write to.

    Raises UsageError for an unknown ending, a missing folder, and a file that exists (without `force`).
    """
    target = call.path(to)
    if target.suffix.lower() not in FORMATS:
        what = f"{target.suffix or 'no ending'} is not known" if target.suffix else "the file has no ending"
        raise UsageError(what, where=f"--to {to}", hint=f"Known endings: {', '.join(FORMATS)}.")
    if target.is_dir() or not target.parent.is_dir():
        hint = "Name a file in a folder that exists."
        raise UsageError("it cannot be written there", where=f"--to {to}", hint=hint)
    if target.exists() and not force:
        raise UsageError("the file exists already", where=f"--to {to}", hint="Add --force to replace it.")
    return target
