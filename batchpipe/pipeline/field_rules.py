"""Rules about several keys of `[output.fields]` together.

They read the parsed TOML, not the models, so that all mistakes of a file are reported at once. A value of the wrong
type is passed over here: pydantic reports it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from batchpipe.pipeline.places import Path
from batchpipe.pipeline.problems import nearest_key
from batchpipe.sql.types import parse_type

Finding = tuple[Path, str, str]  # the path of the key, what is wrong, what to write instead

TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")
KEYWORDS_OF = {
    "string": ("format", "pattern", "minLength", "maxLength"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "array": ("minItems", "maxItems", "uniqueItems"),
}
RANGES = (("minLength", "maxLength"), ("minimum", "maximum"), ("minItems", "maxItems"))
PYTHON_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
}


def subtable(data: Any, key: str) -> Mapping[str, Any]:
    """Return the table under `key`; an empty one if there is none."""
    found = data.get(key) if isinstance(data, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def texts(data: Mapping[str, Any], key: str) -> list[str]:
    """Return the strings under `key`, which may hold one string or a list."""
    value = data.get(key)
    values = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return [each for each in values if isinstance(each, str)]


def name_findings(names: Sequence[str], path: Path, taken: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the mistakes in the names of top-level fields: named twice, beginning with _, or the name of another
    column.

    `taken` maps the lower-case names of the other output columns to what they are.
    """
    seen: dict[str, str] = {}
    for name in names:
        lower = name.lower()
        if name.startswith("_"):
            hint = f'Write "{name.lstrip("_") or "name"}": names that begin with _ are batchpipe\'s own columns.'
            yield (*path, name), f'the field name "{name}" begins with _', hint
        elif not name:
            yield (*path, name), "a field has an empty name", "Write its name: [output.fields.NAME]."
        if lower in seen:
            what = f'the field "{name}" differs from "{seen[lower]}" only in case'
            yield (*path, name), what, "Rename one of them: SQL does not tell such names apart."
        elif lower in taken:
            what = f'the field "{name}" is also {taken[lower]}'
            yield (
                (*path, name),
                what,
                "Rename the field, or the column in the input query (SELECT ... AS ...).",
            )
        seen.setdefault(lower, name)


TOP_FIELD = 3  # the length of the path of a field that no other field holds


def field_findings(fields: Mapping[str, Any], path: Path) -> Iterator[Finding]:
    """Yield the mistakes within each field, at every depth."""
    for name, field in fields.items():
        if isinstance(field, Mapping):
            yield from _field(field, (*path, name))


def types_of(field: Mapping[str, Any]) -> list[str]:
    """Return the types that a field names, or that follow from its other keys; an empty list if neither tells."""
    if "type" in field:
        return texts(field, "type")
    if "fields" in field:
        return ["object"]
    return ["array"] if "items" in field else []


def _field(field: Mapping[str, Any], path: Path) -> Iterator[Finding]:
    types = types_of(field)
    if not types and "type" not in field and "enum" not in field and "const" not in field:
        yield (
            path,
            "the field has no type",
            'Add type = "string" (or number, integer, boolean, object, array).',
        )
    for name in types:
        if name not in TYPES:
            close = nearest_key(name, list(TYPES))
            hint = f'Did you mean "{close}"?' if close else f"Write one of {', '.join(TYPES)}."
            yield (*path, "type"), f'"{name}" is not a JSON Schema type', hint
    if "type" in field and not texts(field, "type") and field["type"] == []:
        yield (*path, "type"), "the list of types is empty", f"Write one of {', '.join(TYPES)}."
    yield from _containers(field, types, path)
    yield from _keywords(field, types, path)
    yield from _enum(field, types, path)
    if "renamed_from" in field and len(path) > TOP_FIELD:
        hint = "Remove it: only a field of [output.fields] can be renamed without paying for its answers again."
        yield (*path, "renamed_from"), "a field within a field has no older name", hint
    if isinstance(field.get("column"), str):
        yield from _column(field["column"], (*path, "column"))
    yield from field_findings(subtable(field, "fields"), (*path, "fields"))
    if isinstance(field.get("items"), Mapping):
        yield from _item(field["items"], (*path, "items"))


