"""The full JSON Schema of an answer, and the `fields` that templates see, both made from `[output]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from batchpipe.common.errors import InternalError, PipelineError
from batchpipe.pipeline.model import Output
from batchpipe.pipeline.value_types import EnumQuery, OutputField

EnumValues = Mapping[str, Sequence[Sequence[Any]]]

KEYWORDS = (
    ("const", "const"),
    ("format", "format"),
    ("pattern", "pattern"),
    ("min_length", "minLength"),
    ("max_length", "maxLength"),
    ("minimum", "minimum"),
    ("maximum", "maximum"),
    ("exclusive_minimum", "exclusiveMinimum"),
    ("exclusive_maximum", "exclusiveMaximum"),
    ("multiple_of", "multipleOf"),
    ("min_items", "minItems"),
    ("max_items", "maxItems"),
    ("unique_items", "uniqueItems"),
)


def child_path(path: str, name: str) -> str:
    """Return the path of field `name` under `path`: `label`, `address.city`, `tags[].name`."""
    return f"{path}.{name}" if path else name


def enum_queries(output: Output) -> dict[str, str]:
    """Return the queries that enums take their values from, by field path."""
    queries: dict[str, str] = {}

    def visit(field: OutputField, path: str) -> None:
        if isinstance(field.enum, EnumQuery):
            queries[path] = field.enum.query
        for name, child in (field.fields or {}).items():
            visit(child, child_path(path, name))
        if field.items is not None:
            visit(field.items, f"{path}[]")

    for name, field in output.fields.items():
        visit(field, name)
    return queries


def column_overrides(output: Output) -> dict[str, str]:
    """Return the types given with `column = "TYPE"`, by field path."""
    overrides: dict[str, str] = {}

    def visit(field: OutputField, path: str) -> None:
        if field.column is not None:
            overrides[path] = field.column
        for name, child in (field.fields or {}).items():
            visit(child, child_path(path, name))
        if field.items is not None:
            visit(field.items, f"{path}[]")

    for name, field in output.fields.items():
        visit(field, name)
    return overrides


def full_schema(
    output: Output,
    enum_values: EnumValues | None = None,
    schema_file_content: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the JSON Schema that answers are validated against.

    `enum_values` has the rows of each of `enum_queries(output)` by field path, as (value, meaning) or (value,). With
    None such enums allow every value, which is enough if only names and types matter. `schema_file_content`, the parsed
    `schema_file`, is returned as it is. Raises PipelineError for an enum query that returns no row or a NULL value.
    """
    if schema_file_content is not None:
        return dict(schema_file_content)
    return _object_schema(output.fields, "", enum_values)


