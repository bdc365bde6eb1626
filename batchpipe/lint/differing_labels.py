"""The rule that compares labels in the prompt with the values of the schema's enums.

Only words that look like labels are read: in quotes, code or bold, at the beginning of a list's items, in enumerations
of labels. Other text may use the words of a label.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchpipe.lint.mentions import (
    LONGEST_LABEL_WORDS,
    Mention,
    enumerations,
    headed_lists,
    occurrences,
    quoted_words,
    spelled_like,
    value_in,
)
from batchpipe.lint.subject import Finding, Labels, Subject, listed_in_words
from batchpipe.template.texts import HOLE, PromptText


@dataclass(frozen=True, slots=True)
class _List:
    """A list of labels in a text: its items, and for each the enum's value that it names (None: no value).

    `strict`: the items of a list with bullets, all of which should be values; else an enumeration within a sentence.
    """

    items: Sequence[Mention]
    values: Sequence[str | None]
    strict: bool

    @property
    def named(self) -> set[str]:
        return {each for each in self.values if each is not None}

    def others(self) -> Iterator[Mention]:
        """Yield the items that are no value; in an enumeration only those between values, and the last item."""
        places = [place for place, value in enumerate(self.values) if value is not None]
        for place, (item, value) in enumerate(zip(self.items, self.values, strict=True)):
            if value is None and (self.strict or places[0] < place or place == len(self.items) - 1):
                yield item


def differing_labels(subject: Subject) -> Iterator[Finding]:
    """Find labels in the prompt that are no values of the enum, and lists in which values of it are missing."""
    enums = subject.labels
    known = {value.casefold() for each in enums for value in each.values}
    names = {name.casefold() for prompt in subject.prompts for dotted in prompt.names for name in dotted.split(".")}
    names |= {name.casefold() for name in _properties(subject.schema)}
    for labels in enums:
        unnamed = _unnamed(subject, labels)
        for prompt in subject.prompts:
            lists = list(_lists(prompt.text, labels))
            for mention, value in _misspelled(labels, prompt.text, lists, known | names):
                unnamed = [each for each in unnamed if each != value]
                yield Finding(
                    what=f"the prompt says `{mention.plain}`, but the value of {labels.path} is `{value}`",
                    where=subject.at(prompt, mention.offset),
                    hint=f"Write `{value}`, or let the template write the values: {labels.loop}.",
                )
            yield from _foreign(subject, labels, prompt, lists, known)
            missing = next((each for each in lists if 2 * len(each.named) >= len(labels.values)), None)
            if unnamed and missing:
                yield Finding(
                    what=f"the list of labels lacks {listed_in_words(unnamed)} of {labels.path}",
                    where=subject.at(prompt, missing.items[0].offset),
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
    """Yield the lists in which two items or more, and at least half of all, are values of the enum."""
    by_case = {value.casefold(): value for value in labels.values}
    headed = [(each, True) for each in headed_lists(text)]
    for items, strict in [*headed, *((each, False) for each in enumerations(text))]:
        ends = (0, len(items) - 1)
        values = [
            value_in(
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
    """Yield words that look like a label and spell a value in another way, each once, with that value.

    A word in quotes need not be meant as a label. If the text has the value too, only another separator counts.
    """
    in_lists = [(item, False) for each in lists for item in each.others()]
    seen = set(known)
    for mention, quoted in sorted(
        [*((each, True) for each in quoted_words(text)), *in_lists], key=lambda each: each[0].offset
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
    subject: Subject, labels: Labels, prompt: PromptText, lists: Sequence[_List], known: set[str]
) -> Iterator[Finding]:
    for each in lists:
        found = [item for item in each.others() if _looks_like_a_label(item, labels, known)]
        if found:
            are = "are no values" if len(found) > 1 else "is no value"
            yield Finding(
                what=f"{listed_in_words([item.plain for item in found])} in a list of labels {are} of {labels.path}",
                where=subject.at(prompt, found[0].offset),
                hint=f"Add it to the enum, or remove it from the prompt; so that they agree: {labels.loop}.",
            )
            return


def _looks_like_a_label(item: Mention, labels: Labels, known: set[str]) -> bool:
    """Return whether an item between labels looks like a label, a single word or words in quotes, but is none."""
    words = item.plain
    if HOLE in item.text or words.casefold() in known or spelled_like(words, labels.values) is not None:
        return False
    in_quotes = len(item.text.strip()) >= len(words) + 2 and len(words.split()) <= LONGEST_LABEL_WORDS
    return re.fullmatch(r"[\w-]{3,}", words) is not None or (bool(words) and in_quotes)


def _unnamed(subject: Subject, labels: Labels) -> list[str]:
    """Return the values that the prompt does not name; none if the template writes the values itself."""
    by_template = any(name.split(".")[0] == "fields" for prompt in subject.prompts for name in prompt.names)
    if by_template or columns_of_labels(subject, labels):
        return []
    texts = [*(subject.text(prompt) for prompt in subject.prompts), *map(str, subject.variables.values())]
    return [each for each in labels.values if not any(occurrences(text, each) for text in texts)]


def _in_rows(subject: Subject, labels: Labels) -> Iterator[Finding]:
    """Find examples, in the rows of a query, whose label is no value of the enum."""
    values = {value.casefold() for value in labels.values}
    for name, column in columns_of_labels(subject, labels):
        held = {str(row[column]) for row in subject.queries[name] if row[column] is not None}
        foreign = sorted(each for each in held if each.casefold() not in values)
        if foreign:
            are = "are no values" if len(foreign) > 1 else "is no value"
            yield Finding(
                what=f"{listed_in_words(foreign)} in column {column} of the query {name} {are} of {labels.path}",
                where=subject.place(f"[prompt.queries] {name}", "[prompt.queries]"),
                hint="Correct the rows, or add the value to the enum.",
            )


def columns_of_labels(subject: Subject, labels: Labels) -> list[tuple[str, str]]:
    """Return (query, column) of the columns that hold labels.

    Such a column has two of the enum's values or more, and at most half as many other values.
    """
    values = {value.casefold() for value in labels.values}
    found = []
    for name, rows in subject.queries.items():
        for column in rows[0] if rows else ():
            held = {str(row[column]).casefold() for row in rows if row[column] is not None}
            if len(held & values) >= 2 and 3 * len(held & values) >= 2 * len(held):
                found.append((name, column))
    return found
