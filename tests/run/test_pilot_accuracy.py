"""Tests of `[pilot] min_accuracy`: a pilot goes on by itself if enough of its gold rows are right."""

from __future__ import annotations

import json
from typing import Any

import pytest
from calls import ask
from helpers.gold import GOLD, HAIKU, LABELS, LADDER, RIGHT, answer_by, answer_lines, gold_rows, report
from helpers.reviewed import correct
from helpers.sent import keys_sent
from projects import BASIC, Project
from statsmodels.stats.proportion import proportion_confint

from batchpipe.commands.call.options import PlanRequest, RunRequest
from batchpipe.commands.plan.plan import plan
from batchpipe.commands.run.run import run
from batchpipe.common.errors import PipelineError
from batchpipe.engine.gold.agreement import fewest, wilson

AUTO = "\n[pilot]\nrows = 20\nauto = true\nmin_accuracy = {}\n"


def pilot_of(project: Project) -> dict[str, Any]:
    found: dict[str, Any] = ask(project, run, RunRequest(pipelines=["demo"]), as_json=True).value["pilot"]
    return found


def start(project: Project, bar: float, *, labelled: int = 30, text: str = BASIC, right: Any = RIGHT) -> None:
    """Return sixty rows, of which the last `labelled` have a true value."""
    project.pipeline(text + GOLD + AUTO.format(bar))
    rows = gold_rows(60)
    project.rows(rows)
    project.rows(rows[60 - labelled :], "gold.csv")
    answer_by(project, answer_lines(rows, right))


def test_it_goes_on_where_the_interval_lies_above_the_bar(project: Project) -> None:
    start(project, 0.8, right={HAIKU: lambda n: True})
    result = project.run()
    assert (result.status, result.submitted) == ("done", 60)
    assert project.sql("SELECT data ->> 'by' FROM ledger.events WHERE kind = 'pilot_approved'") == [("auto",)]
    pilots = project.sql("SELECT q.key FROM ledger.requests q JOIN ledger.batches b USING (chunk_id) WHERE b.pilot")
    # Rows with a true value go first, by hash of the key as ever.
    assert all(int(json.loads(key)[0]) > 30 for (key,) in pilots)
    keys = "SELECT to_json([n::VARCHAR])::VARCHAR AS key FROM range(31, 61) t(n)"
    assert set(pilots) == set(project.sql(f"SELECT key FROM ({keys}) ORDER BY md5_number(key) LIMIT 20"))


def test_it_stops_where_it_does_not_and_says_how_right_it_is(project: Project) -> None:
    start(project, 0.8, right={HAIKU: lambda n: n % 10 != 0})
    planned = ask(project, plan, PlanRequest(pipelines=["demo"]), as_json=True).value
    assert (planned["pilot"]["rows"], planned["pilot"]["gold"]) == (20, 20)
    first = project.run()
    assert (first.status, first.submitted) == ("gate", 20)
    asked = [int(json.loads(key)[0]) for key in keys_sent(project)]
    hits = sum(key % 10 != 0 for key in asked)
    low, high = proportion_confint(hits, 20, method="wilson")
    assert hits / 20 > 0.8 > low
    words = f"{hits} of its 20 rows with a true value are right, {hits / 20:.1%} ({low:.1%} to {high:.1%})"
    assert words + ", min_accuracy is 80.0%" in str(first.gate)
    accuracy = pilot_of(project)["accuracy"]
    assert (accuracy["n"], accuracy["right"], accuracy["climbing"]) == (20, hits, 0)
    assert [float(each) for each in accuracy["ci95"]] == pytest.approx([low, high], abs=1e-9)
    assert f"{hits} of 20 rows with a true value" in ask(project, run, RunRequest(pipelines=["demo"])).out
    assert project.plan().requests == 0
    assert project.requests_sent() == 20
    assert project.run(approve=True).rows["accepted"] == 60


def test_too_few_rows_cannot_show_it(project: Project) -> None:
    start(project, 0.9, labelled=5, right={HAIKU: lambda n: True})
    planned = ask(project, plan, PlanRequest(pipelines=["demo"]))
    assert "20 rows go first, 5 of them with a true value" in planned.out
    first = project.run()
    assert (first.status, first.submitted) == ("gate", 20)
    assert "5 of its 5 rows with a true value are right" in str(first.gate)
    assert "min_accuracy is 90.0%, which takes 35 such rows or more" in str(first.gate)
    # Those that have one were all in the pilot.
    assert {56, 57, 58, 59, 60} <= {int(json.loads(key)[0]) for key in keys_sent(project)}


