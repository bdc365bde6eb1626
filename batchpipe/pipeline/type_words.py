"""Descriptions of types for people: what a key of the pipeline file takes, read from the JSON Schema of the models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from batchpipe.pipeline.model import Pipeline
from batchpipe.pipeline.sending import LOCAL

PLAIN = {
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "a table",
}
MANY = {
    "string": "strings",
    "integer": "whole numbers",
    "number": "numbers",
    "boolean": "true or false",
    "object": "tables",
}

Node = Mapping[str, Any]


@cache
def models_schema() -> dict[str, Any]:
    """Return the JSON Schema of the models, as pydantic writes it.

    The local rung stands among the tables of `[[models]]`, as in the file.
    """
    schema = Pipeline.model_json_schema()
    del schema["properties"]["local"]
    models = schema["properties"]["models"]
    schema["$defs"]["Rung"]["properties"]["model"]["not"] = {"const": LOCAL}
    models["items"] = {"anyOf": [models["items"], {"$ref": "#/$defs/LocalRung"}]}
    return schema


def resolved(node: Node) -> Node:
    """Return `node`, or the definition that it refers to."""
    reference = node.get("$ref")
    return models_schema()["$defs"][reference.rsplit("/", 1)[1]] if reference else node


def alternatives(node: Node) -> list[Node]:
    """Return the alternatives of a node without null, with references resolved."""
    nodes = node.get("anyOf", [node])
    return [resolved(each) for each in nodes if each.get("type") != "null"]


def node_at(path: Sequence[str | int]) -> Node | None:
    """Return the schema of the key at `path`; None if the models have no such key."""
    node: Node = models_schema()
    for part in path:
        found = (_child(option, part) for option in alternatives(node))
        child = next((each for each in found if each is not None), None)
        if child is None:
            return None
        node = child
    return node


def key_names(path: Sequence[str | int]) -> list[str]:
    """Return the keys that the table at `path` may have; an empty list if it may have any."""
    node = node_at(path)
    names = [name for option in alternatives(node or {}) for name in option.get("properties", {})]
    return names if node is not None else []


def type_text(node: Node) -> str:
    """Return what `node` takes: "a whole number above 0", "a string or a list of strings"."""
    if "type_text" in node:
        return str(node["type_text"])
    return " or ".join(dict.fromkeys(_option_text(option) for option in alternatives(node)))


def _child(option: Node, part: str | int) -> Node | None:
    if isinstance(part, int):
        items = option.get("items")
        return items if isinstance(items, Mapping) else None
    properties = option.get("properties", {})
    if part in properties:
        return properties[part]  # type: ignore[no-any-return]
    others = option.get("additionalProperties")
    return others if isinstance(others, Mapping) else None


def _option_text(node: Node) -> str:
    if "enum" in node:
        *first, last = (f'"{value}"' for value in node["enum"])
        return f"{', '.join(first)} or {last}" if first else last
    kind = node.get("type", "")
    if kind == "array":
        items = node.get("items", {})
        many = {MANY.get(option.get("type", ""), "values") for option in alternatives(items)}
        return f"a list of {many.pop() if len(many) == 1 else 'values'}"
    if kind == "object" and node.get("additionalProperties") == {"type": "string"}:
        return "a table of strings"
    return PLAIN.get(kind, "any value") + _range(node)


def _range(node: Node) -> str:
    if "exclusiveMinimum" in node:
        above = f" above {node['exclusiveMinimum']}"
        if "exclusiveMaximum" in node:
            return f"{above} and below {node['exclusiveMaximum']}"
        return f"{above}, up to {node['maximum']}" if "maximum" in node else above
    if "minimum" in node and "maximum" in node:
        return f" from {node['minimum']} to {node['maximum']}"
    if "minimum" in node and "exclusiveMaximum" in node:
        return f" from {node['minimum']} to below {node['exclusiveMaximum']}"
    return f" from {node['minimum']} up" if "minimum" in node else ""
