"""Tests of the pure half of the OpenAI protocol: bodies, schemas, lint, models. The SDK's types are an oracle."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import TypeAdapter

from batchpipe.providers import Message, RungSettings
from batchpipe.providers.openai import RULES, rules
from batchpipe.providers.openai.lint import EFFORTS, REFUSED, SETTINGS
from batchpipe.providers.openai.models import find_model, listed_models, model_data

CHAT = "/v1/chat/completions"
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
SYSTEM = "You label. " * 500
ORACLES = {
    None: TypeAdapter[Any](ResponseCreateParamsNonStreaming),
    CHAT: TypeAdapter[Any](CompletionCreateParamsNonStreaming),
}


def body(
    endpoint: str | None = None,
    message: Message | None = None,
    model: str = "gpt-6-luna",
    output_format: str = "json_schema",
    cache: Any = None,
    head: str = "",
    **settings: Any,
) -> dict[str, Any]:
    rung = RungSettings(model=model, max_tokens=900, settings=settings)
    encoder = rules(endpoint).encoder(rung, output_format=output_format, sent_schema=SCHEMA, cache=cache, head=head)
    found: dict[str, Any] = json.loads(encoder(message or Message("system", "user"), max_tokens=900))
    return found


def problems(model: str = "gpt-6-luna", endpoint: str | None = None, form: str = "json_schema", **settings: Any) -> Any:
    max_tokens = settings.pop("max_tokens", 4000)
    mode = settings.pop("mode", "batch")
    rung = RungSettings(model=model, max_tokens=max_tokens, settings=settings, mode=mode)
    return [(each.level, each.key) for each in rules(endpoint).problems(rung, output_format=form, sent_schema=SCHEMA)]


@pytest.mark.parametrize("endpoint", [None, CHAT])
@pytest.mark.parametrize("output_format", ["json_schema", "tool", "json", "text"])
def test_bodies_are_those_of_the_sdk(endpoint: str | None, output_format: str) -> None:
    for cache in (None, "5m", "1h"):
        for model in ("gpt-6-luna", "gpt-5.4", "qwen3"):
            found = body(
                endpoint, Message(SYSTEM, "headuser", "again"), model, output_format, cache, "head",
                effort="low", verbosity="low", temperature=0.5, metadata={"team": "a"},
            )  # fmt: skip
            ORACLES[endpoint].validate_python(found)
            assert found.get("store", endpoint == CHAT and None) is (None if endpoint == CHAT else False)


def test_the_parts_of_a_body_of_responses() -> None:
    found = body(effort="low", reasoning={"mode": "pro"}, verbosity="high")
    assert found["model"] == "gpt-6-luna"
    assert found["max_output_tokens"] == 900
    assert found["reasoning"] == {"mode": "pro", "effort": "low"}
    assert found["input"] == [{"role": "system", "content": "system"}, {"role": "user", "content": "user"}]
    form = {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True}
    assert found["text"] == {"format": form, "verbosity": "high"}
    tool = body(output_format="tool")
    assert tool["tool_choice"] == {"type": "function", "name": "answer"}
    assert tool["tools"][0]["strict"] is True
    assert "```json" in body(output_format="json", message=Message(None, "user"))["input"][0]["content"]
    assert "text" not in body(output_format="text")
    window = body(background="8h")
    assert (window["background"], window["background_options"], window["store"]) == (
        True, {"completion_window": "8h"}, True,
    )  # fmt: skip


def test_the_limit_has_the_name_that_the_server_knows() -> None:
    assert "max_completion_tokens" in body(CHAT)
    assert "max_tokens" in body(CHAT, model="qwen3")
    known_as = RungSettings(model="my-deployment", max_tokens=5, known_as="gpt-5.4")
    encoder = rules(CHAT).encoder(known_as, output_format="text", sent_schema=None)
    assert b'"max_completion_tokens":5' in encoder(Message(None, "x"), max_tokens=5)


def test_only_what_is_marked_is_written_to_a_cache_that_costs() -> None:
    plain, marked = body(message=Message(SYSTEM, "user")), body(message=Message(SYSTEM, "user"), cache="5m")
    assert plain["prompt_cache_options"] == {"mode": "explicit"}
    assert marked["prompt_cache_options"] == {"mode": "explicit", "ttl": "30m"}
    assert body(cache="1h")["prompt_cache_options"]["ttl"] == "12h"
    assert marked["input"][0]["content"][0]["prompt_cache_breakpoint"] == {"mode": "explicit"}
    assert body(message=Message(SYSTEM, "other"), cache="5m")["prompt_cache_key"] == marked["prompt_cache_key"]
    assert body(message=Message("another", "user"), cache="5m")["prompt_cache_key"] != marked["prompt_cache_key"]
    headed = body(message=Message(SYSTEM, "head and tail", "again"), cache="5m", head="head")
    assert headed["input"][0]["content"] == SYSTEM
    assert [part["text"] for part in headed["input"][1]["content"]] == ["head", " and tail", "again"]
    assert ["prompt_cache_breakpoint" in part for part in headed["input"][1]["content"]] == [True, False, False]
    for model in ("gpt-5.5", "gpt-4.1", "qwen3"):
        assert body(model=model, cache="5m") == body(model=model)
        assert "prompt_cache_options" not in body(model=model)


def test_a_body_without_marks_says_that_nothing_is_cached() -> None:
    rung = RungSettings(model="gpt-6-sol", max_tokens=10)
    text = 'says "prompt_cache_breakpoint":{"mode":"explicit"} and ,"prompt_cache_key":"' + "0" * 32 + '"'
    message = Message(SYSTEM, text)
    for endpoint in (None, CHAT):
        marked = rules(endpoint).encoder(rung, output_format="text", sent_schema=None, cache="1h")
        found = json.loads(rules(endpoint).unmarked(marked(message, max_tokens=10)))
        assert "prompt_cache_key" not in found
        assert found["prompt_cache_options"] == {"mode": "explicit"}
        messages = found.get("input") or found["messages"]
        assert "prompt_cache_breakpoint" not in messages[0]["content"][0]
        assert messages[1]["content"] == text


def test_an_input_file_has_a_line_for_each_request() -> None:
    for endpoint in (None, CHAT):
        lines = rules(endpoint).assemble([("a-1", b'{"model":"m"}'), ("b_2", b"{}")]).splitlines()
        url = endpoint or "/v1/responses"
        assert json.loads(lines[0]) == {"custom_id": "a-1", "method": "POST", "url": url, "body": {"model": "m"}}
        assert len(lines) == 2
    assert RULES.limits.create == "label"
    assert RULES.limits.queued == "input_tokens"
    assert RULES.limits.max_requests == 50_000


def test_a_half_of_a_surrogate_pair_is_replaced() -> None:
    assert body(message=Message("s\ud800", "u\udfff"))["input"][1]["content"] == "u\ufffd"


def test_optional_fields_become_nullable() -> None:
    full = {
        "type": "object",
        "properties": {
            "plain": {"type": "string", "minLength": 3, "default": "x"},
            "level": {"type": "string", "enum": ["a", "b"]},
            "kind": {"const": "k"},
            "inner": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}},
            "refers": {"$ref": "#/$defs/d"},
            "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            "null_already": {"type": ["string", "null"]},
            "needed": {"type": "array", "items": {"type": "string"}, "uniqueItems": True, "maxItems": 4},
        },
        "required": ["needed"],
        "$defs": {"d": {"type": "string", "format": "uri"}},
    }
    sent = RULES.schema(full)
    assert sent.problems == ()
    assert sent.nulls_are_absent
    properties = sent.schema["properties"]
    assert sent.schema["required"] == list(full["properties"])
    assert sent.schema["additionalProperties"] is False
    assert properties["plain"] == {"type": ["string", "null"]}
    assert properties["level"] == {"type": ["string", "null"], "enum": ["a", "b", None]}
    assert properties["kind"] == {"anyOf": [{"const": "k"}, {"type": "null"}]}
    assert properties["inner"]["anyOf"][0]["properties"]["n"] == {"type": ["integer", "null"], "minimum": 1}
    assert properties["refers"] == {"anyOf": [{"$ref": "#/$defs/d"}, {"type": "null"}]}
    assert properties["either"]["anyOf"][-1] == {"type": "null"}
    assert properties["null_already"] == {"type": ["string", "null"]}
    assert properties["needed"] == {"type": "array", "items": {"type": "string"}, "maxItems": 4}
    assert sent.schema["$defs"] == {"d": {"type": "string"}}
    assert not RULES.schema(SCHEMA).nulls_are_absent
    assert RULES.schema(sent.schema).schema == sent.schema


NESTED: Any = {"type": "string"}
for _ in range(11):
    NESTED = {"type": "object", "properties": {"a": NESTED}}


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"type": "string"}, "$"),
        ({"anyOf": [{"type": "object", "properties": {}}]}, "$"),
        ({"type": "object", "properties": {"a": {"oneOf": []}}}, "$.properties.a.oneOf"),
        ({"type": "object", "properties": {"a": {"allOf": [{"type": "string"}]}}}, "$.properties.a.allOf"),
        ({"type": "object", "properties": {"a": {"type": "object"}}}, "$.properties.a"),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}}, "$.properties.a.$ref"),
        ({"type": "object", "properties": {"a": {"$ref": "other.json"}}}, "$.properties.a.$ref"),
        ({"type": "object", "properties": {"a": {"enum": [{"x": 1}]}}}, "$.properties.a"),
        ({"type": "object", "properties": {"a": {"enum": [f"{each:060}" for each in range(300)]}}}, "$.properties.a"),
        (NESTED, "$"),
        ({"type": "object", "properties": {f"p{each}": {"type": "string"} for each in range(5001)}}, "$"),
        (
            {
                "type": "object",
                "properties": {
                    "a": {
                        "anyOf": [
                            {"type": "object", "properties": {"k": {}}},
                            {"type": "object", "properties": {"k": {}}},
                        ]
                    }
                },
            },
            "$.properties.a.anyOf",
        ),
    ],
)
def test_what_a_strict_schema_cannot_say_is_a_problem(schema: dict[str, Any], path: str) -> None:
    assert path in [each[0] for each in RULES.schema(schema).problems]


def test_models_take_what_the_facts_say() -> None:
    assert problems() == []
    assert problems("gpt-6-luna", effort="none", temperature=0.2) == []
    assert problems("gpt-6-luna", temperature=0.2) == [("error", "temperature")]
    assert problems("gpt-5.4", temperature=0.2) == []
    assert problems("gpt-4.1", temperature=0.2) == [("warning", "model")]
    assert problems("gpt-4.1", effort="low")[-1] == ("error", "effort")
    for model in ("gpt-6-astra", "gpt-6.2-astra", "gpt-6.1-sol", "gpt-5.5-pro"):
        assert problems(model, effort="none") == [("error", "effort")]
    assert problems("gpt-5.6-sol", effort="max") == [("error", "effort")]
    assert problems("gpt-6.2-sol", effort="max") == []
    assert problems("gpt-6-luna", max_tokens=200_000) == [("error", "max_tokens")]
    assert problems("gpt-6-luna", max_tokens=300) == [("warning", "max_tokens")]
    assert problems("gpt-6-luna", max_tokens=300, effort="none") == []
    assert problems("gpt-5") == [("warning", "model")]
    assert problems("gpt-7") == [("warning", "model")]
    assert problems("gpt-5.5-2026-04-23") == []
    assert problems("ft:gpt-4.1:acme::1", effort="low")[-1] == ("error", "effort")
    assert problems("gpt-5.5-pro", CHAT) == [("error", "model")]
    assert problems("gpt-6-astra", CHAT, "tool") == [("error", "model")]
    assert problems("gpt-6-luna", CHAT, "tool") == [("error", "model")]
    assert problems("gpt-6-luna", CHAT, "tool", effort="none") == []
    assert problems("gpt-6-luna", service_tier="flex") == [("error", "service_tier")]
    assert problems("gpt-6-luna", mode="realtime", service_tier="flex") == []
    assert problems("gpt-6-luna", mode="realtime", background="2h", service_tier="flex") == [("error", "service_tier")]
    assert problems("gpt-6-luna", seed=1) == [("error", "seed")]
    assert problems("gpt-5.4", CHAT, seed=1) == []
    assert problems("gpt-6-luna", prompt_cache_retention="24h") == [("error", "prompt_cache_retention")]


def test_speeds_have_factors_on_the_realtime_price() -> None:
    for settings, factor in (
        ({}, "1"),
        ({"service_tier": "flex"}, "0.5"),
        ({"service_tier": "priority"}, "2"),
        ({"background": "2h"}, "0.7"),
        ({"background": "8h"}, "0.6"),
    ):
        rung = RungSettings(model="gpt-6-luna", max_tokens=9, settings=settings, mode="realtime")
        assert RULES.price_factor(rung) == Decimal(factor)
        assert RULES.price_factor(replace(rung, mode="batch")) == 1
    dear = RungSettings(model="gpt-5.5", max_tokens=9, settings={"service_tier": "fast"}, mode="realtime")
    assert RULES.price_factor(dear) == Decimal("2.5")


def test_settings_are_known_or_refused_with_what_to_write() -> None:
    assert set(SETTINGS).isdisjoint(REFUSED)
    for key in (*REFUSED, "no_such_key"):
        given: dict[str, Any] = {key: 1}
        assert ("error", key) in problems(**given)
    for accepts, words, _ in SETTINGS.values():
        assert not accepts(object())
        assert words
    assert all(SETTINGS["effort"][0](each) for each in EFFORTS)


def test_the_list_of_models_is_that_of_the_facts() -> None:
    assert {"gpt-6.2-astra", "gpt-6.1-terra", "gpt-6-luna", "gpt-5.6-luna", "gpt-5.5", "gpt-5.4-nano"} <= set(
        listed_models()
    )
    assert find_model("gpt-6-luna").context == 1_050_000
    # Rows above these go up a rung, or are told to be too long.
    most_input = {"gpt-6-luna": 922_000, "gpt-5.6-sol": 922_000, "gpt-5.5": 1_050_000, "gpt-5.4-mini": 272_000}
    assert {name: RULES.context_tokens(name) for name in most_input} == most_input
    assert find_model("gpt-5.4-mini").max_output == 128_000
    assert RULES.cached_from_tokens("gpt-6-luna") == 1_024
    assert [
        name for name in listed_models() if find_model(name).paid_writes and re.match("gpt-5\\.[0-5]|gpt-4|o", name)
    ] == []
    assert set(model_data()["retires"]) <= set(listed_models())
