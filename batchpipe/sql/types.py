"""DuckDB's types as values: the types that a JSON document can be read into, and the parser of `column = "TYPE"`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from batchpipe.sql.quoting import quote_identifier

INTEGERS = {
    "TINYINT": 127,
    "SMALLINT": 2**15 - 1,
    "INTEGER": 2**31 - 1,
    "BIGINT": 2**63 - 1,
    "HUGEINT": 2**127 - 1,
    "UTINYINT": 255,
    "USMALLINT": 2**16 - 1,
    "UINTEGER": 2**32 - 1,
    "UBIGINT": 2**64 - 1,
    "UHUGEINT": 2**128 - 1,
}
TIMESTAMPS = {"TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"}
OTHERS = {"BOOLEAN", "FLOAT", "DOUBLE", "VARCHAR", "DATE", "TIME", "TIMESTAMPTZ", "INTERVAL", "UUID", "BLOB"}
ALIASES = {
    "BOOL": "BOOLEAN",
    "INT": "INTEGER",
    "INT1": "TINYINT",
    "INT2": "SMALLINT",
    "INT4": "INTEGER",
    "INT8": "BIGINT",
    "LONG": "BIGINT",
    "REAL": "FLOAT",
    "FLOAT4": "FLOAT",
    "FLOAT8": "DOUBLE",
    "TEXT": "VARCHAR",
    "STRING": "VARCHAR",
    "NUMERIC": "DECIMAL",
    "DATETIME": "TIMESTAMP",
    "BYTEA": "BLOB",
}


@dataclass(frozen=True, slots=True)
class Scalar:
    """The type of a single value; `type` is DuckDB's name of it, with parameters: `DECIMAL(12,2)`."""

    type: str

    @property
    def sql(self) -> str:
        return self.type


@dataclass(frozen=True, slots=True)
class Json:
    """The type JSON: the value is kept as it is."""

    @property
    def sql(self) -> str:
        return "JSON"


@dataclass(frozen=True, slots=True)
class Many:
    """The type LIST, with the type of its items."""

    item: Shape

    @property
    def sql(self) -> str:
        return f"{self.item.sql}[]"


@dataclass(frozen=True, slots=True)
class Struct:
    """The type STRUCT, with the name and type of each field, at least one."""

    fields: tuple[tuple[str, Shape], ...]

    @property
    def sql(self) -> str:
        return f"STRUCT({', '.join(f'{quote_identifier(name)} {shape.sql}' for name, shape in self.fields)})"


Shape = Scalar | Json | Many | Struct

_TOKEN = re.compile(r'\s*(?:("(?:[^"]|"")+")|([A-Za-z_][A-Za-z0-9_]*)|(\d+)|([(),\[\]]))')


def parse_type(text: str) -> Shape:
    """Parse the name of a DuckDB type, such as `DECIMAL(12,2)` or `STRUCT(a DATE, b INTEGER[])`.

    Raises ValueError; its message is for the user.
    """
    parser = _Parser(text)
    shape = parser.type()
    parser.end()
    return shape


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[str] = []
        self.position = 0
        at = 0
        while text[at:].strip():
            found = _TOKEN.match(text, at)
            if found is None:
                raise ValueError(f"{text[at:].strip()[0]!r} is not part of a type")
            self.tokens.append(found[0].strip())
            at = found.end()

    def peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def take(self, expected: str = "") -> str:
        token = self.peek()
        if not token or (expected and token != expected):
            raise ValueError(f"{expected or 'a type'!r} is missing" + (f" before {token!r}" if token else ""))
        self.position += 1
        return token

    def end(self) -> None:
        if self.peek():
            raise ValueError(f"{self.peek()!r} after the type is not understood")

    def type(self) -> Shape:
        shape = self.base()
        while self.peek() == "[":
            self.take()
            if self.peek().isdigit():
                raise ValueError("an array of fixed length is not supported; write []")
            self.take("]")
            shape = Many(shape)
        return shape

    def base(self) -> Shape:
        word = self.take()
        name = ALIASES.get(word.upper(), word.upper())
        if name == "STRUCT":
            return self.struct()
        if name == "DECIMAL":
            return self.decimal()
        if name == "JSON":
            return Json()
        if name in INTEGERS or name in TIMESTAMPS or name in OTHERS:
            return Scalar(name)
        raise ValueError(f"{word!r} is not a type that a column can have")

    def struct(self) -> Struct:
        self.take("(")
        fields: list[tuple[str, Shape]] = []
        while True:
            name = self.take()
            if name in ("(", ")", ",", "[", "]") or name[0].isdigit():
                raise ValueError(f"a field name is missing before {name!r}")
            plain = name[1:-1].replace('""', '"') if name.startswith('"') else name
            if plain.lower() in {known.lower() for known, _ in fields}:
                raise ValueError(f"the field {plain!r} is there twice")
            fields.append((plain, self.type()))
            if self.peek() != ",":
                break
            self.take()
        self.take(")")
        return Struct(tuple(fields))

    def decimal(self) -> Scalar:
        width, scale = 18, 3
        if self.peek() == "(":
            self.take()
            width, scale = self.number(), 0
            if self.peek() == ",":
                self.take()
                scale = self.number()
            self.take(")")
        if not 1 <= width <= 38 or scale > width:
            raise ValueError(f"DECIMAL({width},{scale}): at most 38 digits, and no more of them after the point")
        return Scalar(f"DECIMAL({width},{scale})")

    def number(self) -> int:
        token = self.take()
        if not token.isdigit():
            raise ValueError(f"{token!r} is not a number of digits")
        return int(token)
