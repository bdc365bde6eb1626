"""The pipeline that is run and killed: it has several chunks, retries, a ladder, equal rows and a transient error."""

from __future__ import annotations

import json
from typing import Any

from media.drawn import png

LOW, HIGH = "claude-haiku-4-5", "claude-sonnet-4-6"
# The models of both rungs in each protocol, as the pipeline file names them.
MODELS = {
    "anthropic": (LOW, HIGH),
    "openai": ("openai:gpt-6-luna", "openai:gpt-6-sol"),
    "gemini": ("gemini:gemini-3.1-flash-lite", "gemini:gemini-3.8-flash"),
}

PIPELINE = f"""
[input]
query = "SELECT id, body FROM read_csv('rows.csv', types = {{'id': 'BIGINT', 'body': 'VARCHAR'}})"
key = "id"
[prompt]
user_text = "{{{{ body }}}}"
[output.fields.label]
type = "string"
enum = ["billing", "bug", "other"]
[output.fields.score]
type = "number"
[[models]]
model = "{LOW}"
max_tokens = 200
accept = "score >= 0.5"
[[models]]
model = "{HIGH}"
max_tokens = 400
[chunking]
max_requests = 4
max_in_flight = 3
"""

BODIES = (
    "1 is billing;",
    "2 is bug;",
    "3 is other;",
    "4 is billing; wrong;",
    "5 is bug; unsure;",
    "6 is other; hiccup;",
    "same is bug;",
    "same is bug;",
    "same is other; unsure;",
    "same is other; unsure;",
    "11 is billing; refused;",
    "12 is bug; long;",
    "13 is other;",
)
LABELS = {number: body.partition(" is ")[2].partition(";")[0] for number, body in enumerate(BODIES, start=1)}


def said(label: str, score: float, **more: Any) -> dict[str, Any]:
    return {"output": {"label": label, "score": score}, **more}


RULES: dict[str, Any] = {
    "requests": [
        {"match": "wrong;", "outcome": "wrong_enum", "times": 1},
        {"match": "hiccup;", "outcome": "errored_overloaded", "times": 1},
        {"match": "long;", "outcome": "truncated", "times": 1},
        {"match": "refused;", "model": LOW, "outcome": "refused"},
        said("other", 0.1, match="unsure;", model=LOW),
        *(said(label, 0.9, match=f"is {label};") for label in ("billing", "bug", "other")),
    ]
}


def of_protocol(text: str, protocol: str) -> str:
    """Return a pipeline, or rules as JSON, with the models of a protocol in the place of the scenario's own."""
    for ours, other in zip(MODELS["anthropic"], MODELS[protocol], strict=True):
        text = text.replace(f'"{ours}"', f'"{other}"')
    return text


def rules_of(protocol: str) -> dict[str, Any]:
    """Return the rules for the models of a protocol, which the service calls without the provider's name."""
    text = of_protocol(json.dumps(RULES), protocol).replace(f'"{protocol}:', '"')
    return dict(json.loads(text))


# A ladder over all three providers: what the first two are unsure of, the third one answers.
MIXED = PIPELINE.replace(
    f'model = "{HIGH}"\nmax_tokens = 400\n',
    'model = "openai:gpt-6-luna"\nmax_tokens = 400\naccept = "score >= 0.5"\n'
    '[[models]]\nmodel = "gemini:gemini-3.8-flash"\nmax_tokens = 400\n',
)
MIXED_RULES: dict[str, Any] = {
    "requests": [said("other", 0.2, match="unsure;", model="gpt-6-luna"), *RULES["requests"]],
}


def rows_csv(count: int = len(BODIES)) -> str:
    """Return the first `count` rows."""
    lines = [f'{number},"{body}"' for number, body in enumerate(BODIES[:count], start=1)]
    return "\n".join(["id,body", *lines]) + "\n"


# Two answers of the first model, then a panel over all three providers.
VOTING = (
    PIPELINE.replace(
        'max_tokens = 200\naccept = "score >= 0.5"\n',
        'max_tokens = 200\nsamples = 2\naccept = "_agreement = 1 AND score >= 0.5"\n',
    )
    .replace(
        f'model = "{HIGH}"\n',
        f'panel = ["{HIGH}", "openai:gpt-6-luna", "gemini:gemini-3.8-flash"]\naccept = "_agreement > 0.6"\n',
    )
    .replace("max_requests = 4", "max_requests = 20")
)

# A ladder of two providers over pictures: most rows share one, which is uploaded once, and some have one of their own.
PICTURED = (
    PIPELINE.replace(
        "SELECT id, body FROM",
        "SELECT id, body, 'photos/' || CASE WHEN id <= 10 THEN 'shared' ELSE id::VARCHAR END || '.png' AS photo FROM",
    )
    .replace("{{ body }}", "{{ image(photo) }}{{ body }}")
    .replace(LOW, "openai:gpt-6-luna")
    .replace(HIGH, "gemini:gemini-3.8-flash")
)
PICTURED_RULES: dict[str, Any] = json.loads(
    json.dumps(RULES).replace(LOW, "gpt-6-luna").replace(HIGH, "gemini-3.8-flash")
)


def pictures() -> dict[str, bytes]:
    """Return the pictures of the rows, by path."""
    own = {f"photos/{number}.png": png(number) for number in range(11, len(BODIES) + 1)}
    return {"photos/shared.png": png(1, width=300, height=300, noise=300), **own}
