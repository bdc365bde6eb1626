"""Search for labels in a text: mentions of a value, words that look like labels, lists of labels, other spellings."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from batchpipe.template.texts import HOLE

LIKENESS = 0.86
SHORTEST_MISSPELLED = 5
LONGEST_LABEL_WORDS = 4
QUOTES = "\"'`*“”‘’<>[]() \t\n"
NEAR_CHARACTERS = 200  # text further away from a mention does not belong to it

_QUOTED = re.compile(
    r"\"([^\"\n]{2,40})\"|“([^”\n]{2,40})”|`([^`\n]{2,40})`|\*\*([^*\n]{2,40})\*\*|(?<!\w)'([^'\n]{2,40})'(?!\w)"
    r"|\b([A-Za-z0-9]+_[A-Za-z0-9_]+)\b"
)
_ITEM = re.compile(
    r"\s*(?P<bullet>[-*•+]|\d+[.)]|\|)[ \t]+(?P<head>[^|\n]*[^|\s])|\s*(?P<word>\S[^:\n]{0,40}?)\s*(?::|→|->|=|[-–—])\s"
)
_HEAD_END = re.compile(r":|\s[-–—=]|\s->|→|\s\(|,|\.(?:\s|$)")
_SEPARATOR = re.compile(r",\s*(?:or|and)\b|[,;|/]|\bor\b|\band\b", re.IGNORECASE)
_CLAUSE = re.compile(rf"[^.!?:\n{HOLE}]+(?:[.](?=\w)[^.!?:\n{HOLE}]+)*")
_LOOSE = re.compile(r"\b(?:etc|such as|e\.g|for example|for instance|like|including)\b", re.IGNORECASE)
_JOINED = r"[\s\"'`*“”‘’|/,;]*(?:\b(?:or|and)\b)?[\s\"'`*“”‘’|/,;]*"
_SAID = re.compile(
    r"[\"'`*”’)\]]*\s*(?:[:(=]|[-–—]{1,2}>?\s|→|(?:if|when|where|for|means|is|are|covers|includes)\b)", re.IGNORECASE
)
# Words that can stand directly before, or directly after, an enumeration of labels.
_BEFORE = re.compile(
    r"\b(?:of|as|into|between|either|is|are|be|with|only|values?|labels?|categor\w+|class(?:es)?|queues?|tags?|choose|pick"
    r"|use|answer|select|return|exactly)$"
)
_AFTER = re.compile(r"(?:if|when|where|for|as|depending|according|based|label|category|alone|only)\b|[-–—(]")
_TAG = re.compile(r"</?\w+>")
_ITEM_START = re.compile(r"^\s*(?:[-*•+]|\d+[.)])?\s*")


@dataclass(frozen=True, slots=True)
class Mention:
    """Some words of a text, and the offset at which they begin."""

    text: str
    offset: int

    @property
    def plain(self) -> str:
        """Return the words without quotation marks and full stops around them."""
        return self.text.strip(QUOTES + ".")


def occurrences(text: str, value: str) -> list[tuple[int, int]]:
    """Return (start, end) of each `value` in `text` as a whole word, in upper or lower case."""
    return [each.span() for each in re.finditer(rf"(?<![\w-]){re.escape(value)}(?![\w-])", text, re.IGNORECASE)]


def explains(text: str, value: str, values: Sequence[str]) -> bool:
    """Return whether `text` explains `value`: some mention of it is more than an item in a list of `values`."""
    others = "|".join(re.escape(each) for each in sorted(values, key=len, reverse=True))
    before = re.compile(rf"(?:{others}){_JOINED}$", re.IGNORECASE)
    after = re.compile(rf"{_JOINED}(?:{others})(?!\w)", re.IGNORECASE)
    for start, end in occurrences(text, value):
        left, right = text[max(0, start - NEAR_CHARACTERS) : start], text[end : end + NEAR_CHARACTERS]
        line = left.rpartition("\n")[2] + value + right.partition("\n")[0]
        alone = _ITEM_START.sub("", _TAG.sub("", line)).strip(QUOTES + ".,;") == value
        if not alone and (_SAID.match(right) or not (before.search(left) or after.match(right))):
            return True
    return False


def quoted_words(text: str) -> Iterator[Mention]:
    """Yield words in quotes, code or bold, and words with `_`."""
    for found in _QUOTED.finditer(text):
        if found.lastindex:
            yield Mention(found[found.lastindex], found.start(found.lastindex))


def headed_lists(text: str) -> Iterator[list[Mention]]:
    """Yield the first words of the items of each list.

    A list is lines, one after the other, with the same bullet, or with a word and its meaning.
    """
    heads: list[Mention] = []
    start, kind = 0, ""
    for line in [*text.split("\n"), ""]:
        is_rule = "---" in line and not line.strip("|:- \t")
        item = None if is_rule else _ITEM.match(line)
        mark = _bullet(item)
        # The line above the rule of a table is its header, not an item.
        if mark != kind and len(heads) >= 2 and not is_rule:
            yield heads
        if mark != kind:
            heads, kind = [], mark
        if item is not None:
            group = "head" if item["head"] else "word"
            heads.append(Mention(_HEAD_END.split(item[group], maxsplit=1)[0], start + item.start(group)))
        start += len(line) + 1


def _bullet(item: re.Match[str] | None) -> str:
    """Return the kind of an item: its bullet, `1` for any number, `:` for a word and its meaning, "" for no item."""
    if item is None:
        return ""
    bullet = item["bullet"] or ":"
    return "1" if bullet[0].isdigit() else bullet


def enumerations(text: str) -> Iterator[list[Mention]]:
    """Yield the items of each clause that has several, separated by commas, slashes, bars, `or` and `and`.

    An item of many words ends an enumeration and may begin the next.
    """
    for clause in _CLAUSE.finditer(text):
        if _LOOSE.search(clause[0]):
            continue
        start = 0
        items: list[Mention] = []
        for separator in [*_SEPARATOR.finditer(clause[0]), None]:
            end = separator.start() if separator else len(clause[0])
            items.append(Mention(clause[0][start:end], clause.start() + start))
            start = separator.end() if separator else end
            is_long = len(items[-1].text.split()) >= LONGEST_LABEL_WORDS
            if len(items) >= 2 and (is_long or separator is None):
                yield items
                items = items[-1:]


def value_in(words: str, values: Mapping[str, str], *, first: bool = False, last: bool = False) -> str | None:
    """Return the value that `words` name; None if they name none. `values` are by case-folded spelling.

    The first item of an enumeration may have other words before the value ("answer with one of billing"), the last item
    may have others after it ("other if nothing fits").
    """
    folded = words.casefold()
    if folded in values:
        return values[folded]
    spaces = [each.span() for each in re.finditer(r"\s+", folded)]
    for start, end in spaces if first else ():
        value = values.get(folded[end:].strip(QUOTES))
        if value is not None and _BEFORE.search(folded[:start]):
            return value
    for start, end in reversed(spaces) if last else ():
        value = values.get(folded[:start].strip(QUOTES))
        if value is not None and _AFTER.match(folded[end:]):
            return value
    return None


def spelled_like(words: str, values: Sequence[str], *, strict: bool = False) -> str | None:
    """Return the one of `values` that `words` spell in another way; None if they are a value, in any case.

    With `strict` only another separator counts (`feature request`), else also a plural and a misspelling.
    """
    wanted = _joined(words)
    if not wanted or HOLE in words or len(words.split()) > LONGEST_LABEL_WORDS:
        return None
    if words.casefold() in {value.casefold() for value in values}:
        return None
    by_letters = {_joined(value): value for value in values}
    if wanted in by_letters or strict:
        return by_letters.get(wanted)
    for letters, value in by_letters.items():
        if len(letters) >= 3 and (f"{wanted}s" == letters or f"{letters}s" == wanted):
            return value
    long = [each for each in by_letters if min(len(wanted), len(each)) >= SHORTEST_MISSPELLED]
    near = difflib.get_close_matches(wanted, long, 1, LIKENESS)
    return by_letters[near[0]] if near else None


def _joined(text: str) -> str:
    return re.sub(r"[\s_/-]+", "", text.casefold())
