"""A plan of a chain whose upstream table has values of types that Parquet does not know."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commandline import CommandLine

ABOVE = """
[input]
query = "SELECT id, (9007199254740993 + id)::HUGEINT AS total, to_microseconds(id) AS gap, [id::HUGEINT] AS several FROM 'rows.csv'"
key = "id"
[prompt]
user_text = "{{ id }}"
[output]
include = ["total", "gap", "several"]
[output.fields.label]
type = "string"
enum = ["one", "two"]
[[models]]
model = "claude-haiku-4-5"
max_tokens = 200
"""  # noqa: E501
BELOW = """
[input]
query = "SELECT id, total, gap, several FROM above"
key = "id"
[prompt]
user_text = "{{ total }} {{ gap }} {{ several }}"
[output.fields.label]
type = "string"
enum = ["one", "two"]
[[models]]
model = "claude-haiku-4-5"
max_tokens = 200
"""


def test_what_parquet_does_not_know_makes_no_row_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "batchpipe.toml").touch()
    for name, text in (("above", ABOVE), ("below", BELOW)):
        (tmp_path / "pipelines" / f"{name}.toml").write_text(text, encoding="utf-8")
    (tmp_path / "rows.csv").write_text("id\n1\n2\n", encoding="utf-8")
    project = ("-C", str(tmp_path), "--emulator")
    assert call(*project, "run", "--all", "--yes").code == 0
    (tmp_path / "rows.csv").write_text("id\n1\n2\n3\n", encoding="utf-8")
    planned = call(*project, "plan", "--all").out
    assert planned.count("1 new ") == 2
    assert "input_changed" not in planned
    assert "is DOUBLE now" not in planned
    ran = json.loads(call(*project, "run", "--all", "--yes", "--json").out)
    assert [each["submitted"] for each in ran] == [1, 1]
