"""SQL conditions of the pipeline file: `accept`, `when`, `checks`, `--where` and the like.

A bare name is an output field if there is one of that name, else an input column; `output.x` and `input.x` say which.
DuckDB parses an expression alone, `parse_condition` resolves the names in its syntax tree, and it is evaluated as
`coalesce(TRY(...), false)`: where it is NULL or fails, it is false. When this form is bound, DuckDB refuses aggregates,
windows, subqueries, parameters and volatile functions.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb

from batchpipe.common.errors import PipelineError
from batchpipe.common.given import is_utf_8
from batchpipe.common.likeness import nearest
from batchpipe.sql.connection import Connection
from batchpipe.sql.messages import duckdb_message
from batchpipe.sql.quoting import Sql, folded, joined, quote_identifier, quote_literal, sql, trusted, type_sql

INPUT_PREFIX = "i:"
OUTPUT_PREFIX = "o:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A parsed condition.

    `text` is what the user wrote. `sql` reads an input column as "i:NAME" and an output field as "o:NAME"; `inputs` and
    `outputs` are the names of those that it reads.
    """

    text: str
    sql: Sql
    inputs: frozenset[str]
    outputs: frozenset[str]

    @property
    def truth(self) -> Sql:
        """Return the SQL of the condition as a BOOLEAN that is never NULL and never fails."""
        return sql("coalesce(TRY({condition}\n), false)", condition=self.sql)


@dataclass(slots=True)
class _Names:
    fields: Mapping[str, str]
    columns: Mapping[str, str]
    where: str
    words: Sequence[str] = ()
    used_fields: set[str] = field(default_factory=set)
    used_columns: set[str] = field(default_factory=set)

    def resolve(self, path: list[str]) -> list[str]:
        """Return the path of a column reference with the prefixed name of the field or column in front.

        Raises PipelineError for a name that is neither an output field nor an input column.
        """
        first = folded(path[0])
        if len(path) > 1 and first in ("output", "input"):
            known, prefix = (self.fields, OUTPUT_PREFIX) if first == "output" else (self.columns, INPUT_PREFIX)
            if folded(path[1]) in known:
                return [self._use(prefix, known[folded(path[1])]), *path[2:]]
        if first in self.fields:
            return [self._use(OUTPUT_PREFIX, self.fields[first]), *path[1:]]
        if first in self.columns:
            return [self._use(INPUT_PREFIX, self.columns[first]), *path[1:]]
        raise self._unknown(".".join(path), path)

    def _use(self, prefix: str, name: str) -> str:
        (self.used_fields if prefix == OUTPUT_PREFIX else self.used_columns).add(name)
        return prefix + name

    def _unknown(self, shown: str, path: list[str]) -> PipelineError:
        known = list(dict.fromkeys([*self.fields.values(), *self.columns.values()]))
        near = nearest(path[-1] if path[0] in ("input", "output") else path[0], [*self.words, *known])
        hint = f"Did you mean {near!r}?" if near else f"Known names: {', '.join(known) or 'none'}."
        return PipelineError(f"no output field or input column is called {shown!r}", where=self.where, hint=hint)


def parse_condition(
    session: Connection,
    text: str,
    *,
    fields: Collection[str],
    columns: Collection[str],
    where: str,
    words: Sequence[str] = (),
) -> Condition:
    """Parse `text` and resolve its names against the output `fields` and input `columns`.

    `words` may be written in place of a condition: one of them may be what a wrong name means.
    Raises PipelineError at `where` for a text that is no single expression, or that uses an unknown name.
    """
    if not is_utf_8(text):
        raise PipelineError(f"{text!r} is not UTF-8 text", where=where, hint="Type the condition as UTF-8.")
    try:
        duckdb.SQLExpression(text)
    except duckdb.Error as error:
        what = f"{text!r} is not one SQL expression: {_message(error)}"
        raise PipelineError(what, where=where, hint="Write one condition, as after WHERE.") from error
    tree = _syntax_tree(session, text, where)
    names = _Names({folded(each): each for each in fields}, {folded(each): each for each in columns}, where, words)
    _resolve(tree["statements"][0]["node"]["select_list"][0], names, frozenset())
    row = session.execute(Sql("SELECT json_deserialize_sql($1::JSON)"), [json.dumps(tree)]).fetchone()
    assert row is not None
    return Condition(
        text=text,
        sql=trusted(str(row[0]).removeprefix("SELECT ").rstrip(";")),
        inputs=frozenset(names.used_columns),
        outputs=frozenset(names.used_fields),
    )


