"""Strings that match a regular expression, for schemas with a `pattern`.

Literals, classes, groups, alternatives and counted repeats are supported, as structured outputs accept them. For any
other construct the result is None, and the caller uses a plain word.
"""

import re
from collections.abc import Callable

_CLASSES = {"d": "0123456789", "w": "abcdefghijklmnopqrstuvwxyz0123456789_", "s": " "}
_ANY = "abcdefghijklmnopqrstuvwxyz"
_PRINTABLE = "".join(chr(code) for code in range(32, 127))
_COUNT = re.compile(r"\{(\d+)(,(\d*))?\}")

Below = Callable[[int], int]


class _UnsupportedError(Exception):
    """The pattern has a construct that is not supported."""


class _Reader:
    """A reader of a pattern, once from left to right, that writes a matching string on the way."""

    def __init__(self, pattern: str, below: Below) -> None:
        self.pattern = pattern
        self.below = below
        self.at = 0

    def peek(self) -> str:
        return self.pattern[self.at] if self.at < len(self.pattern) else ""

    def alternatives(self) -> str:
        options = [self.sequence()]
        while self.peek() == "|":
            self.at += 1
            options.append(self.sequence())
        return options[self.below(len(options))]

    def sequence(self) -> str:
        parts: list[str] = []
        while self.peek() not in ("", "|", ")"):
            start = self.at
            piece = self.atom()
            end = self.at
            low, high = self.count()
            times = low + self.below(high - low + 1)
            after = self.at
            parts.extend(self.again(start, end) for _ in range(max(0, times - 1)))
            if times:
                parts.append(piece)
            self.at = after
        return "".join(parts)

    def again(self, start: int, end: int) -> str:
        self.at = start
        piece = self.atom()
        if self.at != end:
            raise _UnsupportedError
        return piece

    def atom(self) -> str:
        character = self.peek()
        self.at += 1
        if character in "^$":
            return ""
        if character == ".":
            return self.choose(_ANY)
        if character == "[":
            return self.choose(self.character_class())
        if character == "\\":
            return self.choose(self.escape())
        if character == "(":
            if self.pattern.startswith("?:", self.at):
                self.at += 2
            elif self.peek() == "?":
                raise _UnsupportedError
            inner = self.alternatives()
            if self.peek() != ")":
                raise _UnsupportedError
            self.at += 1
            return inner
        if character in "*+?{":
            raise _UnsupportedError
        return character

    def escape(self) -> str:
        character = self.peek()
        self.at += 1
        if character in _CLASSES:
            return _CLASSES[character]
        if character.isalnum() or not character:
            raise _UnsupportedError
        return character

    def character_class(self) -> str:
        negated = self.peek() == "^"
        self.at += negated
        members: list[str] = []
        while self.peek() != "]" or not members:
            character = self.peek()
            if not character:
                raise _UnsupportedError
            self.at += 1
            if character == "\\":
                members.extend(self.escape())
            elif self.peek() == "-" and self.pattern[self.at + 1 : self.at + 2] not in ("]", ""):
                last = self.pattern[self.at + 1]
                self.at += 2
                members.extend(chr(code) for code in range(ord(character), ord(last) + 1))
            else:
                members.append(character)
        self.at += 1
        if negated:
            members = [character for character in _PRINTABLE if character not in members]
        return "".join(members)

    def choose(self, options: str) -> str:
        if not options:
            raise _UnsupportedError
        return options[self.below(len(options))]

    def count(self) -> tuple[int, int]:
        character = self.peek()
        if character == "{":
            found = _COUNT.match(self.pattern, self.at)
            if found is None:
                raise _UnsupportedError
            self.at = found.end()
            low = int(found[1])
            return low, low if found[2] is None else int(found[3] or low + 2)
        if character and character in "*+?":
            self.at += 1
            if self.peek() == "?":
                self.at += 1
            return {"*": (0, 2), "+": (1, 3), "?": (0, 1)}[character]
        return 1, 1


def string_matching(pattern: str, below: Below) -> str | None:
    """Return a string in which `pattern` is found; None for a pattern that is not supported.

    `below(n)` returns a whole number from 0 to n - 1, which decides among alternatives.
    """
    reader = _Reader(pattern, below)
    try:
        made = reader.alternatives()
        return made if reader.at == len(pattern) and re.search(pattern, made) else None
    except (_UnsupportedError, re.error):
        return None
