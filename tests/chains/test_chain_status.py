"""Tests of what is said of a pipeline that waits for another one, and of chains that cannot run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commandline import CommandLine, Typed
from helpers.chains import CLASSIFY, SUMMARY, write_chain


@pytest.fixture
def chained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    monkeypatch.setenv("BATCHPIPE_POLL_INTERVAL", "0.02")
    monkeypatch.setenv("BATCHPIPE_EMULATOR", "1")
    monkeypatch.chdir(write_chain(tmp_path))
    return CommandLine(monkeypatch=monkeypatch, capsys=capsys)


def awaited(call: CommandLine, name: str) -> list[dict[str, Any]]:
    found = call("status", name, "--json").value
    assert found["waits_for"] == [each["pipeline"] for each in found["upstream"] if each["wait"] != "circle"]
    return list(found["upstream"])


def run(call: CommandLine, *arguments: str) -> Typed:
    return call("run", *arguments, "--answers", "answers.jsonl")


def test_status_says_what_a_pipeline_waits_for(chained: CommandLine) -> None:
    (never,) = awaited(chained, "extract")
    assert (never["pipeline"], never["wait"], never["why"]) == ("classify", "due", "it was never run")
    assert awaited(chained, "classify") == []
    run(chained, "classify", "--no-wait")
    (flying,) = awaited(chained, "extract")
    assert (flying["wait"], flying["why"]) == ("in_flight", "4 requests are in flight")
    text = chained("status", "extract").out
    assert "It waits for classify: 4 requests are in flight. To collect them: batchpipe run classify" in text
    assert "waits for classify" in chained("status").out.splitlines()[1]
    run(chained, "--all")
    assert [awaited(chained, name) for name in ("extract", "summary")] == [[], []]
    assert "waits" not in chained("status").out

    run(chained, "classify", "--limit", "1", "--redo", "all")
    (limited,) = awaited(chained, "extract")
    assert limited["why"] == "its last run was limited by --limit"
    run(chained, "--all")

    # What waits for a person, and what takes all that there is.
    accepting = CLASSIFY.replace("max_tokens = 50", "max_tokens = 50\naccept = \"label = 'bug'\"")
    write_chain(Path.cwd(), classify=accepting)
    run(chained, "classify", "--redo", "all")
    extract = Path("pipelines/extract.toml")
    whole = extract.read_text(encoding="utf-8")
    extract.write_text(whole.replace('key = "id"', 'key = "id"\nupstream = "reviewed"'), encoding="utf-8")
    (person,) = awaited(chained, "extract")
    assert (person["wait"], person["why"]) == ("review", "3 of its rows wait for a person")
    extract.write_text(whole.replace('key = "id"', 'key = "id"\nupstream = "any"'), encoding="utf-8")
    assert awaited(chained, "extract") == []


def test_a_circle_never_hangs_and_a_table_that_nobody_makes_is_said_to_be_so(chained: CommandLine) -> None:
    query = "SELECT customer, list(reason ORDER BY id) AS reasons FROM main.Extract GROUP BY customer"
    for name, read in (("first", "second"), ("second", "first")):
        Path(f"pipelines/{name}.toml").write_text(
            SUMMARY.replace(query, f"SELECT customer, [digest] AS reasons FROM {read}"), encoding="utf-8"
        )
    (circle,) = awaited(chained, "first")
    assert circle["wait"] == "circle"
    assert "in a circle: first -> second -> first" in circle["why"]
    assert "It cannot run: these pipelines read each other in a circle" in chained("status", "second").out

    Path("pipelines/second.toml").unlink()
    ended = chained("check", "first")
    assert ended.code == 2
    assert "Table with name second does not exist!" in ended.out
    assert "Make the table first, ATTACH its database" in ended.out
    assert "duckdb_" not in ended.out


def test_a_pivot_is_read_where_its_values_are_named(chained: CommandLine) -> None:
    query = "SELECT customer, list(reason ORDER BY id) AS reasons FROM main.Extract GROUP BY customer"
    pivot = "PIVOT classify ON label IN ('refund', 'bug') USING count(*) GROUP BY customer"
    text = SUMMARY.replace(query, pivot).replace("{{ reasons }}", "{{ refund }}")
    ordered = text.replace('key = "customer"', 'key = "customer"\nafter_pipelines = ["classify"]')
    Path("pipelines/pivots.toml").write_text(ordered, encoding="utf-8")
    assert awaited(chained, "pivots")[0]["pipeline"] == "classify"
    found = run(chained, "classify", "pivots", "--json").value
    assert [(each["pipeline"], each["submitted"]) for each in found] == [("classify", 4), ("pivots", 3)]
    Path("pipelines/pivots.toml").write_text(text.replace(" IN ('refund', 'bug')", ""), encoding="utf-8")
    ended = chained("check", "pivots")
    assert ended.code == 2
    assert "write PIVOT t ON column IN ('a', 'b')" in ended.out


def test_the_older_table_of_a_renamed_pipeline_is_not_read_any_more(chained: CommandLine) -> None:
    """Its rows would stay as they were for ever, without a word."""
    assert chained("run", "--all", "--emulator").code == 0
    file, reader = Path("pipelines/classify.toml"), Path("pipelines/extract.toml")
    Path("pipelines/sorted_tickets.toml").write_text(f'renamed_from = "classify"\n{file.read_text()}')
    file.unlink()
    for command in (("check", "extract"), ("plan", "extract"), ("run", "--all")):
        ended = chained(*command, "--emulator")
        assert ended.code == 2
        said = ended.out + ended.talk
        assert "nothing is written any more into the table classify that it reads" in said
        assert "The pipeline sorted_tickets writes sorted_tickets now" in said
    shown = chained("status", "--emulator").out
    assert "cannot run" in shown
    assert "waits for extract" not in shown
    text = reader.read_text()
    reader.write_text(text.replace("FROM classify", "FROM all_rows('classify')"))
    assert chained("check", "extract", "--emulator").code == 2
    reader.write_text(text.replace("FROM classify", "FROM sorted_tickets"))
    ended = chained("run", "--all", "--emulator", "--json")
    assert (ended.code, {each["submitted"] for each in ended.value}) == (0, {0}), ended.talk
    # So it is where the pipeline writes another table.
    writer = Path("pipelines/sorted_tickets.toml")
    writer.write_text(writer.read_text().replace("[output]\n", '[output]\ntable = "mart.labels"\n'))
    refused = chained("check", "extract", "--emulator")
    assert (refused.code, "The pipeline sorted_tickets writes mart.labels now" in refused.out) == (2, True)
    reader.write_text(text.replace("FROM classify", "FROM mart.labels"))
    ended = chained("run", "--all", "--emulator", "--json")
    assert (ended.code, {each["submitted"] for each in ended.value}) == (0, {0}), ended.talk
    # A person's own table of any name is read as it is.
    writer.unlink()
    assert chained("check", "extract", "--emulator").code == 0
