"""A lost database and a backup of before are made whole from the raw folder for every kind of work, free of cost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from calls import ask
from desks import HEAD, PANEL, THREE, TOP
from media.drawn import png
from projects import BASIC, Project, numbered

from batchpipe.commands.call.options import PlanRequest, TryRequest
from batchpipe.commands.plan.plan import plan
from batchpipe.commands.recover import recover
from batchpipe.commands.status.status import status
from batchpipe.commands.try_rows import try_rows
from batchpipe.common.errors import DatabaseError, GateError
from batchpipe.engine.batches.collect import Collector
from batchpipe.store.database import Database

REALTIME = 'mode = "realtime"\n'
ITEMS = """
[output.rows]
tags = "demo_tags"
[output.fields.tags]
type = "array"
items = { type = "string" }
"""
PICTURES = BASIC.replace("SELECT id, body,", "SELECT id, body, 'photos/' || (id % 3) || '.png' AS photo,").replace(
    '"{{ body }}', '"{{ image(photo) }} {{ body }}'
)
RUNG = "\n[[models]]\nmodel = {model}\nmax_tokens = 2000\n"
KINDS = {
    "panel": HEAD + PANEL + TOP,
    "panel in realtime": HEAD + PANEL.replace("max_tokens", f"{REALTIME}max_tokens") + TOP,
    "samples": BASIC.replace("max_tokens = 200", "max_tokens = 200\nsamples = 3"),
    "realtime": BASIC + REALTIME,
    "items": BASIC.replace("[[models]]", f"{ITEMS}[[models]]"),
    "pictures": PICTURES,
    "openai": HEAD + RUNG.format(model=json.dumps(THREE[1])),
    "gemini": HEAD + RUNG.format(model=json.dumps(THREE[2])),
    "openai in realtime": HEAD + RUNG.format(model=json.dumps(THREE[1])) + REALTIME,
    "gemini in realtime": HEAD + RUNG.format(model=json.dumps(THREE[2])) + REALTIME,
    "edited answers": BASIC.replace("max_tokens = 200", 'max_tokens = 200\naccept = "score > 0.7"') + TOP,
}


def tables(project: Project) -> list[object]:
    found: list[object] = [project.sql("SELECT * EXCLUDE (_batch_id, _completed_at) FROM demo ORDER BY id")]
    if project.sql("SELECT 1 FROM duckdb_tables() WHERE table_name = 'demo_tags'"):
        found.append(project.sql("FROM demo_tags ORDER BY ALL"))
    return found


@pytest.mark.share(2)
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_paid_for_comes_back(project: Project, kind: str) -> None:
    for number in range(3):
        path = project.root / "photos" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png(number))
    project.faults({"requests": [{"outcome": "invalid_json", "match": "number 2", "times": 1}]})
    project.pipeline(KINDS[kind])
    project.rows(numbered(4))
    project.run()
    database, backup = project.root / "batchpipe.duckdb", project.root / "backup"
    shutil.copy(database, backup)
    project.rows([{**each, "body": f"{each['body']}!" if each["id"] == 1 else each["body"]} for each in numbered(8)])
    project.run()
    found, calls = tables(project), paid_calls(project)
    money = project.sql("SELECT sum(cost_usd) FROM ledger.results WHERE NOT judged_again")
    assert project.run().submitted == 0
    for change in ("lost", "restored"):
        database.unlink()
        if change == "restored":
            shutil.copy(backup, database)
        result = project.run()
        assert (result.status, result.submitted, paid_calls(project)) == ("done", 0, calls), change
        assert tables(project) == found, change
        assert project.sql("SELECT sum(cost_usd) FROM ledger.results WHERE NOT judged_again") == money
        assert project.run().submitted == 0


def paid_calls(project: Project) -> int:
    """Return how many requests were sent in batches and in realtime."""
    ends = ("/v1/messages", "/chat/completions", "/responses", ":generateContent", ":streamGenerateContent")
    single: int = sum(each["method"] == "POST" and each["path"].endswith(ends) for each in project.log()["calls"])
    return single + project.requests_sent()


def test_batches_in_flight_at_three_providers_are_found_again(project: Project) -> None:
    project.pipeline(HEAD + PANEL)
    project.rows(numbered(5))
    project.faults({"delay_seconds": 1.0})
    project.run(no_wait=True)
    (project.root / "batchpipe.duckdb").unlink()
    result = project.run()
    assert (result.submitted, result.rows["accepted"] + result.rows["failed"]) == (0, 5)
    assert project.requests_sent() == 15


def broken(project: Project, ending: str) -> None:
    """Lose the second half of the only file of the raw folder that ends so."""
    path = project.raw_file(ending)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("ending", "mode"), [(".requests.parquet", ""), (".json", ""), (".jsonl.zst", REALTIME)], ids=str
)
def test_what_cannot_be_read_stops_a_run_before_it_is_bought_again(project: Project, ending: str, mode: str) -> None:
    project.pipeline(BASIC + mode)
    project.rows(numbered(4))
    project.run()
    bought = project.log()["calls"], project.requests_sent()
    broken(project, ending)
    (project.root / "batchpipe.duckdb").unlink()
    if not mode:  # whether results can be read to their end is not looked at by a plan
        assert "1 chunk of the raw folder cannot be read, and `run` stops" in ask(project, status, ["demo"]).out
        planned = ask(project, plan, PlanRequest(pipelines=["demo"]), as_json=True).value
        assert len(planned["to_take_in"]["damaged"]) == 1
    for _ in range(2):
        assert "1 chunk cannot be read in " in (project.run().gate or "")
    with pytest.raises(GateError, match="may have been paid for") as stopped:
        ask(project, try_rows, TryRequest(pipeline="demo"))
    assert "batchpipe recover demo --leave" in str(stopped.value.hint)
    assert (project.log()["calls"], project.requests_sent()) == bought

    assert (
        "1 chunk that cannot be read given up"
        in ask(project, recover, "demo", None, abandon=False, from_raw=False, leave=True).out
    )
    assert project.run().submitted == 4


def test_the_requests_of_another_chunk_are_not_taken_for_its_own(project: Project) -> None:
    project.pipeline(BASIC + "[chunking]\nmax_requests = 2\n")
    project.rows(numbered(4))
    project.run()
    first, second, *_ = (project.root / ".batchpipe" / "raw").glob("*.requests.parquet")
    shutil.copy(second, first)
    (project.root / "batchpipe.duckdb").unlink()
    for _ in range(2):
        assert "1 chunk cannot be read in " in (project.run().gate or "")
    assert project.requests_sent() == 4


def test_results_that_cannot_be_read_are_fetched_again(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(4))
    project.faults({"delay_seconds": 1.0})
    project.run(no_wait=True)
    database, backup = project.root / "batchpipe.duckdb", project.root / "backup"
    shutil.copy(database, backup)
    project.faults({})
    project.run()
    output = project.sql("SELECT * EXCLUDE (_completed_at) FROM demo ORDER BY id")
    for stored in (None, backup):  # a lost database, and one that knows the batch as in flight
        broken(project, ".jsonl.zst")
        database.unlink()
        if stored is not None:
            shutil.copy(stored, database)
        assert (project.run().submitted, project.requests_sent()) == (0, 4)
        assert project.sql("SELECT * EXCLUDE (_completed_at) FROM demo ORDER BY id") == output
        assert any("cannot be read: they are set aside" in each for each in project.said)
        project.said.clear()


def test_recover_does_not_say_that_it_took_in_what_it_could_not_read(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(4))
    project.run()
    broken(project, ".requests.parquet")
    (project.root / "batchpipe.duckdb").unlink()
    project.said.clear()
    said = ask(project, recover, "demo", None, abandon=False, from_raw=False).talk + "\n".join(project.said)
    assert "they are taken in" not in said
    assert "1 chunk cannot be read" in said


class KilledError(Exception):
    """Ends a run as a kill does."""


def killed_while_recording(project: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ask all rows in realtime; return a backup that has the chunk open, of a database that has the answers."""

    def killed(*_: Any) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(Collector, "_record", killed)
        with pytest.raises(KilledError):
            project.run()
    backup = project.root / "backup"
    shutil.copy(project.root / "batchpipe.duckdb", backup)
    assert project.run().submitted == 0
    return backup


