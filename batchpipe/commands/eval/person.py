"""Describe a person as the last rung of a tuned ladder: the cost, the accuracy and the pace of that person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import md5
from math import sqrt
from typing import Any, Literal

from batchpipe.commands.call.options import EvalRequest
from batchpipe.commands.eval.refusals import reviewer_dollars
from batchpipe.commands.printing.text import count, duration, money
from batchpipe.engine.quality.evaluate import Evaluation
from batchpipe.evaluation.ladder_cost import FinalAnswer
from batchpipe.evaluation.tuning import Tuning
from batchpipe.sql.canonical import json_field_sql
from batchpipe.sql.quoting import Sql, joined, quote_list, sql
from batchpipe.store.queries import query

NAME = "a person"
FEWEST = 20  # rows from which on a person's accuracy is computed

Source = Literal["given", "gold", "seen_twice", "unknown"]
SOURCES = {
    "given": "as given",
    "gold": "by the gold rows that people reviewed",
    "seen_twice": "by the rows that two people reviewed",
    "unknown": "not known, and taken as 100%: give it with --reviewer-accuracy",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A person who answers rows: `usd` for each, right on the share `accuracy`, known from `source`.

    `seconds_per_row` is the pace at this desk, None where nobody has reviewed rows one after another.
    """

    usd: Decimal
    accuracy: float
    source: Source
    seconds_per_row: float | None

    def answer(self, key: str, has: tuple[bool, ...]) -> FinalAnswer:
        """Return the person's answer to the gold row `key`; `has` says which promised values are true.

        Which rows the person gets wrong is drawn by the hash of the key, so that the test of the promise stays exact.
        """
        drawn = int(md5(f"person\x1f{key}".encode(), usedforsecurity=False).hexdigest()[:12], 16) / 16**12
        right = drawn < self.accuracy
        given = has if right else (False,) * len(has)
        return FinalAnswer(valid=True, correct=right, confidence=None, cost_usd=self.usd, has=given)


def read_person(evaluation: Evaluation, request: EvalRequest) -> Person | None:
    """Return the person that the options ask for, None without `--reviewer-usd`.

    The accuracy is given, or measured on reviewed gold rows, or follows from rows that two people reviewed: if both are
    right with the same chance p and seldom make the same mistake, they agree on the share p².
    Reads `ledger.reviews`. Raises UsageError for numbers out of range.
    """
    if request.reviewer_usd is None:
        return None
    usd, names = reviewer_dollars(request.reviewer_usd), evaluation.sides[0].ladder.file.pipeline.names
    same = joined(
        " AND ",
        (
            sql(
                "{one} IS NOT DISTINCT FROM {other}",
                one=json_field_sql(Sql("a.after"), each.name),
                other=json_field_sql(Sql("b.after"), each.name),
            )
            for each in evaluation.gold.fields
        ),
    )
    with evaluation.context.database.reading(evaluation.work) as session:
        twice, agreed = session.one(query("seen_twice", pipelines=quote_list(names), same=same))
        pace = session.one(query("pace_of_review", pipelines=quote_list(names)))[0]
    gold, right = evaluation.rows.people
    accuracy = 1.0
    source: Source = "unknown"
    if request.reviewer_accuracy is not None:
        accuracy, source = request.reviewer_accuracy, "given"
    elif gold >= FEWEST:
        accuracy, source = right / gold, "gold"
    elif twice >= FEWEST:
        accuracy, source = sqrt(agreed / twice), "seen_twice"
    return Person(usd=usd, accuracy=accuracy, source=source, seconds_per_row=pace)


def person_share(tuning: Tuning, rung: int) -> float:
    """Return the share of the rows that the tuned ladder leaves to the person, who is the rung `rung`."""
    answered = dict(zip(tuning.ladder.rungs, tuning.measured.answered, strict=True))
    return answered.get(rung, 0) / tuning.measured.accuracy.n


def person_object(person: Person | None, tuning: Tuning, rung: int) -> dict[str, Any]:
    """Return what `--json` adds for a person as the last rung."""
    if person is None:
        return {}
    share = person_share(tuning, rung)
    return {
        "person": {
            "usd": person.usd,
            "accuracy": person.accuracy,
            "accuracy_from": person.source,
            "share": share,
            "usd_per_1000": person.usd * 1000 * Decimal(str(share)),
            "seconds_per_row": person.seconds_per_row,
        }
    }


def person_text(person: Person, tuning: Tuning, rung: int) -> str:
    """Return what the person does in the tuned ladder, for how much, and how long it takes."""
    share = person_share(tuning, rung)
    rows = round(1000 * share)
    cost = money(person.usd * 1000 * Decimal(str(share)))
    words = [
        f"A person sees {count(rows)} of 1,000 rows, for {cost}: those that no rung accepts, which `review` shows.",
        f"A person is right on {person.accuracy:.1%} of them ({SOURCES[person.source]}).",
    ]
    if person.seconds_per_row is not None:
        words.append(f"At this desk's pace, {duration(person.seconds_per_row)} a row, that takes ")
        words[-1] += f"{duration(person.seconds_per_row * rows)} for 1,000 rows."
    return "\n".join(words)


def rung_names(models: Sequence[str], person: Person | None) -> list[str]:
    """Return the names of the rungs, the person's last."""
    return [*models, *([NAME] if person is not None else [])]
