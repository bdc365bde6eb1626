"""Tests of gates on the emulator: it costs nothing, so that the file's pilot and questions about money pass."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from commandline import CommandLine

ROWS = 3_080


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    return CommandLine(monkeypatch=monkeypatch, capsys=capsys)


def test_the_ci_commands_of_a_new_project_pass_on_the_first_day_and_after_new(
    tmp_path: Path, typed: CommandLine, full_sweep: bool
) -> None:
    assert typed("init", ".").code == 0
    rows = ROWS if full_sweep else 400
    duckdb.sql(
        f"COPY (SELECT i AS id, concat('What of my card number ', i, '? ', repeat('It is late. ', 40)) AS question "
        f"FROM range({rows}) r(i)) TO '{tmp_path}/mine.csv' (HEADER)"
    )
    made = typed("new", "mine", "--input", "mine.csv", "--labels", "card,loan,other")
    assert made.code == 0, made.talk
    text = (tmp_path / "pipelines" / "mine.toml").read_text()
    assert "[pilot]\nrows = 100" in text
    assert f"The {rows:,} rows of today fit into it" in text
    assert typed("check").code == 0
    done = typed("run", "--all", "--emulator", "--yes", "--json")
    assert done.code == 0, done.talk
    by_name = {each["pipeline"]: each for each in done.value}
    assert by_name["mine"]["rows"]["accepted"] == rows
    assert by_name["feedback"]["rows"]["accepted"] == 12

    # A pilot that the command line asks for holds as ever, and is approved as ever.
    system = tmp_path / "prompts" / "mine" / "system.md.j2"
    system.write_text(system.read_text() + "\nBe quick.\n")
    plan = typed("plan", "mine", "--emulator", "--json").value
    assert (plan["requests"], "pilot" in plan) == (rows, False)
    held = typed("run", "mine", "--emulator", "--yes", "--pilot", "20", "--limit", "60", "--json")
    assert (held.code, held.value["submitted"]) == (6, 20)
    approved = typed("run", "mine", "--emulator", "--yes", "--approve", "--limit", "60", "--json")
    assert approved.code == 0
    assert approved.value["submitted"] > 0

    # A budget holds on the emulator too.
    file = tmp_path / "pipelines" / "mine.toml"
    file.write_text(
        file.read_text().replace("max_usd = 5.0", "max_usd = 0.1").replace("max_usd = 20.0", "max_usd = 0.1")
    )
    stopped = typed("run", "mine", "--emulator", "--yes", "--json")
    assert (stopped.code, stopped.value["submitted"]) == (6, 0)
    assert "[budget] max_usd" in stopped.value["gate"]
