"""Tests of the raw folder: its files are whole, compressed once recorded, read in place of a download, shown by
`status`.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import urllib.request
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import httpx2
import pyarrow
import pytest
from calls import ask
from projects import BASIC, Project, numbered

from batchpipe.commands.recover import recover
from batchpipe.commands.status.status import status
from batchpipe.common.errors import DatabaseError
from batchpipe.engine.batches.collect import Collector
from batchpipe.engine.ledger.events import add_event
from batchpipe.engine.ledger.raw_folder import RawFolder
from batchpipe.engine.ledger.saved_chunk import Note, SavedChunk
from batchpipe.engine.realtime.closing import ChunkClosing
from batchpipe.providers.shared.download import DownloadSource, FileSource, save, save_files

MOMENT = datetime.fromisoformat("2026-07-01 12:30:05.123456")


class KilledError(BaseException):
    """An error that stands for the end of the process at this point."""


def raw_files(project: Project) -> list[str]:
    """Return the kinds of files in the raw folder, without the id of their chunk."""
    return sorted(path.name.partition(".")[2] for path in raw(project).path.iterdir())


def raw(project: Project) -> RawFolder:
    return RawFolder(path=project.root / ".batchpipe" / "raw")


def calls(project: Project, ending: str) -> int:
    return sum(each["path"].endswith(ending) for each in project.log()["calls"])


def served(project: Project, batch_id: str) -> bytes:
    request = urllib.request.Request(
        f"{project.emulator.base_url}/v1/messages/batches/{batch_id}/results",
        headers={"x-api-key": "test-key", "anthropic-version": "2023-06-01"},
    )
    with urllib.request.urlopen(request) as answer:
        content: bytes = answer.read()
    return content


def facts(chunk_id: str = "c1") -> SavedChunk:
    note = Note(kind="chunk_prepared", data={"requests": 3, "max_usd": "0.1"}, recorded_at=MOMENT)
    return SavedChunk(
        chunk_id=chunk_id,
        pipeline="demo",
        run_id="r1",
        database="abcd1234",
        file="batchpipe.duckdb",
        links=(("demo", "older"),),
        version={"prompt_version": str(UUID(int=2**127 + 1))},
        policy={"columns": ["a"]},
        notes=(note,),
    )


def test_a_collected_chunk_leaves_compressed_results_and_what_rebuilds_it(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(20))
    project.run()
    assert raw_files(project) == ["json", "jsonl.zst", "requests.parquet"]
    ((chunk_id, batch_id),) = project.sql("SELECT chunk_id::VARCHAR, batch_id FROM ledger.batches")
    path = raw(project).results(chunk_id)
    assert path is not None
    assert pyarrow.input_stream(str(path), compression="zstd").read() == served(project, batch_id)
    asked = duckdb.connect()
    lines = f"SELECT count(*) FROM read_ndjson_objects('{path}')"
    assert asked.execute(lines).fetchall() == [(20,)]
    requests = f"SELECT count(DISTINCT custom_id) FROM '{raw(project).requests(chunk_id)}'"
    assert asked.execute(requests).fetchall() == [(20,)]
    asked.close()
    kept = raw(project).saved_chunk(chunk_id)
    assert kept is not None
    assert [each.kind for each in kept.notes] == ["chunk_prepared", "chunk_submitted", "batch_ended"]
    submitted = kept.data_of("chunk_submitted")
    assert submitted is not None
    assert submitted["batch_id"] == batch_id


def test_status_says_what_the_working_folder_holds(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(5))
    project.run()
    found = ask(project, status, ["demo"], as_json=True).value
    bytes_kept = sum(path.stat().st_size for path in raw(project).path.iterdir())
    assert found["raw"] == {"files": 1, "bytes": bytes_kept}
    said = ask(project, status, ["demo"]).talk
    assert "working folder: .batchpipe, " in said
    assert f"raw {bytes_kept:,}" in said


def test_results_that_were_saved_are_used_and_not_downloaded_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KilledError

    project.pipeline()
    project.rows(numbered(6))
    with monkeypatch.context() as patched:
        patched.setattr(Collector, "_record", killed)
        with pytest.raises(KilledError):
            project.run()
    assert "jsonl" in raw_files(project)
    assert calls(project, "/results") == 1
    result = project.run()
    assert (result.status, result.rows["accepted"]) == ("done", 6)
    assert calls(project, "/results") == 1
    assert "jsonl" not in raw_files(project)


def test_a_process_killed_between_commit_and_compression_is_tidied_up_after(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KilledError

    project.pipeline()
    project.rows(numbered(6))
    with monkeypatch.context() as patched:
        patched.setattr(RawFolder, "compress", killed)
        with pytest.raises(KilledError):
            project.run()
    assert "jsonl" in raw_files(project)
    assert project.run().rows["accepted"] == 6
    assert raw_files(project) == ["json", "jsonl.zst", "requests.parquet"]
    assert calls(project, "/results") == 1


def test_a_batch_id_that_was_not_recorded_is_known_from_the_raw_folder(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(session: Any, pipeline: str, kind: str, data: Any, **named: Any) -> None:
        if kind == "chunk_submitted":
            raise KilledError
        add_event(session, pipeline, kind, data, **named)

    project.pipeline()
    project.rows(numbered(6))
    with monkeypatch.context() as patched:
        patched.setattr("batchpipe.engine.exchange.run_parts.add_event", killed)
        with pytest.raises(KilledError):
            project.run()
    assert project.sql("SELECT state FROM ledger.batches") == [("prepared",)]
    assert project.run().rows["accepted"] == 6
    assert project.requests_sent() == 6
    assert calls(project, "/v1/messages/batches") == 1  # the submit; the list was not needed


def test_results_in_the_raw_folder_outlive_those_at_the_provider(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KilledError

    project.pipeline()
    project.rows(numbered(4))
    with monkeypatch.context() as patched:
        patched.setattr(Collector, "_record", killed)
        with pytest.raises(KilledError):
            project.run()
    project.control("clock", {"advance_seconds": 30 * 86_400})
    result = project.run()
    assert (result.status, result.rows["accepted"], result.submitted) == ("done", 4, 0)


def test_facts_come_back_as_they_were_written(tmp_path: Path) -> None:
    folder = RawFolder(path=tmp_path)
    folder.save_chunk(facts())
    assert folder.saved_chunk("c1") == facts()
    folder.note("c1", "chunk_submitted", {"batch_id": "b", "created_at": MOMENT}, MOMENT)
    folder.note("c1", "chunk_submitted", {"batch_id": "b", "created_at": MOMENT}, MOMENT)
    found = folder.saved_chunk("c1")
    assert found is not None
    assert len(found.notes) == 2
    assert found.data_of("chunk_submitted") == {"batch_id": "b", "created_at": str(MOMENT)}
    assert found.time_of("chunk_prepared", "chunk_submitted") == MOMENT
    folder.note("c9", "chunk_submitted", {}, MOMENT)
    assert folder.saved_chunk("c9") is None
    assert [path.name for path in tmp_path.iterdir()] == ["c1.json"]


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"notes": []}', '{"notes": [{}]}', "\x00\xff", '{"notes": 1}'])
def test_facts_that_cannot_be_read_are_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "c1.json").write_text(content, encoding="latin-1")
    assert RawFolder(path=tmp_path).saved_chunk("c1") is None
    assert RawFolder(path=tmp_path).head("c1") is None


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("ending", [".calls.log", ".jsonl"])
def test_what_stands_in_the_place_of_a_journal_or_of_answers_is_named_with_the_command_that_helps(
    project: Project, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    def killed(*_: Any) -> None:
        raise KilledError

    project.pipeline(BASIC + 'mode = "realtime"\n')
    project.rows(numbered(3))
    with monkeypatch.context() as patched:
        patched.setattr(ChunkClosing, "close", killed)
        with pytest.raises(KilledError):
            project.run()
    (path,) = raw(project).path.glob(f"*{ending}")
    content = path.read_bytes()
    for target in ("gone", path.name, None):  # None: a folder
        path.unlink() if path.is_file() or path.is_symlink() else path.rmdir()
        path.mkdir() if target is None else path.symlink_to(target)
        helps = f"mv {path} {path}.aside" if path.is_dir() else f"remove the link: rm {path}"
        for command in (project.run, lambda: recover_from_raw(project)):
            with pytest.raises(DatabaseError) as stopped:
                command()
            assert (stopped.value.where, (stopped.value.hint or "").endswith(helps)) == (str(path), True), stopped.value
    path.rmdir()
    path.write_bytes(content)
    assert (project.run().rows["accepted"], calls(project, "/v1/messages")) == (3, 3)


def recover_from_raw(project: Project) -> None:
    ask(project, recover, "demo", None, abandon=False, from_raw=True)


def test_a_full_disk_leaves_the_plain_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RawFolder(path=tmp_path)
    folder.download("c1").write_text('{"custom_id": "x"}\n')
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        folder.compress("c1")
    assert [path.name for path in tmp_path.iterdir()] == ["c1.jsonl"]
    folder.compress("c1")
    assert [path.name for path in tmp_path.iterdir()] == ["c1.jsonl.zst"]
    folder.compress("c1")
    assert folder.results("c1") == tmp_path / "c1.jsonl.zst"


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: folder.save_chunk(facts()),
        lambda folder: folder.write_requests("c1", lambda path: path.write_text("x")),
    ],
    ids=["facts", "requests"],
)
def test_a_full_disk_is_an_error_that_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[RawFolder], None]
) -> None:
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DatabaseError, match="No space left") as caught:
        write(RawFolder(path=tmp_path))
    assert "Free some disk space" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def beside(act: Callable[[], object]) -> None:
    """Do something in another thread, as another process would, and wait for its end."""
    thread = threading.Thread(target=act)
    thread.start()
    thread.join()


def test_two_that_save_the_same_at_once_do_not_write_into_one_file(tmp_path: Path) -> None:
    folder, written = RawFolder(path=tmp_path), b'{"x": 1}\n'

    def write_other(path: Path) -> None:
        path.write_bytes(b"other")

    def write(path: Path) -> None:
        path.write_bytes(b"requests")
        beside(lambda: folder.write_requests("a", write_other))

    def source() -> DownloadSource:
        beside(lambda: save(httpx2.Response(200, content=iter([written])), folder.download("a")))
        return DownloadSource(httpx2.Response(200, content=iter([written])))

    folder.write_requests("a", write)
    save_files([FileSource(source)], folder.download("a"))
    assert folder.requests("a").read_bytes() == b"requests"
    assert folder.download("a").read_bytes() == written
    assert len(list(tmp_path.iterdir())) == 2


def test_a_run_removes_what_a_killed_process_left_unfinished_long_ago(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(1))
    project.run()
    left = [raw(project).path / f"{name}.part" for name in ("a.jsonl.1-2", "b.json.3-4", "c.json")]
    for each in left:
        each.touch()
    for each in left[1:]:
        os.utime(each, (0, 0))
    project.run()
    assert [each.exists() for each in left] == [True, False, False]


def test_sizes_are_by_chunk(tmp_path: Path) -> None:
    folder = RawFolder(path=tmp_path)
    assert RawFolder(path=tmp_path / "none").sizes() == {}
    folder.download("a").write_text("12345")
    (tmp_path / "a.json").write_text(json.dumps({}))
    (tmp_path / "b.requests.parquet").write_text("123")
    (tmp_path / "b.jsonl.part").write_text("123")
    found = folder.sizes()
    assert (found["a"].results, found["a"].bytes) == (1, 7)
    assert (found["b"].results, found["b"].bytes) == (0, 3)
