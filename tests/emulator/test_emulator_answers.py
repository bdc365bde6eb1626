"""Tests of the answers that the emulator makes up or takes from a file."""

import json
import time
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from helpers.emulator_desk import MESSAGE, SCHEMA, Desk, desk, params, structured
from hypothesis import given, settings
from hypothesis import strategies as st

from batchpipe.emulator import Emulator, EmulatorError
from batchpipe.emulator.answering.patterns import string_matching
from batchpipe.emulator.answering.values import Draw, compile_schema

__all__ = ["desk"]

RICH: dict[str, Any] = {
    "type": "object",
    "properties": {
        "word": {"const": "fixed"},
        "flag": {"type": "boolean"},
        "day": {"type": "string", "format": "date"},
        "moment": {"type": "string", "format": "date-time"},
        "id": {"type": "string", "format": "uuid"},
        "mail": {"type": "string", "format": "email"},
        "page": {"type": "string", "format": "uri"},
        "code": {"type": "string", "pattern": "^[A-Z]{2}-\\d{3,5}$"},
        "either": {"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/part"}]},
        "parts": {"type": "array", "items": {"$ref": "#/$defs/part"}, "minItems": 1},
        "nothing": {"type": ["string", "null"]},
        "maybe": {"type": "string"},
    },
    "required": ["word", "flag", "day", "moment", "id", "mail", "page", "code", "either", "parts", "nothing"],
    "additionalProperties": False,
    "$defs": {
        "part": {
            "type": "object",
            "properties": {"name": {"type": "string", "enum": ["a", "b"]}, "share": {"type": "number"}},
            "required": ["name", "share"],
            "additionalProperties": False,
        }
    },
}


def test_structured_outputs_satisfy_their_schema(desk: Desk) -> None:
    validator = jsonschema_rs.validator_for(RICH, validate_formats=True)
    wanted = [structured(f"row {place}", RICH, max_tokens=2000) for place in range(60)]
    values = [json.loads(result["message"]["content"][0]["text"]) for result in desk.results(*wanted)]
    for value in values:
        assert validator.is_valid(value), [str(error) for error in validator.iter_errors(value)]
    assert {"maybe" in value for value in values} == {True, False}
    assert len({json.dumps(value) for value in values}) == 60


def test_defaults_of_numbers(desk: Desk) -> None:
    schema = {
        **SCHEMA,
        "properties": {"n": {"type": "integer"}, "x": {"type": "number"}},
        "required": ["n", "x"],
    }
    results = desk.results(*[structured(f"row {place}", schema) for place in range(40)])
    values = [json.loads(result["message"]["content"][0]["text"]) for result in results]
    assert {value["n"] for value in values} == {1, 2, 3, 4, 5}
    assert all(0 <= value["x"] <= 1 and round(value["x"], 2) == value["x"] for value in values)


def test_a_forced_tool_is_called(desk: Desk) -> None:
    tool = {"name": "answer", "input_schema": RICH, "strict": True}
    message = desk.message(params(tools=[tool], tool_choice={"type": "tool", "name": "answer"}, max_tokens=2000))
    (block,) = message["content"]
    assert (message["stop_reason"], block["type"], block["name"]) == ("tool_use", "tool_use", "answer")
    assert jsonschema_rs.is_valid(RICH, block["input"])


@pytest.mark.parametrize("form", ["Answer so:\n```json\n%s\n```\n", "<schema>%s</schema>"])
@pytest.mark.parametrize("place", ["user", "system"])
def test_a_schema_in_the_prompt_is_satisfied(desk: Desk, form: str, place: str) -> None:
    bounded = {
        "type": "object",
        "properties": {
            "score": {"type": "integer", "minimum": 10, "maximum": 12},
            "share": {"type": "number", "exclusiveMinimum": 5, "maximum": 6},
            "note": {"type": "string", "minLength": 30, "maxLength": 40},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2},
        },
        "required": ["score", "share", "note", "tags"],
    }
    shown = form % json.dumps(bounded)
    for row in range(5):
        text = f'Row {row}. Example: ```json\n{{"type": "billing"}}\n```'
        asked = params(f"{text} {shown}") if place == "user" else params(text, system=shown)
        jsonschema_rs.validate(bounded, json.loads(desk.text(asked)))


def test_plain_text_otherwise(desk: Desk) -> None:
    text = desk.text(params("Say something."))
    assert 10 < len(text) < 200
    assert not text.startswith("{")


