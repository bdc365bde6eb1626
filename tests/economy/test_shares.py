"""Tests of shares of a field's values: their intervals, the sample that they need, and rows shown without the answer.

`pytest tests/economy/test_shares.py --full-sweep` draws 2,000 samples of 200 reviewed rows for each population.
"""

from __future__ import annotations

import csv
import json
import os
import random
from collections.abc import Sequence
from math import sqrt
from typing import Any

import pytest
from calls import ask
from helpers.reviewed import desk_of
from projects import BASIC, Project, numbered
from promises.bounds import least_coverage, most_worth
from promises.populations import KNOWS, MISLED, REVIEWED, SHARES, drawn_rows, table

from batchpipe.commands.call.call import Call
from batchpipe.commands.call.options import ReviewRequest
from batchpipe.commands.report.report import report
from batchpipe.commands.review.review import review
from batchpipe.commands.review.screen import HIDDEN, Progress, RowScreen, screen
from batchpipe.common.errors import PipelineError, UsageError
from batchpipe.engine.quality.review import RowReview
from batchpipe.evaluation.shares import Reviewed, jeffreys, share_of, shares_of


@pytest.mark.parametrize(
    ("accuracy", "by_doubt", "doubtful_share"),
    [
        (0.914, False, KNOWS),
        (0.914, True, KNOWS),
        (0.784, False, KNOWS),
        (0.784, True, KNOWS),
        (0.914, True, MISLED),
        (0.97, False, KNOWS),
    ],
)
def test_the_interval_holds_the_true_share(
    full_sweep: bool, accuracy: float, by_doubt: bool, doubtful_share: tuple[float, float]
) -> None:
    rows = table(3, SHARES, accuracy, by_doubt=by_doubt, doubtful_share=doubtful_share)
    drawn, draws = random.Random(5), 2_000 if full_sweep else 40
    held, worth = dict.fromkeys(SHARES, 0), dict.fromkeys(SHARES, 0.0)
    for _ in range(draws):
        for found in shares_of(drawn_rows(rows, drawn), None):
            assert found.value is not None
            assert found.low is not None
            assert found.high is not None
            held[found.value] += found.low <= rows.share(found.value) <= found.high
            worth[found.value] += found.worth / draws
    noise = 2 * sqrt(0.06 * 0.94 / draws)
    for value, share in SHARES.items():
        assert held[value] / draws >= 0.94 - noise
        if share >= 0.1:
            # A model that is right on 97% is contradicted by six of the rows: few, and the interval is a wide one.
            assert accuracy > 0.95 or held[value] / draws <= 0.975 + noise
            # Unequal weights cost a part of what a sample by doubt could be worth.
            assert worth[value] >= 0.95 * min(3 * REVIEWED, (0.75 if by_doubt else 1.0) * most_worth(rows, value))


def test_intervals_of_few_contradicting_rows_must_hold_the_truth_more_often() -> None:
    """No interval that holds 94% of the time in every table holds at most 97.5% of the time in this one."""
    rows = table(3, SHARES, 0.97)
    forced = {value: least_coverage(rows, value) for value in SHARES}
    assert forced["a"] is None
    assert forced["c"] == pytest.approx(0.963, abs=0.001)
    assert forced["d"] == pytest.approx(0.978, abs=0.001)
    # 200 rows of a model that is right on 78% cannot be worth 600, however the interval is made.
    assert all(most_worth(table(3, SHARES, 0.784), value) < 500 for value in SHARES)


def test_a_heavy_row_that_contradicts_the_model_is_one_row() -> None:
    """One row that stands for ten others tells less than ten: the interval by doubt is the wider one."""
    answers, places = ["x"] * 900 + ["y"] * 100, [*range(90), *range(900, 910)]
    truths = ["y"] * 2 + ["x"] * 88 + ["y"] * 10
    alike, heavy = (
        share_of(Reviewed(answers=answers, places=places, truths=truths, probabilities=chances), "y")
        for chances in ([0.1] * 100, [0.04] * 2 + [0.1] * 98)
    )
    assert alike.low is not None
    assert alike.high is not None
    assert heavy.low is not None
    assert heavy.high is not None
    assert heavy.share > alike.share
    assert heavy.high - heavy.low > 1.5 * (alike.high - alike.low)
    # Two rows are too few to say that the share is far above what is counted.
    assert heavy.low < 0.115