def _item(item: Mapping[str, Any], path: Path) -> Iterator[Finding]:
    yield from _field(item, path)
    if item.get("optional"):
        yield (
            (*path, "optional"),
            "an item cannot be optional",
            "Remove it; a list may have any number of items, or none.",
        )


def _containers(field: Mapping[str, Any], types: list[str], path: Path) -> Iterator[Finding]:
    for kind, key, word in (("object", "fields", "an object"), ("array", "items", "an array")):
        if kind in types and not field.get(key):
            shown = ".".join(str(part) for part in (*path, key))
            example = f'[{shown}.name] with type = "string"' if key == "fields" else f'[{shown}] type = "string"'
            yield path, f"{word} needs `{key}`", f"Add {example}, or the type that each of them has."
        elif key in field and types and kind not in types:
            shown_types = " or ".join(types)
            hint = f'Write type = "{kind}", or remove {key}.'
            yield (*path, key), f"`{key}` belongs to {word}, and the type is {shown_types}", hint


def _keywords(field: Mapping[str, Any], types: list[str], path: Path) -> Iterator[Finding]:
    kinds = {"number" if name == "integer" else name for name in types}
    for kind, keywords in KEYWORDS_OF.items():
        for keyword in keywords:
            if keyword in field and kinds and kind not in kinds:
                what = f"`{keyword}` does not apply to a value of type {' or '.join(types)}"
                yield (*path, keyword), what, f"Remove it, or make the type {kind}."
    for low, high in RANGES:
        least, most = field.get(low), field.get(high)
        if isinstance(least, int | float) and isinstance(most, int | float) and least > most:
            what = f"{low} = {least} is more than {high} = {most}: no value is valid"
            yield (*path, low), what, f"Exchange them: {low} = {most}, {high} = {least}."
    for keyword in ("minLength", "maxLength", "minItems", "maxItems"):
        if isinstance(field.get(keyword), int) and field[keyword] < 0:
            yield (*path, keyword), f"{field[keyword]} is not a count", "Write a whole number from 0 up."


def _enum(field: Mapping[str, Any], types: list[str], path: Path) -> Iterator[Finding]:
    values = field.get("enum")
    here = (*path, "enum")
    if values in ([], {}):
        yield here, "the enum has no values", 'List the allowed values: enum = ["a", "b"]; or remove it.'
    if "enum" in field and "const" in field:
        yield (*path, "const"), "a field can have `enum` or `const`, not both", "Remove const, or enum."
    if isinstance(values, Mapping):
        is_query = set(values) == {"query"} and isinstance(values["query"], str)
        if not is_query and types and "string" not in types:
            hint = 'Write a list of values, and explain them in "description"; or write type = "string".'
            yield here, "only strings can be given with their meanings", hint
    if isinstance(values, list):
        if len({(type(value), value) for value in values if not isinstance(value, list | dict)}) < len(values):
            yield here, "the enum lists a value twice", "List every value once."
        yield from _mistyped([value for value in values if not isinstance(value, list | dict)], types, here)
    if "const" in field:
        yield from _mistyped([field["const"]], types, (*path, "const"))


def _mistyped(values: Sequence[Any], types: list[str], path: Path) -> Iterator[Finding]:
    if not types or any(name not in PYTHON_TYPES and name != "null" for name in types):
        return
    for value in values:
        if not any(_is_of(value, name) for name in types):
            shown = f'"{value}"' if isinstance(value, str) else str(value).lower()
            yield path, f"{shown} is not of type {' or '.join(types)}", _type_hint(value)


def _type_hint(value: Any) -> str:
    own = next((name for name in ("boolean", "integer", "number") if _is_of(value, name)), "string")
    return f'Write type = "{own}", or a value of the type that is there.'


def _is_of(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return name in PYTHON_TYPES and isinstance(value, PYTHON_TYPES[name])


def _column(text: str, path: Path) -> Iterator[Finding]:
    try:
        parse_type(text)
    except ValueError as error:
        yield (
            path,
            f'"{text}" is not a column type: {error}',
            "Write a DuckDB type such as DECIMAL(12,2) or DATE[].",
        )
