"""The types of the values in a pipeline file: sizes, amounts, names, the base of its tables, a field of an answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, WithJsonSchema

# Names of files are made of a name, and a file system takes 255 bytes.
NAME_PATTERN = r"^[a-z][a-z0-9_]{0,99}$"
SIZE_PATTERN = r"^\s*\d+(\.\d+)?\s*([kKmMgG]i?)?[bB]?\s*$"
SIZE_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def listed(value: Any) -> Any:
    """Return a single string as a tuple of one."""
    return (value,) if isinstance(value, str) else value


def parse_size(value: Any) -> Any:
    """Return the bytes that `"32MB"`, `"1 GB"` or `"16 MiB"` names; a value that is not text is returned as it is.

    Raises ValueError for another text.
    """
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmg]i?)?b?\s*", value, re.IGNORECASE)
    if found is None:
        raise ValueError(value)
    return int(Decimal(found[1]) * SIZE_UNITS[(found[2] or "").lower()])


Whole = Annotated[int, Strict()]
Number = Annotated[Annotated[int, Strict()] | Annotated[float, Strict()], WithJsonSchema({"type": "number"})]
Share = Annotated[
    Annotated[int, Strict()] | Annotated[float, Strict()],
    Field(ge=0, le=1),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1}),
]
PartOfAll = Annotated[
    Annotated[int, Strict()] | Annotated[float, Strict()],
    Field(ge=0, lt=1),
    WithJsonSchema({"type": "number", "minimum": 0, "exclusiveMaximum": 1}),
]
SomeShare = Annotated[
    Annotated[int, Strict()] | Annotated[float, Strict()],
    Field(gt=0, le=1),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "maximum": 1}),
]
SomePart = Annotated[
    Annotated[int, Strict()] | Annotated[float, Strict()],
    Field(gt=0, lt=1),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
]
Flag = Annotated[bool, Strict()]
Names = Annotated[tuple[str, ...], BeforeValidator(listed, json_schema_input_type=str | tuple[str, ...])]
Size = Annotated[
    int,
    Strict(),
    Field(gt=0),
    BeforeValidator(parse_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "exclusiveMinimum": 0},
                {"type": "string", "pattern": SIZE_PATTERN},
            ],
            "type_text": 'a number of bytes above 0, or a size like "32MB"',
        }
    ),
]
Scalar = str | int | float | bool
Dollars = Annotated[Decimal, Field(ge=0), WithJsonSchema({"type": "number", "minimum": 0})]
OlderName = Annotated[str, Field(pattern=NAME_PATTERN)]


class Frozen(BaseModel):
    """Base of the tables: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False, defer_build=True)


class EnumQuery(Frozen):
    """An enum whose values come from a query of one or two columns (value, meaning)."""

    query: str


def _enum(value: Any) -> Any:
    """Return `{query = "..."}` as a query; any other table maps values to their meanings and is returned as it is."""
    if isinstance(value, Mapping) and set(value) == {"query"} and isinstance(value["query"], str):
        return EnumQuery(query=value["query"])
    return value


Enum = Annotated[
    EnumQuery | tuple[Scalar | None, ...] | Mapping[str, str],
    Field(union_mode="left_to_right"),
    BeforeValidator(_enum),
]


class OutputField(Frozen):
    """`[output.fields.NAME]`: one field, with the keywords of JSON Schema."""

    type: str | tuple[str, ...] | None = Field(
        default=None,
        description="JSON Schema type: string, number, integer, boolean, object, array; or a list of them.",
    )
    description: str | None = Field(default=None, description="Shown to the model; the column's comment.")
    enum: Enum | None = Field(
        default=None,
        description='Allowed values: a list, `{value = "meaning"}` or `{query = "SELECT ..."}`.',
        json_schema_extra={"type_text": 'a list of values, a table {value = "meaning"} or {query = "SELECT ..."}'},
    )
    const: Scalar | None = Field(default=None, description="The only allowed value.")
    format: str | None = Field(default=None, description="`date`, `date-time`, `uuid`, `email`, ...")
    pattern: str | None = Field(default=None, description="Regular expression that a string must match.")
    min_length: Whole | None = Field(default=None, alias="minLength", description="Fewest characters of a string.")
    max_length: Whole | None = Field(default=None, alias="maxLength", description="Most characters of a string.")
    minimum: Number | None = Field(default=None, description="Smallest number.")
    maximum: Number | None = Field(default=None, description="Largest number.")
    exclusive_minimum: Number | None = Field(default=None, alias="exclusiveMinimum", description="Above this number.")
    exclusive_maximum: Number | None = Field(default=None, alias="exclusiveMaximum", description="Below this number.")
    multiple_of: Number | None = Field(default=None, alias="multipleOf", description="The number is a multiple of it.")
    min_items: Whole | None = Field(default=None, alias="minItems", description="Fewest items of an array.")
    max_items: Whole | None = Field(default=None, alias="maxItems", description="Most items of an array.")
    unique_items: Flag | None = Field(default=None, alias="uniqueItems", description="No value twice in the array.")
    optional: Flag = Field(default=False, description="The model may leave the field out.")
    renamed_from: str | None = Field(
        default=None, description="Older name of a field of `[output.fields]`: stored answers stay valid, unpaid."
    )
    column: str | None = Field(default=None, description="DuckDB type of the column, e.g. `DECIMAL(12,2)`.")
    fields: Mapping[str, OutputField] | None = Field(default=None, description="The fields of an object.")
    items: OutputField | None = Field(default=None, description="The items of an array.")
