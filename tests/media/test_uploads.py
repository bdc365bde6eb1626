"""Files that many requests send: uploaded once, named, reused and deleted; and a provider whose storage is full."""

from __future__ import annotations

import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from projects import Project

from batchpipe.providers.known import KnownProvider
from media.drawn import png
from media.test_files import FILES, hash_of, received, write

SHARED = png(1, width=300, height=300, noise=300)  # about 270,000 bytes
MODELS = ["openai:gpt-6-luna", "gemini:gemini-3.5-flash"]


def given(model: str, more: str = "") -> str:
    return FILES.replace("claude-haiku-4-5", model) + more


def rows_that_share(project: Project, count: int, first: int = 1) -> list[dict[str, Any]]:
    """Write rows that all name one picture, and one row with a picture of its own."""
    shared = write(project, "photos/shared.png", SHARED)
    own = write(project, "photos/own.png", png(2))
    rows = [{"id": number, "photo": shared, "note": f"n {number}"} for number in range(first, first + count)]
    rows.append({"id": first + count, "photo": own, "note": "own"})
    project.rows(rows)
    return rows


def noted(count: int) -> list[dict[str, Any]]:
    return [{"id": number, "photo": "", "note": f"n {number}"} for number in range(count)]


def left_over(project: Project) -> list[tuple[Any, ...]]:
    """Return the uploads that are not known to be deleted."""
    return project.sql(
        "SELECT file_id FROM ledger.uploads u WHERE NOT EXISTS (SELECT 1 FROM ledger.events e "
        "WHERE e.kind = 'file_discarded' AND (e.data ->> 'upload_id') = u.upload_id::VARCHAR)"
    )


@pytest.mark.parametrize("model", MODELS)
def test_a_file_of_many_requests_goes_up_once_and_is_deleted_when_they_have_ended(project: Project, model: str) -> None:
    project.pipeline(given(model, "[chunking]\nmax_requests = 4\n"))
    rows_that_share(project, 8)
    plan = project.plan()
    assert plan.media is not None
    assert [each.shared for each in plan.media.figures] == [1]
    assert sum(each.bytes for each in plan.chunks) < 3 * len(SHARED)
    result = project.run()
    assert (result.status, result.rows["accepted"]) == ("done", 9)
    assert received(project) == Counter({hash_of(SHARED): 8, hash_of(png(2)): 1})
    assert project.sql("SELECT sha256, media_type, bytes FROM ledger.uploads") == [
        (hash_of(SHARED), "image/png", len(SHARED))
    ]
    assert left_over(project) == []
    assert project.run().submitted == 0
    sent = project.sql("SELECT sum((data ->> 'bytes')::BIGINT) FROM ledger.events WHERE kind = 'chunk_prepared'")
    assert sent[0][0] < len(SHARED)


def test_where_nothing_is_shared_or_little_saved_files_stand_in_the_requests(project: Project) -> None:
    project.pipeline(given("openai:gpt-6-luna"))
    rows_that_share(project, 3)
    assert project.run().rows["accepted"] == 4
    # A request of chat completions names no pictures.
    project.settings["providers"] = {"openai": {"endpoint": "/v1/chat/completions"}}
    rows_that_share(project, 8)
    assert project.run().rows["accepted"] == 9
    assert project.sql("SELECT * FROM ledger.uploads") == []


def test_a_gateway_gets_uploads_only_where_its_table_says_so(project: Project) -> None:
    assert not KnownProvider(name="azure", protocol="openai").uploads_files
    assert KnownProvider(name="azure", protocol="openai", upload_files=True).uploads_files
    project.settings["providers"] = {"openai": {"upload_files": False}}
    project.pipeline(given("openai:gpt-6-luna"))
    rows_that_share(project, 8)
    assert project.run().rows["accepted"] == 9
    assert project.sql("SELECT * FROM ledger.uploads") == []
    assert received(project)[hash_of(SHARED)] == 8


@pytest.mark.parametrize("model", MODELS)
def test_an_upload_that_another_pipeline_still_names_is_used_and_kept(project: Project, model: str) -> None:
    project.pipeline(given(model))
    rows_that_share(project, 8)
    project.faults({"never_ends": True})
    assert project.outcomes(["demo"], wait_seconds=0.0)[0].result.submitted == 9
    project.pipeline(given(model).replace("What is on it?", "What colour is it?"), "other")
    assert project.outcomes(["other"], wait_seconds=0.0)[0].result.submitted == 9
    assert len(project.sql("SELECT * FROM ledger.uploads")) == 1
    project.faults({})
    assert project.run("other").rows["accepted"] == 9
    assert len(left_over(project)) == 1
    assert project.run("demo").rows["accepted"] == 9
    assert left_over(project) == []
    assert received(project)[hash_of(SHARED)] == 16


