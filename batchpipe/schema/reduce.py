"""Reduction of a schema to the keywords that structured outputs accept, and the problems that prevent it.

A removed keyword is not written into a description or elsewhere, so that a changed bound changes neither the schema
that is sent nor a fingerprint. Answers are always validated against the full schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

KEPT = {"type", "title", "description", "enum", "const", "default", "required", "$ref"}
SUBSCHEMAS = {"properties", "$defs", "definitions"}
BRANCHES = {"anyOf", "allOf"}
FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}

MAX_OPTIONAL = 24
MAX_UNIONS = 16

REFUSED = {
    "oneOf": "Write `anyOf`.",
    "not": "Leave it out and write the condition into [output.checks].",
    "if": "Leave if, then and else out, or write the alternatives as `anyOf`.",
    "prefixItems": "Write an object with one property for each item.",
    "patternProperties": "Name the properties, or use an array of objects with a name and a value.",
    "dependentSchemas": "Write the alternatives as `anyOf`.",
    "$dynamicRef": "Write `$ref` to a definition in the same file.",
}

# Structured outputs refuse patterns with groups other than (...) and (?:...), back-references, word boundaries or
# Unicode classes.
_UNSUPPORTED_PATTERN = re.compile(r"\(\?(?!:)|\\[1-9kbBpPAzZG]")


def sent_schema(full: Mapping[str, Any]) -> dict[str, Any]:
    """Return `full` with only the keywords that structured outputs accept, in their order, and every object closed.

    The result can be sent if `schema_problems(full)` is empty.
    """
    sent: dict[str, Any] = {}
    for keyword, value in full.items():
        if keyword in SUBSCHEMAS and isinstance(value, Mapping):
            sent[keyword] = {name: _sent(child) for name, child in value.items()}
        elif keyword in BRANCHES and isinstance(value, list):
            sent[keyword] = [_sent(branch) for branch in value]
        elif keyword == "items" and isinstance(value, Mapping):
            sent[keyword] = sent_schema(value)
        elif keyword in KEPT or _is_supported(keyword, value):
            sent[keyword] = value
    if _is_object(full):
        sent.setdefault("properties", {})
        sent["additionalProperties"] = False
    return sent


def schema_problems(full: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (JSON path, what, hint) for everything in `full` that the formats `json_schema` and `tool` cannot express.

    The formats `json` and `text` have no such limits; this function is not for them.
    """
    problems = [problem for path, node in _nodes(full, "$") for problem in _node_problems(full, path, node)]
    nodes = [node for _, node in _nodes(full, "$")]
    optional = sum(_optional_count(node) for node in nodes)
    unions = sum(_is_union(node) for node in nodes)
    if optional > MAX_OPTIONAL:
        what = f"{optional} optional fields; structured outputs take at most {MAX_OPTIONAL}"
        problems.append(("$", what, 'Make fields required and nullable, or write format = "json".'))
    if unions > MAX_UNIONS:
        what = f"{unions} fields with several types; structured outputs take at most {MAX_UNIONS}"
        problems.append(("$", what, 'Give fields one type, or write format = "json".'))
    recursion = _recursion(full)
    if recursion:
        hint = 'Write the levels out to a fixed depth, or write format = "json".'
        problems.append((recursion, "the schema is recursive", hint))
    return problems


def _sent(node: Any) -> Any:
    return sent_schema(node) if isinstance(node, Mapping) else node


def _is_supported(keyword: str, value: Any) -> bool:
    match keyword:
        case "format":
            return value in FORMATS
        case "pattern":
            return isinstance(value, str) and _UNSUPPORTED_PATTERN.search(value) is None
        case "minItems":
            return value in (0, 1)
        case _:
            return False


def _type_names(node: Mapping[str, Any]) -> list[str]:
    declared = node.get("type", [])
    return [declared] if isinstance(declared, str) else list(declared)


