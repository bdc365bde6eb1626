"""Tests of what is sent: params that fit the SDK's types, formats, headers, and the body of a batch."""

from __future__ import annotations

import json
import warnings
from typing import Any, get_type_hints

import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from pydantic import TypeAdapter

from batchpipe.providers import Message, RungSettings
from batchpipe.providers.anthropic import RULES
from batchpipe.providers.anthropic.models import listed_models

SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": ["bug", "billing"]}, "why": {"type": "string"}},
    "required": ["label", "why"],
    "additionalProperties": False,
}
FORMATS = ("json_schema", "tool", "json", "text")
MESSAGE = Message(system="Be brief.", user="A ticket: é \U0001f600")


def rung(model: str = "claude-haiku-4-5", max_tokens: int = 2000, **settings: Any) -> RungSettings:
    return RungSettings(model=model, max_tokens=max_tokens, settings=settings)


def encoded(settings: RungSettings, output_format: str = "json_schema", message: Message = MESSAGE) -> dict[str, Any]:
    schema = None if output_format == "text" else SCHEMA
    encoder = RULES.encoder(settings, output_format=output_format, sent_schema=schema)
    params: dict[str, Any] = json.loads(encoder(message, max_tokens=settings.max_tokens))
    return params


def settings_for(model: str) -> dict[str, Any]:
    """Return every setting that the model takes."""
    asked: dict[str, Any] = {
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u"},
        "inference_geo": "us",
        "effort": "low",
        "temperature": 0.5,
        "thinking": {"type": "adaptive"},
        "service_tier": "auto",
    }
    found = RULES.problems(rung(model, **asked), output_format="text", sent_schema=None)
    refused = {each.key for each in found if each.level == "error"}
    return {key: value for key, value in asked.items() if key not in refused}


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("model", listed_models())
def test_params_are_what_the_sdk_knows(model: str, output_format: str) -> None:
    settings = settings_for(model)
    params = encoded(rung(model, **settings), output_format)
    sampling = {key: params.pop(key) for key in ("temperature",) if key in params}
    assert sampling == {key: value for key, value in settings.items() if key == "temperature"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        TypeAdapter(MessageCreateParamsNonStreaming).validate_python(params)
    assert set(params) <= set(get_type_hints(MessageCreateParamsNonStreaming))
    assert params["model"] == model
    assert params["max_tokens"] == 2000


def test_structured_outputs_send_the_schema_beside_the_effort() -> None:
    params = encoded(rung("claude-sonnet-4-6", effort="medium"))
    assert params["output_config"] == {
        "effort": "medium",
        "format": {"type": "json_schema", "schema": SCHEMA},
    }
    assert params["system"] == "Be brief."
    assert params["messages"] == [{"role": "user", "content": "A ticket: é \U0001f600"}]
    assert list(params["output_config"]["format"]["schema"]["properties"]) == ["label", "why"]


def test_the_tool_format_forces_one_strict_tool() -> None:
    params = encoded(rung(), "tool")
    (tool,) = params["tools"]
    assert (tool["name"], tool["input_schema"], tool["strict"]) == ("answer", SCHEMA, True)
    assert params["tool_choice"] == {"type": "tool", "name": "answer"}
    assert "output_config" not in params


def test_the_json_format_shows_the_schema_in_the_system_prompt() -> None:
    params = encoded(rung(), "json")
    own, instruction = params["system"]
    assert own == {"type": "text", "text": "Be brief."}
    assert instruction["text"] == RULES.visible_schema(output_format="json", sent_schema=SCHEMA)
    fenced = instruction["text"].partition("```json\n")[2].removesuffix("\n```")
    assert json.loads(fenced) == SCHEMA
    alone = encoded(rung(), "json", Message(system=None, user="x"))
    assert alone["system"] == [instruction]


def test_the_text_format_sends_no_schema() -> None:
    params = encoded(rung(), "text")
    assert set(params) == {"model", "max_tokens", "system", "messages"}
    assert RULES.visible_schema(output_format="text", sent_schema=SCHEMA) == ""


def test_the_visible_schema_tells_formats_and_order_apart() -> None:
    turned = {**SCHEMA, "properties": dict(reversed(SCHEMA["properties"].items()))}  # type: ignore[attr-defined]
    shown = {
        RULES.visible_schema(output_format=output_format, sent_schema=schema)
        for output_format in ("json_schema", "tool", "json")
        for schema in (SCHEMA, turned)
    }
    assert len(shown) == 6


def test_feedback_is_a_second_block_of_the_user_message() -> None:
    params = encoded(rung(), message=Message(system=None, user="x", feedback="No: 'label' is missing."))
    assert params["messages"][0]["content"] == [
        {"type": "text", "text": "x"},
        {"type": "text", "text": "No: 'label' is missing."},
    ]


@pytest.mark.parametrize("system", [None, "", " \n"])
def test_a_blank_system_prompt_is_left_out(system: str | None) -> None:
    assert "system" not in encoded(rung(), message=Message(system=system, user="x"))


def test_system_prompts_follow_their_rows() -> None:
    encoder = RULES.encoder(rung(), output_format="text", sent_schema=None)
    systems = ["a", "a", "b", None, "b"]
    params = [json.loads(encoder(Message(system=each, user="x"), max_tokens=5)) for each in systems]
    assert [each.get("system") for each in params] == systems


def test_half_a_surrogate_pair_is_replaced() -> None:
    params = encoded(rung(), "text", Message(system=None, user="a\ud83db", feedback="\ud83d\ude00"))
    assert [each["text"] for each in params["messages"][0]["content"]] == ["a�b", "\U0001f600"]


def test_thinking_may_be_named_by_its_type() -> None:
    assert encoded(rung("claude-sonnet-5", thinking="disabled"))["thinking"] == {"type": "disabled"}
    table = {"type": "enabled", "budget_tokens": 1024}
    assert encoded(rung(thinking=table))["thinking"] == table


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        (rung(), {"anthropic-version": "2026-10-21"}),
        (rung(temperature=0), {"anthropic-version": "2023-06-01"}),
        (rung("claude-new-9", top_k=5), {"anthropic-version": "2023-06-01"}),
        (rung(betas=["a-1", "b-2"]), {"anthropic-version": "2026-10-21", "anthropic-beta": "a-1,b-2"}),
        (
            rung("claude-opus-4-8", max_tokens=200_000),
            {"anthropic-version": "2026-10-21", "anthropic-beta": "output-300k-2026-03-24"},
        ),
        (rung("claude-opus-4-8", max_tokens=128_000), {"anthropic-version": "2026-10-21"}),
        (rung("claude-fable-5", max_tokens=200_000), {"anthropic-version": "2026-10-21"}),
    ],
)
def test_headers_of_a_batch(settings: RungSettings, headers: dict[str, str]) -> None:
    assert RULES.batch_headers(settings) == headers


