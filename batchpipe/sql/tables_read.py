"""Find the tables that a SELECT reads, from its syntax tree: nothing is opened, and nothing is bound.

DuckDB writes the tree itself (`json_serialize_sql`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import Sql, folded

# Table functions that read tables whose names only their arguments hold.
HIDING = ("query", "query_table")
ALL_ROWS = "all_rows"
# Table functions that make rows out of their arguments and open nothing.
OF_ARGUMENTS = ("unnest", "range", "generate_series", "generate_subscripts", "repeat", "repeat_row", ALL_ROWS)


@dataclass(frozen=True, slots=True)
class TableName:
    """The name of a table as a statement writes it, in parts: `a`, `main.a`, `batchpipe.main.a`."""

    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TablesRead:
    """The tables that a statement reads. `all_rows` are the arguments of its calls of `all_rows()`.

    `hides` says why more tables may be read than these, None where all are known. `only_tables`: it reads no file and
    calls no table function that opens something.
    """

    tables: tuple[TableName, ...] = ()
    all_rows: tuple[str, ...] = ()
    hides: str | None = None
    only_tables: bool = True


def tables_read(connection: Connection, statement: str) -> TablesRead:
    """Return the tables that `statement`, one SELECT, reads, without the names of its own WITH clauses."""
    try:
        row = connection.execute(Sql("SELECT json_serialize_sql($1)"), [statement]).fetchone()
    except duckdb.Error:
        row = None
    tree = json.loads(row[0]) if row else {"error": True}
    if tree.get("error"):
        return TablesRead(hides="its tables cannot be read out of the statement, as in PIVOT", only_tables=False)
    found: dict[TableName, None] = {}
    functions: list[Mapping[str, Any]] = []
    for node, hidden in _nodes(tree, frozenset()):
        if node.get("type") == "BASE_TABLE":
            name = _table_name(node)
            if len(name.parts) > 1 or folded(name.parts[0]) not in hidden:
                found[name] = None
        elif node.get("type") == "TABLE_FUNCTION":
            functions.append(node["function"])
    called = [folded(str(each.get("function_name", ""))) for each in functions]
    named = [next(_texts(each), None) for each, name in zip(functions, called, strict=True) if name == ALL_ROWS]
    hiding = next((name for name in called if name in HIDING), None)
    hides = f"{hiding}() hides the tables that it reads" if hiding else None
    if None in named:
        hides = "all_rows() takes the name of a table as a text: all_rows('a')"
    return TablesRead(
        tables=tuple(found),
        all_rows=tuple(each for each in named if each is not None),
        hides=hides,
        only_tables=hides is None and all(name in OF_ARGUMENTS for name in called),
    )


def _table_name(node: Mapping[str, Any]) -> TableName:
    parts = (node.get("catalog_name"), node.get("schema_name"), node.get("table_name"))
    return TableName(tuple(str(each) for each in parts if each))


def _nodes(node: Any, hidden: frozenset[str]) -> Iterator[tuple[Mapping[str, Any], frozenset[str]]]:
    """Yield every table and table function of a tree, with the names of the WITH clauses that hide tables there.

    A WITH clause sees those before it. Its own name it sees only where it is recursive: `WITH a AS (SELECT * FROM a)`
    reads the table.
    """
    if isinstance(node, list):
        for each in node:
            yield from _nodes(each, hidden)
        return
    if not isinstance(node, dict):
        return
    if node.get("type") in ("BASE_TABLE", "TABLE_FUNCTION"):
        yield node, hidden
    clauses = (node.get("cte_map") or {}).get("map") or []
    for clause in clauses:
        name = folded(str(clause.get("key", "")))
        query = (clause.get("value") or {}).get("query_node") or clause.get("value")
        yield from _nodes(clause.get("value"), hidden | {name} if _is_recursive(query) else hidden)
        hidden = hidden | {name}
    own = node.get("cte_name") or node.get("ctename")
    for key, each in node.items():
        if key != "cte_map":
            # A clause that is kept as a node of its own hides the table only for what is below it.
            seen = hidden if own is None or key == "query" else hidden | {folded(str(own))}
            yield from _nodes(each, seen)


def _is_recursive(query: Any) -> bool:
    """Return whether the query of a WITH clause is recursive; the older form of the tree has it one level deeper."""
    node = query.get("query", query) if isinstance(query, dict) else {}
    node = node.get("node", node) if isinstance(node, dict) else {}
    return isinstance(node, dict) and node.get("type") == "RECURSIVE_CTE_NODE"


def _texts(node: Any) -> Iterator[str]:
    """Yield the text constants of a part of a tree. DuckDB 2 calls them literals, DuckDB 1 values."""
    if isinstance(node, list):
        for each in node:
            yield from _texts(each)
    elif isinstance(node, dict):
        literal, value = node.get("literal"), node.get("value")
        if isinstance(literal, dict) and literal.get("kind") == "STRING":
            yield str(literal.get("text"))
        elif isinstance(value, dict) and isinstance(value.get("value"), str):
            yield value["value"]
        else:
            for each in node.values():
                yield from _texts(each)