def two_lines_and_noise(path: Path) -> bytes:
    """Return a compressed file of the first two lines of a file, and bytes that cannot be read after them."""
    with pyarrow.input_stream(str(path), compression="zstd") as file:
        lines = file.read().splitlines(keepends=True)
    part = path.with_name("two")
    with pyarrow.output_stream(str(part), compression="zstd") as file:
        file.write(b"".join(lines[:2]))
    content = part.read_bytes()
    part.unlink()
    return content + b"noise" * 100


@pytest.mark.share(2)
@pytest.mark.parametrize("damage", ["empty", "noise", "two lines", "gone", "a folder"])
def test_lost_answers_of_a_chunk_that_a_backup_has_open_stop_a_run(
    project: Project, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    project.pipeline(BASIC + REALTIME)
    project.rows(numbered(4))
    backup = killed_while_recording(project, monkeypatch)
    path, calls = project.raw_file(".jsonl.zst"), paid_calls(project)
    content = two_lines_and_noise(path)
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    elif damage != "gone":
        path.write_bytes({"empty": b"", "noise": b"noise" * 20, "two lines": content}[damage])
    shutil.copy(backup, project.root / "batchpipe.duckdb")

    assert "1 chunk of the raw folder cannot be read, and `run` stops" in ask(project, status, ["demo"]).out
    planned = ask(project, plan, PlanRequest(pipelines=["demo"]), as_json=True).value
    assert len(planned["to_take_in"]["damaged"]) == 1
    assert "1 chunk cannot be read in " in (project.run().gate or "")
    with pytest.raises(GateError, match="may have been paid for"):
        ask(project, try_rows, TryRequest(pipeline="demo"))
    recovered = ask(project, recover, "demo", None, abandon=False, from_raw=True, as_json=True).value
    assert len(recovered["rebuilt"]["damaged"]) == 1
    assert paid_calls(project) == calls

    assert "1 chunk that cannot be read given up" in given_up(project)
    kept = 2 if damage == "two lines" else 0
    assert (project.run().rows["accepted"], paid_calls(project)) == (4, calls + 4 - kept)
    # What is lost was paid for: it stays booked.
    assert project.sql("SELECT count(*) FROM ledger.results WHERE outcome = 'gone'") == [(4 - kept,)]
    assert project.run().submitted == 0


def given_up(project: Project) -> str:
    return ask(project, recover, "demo", None, abandon=False, from_raw=False, leave=True).out


def test_answers_that_were_never_there_do_not_stop_a_run_with_a_lost_database(project: Project) -> None:
    project.pipeline(BASIC + REALTIME + "[retry]\nattempts = 1\n")
    project.rows(numbered(2))
    project.faults({"calls": [{"call": "message", "fault": "reset", "times": 100}]})
    project.outcomes()
    project.faults({})
    sent = paid_calls(project)
    (project.root / "batchpipe.duckdb").unlink()
    assert (project.run().gate, paid_calls(project)) == (None, sent)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def of_another_chunk(path: Path) -> None:
    path.write_text(path.read_text().replace('"chunk_id": "0', '"chunk_id": "1', 1))


def in_another_form(path: Path) -> None:
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "policy": {"recorded_at": "once"}}))