@pytest.mark.parametrize("model", MODELS)
def test_an_upload_that_is_gone_is_uploaded_anew(project: Project, model: str) -> None:
    project.pipeline(given(model))
    rows_that_share(project, 8)
    project.faults({"never_ends": True})
    project.outcomes(["demo"], wait_seconds=0.0)
    # Somebody deletes the file, and the batch that names it fails line by line.
    ((file_id,),) = left_over(project)
    path = f"/v1/files/{file_id}" if model.startswith("openai") else f"/v1beta/{file_id}"
    own = {"authorization": "Bearer test-key"}
    headers = own if model.startswith("openai") else {"x-goog-api-key": "test-key"}
    address = f"{project.emulator.base_url}{path}"
    urllib.request.urlopen(urllib.request.Request(address, method="DELETE", headers=headers)).close()
    project.faults({})
    result = project.run()
    assert (result.status, result.rows["accepted"]) == ("done", 9)
    assert len(project.sql("SELECT * FROM ledger.uploads")) == 2
    assert left_over(project) == []


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("fault", ["status:500", "reset", "accepted_then_reset", "accepted_then_empty", "status:429"])
def test_an_upload_that_fails_is_repeated_and_takes_nothing_along(project: Project, model: str, fault: str) -> None:
    project.pipeline(given(model))
    rows_that_share(project, 8)
    project.faults({"calls": [{"call": "upload", "fault": fault, "times": 2}]})
    result = project.run()
    assert (result.status, result.rows["accepted"]) == ("done", 9)
    assert project.requests_sent() == 9
    assert left_over(project) == []


@pytest.mark.parametrize("model", MODELS)
def test_a_failed_deletion_is_in_nobodys_way(project: Project, model: str) -> None:
    project.pipeline(given(model))
    rows_that_share(project, 8)
    call = "delete" if model.startswith("openai") else "files"
    project.faults({"calls": [{"call": call, "fault": "status:500", "times": 100}]})
    assert project.run().status == "done"
    assert len(left_over(project)) == 1
    project.faults({})
    rows_that_share(project, 9)
    assert project.run().status == "done"
    assert left_over(project) == []


def test_a_file_that_changes_after_the_plan_is_not_uploaded(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.pipeline(given("openai:gpt-6-luna"))
    rows_that_share(project, 8)
    real = Path.read_bytes

    def changing(path: Path) -> bytes:
        if path.name == "shared.png":
            path.write_bytes(png(7, width=300, height=300, noise=300))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", changing)
    project.run()
    monkeypatch.undo()
    assert received(project) == Counter({hash_of(png(2)): 1})
    assert project.run().submitted == 8


@pytest.mark.parametrize("model", MODELS)
def test_full_storage_is_freed_of_what_is_saved_here(project: Project, model: str) -> None:
    """OpenAI deletes the oldest results; Gemini refuses that, so that a person has to help."""
    project.pipeline(FILES.replace("{{ image(photo) }}", "").replace("claude-haiku-4-5", model))
    for count in (6, 12):
        project.rows(noted(count))
        assert project.run().status == "done"
    project.rows(noted(18))
    # There is room for the input, but not beside the results.
    project.faults({"max_storage_bytes": 8_000 if model.startswith("openai") else 5_000})
    result = project.run()
    if model.startswith("gemini"):
        assert (result.status, "the storage of gemini is full" in str(result.gate)) == ("gate", True)
        project.faults({})
        assert project.run().rows["accepted"] == 18
        return
    assert (result.status, result.submitted, result.rows["accepted"]) == ("done", 6, 18)
    assert [text for text in project.said if "storage was full" in text]
    freed = "SELECT count(*) FROM ledger.events WHERE kind = 'results_discarded' AND (data ->> 'freed') = 'true'"
    assert project.sql(freed)[0][0] == 2
    project.faults({"max_storage_bytes": 100})
    project.rows(noted(19))
    assert project.run().status == "gate"
    assert project.requests_sent() == 18


@pytest.mark.parametrize(
    ("model", "words"),
    [(MODELS[0], "You have exceeded the storage quota of this project."), (MODELS[1], "file_storage_bytes exceeded")],
)
def test_full_storage_is_told_by_its_words_and_never_waited_for(project: Project, model: str, words: str) -> None:
    project.pipeline(given(model))
    rows_that_share(project, 2)
    fault = {"call": "upload", "fault": "status:429", "message": words, "times": 9}
    project.faults({"calls": [fault]})
    result = project.run()
    assert (result.status, words in str(result.gate), "is full" in str(result.gate)) == ("gate", True, True)
    project.faults({})
    assert project.run().rows["accepted"] == 3
