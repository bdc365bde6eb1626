"""Build SQL for values that are kept as text, and for reading them back."""

from __future__ import annotations

from dataclasses import replace

from batchpipe.sql.quoting import Sql, sql
from batchpipe.sql.type_tree import TypeTree, type_tree
from batchpipe.sql.types import INTEGERS

_LISTS = ("LIST", "ARRAY")
# What DuckDB reads out of JSON as it is there. Everything else it reads out of a text.
_OF_JSON = frozenset((*INTEGERS, "DECIMAL", "DOUBLE", "FLOAT", "BOOLEAN", "VARCHAR", "JSON", '"NULL"'))
# The pieces of a text of DuckDB: what stands in quotes, what stands between signs, and each sign.
_PIECES = Sql(r"""'"(?:[^"\\]|\\.)*"|''(?:[^''\\]|\\.)*''|[^"''\[\]{}(),:=]+|.'""")


def recorded_text(value: Sql, kind: str, as_text: bool) -> Sql:
    """Return SQL for the text under which `value` of the type `kind` is kept: DuckDB's, of which every type is read
    back as it was.

    With `as_text`, `value` is the text that DuckDB writes for it.
    """
    if not as_text and _has_json_list(type_tree(kind)):
        value = _cast(value, _with_texts(type_tree(kind)))
    return sql("CAST({value} AS VARCHAR)", value=value)


def recorded_value(text: Sql, kind: str) -> Sql:
    """Return SQL for the value of the type `kind` out of its `text`, as `recorded_text` or DuckDB itself wrote it.

    It is NULL where the text is none of that type.
    """
    tree = type_tree(kind)
    if not _has_json_list(tree):
        return _cast(text, tree)
    texts, exact = _with_texts(tree), Sql("exact")
    return once(
        exact,
        _cast(_cast(text, texts), tree),
        sql(
            "CASE WHEN {text} IN (CAST({written} AS VARCHAR), CAST({exact} AS VARCHAR)) THEN {exact} ELSE {value} END",
            text=text,
            exact=exact,
            written=_cast(exact, texts),
            value=value_of_text(text, kind),
        ),
    )


def value_of_text(text: Sql, kind: str) -> Sql:
    """Return SQL for the value of the type `kind` out of the `text` that DuckDB writes for it.

    DuckDB does not read a NULL back that it writes into a list of JSON: it is read as JSON's null.
    """
    tree = type_tree(kind)
    if not _has_json_list(tree):
        return sql("CAST({text} AS {type})", text=text, type=tree.sql)
    lists, plain = _with_lists(tree), Sql("plain")
    nulls = sql(
        "array_to_string(list_transform(regexp_extract_all({text}, {pieces}), "
        "lambda piece: CASE WHEN trim(piece) = 'NULL' THEN lower(piece) ELSE piece END), '')",
        text=text,
        pieces=_PIECES,
    )
    return once(
        plain,
        _cast(_cast(text, lists), tree),
        sql(
            "CASE WHEN contains({text}, 'NULL') AND CAST({plain} AS VARCHAR) IS DISTINCT FROM {text} "
            "THEN {mended} ELSE {plain} END",
            text=text,
            plain=plain,
            mended=value_of_json(sql("to_json({value})", value=_cast(nulls, lists)), kind),
        ),
    )


def once(name: Sql, value: Sql, body: Sql) -> Sql:
    """Return SQL for `body`, which reads `value` under the `name`: a long expression stands in the statement once."""
    return sql("list_transform([{value}], lambda {name}: {body})[1]", value=value, name=name, body=body)


def value_of_json(document: Sql, kind: str) -> Sql:
    """Return SQL for the value of the type `kind` out of a JSON `document`."""
    tree = type_tree(kind)
    return _cast(_cast(document, _of_json(tree)), tree)


def _of_json(tree: TypeTree) -> TypeTree:
    """Return the type as which a value is read out of JSON: keys of maps, and what JSON has no type for, are texts."""
    if tree.name == "MAP":
        key, (name, value) = tree.children
        return TypeTree("MAP", ((key[0], TypeTree("VARCHAR")), (name, _of_json(value))))
    if tree.children:
        return replace(tree, children=tuple((name, _of_json(each)) for name, each in tree.children))
    return tree if tree.word in _OF_JSON else TypeTree("VARCHAR")


def _cast(value: Sql, tree: TypeTree) -> Sql:
    return sql("TRY_CAST({value} AS {type})", value=value, type=tree.sql)


def _has_json_list(tree: TypeTree) -> bool:
    """Return whether a list of JSON is in the type: DuckDB writes its items without quotes."""
    return tree.some(lambda each: each.name in _LISTS and each.item.name == "JSON")


def _with_lists(tree: TypeTree) -> TypeTree:
    """Return the type with lists in the place of arrays, of which older versions of DuckDB do not read every text."""
    inside = tuple((name, _with_lists(each)) for name, each in tree.children)
    return TypeTree("LIST" if tree.name == "ARRAY" else tree.name, inside)


def _with_texts(tree: TypeTree) -> TypeTree:
    """Return the same with texts in the place of JSON."""
    return _with_lists(tree).changed(lambda each: TypeTree("VARCHAR") if each.name == "JSON" else each)
