"""Tests of evaluations of rungs that vote: tuned by the agreement, each member by its own cost, against a version."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest
from commandline import CommandLine
from desks import HEAD, PANEL, TOP, Desk
from projects import numbered

# What the members after the first one say to each kind of text, and the true label. The first one says `bug`.
SAID = {
    "split": ({"gpt-6-luna": "other", "gemini-3.8-flash": "billing"}, "other"),
    "half": ({"gpt-6-luna": "other", "gemini-3.8-flash": "bug"}, "other"),
    "clear": ({"gpt-6-luna": "bug", "gemini-3.8-flash": "bug"}, "bug"),
}
KINDS = ("clear", "half", "split", "clear", "clear", "half", "clear", "clear")
GOLD = """
[eval]
gold = "SELECT id, truth FROM read_csv('gold.csv', types = {'id': 'BIGINT'})"
expect = { label = "truth" }
"""
ROWS = 80


@pytest.fixture
def call(desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    monkeypatch.chdir(desk.root)
    for name, value in {**desk.environment, "BATCHPIPE_POLL_INTERVAL": "0.02"}.items():
        monkeypatch.setenv(name, value)
    desk.answer_lines(
        [
            {"model": model, "match": kind, "output": {"label": label, "score": 0.5}}
            for kind, (said, truth) in SAID.items()
            for model, label in {"claude-haiku-4-5": "bug", "claude-opus-4-8": truth, **said}.items()
        ]
    )
    for name in ("ANTHROPIC_BASE_URL", "OPENAI_BASE_URL", "GOOGLE_GEMINI_BASE_URL"):
        monkeypatch.setenv(name, desk.environment[name])
    kinds = [KINDS[n % len(KINDS)] for n in range(ROWS)]
    desk.rows([{**each, "body": f"{kind} {each['id']}"} for each, kind in zip(numbered(ROWS), kinds, strict=True)])
    gold = [f"{number},{SAID[kind][1]}" for number, kind in enumerate(kinds, start=1)]
    (desk.root / "gold.csv").write_text("\n".join(["id,truth", *gold]) + "\n", encoding="utf-8")
    return CommandLine(monkeypatch=monkeypatch, capsys=capsys)


def test_conditions_that_read_votes_do_not_keep_an_evaluation_from_its_members(desk: Desk, call: CommandLine) -> None:
    checked = HEAD + '[output.checks]\nseen = "len(_votes) = 3"\n' + PANEL + GOLD
    desk.pipeline(checked + '[review]\nwhere = "_agreement < 0.7"\n')
    desk.rows([{**each, "body": f"clear {each['id']}"} for each in numbered(4)])
    (desk.root / "gold.csv").write_text("id,truth\n1,bug\n2,bug\n3,bug\n4,bug\n", encoding="utf-8")
    found: dict[str, Any] = call("eval", "demo", "--models", "all", "--json").value
    right = [(each["n"], each["fields"]["label"]["accuracy"]) for each in found["models"]]
    assert right == [(4, 1.0)] * 4


def test_the_agreement_is_tuned_and_each_member_has_its_own_cost(desk: Desk, call: CommandLine) -> None:
    checked = HEAD + '[output.checks]\nseen = "_votes IS NULL OR len(_votes) = 3"\n'
    desk.pipeline(checked + PANEL + TOP + GOLD)
    assert call("eval", "demo").code == 0
    tuned = call("eval", "demo", "--tune", "--json")
    assert tuned.code == 0, tuned.talk
    found: dict[str, Any] = tuned.value
    paid = dict(
        desk.sql(
            "SELECT q.model, sum(r.cost_usd) FROM ledger.results r JOIN ledger.requests q USING (chunk_id, custom_id) "
            "WHERE q.leads GROUP BY q.model"
        )
    )
    models = {each["model"].rpartition(":")[2]: each for each in found["models"]}
    for name in ("claude-haiku-4-5", "gpt-6-luna", "gemini-3.8-flash"):
        assert Decimal(models[name]["cost_usd"]) == paid[name]
    members = sum(paid[name] for name in ("claude-haiku-4-5", "gpt-6-luna", "gemini-3.8-flash"))
    assert Decimal(models["panel of 3"]["cost_usd"]) == members
    # Only a vote without a dissenting voice is right often enough.
    assert [each["accept"] for each in found["tuned"]] == ["_agreement >= 1.0", None]
    assert len(desk.sql("SELECT DISTINCT model FROM ledger.requests")) == 4

    # All answers are stored: the run takes them, and pays for nothing.
    sent = desk.requests_sent()
    assert call("run", "demo", "--yes").code == 0
    assert desk.requests_sent() == sent
    assert desk.sql("SELECT count(*) FROM demo WHERE _current") == [(ROWS,)]

    # Another prompt is held against the first one: each member is asked anew.
    desk.pipeline((checked + PANEL + TOP + GOLD).replace("{{ body }}", "{{ body }}!"))
    against = call("eval", "demo", "--against", "v1", "--json").value["against"]
    assert (against["version"].partition(" ")[0], against["accuracy"]) == ("v1", Decimal("0.75"))
    assert desk.requests_sent() == sent + 3 * ROWS + ROWS // len(KINDS)


def test_a_key_that_is_missing_is_named_before_any_model_is_asked(
    desk: Desk, call: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.pipeline(HEAD + PANEL + TOP + GOLD)
    monkeypatch.delenv("GEMINI_API_KEY")
    for options in (("--models", "all"), ()):
        ended = call("eval", "demo", *options)
        assert (ended.code, "GEMINI_API_KEY" in ended.talk) == (3, True), ended.talk
    assert desk.requests_sent() == 0


SAMPLES = '[[models]]\nmodel = "claude-haiku-4-5"\nmax_tokens = 200\nsamples = 3\n'


@pytest.mark.parametrize(
    ("rung", "options"),
    [(PANEL, ()), (SAMPLES, ()), (PANEL, ("--model", "openai:gpt-6-luna"))],
    ids=["panel", "samples", "member"],
)
def test_a_run_takes_in_what_an_evaluation_of_votes_left_in_flight(
    desk: Desk, call: CommandLine, rung: str, options: tuple[str, ...]
) -> None:
    desk.pipeline(HEAD + rung + TOP + GOLD)
    desk.rows([{**each, "body": f"clear {each['id']}"} for each in numbered(4)])
    (desk.root / "gold.csv").write_text("id,truth\n1,bug\n2,bug\n3,bug\n4,bug\n", encoding="utf-8")
    desk.control("faults", {"delay_seconds": 0})
    assert call("eval", "demo", *options, "--no-wait").code == 5
    codes = [call("run", "demo", "--yes").code]
    while codes[-1] == 5 and len(codes) < 20:  # the evaluation's batches have not ended yet
        time.sleep(0.1)
        codes.append(call("run", "demo", "--yes").code)
    assert codes[-1] == 0
    assert desk.sql("SELECT count(*) FROM ledger.batches WHERE is_open") == [(0,)]
    sent = desk.requests_sent()
    found = call("eval", "demo", *options, "--json").value
    assert desk.requests_sent() == sent
    assert {each["fields"]["label"]["accuracy"] for each in found["models"]} == {1.0}
    assert desk.sql("SELECT count(*) FROM demo WHERE _current") == [(4,)]


def test_an_evaluation_that_waits_to_ask_a_member_again_takes_the_answer_that_a_run_has_got_since(
    desk: Desk, call: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.pipeline(HEAD + PANEL + TOP + GOLD)
    desk.rows([{**each, "body": f"clear {each['id']}"} for each in numbered(4)])
    (desk.root / "gold.csv").write_text("id,truth\n1,bug\n2,bug\n3,bug\n4,bug\n", encoding="utf-8")
    monkeypatch.setenv("BATCHPIPE_POLL_INTERVAL", "600")
    desk.control("faults", {"delay_seconds": 0, "requests": [{"outcome": "errored_overloaded"}]})
    assert call("eval", "demo", "--no-wait").code == 5
    while not desk.sql("SELECT count(*) FROM ledger.part_decisions WHERE state = 'retry'")[0][0]:
        assert call("eval", "demo", "--no-wait").code == 5
    monkeypatch.setenv("BATCHPIPE_POLL_INTERVAL", "0.02")
    desk.control("faults", {"delay_seconds": 0})
    assert call("run", "demo", "--yes").code == 0
    sent = desk.requests_sent()
    found = call("eval", "demo", "--json").value
    assert desk.requests_sent() == sent
    assert {each["fields"]["label"]["accuracy"] for each in found["models"]} == {1.0}
    assert desk.sql("SELECT count(*) FROM demo WHERE _current") == [(4,)]


@pytest.mark.parametrize("rung", [PANEL, SAMPLES], ids=["panel", "samples"])
def test_votes_that_an_evaluation_has_bought_are_in_the_table(desk: Desk, call: CommandLine, rung: str) -> None:
    desk.pipeline(HEAD + rung + GOLD)
    desk.rows([{**each, "body": f"clear {each['id']}"} for each in numbered(4)])
    (desk.root / "gold.csv").write_text("id,truth\n1,bug\n2,bug\n3,bug\n", encoding="utf-8")
    assert call("run", "demo", "--yes").code == 0
    # Other texts for two rows: the first one is known to the evaluation alone, the table has an older answer for it.
    desk.rows([{**each, "body": f"{'split' if each['id'] < 3 else 'clear'} {each['id']}"} for each in numbered(5)])
    (desk.root / "gold.csv").write_text("id,truth\n1,other\n5,bug\n", encoding="utf-8")
    assert call("eval", "demo").code == 0
    sent = desk.requests_sent()
    assert call("run", "demo", "--yes", "--where", "id IN (1, 5)").code == 0
    assert desk.requests_sent() == sent
    rows = "SELECT d.key, t._custom_id = d.custom_id FROM demo t JOIN ledger.row_state d "
    answers = f"{rows} ON d.key = to_json([t.id::VARCHAR])::VARCHAR"
    assert desk.sql(f"{answers} WHERE d.pipeline = 'demo' ORDER BY d.key") == [
        (f'["{number}"]', True) for number in range(1, 6)
    ]


@pytest.mark.parametrize("command", [("run", "demo", "--yes"), ("eval", "demo")], ids=["run", "eval"])
def test_the_lost_submit_of_an_evaluation_that_nobody_repeats_is_found(
    desk: Desk, call: CommandLine, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("BATCHPIPE_RECONCILE_WAIT", "0.3")
    desk.pipeline(HEAD + PANEL + GOLD)
    desk.rows([{**each, "body": f"clear {each['id']}"} for each in numbered(4)])
    (desk.root / "gold.csv").write_text("id,truth\n1,bug\n2,bug\n3,bug\n4,bug\n", encoding="utf-8")
    lost = [{"call": "create", "fault": "accepted_then_reset", "times": 1}]
    desk.control("faults", {"delay_seconds": 0, "calls": lost})
    assert call("eval", "demo", "--model", "claude-haiku-4-5", "--no-wait").code == 5
    desk.control("faults", {"delay_seconds": 0})
    codes = [call(*command).code]
    while codes[-1] == 5 and len(codes) < 20:
        time.sleep(0.2)
        codes.append(call(*command).code)
    assert codes[-1] == 0
    assert desk.sql("SELECT count(*) FROM ledger.batches WHERE is_open") == [(0,)]
    assert desk.requests_sent() == 3 * 4