def with_a_list(path: Path) -> None:
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "notes": [{**facts["notes"][0], "data": [1]}]}))


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def with_noise_within(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[8 : len(content) // 2] = b"\x55" * (len(content) // 2 - 8)
    path.write_bytes(content)


DAMAGES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "no description": (".json", Path.unlink),
    "an empty description": (".json", emptied),
    "the description of another chunk": (".json", of_another_chunk),
    "a description without its policy": (".json", in_another_form),
    "a description with a list": (".json", with_a_list),
    "a folder": (".json", a_folder),
    "requests with noise": (".requests.parquet", with_noise_within),
    "no requests": (".requests.parquet", Path.unlink),
}


def test_a_chunk_without_its_description_is_never_bought_again_in_silence(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(3))
    project.run()
    project.pipeline(BASIC.replace("{{ body }}", "Another: {{ body }}"), name="other")
    raw, whole = project.root / ".batchpipe" / "raw", project.root / "whole"
    for name in ("\udcff.json", "\udcff.jsonl", "\udcff.jsonl.zst", "notes.json", "0.jsonl"):
        (raw / name).write_text("{}")
    assert project.run().submitted == 0  # other files are none of ours
    shutil.copytree(raw, whole)
    sent = project.requests_sent()
    for damage, (ending, break_it) in DAMAGES.items():
        shutil.rmtree(raw)
        shutil.copytree(whole, raw)
        (path,) = raw.glob(f"*-*-*{ending}")
        break_it(path)
        (project.root / "batchpipe.duckdb").unlink()
        assert "1 chunk cannot be read in " in (project.run().gate or ""), damage
        if damage == "no description":  # its requests say whose it is
            assert project.run("other", no_new=True).gate is None
        assert project.requests_sent() == sent, damage
    shutil.rmtree(raw)
    raw.mkdir()
    (results,) = whole.glob("*-*-*.jsonl.zst")
    shutil.copy(results, raw)
    (project.root / "batchpipe.duckdb").unlink()
    assert "1 chunk cannot be read in " in (project.run().gate or "")
    shutil.copytree(whole, raw, dirs_exist_ok=True)
    assert (project.run().submitted, project.requests_sent()) == (0, sent)


def test_two_links_to_one_database_share_what_is_asked(
    project: Project, monkeypatch: pytest.MonkeyPatch, project_at: Callable[[Path], Project]
) -> None:
    project.pipeline(BASIC + REALTIME)
    project.rows(numbered(3))
    backup = killed_while_recording(project, monkeypatch)
    shutil.copy(backup, project.root / "batchpipe.duckdb")  # the answers are in the raw folder alone
    folder = project.root / "elsewhere"
    folder.mkdir()
    (folder / "batchpipe.duckdb").symlink_to(project.root / "batchpipe.duckdb")
    other = project_at(folder)
    other.pipeline(BASIC + REALTIME)
    other.rows(numbered(3))
    result = other.run()
    assert (result.submitted, result.rows["accepted"], paid_calls(other)) == (0, 3, 0)


@pytest.mark.parametrize("removed", [".batchpipe", ".batchpipe/raw"])
def test_what_was_asked_is_booked_where_the_working_folder_is_removed(
    project: Project, monkeypatch: pytest.MonkeyPatch, removed: str
) -> None:
    project.pipeline(BASIC + REALTIME)
    project.rows(numbered(3))
    backup = killed_while_recording(project, monkeypatch)
    shutil.copy(backup, project.root / "batchpipe.duckdb")
    shutil.rmtree(project.root / removed)
    assert project.run().rows["accepted"] == 3
    assert project.sql("SELECT count(*), count(cost_usd) FROM ledger.results WHERE outcome = 'gone'") == [(3, 0)]


def test_a_working_folder_that_is_removed_meanwhile_is_told(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    make = Database.make_folder

    def removed(self: Database, *names: str) -> Path:
        folder = make(self, *names)
        if names[:1] == ("raw",):
            shutil.rmtree(self.folder)
        return folder

    project.pipeline()
    project.rows(numbered(3))
    with monkeypatch.context() as patched:
        patched.setattr(Database, "make_folder", removed)
        with pytest.raises(DatabaseError, match="No such file"):
            project.run()
    assert (project.run().rows["accepted"], project.requests_sent()) == (3, 3)