def test_headers_are_no_part_of_the_params() -> None:
    assert "betas" not in encoded(rung(betas=["a-1"]))


def test_a_batch_is_its_requests() -> None:
    body = RULES.assemble([("a-1", b'{"model":"m"}'), ("a-2", b'{"x":[1]}')])
    assert json.loads(body) == {
        "requests": [
            {"custom_id": "a-1", "params": {"model": "m"}},
            {"custom_id": "a-2", "params": {"x": [1]}},
        ]
    }


def test_limits_leave_slack_below_the_published_ones() -> None:
    limits = RULES.limits
    assert limits.max_requests == 100_000
    assert limits.max_bytes < 256_000_000
    assert limits.results_seconds == 29 * 86_400
    assert RULES.max_output_tokens("claude-haiku-4-5-20251001") == 64_000
    assert RULES.max_output_tokens("claude-new-9") is None
    assert RULES.price_factor(rung("claude-opus-4-6", inference_geo="us")) * 10 == 11
    assert RULES.price_factor(rung("claude-opus-4-6", inference_geo="global")) == 1


def test_a_marked_prompt_is_the_same_prompt_with_a_mark_on_its_end() -> None:
    for output_format in ("json_schema", "json", "tool", "text"):
        settings = RungSettings(model="claude-haiku-4-5", max_tokens=100)
        closed = {"type": "object", "properties": {}, "additionalProperties": False}
        schema = None if output_format == "text" else closed
        message = Message(system="Be brief.", user="hello")
        marked = RULES.encoder(settings, output_format=output_format, sent_schema=schema, cache="1h")
        found = json.loads(marked(message, max_tokens=100))["system"]
        assert found[-1].pop("cache_control") == {"type": "ephemeral", "ttl": "1h"}
        plain = RULES.encoder(settings, output_format=output_format, sent_schema=schema)
        system = json.loads(plain(message, max_tokens=100))["system"]
        assert found == (system if isinstance(system, list) else [{"type": "text", "text": system}])