def test_same_question_same_answer(tmp_path: Path) -> None:
    asked = [structured(f"row {place}") for place in range(20)]
    with Desk(tmp_path / "a") as one, Desk(tmp_path / "b") as two, Desk(tmp_path / "c", seed=1) as three:
        first, second, other = (
            [result["message"]["content"] for result in desk.results(*asked)] for desk in (one, two, three)
        )
        sonnet = [r["message"]["content"] for r in one.results(*[{**p, "model": "claude-sonnet-4-6"} for p in asked])]
    assert first == second
    assert first != other
    assert first != sonnet


def test_usage(desk: Desk) -> None:
    asked = structured("A ticket. " * 50)
    message = desk.message(asked)
    MESSAGE.validate_python(message)
    usage = message["usage"]
    assert message["model"] == "claude-haiku-4-5-20251001"
    assert usage["service_tier"] == "batch"
    assert 100 < usage["input_tokens"] <= len(json.dumps(asked)) + 300
    assert 0 < usage["output_tokens"] <= 200
    assert set(usage) == {
        "input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "cache_creation",
        "output_tokens", "output_tokens_details", "server_tool_use", "service_tier", "inference_geo", "speed",
    }  # fmt: skip
    newer = desk.message({**asked, "model": "claude-opus-4-8"})["usage"]
    assert newer["input_tokens"] > usage["input_tokens"]


def test_an_answer_longer_than_its_room_is_cut(desk: Desk) -> None:
    message = desk.message(structured(max_tokens=3))
    assert (message["stop_reason"], message["usage"]["output_tokens"]) == ("max_tokens", 3)
    with pytest.raises(json.JSONDecodeError):
        json.loads(message["content"][0]["text"])


def test_newer_models_think_before_they_answer(desk: Desk) -> None:
    message = desk.message(structured(model="claude-sonnet-5-5"))
    kinds = [block["type"] for block in message["content"]]
    thought = message["usage"]["output_tokens_details"]["thinking_tokens"]
    assert kinds == (["thinking", "text"] if thought else ["text"])
    results = desk.results(*[params(f"row {n}", model="claude-sonnet-5-5") for n in range(10)])
    assert any(result["message"]["content"][0]["type"] == "thinking" for result in results)


def test_stop_sequences(desk: Desk) -> None:
    message = desk.message(structured(stop_sequences=["confidence"]))
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "confidence")
    assert "confidence" not in message["content"][0]["text"]


