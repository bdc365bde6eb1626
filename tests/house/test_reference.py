"""The reference is the models' own: every key is in it, and a real file satisfies it."""

from __future__ import annotations

import jsonschema_rs
import pytest
from helpers.schemas import FILE, errors

from batchpipe.pipeline.model import (
    Budget,
    Check,
    Eval,
    EvalField,
    Input,
    Output,
    Pilot,
    Pipeline,
    Prompt,
    Rerun,
)
from batchpipe.pipeline.reference import json_schema, keys_table
from batchpipe.pipeline.review_table import Review
from batchpipe.pipeline.sending import Chunking, LocalRung, Retry, Rung
from batchpipe.pipeline.value_types import OutputField


def test_a_file_satisfies_the_schema() -> None:
    jsonschema_rs.meta.validate(json_schema())
    assert errors(FILE.replace("2026-01-01", '"2026-01-01"')) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[chunking]", "[chunkin]"),
        ("minLength", "min_length"),
        ('user_text = "{{ body }}"', ""),
        ('max_bytes = "32MB"', 'max_bytes = "much"'),
        ("max_tokens = 10", "max_tokens = 0"),
        ('name = "triage"', 'name = "Triage"'),
        ("max_usd = 1.5", "max_usd = -1"),
        ("[budget]", '[check]\nignore = ["P999"]\n[budget]'),
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(old: str, new: str) -> None:
    assert old in FILE
    assert errors(FILE.replace("2026-01-01", '"2026-01-01"').replace(old, new))


def test_every_key_has_a_row_and_a_meaning() -> None:
    rows = keys_table().splitlines()[2:]
    tables = {
        "[input] ": Input,
        "[prompt] ": Prompt,
        "[output] ": Output,
        "[output.fields.NAME] ": OutputField,
        "[[models]] ": Rung,
        '[[models]] "local": ': LocalRung,
        "[chunking] ": Chunking,
        "[retry] ": Retry,
        "[rerun] ": Rerun,
        "[pilot] ": Pilot,
        "[review] ": Review,
        "[budget] ": Budget,
        "[check] ": Check,
        "[eval] ": Eval,
        "[eval.fields.NAME] ": EvalField,
    }
    expected = [
        f"`{table}{field.alias or name}`"
        for table, model in tables.items()
        for name, field in model.model_fields.items()  # type: ignore[attr-defined]
    ]
    simple = [name for name, field in Pipeline.model_fields.items() if name != "local" and f"[{name}] " not in tables]
    expected += [f"`{name}`" for name in simple if name != "models"]
    found = [row.split(" | ")[0].removeprefix("| ") for row in rows]
    assert sorted(found) == sorted([*expected, "`[[models]] ...`"])
    assert all(row.split(" | ")[-1].removesuffix(" |").strip() for row in rows)


def test_rows_say_type_default_and_meaning() -> None:
    table = keys_table()
    assert "| `[input] key` | a string or a list of strings | required | Column or columns that name a row" in table
    assert '| `[prompt] cache` | "auto", "off", "5m" or "1h" | `"auto"` | Caching of the text that ' in table
    assert "| `[retry] max_failed` | a number from 0 to 1 | `0.0` |" in table
