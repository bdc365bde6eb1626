"""Reduction of a schema to the keywords that `responseJsonSchema` accepts, and the problems that prevent it.

Source: the field `response_json_schema` of GenerationConfig in google-genai 3.6.1. A removed keyword is not written
into a description or elsewhere, so that a changed bound changes neither the schema that is sent nor a fingerprint.
Answers are always validated against the full schema. An optional property stays optional, so that an answer needs no
change before it is validated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

KEPT = {"type", "title", "description", "required", "minItems", "maxItems", "minimum", "maximum", "$id", "$anchor"}
SUBSCHEMAS = {"properties", "$defs"}
BRANCHES = {"anyOf", "oneOf", "prefixItems"}
FORMATS = {"date-time", "date", "time"}
_ANNOTATIONS = {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"}
_MOST_INLINED = 32

REFUSED = {
    "allOf": "Copy the properties of its schemas into one object.",
    "not": "Leave it out and write the condition into [output.checks].",
    "if": "Leave if, then and else out, or write the alternatives as `anyOf`.",
    "patternProperties": "Name the properties, or use an array of objects with a name and a value.",
    "dependentSchemas": "Write the alternatives as `anyOf`.",
    "dependentRequired": "Write the alternatives as `anyOf`.",
    "$dynamicRef": "Write `$ref` to a definition in the same file.",
}


def sent_schema(full: Mapping[str, Any]) -> dict[str, Any]:
    """Return `full` with only the keywords that the provider accepts, in their order.

    The result can be sent if `schema_problems(full)` is empty.
    """
    return _Reducer(full).reduced(full)


class _Reducer:
    """The reduction of the schema `root`, whose definitions a `$ref` names."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def reduced(self, node: Mapping[str, Any], inlined: int = 0) -> dict[str, Any]:
        """Return the reduced schema of `node`."""
        reference = node.get("$ref")
        if isinstance(reference, str):
            return self._reference(node, reference, inlined)
        sent: dict[str, Any] = {}
        for keyword, value in node.items():
            self._add(sent, keyword, value)
        if is_object(node):
            sent.setdefault("properties", {})
            extra = node.get("additionalProperties", False)
            sent["additionalProperties"] = self.reduced(extra) if isinstance(extra, Mapping) else bool(extra)
        return _with_one_type(_with_plain_values(sent, node))

    def _add(self, sent: dict[str, Any], keyword: str, value: Any) -> None:
        name = "$defs" if keyword == "definitions" else keyword
        if name in SUBSCHEMAS and isinstance(value, Mapping):
            sent.setdefault(name, {}).update({each: self._child(child) for each, child in value.items()})
        elif keyword in BRANCHES and isinstance(value, list):
            sent[keyword] = [self._child(branch) for branch in value]
        elif keyword == "items" and isinstance(value, Mapping):
            sent[keyword] = self.reduced(value)
        elif keyword in KEPT or (keyword == "format" and value in FORMATS):
            sent[keyword] = value

    def _child(self, node: Any) -> Any:
        return self.reduced(node) if isinstance(node, Mapping) else node

    def _reference(self, node: Mapping[str, Any], reference: str, inlined: int) -> dict[str, Any]:
        """Return a reference alone, since it may have nothing beside it.

        Where `node` says more, its words stand with the definition's in its place. The root keeps its definitions.
        """
        definitions = {key: value for key, value in node.items() if key in ("$defs", "definitions")}
        others = {key: value for key, value in node.items() if key != "$ref" and key not in definitions}
        target = resolved_reference(self._root, reference)
        if (others or definitions) and target is not None and inlined < _MOST_INLINED:
            bare = {key: value for key, value in target.items() if key not in ("$defs", "definitions")}
            recursive = reference in set(_references(bare, self._root, set()))
            if not recursive or definitions:
                return self.reduced({**bare, **others, **definitions}, inlined + 1)
        return {"$ref": reference.replace("#/definitions/", "#/$defs/", 1)}


