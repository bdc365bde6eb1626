"""Tests of what a rung or schema is refused for, by model."""

from __future__ import annotations

from typing import Any

import pytest

from batchpipe.common.errors import PipelineError
from batchpipe.providers import Block, RuleProblem, RungSettings, get_provider_module
from batchpipe.providers.anthropic import RULES
from batchpipe.providers.anthropic.encoding import SAMPLING
from batchpipe.providers.anthropic.lint import REFUSED, SETTINGS
from batchpipe.providers.anthropic.models import find_model, listed_models, model_data
from batchpipe.providers.known import KnownProviders

OLD = ("claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-5", "claude-haiku-4-5-20251001")
MIDDLE = ("claude-opus-4-6", "claude-sonnet-4-6")
LATE = (
    "claude-opus-4-7",
    "claude-opus-4-8",
    "claude-opus-5",
    "claude-sonnet-5",
    "claude-haiku-5-5",
    "claude-sonnet-5-5",
)
ALWAYS = (
    "claude-fable-5",
    "claude-fable-5-1",
    "claude-fable-5-2",
    "claude-mythos-5-2",
    "claude-opus-5-5",
)


def found(
    model: str,
    as_format: str = "text",
    schema: dict[str, Any] | None = None,
    max_tokens: int = 4000,
    **settings: Any,
) -> list[RuleProblem]:
    rung = RungSettings(model=model, max_tokens=max_tokens, settings=settings)
    return list(RULES.problems(rung, output_format=as_format, sent_schema=schema))


def errors(*arguments: Any, **options: Any) -> list[str]:
    return [each.key for each in found(*arguments, **options) if each.level == "error"]


def warned(*arguments: Any, **options: Any) -> list[str]:
    return [each.key for each in found(*arguments, **options) if each.level == "warning"]


@pytest.mark.parametrize("model", [each for each in listed_models() if each not in model_data()["retires"]])
def test_a_plain_rung_has_no_problem(model: str) -> None:
    assert found(model) == []


@pytest.mark.parametrize("key", SAMPLING)
def test_sampling_is_for_models_up_to_4_6(key: str) -> None:
    value = 5 if key == "top_k" else 0.5
    for model in (*OLD, *MIDDLE):
        assert errors(model, **{key: value}) == []
    for model in (*LATE, *ALWAYS):
        assert errors(model, **{key: value}) == [key]
    assert errors("claude-new-9", **{key: value}) == []


def test_temperature_and_top_p_exclude_each_other() -> None:
    assert errors("claude-haiku-4-5", temperature=0.1, top_p=0.5) == ["top_p"]


@pytest.mark.parametrize(
    ("kind", "taken"),
    [
        ("adaptive", (*MIDDLE, *LATE, *ALWAYS)),
        ("enabled", (*OLD, *MIDDLE)),
        ("disabled", (*OLD, *MIDDLE, *LATE)),
    ],
)
def test_thinking_types_by_model(kind: str, taken: tuple[str, ...]) -> None:
    thinking = {"type": kind, **({"budget_tokens": 2000} if kind == "enabled" else {})}
    for model in (*OLD, *MIDDLE, *LATE, *ALWAYS):
        assert errors(model, thinking=thinking) == ([] if model in taken else ["thinking"]), model


def test_thinking_on_4_6_with_a_budget_is_deprecated() -> None:
    assert warned("claude-opus-4-6", thinking={"type": "enabled", "budget_tokens": 2000}) == ["thinking"]


def test_thinking_off_needs_a_modest_effort_on_opus_5() -> None:
    assert errors("claude-opus-5", thinking="disabled", effort="high") == []
    assert errors("claude-opus-5", thinking="disabled", effort="max") == ["thinking"]


@pytest.mark.parametrize("budget", [None, 100, 4000, True, "2000"])
def test_a_thinking_budget_fits_below_max_tokens(budget: Any) -> None:
    thinking = {"type": "enabled", "budget_tokens": budget}
    assert errors("claude-haiku-4-5", thinking=thinking) == ["thinking"]


def test_a_forced_tool_call_needs_thinking_that_is_not_enabled() -> None:
    enabled = {"type": "enabled", "budget_tokens": 2000}
    assert errors("claude-sonnet-4-6", "tool", thinking=enabled) == ["thinking"]
    assert errors("claude-sonnet-4-6", "tool", thinking="adaptive") == []


def test_unknown_thinking_types_name_the_nearest() -> None:
    (problem,) = found("claude-opus-5", thinking="adaptiv")
    assert "`adaptive`" in problem.hint


def test_effort_by_model() -> None:
    for model in ("claude-haiku-4-5", "claude-sonnet-4-5", "claude-haiku-4-5-20251001"):
        assert errors(model, effort="low") == ["effort"]
    for model in ("claude-opus-4-5", *MIDDLE, *LATE, *ALWAYS):
        assert errors(model, effort="low") == []
    assert errors("claude-opus-5", effort="huge") == ["effort"]


def test_inference_geo_is_from_4_6_on() -> None:
    for model in OLD:
        assert errors(model, inference_geo="us") == ["inference_geo"]
    for model in (*MIDDLE, *LATE, *ALWAYS):
        assert errors(model, inference_geo="us") == []


@pytest.mark.parametrize(
    ("model", "cap"),
    [
        *((model, 64_000) for model in OLD),
        *((model, 300_000) for model in (*MIDDLE, "claude-opus-5", "claude-sonnet-5", "claude-haiku-5-5")),
        *((model, 128_000) for model in (*ALWAYS, "claude-sonnet-5-5")),
    ],
)
def test_max_tokens_by_model(model: str, cap: int) -> None:
    assert errors(model, max_tokens=cap) == []
    (problem,) = [each for each in found(model, max_tokens=cap + 1) if each.level == "error"]
    assert problem.key == "max_tokens"
    assert str(cap) in problem.hint


