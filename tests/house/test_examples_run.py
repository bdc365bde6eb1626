"""The examples run on the emulator through the command line, and a second run sends nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from checkout import copy_examples
from helpers.examples import NAMES, example, gold_labels, share

from batchpipe.cli.main import main

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the examples that is the working folder."""
    monkeypatch.chdir(copy_examples(tmp_path))
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """`batchpipe run ... --emulator --json`, which must exit 0; the object that it prints."""

    def call(*arguments: str) -> dict[str, Any]:
        capsys.readouterr()
        exit_code = main(["run", *arguments, "--emulator", "--json"])
        printed = capsys.readouterr()
        assert exit_code == 0, printed.err
        found: dict[str, Any] = json.loads(printed.out)
        return found

    return call


def ask(root: Path, statement: str) -> list[tuple[Any, ...]]:
    path = root / ".batchpipe" / "emulator" / "batchpipe.duckdb"
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(statement).fetchall()


@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_and_a_second_run_sends_nothing(examples: Path, run: Run, name: str) -> None:
    first = run(name)
    rows = first["rows"]
    assert first["status"] == "done"
    assert rows["input"] == rows["accepted"] == len(example(name).rows)
    assert (rows["failed"], rows["pending"], rows["due"]) == (0, 0, 0)
    assert first["submitted"] > 0
    assert ask(examples, f"SELECT count(*), count(*) FILTER (_current) FROM {name}") == [(rows["input"], rows["input"])]
    second = run(name)
    assert (second["status"], second["submitted"], second["batches"], second["cost_usd"]) == ("done", 0, 0, 0)
    assert second["rows"]["unchanged"] == second["rows"]["accepted"] == rows["input"]


def test_tickets_get_the_labels_that_their_answers_name(examples: Path, run: Run) -> None:
    run("ticket_triage")
    first, second = example("ticket_triage").outputs(0), example("ticket_triage").outputs(1)
    expected = {}
    for (key,), low, high in zip(example("ticket_triage").row_keys(), first, second, strict=True):
        climbs = low["confidence"] < 0.8
        expected[key] = ((high if climbs else low)["label"], 2 if climbs else 1)
    rows = ask(examples, "SELECT ticket_id, label, _rung FROM ticket_triage")
    assert {key: (label, rung) for key, label, rung in rows} == expected
    gold = gold_labels()
    assert share([label == gold[key] for key, label, _ in rows]) > 0.9


def test_money_is_exact_and_lists_of_items_are_typed(examples: Path, run: Run) -> None:
    result = run("invoice_extraction")
    types = dict(ask(examples, "SELECT column_name, column_type FROM (DESCRIBE invoice_extraction)"))
    assert types["total"] == types["net_total"] == "DECIMAL(12,2)"
    assert types["issued_on"] == types["due_on"] == types["received_on"] == "DATE"
    money = "DECIMAL(12,2)"
    item = f"description VARCHAR, quantity DECIMAL(12,3), unit_price {money}, amount {money}"
    assert types["line_items"].replace('"', "") == f"STRUCT({item})[]"
    # The small model's sums do not add up for one e-mail: it is asked again, then the next rung answers.
    assert ask(examples, "SELECT email_id FROM invoice_extraction WHERE _rung = 2") == [("mail-005",)]
    assert result["submitted"] == result["rows"]["input"] + 2


def test_comments_that_no_rung_is_sure_of_are_left_to_a_person(examples: Path, run: Run) -> None:
    result = run("comment_moderation")
    unsure = ask(examples, "SELECT _rung, confidence < 0.75 FROM comment_moderation WHERE _review")
    assert result["rows"]["review"] == len(unsure) > 0
    assert set(unsure) == {(2, True)}


def test_a_new_project_checks_and_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("init", "check", "run --all --emulator --yes", "check", "new tags --labels red,blue"):
        assert main(command.split()) == 0, f"{command}: {capsys.readouterr().err}"
    assert main(["check"]) == 0
    assert main(["run", "tags", "feedback", "--emulator"]) == 0
    assert ask(tmp_path, "SELECT count(*) FROM feedback") == [(12,)]
    assert ask(tmp_path, "SELECT count(*) > 0 FROM tags") == [(True,)]
