"""Tests of `eval` with gold rows: the requests, answers that are used again, and the report."""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from decimal import Decimal

import duckdb
import pytest
from calls import ask, spawn
from helpers.gold import (
    GOLD,
    HAIKU,
    LADDER,
    OPUS,
    RIGHT,
    SONNET,
    answer_by,
    answer_lines,
    git,
    gold_rows,
    report,
    run_eval,
)
from projects import BASIC, Project, numbered
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from batchpipe.cli.main import main
from batchpipe.commands.call.options import TryRequest
from batchpipe.commands.cancel import cancel
from batchpipe.commands.check.check import check
from batchpipe.commands.report.report import report as report_command
from batchpipe.commands.status.status import status
from batchpipe.commands.try_rows import try_rows
from batchpipe.common.errors import GateError, InputError, PipelineError, UsageError

EDITED = "{% if lang == 'de' %} Bitte auf Deutsch.{% endif %}"


def test_one_model_on_gold_rows_and_a_second_eval_sends_nothing(project: Project) -> None:
    project.pipeline(BASIC + GOLD)
    project.rows(gold_rows(30), "gold.csv")
    first = report(project)
    assert project.requests_sent() == 30
    (model,) = first["models"]
    assert (first["pipeline"], first["prompt_version"], first["gold"]) == ("demo", "v1", 30)
    assert (model["model"], model["rung"], model["n"]) == (HAIKU, 1, 30)
    second = report(project)
    assert project.requests_sent() == 30
    assert second == first
    # The input was never read: there is none.
    assert not (project.root / "rows.csv").exists()


def test_accuracies_are_those_of_the_table_and_another_model_sends_only_its_own_requests(project: Project) -> None:
    project.pipeline(LADDER + GOLD)
    rows = gold_rows(60)
    project.rows(rows, "gold.csv")
    lines = answer_lines(rows, RIGHT)
    answer_by(project, lines)
    found = report(project, models="all")
    assert project.requests_sent() == 120
    said = {(line["model"], line["match"]): line["output"] for line in lines}
    for model, entry in zip((HAIKU, SONNET), found["models"], strict=True):
        hits = sum(said[model, row["body"]]["label"] == row["category"] for row in rows)
        label = entry["fields"]["label"]
        low, high = proportion_confint(hits, 60, method="wilson")
        assert (entry["model"], entry["n"], float(label["accuracy"])) == (model, 60, hits / 60)
        assert [float(each) for each in label["ci95"]] == pytest.approx([low, high], abs=1e-9)
    way = [HAIKU if said[HAIKU, row["body"]]["score"] >= 0.5 else SONNET for row in rows]
    hits = sum(said[model, row["body"]]["label"] == row["category"] for model, row in zip(way, rows, strict=True))
    assert float(found["ladder"]["fields"]["label"]["accuracy"]) == hits / 60
    assert "rung" not in found["ladder"]
    # Money is what the ledger says, and the ladder's is that of the answers on its way.
    costs = dict(
        project.sql(
            "SELECT q.model, sum(r.cost_usd) FROM ledger.requests q "
            "JOIN ledger.results r USING (custom_id) GROUP BY ALL"
        )
    )
    assert [entry["cost_usd"] for entry in found["models"]] == [costs[HAIKU].normalize(), costs[SONNET].normalize()]
    climbed = way.count(SONNET)
    assert found["ladder"]["cost_usd"] < costs[HAIKU] + costs[SONNET]
    assert 0 < climbed < 60
    entry = found["models"][0]
    assert entry["usd_per_1000"] == pytest.approx(entry["cost_usd"] * 1000 / 60)
    assert entry["usd_per_1000_correct"] == pytest.approx(entry["cost_usd"] * 1000 / 42)
    # One more model sends its own requests and nothing else.
    more = report(project, models="all", model=[OPUS])
    assert project.requests_sent() == 180
    assert [(each["model"], each["rung"]) for each in more["models"]] == [(HAIKU, 1), (SONNET, 2), (OPUS, None)]
    assert float(more["models"][2]["fields"]["label"]["accuracy"]) == 57 / 60
    assert more["models"][:2] == found["models"]
    assert more["ladder"] == found["ladder"]
    report(project, models="all", model=[OPUS])
    assert project.requests_sent() == 180


