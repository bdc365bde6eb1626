"""Labels in the prompt against the values of the schema's enums.

Text is read for label-like words alone: in quotes, code or bold, at the head of list items, in enumerations of labels.
Prose that happens to use a label's words is left in peace.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchpipe.lint.subject import Finding, Labels, Subject, listed
from batchpipe.lint.words import (
    LONGEST_LABEL_WORDS,
    Mention,
    enumerations,
    headed_lists,
    marked,
    occurrences,
    spelled_like,
    value_of,
)
from batchpipe.template.texts import HOLE, Part


@dataclass(frozen=True, slots=True)
class _List:
    """A list that names labels: its items, and for each the value that it is."""

    items: Sequence[Mention]
    values: Sequence[str | None]
    strict: bool

    @property
    def named(self) -> set[str]:
        return {each for each in self.values if each is not None}

    def others(self) -> Iterator[Mention]:
        """The items that are no value; of an enumeration only what stands among the values."""
        places = [place for place, value in enumerate(self.values) if value is not None]
        for place, (item, value) in enumerate(zip(self.items, self.values, strict=True)):
            if value is None and (self.strict or places[0] < place or place == len(self.items) - 1):
                yield item


def differing_labels(subject: Subject) -> Iterator[Finding]:
    """Labels in the prompt that are no values of the enum, and lists that lack values of it."""
    enums = subject.labels
    known = {value.casefold() for each in enums for value in each.values}
    names = {name.casefold() for part in subject.parts for dotted in part.names for name in dotted.split(".")}
    names |= {name.casefold() for name in _properties(subject.schema)}
    for labels in enums:
        unnamed = _unnamed(subject, labels)
        for part in subject.parts:
            lists = list(_lists(part.text, labels))
            for mention, value in _misspelled(labels, part.text, lists, known | names):
                unnamed = [each for each in unnamed if each != value]
                yield Finding(
                    what=f"the prompt says `{mention.plain}`, the value of {labels.path} is `{value}`",
                    where=subject.at(part, mention.offset),
                    hint=f"Write `{value}`, or let the template write the values: {labels.loop}.",
                )
            yield from _foreign(subject, labels, part, lists, known)
            missing = next((each for each in lists if 2 * len(each.named) >= len(labels.values)), None)
            if unnamed and missing:
                yield Finding(
                    what=f"the list of labels lacks {listed(unnamed)} of {labels.path}",
                    where=subject.at(part, missing.items[0].offset),
                    hint=f"Name every value, or let the template do it: {labels.loop}.",
                )
                unnamed = []
        yield from _in_rows(subject, labels)


def _properties(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        for name, child in (node.get("properties") or {}).items():
            yield name
            yield from _properties(child)
        yield from _properties(node.get("items"))


def _lists(text: str, labels: Labels) -> Iterator[_List]:
    """The lists that hold two of the values or more, at least half of their items."""
    by_case = {value.casefold(): value for value in labels.values}
    headed = [(each, True) for each in headed_lists(text)]
    for items, strict in [*headed, *((each, False) for each in enumerations(text))]:
        ends = (0, len(items) - 1)
        values = [
            value_of(
                each.plain,
                by_case,
                first=not strict and place == ends[0],
                last=not strict and place == ends[1],
            )
            for place, each in enumerate(items)
        ]
        found = _List(items=items, values=values, strict=strict)
        if len(found.named) >= 2 and 2 * sum(each is not None for each in values) >= len(items):
            yield found


def _misspelled(labels: Labels, text: str, lists: Sequence[_List], known: set[str]) -> Iterator[tuple[Mention, str]]:
    """Label-like words that are another spelling of a value, each once, with that value.

    A word in quotes may be quoted for itself: where the value is named as well, only its separators may betray it.
    """
    in_lists = [(item, False) for each in lists for item in each.others()]
    seen = set(known)
    for mention, quoted in sorted(
        [*((each, True) for each in marked(text)), *in_lists], key=lambda each: each[0].offset
    ):
        words = mention.plain
        if words.casefold() in seen:
            continue
        seen.add(words.casefold())
        near = spelled_like(words, labels.values)
        if near is not None and quoted and occurrences(text, near):
            near = spelled_like(words, labels.values, strict=True)
        if near is not None:
            yield mention, near


def _foreign(
    subject: Subject, labels: Labels, part: Part, lists: Sequence[_List], known: set[str]
) -> Iterator[Finding]:
    for each in lists:
        found = [item for item in each.others() if _looks_like_a_label(item, labels, known)]
        if found:
            are = "are no values" if len(found) > 1 else "is no value"
            yield Finding(
                what=f"{listed([item.plain for item in found])} in a list of labels {are} of {labels.path}",
                where=subject.at(part, found[0].offset),
                hint=f"Add it to the enum, or remove it from the prompt; so that they agree: {labels.loop}.",
            )
            return


def _looks_like_a_label(item: Mention, labels: Labels, known: set[str]) -> bool:
    """Whether an item between labels is a word of its own, or words in quotes, and no label of any enum."""
    words = item.plain
    if HOLE in item.text or words.casefold() in known or spelled_like(words, labels.values) is not None:
        return False
    in_quotes = len(item.text.strip()) >= len(words) + 2 and len(words.split()) <= LONGEST_LABEL_WORDS
    return re.fullmatch(r"[\w-]{3,}", words) is not None or (bool(words) and in_quotes)


def _unnamed(subject: Subject, labels: Labels) -> list[str]:
    """The values that the prompt does not name anywhere; none where the template writes them."""
    by_template = any(name.split(".")[0] == "fields" for part in subject.parts for name in part.names)
    if by_template or label_columns(subject, labels):
        return []
    texts = [*(subject.text(part) for part in subject.parts), *map(str, subject.variables.values())]
    return [each for each in labels.values if not any(occurrences(text, each) for text in texts)]


def _in_rows(subject: Subject, labels: Labels) -> Iterator[Finding]:
    """Examples whose label is no value of the enum."""
    values = {value.casefold() for value in labels.values}
    for name, column in label_columns(subject, labels):
        held = {str(row[column]) for row in subject.queries[name] if row[column] is not None}
        foreign = sorted(each for each in held if each.casefold() not in values)
        if foreign:
            are = "are no values" if len(foreign) > 1 else "is no value"
            yield Finding(
                what=f"{listed(foreign)} in column {column} of the query {name} {are} of {labels.path}",
                where=subject.place(f"[prompt.queries] {name}", "[prompt.queries]"),
                hint="Correct the rows, or add the value to the enum.",
            )


def label_columns(subject: Subject, labels: Labels) -> list[tuple[str, str]]:
    """The queries and columns that hold labels: two of the values or more, and half as many others at most."""
    values = {value.casefold() for value in labels.values}
    found = []
    for name, rows in subject.queries.items():
        for column in rows[0] if rows else ():
            held = {str(row[column]).casefold() for row in rows if row[column] is not None}
            if len(held & values) >= 2 and 3 * len(held & values) >= 2 * len(held):
                found.append((name, column))
    return found