def test_a_sample_by_doubt_without_a_row_against_the_model_has_an_interval() -> None:
    for rows in (1, 2, 3, 50):
        chances = [0.02 + 0.03 * (place % 3) for place in range(rows)]
        found = share_of(
            Reviewed(
                answers=["x", "y"] * 500,
                places=range(rows),
                truths=["x", "y"] * (rows // 2) + ["x"] * (rows % 2),
                probabilities=chances,
            ),
            "x",
        )
        assert found.low is not None
        assert found.high is not None
        assert 0 <= found.low < 0.5 < found.high <= 1


def test_a_share_without_model_is_the_interval_of_jeffreys_and_all_rows_reviewed_leave_no_doubt() -> None:
    same = Reviewed(answers=["x"] * 400, places=range(100), truths=["y"] * 20 + ["x"] * 80, probabilities=[0.25] * 100)
    found = share_of(same, "y")
    low, high = jeffreys(20, 100)
    assert found.share == pytest.approx(0.2)
    assert found.counted == 0
    assert found.low == pytest.approx(0.2 - (0.2 - low) * sqrt(0.75))
    assert found.high == pytest.approx(0.2 + (high - 0.2) * sqrt(0.75))
    everything = Reviewed(answers=["x", "y"] * 10, places=range(20), truths=["x"] * 20, probabilities=[1.0] * 20)
    assert [(each.value, each.share, each.low, each.high) for each in shares_of(everything, None)] == [
        ("x", 1.0, 1.0, 1.0),
        ("y", 0.0, 0.0, 0.0),
    ]
    nobody = share_of(Reviewed(answers=["x", "y"], places=(), truths=(), probabilities=()), "x")
    assert (nobody.share, nobody.low, nobody.worth) == (0.5, None, 0)


PIPELINE = BASIC.replace("amount: ", "") + '\n[output]\ninclude = ["lang"]\n\n[review]\nsample = 0.4\n'


@pytest.fixture
def sampled(project: Project) -> Project:
    project.rows(numbered(120, german=40))
    project.pipeline(PIPELINE)
    project.run()
    return project


def review_first(project: Project, rows: int, *, skip: Sequence[int] = ()) -> list[str]:
    """Let a person choose the label of the first rows of the sample, and return their keys in the order shown."""
    with desk_of(project) as desk:
        shown = [row for row in desk.all_rows() if "sample" in row.chosen]
        assert all(row.hidden == {"label"} and "label" not in row.document and "label" in row.answer for row in shown)
        chosen = [row for place, row in enumerate(shown[:rows]) if place not in skip]
        documents = [
            dict(row.document) | {"label": "bug" if row.number % 5 == 0 else row.answer["label"]} for row in chosen
        ]
        verdicts = [
            RowReview(number=row.number, document=document, accepted=document == row.answer)
            for row, document in zip(chosen, documents, strict=True)
        ]
        assert desk.record(verdicts) == []
        return [row.key for row in shown]


def shares(project: Project, **options: Any) -> Any:
    def act(call: Call, _: None) -> int:
        return report(call, ["demo"], shares="label", **options)

    return ask(project, act, None, as_json=True).value


def test_the_reviewed_rows_of_the_sample_count_in_their_order(sampled: Project) -> None:
    with pytest.raises(UsageError, match="nobody has reviewed the first"):
        shares(sampled)
    order = review_first(sampled, 25, skip=[20])
    assert 30 <= len(order) <= 70
    found = shares(sampled)
    assert found["pipeline"] == "demo"
    assert sum(each["share"] for each in found["shares"]) == pytest.approx(1, abs=0.05)
    assert {each["reviewed"] for each in found["shares"]} == {20}
    assert all(each["low"] <= each["share"] <= each["high"] and each["by"] is None for each in found["shares"])
    by = shares(sampled, by="lang")["shares"]
    assert {each["by"] for each in by} == {"en", "de"}
    assert {sum(each["reviewed"] for each in by if each["value"] == value) for value in ("bug",)} == {20}
    for group in ("en", "de"):
        assert sum(each["share"] for each in by if each["by"] == group) == pytest.approx(1, abs=0.1)
    text = ask(sampled, lambda call, _: report(call, ["demo"], shares="label"), None, as_json=False).out
    assert "1 person saw 20 of the" in text
    assert "4 reviewed rows not counted yet" in text
    recorded = sampled.sql("SELECT DISTINCT sample_probability FROM ledger.reviews")
    assert recorded == [(0.4,)]
    for options, words in (({"by": "nothing"}, "no column 'nothing'"),):
        with pytest.raises(UsageError, match=words):
            shares(sampled, **options)


def test_unsure_answers_are_drawn_more_often_and_their_probability_is_recorded(project: Project) -> None:
    project.rows(numbered(120))
    project.pipeline(
        PIPELINE + 'by = "doubt"\nblind = false\n\n[eval]\nconfidence = "score"\nfields = { label = "exact" }\n'
    )
    project.run()
    with desk_of(project) as desk:
        rows = [row for row in desk.all_rows() if "sample" in row.chosen]
        assert all(not row.hidden and row.document == row.answer for row in rows)
        verdicts = [RowReview(number=row.number, document=row.document, accepted=True) for row in rows]
        assert desk.record(verdicts) == []
    found = project.sql(
        "SELECT abs(sample_probability - least(1, 0.4 * (0.25 + 2.5 * sqrt(c * (1 - c))))) < 1e-6 "
        "FROM (SELECT sample_probability, (before->>'$.score')::DOUBLE AS c FROM ledger.reviews)"
    )
    assert found
    assert all(same for (same,) in found)
    assert {each["reviewed"] for each in shares(project)["shares"]} == {len(rows)}
    project.pipeline(PIPELINE + 'by = "doubt"\n')
    with pytest.raises(PipelineError, match="no field 'confidence'"), desk_of(project):
        pass


def test_an_edited_sample_counts_as_todays_sample(sampled: Project) -> None:
    """Reviewed rows count by the sample of today: never twice, and all of them where they come first in it, too."""
    order = review_first(sampled, 100)
    reviewed = len(order)
    assert {each["reviewed"] for each in shares(sampled)["shares"]} == {reviewed}
    for sample in ("0.1", "0.9"):
        sampled.pipeline(PIPELINE.replace("sample = 0.4", f"sample = {sample}"))
        found = shares(sampled)
        assert found["share_rows"]["reviewed"] == reviewed
        assert (found["share_rows"]["late"], found["share_rows"]["rows"]) == (0, 120)
        assert found["share_rows"]["drawn"] >= reviewed
    # By doubt unsure rows come earlier, which nobody has seen: the reviewed ones after the first of them wait.
    sampled.pipeline(PIPELINE + 'by = "doubt"\n\n[eval]\nconfidence = "score"\nfields = { label = "exact" }\n')
    changed = shares(sampled)["share_rows"]
    assert changed["reviewed"] + changed["late"] == reviewed
    assert changed["late"] > 0


def test_a_row_of_the_sample_hides_the_answer_until_the_person_has_chosen(sampled: Project) -> None:
    with desk_of(sampled) as desk:
        row = next(desk.all_rows())
        shown = RowScreen(row=row, draft=dict(row.document), columns=desk.shown_columns)
        size = os.terminal_size((100, 40))
        before = "\n".join(screen(shown, Progress(pipeline="demo", rows=1), desk.forms, size))
        assert HIDDEN in before
        assert str(row.answer["label"]) not in before.replace("[c] correct", "")
        shown.draft = {**shown.draft, "label": "bug"}
        shown.decided.add("label")
        assert not shown.hides
        after = "\n".join(screen(shown, Progress(pipeline="demo", rows=1), desk.forms, size))
        assert HIDDEN not in after
        assert str(row.answer["label"]) in after


def test_a_sheet_leaves_the_hidden_cells_empty_and_takes_what_is_written(sampled: Project) -> None:
    path = sampled.root / "review.csv"
    ask(sampled, review, ReviewRequest(pipeline="demo", export=str(path)), as_json=True)
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["label"] for line in lines} == {""}
    for line in lines[:3]:
        line["label"] = "other"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, lines[0].keys())
        writer.writeheader()
        writer.writerows(lines)
    done = json.loads(ask(sampled, review, ReviewRequest(pipeline="demo", source=str(path)), as_json=True).out)
    assert done["accepted"] + done["corrected"] == 3
    assert {each["reviewed"] for each in shares(sampled)["shares"]} == {3}
