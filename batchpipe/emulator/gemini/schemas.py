"""The service's rules on `responseJsonSchema` and on the parameters of a function.

Source: the description of the field in the SDK google-genai 3.6.1.
"""

from batchpipe.emulator.gemini.errors import GoogleError
from batchpipe.emulator.service.jsontypes import JsonObject, is_list, is_number, is_object, word_set

_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_KEYWORDS = word_set(
    "$id $defs $ref $anchor type format title description enum items prefixItems minItems maxItems minimum maximum "
    "anyOf oneOf properties additionalProperties required propertyOrdering"
)
_DEEPEST = 64


def check_schema(schema: object) -> None:
    """Raise GoogleError where the service refuses a schema."""
    if not is_object(schema):
        raise _refused("$", "expected an object")
    _Checker(schema).check(schema, "$", ("#",), 0)


def _refused(place: str, what: str) -> GoogleError:
    return GoogleError(400, f"Invalid JSON schema at {place}: {what}.")


class _Checker:
    def __init__(self, root: JsonObject) -> None:
        self.root = root
        self.seen: set[str] = set()

    def check(self, schema: object, place: str, above: tuple[str, ...], depth: int) -> None:
        """Check a schema; `above` are the references that lead here through required parts alone."""
        if not is_object(schema):
            raise _refused(place, "expected an object")
        if depth > _DEEPEST:
            raise _refused(place, "the schema is nested too deeply")
        unknown = sorted(set(schema) - _KEYWORDS)
        if unknown:
            raise _refused(place, f"the keyword {unknown[0]!r} is not supported")
        reference = schema.get("$ref")
        if reference is not None:
            self.reference(schema, reference, place, above, depth)
        self.types(schema, place)
        self.options(schema, place)
        required = schema.get("required", [])
        properties = schema.get("properties", {})
        if not is_list(required) or not is_object(properties):
            raise _refused(place, "'properties' must be an object and 'required' a list")
        for name in required:
            if name not in properties:
                raise _refused(place, f"the required property {name!r} is not defined")
        for name, part in properties.items():
            self.check(part, f"{place}.properties.{name}", above if name in required else (), depth + 1)
        if schema.get("type") == "object" and not properties and not schema.get("additionalProperties"):
            raise _refused(place, "'properties' should be non-empty for the type object")
        self.parts(schema, place, above, depth)

    def parts(self, schema: JsonObject, place: str, above: tuple[str, ...], depth: int) -> None:
        for word in ("anyOf", "oneOf", "prefixItems"):
            branches = schema.get(word, [])
            if not is_list(branches) or (word in schema and not branches):
                raise _refused(f"{place}.{word}", "expected a list that is not empty")
            for number, branch in enumerate(branches):
                self.check(branch, f"{place}.{word}[{number}]", above, depth + 1)
        if "items" in schema:
            self.check(schema["items"], f"{place}.items", above, depth + 1)
        if is_object(extra := schema.get("additionalProperties")):
            self.check(extra, f"{place}.additionalProperties", above, depth + 1)
        definitions = schema.get("$defs", {})
        if not is_object(definitions):
            raise _refused(f"{place}.$defs", "expected an object")
        for name, part in definitions.items():
            self.definition(f"#/$defs/{name}", part, (), depth)

    def types(self, schema: JsonObject, place: str) -> None:
        found = schema.get("type")
        if found is None:
            return
        kinds = found if is_list(found) else [found]
        if not kinds or any(kind not in _TYPES for kind in kinds):
            raise _refused(place, f"unknown type {found!r}")
        if len([kind for kind in kinds if kind != "null"]) > 1:
            raise _refused(place, "several types are written as 'anyOf'; a list may add 'null' to one type")

    def options(self, schema: JsonObject, place: str) -> None:
        options = schema.get("enum")
        if options is None:
            return
        plain = is_list(options) and options
        if not plain or not (all(isinstance(each, str) for each in plain) or all(is_number(each) for each in plain)):
            raise _refused(place, "'enum' is a list of strings or of numbers")

    def reference(self, schema: JsonObject, reference: object, place: str, above: tuple[str, ...], depth: int) -> None:
        if any(not name.startswith("$") for name in schema):
            raise _refused(place, "a schema with '$ref' may have no other properties than those that start with '$'")
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise _refused(place, f"the reference {reference!r} is not in this schema")
        if reference in above:
            raise _refused(place, f"{reference} contains itself in a required property")
        found: object = self.root
        for part in reference[1:].split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            found = found.get(name) if is_object(found) else None
        if found is None:
            raise _refused(place, f"the reference {reference!r} leads nowhere")
        self.definition(reference, found, above, depth)

    def definition(self, reference: str, schema: object, above: tuple[str, ...], depth: int) -> None:
        """Check what a reference leads to, once for each way of required parts that it may close a circle with."""
        key = f"{reference} {above}"
        if key not in self.seen:
            self.seen.add(key)
            self.check(schema, reference, (*above, reference), depth + 1)
