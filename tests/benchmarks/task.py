"""The task that all programs of the benchmark do."""

from __future__ import annotations

from typing import Any

MODEL = "claude-haiku-4-5"
USER = "Which kind of message is this, and how sure are you?\n<message>\n{{ body }}\n</message>\n"
LABELS = ["bug", "wish", "praise", "other"]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": LABELS}, "score": {"type": "number"}},
    "required": ["label", "score"],
    "additionalProperties": False,
}

PIPELINE = """
name = "bench"
[input]
query = "SELECT id, body FROM read_parquet('rows.parquet')"
key = "id"
[prompt]
user_text = '''
{user}'''
[output]
fields.label = {{ enum = ["bug", "wish", "praise", "other"] }}
fields.score = {{ type = "number", minimum = 0, maximum = 1 }}
[[models]]
model = "{model}"
max_tokens = 200
[chunking]
max_requests = {chunk}
max_bytes = "250MB"
max_queued = {queued}
max_in_flight = {in_flight}
"""


def pipeline(chunk: int, at_once: int = 0, model: str = MODEL) -> str:
    """The pipeline file, with `chunk` requests in a batch, and room for `at_once` requests in flight where given."""
    return PIPELINE.format(
        user=USER.replace("\\", "\\\\"),
        model=model,
        chunk=chunk,
        queued=max(200_000, 8 * chunk, at_once),
        in_flight=max(8, 2 * at_once // chunk + 8),
    )
