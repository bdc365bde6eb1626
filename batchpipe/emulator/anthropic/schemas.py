"""The service's rules on the schema of structured outputs and of strict tools."""

import re
from dataclasses import dataclass

from batchpipe.emulator.service.jsontypes import JsonObject, is_list, is_object, word_set

MAX_OPTIONAL = 24
MAX_UNIONS = 16
MAX_STRICT_TOOLS = 20

_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid")
_ANYWHERE = word_set(
    "type enum const anyOf allOf $ref $defs definitions title description default examples $schema $id "
    "$comment deprecated readOnly writeOnly"
)
_BY_TYPE = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems"},
    "string": {"format", "pattern"},
}
_HARD_PATTERN = re.compile(r"\(\?[=!<P]|(?<!\\)(?:\\\\)*\\(?:[1-9]|b|B|k)")


@dataclass
class SchemaCount:
    """The numbers of optional parameters and of parameters with several types, over all schemas of one request."""

    optional: int = 0
    unions: int = 0


class SchemaRefusedError(Exception):
    """The service refuses a schema with this message."""


def check_schema(schema: object, count: SchemaCount) -> None:
    """Check a schema and add to the counts of its request. Raises SchemaRefusedError if structured outputs
    refuse it.
    """
    if not is_object(schema):
        raise SchemaRefusedError("Input should be a valid dictionary")
    _Checker(schema, count).check(schema, ())
    if count.optional > MAX_OPTIONAL:
        raise SchemaRefusedError(
            f"Schema contains too many optional parameters ({count.optional}), which would make grammar "
            f"compilation inefficient. The limit is {MAX_OPTIONAL}."
        )
    if count.unions > MAX_UNIONS:
        raise SchemaRefusedError(
            f"Schema contains too many parameters with union types ({count.unions} parameters with type "
            f"arrays or anyOf). The limit is {MAX_UNIONS}."
        )


class _Checker:
    def __init__(self, root: JsonObject, count: SchemaCount) -> None:
        self.root = root
        self.count = count
        self.seen: set[str] = set()

    def check(self, schema: object, above: tuple[str, ...]) -> None:
        if not is_object(schema):
            raise SchemaRefusedError("Boolean schemas are not supported")
        for word in ("$defs", "definitions"):
            if is_object(definitions := schema.get(word)):
                for name, part in definitions.items():
                    self.definition(f"#/{word}/{name}", part, above)
        if "$ref" in schema:
            self.reference(schema["$ref"], above)
            return
        kinds = self.kinds(schema)
        allowed = _ANYWHERE.union(*(_BY_TYPE.get(kind, set[str]()) for kind in kinds))
        unknown = [name for name in schema if name not in allowed]
        if unknown:
            name = kinds[0] if kinds else "object"
            raise SchemaRefusedError(f"For '{name}' type, properties {', '.join(sorted(unknown))} are not supported")
        self.options(schema)
        for word in ("anyOf", "allOf"):
            self.branches(schema, word, above)
        if len(kinds) > 1 or "anyOf" in schema:
            self.count.unions += 1
        if "object" in kinds:
            self.object(schema, above)
        if "array" in kinds:
            self.array(schema, above)
        if "string" in kinds:
            self.string(schema)

    def kinds(self, schema: JsonObject) -> list[str]:
        found = schema.get("type")
        kinds: list[str] = [str(kind) for kind in found] if is_list(found) else []
        if isinstance(found, str):
            kinds = [found]
        for kind in kinds:
            if kind not in _TYPES:
                raise SchemaRefusedError(f"Schema type '{kind}' is not supported")
        if not kinds and not any(word in schema for word in ("enum", "const", "anyOf", "allOf")):
            raise SchemaRefusedError("Schema must have a 'type', 'anyOf', 'allOf', 'enum', 'const' or '$ref' field")
        return kinds

    def options(self, schema: JsonObject) -> None:
        options = schema.get("enum", [schema["const"]] if "const" in schema else None)
        if options is None:
            return
        if not is_list(options) or not options:
            raise SchemaRefusedError("Enum must be a list with at least one value")
        if any(is_object(option) or is_list(option) for option in options):
            raise SchemaRefusedError("Enum with complex types (objects, arrays) is not supported")

    def branches(self, schema: JsonObject, word: str, above: tuple[str, ...]) -> None:
        branches = schema.get(word)
        if branches is None:
            return
        if not is_list(branches) or not branches:
            raise SchemaRefusedError(f"'{word}' must be a list with at least one schema")
        for branch in branches:
            if word == "allOf" and is_object(branch) and "$ref" in branch:
                raise SchemaRefusedError("'allOf' with '$ref' is not supported")
            self.check(branch, above)

    def reference(self, reference: object, above: tuple[str, ...]) -> None:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise SchemaRefusedError(f"External schema references are not supported: {reference}")
        if reference in above or reference == "#":
            raise SchemaRefusedError(f"Recursive schemas are not supported: {reference} contains itself")
        place: object = self.root
        for part in reference[1:].split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            place = place.get(name) if is_object(place) else None
        if place is None:
            raise SchemaRefusedError(f"Schema reference '{reference}' not found")
        self.definition(reference, place, above)

    def definition(self, reference: str, schema: object, above: tuple[str, ...]) -> None:
        if reference in above:
            raise SchemaRefusedError(f"Recursive schemas are not supported: {reference} contains itself")
        if reference not in self.seen:
            self.check(schema, (*above, reference))
            self.seen.add(reference)

    def object(self, schema: JsonObject, above: tuple[str, ...]) -> None:
        if schema.get("additionalProperties") is not False:
            raise SchemaRefusedError("For 'object' type, 'additionalProperties' must be explicitly set to false")
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        named = is_list(required) and all(isinstance(name, str) for name in required)
        if not is_object(properties) or not named:
            raise SchemaRefusedError("For 'object' type, 'properties' must be an object and 'required' a list")
        for name in required:
            if name not in properties:
                raise SchemaRefusedError(f"Required property '{name}' is not in 'properties'")
        for name, part in properties.items():
            if name not in required:
                self.count.optional += 1
            self.check(part, above)

    def array(self, schema: JsonObject, above: tuple[str, ...]) -> None:
        if schema.get("minItems", 0) not in (0, 1):
            raise SchemaRefusedError("For 'array' type, 'minItems' values other than 0 or 1 are not supported")
        if "items" not in schema:
            raise SchemaRefusedError("For 'array' type, 'items' must be set")
        self.check(schema["items"], above)

    def string(self, schema: JsonObject) -> None:
        if "format" in schema and schema["format"] not in _FORMATS:
            raise SchemaRefusedError(f"String format '{schema['format']}' is not supported")
        pattern = schema.get("pattern")
        if isinstance(pattern, str) and _HARD_PATTERN.search(pattern):
            raise SchemaRefusedError(f"Pattern uses lookaround, backreferences or word boundaries: {pattern}")
