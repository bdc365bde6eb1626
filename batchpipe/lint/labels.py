"""Rules about labels: the meaning of each should be explained, and many labels need examples."""

from __future__ import annotations

import re
from collections.abc import Iterator

from batchpipe.common.given import toml_key
from batchpipe.lint.differing_labels import columns_of_labels
from batchpipe.lint.mentions import explains
from batchpipe.lint.subject import Finding, Labels, Subject, listed_in_words

MANY_LABELS = 10
WORDS_THAT_EXPLAIN = 3

# Values that need no explanation: scales, answers, days, and words for the rest.
_PLAIN_WORDS = """
yes no maybe true false unsure unknown unclear undecided uncertain none other others n/a na null not_applicable
positive negative neutral mixed very_low low medium middle moderate high very_high minor major small large short long
formal informal casual easy hard difficult simple complex very_good good fair bad very_bad poor excellent
male female always often sometimes rarely never mild severe urgent normal fast slow strong weak agree disagree
relevant irrelevant correct incorrect full partial empty pass fail safe unsafe
monday tuesday wednesday thursday friday saturday sunday
english german french spanish italian portuguese dutch polish russian chinese japanese korean arabic turkish
"""
_PLAIN = frozenset(_PLAIN_WORDS.split())
# Codes of currencies, languages, countries and grades, and numbers.
_CODE = re.compile(r"[A-Z]{2,3}(?:[-_][A-Za-z]{2,4})?|[a-z]{2}(?:[-_][A-Z]{2})?|[-+]?\d+(?:\.\d+)?|[A-F][+-]?")

_EXAMPLES = re.compile(
    r"\b(?:examples?|beispiele?|few-?shot|for instance)\b|<(?:example|shot|sample)"
    r"|^(?:input|text|question|q|ticket|message)\s*:.*\n(?:output|label|answer|a|category)\s*:",
    re.IGNORECASE | re.MULTILINE,
)
_EXAMPLE_NAMES = re.compile(r"example|shot|sample|demo|beispiel", re.IGNORECASE)


def unexplained_labels(subject: Subject) -> Iterator[Finding]:
    """Find values that neither the prompt nor the schema explains, and whose name does not explain them."""
    texts = [*(subject.text(prompt) for prompt in subject.prompts), *map(str, subject.variables.values())]
    for labels in subject.labels:
        if all(_CODE.fullmatch(each) for each in labels.values):
            continue
        known = _explained_by_rows(subject, labels)
        obscure = [
            each
            for each in labels.values
            if not _is_plain(each)
            and each.casefold() not in known
            and not any(explains(text, each, labels.values) for text in (*texts, labels.description))
        ]
        if obscure:
            key = toml_key(obscure[0])
            are = "are" if len(obscure) > 1 else "is"
            yield Finding(
                what=f"{listed_in_words(obscure)} of {labels.path} {are} not explained anywhere",
                where=subject.field_place(labels),
                hint=f'Write the enum as a table: {key} = "what it means"; or describe it in the field or prompt.',
            )


def _explained_by_rows(subject: Subject, labels: Labels) -> set[str]:
    """Return the values that a query's rows explain: the row has another value beside it, a meaning or an example."""
    return {
        str(row[column]).casefold()
        for name, column in columns_of_labels(subject, labels)
        for row in subject.queries[name]
        if sum(value not in (None, "") for value in row.values()) > 1
    }


def _is_plain(value: str) -> bool:
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", value)
    return re.sub(r"[\s-]+", "_", value.casefold()) in _PLAIN or len(words) >= WORDS_THAT_EXPLAIN


def no_examples(subject: Subject) -> Iterator[Finding]:
    """Find enums of many values whose prompt has no example."""
    texts = [*(subject.text(prompt) for prompt in subject.prompts), *map(str, subject.variables.values())]
    if any(_EXAMPLES.search(text) for text in texts) or any(_EXAMPLE_NAMES.search(name) for name in subject.queries):
        return
    for labels in subject.labels:
        by_rows = any(len(subject.queries[name][0]) > 2 for name, _ in columns_of_labels(subject, labels))
        if len(labels.values) > MANY_LABELS and not by_rows:
            yield Finding(
                what=f"{labels.path} has {len(labels.values)} values, and the prompt shows no example",
                where=subject.field_place(labels),
                hint='Show a few rows with their label: [prompt.queries] examples = "SELECT ...", and a loop over it.',
            )