def test_without_models_all_only_rows_that_climb_go_up(project: Project) -> None:
    project.pipeline(LADDER + GOLD)
    rows = gold_rows(60)
    project.rows(rows, "gold.csv")
    lines = answer_lines(rows, RIGHT)
    answer_by(project, lines)
    unsure = sum(line["model"] == HAIKU and line["output"]["score"] < 0.5 for line in lines)
    found = report(project)
    assert project.requests_sent() == 60 + unsure
    assert [each["n"] for each in found["models"]] == [60, unsure]
    everything = report(project, models="all")
    assert project.requests_sent() == 120
    assert everything["ladder"] == found["ladder"]


def test_what_runs_and_tries_bought_is_taken_over_and_theirs_stays_as_it_was(project: Project) -> None:
    project.pipeline(LADDER + GOLD)
    rows = gold_rows(40)
    project.rows(rows[:30])
    project.rows(rows, "gold.csv")
    lines = answer_lines(rows, RIGHT)
    answer_by(project, lines)
    ask(project, try_rows, TryRequest(pipeline="demo", keys=("1", "2")), as_json=True)
    project.run()
    sent = project.requests_sent()
    table = project.sql("SELECT * FROM demo ORDER BY id")
    states = project.sql("SELECT * FROM ledger.row_state WHERE pipeline = 'demo' ORDER BY key")
    spent = project.sql("SELECT * FROM ledger.spend WHERE pipeline = 'demo' ORDER BY ALL")
    found = report(project)
    # What was tried was paid at the realtime price, and counts at that of a batch: half of it.
    paid = project.sql(
        "SELECT r.batch_id IS NULL, sum(r.cost_usd) FROM ledger.results r JOIN ledger.requests q USING (custom_id) "
        "WHERE q.leads GROUP BY ALL"
    )
    costs = dict(paid)
    assert found["ladder"]["cost_usd"] == (costs[False] + costs[True] / 2).normalize()
    climbing = sum(line["model"] == HAIKU and line["output"]["score"] < 0.5 for line in lines[30:40])
    assert project.requests_sent() == sent + 10 + climbing
    assert found["ladder"]["n"] == 40
    assert project.sql("SELECT * FROM demo ORDER BY id") == table
    assert project.sql("SELECT * FROM ledger.row_state WHERE pipeline = 'demo' ORDER BY key") == states
    assert project.sql("SELECT * FROM ledger.spend WHERE pipeline = 'demo' ORDER BY ALL") == spent
    tables = project.sql(
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema <> 'ledger'"
    )
    assert tables == [("main", "demo")]
    # A plain run goes on as if nothing had been evaluated.
    assert project.run().submitted == 0
    for command in (status, report_command):
        assert "demo:eval" not in ask(project, command, []).out
    assert costs[True] > 0