def test_little_room_for_a_model_that_thinks_is_a_warning() -> None:
    assert warned("claude-fable-5", max_tokens=200) == ["max_tokens"]
    assert warned("claude-sonnet-5", max_tokens=200, thinking="disabled") == []
    assert warned("claude-opus-4-8", max_tokens=200) == []


@pytest.mark.parametrize("key", REFUSED)
def test_what_no_batch_takes_is_refused_with_a_way_out(key: str) -> None:
    (problem,) = found("claude-haiku-4-5", **dict[str, Any]({key: True}))
    assert (problem.key, problem.level) == (key, "error")
    assert problem.hint.endswith(".")


def test_an_unknown_setting_names_the_nearest() -> None:
    (problem,) = found("claude-haiku-4-5", temprature=0.5)
    assert (problem.key, problem.hint) == ("temprature", "Did you mean `temperature`?")
    (problem,) = found("claude-haiku-4-5", zzz=0.5)
    assert "Settings are: temperature" in problem.hint


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("temperature", 1.5),
        ("temperature", True),
        ("temperature", "0.5"),
        ("top_k", 0),
        ("top_k", 1.5),
        ("stop_sequences", "END"),
        ("stop_sequences", [" "]),
        ("metadata", {"team": "x"}),
        ("service_tier", "batch"),
        ("betas", "b"),
        ("thinking", 5),
        ("inference_geo", ""),
        ("tools", [{"name": "mine", "input_schema": {}}]),
    ],
)
def test_a_setting_of_the_wrong_type_or_range(key: str, value: Any) -> None:
    assert errors("claude-opus-4-6", **{key: value}) == [key]


def test_server_tools_are_taken_unless_the_answer_is_a_tool() -> None:
    tools = [{"type": "web_search_20260209", "name": "web_search"}]
    assert errors("claude-opus-4-6", tools=tools) == []
    assert errors("claude-opus-4-6", "tool", tools=tools) == ["tools"]


def test_models_of_somebody_else_are_refused_and_new_ones_are_not() -> None:
    assert errors("gpt-6") == ["model"]
    assert (errors("claude-haiku-7"), warned("claude-haiku-7")) == ([], ["model"])
    (problem,) = found("claude-hiaku-4-5")
    assert "Did you mean `claude-haiku-4-5`?" in problem.hint
    assert errors("eu.anthropic.claude-sonnet-4-6-v1:0", temperature=2.0) == ["temperature"]


@pytest.mark.parametrize(
    ("model", "day"), [("claude-sonnet-4-5-20250929", "2026-11-30"), ("claude-opus-4-20250514", "2026-06-15")]
)
def test_models_that_retire_are_a_warning_with_the_day(model: str, day: str) -> None:
    (problem,) = found(model)
    assert (problem.key, problem.level) == ("model", "warning")
    assert day in problem.what


def test_every_model_of_the_sdk_is_known_or_retired() -> None:
    from typing import get_args

    from anthropic.types import Model

    literal = get_args(Model)[0]
    known = [find_model(each).name or each in model_data()["retires"] for each in get_args(literal)]
    assert all(known)


def test_every_deprecated_model_of_the_sdk_has_its_day() -> None:
    from anthropic.resources.messages import messages

    deprecated: dict[str, str] = vars(messages)["DEPRECATED_MODELS"]
    current = {model for model in deprecated if "claude-1" not in model and "instant" not in model}
    missing = [model for model in current if not warned(model)]
    assert missing == []


def test_every_setting_is_encoded_or_a_header() -> None:
    assert set(SETTINGS).isdisjoint(REFUSED)


def test_a_colon_belongs_to_the_model_unless_a_provider_stands_before_it() -> None:
    known = KnownProviders(default="mine")
    for name in (
        "ft:gpt-4o-mini:acme::abc",
        "anthropic.claude-3-haiku-20240307-v1:0",
        "llama3:8b",
        "x:latest",
        "ft:a-b",
    ):
        assert known.split(name) == ("mine", name)
    assert known.split("anthropic:ft:a-b") == ("anthropic", "ft:a-b")
    for name in ("nosuch:claude-x", "antropic:claude-haiku-4-5", "anthropc:x"):
        assert ":".join(known.split(name)) == name


def test_providers_are_found_by_name() -> None:
    assert get_provider_module("anthropic").RULES.name == "anthropic"
    with pytest.raises(PipelineError, match="no provider `antropic`") as caught:
        get_provider_module("antropic", where="pipelines/x.toml [[models]] 1 model")
    assert "`anthropic`" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("protocol", "model"),
    [
        ("anthropic", "claude-haiku-4-5"),
        ("anthropic", "claude-sonnet-5-5"),
        ("openai", "gpt-5"),
        ("openai", "gpt-4o"),
        ("openai", "gpt-5.4-nano"),
        ("openai", "gpt-6-luna"),
        ("gemini", "gemini-2.5-flash"),
        ("gemini", "models/gemini-2.5-pro"),
        ("gemini", "gemini-3.8-flash"),
    ],
)
def test_a_picture_of_unknown_size_counts_as_the_largest(protocol: str, model: str) -> None:
    """A picture at an address is fetched by the provider, when the request runs."""
    rules, rung = get_provider_module(protocol).RULES, RungSettings(model=model, max_tokens=200)
    sides = (300, 768, 1_024, 1_536, 2_048, 3_072)
    known = [
        rules.media_tokens(rung, Block("image", "image/png", "a", width=width, height=height))
        for width in sides
        for height in sides
    ]
    assert rules.media_tokens(rung, Block("image", "", "a", url="https://pictures.example/a.png")) >= max(known)