def _is_object(node: Mapping[str, Any]) -> bool:
    return "object" in _type_names(node) or "properties" in node


def _is_union(node: Mapping[str, Any]) -> bool:
    return len(_type_names(node)) > 1 or "anyOf" in node


def _optional_count(node: Mapping[str, Any]) -> int:
    properties = node.get("properties")
    return len(set(properties) - set(node.get("required", ()))) if isinstance(properties, Mapping) else 0


def _nodes(node: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield `node` and every schema in it, each with its JSON path."""
    if not isinstance(node, Mapping):
        return
    yield path, node
    for keyword, value in node.items():
        if keyword in SUBSCHEMAS and isinstance(value, Mapping):
            for name, child in value.items():
                yield from _nodes(child, f"{path}.{keyword}.{name}")
        elif keyword in BRANCHES and isinstance(value, list):
            for index, branch in enumerate(value):
                yield from _nodes(branch, f"{path}.{keyword}[{index}]")
        elif keyword == "items":
            yield from _nodes(value, f"{path}.items")


def _node_problems(root: Mapping[str, Any], path: str, node: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for keyword, hint in REFUSED.items():
        if keyword in node:
            yield f"{path}.{keyword}", f"`{keyword}` is not accepted by structured outputs", hint
    if _is_object(node):
        yield from _open_object(path, node)
    values = node.get("enum", [node["const"]] if "const" in node else [])
    if any(isinstance(value, list | Mapping) for value in values):
        what = "an enum may hold only strings, numbers, booleans and null"
        yield path, what, "Write the values as strings."
    reference = node.get("$ref")
    if isinstance(reference, str):
        yield from _reference_problem(root, path, reference)
    branches = node.get("allOf")
    if isinstance(branches, list) and any(isinstance(each, Mapping) and "$ref" in each for each in branches):
        yield f"{path}.allOf", "`allOf` with `$ref` is not accepted", "Copy the definition's properties in."


def _open_object(path: str, node: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    closed = node.get("additionalProperties", False) is False
    if closed and (node.get("properties") or "$ref" in node or any(key in node for key in BRANCHES)):
        return
    hint = 'Name every property, or use an array of objects with a name and a value, or format = "json".'
    yield path, "an object whose properties are not all named is not accepted", hint


def _reference_problem(root: Mapping[str, Any], path: str, reference: str) -> Iterator[tuple[str, str, str]]:
    if not reference.startswith("#"):
        what = f"`$ref` to {reference!r} refers to another file"
        yield f"{path}.$ref", what, "Copy the definition into `$defs` of this schema."
    elif _resolve(root, reference) is None:
        what = f"`$ref` to {reference!r} refers to a definition that is not there"
        yield f"{path}.$ref", what, "Correct it, or add the definition."


def _resolve(root: Mapping[str, Any], reference: str) -> Mapping[str, Any] | None:
    """Return the schema that a `$ref` refers to; None if there is none, or if it is in another file."""
    if not reference.startswith("#"):
        return None
    found: Any = root
    for part in reference[1:].split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else None


def _recursion(root: Mapping[str, Any]) -> str | None:
    """Return the JSON path of a `$ref` through which a schema contains itself; None if there is none."""
    done: set[str] = set()

    def visit(start: Any, place: str, open_references: tuple[str, ...]) -> str | None:
        for path, node in _own_nodes(start, place):
            reference = node.get("$ref")
            if not isinstance(reference, str) or reference in done:
                continue
            if reference in open_references:
                return f"{path}.$ref"
            found = visit(_resolve(root, reference), reference, (*open_references, reference))
            if found:
                return found
            done.add(reference)
        return None

    return visit(root, "$", ("#",))


def _own_nodes(start: Any, place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield `start` and the schemas in it without its definitions, which count only if a `$ref` refers to them."""
    if isinstance(start, Mapping):
        bare = {key: value for key, value in start.items() if key not in ("$defs", "definitions")}
        yield from _nodes(bare, place)
