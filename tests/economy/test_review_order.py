"""Tests of the order in which a person looks at rows: by the probability that the answer is wrong."""

from __future__ import annotations

import json
import random

import pytest
from helpers.confidences import confidence
from helpers.gold import answer_by
from helpers.reviewed import desk_of
from projects import BASIC, Project, numbered

from batchpipe.engine.quality.review import RowReview
from batchpipe.evaluation.error_model import AnswerFeatures, ReviewedAnswer, by_confidence, doubts_by_model

ANSWERS = 2_000


def answers(seed: int, *, agreement_tells: bool) -> list[ReviewedAnswer]:
    """Return answers of a model that is right on 80% of the rows and knows little of it."""
    drawn, found = random.Random(seed), []
    for _ in range(ANSWERS):
        wrong = drawn.random() < 0.2
        sure = confidence(drawn, not wrong, 0.8, 0.3)
        agrees = drawn.random() < (0.2 if wrong else 0.9) if agreement_tells else drawn.random() < 0.5
        features = AnswerFeatures(confidence=sure, rung=1, values=drawn.choice("abcdef"), agreement=float(agrees))
        found.append(ReviewedAnswer(features=features, wrong=wrong, sampled=drawn.random() < 0.7))
    return found


def found_in_a_fifth(rows: list[ReviewedAnswer], doubts: list[float]) -> float:
    order = sorted(range(len(rows)), key=lambda place: -doubts[place])[: len(rows) // 5]
    return sum(rows[place].wrong for place in order) / sum(each.wrong for each in rows)


@pytest.mark.parametrize("agreement_tells", [True, False])
def test_the_model_finds_more_errors_than_confidence_where_others_tell_and_hardly_fewer_else(
    full_sweep: bool, agreement_tells: bool
) -> None:
    draws, gain = 200 if full_sweep else 3, 0.0
    for seed in range(draws):
        rows = answers(seed, agreement_tells=agreement_tells)
        reviewed, others = rows[:800], rows[800:]
        plain = [by_confidence(each.features) for each in others]
        learned = doubts_by_model(reviewed, [each.features for each in others]) or plain
        gain += (found_in_a_fifth(others, learned) - found_in_a_fifth(others, plain)) / draws
    assert gain > 0.04 if agreement_tells else gain >= -0.005


def test_few_errors_or_few_rows_of_the_sample_leave_the_order_to_the_confidence() -> None:
    rows = answers(1, agreement_tells=True)
    features = [each.features for each in rows]
    assert doubts_by_model(rows, features) is not None
    assert doubts_by_model(rows[:100], features) is None
    picked = [ReviewedAnswer(features=each.features, wrong=each.wrong, sampled=False) for each in rows]
    assert doubts_by_model(picked, features) is None
    assert by_confidence(AnswerFeatures(confidence=None, rung=1, values="", agreement=None)) == 1


def test_rows_are_shown_by_doubt_from_the_confidence_to_what_reviews_teach(project: Project) -> None:
    rows = [row | {"body": f"question <{row['id']}>"} for row in numbered(320)]
    lines = [
        {
            "match": row["body"],
            "output": {
                "label": "bug" if row["id"] % 4 == 0 else "other",
                "confidence": 0.5 + (row["id"] * 37 % 100) / 250,
            },
        }
        for row in rows
    ]
    project.rows(rows)
    project.pipeline(BASIC.replace("score", "confidence") + '\n[review]\nwhere = "true"\nsample = 0.5\nblind = false\n')
    answer_by(project, lines)
    project.run()

    def shown(which: str = "open") -> list[tuple[int, bool]]:
        with desk_of(project, which) as desk:
            return [(int(json.loads(row.key)[0]), "sample" in row.chosen) for row in desk.all_rows()]

    def doubt(number: int) -> float:
        return -(number * 37 % 100)

    first = shown()
    rest = [number for number, sampled in first if not sampled]
    assert all(sampled for _, sampled in first[: len(first) - len(rest)])
    assert [doubt(number) for number in rest] == sorted((doubt(number) for number in rest), reverse=True)
    # A person says that "bug" is always wrong: what is left is shown by that, and no longer by the confidence.
    with desk_of(project) as desk:
        reviewed = [row for row in desk.all_rows() if "sample" in row.chosen or row.number % 2]
        said = [dict(row.answer) | ({"label": "billing"} if row.answer["label"] == "bug" else {}) for row in reviewed]
        assert sum(row.answer["label"] == "bug" for row in reviewed) >= 50
        verdicts = [
            RowReview(number=row.number, document=document, accepted=document == row.answer)
            for row, document in zip(reviewed, said, strict=True)
        ]
        assert desk.record(verdicts) == []
    left = [number % 4 == 0 for number, _ in shown()]
    assert any(left)
    assert left == sorted(left, reverse=True)
