"""Tests of a field that a judge compares: the judge's requests, its verdicts, and their cost."""

from __future__ import annotations

import time
from typing import Any

import pytest
from calls import ask, spawn
from helpers.gold import HAIKU, OPUS, SONNET, answer_by, git, report, run_eval
from helpers.judged import EVAL, JUDGE_PROMPT, LADDER, ROWS, accuracy, begin, hits, is_right, lines
from helpers.schemas import errors
from projects import Project

from batchpipe.commands.check.check import check
from batchpipe.commands.report.report import report as report_command
from batchpipe.commands.status.status import status
from batchpipe.common.errors import CredentialsError, GateError, PipelineError


def judged_requests(project: Project) -> int:
    statement = "SELECT count(*) FROM ledger.requests WHERE pipeline LIKE 'demo:judge:%' AND leads"
    return int(project.sql(statement)[0][0])


def test_accuracies_are_those_that_the_judge_gives_and_it_is_asked_once(project: Project) -> None:
    begin(project)
    found = report(project, models="all")
    assert [accuracy(each) for each in found["models"]] == [hits(HAIKU) / 20, hits(SONNET) / 20]
    assert 0 < hits(HAIKU) < hits(SONNET) < 20
    # 15 of 20 answers of each model are not the truth itself, three of them the same of both models.
    (judge,) = found["judges"]
    assert (judge["field"], judge["models"]) == ("summary", [OPUS])
    assert (judge["answers"], judge["judged"], judge["not_judged"]) == (27, 27, 0)
    assert judged_requests(project) == 27
    assert project.requests_sent() == 40 + 27
    # Its cost is apart from that of the answers.
    costs = dict(
        project.sql(
            "SELECT q.model, sum(r.cost_usd) FROM ledger.requests q "
            "JOIN ledger.results r USING (custom_id) WHERE q.leads GROUP BY ALL"
        )
    )
    assert [each["cost_usd"] for each in found["models"]] == [costs[HAIKU].normalize(), costs[SONNET].normalize()]
    assert judge["cost_usd"] == costs[OPUS].normalize()
    # It went through a batch, at half the price, and left no table.
    assert project.sql("SELECT count(*) FROM ledger.results WHERE batch_id IS NULL") == [(0,)]
    assert project.sql("SELECT count(*) FROM information_schema.tables WHERE table_schema <> 'ledger'") == [(0,)]
    assert report(project, models="all") == found
    assert project.requests_sent() == 67


