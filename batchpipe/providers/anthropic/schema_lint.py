"""What structured outputs are known to refuse in a schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from batchpipe.providers import RuleProblem
from batchpipe.providers.anthropic.facts import data

KEY = "output.fields"
_BOUNDS = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
)
_LOOKAROUND = ("(?=", "(?!", "(?<=", "(?<!")
_Place = tuple[str, ...]


def schema_problems(output_format: str, schema: Mapping[str, Any] | None) -> list[RuleProblem]:
    """Problems of the schema that is sent under `json_schema` or `tool`; other formats send none as such."""
    if schema is None or output_format not in ("json_schema", "tool"):
        return []
    nodes = list(_nodes(schema, ()))
    found = [problem for place, node in nodes for problem in _of_node(place, node)]
    found.extend(_recursion(schema))
    found.extend(_amounts(nodes))
    return found


def _nodes(schema: Any, place: _Place) -> Iterator[tuple[_Place, Mapping[str, Any]]]:
    """Every schema in a schema, with its place."""
    if not isinstance(schema, Mapping):
        return
    yield place, schema
    for key in ("properties", "$defs", "definitions"):
        for name, child in (schema.get(key) or {}).items():
            yield from _nodes(child, (*place, str(name)))
    for key in ("anyOf", "allOf", "oneOf"):
        for child in schema.get(key) or ():
            yield from _nodes(child, place)
    yield from _nodes(schema.get("items"), (*place, "items"))


def _problem(place: _Place, what: str, hint: str) -> RuleProblem:
    return RuleProblem(key=".".join((KEY, *place)), what=what, hint=hint)


def _of_node(place: _Place, node: Mapping[str, Any]) -> Iterator[RuleProblem]:
    for key in _BOUNDS:
        if key in node:
            yield _problem(
                place, f"structured outputs do not take `{key}`", "It must not be in the schema that is sent."
            )
    if node.get("minItems", 0) not in (0, 1):
        yield _problem(
            place,
            "structured outputs take `minItems` of 0 or 1 only",
            "It must not be in the schema that is sent.",
        )
    is_object = node.get("type") == "object" or "properties" in node
    if is_object and node.get("additionalProperties") is not False:
        yield _problem(
            place,
            "structured outputs take only closed objects",
            'Name the fields, or write [output] format = "json" for an open object.',
        )
    pattern = node.get("pattern")
    if isinstance(pattern, str) and any(each in pattern for each in _LOOKAROUND):
        yield _problem(
            place,
            "structured outputs take no look-around in `pattern`",
            "Write the pattern without it, or as a check in [output.checks].",
        )
    if any(isinstance(value, list | dict) for value in node.get("enum") or ()):
        yield _problem(
            place, "structured outputs take only plain values in `enum`", "Use strings or numbers."
        )
    reference = node.get("$ref")
    if isinstance(reference, str) and not reference.startswith("#"):
        yield _problem(
            place, f"structured outputs follow no outside `$ref`: {reference}", "Copy it into `$defs`."
        )


def _recursion(schema: Mapping[str, Any]) -> Iterator[RuleProblem]:
    """A definition that leads back to itself."""
    definitions = {
        f"#/{key}/{name}": child
        for key in ("$defs", "definitions")
        for name, child in (schema.get(key) or {}).items()
    }
    edges = {
        name: {node["$ref"] for _, node in _nodes(child, ()) if isinstance(node.get("$ref"), str)}
        for name, child in definitions.items()
    }
    root = any(node.get("$ref") == "#" for _, node in _nodes(schema, ()))
    for name in [*definitions, *(["#"] if root else [])]:
        seen: set[str] = set()
        waiting = [*edges.get(name, {"#"})]
        while waiting:
            following = waiting.pop()
            if following not in seen:
                seen.add(following)
                waiting.extend(edges.get(following, ()))
        if name in seen:
            what = f"structured outputs take no recursive schema: {name} leads back to itself"
            yield _problem((), what, 'Write the levels out, or [output] format = "json".')
            return


def _amounts(nodes: list[tuple[_Place, Mapping[str, Any]]]) -> Iterator[RuleProblem]:
    limits = data()["schema"]
    optional = sum(
        len(set(node.get("properties") or {}) - set(node.get("required") or ())) for _, node in nodes
    )
    if optional > limits["optional_fields"]:
        what = f"{optional} fields are optional; structured outputs take {limits['optional_fields']}"
        yield _problem((), what, 'Make some of them required, or write [output] format = "json".')
    unions = sum("anyOf" in node or isinstance(node.get("type"), list) for _, node in nodes)
    if unions > limits["union_fields"]:
        what = f"{unions} fields have several types; structured outputs take {limits['union_fields']}"
        yield _problem((), what, 'Give some of them one type, or write [output] format = "json".')
