"""A bit that flips on the disk may leave a file that can be read and says something else: it is found all the same."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow
import pytest
from calls import ask
from projects import BASIC, Project, numbered

from batchpipe.commands.recover import recover
from batchpipe.engine.ledger import seals

REALTIME = 'mode = "realtime"\n'


def unpacked(path: Path) -> bytes:
    with pyarrow.input_stream(str(path), compression="zstd") as file:
        content: bytes = file.read()
    return content


def table_of(path: Path) -> bytes:
    return repr(duckdb.execute("SELECT * FROM read_parquet($1)", [str(path)]).fetchall()).encode()


def text_of(path: Path) -> bytes:
    return repr(json.loads(path.read_text(encoding="utf-8"))).encode()


def flip(path: Path, read: Callable[[Path], bytes], wanted: Callable[[bytes, bytes], bool] = bytes.__ne__) -> None:
    """Flip one bit of a file so that it can still be read and says something else; `wanted` compares both."""
    content, before = path.read_bytes(), read(path)
    for place in range(len(content) // 8, len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1
        path.write_bytes(flipped)
        try:
            after = read(path)
        except (OSError, ValueError, duckdb.Error):
            continue
        if wanted(before, after):
            return
    raise AssertionError("no bit does that")


def lose_database(project: Project) -> None:
    (project.root / "batchpipe.duckdb").unlink()


def bought(project: Project) -> int:
    """Return how many answers were bought, in batches and at once."""
    at_once = [each for each in project.log()["calls"] if each["path"].endswith("/v1/messages")]
    return project.requests_sent() + len(at_once)


def test_results_that_say_something_else_are_fetched_again(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(6))
    project.run()
    output = project.sql("SELECT * EXCLUDE (_completed_at) FROM demo ORDER BY id")
    flip(project.raw_file(".jsonl.zst"), unpacked)
    lose_database(project)
    assert project.run().submitted == 0
    assert any("cannot be read: they are set aside" in each for each in project.said)
    assert project.sql("SELECT * EXCLUDE (_completed_at) FROM demo ORDER BY id") == output
    assert bought(project) == 6


def test_an_answer_of_a_call_that_says_something_else_is_booked_and_not_believed(project: Project) -> None:
    project.pipeline(BASIC + REALTIME)
    project.rows(numbered(6))
    project.run()

    def one_line_differs(before: bytes, after: bytes) -> bool:
        pairs = list(zip(before.splitlines(), after.splitlines(), strict=False))
        return before.count(b"\n") == after.count(b"\n") and sum(old != new for old, new in pairs) == 1

    flip(project.raw_file(".jsonl.zst"), unpacked, one_line_differs)
    lose_database(project)
    assert "1 chunk cannot be read in " in (project.run().gate or "")
    assert bought(project) == 6
    ask(project, recover, "demo", None, abandon=False, from_raw=False, leave=True)
    assert (project.run().rows["accepted"], bought(project)) == (6, 7)
    assert project.sql("SELECT count(*) FROM ledger.results WHERE outcome = 'gone'") == [(1,)]


@pytest.mark.parametrize(("ending", "read"), [(".requests.parquet", table_of), (".json", text_of)])
def test_requests_and_prompts_that_say_something_else_stop_a_run(
    project: Project, ending: str, read: Callable[[Path], bytes]
) -> None:
    project.pipeline()
    project.rows(numbered(6))
    project.run()
    flip(project.raw_file(ending), read)
    lose_database(project)
    for _ in range(2):
        assert "1 chunk cannot be read in " in (project.run().gate or "")
    assert bought(project) == 6


def renamed_in_silence(project: Project, text: str = BASIC) -> str:
    """Give the pipeline's file another name and lose the database; return the gate of the next run."""
    lose_database(project)
    (project.root / "pipelines" / "demo.toml").unlink()
    project.pipeline(text, name="renamed")
    return project.run("renamed").gate or ""


