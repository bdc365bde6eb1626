"""Tests of what is sent to Gemini: requests, schemas, and what a rung may ask for."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from batchpipe.providers import Message, RungSettings
from batchpipe.providers.gemini import RULES
from batchpipe.providers.gemini.encoding import NoModelError, split_model
from batchpipe.providers.gemini.lint import SETTINGS

SCHEMA = {"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"]}
VALUES: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 40,
    "effort": "low",
    "thinking_budget": 512,
    "stop_sequences": ["END"],
    "seed": 7,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.2,
    "media_resolution": "low",
    "safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}],
    "service_tier": "flex",
}


def rung(model: str = "gemini-3.8-flash", max_tokens: int = 2_000, **settings: Any) -> RungSettings:
    return RungSettings(model=model, max_tokens=max_tokens, settings=settings)


def encoded(output_format: str = "json_schema", message: Message | None = None, **settings: Any) -> dict[str, Any]:
    """Return the request of one message, as the line of a batch has it."""
    schema = None if output_format == "text" else SCHEMA
    encoder = RULES.encoder(rung(**settings), output_format=output_format, sent_schema=schema, cache="1h", head="He")
    params = encoder(message or Message("You sort.", "Hello"), max_tokens=300)
    (line,) = RULES.assemble([("key-1", RULES.unmarked(params))]).splitlines()
    found = json.loads(line)
    assert (found["key"], set(found)) == ("key-1", {"key", "request"})
    assert "model" not in found["request"]
    assert split_model(params)[0] == "gemini-3.8-flash"
    return dict(found["request"])


def test_a_request_in_each_format() -> None:
    request = encoded()
    assert request == {
        "generationConfig": {
            "responseMimeType": "application/json",
            "responseJsonSchema": SCHEMA,
            "maxOutputTokens": 300,
        },
        "systemInstruction": {"parts": [{"text": "You sort."}]},
        "contents": [{"role": "user", "parts": [{"text": "Hello"}]}],
    }
    forced = encoded("tool")
    (tool,) = forced["tools"][0]["functionDeclarations"]
    assert tool["parametersJsonSchema"] == SCHEMA
    assert forced["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"] == [tool["name"]]
    assert forced["generationConfig"] == {"maxOutputTokens": 300}
    asked = encoded("json")
    assert "JSON Schema" in asked["systemInstruction"]["parts"][1]["text"]
    assert encoded("text", Message(None, "Hi", feedback="No.")) == {
        "generationConfig": {"maxOutputTokens": 300},
        "contents": [{"role": "user", "parts": [{"text": "Hi"}, {"text": "No."}]}],
    }
    assert "systemInstruction" not in encoded("text", Message(" \n", "Hi"))


def test_every_setting_is_sent_under_the_name_of_the_api() -> None:
    assert set(VALUES) == set(SETTINGS)
    request = encoded("text", **VALUES)
    assert request["generationConfig"] == {
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 40,
        "stopSequences": ["END"],
        "seed": 7,
        "presencePenalty": 0.1,
        "frequencyPenalty": 0.2,
        "mediaResolution": "MEDIA_RESOLUTION_LOW",
        "thinkingConfig": {"thinkingLevel": "LOW", "thinkingBudget": 512},
        "maxOutputTokens": 300,
    }
    assert (request["serviceTier"], request["safetySettings"]) == ("flex", VALUES["safety_settings"])


def test_the_tiers_of_realtime_calls_have_their_factors() -> None:
    factors = {}
    for mode in ("batch", "realtime"):
        for tier in ("flex", "standard", "priority"):
            asked = replace(rung(service_tier=tier), mode=mode)
            factors[mode, tier] = str(RULES.price_factor(asked))
    assert factors == {
        ("batch", "flex"): "1",
        ("batch", "standard"): "1",
        ("batch", "priority"): "1",
        ("realtime", "flex"): "0.5",
        ("realtime", "standard"): "1",
        ("realtime", "priority"): "1.8",
    }


def test_a_tier_is_for_realtime_calls() -> None:
    found = {}
    for mode in ("batch", "realtime"):
        for tier in ("flex", "standard", "priority"):
            asked = replace(rung(service_tier=tier), mode=mode)
            found[mode, tier] = [
                each.key for each in RULES.problems(asked, output_format="json_schema", sent_schema=SCHEMA)
            ]
    assert [each for each, keys in found.items() if keys] == [("batch", "flex"), ("batch", "priority")]


def test_texts_that_json_cannot_hold_and_models_that_a_path_cannot() -> None:
    odd = 'half \ud800 of a pair, "quotes", \x00 and \u2028'
    request = encoded("text", Message(odd, odd))
    assert request["contents"][0]["parts"][0]["text"] == odd.replace("\ud800", "\ufffd")
    encoder = RULES.encoder(rung('a","b'), output_format="text", sent_schema=None)
    assert split_model(encoder(Message(None, "Hi"), max_tokens=1))[0] == 'a","b'
    with pytest.raises(NoModelError):
        split_model(b'{"contents":[]}')


def sent(full: dict[str, Any]) -> dict[str, Any]:
    found = RULES.schema(full)
    assert not found.problems, found.problems
    assert not found.nulls_are_absent
    return dict(found.schema)


SCHEMAS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    # Keywords that are not accepted are left out; an object is closed; bounds that are accepted stay.
    (
        {"type": "string", "pattern": "a+", "minLength": 2, "description": "d", "default": "x", "format": "email"},
        {"type": "string", "description": "d"},
    ),
    ({"type": "number", "minimum": 0, "exclusiveMaximum": 1, "multipleOf": 2}, {"type": "number", "minimum": 0}),
    ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
    (
        {"type": "array", "items": {"type": "string", "maxLength": 3}, "minItems": 2, "uniqueItems": True},
        {"type": "array", "items": {"type": "string"}, "minItems": 2},
    ),
    # Values: null becomes a type, a constant an enum; booleans leave their type alone.
    ({"enum": ["a", "b", None]}, {"type": ["string", "null"], "enum": ["a", "b"]}),
    ({"type": ["string", "null"], "enum": ["a", None]}, {"type": ["string", "null"], "enum": ["a"]}),
    ({"const": "a"}, {"type": "string", "enum": ["a"]}),
    ({"const": True}, {"type": "boolean"}),
    ({"const": None}, {"type": "null"}),
    ({"enum": [1, 2.5]}, {"type": "number", "enum": [1, 2.5]}),
    # Several types are branches; each keeps the words that are its own.
    (
        {"type": ["string", "integer", "null"], "minimum": 3, "format": "date", "description": "d"},
        {
            "description": "d",
            "anyOf": [{"type": "string", "format": "date"}, {"type": "integer", "minimum": 3}, {"type": "null"}],
        },
    ),
    (
        {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "integer"}},
        {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "integer"}},
    ),
]


@pytest.mark.parametrize(("full", "expected"), SCHEMAS)
def test_the_schema_that_is_sent(full: dict[str, Any], expected: dict[str, Any]) -> None:
    assert sent(full) == expected


def test_a_reference_has_nothing_beside_it_and_definitions_have_one_place() -> None:
    full = {
        "type": "object",
        "properties": {
            "plain": {"$ref": "#/definitions/kind"},
            "said": {"$ref": "#/definitions/kind", "description": "What kind"},
            "next": {"$ref": "#"},
        },
        "required": ["plain"],
        "definitions": {"kind": {"type": "string", "enum": ["a"], "pattern": "a"}},
    }
    assert sent(full) == {
        "type": "object",
        "properties": {
            "plain": {"$ref": "#/$defs/kind"},
            "said": {"type": "string", "enum": ["a"], "description": "What kind"},
            "next": {"$ref": "#"},
        },
        "required": ["plain"],
        "$defs": {"kind": {"type": "string", "enum": ["a"]}},
        "additionalProperties": False,
    }


PROBLEMS: list[tuple[dict[str, Any], str]] = [
    ({"allOf": [SCHEMA]}, "$.allOf"),
    ({"type": "object", "properties": {"a": {"not": {"type": "null"}}}}, "$.properties.a.not"),
    ({"type": "object"}, "$"),
    ({"type": "array", "items": {"enum": ["a", 1]}}, "$.items"),
    ({"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}}, "$.properties.a.$ref"),
    ({"type": "object", "properties": {"a": {"$ref": "other.json"}}}, "$.properties.a.$ref"),
    # A schema that contains itself does so in a property that is not required; null beside it is not enough.
    (
        {
            "type": "object",
            "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
            "required": ["next"],
        },
        "#.properties.next.anyOf[0].$ref",
    ),
    (
        {
            "type": "object",
            "properties": {"tree": {"$ref": "#/$defs/node"}},
            "$defs": {"node": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
        },
        "#/$defs/node.items.$ref",
    ),
]


@pytest.mark.parametrize(("full", "place"), PROBLEMS)
def test_what_a_schema_cannot_say(full: dict[str, Any], place: str) -> None:
    assert place in [path for path, _, _ in RULES.schema(full).problems]


LINT: list[tuple[RungSettings, dict[str, str]]] = [
    (rung(), {}),
    (rung(effort="low"), {}),
    (rung("gemini-2.5-flash-lite", thinking_budget=0), {}),
    (rung("models/gemini-3.8-flash", effort="low"), {}),
    (rung("claude-haiku-4-5"), {"model": "error"}),
    (rung("gemini-3.8 flash"), {"model": "error"}),
    (rung("gemini-9-new"), {"model": "warning"}),
    (rung("gemini-2.5-flash"), {"model": "warning"}),
    (rung("gemini-2.5-pro-preview-06-05"), {"model": "warning"}),
    (rung(max_tokens=65_537), {"max_tokens": "error"}),
    (rung(max_tokens=200), {"max_tokens": "warning"}),
    (rung(max_tokens=200, effort="low"), {}),
    (rung("gemini-3.5-flash-lite", max_tokens=200), {}),
    (rung(effort="minimal"), {"effort": "error"}),
    (rung(effort="max"), {"effort": "error"}),
    (rung("gemini-4-argon", thinking_budget=100), {"thinking_budget": "error"}),
    (rung("gemini-4-argon", temperature=0), {"temperature": "warning"}),
    (rung("gemini-2.5-pro", thinking_budget=0), {"model": "warning", "thinking_budget": "error"}),
    (rung("gemini-2.5-pro", effort="low"), {"model": "warning", "effort": "error"}),
    (rung("gemini-2.5-flash-lite", thinking_budget=500_000), {"max_tokens": "error", "thinking_budget": "error"}),
    (rung("gemini-3.1-flash-lite", effort="low", thinking_budget=5), {"model": "warning", "thinking_budget": "error"}),
    (rung(topP=0.5), {"topP": "error"}),
    (rung(maxOutputTokens=5), {"maxOutputTokens": "error"}),
    (rung(cached_content="cachedContents/1"), {"cached_content": "error"}),
    (rung(temperature=3), {"temperature": "error"}),
    (rung(stop_sequences=["a"] * 6), {"stop_sequences": "error"}),
    (rung(safety_settings=[{"category": "HARM_CATEGORY_X", "threshold": "NONE"}]), {"safety_settings": "error"}),
]


@pytest.mark.parametrize(("asked", "expected"), LINT)
def test_what_a_rung_may_ask_for(asked: RungSettings, expected: dict[str, str]) -> None:
    found = RULES.problems(asked, output_format="json_schema", sent_schema=SCHEMA)
    assert {each.key: each.level for each in found} == expected
    assert all(each.hint for each in found)