def test_against_a_commit_after_an_edit_of_one_branch_only_that_branch_is_sent(project: Project) -> None:
    project.pipeline(LADDER + GOLD)
    rows = gold_rows(40, german=12)
    project.rows(rows, "gold.csv")
    git(project, "init", "-q", "-b", "main")
    git(project, "add", "pipelines", "gold.csv")
    git(project, "commit", "-q", "-m", "first")
    lines = answer_lines(rows, RIGHT)
    better = [
        line | {"match": f"{line['match']} Bitte auf Deutsch.", "output": {"label": row["category"], "score": 0.9}}
        for line, row in zip(lines[:12], rows[:12], strict=True)
    ]
    answer_by(project, [*better, *lines])
    before = report(project)
    sent = project.requests_sent()
    project.pipeline((LADDER + GOLD).replace("{% if lang == 'de' %} Auf Deutsch.{% endif %}", EDITED))
    found = report(project, against="main")
    assert project.requests_sent() == sent + 12
    known = found["against"]
    assert float(known["accuracy"]) == float(before["ladder"]["fields"]["label"]["accuracy"])
    assert (found["prompt_version"], known["broken"]) == ("v2", 0)
    assert re.fullmatch(r"main \([0-9a-f]{12}\), v1", known["version"])
    assert known["fixed"] > 0
    expected = mcnemar([[0, known["fixed"]], [known["broken"], 0]], exact=True).pvalue
    assert float(known["p_value"]) == pytest.approx(expected, abs=1e-9)
    # The other way round it is worse, by more than is allowed, and the first commands' answers are all known.
    project.pipeline(LADDER + GOLD)
    printed = run_eval(project, against="v2", max_drop=0.01)
    assert printed.code == 1
    assert "fell by" in printed.talk
    assert run_eval(project, against="v2", max_drop=0.99).code == (1 if expected < 0.05 else 0)
    assert project.requests_sent() == sent + 12
    shown = run_eval(project, against="v2", as_json=False, markdown=True).out
    assert "rows broken" in shown
    trend = run_eval(project, history=True).value
    assert [each["prompt_version"] for each in trend] == ["v2", "v1"]


def test_the_history_before_any_evaluation_names_what_the_next_one_needs(project: Project) -> None:
    project.pipeline(BASIC)
    said = run_eval(project, history=True, as_json=False).talk
    assert said.startswith('No evaluation yet. Add [eval] with gold = "SELECT ..." to pipelines/demo.toml: ')
    assert "Then: batchpipe eval demo" in said
    project.pipeline(BASIC + GOLD)
    assert run_eval(project, history=True, as_json=False).talk == (
        "No evaluation yet. To make one: batchpipe eval demo\n"
    )


def test_the_bar_of_ci(project: Project) -> None:
    project.pipeline(BASIC + GOLD)
    rows = gold_rows(40)
    project.rows(rows, "gold.csv")
    answer_by(project, answer_lines(rows, RIGHT))
    assert report(project, fail_under=["0.7"])["models"][0]["fields"]["label"]["accuracy"] == Decimal("0.7")
    low = run_eval(project, fail_under=["label=0.71"])
    assert (low.code, "accuracy of label is 70.0% of 40, below 71.0%" in low.talk) == (1, True)
    text = run_eval(project, as_json=False, fail_under=["0.9"])
    assert text.code == 1
    for words in (
        "demo v1: 40 gold rows",
        "70.0% (",
        "What the ladder confuses most",
        "Confidence of",
        "Not good enough",
    ):
        assert words in text.out
    for bad in ("lable=0.9", "1.5", "high"):
        with pytest.raises(UsageError):
            run_eval(project, fail_under=[bad])
    with pytest.raises(UsageError, match="--max-drop without --against"):
        run_eval(project, max_drop=0.1)
    assert project.requests_sent() == 40


def test_rows_without_a_valid_answer_are_wrong_ones(project: Project) -> None:
    project.pipeline(BASIC + GOLD)
    rows = gold_rows(20)
    project.rows(rows, "gold.csv")
    answer_by(project, answer_lines(rows, {HAIKU: lambda n: True}))
    project.faults({"requests": [{"match": "<7>", "outcome": "invalid_json"}]})
    found = report(project)
    assert float(found["ladder"]["fields"]["label"]["accuracy"]) == 19 / 20
    sent = project.requests_sent()
    assert sent == 22
    # It has failed, and is not paid for again; all that it cost counts.
    assert report(project) == found
    assert project.requests_sent() == sent
    paid = project.sql("SELECT sum(cost_usd) FROM ledger.results")[0][0]
    assert found["ladder"]["cost_usd"] == paid.normalize()


