"""The text of a schema that stands in fingerprints: what a model sees of it, in one form for all providers.

It is part of a recipe: it does not change with the words that a protocol uses, which stand only in what is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from batchpipe.schema.reduce import schema_problems, sent_schema

_TOOL = {"name": "answer", "description": "Give the answer."}
_JSON_ONLY = (
    "Reply with one JSON value that is valid against this JSON Schema and with nothing else: no text before "
    "or after it, no code fence.\n\n```json\n{schema}\n```"
)


def visible_text(output_format: str, full: Mapping[str, Any]) -> str:
    """Return what a model sees of the full schema in this format; "" if it sees nothing of it.

    A bound is not part of it, even where a provider holds its model to the bound: a changed bound changes no
    fingerprint, and stored answers are validated again. A schema that is no strict one, which only some protocols take,
    stands there whole.
    """
    if output_format == "text":
        return ""
    sent = sent_schema(full)
    if output_format == "json":
        return _JSON_ONLY.replace("{schema}", orjson.dumps(sent).decode())
    shown: Mapping[str, Any] = full if schema_problems(full) else sent
    if output_format == "tool":
        shown = {**_TOOL, "input_schema": shown, "strict": True}
    return orjson.dumps(shown).decode()
