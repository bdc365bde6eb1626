"""Long texts: their parts, and two pipelines that sum them up."""

from __future__ import annotations

import csv
import json
import random
import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
from commandline import CommandLine

from batchpipe.store.queries import query

MEETINGS = Path(__file__).resolve().parents[3] / "shared" / "data" / "qmsum" / "meetings.jsonl"
WORDS = [f"word{number}" for number in range(900)]


def parts(text: str, arguments: str = "") -> list[dict[str, Any]]:
    with duckdb.connect(":memory:") as connection:
        connection.execute(query("split_text"))
        row = connection.execute(f"SELECT split_text($text{arguments})", {"text": text}).fetchone()
    assert row is not None
    found: list[dict[str, Any]] = row[0]
    return found


def paragraphs(seed: int, number: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(10, 90))) + "." for _ in range(number)]


def new_ids(before: str, after: str) -> set[str]:
    return {each["id"] for each in parts(after)} - {each["id"] for each in parts(before)}


def assert_whole(text: str, arguments: str = "", most: int = 4_000) -> None:
    """The parts add up to the text, are not too long, end after words, and say where they begin."""
    own, found = parts(text, f"{arguments}, overlap := 0"), parts(text, arguments)
    assert "".join(each["text"] for each in own) == text
    assert [each["id"] for each in own] == [each["id"] for each in found]
    assert [each["part"] for each in found] == list(range(1, len(found) + 1))
    assert len({each["id"] for each in found}) == len(found)
    for bare, each in zip(own, found, strict=True):
        assert len(bare["text"].encode()) <= most * 4
        assert text[each["start"] - 1 :][: len(each["text"])] == each["text"]
        assert each["text"].endswith(bare["text"])
        assert each["tokens"] == -(-len(each["text"].encode()) // 4) <= most + 200
    short = [bare for bare in own[1:-1] if len(bare["text"].encode()) < most * 2]
    assert len(short) <= len(own) // 8  # where no end fits both neighbours
    for bare in own[:-1]:
        assert not re.fullmatch(r"\w", bare["text"][-1])


@pytest.mark.parametrize(
    ("text", "arguments", "most"),
    [
        ("\n\n".join(paragraphs(1, 300)), "", 4_000),
        (" ".join(paragraphs(2, 60)), ", tokens := 500", 500),
        ("\r\n\r\n".join(paragraphs(3, 60)), ", tokens := 500", 500),
        ("\n\n".join(["The same paragraph. " * 9] * 80), ", tokens := 200", 200),
        ("\U0001f600 na\u0308ive \u05e9\u05dc\u05d5\u05dd.\u2028" * 400, ", tokens := 100", 100),
        ("Zwölf Boxkämpfer jagen Viktor über den großen Sylter Deich!\n" * 90, ", tokens := 200", 200),
    ],
)
def test_parts_add_up_to_the_text(text: str, arguments: str, most: int) -> None:
    assert_whole(text, arguments, most)


def test_odd_texts_have_parts_too() -> None:
    assert parts("") == []
    with duckdb.connect(":memory:") as connection:
        connection.execute(query("split_text"))
        assert connection.execute("SELECT split_text(NULL)").fetchone() in ((None,), ([],))
    assert [each["tokens"] for each in parts("a " + "x" * 50_000 + " b", ", overlap := 0")] == [1, 12_501]
    chinese = parts("\u8fd9\u662f\u53e5\u5b50\u3002" * 900, ", tokens := 400, overlap := 0")
    assert all(each["text"].endswith("\u3002") for each in chinese)
    markdown = "".join(f"# Part {number}\n{' '.join(WORDS[:60])}\n\nMore.\n" for number in range(12))
    found = parts(markdown, ", tokens := 400, overlap := 0, by := 'heading'")
    assert len(found) > 2
    assert all(each["text"].startswith("# Part") for each in found)
    # A word that is longer than a part is a part of its own, and words are never cut.
    long = parts("short words here. " * 20 + "y" * 3_000 + " more of them." * 20, ", tokens := 100, overlap := 0")
    assert next(each["text"] for each in long if "y" in each["text"]).count("y") == 3_000
    # An overlap is at most the part before.
    wide = parts("One sentence after another. " * 100, ", tokens := 50, overlap := 500")
    assert all(each["tokens"] <= 100 for each in wide)
    assert parts("\r\n \n\t") != []
    # Parts of no size would be a request for each word, and an unknown overlap left the parts without their text.
    for arguments in ("tokens := 0", "tokens := NULL", "overlap := -3", "overlap := NULL"):
        with pytest.raises(duckdb.Error, match=f"split_text: {arguments.split()[0]} is a number"):
            parts("a b", f", {arguments}")
    with pytest.raises(duckdb.Error, match="'paragraph' or 'heading'"):
        parts("a", ", by := 'page'")


def test_cuts_find_each_other_again_after_an_edit() -> None:
    texts = paragraphs(3, 400)
    whole = "\n\n".join(texts)
    edits = []
    for place in (0, 57, 200, 399):
        edited = [*texts[:place], texts[place] + " A sentence more.", *texts[place + 1 :]]
        edits.append(len(new_ids(whole, "\n\n".join(edited))))
    assert set(edits) <= {1, 2}
    assert len(new_ids(whole, "A paragraph at the front.\n\n" + whole)) <= 2


@pytest.mark.skipif(not MEETINGS.is_file(), reason="the shared meetings are not there")
@pytest.mark.parametrize("tokens", [500, 1_000, 4_000])
def test_real_meetings_keep_their_parts(tokens: int, full_sweep: bool) -> None:
    """In full: two hundred tries of each kind."""
    texts = [json.loads(line)["transcript"] for line in MEETINGS.read_text("utf-8").splitlines()]
    for text in texts[:1]:
        assert_whole(text, f", tokens := {tokens}", tokens)
    draw, tries = random.Random(tokens), []
    for _ in range(200 if full_sweep else 3):
        text = draw.choice(texts)
        more = " ".join(draw.choices(WORDS, k=draw.randint(5, 120))) + "."
        place = text.find(". ", draw.randrange(len(text) * 9 // 10)) + 1
        after = text.find(". ", place) + 1
        tries.append(("front", text, f"{more}\n\n{text}"))
        tries.append(("edit", text, f"{text[:place]} That was said twice.{text[place:]}"))
        tries.append(("middle", text, f"{text[:place]}\n\n{more}\n\n{text[place:]}"))
        tries.append(("delete", text, text[:place] + text[after:]))
        tries.append(("end", text, f"{text}\n\n{more}"))
    with duckdb.connect(":memory:") as connection:
        connection.execute(query("split_text"))
        connection.execute("CREATE TABLE tries (kind VARCHAR, before VARCHAR, after VARCHAR)")
        connection.executemany("INSERT INTO tries VALUES (?, ?, ?)", tries)
        ids = f"list_transform(split_text({{}}, tokens := {tokens}, overlap := 0), lambda part: part.id)"
        found = connection.execute(
            f"SELECT kind, list(len(list_filter({ids.format('after')}, lambda id: NOT list_contains(b.ids, id)))) "
            "FROM tries t "
            f"JOIN (SELECT before AS text, {ids.format('before')} AS ids FROM (SELECT DISTINCT before FROM tries)) b "
            "ON b.text = t.before GROUP BY kind"
        ).fetchall()
    counts = dict(found)
    assert max(counts["front"]) <= 2
    assert max(counts["end"]) <= 3
    assert max(max(each) for each in counts.values()) <= 6
    for kind in ("edit", "delete"):
        assert sum(each > 2 for each in counts[kind]) <= max(len(counts[kind]) // 10, 1)


def test_new_writes_two_pipelines_and_an_edit_asks_for_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BATCHPIPE_POLL_INTERVAL", "0.02")
    (tmp_path / "batchpipe.toml").touch()
    documents = {"one": paragraphs(4, 120), "two": paragraphs(5, 110)}

    def write() -> None:
        with (tmp_path / "docs.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["doc_id", "body", "note"])
            writer.writerows([[name, "\n\n".join(texts), "x"] for name, texts in documents.items()])

    write()
    unknown = line("new", "sums", "--input", "docs.csv", "--summarize")
    assert (unknown.code, "--text" in unknown.talk) == (2, True)
    assert line("new", "sums", "--input", "docs.csv", "--text", "body", "--summarize").code == 0
    checked = json.loads(line("check", "--all", "--json").out)
    assert [each["ok"] for each in checked] == [True, True]
    first = json.loads(line("run", "--all", "--emulator", "--json").out)
    assert [each["pipeline"] for each in first] == ["sums_parts", "sums"]
    assert first[0]["submitted"] > 2
    assert first[1]["submitted"] == 2
    documents["two"][40] += " One more sentence."
    write()
    again = json.loads(line("run", "sums", "--with-upstream", "--emulator", "--json").out)
    assert 1 <= again[0]["submitted"] <= 2
    assert again[1]["submitted"] == 1