@pytest.mark.parametrize("share", [0.01, 0.5, 0.8, 0.9, 0.95, 0.99])
def test_how_many_rows_it_takes(share: float) -> None:
    n = fewest(share)
    assert wilson(n, n)[0] >= share
    assert n == 1 or wilson(n - 1, n - 1)[0] < share


def test_without_a_true_value_it_stops_and_says_what_to_do(project: Project) -> None:
    start(project, 0.5)
    rows = gold_rows(60)
    for row in rows:
        row["body"] = f"another text, {row['body']}"
    project.rows(rows, "gold.csv")
    first = project.run()
    assert (first.status, first.submitted) == ("gate", 20)
    assert "none of its rows has a true value, and min_accuracy is set: label rows of the input" in str(first.gate)


def test_gold_that_cannot_be_read_stops_before_anything_is_sent(project: Project) -> None:
    start(project, 0.5)
    (project.root / "gold.csv").unlink()
    for ask_for in (project.run, project.plan):
        with pytest.raises(PipelineError, match=r"gold\.csv"):
            ask_for()
    assert project.requests_sent() == 0
    # Without the bar the accuracy is only shown, where it is known.
    project.pipeline(BASIC + GOLD + "[pilot]\nrows = 20\n")
    assert project.run().status == "gate"
    assert pilot_of(project)["accuracy"] is None
    project.rows(gold_rows(60), "gold.csv")
    assert pilot_of(project)["accuracy"]["n"] == 20
    assert project.requests_sent() == 20


def test_rows_that_go_up_a_rung_have_no_answer_yet_and_invalid_ones_are_wrong(project: Project) -> None:
    start(project, 0.1, labelled=60, text=LADDER)
    project.faults({"requests": [{"match": "<7>", "outcome": "invalid_json"}]})
    project.pipeline(LADDER + GOLD + AUTO.format(0.99).replace("rows = 20", "rows = 60"))
    first = project.run()
    assert (first.status, first.submitted) == ("gate", 60)
    lines = answer_lines(gold_rows(60), {HAIKU: RIGHT[HAIKU]})
    unsure = sum(line["output"]["score"] < 0.5 for number, line in enumerate(lines, start=1) if number != 7)
    right = sum(
        line["output"]["score"] >= 0.5 and line["output"]["label"] == LABELS[number % 3]
        for number, line in enumerate(lines, start=1)
        if number != 7
    )
    accuracy = pilot_of(project)["accuracy"]
    assert (accuracy["n"], accuracy["right"], accuracy["climbing"]) == (60 - unsure, right, unsure)
    assert f"{unsure} more go up a rung" in ask(project, run, RunRequest(pipelines=["demo"])).out


def test_what_the_prompt_shows_does_not_count(project: Project) -> None:
    shown = BASIC.replace(
        'user_text = "', """user_text = "{% for e in examples %}{{ e.body }}: {{ e.category }}\\n{% endfor %}"""
    ).replace(
        "[output.fields.label]",
        "[prompt.queries]\nexamples = \"SELECT body, category FROM 'gold.csv' ORDER BY id LIMIT 3\"\n\n"
        "[output.fields.label]",
    )
    start(project, 0.99, labelled=10, text=shown)
    assert project.run().status == "gate"
    assert pilot_of(project)["accuracy"]["n"] == 7


def test_reviews_count_too(project: Project) -> None:
    text = BASIC + '\n[eval]\nfields = { label = "exact" }\n[review]\nwhere = "true"\n'
    project.pipeline(text)
    rows = gold_rows(40)
    project.rows(rows)
    answer_by(project, answer_lines(rows, {HAIKU: lambda n: True}))
    project.run()
    correct(project, {row["id"]: {"label": row["category"]} for row in rows[:30]})
    edited = text.replace("{{ body }}", "Label: {{ body }}")
    project.pipeline(edited + AUTO.format(0.8))
    result = project.run(redo="all")
    assert (result.status, result.submitted) == ("done", 40)
    assert project.sql("SELECT requests, pilot FROM ledger.batches ORDER BY prepared_at") == [
        (40, False),
        (20, True),
        (20, False),
    ]


def test_an_evaluation_has_no_pilot(project: Project) -> None:
    start(project, 0.9)
    assert report(project)["gold"] == 30
    assert project.requests_sent() == 30