def _with_plain_values(sent: dict[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema with its `enum` or `const` as an enum of strings or of numbers, the only ones accepted.

    Null becomes a type. Other values leave their type alone.
    """
    values = node.get("enum", [node["const"]] if "const" in node else None)
    if not isinstance(values, list):
        return sent
    plain = [each for each in values if each is not None]
    names = list(dict.fromkeys(type_name(each) for each in plain))
    if not plain:
        return {**sent, "type": "null"}
    if set(names) == {"integer", "number"}:
        names = ["number"]
    if len(names) != 1:
        return sent
    if "type" not in sent:
        sent["type"] = [*names, "null"] if len(plain) < len(values) else names[0]
    if names[0] in ("string", "integer", "number"):
        sent["enum"] = plain
    return sent


def _with_one_type(sent: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with one type, or one type and null; more than that become branches of an `anyOf`."""
    names = sent.get("type")
    if not isinstance(names, list):
        return sent
    plain = [each for each in names if each != "null"]
    if len(plain) == 1 and len(names) <= 2:
        return sent if len(names) == 2 else {**sent, "type": plain[0]}
    if not plain:
        return {**sent, "type": "null"}
    if "anyOf" in sent:
        return {key: value for key, value in sent.items() if key != "type"}
    shared = {key: value for key, value in sent.items() if key in ("title", "description", "$defs", "$id", "$anchor")}
    own = {key: value for key, value in sent.items() if key not in shared and key != "type"}
    return {**shared, "anyOf": [{"type": name, **_words_of(name, own)} for name in names]}


_WORDS = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "prefixItems", "minItems", "maxItems"},
    "string": {"format", "enum"},
    "number": {"minimum", "maximum", "enum"},
    "integer": {"minimum", "maximum", "enum"},
}


