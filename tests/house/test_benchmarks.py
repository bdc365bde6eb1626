"""Tests that the benchmarks work and that the docs show the measured results."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from benchmarks.__main__ import RESULTS, Notebook, kept, least, noted, parser, tried
from benchmarks.measure import ProgramError
from benchmarks.picture import picture
from benchmarks.results import FLOOR, LOOP, PROGRAMS, Cost, Part, Profile, Result, Taken, read, taken_now, write
from benchmarks.tables import PAGE, PICTURE, growths, profile_lines, redrawn, section
from checkout import ROOT, copy_examples, python

from batchpipe.charts.lines import BOTTOM, HEIGHT, LABEL_GAP, TOP
from batchpipe.charts.scales import spread

SHOWN = (ROOT / PAGE).read_text(encoding="utf-8")
TAKEN = Taken(
    command="python -m tests.benchmarks",
    at="2026-11-22T20:00:00+00:00",
    cores=2,
    cpu="a processor",
    memory_bytes=8_000_000_000,
    python="3.11.7",
    duckdb="2.0.0",
)


def cost(program: str, rows: int, cpu_seconds: float, memory_bytes: int = 100_000_000) -> Cost:
    return Cost(
        program=program,
        rows=rows,
        row_bytes=200,
        chunk=10_000,
        cpu_seconds=cpu_seconds,
        wall_seconds=1.0,
        memory_bytes=memory_bytes,
    )


def costs(results: Sequence[Result]) -> list[Cost]:
    return [each.what for each in results if isinstance(each.what, Cost)]


def test_the_page_and_the_picture_are_those_of_the_results() -> None:
    results = read(RESULTS)
    assert redrawn(SHOWN, results) == SHOWN
    assert (ROOT / PICTURE).read_text(encoding="utf-8") == picture(results)
    assert any(isinstance(each.what, Profile) for each in results)


def test_every_program_is_in_the_table_and_in_the_picture() -> None:
    results = read(RESULTS)
    assert {each.program for each in costs(results)} == set(PROGRAMS)
    drawn, table = picture(results), section(results)
    for program in PROGRAMS:
        assert f">{program}, " in drawn
        assert f"| {program} | " in table


def test_the_commands_that_the_page_shows_are_understood() -> None:
    shown = re.findall(r"^(?:`|\| )?python -m tests\.benchmarks(.*?)(?:`|$)", SHOWN, re.MULTILINE)
    assert shown
    for arguments in shown:
        parser().parse_args(shlex.split(arguments))


@pytest.mark.proof
def test_a_benchmark_of_few_rows_works_from_end_to_end(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    write(path, [Result(taken=TAKEN, what=cost(FLOOR, 10, 1.0))])
    options = ("--no-sdk-loop", "--save", "--results", str(path))
    ended = python(["-m", "tests.benchmarks", "200", "300", *options], cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    results = read(path)
    programs = [each for each in PROGRAMS if each != LOOP]
    assert [(each.program, each.rows) for each in costs(results)] == [(p, n) for n in (200, 300) for p in programs]
    for each in costs(results):
        assert min(each.cpu_seconds, each.wall_seconds, each.memory_bytes) > 0
        assert (each.database_bytes > 0) is (each.program != FLOOR)
        assert f"| {each.program} | {each.rows} | 200 | {each.cpu_us_per_row:,.1f} |" in ended.stdout
    assert len({each.taken for each in results}) == 1
    assert results[0].taken.command.startswith("python -m tests.benchmarks 200 300 --no-sdk-loop")
    assert replace(taken_now(results[0].taken.command), at=results[0].taken.at) == results[0].taken


@pytest.mark.parametrize("what", ["statements", "functions"])
def test_a_profile_names_what_took_the_time(what: str, tmp_path: Path) -> None:
    root, path = copy_examples(tmp_path / "project"), tmp_path / "profile.json"
    ended = python(
        ["-m", "tests.benchmarks.profiled", what, str(path), "status", "ticket_triage", "--emulator"], cwd=root
    )
    assert ended.returncode == 0, ended.stderr
    parts = {each["name"]: each for each in json.loads(path.read_text(encoding="utf-8"))}
    assert sum(each["cpu_seconds"] for each in parts.values()) > 0
    assert not any(str(tmp_path) in name or str(ROOT) in name for name in parts)
    known = "rows_by_state" if what == "statements" else "batchpipe/cli/main.py main"
    assert parts[known]["calls"] >= 1


def test_a_program_that_fails_loses_no_other_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notebook = Notebook(command="a command", path=tmp_path / "results.jsonl", kept=())

    def failing() -> Iterator[Cost]:
        yield cost("first run", 100, 2.0)
        raise ProgramError("unchanged run ended with 70")

    assert tried("100 rows", partial(noted, notebook, iter([cost(FLOOR, 100, 1.0)])))
    assert not tried("100 rows", partial(noted, notebook, failing()))
    assert tried("100 rows", partial(noted, notebook, iter([cost("collect only", 100, 3.0)])))
    programs = [FLOOR, "first run", "collect only"]
    assert [each.program for each in costs(read(tmp_path / "results.jsonl"))] == programs
    printed, said = capsys.readouterr()
    assert [line.split(" | ")[0] for line in printed.splitlines()] == [f"| {each}" for each in programs]
    assert "| 2.0 |" in printed.splitlines()[1]
    assert said == "100 rows: unchanged run ended with 70\n"


def test_of_several_times_the_least_cpu_and_the_highest_memory_are_kept() -> None:
    seconds = iter([3.0, 2.0, 1.0, 2.5, 2.0, 0.5])

    def program() -> Iterator[Cost]:
        yield cost("first run", 100, next(seconds), memory_bytes=200)
        yield cost("unchanged run", 100, taken := next(seconds), memory_bytes=int(taken * 100))

    found = list(least(3, program))
    assert [(each.program, each.cpu_seconds, each.memory_bytes) for each in found] == [
        ("first run", 1.0, 200),
        ("unchanged run", 0.5, 250),
    ]


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    part = Part(name="due", cpu_seconds=0.5, calls=2)
    profile = Profile(
        rows=100,
        row_bytes=200,
        chunk=10,
        cpu_seconds=2.0,
        statements=(part,),
        other_seconds=1.0,
        profiled_seconds=4.0,
        functions=(part,),
    )
    results = [Result(taken=TAKEN, what=cost(FLOOR, 10, 1.0)), Result(taken=TAKEN, what=profile)]
    write(path, results)
    assert kept(path, costs=True, profiles=True) == results
    assert kept(path, costs=False, profiles=True) == results[1:]
    assert kept(path, costs=True, profiles=False) == results[:1]
    assert kept(tmp_path / "none.jsonl", costs=True, profiles=True) == []
    lines = list(profile_lines(profile))
    assert [line for line in lines if "| 25.0% |" in line] == [
        "| `due` | 0.500 | 25.0% | 2 |",
        "| other statements | 0.500 | 25.0% |  |",
    ]
    assert "| everything else | 1.000 | 50.0% |  |" in lines


def test_growth_is_taken_between_the_numbers_of_rows_that_are_meant() -> None:
    those = [
        cost(FLOOR, 10_000, 9.0),
        cost(FLOOR, 20_000, 1.0),
        cost(FLOOR, 200_000, 2.8),
        cost("first run", 20_000, 2.0),
        cost("first run", 200_000, 6.5, memory_bytes=200_000_000),
        cost("first run", 2_000_000, 60.0, memory_bytes=250_000_000),
    ]
    floor, first = growths(those)
    assert (floor.cpu_rows, round(floor.us_per_row, 6), floor.times_floor) == ((20_000, 200_000), 10.0, 1.0)
    assert (first.cpu_rows, round(first.us_per_row, 6), first.memory_rows) == (
        (20_000, 200_000),
        25.0,
        (200_000, 2_000_000),
    )
    assert first.times_floor == pytest.approx(2.5)
    assert first.times_memory == 1.25


def test_labels_never_overlap_and_stay_inside() -> None:
    for places in ([100.0], [100.0, 101.0, 102.0, 300.0], [415.0, 416.0, 417.0], [72.0, 72.0, 90.0, 95.0, 130.0]):
        found = spread(places, LABEL_GAP, TOP, HEIGHT - BOTTOM)
        assert len(found) == len(places)
        assert all(later - earlier >= LABEL_GAP for earlier, later in pairwise(found))
        assert found[0] >= TOP
        assert found[-1] <= HEIGHT - BOTTOM
