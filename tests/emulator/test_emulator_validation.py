"""Tests of what the emulated service refuses in `params`, with errored lines after the batch has ended."""

from typing import Any

import pytest
from helpers.emulator_desk import SCHEMA, Desk, desk, params, request, structured
from hypothesis import given, settings
from hypothesis import strategies as st

from batchpipe.emulator.answering.outcomes import Outcomes
from batchpipe.emulator.answering.promptcache import PromptCache
from batchpipe.emulator.anthropic.answering import Answerer
from batchpipe.emulator.anthropic.params import Call

__all__ = ["desk"]
OLD = {"anthropic-version": "2023-06-01"}
TOOL = {"name": "answer", "input_schema": SCHEMA}
FORCED: dict[str, Any] = {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "answer"}}


def closed(
    properties: dict[str, Any], required: list[str] | None = None, definitions: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
        "additionalProperties": False,
        **({} if definitions is None else {"$defs": definitions}),
    }


def field(**schema: Any) -> dict[str, Any]:
    return closed({"x": schema})


TEXT = {"type": "string"}
RECURSIVE = closed(
    {"node": {"$ref": "#/$defs/node"}},
    definitions={"node": closed({"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}})},
)

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("unknown key", params(extra_body={}), "extra_body: Extra inputs are not permitted"),
    ("temperature", params(temperature=1.0), "temperature: Extra inputs are not permitted"),
    ("top_k", params(top_k=5), "top_k: Extra inputs are not permitted"),
    ("fallbacks", params(fallbacks=[]), "fallbacks: Extra inputs are not permitted"),
    ("speed", params(speed="fast"), "speed: Extra inputs are not permitted"),
    ("store", params(store=True), "store: Extra inputs are not permitted"),
    ("stream", params(stream=True), "stream: "),
    ("no model", params(model=None), "model: Field required"),
    ("no max_tokens", params(max_tokens=None), "max_tokens: Field required"),
    ("no messages", params(messages=None), "messages: Field required"),
    ("max_tokens text", params(max_tokens="100"), "max_tokens: Input should be a valid integer"),
    ("max_tokens 0", params(max_tokens=0), "max_tokens: Input should be greater than or equal to 1"),
    ("max_tokens cap", params(max_tokens=64_001), "max_tokens: 64001 > 64000"),
    (
        "300k without beta",
        params(model="claude-sonnet-4-6", max_tokens=300_000),
        "max_tokens: 300000 > 128000",
    ),
    ("no message", params(messages=[]), "messages: at least one message is required"),
    ("messages text", params(messages="hi"), "messages: Input should be a valid list"),
    ("empty text", params(""), "messages.0: user messages must have non-empty content"),
    ("blank text", params(" \n"), "messages: text content blocks must contain non-whitespace text"),
    (
        "empty block",
        params(messages=[{"role": "user", "content": [{"type": "text", "text": ""}]}]),
        "messages: text content blocks must be non-empty",
    ),
    ("role", params(messages=[{"role": "tool", "content": "x"}]), "messages.0.role: Input should be"),
    (
        "message key",
        params(messages=[{"role": "user", "content": "x", "name": "y"}]),
        "messages.0.name: Extra inputs are not permitted",
    ),
    (
        "block type",
        params(messages=[{"role": "user", "content": [{"type": "video"}]}]),
        "messages.0.content.0: Input tag 'video'",
    ),
    (
        "image without source",
        params(messages=[{"role": "user", "content": [{"type": "image"}]}]),
        "messages.0.content.0.image.source: Field required",
    ),
    ("system number", params(system=7), "system: Input should be a valid string or list"),
    ("metadata key", params(metadata={"run": "1"}), "metadata.run: Extra inputs are not permitted"),
    ("service_tier", params(service_tier="batch"), "service_tier: Input should be"),
    ("stop_sequences", params(stop_sequences="x"), "stop_sequences: Input should be"),
    (
        "cache ttl",
        params(system=[{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "2h"}}]),
        "system.0.text.cache_control.ephemeral.ttl: Input should be '5m' or '1h'",
    ),
    (
        "five cache marks",
        params(system=[{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}] * 5),
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    ("inference_geo", params(inference_geo="us"), "inference_geo: "),
    ("effort on haiku", params(output_config={"effort": "low"}), "output_config.effort: This model does not"),
    (
        "effort on sonnet 4.5",
        params(model="claude-sonnet-4-5", output_config={"effort": "low"}),
        "output_config.effort: This model does not",
    ),
    (
        "effort level",
        params(model="claude-opus-4-8", output_config={"effort": "most"}),
        "output_config.effort: Input should be one of",
    ),
    (
        "format key",
        params(output_config={"schema": {}}),
        "output_config.schema: Extra inputs are not permitted",
    ),
    (
        "prefill",
        params(
            model="claude-sonnet-4-6",
            messages=[{"role": "user", "content": "x"}, {"role": "assistant", "content": "{"}],
        ),
        "This model does not support assistant message prefill",
    ),
    (
        "document of the assistant",
        params(
            messages=[
                {"role": "assistant", "content": [{"type": "document", "source": {}}]},
                {"role": "user", "content": "x"},
            ]
        ),
        "messages.0.content.0: document blocks are not permitted",
    ),
    (
        "citations of the user",
        params(messages=[{"role": "user", "content": [{"type": "text", "text": "x", "citations": [{}]}]}]),
        "messages.0.content.0.text.citations: ",
    ),
    (
        "thinking enabled on 4.7",
        params(model="claude-opus-4-7", max_tokens=5000, thinking={"type": "enabled", "budget_tokens": 2000}),
        '"thinking.type.enabled" is not supported for this model',
    ),
    ("adaptive on 4.5", params(thinking={"type": "adaptive"}), '"thinking.type.adaptive" is not supported'),
    (
        "disabled on fable",
        params(model="claude-fable-5", thinking={"type": "disabled"}),
        '"thinking.type.disabled" is not supported',
    ),
    (
        "disabled on opus 5.5",
        params(model="claude-opus-5-5", thinking={"type": "disabled"}),
        '"thinking.type.disabled" is not supported',
    ),
    (
        "disabled with much effort",
        params(model="claude-opus-5", thinking={"type": "disabled"}, output_config={"effort": "max"}),
        "thinking.disabled: not supported with effort 'max'",
    ),
    (
        "thinking budget",
        params(thinking={"type": "enabled", "budget_tokens": 200}),
        "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
    ),
    (
        "thinking above max_tokens",
        params(thinking={"type": "enabled", "budget_tokens": 2000}),
        "`max_tokens` must be greater than `thinking.budget_tokens`",
    ),
    (
        "forced tool with thinking",
        params(max_tokens=5000, thinking={"type": "enabled", "budget_tokens": 2000}, **FORCED),
        "Thinking may not be enabled when tool_choice forces tool use.",
    ),
    ("choice without tools", params(tool_choice={"type": "any"}), "tool_choice: may only be specified while"),
    (
        "choice of another tool",
        params(tools=[TOOL], tool_choice={"type": "tool", "name": "other"}),
        "Tool 'other' not found in provided tools",
    ),
    ("tool key", params(tools=[{**TOOL, "parameters": {}}]), "tools.0.custom.parameters: Extra inputs"),
    (
        "tool type",
        params(tools=[{"name": "a", "input_schema": {"type": "string"}}]),
        "tools.0.custom.input_schema.type: Input should be 'object'",
    ),
    (
        "tool schema",
        params(tools=[{"name": "a", "input_schema": {"type": "object", "properties": 7}}]),
        "tools.0.custom.input_schema: JSON schema is invalid",
    ),
    ("two tools of a name", params(tools=[TOOL, TOOL]), "tools: Tool names must be unique."),
    (
        "strict tool",
        params(tools=[{**TOOL, "strict": True, "input_schema": field(type="integer", minimum=1)}]),
        "tools.0.custom.input_schema: For 'integer' type, properties minimum are not supported",
    ),
    (
        "21 strict tools",
        params(tools=[{**TOOL, "name": f"tool{place}", "strict": True} for place in range(21)]),
        "tools: Too many strict tools (21)",
    ),
]

REFUSED_SCHEMAS: list[tuple[str, Any, str]] = [
    ("bounds", field(type="number", minimum=0, maximum=1), "For 'number' type, properties maximum, minimum"),
    ("multipleOf", field(type="integer", multipleOf=5), "For 'integer' type, properties multipleOf"),
    ("lengths", field(type="string", minLength=1), "For 'string' type, properties minLength"),
    ("minItems", field(type="array", items=TEXT, minItems=2), "For 'array' type, 'minItems' values other"),
    ("maxItems", field(type="array", items=TEXT, maxItems=2), "For 'array' type, properties maxItems"),
    (
        "open object",
        {"type": "object", "properties": {}},
        "For 'object' type, 'additionalProperties' must be",
    ),
    ("open inside", field(type="object", properties={}), "For 'object' type, 'additionalProperties' must be"),
    ("recursion", RECURSIVE, "Recursive schemas are not supported"),
    ("root recursion", field(**{"$ref": "#"}), "Recursive schemas are not supported"),
    ("external", field(**{"$ref": "https://example.com/s.json"}), "External schema references are not"),
    ("lost reference", field(**{"$ref": "#/$defs/none"}), "Schema reference '#/$defs/none' not found"),
    ("complex enum", field(enum=[{"a": 1}]), "Enum with complex types"),
    ("empty enum", field(type="string", enum=[]), "Enum must be a list with at least one value"),
    ("lookahead", field(type="string", pattern="^(?=a)b"), "Pattern uses lookaround"),
    ("backreference", field(type="string", pattern=r"(a)\1"), "Pattern uses lookaround"),
    ("format", field(type="string", format="iban"), "String format 'iban' is not supported"),
    ("if", field(type="string", **{"if": {}}), "For 'string' type, properties if are not supported"),
    ("no type", field(description="anything"), "Schema must have a 'type'"),
    ("array without items", field(type="array"), "For 'array' type, 'items' must be set"),
    ("no object", [], "Input should be a valid dictionary"),
    (
        "25 optional",
        closed({f"f{place}": TEXT for place in range(25)}, []),
        "Schema contains too many optional parameters (25)",
    ),
    (
        "17 unions",
        closed({f"f{place}": {"type": ["string", "null"]} for place in range(17)}),
        "Schema contains too many parameters with union types (17",
    ),
]


def test_each_refusal_comes_as_an_errored_line(desk: Desk) -> None:
    wanted = [one for _, one, _ in REFUSED]
    wanted += [structured(schema=schema) for _, schema, _ in REFUSED_SCHEMAS]
    words = [words for _, _, words in REFUSED]
    words += [f"output_config.format.schema: {words}" for _, _, words in REFUSED_SCHEMAS]
    names = [name for name, *_ in REFUSED] + [name for name, *_ in REFUSED_SCHEMAS]
    for name, result, expected in zip(names, desk.results(*wanted), words, strict=True):
        assert result["type"] == "errored", (name, result)
        assert result["error"]["type"] == "error"
        assert result["error"]["request_id"].startswith("req_")
        error = result["error"]["error"]
        assert error["type"] == "invalid_request_error", name
        assert error["message"].startswith(expected), (name, error["message"])


def test_a_batch_of_errors_has_ended_all_the_same(desk: Desk) -> None:
    batch = desk.create(params(model="claude-9"), params(temperature=0.5))
    counts = desk.end(batch.id).request_counts
    assert (counts.errored, counts.succeeded) == (2, 0)


def test_an_unknown_model(desk: Desk) -> None:
    assert desk.complaint(params(model="claude-9")) == "not_found_error: model: claude-9"


ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    (
        "prefill on 4.5",
        params(messages=[{"role": "user", "content": "x"}, {"role": "assistant", "content": "{"}]),
    ),
    ("thinking on 4.5", params(max_tokens=3000, thinking={"type": "enabled", "budget_tokens": 1024})),
    ("adaptive with forced tool", params(model="claude-sonnet-4-6", thinking={"type": "adaptive"}, **FORCED)),
    (
        "off on opus 5",
        params(model="claude-opus-5", thinking={"type": "disabled"}, output_config={"effort": "high"}),
    ),
    ("geo on 4.6", params(model="claude-sonnet-4-6", inference_geo="us")),
    ("null options", params(model="claude-opus-4-8", output_config={"effort": "medium", "format": None})),
    ("128k", params(model="claude-sonnet-4-6", max_tokens=128_000)),
    (
        "stream off",
        params(stream=False, metadata={"user_id": "u"}, service_tier="auto", stop_sequences=["END"]),
    ),
    ("24 optional", structured(schema=closed({f"f{place}": TEXT for place in range(24)}, []))),
    ("16 unions", structured(schema=closed({f"f{p}": {"type": ["string", "null"]} for p in range(16)}))),
    ("minItems 1", structured(schema=field(type="array", items=TEXT, minItems=1))),
    (
        "definitions",
        structured(
            schema=closed(
                {"a": {"$ref": "#/$defs/t"}, "b": {"$ref": "#/$defs/t"}},
                definitions={"t": closed({"x": TEXT})},
            )
        ),
    ),
    ("formats", structured(schema=field(type="string", format="date", pattern=r"^\d+$", description="d"))),
    ("loose tool", params(tools=[{"name": "a", "input_schema": {"type": "object", "minProperties": 1}}])),
]


def test_what_is_allowed_succeeds(desk: Desk) -> None:
    for (name, _), result in zip(ACCEPTED, desk.results(*[one for _, one in ACCEPTED]), strict=True):
        assert result["type"] == "succeeded", (name, result)


def errors_under(desk: Desk, headers: dict[str, str], *wanted: dict[str, Any]) -> list[str]:
    """Return the error of each request of a batch posted with more headers; "" if a request succeeds."""
    requests = [request(f"r-{place}", one) for place, one in enumerate(wanted)]
    sdk = desk.sdk.with_options(default_headers=headers)
    batch = sdk.messages.batches.create(requests=requests)  # type: ignore[arg-type]
    desk.end(batch.id)
    found = {line["custom_id"]: line["result"] for line in desk.raw_lines(batch.id)}
    results = [found[f"r-{place}"] for place in range(len(wanted))]
    return [one["error"]["error"]["message"] if one["type"] == "errored" else "" for one in results]


def test_sampling_under_the_old_version(desk: Desk) -> None:
    found = errors_under(
        desk,
        OLD,
        params(temperature=0.3),
        params(model="claude-opus-4-7", temperature=1.0),
        params(model="claude-opus-4-7", temperature=0.3),
        params(model="claude-opus-4-8", top_k=5),
        params(temperature=2),
        params(temperature=0.3, top_p=0.5),
        params(temperature=0.3, max_tokens=3000, thinking={"type": "enabled", "budget_tokens": 1024}),
    )
    assert found[:2] == ["", ""]
    assert all(found[2:]), found


@pytest.mark.parametrize(
    ("model", "accepted"),
    [("claude-sonnet-4-6", True), ("claude-haiku-4-5", False), ("claude-fable-5", False)],
)
def test_long_output_needs_its_beta(desk: Desk, model: str, accepted: bool) -> None:
    beta = {"anthropic-beta": "other, output-300k-2026-03-24"}
    (error,) = errors_under(desk, beta, params(model=model, max_tokens=300_000))
    assert (error == "") is accepted


def test_the_context_window(desk: Desk) -> None:
    long = params("word " * 200_000)
    assert desk.complaint(long).startswith("invalid_request_error: prompt is too long: ")
    assert desk.complaint({**long, "model": "claude-sonnet-4-6"}) == ""


KEYS = [
    *("model", "max_tokens", "messages", "system", "tools", "tool_choice", "output_config", "thinking"),
    *("metadata", "stop_sequences", "type", "text", "cache_control", "content", "role", "format", "schema"),
    *("properties", "required", "enum", "const", "anyOf", "items", "name", "input_schema", "$ref"),
]
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**6) | st.sampled_from(["text", "user", "object", "", "tool", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS[:10]), ANY_JSON, max_size=3), ANY_JSON)
def test_no_params_are_too_strange_for_an_answer(changes: dict[str, Any], schema: Any) -> None:
    wanted = {**structured(schema=schema), **changes}
    for one in (wanted, {**structured(), **changes}, params(tools=[{"name": "a", "input_schema": schema}])):
        answer = Answerer(0, None).answer(one, Call("2026-10-21"), "id", Outcomes((), {}), PromptCache({}, 0))
        assert (answer.message is None) == (answer.kind == "errored")