def test_rows_that_the_prompt_shows_are_left_out(project: Project) -> None:
    shown = BASIC.replace(
        'user_text = "', """user_text = "{% for e in examples %}{{ e.body }}: {{ e.category }}\\n{% endfor %}"""
    ).replace(
        "[output.fields.label]",
        "[prompt.queries]\nexamples = \"SELECT body, category FROM 'gold.csv' ORDER BY id LIMIT 3\"\n\n"
        "[output.fields.label]",
    )
    project.pipeline(shown + GOLD)
    project.rows(gold_rows(20), "gold.csv")
    printed = run_eval(project)
    assert printed.value["gold"] == 17
    assert "3 gold rows left out: the prompt shows them" in printed.talk
    assert project.requests_sent() == 17


def test_keys_alone_are_looked_up_in_the_input(project: Project) -> None:
    project.pipeline(BASIC + GOLD)
    rows = gold_rows(20)
    project.rows(rows)
    answer_by(project, answer_lines(rows, RIGHT))
    project.rows(
        [{"id": row["id"], "category": row["category"]} for row in [*rows[:10], {"id": 99, "category": "bug"}]],
        "gold.csv",
    )
    printed = run_eval(project)
    assert printed.value["gold"] == 10
    assert "1 gold row left out: the input has no such key" in printed.talk
    assert float(printed.value["ladder"]["fields"]["label"]["accuracy"]) == 0.7


def test_a_sample_and_no_waiting(project: Project) -> None:
    project.pipeline(BASIC + GOLD)
    project.rows(gold_rows(30), "gold.csv")
    project.control("faults", {"delay_seconds": 0})
    printed = run_eval(project, sample=10, no_wait=True)
    assert (printed.code, printed.value["gold"]) == (5, 10)
    assert "in flight" in printed.talk
    assert report(project, sample=10)["ladder"]["n"] == 10
    assert project.requests_sent() == 10
    assert report(project)["ladder"]["n"] == 30
    assert project.requests_sent() == 30


def test_several_fields_each_compared_in_its_way(project: Project) -> None:
    text = BASIC + (
        "\n[eval]\ngold = \"SELECT *, category AS label, 0.505 AS score FROM 'gold.csv'\"\n"
        'fields = { label = "exact", score = { compare = "numeric", tolerance = 0.01 } }\n'
    )
    project.pipeline(text)
    rows = gold_rows(10)
    project.rows(rows, "gold.csv")
    lines = answer_lines(rows, {HAIKU: lambda n: True})
    for number, line in enumerate(lines):
        line["output"]["score"] = 0.51 if number < 4 else 0.9
    answer_by(project, lines)
    found = report(project)["ladder"]
    assert float(found["fields"]["label"]["accuracy"]) == 1
    assert float(found["fields"]["score"]["accuracy"]) == 0.4
    # A row is right where every field is.
    assert found["usd_per_1000_correct"] == pytest.approx(found["cost_usd"] * 1000 / 4)
    assert run_eval(project, fail_under=["0.5"]).code == 1
    assert run_eval(project, fail_under=["label=0.5"]).code == 0


@pytest.mark.parametrize(
    ("old", "new", "kind", "what"),
    [
        (GOLD, "", PipelineError, "there is no \\[eval\\]"),
        ('"gold.csv"', '"none.csv"', PipelineError, "none.csv"),
        ("{ label =", "{ lable =", PipelineError, "no output field 'lable'"),
        ('"category" }', '"categry" }', PipelineError, "gold has no column 'categry'"),
        ('"gold.csv"', "\"SELECT body, category FROM 'gold.csv'\"", PipelineError, "gold has no column 'id'"),
        ('"gold.csv"', "\"SELECT 1 AS id, body, lang, category FROM 'gold.csv'\"", InputError, "id is not unique"),
        ('"gold.csv"', "\"SELECT * FROM 'gold.csv' WHERE false\"", InputError, "gold has no rows"),
        ('expect = { label = "category" }', "", PipelineError, "no true values of any output field"),
    ],
)
def test_gold_that_cannot_be_used(project: Project, old: str, new: str, kind: type[Exception], what: str) -> None:
    project.pipeline((BASIC + GOLD).replace(old, new))
    project.rows(gold_rows(5), "gold.csv")
    project.rows(numbered(5))
    with pytest.raises(kind, match=what):
        run_eval(project)
    # What can be said without reading a row `check` says too.
    checked = ask(project, check, [], [])
    assert (what in checked.out) == (checked.code == 2) == (kind is PipelineError and old != GOLD)
    assert project.requests_sent() == 0


