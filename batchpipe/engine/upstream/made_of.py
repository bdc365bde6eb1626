"""Find the rows of upstream tables that a row of the input was made of.

The input query is given one more column: the keys of the upstream rows, carried through its WITH clauses, subqueries,
joins and groups. If a query has a form that this cannot follow, rows with the same key are taken; without any, the rows
are unknown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb

from batchpipe.chain.chain import Upstream
from batchpipe.engine.context import Context
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.source import Source
from batchpipe.pipeline.model import PipelineFile
from batchpipe.sql.quoting import Sql, folded, joined, quote_identifier, sql, table_parts

SHOWN_ROWS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeOf:
    """The rows of one upstream pipeline: their keys, at most some of them, and how many there are.

    `rows` is None where the form of the query does not say which rows these are.
    """

    pipeline: str
    rows: int | None
    keys: Sequence[Sequence[str | None]] = ()


def made_of(context: Context, file: PipelineFile, params: Mapping[str, Any], key: Sequence[str | None]) -> list[MadeOf]:
    """Return which rows of each pipeline that `file` reads the row with the texts `key` is made of."""
    upstream = [each for each in context.chain.reads(file).upstream if each.file is not None]
    if not upstream:
        return []
    with context.source(file, params) as source:
        resolved = context.resolve(file, source, answers=False)
        source.attach_databases()
        return [_one(source, resolved, each, key) for each in upstream]


def _one(source: Source, resolved: Resolved, upstream: Upstream, key: Sequence[str | None]) -> MadeOf:
    assert upstream.file is not None
    columns = upstream.file.pipeline.input.key
    # The table of a list field has the key of the row that the list is of.
    tables = [folded(table_parts(each)[1]) for each in (upstream.table, *upstream.children)]
    followed = _Followed(connection=source.connection, tables=tables, columns=columns)
    found = None
    for statement in followed.statements(source.query):
        found = _keys(source, statement, resolved, key)
        if found is not None:
            break
    given = {each.name for each in resolved.input_columns}
    if found is None and set(columns) <= given:
        values = joined(", ", (sql("{name}::VARCHAR", name=quote_identifier(name)) for name in columns))
        same = f"SELECT *, [[{values}]] AS {quote_identifier(COLUMN)} FROM ({source.query}\n)"
        found = _keys(source, same, resolved, key)
    if found is None:
        return MadeOf(pipeline=upstream.name, rows=None)
    return MadeOf(pipeline=upstream.name, rows=len(found), keys=found[:SHOWN_ROWS])


def _keys(
    source: Source, statement: str, resolved: Resolved, key: Sequence[str | None]
) -> list[list[str | None]] | None:
    """Return the keys that `statement` has for the row with the texts `key`; None where it does not run."""
    same = joined(
        " AND ", (sql("{name}::VARCHAR = ?", name=quote_identifier(each.name)) for each in resolved.key_columns)
    )
    try:
        made = source.connection.execute(f"CREATE OR REPLACE TEMP TABLE made_of AS {statement}", source.params)
        made = source.connection.execute(f"SELECT {quote_identifier(COLUMN)} FROM made_of WHERE {same}", list(key))
        rows = made.fetchall()
    except duckdb.Error:
        return None
    found = {tuple(each): None for (listed,) in rows for each in listed or ()}
    return sorted((list(each) for each in found), key=lambda each: [text or "" for text in each])


COLUMN = "upstream rows"


@dataclass(slots=True, kw_only=True)
class _Followed:
    """Gives a query a column with the keys of the rows that each of its rows is made of. `tables` are those that have
    such rows, by their names without case.
    """

    connection: duckdb.DuckDBPyConnection
    tables: Sequence[str]
    columns: Sequence[str]
    _names: int = field(default=0, init=False)

    def statements(self, text: str) -> list[str]:
        """Return the query with its column, in the forms to try: a group is told by the tree, or by trial."""
        found = []
        for aggregates in (False, True):
            try:
                tree = json.loads(self._one("SELECT json_serialize_sql($1)", text))
                if tree.get("error"):
                    return []
                name = self._extend(tree["statements"][0]["node"], {}, aggregates)
                if name is not None:
                    query = self._one("SELECT json_deserialize_sql($1::JSON)", json.dumps(tree))
                    columns = (
                        f"* EXCLUDE ({quote_identifier(name)}), {quote_identifier(name)} AS {quote_identifier(COLUMN)}"
                    )
                    found.append(f"SELECT {columns} FROM ({query}\n)")
            except duckdb.Error:
                continue
        return found

    def _one(self, statement: str, value: str) -> str:
        row = self.connection.execute(statement, [value]).fetchone()
        return str(row[0]) if row else ""

    def _extend(self, node: dict[str, Any], clauses: Mapping[str, str], aggregates: bool) -> str | None:
        """Add the column to a query and to what it reads; return its name, None where the table is not in it."""
        known = dict(clauses)
        for clause in (node.get("cte_map") or {}).get("map") or []:
            below = clause["value"].get("query_node") or clause["value"]["query"]["node"]
            name = self._extend(below, known, False)
            if name is not None:
                known[folded(clause["key"])] = name
        if node.get("type") == "SET_OPERATION_NODE":
            return self._extend_both(node, known)
        if node.get("type") != "SELECT_NODE":
            return None
        parts = list(self._sources(node["from_table"], known))
        if not parts:
            return None
        groups = aggregates or bool(node.get("group_sets")) or node.get("aggregate_handling") == "FORCE_AGGREGATES"
        listed = [sql("flatten(list({part}))", part=each) if groups else each for each in parts]
        whole = listed[0]
        for each in listed[1:]:
            whole = sql("list_concat({whole}, {each})", whole=whole, each=each)
        return self._append(node, whole)

    def _extend_both(self, node: dict[str, Any], clauses: Mapping[str, str]) -> str | None:
        """Add the column to each side of a UNION; a side that does not read the table has none."""
        sides = node.get("children") or [node["left"], node["right"]]
        names = [self._extend(each, clauses, False) for each in sides]
        if all(name is None for name in names):
            return None
        for side, name in zip(sides, names, strict=True):
            if name is None:
                self._append(side, Sql("[]::VARCHAR[][]"))
        return next(name for name in (names[0], self._last) if name is not None)

    @property
    def _last(self) -> str:
        return f"{COLUMN} {self._names}"

    def _append(self, node: dict[str, Any], value: Sql) -> str:
        self._names += 1
        tree = json.loads(
            self._one("SELECT json_serialize_sql($1)", f"SELECT {value} AS {quote_identifier(self._last)}")
        )
        node["select_list"].append(tree["statements"][0]["node"]["select_list"][0])
        return self._last

    def _sources(self, relation: Mapping[str, Any], clauses: Mapping[str, str]) -> list[Sql]:
        """Return SQL for the keys that each relation of a FROM clause brings, as lists of texts."""
        kind = relation.get("type")
        if kind == "JOIN":
            both = [*self._sources(relation["left"], clauses), *self._sources(relation["right"], clauses)]
            return (
                both if relation.get("join_type") not in ("SEMI", "ANTI") else self._sources(relation["left"], clauses)
            )
        if kind == "SUBQUERY":
            name = self._extend(relation["subquery"]["node"], clauses, False)
            alias = relation.get("alias") or "unnamed_subquery"
            return [_carried(alias, name)] if name is not None else []
        if kind != "BASE_TABLE":
            return []
        written = folded(relation["table_name"])
        alias = relation.get("alias") or relation["table_name"]
        if written in clauses and not relation.get("schema_name"):
            return [_carried(alias, clauses[written])]
        if written not in self.tables:
            return []
        texts = joined(
            ", ",
            (sql("{t}.{c}::VARCHAR", t=quote_identifier(alias), c=quote_identifier(each)) for each in self.columns),
        )
        return [sql("[[{texts}]]", texts=texts)]


def _carried(alias: str, column: str) -> Sql:
    return sql("{alias}.{column}", alias=quote_identifier(alias), column=quote_identifier(column))
