"""Tests of a person as the last rung: which rows the models may keep, and which ones a person must see."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from math import sqrt
from typing import Any

import pytest
from helpers.confidences import population
from helpers.gold import HAIKU, SONNET, answer_by, run_eval, wrong
from helpers.reviewed import desk_of
from projects import BASIC, Project, numbered

from batchpipe.commands.eval.person import Person
from batchpipe.common.errors import PipelineError, UsageError
from batchpipe.evaluation.ladder_cost import Row, ThresholdLadder, measure
from batchpipe.evaluation.sequence import tune_by_all

ROWS = 240
LABELS = ("billing", "bug", "other")
NO_AMOUNTS = ("much", "", "-1", "nan", "inf", "1e300")
PIPELINE = (
    BASIC.replace("max_tokens = 200\n", 'max_tokens = 200\naccept = "score >= 0.8"\n')
    + f'\n[[models]]\nmodel = "{SONNET}"\nmax_tokens = 300\n'
)
GOLD = '\n[eval]\ngold = "gold.csv"\nexpect = { label = "category" }\nconfidence = "score"\n'


@pytest.mark.parametrize("accuracy", [1.0, 0.97])
def test_the_promise_holds_with_a_person_who_errs(full_sweep: bool, accuracy: float) -> None:
    person = Person(usd=Decimal("0.05"), accuracy=accuracy, source="given", seconds_per_row=None)
    rows: list[Row] = [
        [*row, person.answer(str(place), ())] for place, row in enumerate(population(5, (0.78, 0.87, 0.914), knows=0.7))
    ]
    draws, drawn, given, broken = 2_000 if full_sweep else 40, random.Random(1), 0, 0
    known: dict[ThresholdLadder, float] = {}
    share = 0.0
    for _ in range(draws):
        found = tune_by_all(drawn.sample(rows, 400), target=0.94, points=0)
        if found.reached:
            given += 1
            if found.ladder not in known:
                known[found.ladder] = measure(rows, found.ladder).accuracy.value
            broken += known[found.ladder] < 0.94
            share += dict(zip(found.ladder.rungs, found.measured.answered, strict=True)).get(4, 0) / 400
    assert given / draws > 0.8
    assert broken / draws <= 0.05 + 2 * sqrt(0.05 * 0.95 / draws)
    # No model reaches the target, and a person sees a part of the rows only.
    assert 0.02 < share / given < 0.6


@pytest.fixture
def tuned(project: Project) -> Project:
    rows = [row | {"body": f"question <{row['id']}>", "category": LABELS[row["id"] % 3]} for row in numbered(ROWS)]
    lines = []
    for row in rows:
        for model, often, sure in ((HAIKU, 4, 0.9), (SONNET, 10, 0.95)):
            good = row["id"] % often != 1
            label = row["category"] if good else wrong(row["category"])
            output = {"label": label, "score": sure if good else 0.3}
            lines.append({"model": model, "match": row["body"], "output": output})
    project.rows(rows)
    project.rows(rows, "gold.csv")
    project.pipeline(PIPELINE + GOLD)
    answer_by(project, lines)
    return project


def test_the_rows_that_a_person_must_see_are_told_and_queued(tuned: Project) -> None:
    project = tuned
    project.pipeline(PIPELINE + GOLD + "\n[review]\ntarget = 0.97\n")
    project.run()
    with pytest.raises(PipelineError, match="nothing is promised for 97") as caught, desk_of(project):
        pass
    assert "eval demo --tune --target 0.97" in str(caught.value.hint)
    alone = run_eval(project, tune=True, target=0.97)
    assert alone.code == 1
    printed = run_eval(project, tune=True, target=0.97, reviewer_usd="0.05")
    assert printed.code == 0, printed.talk
    found = json.loads(printed.out)
    assert found["promise"]["given"]
    person = found["person"]
    assert (person["accuracy"], person["accuracy_from"], person["seconds_per_row"]) == (1, "unknown", None)
    assert 0 < person["share"] < 0.2
    assert person["usd_per_1000"] == pytest.approx(50 * person["share"])
    assert {each["model"] for each in found["tuned"]} <= {HAIKU, SONNET}
    text = run_eval(project, as_json=False, tune=True, target=0.97, reviewer_usd="0.05").out
    assert "not known, and taken as 100%" in text
    with desk_of(project) as desk:
        queued = list(desk.all_rows())
    accepts = {each["model"]: each["accept"] for each in found["tuned"]}
    assert queued
    assert all(row.chosen == ["target"] for row in queued)
    assert [row for row in queued if float(row.answer["score"]) != 0.3] == [], accepts
    wrong_rows = {row["id"] for row in numbered(ROWS) if row["id"] % 4 == 1 and row["id"] % 10 == 1}
    assert {int(json.loads(row.key)[0]) for row in queued} == wrong_rows


def test_what_does_not_go_together_is_refused(tuned: Project) -> None:
    asked: list[tuple[dict[str, Any], str]] = [
        ({"reviewer_usd": "0.05"}, "go with --tune"),
        ({"tune": True, "reviewer_accuracy": 0.9}, "--reviewer-accuracy goes with"),
        *(({"tune": True, "reviewer_usd": each}, "no amount of US dollars") for each in NO_AMOUNTS),
    ]
    for options, words in asked:
        with pytest.raises(UsageError, match=words):
            run_eval(tuned, **options)
    # A word that cannot be read is found before the models are asked.
    assert tuned.requests_sent() == 0
