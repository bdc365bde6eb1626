"""Tests of answers of many pages, which are collected, validated again and written again within the memory limit."""

from __future__ import annotations

import json
from typing import Any

import pytest
from projects import Project, numbered

ROWS = 2_100
PAGES_BYTES = 30_000
TRANSLATED = """
[input]
query = "SELECT id, body FROM read_csv('rows.csv', types = {'id': 'BIGINT'})"
key = "id"

[prompt]
user_text = "Translate: {{ body }}"

[output.fields.text]
type = "string"
[output.fields.pages]
type = "integer"
[output.fields.confidence]
type = "number"

[[models]]
model = "claude-haiku-4-5"
max_tokens = 20000
"""


@pytest.mark.proof
def test_answers_of_many_pages(project: Project) -> None:
    project.rows(numbered(ROWS))
    project.pipeline(TRANSLATED)
    output = {"text": "word " * (PAGES_BYTES // 5), "pages": 20, "confidence": 0.9}
    project.faults({"requests": [{"outcome": "output", "output": output}]})
    assert project.run().rows["accepted"] == ROWS
    assert project.sql("SELECT count(*), min(strlen(text)), max(pages) FROM demo") == [(ROWS, PAGES_BYTES, 20)]

    project.pipeline(TRANSLATED + '[output.checks]\nsure = "confidence > 0.5"\n')
    result = project.run()
    assert (result.submitted, result.rows["accepted"]) == (0, ROWS)

    project.pipeline(TRANSLATED.replace('"integer"', '"integer"\ncolumn = "SMALLINT"'))
    assert project.run().submitted == 0
    assert project.sql("SELECT count(*), min(strlen(text)), typeof(any_value(pages)) FROM demo") == [
        (ROWS, PAGES_BYTES, "SMALLINT")
    ]


LONGEST_BYTES = 10_000_000
FIELDS = ("subject", "place", "time", "author", "note")


@pytest.mark.proof
@pytest.mark.parametrize("usage", ["(missing)", {"input_tokens": 20, "output_tokens": LONGEST_BYTES // 6}])
def test_one_answer_of_ten_megabytes_does_not_hold_up_its_batch(project: Project, usage: Any) -> None:
    project.rows(numbered(3))
    fields = "".join(f'[output.fields.{name}]\ntype = "string"\n' for name in FIELDS)
    pipeline = TRANSLATED.replace("[[models]]", f"{fields}\n[[models]]")
    project.pipeline(pipeline)
    short = {"text": "word", "pages": 20, "confidence": 0.9} | dict.fromkeys(FIELDS, "x")
    text = json.dumps(short | {"text": "y" * LONGEST_BYTES})
    long = {"content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "usage": usage}
    project.faults({"requests": [{"match": "number 2", "message": long}, {"output": short}]})
    assert project.run().rows["accepted"] == 3
    assert project.sql("SELECT max(strlen(text)) FROM demo") == [(LONGEST_BYTES,)]
    for edit in ('[output.checks]\nsure = "confidence > 0.5"\n', '[output.checks]\nshort = "length(subject) < 9"\n'):
        project.pipeline(pipeline.replace('"integer"', '"integer"\ncolumn = "SMALLINT"') + edit)
        result = project.run()
        assert (result.submitted, result.rows["accepted"]) == (0, 3)
