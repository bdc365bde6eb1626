"""Read the names that DuckDB itself gives to types, as DESCRIBE prints them, into trees."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from batchpipe.sql.quoting import Sql, quote_identifier

# A quoted name or literal, a word, a number, or a sign.
_TOKEN = re.compile(r"""\s*("(?:[^"]|"")*"|'(?:[^']|'')*'|[A-Za-z_][A-Za-z0-9_]*|\d+|[(),\[\]])""")
_WITH_FIELDS = ("STRUCT", "UNION")


@dataclass(frozen=True, slots=True)
class TypeTree:
    """A type of DuckDB.

    `name`: LIST, ARRAY, STRUCT, MAP, TUPLE, UNION, or the name of a type of single values, with its parameters
    (`DECIMAL(12,2)`). `children`: the types inside, each with the field's name where it has one. `length`: of an ARRAY.
    """

    name: str
    children: tuple[tuple[str, TypeTree], ...] = ()
    length: int = 0

    @property
    def word(self) -> str:
        """Return the name without parameters."""
        return self.name.partition("(")[0]

    @property
    def item(self) -> TypeTree:
        """Return the type of the items of a list or an array."""
        return self.children[0][1]

    @property
    def sql(self) -> Sql:
        """Return the type as SQL."""
        if self.name == "LIST":
            return Sql(f"{self.item.sql}[]")
        if self.name == "ARRAY":
            return Sql(f"{self.item.sql}[{self.length}]")
        if not self.children:
            return Sql(self.name)
        inner = (f"{quote_identifier(name)} {each.sql}" if name else each.sql for name, each in self.children)
        return Sql(f"{self.name}({', '.join(inner)})")

    def some(self, test: Callable[[TypeTree], bool]) -> bool:
        """Return whether `test` is true of this type or of one inside it."""
        return test(self) or any(each.some(test) for _, each in self.children)

    def changed(self, change: Callable[[TypeTree], TypeTree]) -> TypeTree:
        """Return the type with `change` made to each type of single values inside it."""
        if not self.children:
            return change(self)
        return replace(self, children=tuple((name, each.changed(change)) for name, each in self.children))


@lru_cache(maxsize=1024)
def type_tree(text: str) -> TypeTree:
    """Return the type that DuckDB writes as `text`. What is not understood is a type of single values."""
    try:
        return _Reader(text).whole()
    except (ValueError, IndexError):
        return TypeTree(text)


class _Reader:
    """Reads one type; raises ValueError or IndexError for what DuckDB does not write."""

    def __init__(self, text: str) -> None:
        self.tokens: list[str] = []
        at = 0
        while text[at:].strip():
            found = _TOKEN.match(text, at)
            if found is None:
                raise ValueError(text)
            self.tokens.append(found[1])
            at = found.end()
        self.at = 0

    def next(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1]

    def whole(self) -> TypeTree:
        found = self.type()
        if self.next():
            raise ValueError(self.next())
        return found

    def type(self) -> TypeTree:
        found = self.base()
        while self.next() == "[":
            self.take()
            if self.next() == "]":
                found = TypeTree("LIST", (("", found),))
            else:
                found = TypeTree("ARRAY", (("", found),), int(self.take()))
            if self.take() != "]":
                raise ValueError("[")
        return found

    def base(self) -> TypeTree:
        name = self.take()
        while self.next()[:1].isalpha():  # TIMESTAMP WITH TIME ZONE
            name += " " + self.take()
        if self.next() != "(":
            return TypeTree(name)
        if name in (*_WITH_FIELDS, "MAP", "TUPLE"):
            return TypeTree(name, tuple(self.inside(name)))
        return TypeTree(name + self.parameters())

    def inside(self, name: str) -> list[tuple[str, TypeTree]]:
        """Return the types between parentheses, with names where STRUCT or UNION give them."""
        found = []
        while self.take() != ")":
            # A STRUCT without names is written as its types alone.
            named = name in _WITH_FIELDS and self.tokens[self.at + 1] not in (",", ")", "(", "[")
            label = self.take() if named else ""
            if label.startswith('"'):
                label = label[1:-1].replace('""', '"')
            found.append((label, self.type()))
            if self.next() not in (",", ")"):
                raise ValueError(self.next())
        return found

    def parameters(self) -> str:
        """Return the parameters of a type of single values as DuckDB writes them: numbers, or the values of an enum."""
        parts = [self.take()]
        while parts[-1] != ")":
            parts.append(self.take())
        values = [each for each in parts if each not in ("(", ")", ",")]
        return f"({', '.join(values) if values[:1] and values[0].startswith(chr(39)) else ','.join(values)})"
