"""Search for a schema in the text of a prompt, for answers in plain text that have to be JSON."""

import re
from functools import lru_cache

import orjson

from batchpipe.emulator.answering.texts import Texts
from batchpipe.emulator.service.jsontypes import JsonObject, is_list, is_object

_TAGGED = re.compile(r"<(schema|json_schema|output_schema)>\s*(.*?)\s*</\1>", re.DOTALL)
_FENCED = re.compile(r"```(?:json|jsonschema)?[ \t]*\n(.*?)```", re.DOTALL)
_TYPES = frozenset(("object", "array", "string", "number", "integer", "boolean", "null"))
_WORDS = ("$ref", "anyOf", "oneOf", "allOf", "properties")


def prompt_schema(texts: Texts) -> JsonObject | None:
    """Return the schema in a ```json fence or a `<schema>` tag of the prompt, searched in the last user
    message first.
    """
    return _schema_in(texts.last) or _repeated_schema_in(texts.other)


def _schema_in(text: str) -> JsonObject | None:
    if "</" not in text and "```" not in text:
        return None
    pieces = [found[1] for found in _FENCED.finditer(text)] + [found[2] for found in _TAGGED.finditer(text)]
    for piece in reversed(pieces):
        bare = piece.strip().removeprefix("```json").removeprefix("```").removesuffix("```")
        try:
            found: object = orjson.loads(bare)
        except orjson.JSONDecodeError:
            continue
        if is_object(found) and _looks_like_schema(found):
            return found
    return None


_repeated_schema_in = lru_cache(maxsize=64)(_schema_in)


def _looks_like_schema(found: JsonObject) -> bool:
    kind = found.get("type")
    kinds = kind if is_list(kind) else [kind]
    if kind == "object":
        return is_object(found.get("properties")) or any(word in found for word in _WORDS)
    return any(word in found for word in _WORDS) or all(isinstance(one, str) and one in _TYPES for one in kinds)
