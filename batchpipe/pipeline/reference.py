"""The reference of the pipeline file, made from the models: a JSON Schema for editors and a Markdown table of
all keys.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from batchpipe.pipeline.sending import LOCAL
from batchpipe.pipeline.type_words import alternatives, models_schema, type_text

TITLE = "batchpipe pipeline"
EITHER = {"Input": ("query", "query_file"), "Prompt": ("user", "user_text")}
HEADER = ("Key", "Type", "Default", "Meaning")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a pipeline file, for editors; every key has its description."""
    schema: dict[str, Any] = _plain(models_schema())
    definitions = schema["$defs"]
    for name, keys in EITHER.items():
        definitions[name]["oneOf"] = [{"required": [key]} for key in keys]
    schema["required"] = [name for name in schema["required"] if name != "name"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": TITLE,
        "description": schema.pop("description"),
        **schema,
    }


def keys_table() -> str:
    """Return a Markdown table of every key of the pipeline file: key, type, default, meaning."""
    lines = [f"| {' | '.join(HEADER)} |", f"| {' | '.join('---' for _ in HEADER)} |"]
    for key, takes, default, meaning in _rows():
        cells = (f"`{key}`", takes, default, meaning)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _plain(node: Any) -> Any:
    """Return pydantic's schema without its generated titles, its null branches and our own annotations."""
    if isinstance(node, list):
        return [_plain(each) for each in node]
    if not isinstance(node, Mapping):
        return node
    kept = {
        key: {name: _plain(child) for name, child in value.items()} if key in ("properties", "$defs") else _plain(value)
        for key, value in node.items()
        if not (key == "type_text" or (key == "title" and isinstance(value, str)))
        and not (key == "default" and value is None)
    }
    branches = [each for each in kept.get("anyOf", ()) if each != {"type": "null"}]
    if len(branches) == 1 and len(kept["anyOf"]) == 2:
        del kept["anyOf"]
        return {**branches[0], **kept}
    return {**kept, "anyOf": branches} if branches else kept


def _rows() -> Iterator[tuple[str, str, str, str]]:
    root = models_schema()
    for key, node in root["properties"].items():
        [kind, *_] = alternatives(node)
        if kind.get("type") == "array":
            item, *others = alternatives(kind["items"])
            yield from _table_rows(f"[[{key}]]", item)
            yield (
                f"[[{key}]] ...",
                "any value",
                "",
                "The provider's own settings: temperature, effort, thinking, ...",
            )
            for other in others:
                yield from _table_rows(f'[[{key}]] "{LOCAL}":', other)
        elif "properties" in kind:
            yield from _table_rows(f"[{key}]", kind)
        else:
            yield _row(key, node, required=False)
    [field] = alternatives(root["$defs"]["OutputField"])
    yield from _table_rows("[output.fields.NAME]", field)
    [compared] = alternatives(root["$defs"]["EvalField"])
    yield from _table_rows("[eval.fields.NAME]", compared)


def _table_rows(place: str, table: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    required = table.get("required", ())
    for key, node in table["properties"].items():
        yield _row(f"{place} {key}", node, required=key in required)


def _row(key: str, node: Mapping[str, Any], *, required: bool) -> tuple[str, str, str, str]:
    default = node.get("default")
    shown = "" if default in (None, "", {}) else json.dumps(default)
    shown = "required" if required else f"`{shown}`" if shown else ""
    return key, type_text(node), shown, node.get("description", "")
