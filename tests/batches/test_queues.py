"""Queues of providers: what one took before it said that it is full is not passed again."""

from __future__ import annotations

import pytest
from projects import BASIC, Project, numbered

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