def test_the_cache_shows_in_usage(desk: Desk) -> None:
    system = [{"type": "text", "text": "Policy. " * 3000, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    primer = desk.message(params("first", system=system))["usage"]
    assert primer["cache_creation"]["ephemeral_1h_input_tokens"] == primer["cache_creation_input_tokens"] == 6000
    results = desk.results(*[params(f"row {place}", system=system) for place in range(50)])
    read = [result["message"]["usage"]["cache_read_input_tokens"] for result in results]
    assert sum(one == 6000 for one in read) > 40
    desk.advance(4000)
    late = desk.results(*[params(f"late {place}", system=system) for place in range(50)])
    assert [result["message"]["usage"]["cache_creation_input_tokens"] for result in late] == [6000] * 50
    short = desk.message(params("x", system=[{**system[0], "text": "Policy. " * 2000}]))["usage"]
    assert short["cache_creation_input_tokens"] == short["cache_read_input_tokens"] == 0


def write_answers(path: Path, *lines: Any) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_answers_from_a_file(tmp_path: Path) -> None:
    good = {"label": "bug", "confidence": 1, "reason": "r"}
    answers = write_answers(
        tmp_path / "answers.jsonl",
        {"match": "policy", "output": {"label": "other", "confidence": 0, "reason": "system"}},
        {"model": "claude-sonnet-4-6", "match": "ticket 7", "output": {**good, "reason": "sonnet"}},
        {"match": "ticket 7", "output": good},
        {"match": "ticket 7", "output": {**good, "reason": "later"}},
        {"match": "tx", "output": "as it is"},
    )
    tool = {"tools": [{"name": "t", "input_schema": SCHEMA}], "tool_choice": {"type": "any"}}
    with Desk(tmp_path / "state", answers=answers) as desk:
        assert json.loads(desk.text(structured("This is ticket 7.", system="policy"))) == good
        assert json.loads(desk.text(structured("ticket 7", model="claude-sonnet-4-6")))["reason"] == "sonnet"
        assert desk.message(params("ticket 7", **tool))["content"][0]["input"] == good
        assert desk.text(params("tx")) == "as it is"
        assert desk.text(structured("tx")) == "as it is"
        assert json.loads(desk.text(structured("nothing known", system="policy")))["reason"] == "system"
        retry = [
            {"role": "user", "content": "ticket 7"},
            {"role": "assistant", "content": "policy"},
            {"role": "user", "content": "That was not JSON."},
        ]
        assert json.loads(desk.text(structured(messages=retry))) == good


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "not JSON"),
        ("[]", "expected an object"),
        ('{"match": "x"}', "'output' must be"),
        ('{"match": 1, "output": {}}', "'match' must be"),
        ('{"match": "x", "output": 5}', "'output' must be"),
        ('{"match": "x", "output": {}, "modle": "y"}', "unknown key 'modle'"),
        ('{"match": "x", "output": {}, "model": "claude-9"}', "unknown model 'claude-9'"),
    ],
)
def test_a_bad_answer_names_file_and_line(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text('{"match": "a", "output": "b"}\n\n' + line + "\n")
    with pytest.raises(EmulatorError, match=f"answers.jsonl:3: {words}"):
        Emulator(tmp_path / "state", answers=path).start()
    with pytest.raises(EmulatorError, match=r"none\.jsonl"):
        Emulator(tmp_path / "state", answers=tmp_path / "none.jsonl").start()


def test_many_answers_are_found_quickly(tmp_path: Path) -> None:
    answers = write_answers(
        tmp_path / "answers.jsonl",
        *[{"match": f"Ticket number {place}:", "output": {"n": place}} for place in range(10_000)],
    )
    wanted = [params(f"Ticket number {place * 3}: " + "It does not work. " * 50) for place in range(3000)]
    with Desk(tmp_path / "state", answers=answers) as desk:
        started = time.process_time()
        results = desk.results(*wanted)
        assert time.process_time() - started < 5
    for place, result in enumerate(results):
        assert json.loads(result["message"]["content"][0]["text"]) == {"n": place * 3}


def scalar() -> st.SearchStrategy[dict[str, Any]]:
    low, high = st.integers(-50, 50), st.integers(60, 200)
    return st.one_of(
        st.just({"type": "boolean"}),
        st.just({"type": "null"}),
        st.sampled_from([{"type": "string", "format": name} for name in ("date", "uuid", "ipv4", "email")]),
        st.builds(lambda a, b: {"type": "string", "minLength": a % 20, "maxLength": b}, low, high),
        st.builds(lambda a, b: {"type": "integer", "minimum": a, "maximum": b}, low, high),
        st.builds(lambda a, b: {"type": "integer", "exclusiveMinimum": a, "multipleOf": 1 + b % 7}, low, high),
        st.builds(lambda a, b: {"type": "number", "minimum": a, "exclusiveMaximum": b}, low, high),
        st.builds(lambda b: {"type": ["integer", "null"], "maximum": b}, high),
        st.builds(lambda values: {"enum": values}, st.lists(st.integers() | st.text(), min_size=1)),
    )


def deeper(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    properties = st.dictionaries(st.text("abcde", min_size=1, max_size=3), inner, max_size=4)
    return st.one_of(
        st.builds(
            lambda found, count: {
                "type": "object",
                "properties": found,
                "required": sorted(found)[:count],
                "additionalProperties": False,
            },
            properties,
            st.integers(0, 4),
        ),
        st.builds(lambda item, least: {"type": "array", "items": item, "minItems": least}, inner, st.integers(0, 4)),
        st.builds(lambda branches: {"anyOf": branches}, st.lists(inner, min_size=1, max_size=3)),
    )


@settings(max_examples=150, deadline=None)
@given(st.recursive(scalar(), deeper, max_leaves=8), st.integers(0, 2**64))
def test_values_satisfy_any_schema(schema: dict[str, Any], seed: int) -> None:
    value = compile_schema(schema)(Draw(seed))
    assert jsonschema_rs.validator_for(schema, validate_formats=True).is_valid(value), (schema, value)


def test_a_schema_that_contains_itself_comes_to_an_end() -> None:
    tree = {
        "$ref": "#/$defs/tree",
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
                "required": ["children"],
            }
        },
    }
    for seed in range(20):
        compile_schema(tree)(Draw(seed))


@pytest.mark.parametrize(
    "pattern",
    [
        "^[a-z]+$",
        r"\d{4}-\d{2}",
        "^(GB|FR)[0-9A-F]{2,}$",
        "a?b*c+",
        "[^a-y]",
        r"^\w+\.\w+$",
        "^v(?:[1-9]|1[0-9])$",
    ],
)
def test_strings_for_patterns(pattern: str) -> None:
    import re

    for seed in range(30):
        made = string_matching(pattern, Draw(seed * 7919).below)
        assert made is not None
        assert re.search(pattern, made)


@pytest.mark.parametrize("pattern", ["(?=a)b", r"(a)\1", "[", "(", "*"])
def test_patterns_beyond_it(pattern: str) -> None:
    assert string_matching(pattern, Draw(1).below) is None