def bind_condition(
    session: Connection,
    condition: Condition,
    *,
    field_types: Mapping[str, str],
    column_types: Mapping[str, str],
    where: str,
) -> None:
    """Check `condition` by binding it to typed NULLs, without a row.

    Raises PipelineError at `where` if DuckDB refuses the condition or its type is not BOOLEAN.
    """
    values = [
        *((type_sql(field_types[name]), quote_identifier(OUTPUT_PREFIX + name)) for name in condition.outputs),
        *((type_sql(column_types[name]), quote_identifier(INPUT_PREFIX + name)) for name in condition.inputs),
    ]
    nulls = joined(", ", (sql("NULL::{kind} AS {name}", kind=kind, name=name) for kind, name in values))
    source = sql("(SELECT {nulls})", nulls=nulls or Sql("1"))
    kind = ""
    try:
        for expression in (condition.sql, condition.truth):
            kind = str(
                session.execute(
                    sql("DESCRIBE SELECT {expression} AS c FROM {source}", expression=expression, source=source)
                ).fetchall()[0][1]
            )
            if kind not in ("BOOLEAN", '"NULL"', "NULL"):
                break
    except duckdb.Error as error:
        what = f"{condition.text!r} cannot be used as a condition: {_message(error)}"
        hint = "A condition looks at one row: no aggregates, windows, subqueries, parameters or random values."
        raise PipelineError(what, where=where, hint=hint) from error
    if kind not in ("BOOLEAN", '"NULL"', "NULL"):
        what = f"{condition.text!r} is {kind}, not true or false"
        raise PipelineError(what, where=where, hint="Compare it with something, as in `confidence >= 0.8`.")


def _message(error: duckdb.Error) -> str:
    """Return DuckDB's message with the names as the user writes them."""
    return duckdb_message(error).replace(f'"{OUTPUT_PREFIX}', '"').replace(f'"{INPUT_PREFIX}', '"')


def _syntax_tree(session: Connection, text: str, where: str) -> dict[str, Any]:
    select = quote_literal(f"SELECT ({text}\n)")
    row = session.execute(sql("SELECT json_serialize_sql({select})", select=select)).fetchone()
    tree: dict[str, Any] = json.loads(row[0]) if row else {"error": True}
    if tree["error"]:
        what = f"{text!r} is not an SQL expression: {tree.get('error_message', 'it cannot be parsed')}"
        raise PipelineError(what, where=where, hint="Write one condition, as after WHERE.")
    return tree


def _resolve(node: Any, names: _Names, local: frozenset[str]) -> None:
    """Rewrite the column references below `node` in place; `local` are the parameters of the lambdas around it."""
    if isinstance(node, list):
        for each in node:
            _resolve(each, names, local)
        return
    if not isinstance(node, dict):
        return
    if node.get("class") == "LAMBDA" and not _is_json_arrow(node):
        _resolve(node["expr"], names, local | _parameters(node["lhs"]))
        return
    if node.get("class") in ("STAR", "POSITIONAL_REFERENCE"):
        shown = "`*`" if node["class"] == "STAR" else "a column's position"
        raise PipelineError(f"a condition cannot use {shown}", where=names.where, hint="Name the columns it looks at.")
    if node.get("class") == "COLUMN_REF":
        if folded(node["column_names"][0]) not in local:
            node["column_names"] = names.resolve(node["column_names"])
        return
    for each in node.values():
        _resolve(each, names, local)


def _is_json_arrow(node: dict[str, Any]) -> bool:
    """Return whether the node is `doc -> 'a'`, which DuckDB parses as a lambda.

    Older versions of DuckDB do not tell the two apart; the body of a real lambda is never a constant.
    """
    if "syntax_type" in node:
        return bool(node["syntax_type"] == "SINGLE_ARROW")
    body = node["expr"]
    return isinstance(body, dict) and body.get("class") == "CONSTANT"


def _parameters(node: Any) -> frozenset[str]:
    if isinstance(node, list):
        return frozenset().union(*(_parameters(each) for each in node))
    if not isinstance(node, dict):
        return frozenset()
    if node.get("class") == "COLUMN_REF":
        return frozenset({folded(node["column_names"][0])})
    return frozenset().union(*(_parameters(each) for each in node.values()))
