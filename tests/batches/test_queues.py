"""Queues of providers: what one took before it said that it is full is not passed again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from calls import ask
from clocked import Clock
from projects import BASIC, Project, numbered

from batchpipe.commands.status.status import status

CHUNKS = "\n[chunking]\nmax_requests = 5\n"
MODELS = {"openai": "openai:gpt-6-luna", "gemini": "gemini:gemini-3.8-flash"}


def refused(project: Project) -> int:
    """Return how many batches the ledger has as refused for a full queue."""
    found = project.sql(
        "SELECT count(*) FROM ledger.events WHERE kind = 'chunk_refused' AND (data ->> 'kind') = 'queue_full'"
    )
    return int(found[0][0])


def queued(project: Project) -> list[int]:
    """Return how many requests were in flight beside and with each batch when it was made."""
    spans = project.sql("SELECT submitted_at, collected_at, requests FROM ledger.batches WHERE state = 'collected'")
    return [sum(count for start, end, count in spans if start <= moment < end) for moment, _, _ in spans]


@pytest.mark.parametrize("protocol", MODELS)
def test_a_queue_that_was_full_is_not_filled_beyond_that_again(project: Project, protocol: str) -> None:
    project.pipeline(BASIC.replace("claude-haiku-4-5", MODELS[protocol]) + CHUNKS)
    project.rows(numbered(40))
    project.faults({"max_queued_tokens": 1500, "delay_seconds": 0.4, "validating_seconds": 0.05})
    result = project.run()
    assert (result.status, result.rows["accepted"]) == ("done", 40)
    shown = (refused(project), queued(project))
    assert 0 < refused(project) <= 6, shown
    first = refused(project)
    # The next run, within a day, knows it from the start.
    project.rows(numbered(80))
    assert project.run().rows["accepted"] == 80
    assert refused(project) == first, (shown, refused(project), queued(project))


@pytest.mark.parametrize("limit", ["the settings", "[chunking]", "learned"])
def test_a_queue_that_others_fill_is_told_and_the_wait_ends(project: Project, limit: str) -> None:
    """The batch of another pipeline never ends, and nobody looks after it: that is said, and after days it is an error.

    A limit that was only learned is tried again meanwhile, since the other batch may have ended long ago.
    """
    if limit == "the settings":
        settings = "[providers.gemini.limits]\nmax_batches = 1\n"
        (project.root / "batchpipe.toml").write_text(settings, encoding="utf-8")
    text = BASIC.replace("claude-haiku-4-5", MODELS["gemini"]) + (
        "[chunking]\nmax_queued = 5\n" * (limit == "[chunking]")
    )
    project.pipeline(text, "first")
    project.pipeline(text.replace("{{ body }}", "Please: {{ body }}"))
    project.rows(numbered(5))
    clock = Clock(project=project, step=14_400.0)
    project.faults({"never_ends": True})
    assert clock.run("first", no_wait=True).result.status == "pending"
    project.faults({"never_ends": True, **({"max_batches": 1} if limit == "learned" else {})})
    project.said.clear()
    ended = clock.run(wait=timedelta(days=4))
    assert ended.error is not None
    waits = "5 requests wait for room in the queue, which 1 open batch with 5 requests of first fills"
    assert [waits in each for each in project.said].count(True) == 1
    if limit == "learned":
        assert "the provider has asked to wait since" in str(ended.error)
        assert refused(project) > 2
        return
    assert "for 3 days there was no room in the queue, which 1 open batch" in str(ended.error)
    shown = ask(project, status, ["demo"]).out
    assert "waiting    5 requests for room in the queue, which 1 open batch with 5 requests of first fills" in shown
    # Once the other pipeline has taken its batch in, the requests go up.
    project.faults({})
    assert clock.run("first").result.status == "done"
    assert clock.run().result.rows["accepted"] == 5
    assert "waiting" not in ask(project, status, ["demo"]).out
