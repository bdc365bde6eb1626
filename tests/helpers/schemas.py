"""What the JSON schema of the pipeline file finds."""

from __future__ import annotations

import tomllib
from typing import Any

import jsonschema_rs

from batchpipe.pipeline.reference import json_schema

FILE = """
name = "triage"
[input]
query = "SELECT 1"
key = "id"
params = { since = 2026-01-01 }
[prompt]
user_text = "{{ body }}"
[output]
include = "plan"
[output.fields.label]
type = ["string", "null"]
enum = { billing = "money" }
[output.fields.tags]
type = "array"
items = { type = "object", fields = { name = { type = "string", minLength = 1 } } }
[[models]]
model = "m"
max_tokens = 10
thinking = { type = "adaptive" }
[chunking]
max_bytes = "32MB"
[budget]
max_usd = 1.5
"""


def errors(text: str) -> list[str]:
    validator: Any = jsonschema_rs.validator_for(json_schema())
    return [error.message for error in validator.iter_errors(tomllib.loads(text))]
