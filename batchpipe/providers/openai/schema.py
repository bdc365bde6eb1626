"""The strict form of a schema: every object closed, every property required, what was optional may be null.

A removed keyword is not written into a description or elsewhere, so that a changed bound of that kind changes neither
the schema that is sent nor a fingerprint. Answers are always validated against the full schema. Source: the
provider's guide to structured outputs (https://platform.openai.com/docs/guides/structured-outputs#supported-schemas).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from batchpipe.providers import SentSchema

_SUBSCHEMAS = {"properties", "$defs", "definitions"}
_KEPT = {
    "type", "title", "description", "enum", "const", "$ref", "multipleOf", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum", "minItems", "maxItems",
}  # fmt: skip
_FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
# Look-arounds, back-references, word boundaries and Unicode classes are no part of the patterns that are taken.
_UNSUPPORTED_PATTERN = re.compile(r"\(\?(?!:)|\\[1-9kbBpPAzZG]")

_MOST_PROPERTIES = 5_000
_MOST_LEVELS = 10
_MOST_ENUM_VALUES = 1_000
_MOST_CHARACTERS = 120_000
_LONG_ENUM_VALUES = 250
_LONG_ENUM_CHARACTERS = 15_000

_JSON_FORMAT = 'or write format = "json".'
_REFUSED = {
    "oneOf": "Write `anyOf`.",
    "allOf": "Write all properties into one object.",
    "not": "Leave it out and write the condition into [output.checks].",
    "if": "Leave if, then and else out, or write the alternatives as `anyOf`.",
    "prefixItems": "Write an object with one property for each item.",
    "patternProperties": "Name the properties, or use an array of objects with a name and a value.",
    "dependentRequired": "Leave it out and write the condition into [output.checks].",
    "dependentSchemas": "Write the alternatives as `anyOf`.",
    "$dynamicRef": "Write `$ref` to a definition in the same file.",
}


def strict_schema(full: Mapping[str, Any]) -> SentSchema:
    """Return the strict form of `full`. It can be sent if it has no problems."""
    optional = any(_optional(node) for _, node in _nodes(full, "$"))
    return SentSchema(schema=_strict(full), problems=tuple(_problems(full)), nulls_are_absent=optional)


def _strict(full: Mapping[str, Any]) -> dict[str, Any]:
    sent: dict[str, Any] = {}
    optional = _optional(full)
    for keyword, value in full.items():
        if keyword in _SUBSCHEMAS and isinstance(value, Mapping):
            nullable = optional if keyword == "properties" else frozenset[str]()
            sent[keyword] = {
                name: _or_null(_sent(child)) if name in nullable else _sent(child) for name, child in value.items()
            }
        elif keyword == "anyOf" and isinstance(value, list):
            sent[keyword] = [_sent(branch) for branch in value]
        elif keyword == "items":
            sent[keyword] = _sent(value)
        elif keyword in _KEPT or _is_supported(keyword, value):
            sent[keyword] = value
    if _is_object(full):
        sent.setdefault("properties", {})
        sent["required"] = list(sent["properties"])
        sent["additionalProperties"] = False
    return sent


def _sent(node: Any) -> Any:
    return _strict(node) if isinstance(node, Mapping) else node


def _or_null(node: Any) -> Any:
    """Return the schema of a property that may also be null."""
    if not isinstance(node, Mapping) or _allows_null(node):
        return node
    declared = node.get("type")
    if "$ref" in node or "anyOf" in node or "const" in node or declared is None or "object" in _type_names(node):
        described = {key: node[key] for key in ("title", "description") if key in node}
        bare = {key: value for key, value in node.items() if key not in described}
        branches = bare.pop("anyOf", None) if set(bare) == {"anyOf"} else None
        return {**described, "anyOf": [*(branches or [bare]), {"type": "null"}]}
    changed = {**node, "type": [*_type_names(node), "null"]}
    if "enum" in node:
        changed["enum"] = [*node["enum"], None]
    return changed


def _allows_null(node: Mapping[str, Any]) -> bool:
    if "null" in _type_names(node):
        return "enum" not in node or None in node["enum"]
    branches = node.get("anyOf")
    return isinstance(branches, list) and any(isinstance(each, Mapping) and _allows_null(each) for each in branches)


def _is_supported(keyword: str, value: Any) -> bool:
    match keyword:
        case "format":
            return value in _FORMATS
        case "pattern":
            return isinstance(value, str) and _UNSUPPORTED_PATTERN.search(value) is None
        case _:
            return False


def _type_names(node: Mapping[str, Any]) -> list[str]:
    declared = node.get("type", [])
    return [declared] if isinstance(declared, str) else list(declared)


def _is_object(node: Mapping[str, Any]) -> bool:
    return "object" in _type_names(node) or "properties" in node


def _optional(node: Mapping[str, Any]) -> frozenset[str]:
    properties = node.get("properties")
    required = node.get("required", ())
    return frozenset(properties) - frozenset(required) if isinstance(properties, Mapping) else frozenset()


def _nodes(node: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield `node` and every schema in it, each with its JSON path."""
    if not isinstance(node, Mapping):
        return
    yield path, node
    for keyword, value in node.items():
        if keyword in _SUBSCHEMAS and isinstance(value, Mapping):
            for name, child in value.items():
                yield from _nodes(child, f"{path}.{keyword}.{name}")
        elif keyword in ("anyOf", "allOf") and isinstance(value, list):
            for index, branch in enumerate(value):
                yield from _nodes(branch, f"{path}.{keyword}[{index}]")
        elif keyword == "items":
            yield from _nodes(value, f"{path}.items")