def template_fields(
    output: Output,
    enum_values: EnumValues | None = None,
    schema_file_content: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what templates see as `fields`: a plain dict for each field, by name.

    Each has `name`, `type`, `description`, `optional` and, if given, `enum` (a list, without null), `meanings` (from
    value to meaning), `fields`, `items`, and JSON Schema's keywords under their own names.
    """
    if schema_file_content is not None:
        return _fields_of_schema(schema_file_content)
    return {name: _template_field(name, field, name, enum_values) for name, field in output.fields.items()}


def _object_schema(fields: Mapping[str, OutputField], path: str, enum_values: EnumValues | None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            name: _field_schema(field, child_path(path, name), enum_values) for name, field in fields.items()
        },
        "required": [name for name, field in fields.items() if not field.optional],
        "additionalProperties": False,
    }


def _field_schema(field: OutputField, path: str, enum_values: EnumValues | None) -> dict[str, Any]:
    values, meanings = _enum(field, path, enum_values)
    schema: dict[str, Any] = {}
    types = _types(field, values)
    if types:
        schema["type"] = types[0] if len(types) == 1 else list(types)
    description = _described(field.description, values, meanings)
    if description:
        schema["description"] = description
    if values is not None:
        # TOML has no null: a type that includes null is the only way to allow it beside the listed values.
        nullable = "null" in types and None not in values
        schema["enum"] = [*values, None] if nullable else list(values)
    schema |= _keywords(field)
    if field.fields is not None:
        schema |= {
            key: value for key, value in _object_schema(field.fields, path, enum_values).items() if key != "type"
        }
    if field.items is not None:
        schema["items"] = _field_schema(field.items, f"{path}[]", enum_values)
    return schema


def _keywords(field: OutputField) -> dict[str, Any]:
    given = ((keyword, getattr(field, name)) for name, keyword in KEYWORDS)
    return {keyword: value for keyword, value in given if value is not None}


def _types(field: OutputField, values: Sequence[Any] | None) -> tuple[str, ...]:
    if field.type is not None:
        return (field.type,) if isinstance(field.type, str) else field.type
    if field.fields is not None:
        return ("object",)
    if field.items is not None:
        return ("array",)
    if field.const is not None:
        return value_types([field.const])
    return value_types(values or [""]) if field.enum is not None else ()


def value_types(values: Sequence[Any]) -> tuple[str, ...]:
    """Return the JSON Schema types of `values`, each once; beside other numbers an integer counts as a number."""
    names: dict[str, None] = {}
    for value in values:
        match value:
            case None:
                names["null"] = None
            case bool():
                names["boolean"] = None
            case int():
                names["integer"] = None
            case float():
                names["number"] = None
            case str():
                names["string"] = None
            case list():
                names["array"] = None
            case _:
                names["object"] = None
    if "number" in names:
        names.pop("integer", None)
    return tuple(names)


def _enum(field: OutputField, path: str, enum_values: EnumValues | None) -> tuple[list[Any] | None, dict[str, str]]:
    """Return the allowed values and their meanings; None for values if there is no enum or its query was not run."""
    match field.enum:
        case None:
            return None, {}
        case EnumQuery():
            return (None, {}) if enum_values is None else _queried(path, enum_values, field.type)
        case Mapping() as table:
            return list(table), {value: meaning for value, meaning in table.items() if meaning}
        case values:
            return list(values), {}


def _queried(
    path: str, enum_values: EnumValues, declared: str | tuple[str, ...] | None
) -> tuple[list[Any], dict[str, str]]:
    if path not in enum_values:
        what = f"BUG: the rows of the enum query of {path} were not passed on"
        raise InternalError(what, hint="Please report this.")
    where = f"[output.fields.{path}] enum"
    rows = enum_values[path]
    if not rows:
        raise PipelineError(
            "the enum's query returns no row", where=where, hint="Remove its WHERE, or add rows to its table."
        )
    if any(row[0] is None for row in rows):
        raise PipelineError(
            "the enum's query returns a NULL value", where=where, hint="Add WHERE ... IS NOT NULL to the query."
        )
    values: dict[Any, None] = {}
    meanings: dict[str, str] = {}
    for row in rows:
        value = _json_value(row[0], declared, where)
        values[value] = None
        if len(row) > 1 and row[1] not in (None, ""):
            meanings.setdefault(str(value), str(row[1]))
    return list(values), meanings


def _json_value(value: Any, declared: str | tuple[str, ...] | None, where: str) -> Any:
    """Return a DuckDB value as one of the field's types. Raises PipelineError if it has none of them."""
    if isinstance(value, Decimal):
        value = int(value) if value == value.to_integral_value() else float(value)
    if not isinstance(value, str | int | float | bool):
        value = str(value)
    types = (declared,) if isinstance(declared, str) else declared or ()
    [own] = value_types([value])
    if not types or own in types or (own == "integer" and "number" in types):
        return value
    if "string" in types:
        return str(value)
    what = f"the enum's query returns {value!r}, which is not of type {' or '.join(types)}"
    cast = {"integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN"}.get(types[0], "VARCHAR")
    hint = f'Write type = "{own}", or let the query return CAST(... AS {cast}).'
    raise PipelineError(what, where=where, hint=hint)


def _described(description: str | None, values: Sequence[Any] | None, meanings: Mapping[str, str]) -> str | None:
    """Return the description, followed by a line for each value if values have meanings."""
    if not meanings or values is None:
        return description
    lines = [f"- {value}: {meanings[str(value)]}" if str(value) in meanings else f"- {value}" for value in values]
    return "\n".join([*([description] if description else []), "Values:", *lines])


def _template_field(name: str, field: OutputField, path: str, enum_values: EnumValues | None) -> dict[str, Any]:
    values, meanings = _enum(field, path, enum_values)
    types = _types(field, values)
    found: dict[str, Any] = {
        "name": name,
        "type": types[0] if len(types) == 1 else list(types),
        "description": field.description or "",
        "optional": field.optional,
        **_keywords(field),
    }
    if values is not None:
        found["enum"] = [value for value in values if value is not None]
    if meanings:
        found["meanings"] = meanings
    if field.fields is not None:
        found["fields"] = {
            child: _template_field(child, each, child_path(path, child), enum_values)
            for child, each in field.fields.items()
        }
    if field.items is not None:
        found["items"] = _template_field("items", field.items, f"{path}[]", enum_values)
    return found


def _fields_of_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `fields` of a `schema_file`; references in it are not resolved."""
    required = schema.get("required", ())
    found: dict[str, Any] = {}
    for name, node in schema.get("properties", {}).items():
        found[name] = _field_of_node(name, node if isinstance(node, Mapping) else {})
        found[name]["optional"] = name not in required
    return found


def _field_of_node(name: str, node: Mapping[str, Any]) -> dict[str, Any]:
    known = {keyword: node[keyword] for _, keyword in KEYWORDS if keyword in node}
    found = {"name": name, "type": node.get("type", []), "description": node.get("description", ""), **known}
    if isinstance(node.get("enum"), list):
        found["enum"] = [value for value in node["enum"] if value is not None]
    if isinstance(node.get("properties"), Mapping):
        found["fields"] = _fields_of_schema(node)
    if isinstance(node.get("items"), Mapping):
        found["items"] = _field_of_node("items", node["items"])
    return found