def _words_of(name: str, words: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords that say something of a value of the type `name`."""
    own = {key: value for key, value in words.items() if key in _WORDS.get(name, set())}
    if "enum" in own:
        fitting = [each for each in own["enum"] if type_name(each) in (name, "integer" if name == "number" else name)]
        own = {**own, "enum": fitting} if fitting else {key: value for key, value in own.items() if key != "enum"}
    return own


def type_name(value: Any) -> str:
    """Return JSON Schema's word for the type of a JSON value."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case int():
            return "integer"
        case float():
            return "number"
        case list():
            return "array"
        case _:
            return "object"


def schema_problems(full: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (JSON path, what, hint) for everything in `full` that the formats `json_schema` and `tool` cannot express.

    The formats `json` and `text` have no such limits; this function is not for them.
    """
    problems = [problem for path, node in _nodes(full, "$") for problem in _node_problems(full, path, node)]
    recursion = _required_recursion(full)
    if recursion:
        hint = "Make the property that leads back optional, or write the levels out to a fixed depth."
        problems.append((recursion, "the schema contains itself in a required property", hint))
    return problems


def is_object(node: Mapping[str, Any]) -> bool:
    """Return whether a value of this schema can be an object."""
    declared = node.get("type", [])
    return "object" in ([declared] if isinstance(declared, str) else declared) or "properties" in node


def _nodes(node: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield `node` and every schema in it, each with its JSON path."""
    if not isinstance(node, Mapping):
        return
    yield path, node
    for keyword, value in node.items():
        if keyword in (*SUBSCHEMAS, "definitions") and isinstance(value, Mapping):
            for name, child in value.items():
                yield from _nodes(child, f"{path}.{keyword}.{name}")
        elif keyword in BRANCHES and isinstance(value, list):
            for index, branch in enumerate(value):
                yield from _nodes(branch, f"{path}.{keyword}[{index}]")
        elif keyword in ("items", "additionalProperties"):
            yield from _nodes(value, f"{path}.{keyword}")


def _node_problems(root: Mapping[str, Any], path: str, node: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for keyword, hint in REFUSED.items():
        if keyword in node:
            yield f"{path}.{keyword}", f"`{keyword}` is not accepted by structured outputs", hint
    if is_object(node) and node.get("additionalProperties", False) is False and not node.get("properties"):
        what = "an object that has no property is not accepted"
        yield path, what, 'Name its properties, or write `additionalProperties` with a schema, or format = "json".'
    values = node.get("enum", [node["const"]] if "const" in node else [])
    kinds = {type_name(each) for each in values if each is not None} if isinstance(values, list) else set()
    if kinds & {"array", "object"} or (kinds and kinds not in ({"integer", "number"},) and len(kinds) > 1):
        yield path, "an enum may hold only strings, or only numbers, and null", "Write the values as strings."
    reference = node.get("$ref")
    if isinstance(reference, str):
        yield from _reference_problem(root, path, reference)


def _reference_problem(root: Mapping[str, Any], path: str, reference: str) -> Iterator[tuple[str, str, str]]:
    if not reference.startswith("#"):
        what = f"`$ref` to {reference!r} refers to another file"
        yield f"{path}.$ref", what, "Copy the definition into `$defs` of this schema."
    elif resolved_reference(root, reference) is None:
        what = f"`$ref` to {reference!r} refers to a definition that is not there"
        yield f"{path}.$ref", what, "Correct it, or add the definition."


def resolved_reference(root: Mapping[str, Any], reference: str) -> Mapping[str, Any] | None:
    """Return the schema that a `$ref` refers to; None if there is none, or if it is in another file."""
    if not reference.startswith("#"):
        return None
    if reference[1:] and not reference.startswith("#/"):
        anchors = (node for _, node in _nodes(root, "$") if node.get("$anchor") == reference[1:])
        return next(anchors, None)
    found: Any = root
    for part in reference[1:].split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else None


def _references(node: Any, root: Mapping[str, Any], seen: set[str]) -> Iterator[str]:
    """Yield every reference in `node`, and in what those refer to."""
    for _, each in _nodes(node, "$"):
        reference = each.get("$ref")
        if isinstance(reference, str) and reference not in seen:
            seen.add(reference)
            yield reference
            yield from _references(resolved_reference(root, reference), root, seen)


def _required_recursion(root: Mapping[str, Any]) -> str | None:
    """Return the JSON path of a `$ref` through which a schema contains itself without an optional property between.

    The provider writes a schema out to a limited depth, and accepts one that contains itself only in properties that
    are not required. None where there is no such `$ref`.
    """
    done: set[str] = set()

    def visit(start: Any, place: str, above: tuple[str, ...]) -> str | None:
        for path, reference in _required_references(start, place):
            if reference in above:
                return path
            if reference in done:
                continue
            found = visit(resolved_reference(root, reference), reference, (*above, reference))
            if found:
                return found
            done.add(reference)
        return None

    starts = [("#", root), *((each, resolved_reference(root, each)) for each in _references(root, root, set()))]
    return next((found for name, each in starts if (found := visit(each, name, (name,)))), None)


def _required_references(node: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield (JSON path, reference) of every `$ref` in `node` that no optional property leads to."""
    if not isinstance(node, Mapping):
        return
    if isinstance(node.get("$ref"), str):
        yield f"{path}.$ref", node["$ref"]
    required = node.get("required")
    properties = node.get("properties")
    for name, child in properties.items() if isinstance(properties, Mapping) else ():
        if isinstance(required, list) and name in required:
            yield from _required_references(child, f"{path}.properties.{name}")
    for keyword in ("items", "additionalProperties"):
        yield from _required_references(node.get(keyword), f"{path}.{keyword}")
    for keyword in BRANCHES:
        for index, branch in enumerate(node.get(keyword) or ()):
            yield from _required_references(branch, f"{path}.{keyword}[{index}]")