def _problems(full: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (JSON path, what, hint) for everything that strict structured outputs cannot express."""
    if not _is_object(full) or "anyOf" in full:
        yield "$", "the root of a strict schema has to be an object without `anyOf`", "Put it into a property."
    for path, node in _nodes(full, "$"):
        for keyword, hint in _REFUSED.items():
            if keyword in node:
                yield f"{path}.{keyword}", f"`{keyword}` is not accepted by structured outputs", hint
        if _is_object(node) and (node.get("additionalProperties", False) is not False or "properties" not in node):
            hint = f"Name every property, or use an array of objects with a name and a value, {_JSON_FORMAT}"
            yield path, "an object whose properties are not all named is not accepted", hint
        yield from _value_problems(path, node)
        yield from _branch_problems(path, node)
        yield from _reference_problems(full, path, node)
    yield from _size_problems(full)


def _value_problems(path: str, node: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    values = node.get("enum", [node["const"]] if "const" in node else [])
    if any(isinstance(value, list | Mapping) for value in values):
        yield path, "an enum may hold only strings, numbers, booleans and null", "Write the values as strings."
    texts = [value for value in values if isinstance(value, str)]
    if len(values) > _LONG_ENUM_VALUES and sum(map(len, texts)) > _LONG_ENUM_CHARACTERS:
        what = f"an enum of more than {_LONG_ENUM_VALUES} values has at most {_LONG_ENUM_CHARACTERS:,} characters"
        yield path, what, f"Shorten the values, {_JSON_FORMAT}"


def _branch_problems(path: str, node: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    branches = node.get("anyOf")
    if not isinstance(branches, list):
        return
    first = [
        next(iter(each["properties"])) for each in branches if isinstance(each, Mapping) and each.get("properties")
    ]
    if len(first) != len(set(first)):
        what = "alternatives of `anyOf` may not begin with the same property"
        yield f"{path}.anyOf", what, "Put another property first in each of them."


def _reference_problems(root: Mapping[str, Any], path: str, node: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    reference = node.get("$ref")
    if not isinstance(reference, str):
        return
    if not reference.startswith("#"):
        what = f"`$ref` to {reference!r} refers to another file"
        yield f"{path}.$ref", what, "Copy the definition into `$defs` of this schema."
        return
    found: Any = root
    for part in reference[1:].split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        found = found.get(key) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping):
        what = f"`$ref` to {reference!r} refers to a definition that is not there"
        yield f"{path}.$ref", what, "Correct it, or add the definition."


def _size_problems(full: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the limits on the whole schema that it exceeds."""
    names: list[str] = []
    texts: list[str] = []
    enum_values = 0
    for _, node in _nodes(full, "$"):
        for keyword in _SUBSCHEMAS:
            names += node[keyword] if isinstance(node.get(keyword), Mapping) else ()
        values = node.get("enum", ())
        enum_values += len(values)
        texts += [each for each in (*values, node.get("const")) if isinstance(each, str)]
    limits = (
        (len(names), _MOST_PROPERTIES, "properties"),
        (_levels(full), _MOST_LEVELS, "levels of objects"),
        (enum_values, _MOST_ENUM_VALUES, "enum values"),
        (sum(map(len, names)) + sum(map(len, texts)), _MOST_CHARACTERS, "characters in names and enum values"),
    )
    for found, most, what in limits:
        if found > most:
            yield "$", f"{found:,} {what}; structured outputs take at most {most:,}", f"Shorten it, {_JSON_FORMAT}"


def _levels(node: Any) -> int:
    """Return how deep objects are nested; a `$ref` counts as no level."""
    if not isinstance(node, Mapping):
        return 0
    children: list[Any] = [node.get("items")]
    children += node["properties"].values() if isinstance(node.get("properties"), Mapping) else ()
    children += node["anyOf"] if isinstance(node.get("anyOf"), list) else ()
    return int(_is_object(node)) + max(map(_levels, children))
