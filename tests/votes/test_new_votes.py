"""Tests of panels that `new` writes, of what `check` says of votes, and of the schema that editors have of them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from commandline import CommandLine
from desks import HEAD, PANEL, TOP, Desk
from projects import BASIC, numbered

from batchpipe.common.errors import PipelineError
from batchpipe.pipeline.reference import json_schema


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    (tmp_path / "batchpipe.toml").touch()
    (tmp_path / "tickets.csv").write_text("ticket_id,body\n1,My invoice is wrong\n2,The lamp is broken\n")
    monkeypatch.chdir(tmp_path)
    return CommandLine(monkeypatch=monkeypatch, capsys=capsys)


THREE = ("--panel", "claude-haiku-4-5", "--panel", "openai:gpt-6-luna", "--panel", "gemini:gemini-3.8-flash")


@pytest.mark.parametrize(
    ("options", "asked", "requests"),
    [
        (THREE, {"panel": ["claude-haiku-4-5", "openai:gpt-6-luna", "gemini:gemini-3.8-flash"]}, 6),
        (("--samples", "3"), {"model": "claude-haiku-4-5", "samples": 3}, 6),
    ],
)
def test_new_writes_a_rung_that_votes(
    tmp_path: Path, call: CommandLine, options: tuple[str, ...], asked: dict[str, Any], requests: int
) -> None:
    ended = call("new", "triage", "--input", "tickets.csv", "--labels", "billing,bug", *options)
    assert ended.code == 0, ended.talk
    given = tomllib.loads((tmp_path / "pipelines" / "triage.toml").read_text(encoding="utf-8"))
    first, top = given["models"]
    assert {name: first[name] for name in asked} == asked
    assert (first["vote"], first["accept"]) == (["label"], "_agreement > 0.6")
    assert "model" in top
    ended = call("check", "triage", "--emulator")
    assert ended.code == 0, ended.out + ended.talk
    assert (ended.out + ended.talk).count("warning") == 1  # labels without their meanings
    ended = call("plan", "triage", "--json", "--emulator")
    assert (ended.code, ended.value["requests"]) == (0, requests), ended.talk


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--samples", "3"), "--samples needs --labels"),
        (THREE, "--panel needs --labels"),
        (("--labels", "a,b", "--samples", "3", *THREE), "exclude each other"),
        (("--labels", "a,b", "--samples", "16"), "a whole number from 1 to 15, and '16' was given"),
        (("--labels", "a,b", "--panel", "claude-haiku-4-5"), "asks 2 to 15 times, and not 1"),
        (("--labels", "a,b", "--panel", "openai:", "--panel", "x"), '"openai:" names no model'),
    ],
)
def test_new_refuses_votes_that_cannot_be_cast(
    tmp_path: Path, call: CommandLine, options: tuple[str, ...], words: str
) -> None:
    ended = call("new", "triage", "--input", "tickets.csv", *options)
    assert (ended.code, words in ended.talk) == (2, True), ended.talk
    assert not (tmp_path / "pipelines" / "triage.toml").exists()


def test_the_schema_of_editors_knows_votes() -> None:
    checked = jsonschema_rs.validator_for(json_schema())

    def fits(models: str) -> bool:
        return checked.is_valid(tomllib.loads(HEAD + models))

    assert fits(PANEL)
    assert fits(
        '[[models]]\npanel = ["a", {model = "b", max_tokens = 3, effort = "low"}]\nvote = "label"\nquorum = 1\n'
    )
    assert fits('[[models]]\nmodel = "a"\nmax_tokens = 3\nsamples = 5\nvote = ["label"]\n')
    assert not fits('[[models]]\nmodel = "a"\nmax_tokens = 3\nsamples = 0\n')
    assert not fits('[[models]]\nmodel = "a"\nmax_tokens = 3\nsamples = "three"\n')
    assert not fits("[[models]]\npanel = [3]\nmax_tokens = 3\n")
    assert not fits('[[models]]\npanel = ["a"]\nmodel = "a"\nmax_tokens = 3\n')
    assert not fits("[[models]]\nmax_tokens = 3\n")


def test_check_warns_of_votes_that_say_nothing(desk: Desk) -> None:
    desk.rows(numbered(1))
    desk.pipeline(BASIC + 'accept = "_agreement > 0.6"\n' + PANEL)
    (warning,) = [each for each in desk.preview().resolved.warnings if each.key == "1 accept"]
    assert "`accept` of rung 1 reads _agreement, which is NULL there" in warning.what
    desk.pipeline(BASIC + 'accept = "coalesce(_agreement, 1) > 0.6"\n' + PANEL)
    assert not [each for each in desk.preview().resolved.warnings if each.key == "1 accept"]
    desk.pipeline(BASIC + 'samples = 1\naccept = "_agreement > 0.6"\n')
    with pytest.raises(PipelineError) as alone:
        desk.preview()
    assert "write samples or panel" in (alone.value.hint or "")
    twice = json.dumps(["claude-haiku-4-5", "claude-haiku-4-5", "claude-sonnet-4-6"])
    desk.pipeline(HEAD + f"[[models]]\npanel = {twice}\nmax_tokens = 200\ntemperature = 0\n")
    (warning,) = [each for each in desk.preview().resolved.warnings if each.key == "1 temperature"]
    assert "samples of `claude-haiku-4-5` are mostly the same" in warning.what


def test_check_warns_of_checks_that_no_answer_without_a_vote_passes(desk: Desk) -> None:
    desk.rows(numbered(1))
    for check, ladder, warned in (
        ("len(_votes) = 3", PANEL + TOP, True),
        ("_agreement > 0.5 AND len(_votes) = 3", PANEL + TOP, True),
        ("len(_votes) = 3", PANEL, False),
        ("coalesce(_agreement, 1) > 0.5", PANEL + TOP, False),
        ("label = 'bug' OR _agreement > 0.5", PANEL + TOP, False),
    ):
        desk.pipeline(HEAD + f'[output.checks]\nseen = "{check}"\n' + ladder)
        found = [each.what for each in desk.preview().resolved.warnings if "the check `seen`" in each.what]
        assert len(found) == warned, check
        assert not warned or "is NULL on rung 2: the rung asks once, so that no answer of it is valid" in found[0]