def test_a_judge_without_a_key_is_told_before_the_models_are_asked(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(project)
    project.pipeline(LADDER + EVAL.replace(OPUS, "openai:gpt-6-luna"))
    keyless = {name: value for name, value in project.environment.items() if name != "OPENAI_API_KEY"}
    monkeypatch.setattr(Project, "environment", keyless)
    with pytest.raises(CredentialsError, match="no key for the provider openai"):
        run_eval(project, models="all")
    assert project.sql("SELECT count(*) FROM ledger.requests") == [(0,)]


def test_what_is_the_truth_word_for_word_needs_no_judge(project: Project) -> None:
    answers = [
        {"model": HAIKU, "match": row["body"], "output": {"summary": row["truth"], "confidence": 0.9}} for row in ROWS
    ]
    begin(project, answers=answers)
    found = report(project)
    assert accuracy(found["ladder"]) == 1
    assert found["judges"][0] == {
        "field": "summary",
        "models": [OPUS],
        "answers": 0,
        "judged": 0,
        "not_judged": 0,
        "cost_usd": 0,
    }
    assert project.requests_sent() == 20


def test_a_judgement_that_fails_counts_as_wrong_and_is_named(project: Project) -> None:
    begin(project)
    project.faults({"requests": [{"match": "for text <1>?", "outcome": "invalid_json"}]})
    found = report(project)
    assert is_right(HAIKU, 1)
    assert accuracy(found["models"][0]) == (hits(HAIKU) - 1) / 20
    judge = found["judges"][0]
    assert judge["not_judged"] == 1
    # All that was paid for it counts, and it is not paid again.
    attempts = project.sql(
        "SELECT count(*), sum(cost_usd) FROM ledger.results WHERE pipeline LIKE 'demo:judge:%' AND NOT judged_again"
    )
    assert attempts == [(judge["answers"] + 2, attempts[0][1])]
    assert judge["cost_usd"] == attempts[0][1].normalize()
    sent = project.requests_sent()
    printed = run_eval(project, as_json=False)
    assert project.requests_sent() == sent
    assert "The judge of summary failed for 1 answer, counted as wrong: 1 (" in printed.out


def test_what_flies_is_waited_for_by_the_next_call(project: Project) -> None:
    begin(project)
    report(project)
    sent = judged_requests(project)
    # Another judge has everything before it; its batches are left in flight.
    project.pipeline((LADDER + EVAL).replace("You compare summaries.", "You judge summaries."))
    printed = run_eval(project, no_wait=True)
    assert printed.code == 5
    assert judged_requests(project) == 2 * sent
    assert printed.value["judges"][0]["not_judged"] == sent
    assert "not judged yet" in printed.talk
    assert run_eval(project, wait="30s").value["judges"][0]["not_judged"] == 0
    assert judged_requests(project) == 2 * sent


def test_only_what_is_new_is_judged(project: Project) -> None:
    begin(project)
    first = report(project)
    sent = judged_requests(project)
    # The other model's answers beside those that it shares or that the ladder has asked already.
    report(project, models="all")
    assert judged_requests(project) == 27 > sent
    # An edit of the pipeline's own prompt whose answers stay the same is no new question for the judge.
    project.pipeline((LADDER + EVAL).replace("Sum up: {{ body }}", "Sum up: {{ body }}, please."))
    again = report(project)
    assert judged_requests(project) == 27
    assert accuracy(again["ladder"]) == accuracy(first["ladder"])
    assert again["judges"] == first["judges"]
    # Nor is a ladder of judges that begins with the same one: what it refuses goes up.
    stricter = EVAL.replace("max_tokens = 200", 'max_tokens = 200\naccept = "correct"')
    more = f'[[eval.fields.summary.models]]\nmodel = "{SONNET}"\nmax_tokens = 200\n'
    said = [line | {"model": SONNET} for line in lines() if line["match"].startswith("Does")]
    kinder = [line | {"output": {"correct": True, "reason": "why not"}} for line in said]
    answer_by(project, [*kinder, *lines()])
    project.pipeline(LADDER + stricter + more)
    found = report(project, models="all")
    assert [accuracy(each) for each in found["models"]] == [1, 1]
    (judge,) = found["judges"]
    assert judge["models"] == [OPUS, SONNET]
    refused = sum(
        not is_right(model, row["id"])
        for row in ROWS
        for model in (HAIKU, SONNET)
        if row["id"] % 4 and not (model == SONNET and row["id"] % 5 == 0)
    )
    assert judged_requests(project) == 27 + refused
    spent = project.sql("SELECT sum(cost_usd) FROM ledger.results WHERE pipeline LIKE 'demo:judge:%'")[0][0]
    assert judge["cost_usd"] == spent.normalize()


def test_the_bar_the_trend_and_another_version(project: Project) -> None:
    begin(project)
    git(project, "init", "-q", "-b", "main")
    git(project, "add", "pipelines", "gold.csv")
    git(project, "commit", "-q", "-m", "first")
    share = accuracy(report(project)["ladder"])
    assert run_eval(project, fail_under=[f"summary={share}"]).code == 0
    assert run_eval(project, fail_under=[f"{share + 0.01}"]).code == 1
    # The new prompt has other answers, each of which the judge takes.
    better = [
        {"match": f"Please: {row['body']}", "output": {"summary": f"good {row['id']}", "confidence": 0.9}}
        for row in ROWS
    ]
    taken = [{"match": f"Does <good {row['id']}> mean", "output": {"correct": True, "reason": "it is"}} for row in ROWS]
    answer_by(project, [*better, *taken, *lines()])
    project.pipeline((LADDER + EVAL).replace("Sum up:", "Please:"))
    sent = project.requests_sent()
    found = report(project, against="main")
    assert project.requests_sent() == sent + 20 + 20
    assert (accuracy(found["ladder"]), float(found["against"]["accuracy"])) == (1, share)
    assert (found["against"]["fixed"], found["against"]["broken"]) == (20 - round(share * 20), 0)
    assert [each["prompt_version"] for each in run_eval(project, history=True).value] == ["v1", "v2"]
    shown = run_eval(project, as_json=False, markdown=True, against="v1").out
    assert f"| `summary` | `{OPUS}` |" in shown
    project.pipeline(LADDER + EVAL)
    shown = run_eval(project, as_json=False).out
    for words in (
        "Answers that a judge says are wrong",
        "because of 3",
        "Judges (their cost is not part of the costs above)",
    ):
        assert words in shown


def test_thresholds_are_tuned_on_what_the_judge_says(project: Project) -> None:
    rows: list[dict[str, Any]] = [{"id": n, "body": f"text <{n}>", "truth": f"true {n}"} for n in range(1, 201)]
    project.pipeline(LADDER + EVAL)
    project.rows(rows, "gold.csv")
    answers = []
    for row in rows:
        number = row["id"]
        for model, good in ((HAIKU, number % 2 == 0), (SONNET, number % 50 != 0)):
            said = f"{model} of {number}"
            output: dict[str, Any] = {"summary": said, "confidence": 0.9 if good else 0.2}
            answers.append({"model": model, "match": f"Sum up: {row['body']}", "output": output})
            output = {"correct": good, "reason": "so"}
            answers.append({"model": OPUS, "match": f"Does <{said}> mean", "output": output})
    answer_by(project, answers)
    found = report(project, tune=True, target=0.8)
    assert [each["model"] for each in found["tuned"]] == [HAIKU, SONNET]
    assert float(found["expected"]["accuracy"]) > 0.9
    assert found["judges"][0]["judged"] == 400


def test_gold_with_keys_alone_and_a_list_that_is_judged(project: Project) -> None:
    text = (LADDER + EVAL).replace('summary]\ntype = "string"', 'summary]\ntype = "array"\nitems = { type = "string" }')
    project.pipeline(
        text.replace('gold = "gold.csv"', "gold = \"SELECT id, string_split(truth, ' ') AS truth FROM 'gold.csv'\"")
    )
    project.rows([{"id": row["id"], "body": row["body"]} for row in ROWS])
    project.rows([{"id": row["id"], "truth": row["truth"]} for row in ROWS[:4]], "gold.csv")
    said = [["true", "1"], ["2", "true"], ["3"], ["true 4"]]
    answers = [
        {"model": HAIKU, "match": row["body"], "output": {"summary": each, "confidence": 0.9}}
        for row, each in zip(ROWS, said, strict=False)
    ]
    judged = [
        {
            "model": OPUS,
            "match": 'Does <["2", "true"]> mean <["true", "2"]>',
            "output": {"correct": True, "reason": ""},
        },
        {"model": OPUS, "match": "Does <", "output": {"correct": False, "reason": "no"}},
    ]
    answer_by(project, [*answers, *judged])
    found = report(project)
    assert accuracy(found["ladder"]) == 0.5
    assert found["judges"][0]["answers"] == 3


def test_gold_may_call_its_true_values_what_the_judge_calls_the_answer(project: Project) -> None:
    folder = project.root / "prompts" / "judges"
    folder.mkdir(parents=True)
    folder.joinpath("user.md.j2").write_text("{% include 'judges/pair.md.j2' %} for {{ body }}?\n", encoding="utf-8")
    folder.joinpath("pair.md.j2").write_text("Does <{{ answer }}> mean <{{ expected }}>", encoding="utf-8")
    inline = f'user_text = "{JUDGE_PROMPT}"'
    assert inline in EVAL
    begin(project, (LADDER + EVAL).replace('"truth"', '"answer"').replace(inline, 'user = "judges/user.md.j2"'))
    project.rows([{"id": row["id"], "body": row["body"], "answer": row["truth"]} for row in ROWS], "gold.csv")
    assert accuracy(report(project)["models"][0]) == hits(HAIKU) / 20


def test_a_value_that_only_one_side_has_needs_no_judge(project: Project) -> None:
    text = (LADDER + EVAL).replace(
        '[output.fields.summary]\ntype = "string"', '[output.fields.summary]\ntype = ["string", "null"]'
    )
    gold = "gold = \"SELECT id, body, CASE WHEN id > 1 THEN truth END AS truth FROM 'gold.csv' WHERE id < 4\""
    said = [None, None, "true 3"]
    answers = [
        {"model": HAIKU, "match": row["body"], "output": {"summary": each, "confidence": 0.9}}
        for row, each in zip(ROWS, said, strict=False)
    ]
    begin(project, text.replace('gold = "gold.csv"', gold), answers)
    found = report(project)
    assert accuracy(found["ladder"]) == pytest.approx(2 / 3)
    assert project.requests_sent() == 3


def test_judging_is_paid_from_the_budget_and_leaves_the_pipeline_as_it_was(project: Project) -> None:
    begin(project, LADDER + EVAL)
    project.rows([{"id": row["id"], "body": row["body"]} for row in ROWS])
    project.run()
    table, sent = project.sql("SELECT * FROM demo ORDER BY id"), project.requests_sent()
    report(project)
    assert project.requests_sent() == sent + judged_requests(project)
    assert project.sql("SELECT * FROM demo ORDER BY id") == table
    assert project.run().submitted == 0
    for command in (status, report_command):
        assert "judge" not in ask(project, command, []).out
    weighing = LADDER + EVAL.replace("You compare", "You weigh")
    project.pipeline(weighing)
    with pytest.raises(GateError, match="--max-usd"):
        run_eval(project, max_usd="0.00001")
    spent = project.sql("SELECT sum(cost_usd) FROM ledger.results")[0][0]
    project.pipeline(weighing + f"[budget]\nmax_usd = {spent}\n")
    with pytest.raises(GateError, match="max_usd"):
        run_eval(project)


@pytest.mark.parametrize(
    ("old", "new", "where", "what"),
    [
        ("[eval.fields.summary.prompt]", "[eval.fields.summary.promt]", "[eval.fields.summary]", "no prompt"),
        ("max_tokens = 200", "max_token = 200", "[[eval.fields.summary.models]] 1 max_tokens", "is missing"),
        ("user_text", "system", "[eval.fields.summary.prompt]", "neither user nor user_text"),
        ("max_tokens = 200", "max_tokens = 200\ntemperature = 9", "[[eval.fields.summary.models]] 1", "temperature"),
        ('"judge"', '"set"', "[eval.fields.summary.prompt]", "only a judge has prompt"),
        ("{{ answer }}", "{{ answer + 1 }}", "[eval.fields.summary.prompt] user_text line 1", "cannot be rendered"),
        ("{{ answer }}", "it", "[eval.fields.summary.prompt]", "never shows the answer"),
        ("{{ expected }}", "{{ expectd }}", "[eval.fields.summary.prompt] user_text", "expectd"),
        ('user_text = "', 'user = "none.md.j2" #', "[eval.fields.summary.prompt] user", "no template"),
        (
            "max_tokens = 200",
            'max_tokens = 200\naccept = "corect"',
            "[[eval.fields.summary.models]] 1 accept",
            "corect",
        ),
        ("max_tokens = 200", 'max_tokens = 200\nwhen = "correct"', "[[eval.fields.summary.models]] 1 when", "correct"),
        ('"gold.csv"', "\"SELECT *, 1 AS answer FROM 'gold.csv'\"", "[eval.fields.summary]", "column 'answer'"),
        (OPUS, "claude-none-1", "[[eval.fields.summary.models]]", "claude-none-1"),
    ],
)
def test_a_judge_that_cannot_be_asked(project: Project, old: str, new: str, where: str, what: str) -> None:
    assert old in EVAL
    text = LADDER + EVAL.replace(old, new) + "[budget]\nmax_usd = 5\n"
    (project.root / "pipelines").joinpath("demo.toml").write_text(text, encoding="utf-8")
    project.rows(ROWS, "gold.csv")
    project.rows([{"id": row["id"], "body": row["body"]} for row in ROWS])
    checked = ask(project, check, [], [])
    assert checked.code == 2
    assert any(what in line and where in line for line in checked.out.splitlines()), checked.out
    assert "pipelines/demo.toml" in checked.out


def test_a_judge_is_more_than_its_name(project: Project) -> None:
    with pytest.raises(PipelineError) as caught:
        project.pipeline(LADDER + '[eval]\ngold = "gold.csv"\nfields = { summary = "judge" }\n')
    assert [each.what for each in caught.value.problems] == [
        "the judge of summary has no prompt",
        "the judge of summary has no models",
    ]


def test_a_judge_of_unknown_price_is_no_match_for_a_limit(project: Project) -> None:
    begin(project, LADDER + EVAL.replace(OPUS, "claude-opus-9"))
    with pytest.raises(PipelineError, match="no price is known") as caught:
        run_eval(project, max_usd="5")
    assert "[[eval.fields.summary.models]]" in str(caught.value)
    assert judged_requests(project) == 0
    project.rows([{"id": row["id"], "body": row["body"]} for row in ROWS])
    assert "P011" in ask(project, check, [], []).out


def test_what_asks_the_judge_the_same_is_asked_and_paid_once(project: Project) -> None:
    text = (LADDER + EVAL).replace(" for {{ body }}?", "?")
    answers = [
        {"model": HAIKU, "match": row["body"], "output": {"summary": f"said {row['id'] % 2}", "confidence": 0.9}}
        for row in ROWS
    ]
    said = [
        {"model": OPUS, "match": f"Does <said {n}> mean", "output": {"correct": n == 1, "reason": "so"}} for n in (0, 1)
    ]
    begin(project, text, [*answers, *said])
    project.rows([row | {"truth": "the same for all"} for row in ROWS], "gold.csv")
    found = report(project)
    assert accuracy(found["ladder"]) == 0.5
    assert judged_requests(project) == 2
    (judge,) = found["judges"]
    assert (judge["answers"], judge["judged"]) == (20, 20)
    spent = project.sql("SELECT sum(cost_usd) FROM ledger.results WHERE pipeline LIKE 'demo:judge:%'")[0][0]
    assert judge["cost_usd"] == spent.normalize()


def test_two_fields_with_a_judge_each(project: Project) -> None:
    """Compare one field by a judge, another by a second judge, a third by its value; a row is right if all
    fields are.
    """
    text = (LADDER + EVAL).replace("[[models]]", '[output.fields.title]\ntype = "string"\n\n[[models]]', 1)
    other = EVAL[EVAL.index("[eval.fields") :].replace("fields.summary", "fields.title").replace("Does <", "Is title <")
    gold = "\"SELECT *, 'T' || id AS title, 0.9 AS confidence FROM 'gold.csv'\""
    plain = '[eval.fields.confidence]\ncompare = "numeric"\n'
    answers: list[dict[str, Any]] = []
    for row in ROWS:
        output: dict[str, Any] = {"summary": "s", "title": f"t{row['id']}", "confidence": 0.9 if row["id"] > 2 else 0.8}
        answers.append({"model": HAIKU, "match": f"Sum up: {row['body']}", "output": output})
        for what, good in ((f"Does <s> mean <true {row['id']}>", row["id"] % 2), (f"Is title <t{row['id']}>", 1)):
            output = {"correct": bool(good), "reason": "so"}
            answers.append({"model": OPUS, "match": what, "output": output})
    begin(project, text.replace('"gold.csv"', gold) + other + plain, answers)
    found = report(project)
    fields = found["ladder"]["fields"]
    assert [float(fields[name]["accuracy"]) for name in ("summary", "title", "confidence")] == [0.5, 1, 0.9]
    assert [each["field"] for each in found["judges"]] == ["summary", "title"]
    assert found["ladder"]["usd_per_1000_correct"] == pytest.approx(found["ladder"]["cost_usd"] * 1000 / 9)
    assert judged_requests(project) == 40


def test_a_judge_that_was_killed_goes_on_and_is_paid_once(project: Project) -> None:
    begin(project)
    first = spawn(project, "eval", "demo", "--models", "all", "--json")
    while project.requests_sent() <= 40 and first.poll() is None:
        time.sleep(0.02)
    first.kill()
    first.communicate()
    found = report(project, models="all")
    assert [accuracy(each) for each in found["models"]] == [hits(HAIKU) / 20, hits(SONNET) / 20]
    assert project.requests_sent() == 67
    assert project.sql("SELECT count(*), count(DISTINCT custom_id) FROM ledger.results") == [(67, 67)]


def test_editors_know_what_a_judge_is() -> None:
    assert errors(LADDER + EVAL) == []
    assert errors(LADDER + EVAL.replace("user_text", "usr_text"))
    assert errors(LADDER + EVAL.replace('"judge"', '"jugde"'))
