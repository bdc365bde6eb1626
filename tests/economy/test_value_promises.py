"""Tests of promises for one value of a field: precision and recall, alone and together.

`pytest tests/economy/test_value_promises.py --full-sweep` draws 2,000 samples of gold rows for each case.
"""

from __future__ import annotations

import json
import random
from math import sqrt
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from helpers.gold import GOLD, HAIKU, LADDER, SONNET, answer_by, gold_rows, run_eval, wrong
from projects import Project
from promises.populations import Labelled, claim, kept, labelled, share_of

from batchpipe.commands.eval.value_claims import ladder_accepts
from batchpipe.common.errors import UsageError
from batchpipe.evaluation.claims import Claim, PromisedValues, critical_counts, critical_hits, read_claim
from batchpipe.evaluation.ladder_cost import ThresholdLadder, measure
from batchpipe.evaluation.sequence import tune_by_all
from batchpipe.evaluation.statistics import proportion

RISK = 0.05

CASES = {
    "recall": (None, (claim("recall", 0.88),), 0.3, 0.0),
    "precision": (None, (claim("precision", 0.80),), 0.2, 0.02),
    "both and accuracy": (0.87, (claim("recall", 0.88), claim("precision", 0.75)), 0.3, 0.0),
    "a rare value": (None, (claim("recall", 0.90),), 0.04, 0.0),
}


@pytest.mark.parametrize("case", CASES)
def test_promises_for_a_value_are_seldom_broken(full_sweep: bool, case: str) -> None:
    target, claims, share, failing = CASES[case]
    rows = labelled(7, share, (0.85, 0.95), failing=failing)
    every = (*(() if target is None else (Claim(kind="accuracy", target=target),)), *claims)
    number, drawn, given, broken = 2_000 if full_sweep else 40, random.Random(case), 0, 0
    known: dict[ThresholdLadder, bool] = {}
    for _ in range(number):
        some = drawn.sample(rows, 500)
        values = PromisedValues(claims=claims, truths=tuple([row.truth == 0 for row in some] for _ in claims))
        found = tune_by_all([row.row(claims) for row in some], target=target, points=0, values=values)
        if found.reached:
            given += 1
            if found.ladder not in known:
                known[found.ladder] = any(share_of(rows, found.ladder, each) < each.target for each in every)
            broken += known[found.ladder]
    assert broken / number <= RISK + 2 * sqrt(RISK * (1 - RISK) / number)
    if case != "a rare value":
        assert given / number > 0.5


def test_the_figures_of_each_claim_are_those_of_the_chosen_ladder() -> None:
    rows = labelled(3, 0.3, (0.85, 0.95), n=900, failing=0.05)
    claims = (claim("recall", 0.8), claim("precision", 0.7))
    values = PromisedValues(claims=claims, truths=tuple([row.truth == 0 for row in rows] for _ in claims))
    for target in (None, 0.8):
        found = tune_by_all([row.row(claims) for row in rows], target=target, points=0, values=values)
        assert found.reached
        assert measure([row.row(claims) for row in rows], found.ladder).accuracy.hits == sum(
            kept(row, found.ladder) == row.truth for row in rows
        )
        for each in found.claims:
            assert each.counted is not None
            assert each.counted.value == pytest.approx(share_of(rows, found.ladder, each.claim))
            assert each.low >= each.claim.target
    # A failed row is a miss in the recall and no part of the precision.
    failed = [Labelled(0, (-1, -1), (0.9, 0.9)) for _ in range(100)] + [Labelled(0, (0, 0), (0.9, 0.9))] * 100
    values = PromisedValues(claims=claims, truths=([True] * 200, [True] * 200))
    found = tune_by_all([row.row(claims) for row in failed], target=None, points=0, values=values)
    recall, precision = found.claims
    assert (recall.counted, precision.counted) == (proportion(100, 200), proportion(100, 100))


def test_as_many_truths_are_needed_as_the_binomial_test_says() -> None:
    assert [critical_hits(n, 0.98, RISK) <= n for n in (148, 149)] == [False, True]
    assert [critical_hits(n, 0.98, RISK) <= n - 1 for n in (235, 236)] == [False, True]
    sizes = [0, 1, 5, 30, 148, 149, 1000]
    assert list(critical_counts(np.array(sizes), 0.98, RISK)) == [critical_hits(n, 0.98, RISK) for n in sizes]
    perfect = [Labelled(0, (0, 0), (0.9, 0.9))] * 140 + [Labelled(1, (1, 1), (0.9, 0.9))] * 140
    claims = (claim("recall", 0.98),)
    values = PromisedValues(claims=claims, truths=([row.truth == 0 for row in perfect],))
    found = tune_by_all([row.row(claims) for row in perfect], target=None, points=0, values=values)
    assert not found.reached
    assert (found.labels, found.claims[0].missing) == (298, 18)
    assert "18 more" in found.guarantee


def test_a_claim_that_could_be_promised_alone_lacks_no_rows() -> None:
    some = [Labelled(0, (0, 0), (0.9, 0.9))] * 40 + [Labelled(1, (1, 1), (0.9, 0.9))] * 40
    claims = (claim("recall", 0.5), claim("recall", 0.98))
    values = PromisedValues(claims=claims, truths=tuple([row.truth == 0 for row in some] for _ in claims))
    found = tune_by_all([row.row(claims) for row in some], target=None, points=0, values=values)
    assert not found.reached
    easy, hard = found.claims
    assert easy.low > 0.5
    assert (easy.missing, easy.gold_rows) == (None, None)
    assert hard.missing is not None
    assert hard.missing > 100


