"""Attacks on files of rows: odd turns, sizes at their limits, prompts that change, files that come and go."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest
from commandline import CommandLine
from projects import Project

from batchpipe.common.errors import BatchpipeError
from batchpipe.media.formats import pages_of, size_of, type_of
from media.drawn import gif, pdf, png
from media.test_files import FILES, hash_of, pictures, received, typed, write

__all__ = ["typed"]


def test_a_file_that_is_changed_at_once_is_hashed_anew(project: Project) -> None:
    """Its size and its time stay the same, but its hash was not taken two seconds after its change."""
    project.pipeline(FILES)
    pictures(project, 2)
    later = time.time_ns() + 3_600 * 10**9
    os.utime(project.root / "photos" / "1.png", ns=(later, later))
    project.run()
    path = project.root / "photos" / "1.png"
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert project.run().submitted == 1


def test_plan_and_check_hash_a_file_once_for_the_run(project: Project, typed: CommandLine, monkeypatch: Any) -> None:
    project.pipeline(FILES)
    pictures(project, 4)
    for path in (project.root / "photos").iterdir():
        os.utime(path, ns=(10**18, 10**18))
    assert project.plan().requests == 4
    opened: list[Path] = []
    real = Path.open

    def watched(path: Path, *arguments: Any, **named: Any) -> Any:
        opened.append(path)
        return real(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", watched)
    assert typed("check", "demo").code == 0
    assert project.plan().requests == 4
    assert not [path for path in opened if path.suffix == ".png"]
    project.run()
    # They are read once, where their bytes are sent.
    assert sorted(path.name for path in opened if path.suffix == ".png") == [f"{number}.png" for number in range(1, 5)]
    looks = project.root / ".batchpipe" / "looks"
    assert not list(looks.iterdir())
    assert len(project.sql("SELECT * FROM ledger.media")) == 4
    (looks / "damaged.parquet").write_bytes(b"no parquet")
    write(project, "photos/1.png", png(9))
    assert project.plan().requests == 1
    assert project.run().submitted == 1


def test_a_file_that_vanishes_after_the_plan_fails_no_other(project: Project, monkeypatch: Any) -> None:
    project.pipeline(FILES)
    pictures(project, 3)
    real = Path.read_bytes

    def vanishing(path: Path) -> bytes:
        if path.name == "2.png" and path.exists():
            path.unlink()
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", vanishing)
    result = project.run()
    monkeypatch.undo()
    assert result.rows["accepted"] == 2
    assert project.run().rows["failed"] == 1
    write(project, "photos/2.png", png(2))
    assert project.run().rows["accepted"] == 3


@pytest.mark.parametrize("cut", [8, 16, 23, 25, 40])
def test_pictures_that_are_cut_short_are_sent_without_a_size(cut: int) -> None:
    data = png(1)[:cut]
    assert type_of(data) == "image/png"
    assert size_of("image/png", data) in ((0, 0), (64, 48))
    assert size_of("image/jpeg", b"\xff\xd8\xff" + b"\xff" * cut) == (0, 0)
    assert size_of("image/webp", b"RIFF0000WEBPVP8X"[:cut]) == (0, 0)
    assert size_of("image/gif", gif()[: min(cut, 9)]) in ((0, 0), (20, 10))
    assert pages_of(pdf(1, pages=3)[:cut]) == 0


def test_a_row_at_the_limit_is_sent_and_one_above_is_not(project: Project) -> None:
    project.pipeline(FILES)
    whole = png(1)
    limit = 5_000_000
    rows = [
        {"id": 1, "photo": write(project, "photos/1.png", whole + bytes(limit - len(whole))), "note": "a"},
        {"id": 2, "photo": write(project, "photos/2.png", whole + bytes(limit + 1 - len(whole))), "note": "b"},
    ]
    project.rows(rows)
    plan = project.plan()
    assert (plan.requests, plan.media.unfit) == (1, 1)  # type: ignore[union-attr]
    result = project.run()
    assert (result.rows["accepted"], result.rows["failed"]) == (1, 1)


def test_a_name_that_looks_like_another_line_is_a_name(project: Project) -> None:
    project.pipeline(FILES)
    odd = ["photos/a b.png", "photos/ümläut 😀.png", "photos/'quote\".png", "photos/url http.png", "photos/!x.png"]
    rows = [
        {"id": number, "photo": write(project, name, png(number)), "note": "n"} for number, name in enumerate(odd, 1)
    ]
    project.rows(rows)
    result = project.run()
    assert result.rows["accepted"] == len(odd)
    assert received(project) == Counter(hash_of(png(number)) for number in range(1, len(odd) + 1))


def test_lists_of_bytes_and_empty_lists(project: Project) -> None:
    with duckdb.connect(str(project.root / "source.duckdb")) as connection:
        connection.execute("CREATE TABLE scans (id BIGINT, photo BLOB[], note VARCHAR)")
        connection.execute(
            "INSERT INTO scans VALUES (1, ?, 'two'), (2, [], 'none'), (3, NULL, 'null')", [[png(1), png(2)]]
        )
        connection.execute("INSERT INTO scans VALUES (4, ?, 'wrong')", [[png(1), b"text"]])
    text = FILES.replace("read_csv('rows.csv', types = {'id': 'BIGINT'})", "s.scans")
    project.pipeline(text.replace('key = "id"', 'key = "id"\nsetup = ["ATTACH \'source.duckdb\' AS s (READ_ONLY)"]'))
    result = project.run()
    assert (result.rows["accepted"], result.rows["failed"]) == (3, 1)
    assert received(project) == Counter({hash_of(png(1)): 1, hash_of(png(2)): 1})


def test_bytes_that_cannot_be_sent_leave_their_row_out_and_no_check_fails(project: Project, typed: CommandLine) -> None:
    project.pipeline(
        FILES.replace(
            "read_csv('rows.csv', types = {'id': 'BIGINT'})", "(VALUES (1, ''::BLOB, 'a')) t(id, photo, note)"
        )
    )
    checked = typed("check", "demo")
    assert (checked.code, "1: it is empty" in checked.out) == (0, True), checked.out
    assert project.run().rows["failed"] == 1
    assert project.requests_sent() == 0


def test_an_edit_of_the_prompt_sends_the_same_files_again_and_back_is_free(project: Project) -> None:
    project.pipeline(FILES)
    pictures(project, 3)
    project.run()
    project.pipeline(FILES.replace("What is on it?", "Which colour?"))
    assert project.plan().rows_by_reason["prompt_changed"] == 3
    assert project.run().submitted == 3
    project.pipeline(FILES)
    assert project.run().submitted == 0
    # What moves in the template is another request; what only moves on disk is none.
    project.pipeline(FILES.replace("What is on it? {{ image(photo) }}", "{{ image(photo) }} What is on it?"))
    assert project.run().submitted == 3


@pytest.mark.parametrize(
    "turns",
    [
        "SELECT 'a' AS \"user\", 'b' AS assistant WHERE false",
        "SELECT assistant, \"user\" FROM (VALUES ('x', 'y')) t (\"user\", assistant)",
        "SELECT {'a': 1} AS \"user\", [1, NULL] AS assistant",
    ],
)
def test_turns_of_any_shape_go_with_files(project: Project, turns: str) -> None:
    text = FILES.replace("[prompt]", '[prompt]\nturns = "examples"')
    text = text.replace("[output.fields.label]", f"[prompt.queries]\nexamples = '''{turns}'''\n\n[output.fields.label]")
    project.pipeline(text)
    pictures(project, 2)
    assert project.run().rows["accepted"] == 2
    assert received(project) == Counter(hash_of(png(number)) for number in (1, 2))


@pytest.mark.parametrize("word", ["NULL", "repeat('', 1)", "' '"])
def test_turns_without_a_text_are_refused(project: Project, word: str) -> None:
    query = f"""examples = \'\'\'SELECT {word} AS "user", 'b' AS assistant\'\'\'"""
    text = FILES.replace("[prompt]", '[prompt]\nturns = "examples"')
    project.pipeline(text.replace("[output.fields.label]", f"[prompt.queries]\n{query}\n\n[output.fields.label]"))
    pictures(project, 1)
    with pytest.raises(BatchpipeError, match="has no text in user"):
        project.plan()


