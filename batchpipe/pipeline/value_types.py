"""The types of the values in a pipeline file: sizes, shares, amounts of money, lists of names."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, WithJsonSchema

NAME_PATTERN = r"^[a-z][a-z0-9_]*$"
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