def test_on_the_emulator_numbers_are_made_up_unless_answers_are_given(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.pipeline(BASIC + GOLD)
    rows = gold_rows(10)
    project.rows(rows, "gold.csv")
    assert main(["eval", "demo", "--emulator"]) == 0
    assert "The numbers are made up" in capsys.readouterr().out
    assert main(["eval", "demo", "--emulator", "--fail-under", "0.1"]) == 2
    assert "--answers" in capsys.readouterr().err
    lines = answer_lines(rows, {HAIKU: lambda n: n != 3})
    (project.root / "said.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    project.pipeline(BASIC.replace("{{ body }}", "Label: {{ body }}") + GOLD)
    command = ["eval", "demo", "--emulator", "--answers", "said.jsonl", "--fail-under"]
    assert main([*command, "0.9"]) == 0
    printed = capsys.readouterr().out
    assert "90.0% (" in printed
    assert "made up" not in printed
    assert main([*command, "0.95", "--markdown"]) == 1
    assert "not good enough" in capsys.readouterr().out


def test_an_evaluation_is_paid_from_the_budget_of_its_pipeline(project: Project) -> None:
    project.pipeline(BASIC + GOLD)
    rows = gold_rows(30)
    project.rows(rows, "gold.csv")
    project.rows(numbered(30))
    report(project)
    spent = project.sql("SELECT sum(cost_usd) FROM ledger.results")[0][0]
    project.pipeline(BASIC + GOLD + f"[budget]\nmax_usd = {spent}\n")
    result = project.run()
    assert (result.status, result.submitted) == ("gate", 0)
    project.pipeline(BASIC.replace("{{ body }}", "Label: {{ body }}") + GOLD + f"[budget]\nmax_usd = {spent}\n")
    with pytest.raises(GateError, match="max_usd"):
        run_eval(project)
    assert project.requests_sent() == 30


def test_rungs_that_not_every_row_may_use(project: Project) -> None:
    """Check that a `when` that excludes rows from a rung gives the same ladder as asking every model does."""
    text = (LADDER + GOLD).replace("max_tokens = 300\n", "max_tokens = 300\nwhen = \"lang = 'de'\"\n")
    project.pipeline(text)
    rows = gold_rows(40, german=20)
    project.rows(rows, "gold.csv")
    lines = answer_lines(rows, RIGHT)
    answer_by(project, lines)
    found = report(project)
    unsure = [line["output"]["score"] < 0.5 for line in lines[:40]]
    assert [each["n"] for each in found["models"]] == [40, sum(unsure[:20])]
    said = {(line["model"], line["match"]): line["output"] for line in lines}
    way = [SONNET if place < 20 and unsure[place] else HAIKU for place in range(40)]
    hits = sum(said[model, row["body"]]["label"] == row["category"] for model, row in zip(way, rows, strict=True))
    assert float(found["ladder"]["fields"]["label"]["accuracy"]) == hits / 40
    everything = report(project, models="all")
    assert [each["n"] for each in everything["models"]] == [40, 40]
    assert everything["ladder"] == found["ladder"]


FREE = """
[input]
query = "SELECT id, body FROM read_csv('rows.csv')"
key = "id"

[prompt]
user_text = "{{ body }}"

[output.fields.summary]
type = "string"
[output.fields.tags]
type = "array"
items = { type = "string" }
[output.fields.doubt]
type = "number"

[[models]]
model = "claude-haiku-4-5"
max_tokens = 300

[eval]
gold = "SELECT id, body, truth AS summary, ['a', 'b'] AS tags FROM 'gold.csv'"
fields = { summary = "text", tags = "set" }
confidence = "1 - doubt"
error_usd = 0.05
"""


def test_texts_and_sets_with_a_confidence_in_sql_and_a_price_of_errors(project: Project) -> None:
    project.pipeline(FREE)
    rows = [{"id": n, "body": f"text <{n}>", "truth": "the red car"} for n in range(1, 5)]
    project.rows(rows, "gold.csv")
    said = ["The red car.", "red car", "a blue car", "the red car"]
    tags = [["b", "a"], ["a", "b"], ["a", "b"], ["a"]]
    answer_by(
        project,
        [
            {"match": row["body"], "output": {"summary": summary, "tags": listed, "doubt": 0.25}}
            for row, summary, listed in zip(rows, said, tags, strict=True)
        ],
    )
    fields = report(project)["ladder"]["fields"]
    assert float(fields["tags"]["accuracy"]) == 0.75
    assert float(fields["summary"]["accuracy"]) == 0.75
    text = run_eval(project, as_json=False).out
    assert "mean F1" in text
    assert "0.7 to 0.8" in text
    assert "With $0.0500 for a wrong row, 1,000 rows cost" in text


def test_one_that_was_killed_goes_on_and_pays_once(project: Project) -> None:
    project.pipeline(LADDER + GOLD)
    rows = gold_rows(30)
    project.rows(rows, "gold.csv")
    answer_by(project, answer_lines(rows, RIGHT))
    first = spawn(project, "eval", "demo", "--models", "all", "--json")
    while not project.requests_sent() and first.poll() is None:
        time.sleep(0.05)
    first.kill()
    first.communicate()
    whole = report(project, models="all")
    assert [each["n"] for each in whole["models"]] == [30, 30]
    assert project.requests_sent() == 60
    assert project.sql("SELECT count(*), count(DISTINCT custom_id) FROM ledger.results") == [(60, 60)]


def runs_begun(project: Project) -> int:
    """Return how many runs the ledger has; 0 while another process holds the database."""
    with suppress(duckdb.IOException):
        ((number,),) = project.sql("SELECT count(*) FROM ledger.events WHERE kind = 'run_started'")
        return int(number)
    return 0


def test_status_shows_an_evaluation_in_flight_and_cancel_stops_it(project: Project) -> None:
    project.pipeline(BASIC + GOLD)
    project.rows(gold_rows(30), "gold.csv")
    project.control("faults", {"delay_seconds": 3600})
    assert run_eval(project, no_wait=True).code == 5
    found = ask(project, status, ["demo"], as_json=True).value
    assert (found["batches"], [each["requests"] for each in found["evaluations"]]) == ([], [30])
    assert "30 requests of an evaluation in flight" in ask(project, status, ["demo"]).out
    assert "30 requests of an evaluation in flight" in ask(project, status, []).out

    waiting = spawn(project, "eval", "demo")
    while runs_begun(project) < 2:
        time.sleep(0.05)
    stopped = ask(project, cancel, ["demo"], as_json=True).value
    assert [(each["requests"], each["outcome"]) for each in stopped["batches"]] == [(30, "canceling")]
    _, said = waiting.communicate(timeout=60)
    assert waiting.returncode == 6
    assert "To go on: batchpipe eval demo" in said
    assert project.requests_sent() == 30
    again = ask(project, cancel, ["demo"])
    assert "30 requests of them are of an evaluation. To collect them and go on: batchpipe eval demo" in again.out

    project.control("faults", {"delay_seconds": 0})
    assert report(project)["ladder"]["n"] == 30
    assert project.requests_sent() == 60
    found = ask(project, status, ["demo"], as_json=True).value
    assert found["evaluations"] == []
    assert found["evaluations_usd"] == project.sql("SELECT sum(cost_usd) FROM ledger.results")[0][0]
    assert found["cost_usd"] == 0