def test_try_leaves_out_rows_that_cannot_be_sent_and_says_why_of_one_that_is_named(
    project: Project, typed: CommandLine
) -> None:
    project.pipeline(FILES)
    names = [write(project, f"photos/{number}.png", b"" if number < 4 else png(number)) for number in range(1, 6)]
    project.rows([{"id": number, "photo": name, "note": "x"} for number, name in enumerate(names, start=1)])
    tried = typed("try", "demo", "--rows", "5", "--json")
    assert (tried.code, sorted(each["key"][0] for each in tried.value["rows"])) == (0, ["4", "5"])
    assert typed("try", "demo", "--where", "id <= 4", "--json").value["rows"][0]["key"] == ["4"]
    named = typed("try", "demo", "2")
    assert (named.code, "photos/2.png: it is empty\n  A run leaves this row out" in named.talk) == (2, True)
    project.rows([{"id": 1, "photo": "HTTPS://example.com/a.png", "note": "x"}])
    assert project.plan().requests == 1


def test_a_diff_of_prompts_knows_files(project: Project, typed: CommandLine) -> None:
    project.pipeline(FILES)
    pictures(project, 2)
    project.run()
    project.pipeline(FILES.replace("What is on it?", "What is it?"))
    diff = typed("plan", "demo", "--diff")
    assert diff.code == 0, diff.talk
    assert "cannot be rendered" not in diff.out
    shown = [line.strip() for line in diff.out.splitlines() if "[image" in line]
    removed, added = (next(line for line in shown if line.startswith(f"{sign}What is")) for sign in "-+")
    assert removed.lstrip("-").replace("on it?", "it?") == added.lstrip("+")
