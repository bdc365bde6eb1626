"""The service's rules on schemas with `strict: true`."""

from batchpipe.emulator.openai.errors import OpenAIError
from batchpipe.emulator.service.jsontypes import JsonObject, is_list, is_object, word_set

_TAKEN = word_set(
    "type title description enum const properties required additionalProperties items anyOf $ref $defs definitions "
    "pattern format multipleOf minimum maximum exclusiveMinimum exclusiveMaximum minItems maxItems"
)
_FORMATS = word_set("date-time time date duration email hostname ipv4 ipv6 uuid")
_MOST_PROPERTIES, _MOST_LEVELS, _MOST_ENUM_VALUES = 5_000, 10, 1_000

_Place = tuple[str, ...]


def check_strict(schema: JsonObject, param: str, name: str) -> None:
    """Check a strict schema. Raises OpenAIError with the provider's own message."""
    check = _Check(param, name)
    if schema.get("type") != "object" or "anyOf" in schema:
        raise check.refused((), "schema must be a JSON Schema of 'type: \"object\"'.")
    check.visit(schema, (), 0)
    if check.properties > _MOST_PROPERTIES:
        raise check.refused((), f"schema has more than {_MOST_PROPERTIES} properties.")
    if check.enum_values > _MOST_ENUM_VALUES:
        raise check.refused((), f"schema has more than {_MOST_ENUM_VALUES} enum values.")


class _Check:
    def __init__(self, param: str, name: str) -> None:
        self.param = param
        self.name = name
        self.properties = 0
        self.enum_values = 0

    def refused(self, place: _Place, what: str) -> OpenAIError:
        message = f"Invalid schema for response_format '{self.name}': In context={place}, {what}"
        return OpenAIError(400, message, param=self.param, code="invalid_json_schema")

    def visit(self, node: object, place: _Place, level: int) -> None:
        if not is_object(node):
            raise self.refused(place, "schema must be an object.")
        for keyword in node:
            if keyword not in _TAKEN:
                raise self.refused(place, f"'{keyword}' is not permitted.")
        if node.get("format") is not None and node["format"] not in _FORMATS:
            raise self.refused(place, f"'{node['format']}' is not a valid format.")
        if not any(key in node for key in ("type", "$ref", "anyOf", "enum", "const")):
            raise self.refused(place, "schema must have a 'type' key.")
        if is_list(values := node.get("enum")):
            self.enum_values += len(values)
        kinds = node.get("type")
        if kinds == "object" or (is_list(kinds) and "object" in kinds):
            self.closed_object(node, place, level + 1)
        if "items" in node:
            self.visit(node["items"], (*place, "items"), level)
        if is_list(branches := node.get("anyOf")):
            self.branches(branches, (*place, "anyOf"), level)
        for keyword in ("$defs", "definitions"):
            for key, child in (node.get(keyword) or {}).items():
                self.visit(child, (*place, keyword, key), 0)

    def closed_object(self, node: JsonObject, place: _Place, level: int) -> None:
        properties = node.get("properties")
        if level > _MOST_LEVELS:
            raise self.refused(place, f"nesting is more than {_MOST_LEVELS} levels deep.")
        if not is_object(properties):
            raise self.refused(place, "object schema missing properties.")
        if node.get("additionalProperties") is not False:
            raise self.refused(place, "'additionalProperties' is required to be supplied and to be false.")
        missing = [each for each in properties if each not in (node.get("required") or [])]
        if missing:
            what = "'required' is required to be supplied and to be an array including every key in properties."
            raise self.refused(place, f"{what} Missing '{missing[0]}'.")
        self.properties += len(properties)
        for key, child in properties.items():
            self.visit(child, (*place, "properties", key), level)

    def branches(self, branches: list[object], place: _Place, level: int) -> None:
        for number, branch in enumerate(branches):
            self.visit(branch, (*place, str(number)), level)
        first = [next(iter(each["properties"])) for each in branches if is_object(each) and each.get("properties")]
        if len(first) != len(set(first)):
            raise self.refused(place, "Objects provided via 'anyOf' must not share identical first keys.")