def test_what_is_said_to_be_promised_in_place_of_a_target_is_promised() -> None:
    """The first ladder is tested with a share of the risk: what it could be promised is said for that share."""
    rows = labelled(5, 0.3, (0.85, 0.95), n=400)
    for right in (376, 380, 384, 388):
        same = [
            Labelled(row.truth, (-1, row.truth if place < right else 4 - row.truth), (0.0, 0.9))
            for place, row in enumerate(rows)
        ]
        for target in (0.92, 0.93, 0.94, 0.95, 0.96):
            found = tune_by_all([row.row(()) for row in same], target=target, points=0)
            assert found.promised is not None
            assert "for ." not in found.guarantee
            if not found.reached:
                assert found.promised < target
                again = tune_by_all([row.row(()) for row in same], target=found.promised - 1e-9, points=0)
                assert again.reached


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("label=complaint:0.95", ("label", "complaint", 0.95)),
        ("kind=a=b:c:1", ("kind", "a=b:c", 1.0)),
        ("label=:0.5", ("label", "", 0.5)),
    ],
)
def test_a_promise_is_read_as_it_is_written(text: str, expected: tuple[str, str, float]) -> None:
    found = read_claim("recall", text)
    assert (found.field, found.value, found.target) == expected


@pytest.mark.parametrize(
    "text", ["", "label", "label=x", "label:0.9", "label=x:much", "label=x:0", "label=x:1.1", "a=b:nan"]
)
def test_what_is_no_promise_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_claim("precision", text)
    assert "--precision label=complaint:0.95" in str(caught.value.hint)


def test_eval_promises_for_a_value_and_writes_both_thresholds(project: Project, tmp_path: Path) -> None:
    rows = gold_rows(300)
    project.pipeline(LADDER + GOLD)
    project.rows(rows, "gold.csv")
    lines = []
    for model, often in ((HAIKU, 4), (SONNET, 100_000)):
        for row in rows:
            good = row["id"] % often != 1
            sure = 0.95 if good else 0.4
            output = {"label": row["category"] if good else wrong(row["category"]), "score": sure}
            lines.append({"model": model, "match": row["body"], "output": output})
    answer_by(project, lines)
    asked: dict[str, Any] = {"tune": True, "recall": ["label=bug:0.95"], "precision": ["label=bug:0.9"], "target": 0.9}
    printed = run_eval(project, **asked)
    found = json.loads(printed.out)
    assert printed.code == 0, printed.talk
    assert [(each["of"], each["field"], each["value"], each["given"]) for each in found["promises"]] == [
        ("accuracy", None, None, True),
        ("precision", "label", "bug", True),
        ("recall", "label", "bug", True),
    ]
    text = run_eval(project, as_json=False, **asked).out
    assert "recall of label=bug" in text
    only = json.loads(run_eval(project, tune=True, recall=["label=bug:0.95"]).out)
    accept = only["tuned"][0]["accept"]
    assert only["promise"]["target"] is None
    assert [each["of"] for each in only["promises"]] == ["recall"]
    assert accept.startswith("CASE WHEN label = 'bug' THEN true ELSE score >= ")
    assert duckdb.execute(f"SELECT {accept} FROM (SELECT 'bug' AS label, 0.1 AS score)").fetchone() == (True,)
    assert duckdb.execute(f"SELECT {accept} FROM (SELECT 'other' AS label, 0.1 AS score)").fetchone() == (False,)
    for options, words in (
        ({"recall": ["label=bgu:0.9"]}, "Did you mean 'bug'"),
        ({"recall": ["labell=bug:0.9"]}, "Did you mean 'label'"),
        ({"recall": ["label=bug:0.9"], "held_out": True}, "Leave out --held-out"),
    ):
        with pytest.raises(UsageError) as caught:
            run_eval(project, tune=True, **options)
        assert words in str(caught.value.hint)
    with pytest.raises(UsageError, match="go with --tune"):
        run_eval(project, precision=["label=bug:0.9"])


def test_an_option_that_cannot_be_kept_is_refused_before_a_row_is_sent(project: Project) -> None:
    flag = '[output.fields.flag]\ntype = ["boolean", "null"]\n[[models]]'
    gold = GOLD.replace("{ label", '{ flag = "is_bug", label')
    project.pipeline(LADDER.replace("[[models]]", flag, 1) + gold)
    project.rows([row | {"is_bug": row["category"] == "bug"} for row in gold_rows(25)], "gold.csv")
    refused: list[tuple[dict[str, Any], str]] = [
        ({"precision": ["flag=maybe:0.9"]}, "Its values: true, false, null."),
        ({"recall": ["label=Bug:0.9"]}, "Did you mean 'bug'?"),
        ({"plot": "no such/curve.svg"}, f"Make it: mkdir -p '{project.root}/no such'"),
    ]
    for options, hint in refused:
        with pytest.raises(UsageError) as caught:
            run_eval(project, tune=True, **options)
        assert hint in str(caught.value.hint)
    assert project.requests_sent() == 0
    # A boolean may be written as Python does, and NULL is a value too.
    assert run_eval(project, tune=True, precision=["flag=True:0.01"]).value["promises"][0]["value"] == "true"
    promised = ladder_accepts(
        ThresholdLadder(rungs=(1,), accepts=(0.5,), for_values=(None,)),
        [Claim(kind="recall", field="flag", value="null", target=0.9)],
        ["sure"],
        [],
    )
    select = f"SELECT {promised[1]} FROM (VALUES (NULL), (true)) t(flag), (SELECT 0.1 AS sure)"
    assert duckdb.execute(select).fetchall() == [(True,), (False,)]
