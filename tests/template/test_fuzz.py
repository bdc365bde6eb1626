"""Tests of result lines of any shape: each becomes a row with a state, and none raises."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest
from projects import Project, numbered

ROWS = 150
JUNK: tuple[Any, ...] = (
    None, True, 0, -1, 1e308, 2**70, "", "x", "\x1b[31m", "\u202e", "=1+1", [], [None], [[]], {}, {"type": None},
    {"type": "weird"}, "succeeded", "errored", "expired", "max_tokens", "refusal", "batch", ["text"], {"a": {"b": []}},
)  # fmt: skip
PLAIN: dict[str, Any] = {
    "custom_id": "",
    "result": {
        "type": "succeeded",
        "message": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-haiku-4-5-20251001",
            "content": [{"type": "text", "text": '{"label": "bug", "score": 0.5}'}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 10, "output_tokens": 5, "service_tier": "batch"},
        },
    },
}
ERRORED = {"type": "errored", "error": {"type": "error", "error": {"type": "api_error", "message": "m"}}}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Yield the path of everything below `value` that can be replaced."""
    found = [path] if path else []
    if isinstance(value, dict):
        found += [each for key, child in value.items() for each in places(child, (*path, key))]
    if isinstance(value, list):
        found += [each for number, child in enumerate(value) for each in places(child, (*path, number))]
    return found


def damaged(chance: random.Random, custom_id: str) -> str:
    """Return a line of `custom_id` in which one to three parts are replaced by junk or removed."""
    line = copy.deepcopy(PLAIN)
    if chance.random() < 0.3:
        line["result"] = copy.deepcopy(ERRORED)
    for _ in range(chance.randint(1, 3)):
        *parents, last = chance.choice(places(line["result"], ("result",)))
        holder: Any = line
        for step in parents:
            holder = holder[step]
        if isinstance(holder, dict) and chance.random() < 0.2:
            del holder[last]
        else:
            holder[last] = copy.deepcopy(chance.choice(JUNK))
        if not isinstance(line.get("result"), dict):
            break
    return json.dumps(line | {"custom_id": custom_id})


@pytest.mark.parametrize("seed", range(4))
def test_lines_of_any_shape_end_as_rows_with_a_state(project: Project, seed: int) -> None:
    chance = random.Random(seed)
    project.pipeline()
    project.rows(numbered(ROWS))
    assert project.run(no_wait=True).submitted == ROWS
    ((chunk_id,),) = project.sql("SELECT chunk_id FROM ledger.batches")
    lines = [damaged(chance, custom_id) for (custom_id,) in project.sql("SELECT custom_id FROM ledger.requests")]
    raw = project.root / ".batchpipe" / "raw"
    raw.mkdir(exist_ok=True)
    (raw / f"{chunk_id}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for _ in range(2):
        (outcome,) = project.outcomes()
        assert outcome.error is None or outcome.error.exit_code == 3
    states = dict(project.sql("SELECT state, count(*) FROM ledger.row_state GROUP BY state"))
    assert sum(states.values()) == ROWS
    assert set(states) <= {"accepted", "failed"}
    assert states["accepted"] > ROWS / 2
    assert project.sql("SELECT count(*) FROM ledger.results WHERE cost_usd < 0") == [(0,)]