def test_a_call_with_unreadable_answers_is_not_made_again_under_a_new_name(project: Project) -> None:
    project.pipeline(BASIC + REALTIME)
    project.rows(numbered(6))
    project.run()
    path = project.raw_file(".jsonl.zst")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for _ in range(2):
        assert "demo has no file any more, and renamed has its prompt" in renamed_in_silence(project, BASIC + REALTIME)
        assert bought(project) == 6
        (project.root / "pipelines" / "renamed.toml").rename(project.root / "pipelines" / "demo.toml")
    (project.root / "pipelines" / "demo.toml").unlink()
    project.pipeline('renamed_from = "demo"\n' + BASIC + REALTIME, name="renamed")
    assert "1 chunk cannot be read in " in (project.run("renamed").gate or "")
    ask(project, recover, "renamed", None, abandon=False, from_raw=False, leave=True)
    assert (project.run("renamed").rows["accepted"], bought(project)) == (6, 12)


@pytest.mark.parametrize(("ending", "read"), [(".requests.parquet", table_of), (".json", text_of)])
@pytest.mark.parametrize("lost", [False, True])
def test_requests_that_cannot_be_read_are_not_sent_again_under_a_new_name(
    project: Project, ending: str, read: Callable[[Path], bytes], lost: bool
) -> None:
    project.pipeline()
    project.rows(numbered(6))
    project.run()
    path = project.raw_file(ending)
    if lost:
        path.unlink()
    else:
        flip(path, read)
    assert "demo has no file any more, and renamed may be demo under a new name" in renamed_in_silence(project)
    assert bought(project) == 6
    project.pipeline('renamed_from = "demo"\n' + BASIC, name="renamed")
    assert "1 chunk cannot be read in " in (project.run("renamed").gate or "")
    assert bought(project) == 6
    project.pipeline("renamed_from = false\n" + BASIC, name="renamed")
    assert (project.run("renamed").rows["accepted"], bought(project)) == (6, 12)


def test_files_of_before_have_no_checksums_and_are_believed(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(6))
    project.run()
    output = project.sql("SELECT * EXCLUDE (_completed_at) FROM demo ORDER BY id")
    results, chunk = project.raw_file(".jsonl.zst"), project.raw_file(".json")
    content = unpacked(results)
    with pyarrow.output_stream(str(results), compression="zstd") as file:
        file.write(content)
    saved = json.loads(seals.without_sum(chunk.read_text(encoding="utf-8")))
    del saved["requests_sum"]
    chunk.write_text(json.dumps(saved), encoding="utf-8")
    lose_database(project)
    assert project.run().submitted == 0
    assert project.sql("SELECT * EXCLUDE (_completed_at) FROM demo ORDER BY id") == output


@pytest.mark.parametrize("content", [b"", b"\n", b"a", b"a\n", b"a\nbc", b"a\n\nbc\r\n\n", b"\xff\x00\n" * 5_000])
@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_a_seal_has_a_checksum_for_each_line_and_is_passed_over(tmp_path: Path, content: bytes, block: int) -> None:
    path = tmp_path / "results.jsonl.zst"
    with pyarrow.output_stream(str(path), compression="zstd") as file:
        file.write(content)
    sums = seals.LineSums()
    for place in range(0, len(content), block):
        sums.add(content[place : place + block])
    assert seals.sealed(path) is None
    seals.seal(path, sums.all())
    assert seals.sealed(path) == sums.all()
    assert len(sums.all()) == content.count(b"\n") + (content[-1:] not in (b"", b"\n"))
    assert unpacked(path) == content
    flipped = bytearray(path.read_bytes())
    flipped[-seals.END.size - 1] ^= 1  # a bit of the last checksum, where there is one
    path.write_bytes(flipped)
    assert (seals.sealed(path) is None) == bool(content)


def test_what_is_no_file_of_results_has_no_seal(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl.zst"
    for content in (b"", b"short", gzip.compress(b"something else" * 20), b"\xff" * 40, b"x" * 12 + seals.MARK):
        path.write_bytes(content)
        assert seals.sealed(path) is None
