"""Read CSV files a second time as text, and find the columns whose type, chosen by DuckDB, would round a value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb

from batchpipe.sql.quoting import Sql, joined, quote_identifier, quote_literal, sql, trusted, type_sql

CSV_FILE = re.compile(r".*\.(csv|tsv)(\.gz|\.zst)?", re.IGNORECASE | re.DOTALL)
READERS = ("read_csv", "read_csv_auto")
# With these the file's reader does not choose the types itself.
_CHOSEN = frozenset(("all_varchar", "columns"))
_NUMERIC = re.compile(r"TINYINT|SMALLINT|INTEGER|BIGINT|HUGE|FLOAT|DOUBLE|DECIMAL", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundedColumn:
    """A column of a CSV file in which the chosen type changes `values` values: `text`, for one, is read as `read`."""

    file: str
    column: str
    type: str
    values: int
    text: str
    read: str


def rounded_columns(connection: duckdb.DuckDBPyConnection, query: str) -> list[RoundedColumn]:
    """Return the columns of the CSV files of `query` in which reading would round a value.

    What cannot be looked at (a parameter in the place of a file's name, a file that is not there) is left out.
    """
    row = connection.execute(f"SELECT json_serialize_sql({quote_literal(query)})").fetchone()
    tree = json.loads(row[0]) if row else {}
    found = []
    for node in _readers(tree):
        try:
            found += _rounded(connection, node)
        except duckdb.Error:
            continue
    return found


def _readers(node: Any) -> Iterator[dict[str, Any]]:
    """Yield the nodes of a syntax tree that read a CSV file whose types DuckDB chooses."""
    if isinstance(node, list):
        for each in node:
            yield from _readers(each)
    elif isinstance(node, dict):
        kind, function = node.get("type"), node.get("function")
        if kind == "BASE_TABLE" and CSV_FILE.fullmatch(node.get("table_name") or ""):
            yield node
        elif kind == "TABLE_FUNCTION" and isinstance(function, dict) and function.get("function_name") in READERS:
            if not _CHOSEN & _named(function):
                yield node
        else:
            for each in node.values():
                yield from _readers(each)


def _named(function: dict[str, Any]) -> set[str]:
    """Return the names of a function's named arguments."""
    given = [each.get("expression", each) for each in function.get("arguments", function.get("children")) or ()]
    return {each["left"]["column_names"][-1].lower() for each in given if each.get("class") == "COMPARISON"}


def _rounded(connection: duckdb.DuckDBPyConnection, node: dict[str, Any]) -> list[RoundedColumn]:
    """Return the columns that reading one file rounds, by one pass over its texts."""
    typed, texts = _relations(connection, node)
    described = connection.execute(f"DESCRIBE {typed}").fetchall()
    columns = [(str(name), str(kind)) for name, kind, *_ in described if _NUMERIC.fullmatch(kind.partition("(")[0])]
    if not columns:
        return []
    statement = sql("SELECT {counts} FROM ({texts})", counts=joined(", ", map(_lost, columns)), texts=texts)
    row = connection.execute(statement).fetchone() or ()
    named = re.search(r"'((?:[^']|'')*)'", typed)
    file = named[1].replace("''", "'") if named else "a CSV file"
    return [
        RoundedColumn(file=file, column=name, type=kind, values=lost["n"], text=lost["text"], read=lost["read"])
        for (name, kind), lost in zip(columns, row, strict=True)
        if lost["n"]
    ]


def _lost(column: tuple[str, str]) -> Sql:
    """Return SQL for how many texts of a column have other digits than the number that is read, and the first."""
    text = quote_identifier(column[0])
    number = sql("CAST(TRY_CAST({text} AS {type}) AS VARCHAR)", text=text, type=type_sql(column[1]))
    test = sql("{text} <> {number}", text=_digits(text), number=_digits(number))
    return sql(
        "{{'n': count(*) FILTER ({test}), 'text': first({text}) FILTER ({test}), "
        "'read': first({number}) FILTER ({test})}}",
        test=test,
        text=text,
        number=number,
    )


def _digits(text: Sql) -> Sql:
    """Return SQL for the digits of a number in text, without the zeros at both ends."""
    return sql(r"trim(regexp_replace({text}, '[eE].*$|[^0-9]', '', 'g'), '0')", text=text)


def _relations(connection: duckdb.DuckDBPyConnection, node: dict[str, Any]) -> tuple[Sql, Sql]:
    """Return SQL that reads the file of `node` as the query does, and SQL that reads all its columns as text."""
    if node["type"] == "BASE_TABLE":
        reader = sql("read_csv({file}", file=quote_literal(node["table_name"]))
    else:
        row = connection.execute("SELECT json_serialize_sql('SELECT * FROM x')").fetchone()
        tree = json.loads(row[0]) if row else {}
        tree["statements"][0]["node"]["from_table"] = node | {"alias": "", "column_name_alias": []}
        text = connection.execute("SELECT json_deserialize_sql($1)", [json.dumps(tree)]).fetchone()
        written = str(text[0]) if text else ""
        reader = trusted(written.strip().removeprefix("SELECT * FROM ").rstrip(";").removesuffix(")"))
    plain = sql("SELECT * FROM {reader})", reader=reader)
    return plain, sql("SELECT * FROM {reader}, all_varchar = true)", reader=reader)
