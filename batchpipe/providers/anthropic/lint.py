"""Checks of a rung for what the provider is known to refuse.

The API checks the params of a request only when its batch runs, so that a mistake would become thousands of errors an
hour later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from batchpipe.common.likeness import nearest
from batchpipe.providers import RuleProblem, RungSettings
from batchpipe.providers.anthropic.encoding import SAMPLING, thinking_of
from batchpipe.providers.anthropic.models import KnownModel, find_model, listed_models, model_data, most_output, retires
from batchpipe.providers.shared.settings import (
    Test,
    is_number,
    is_server_tools,
    is_texts,
    is_whole,
    model_hint,
    sentence,
    setting_problems,
)

EFFORTS = ("low", "medium", "high", "xhigh", "max")
_THINKING_TYPES = ("adaptive", "enabled", "disabled", "between_tools")
_MIN_BUDGET = 1024
_FEW_TOKENS = 1024

_NOT_IN_BATCHES = "batches do not take it; remove the line"
_BATCHPIPE_OWN = "batchpipe sets it itself; remove the line"
# Keys of the API or its SDK that a rung cannot set, and what to write instead.
REFUSED: Mapping[str, str] = {
    "stream": _NOT_IN_BATCHES,
    "speed": _NOT_IN_BATCHES,
    "store": _NOT_IN_BATCHES,
    "previous_thread_event_id": _NOT_IN_BATCHES,
    "cache_hint": _NOT_IN_BATCHES,
    "context_hint": _NOT_IN_BATCHES,
    "research_preview_2026_02": _NOT_IN_BATCHES,
    "fallbacks": "batches do not take it; add another [[models]] rung",
    "container": "a row has no state to go on from; remove the line",
    "diagnostics": "a row has no earlier message; remove the line",
    "messages": "write the prompt in [prompt]",
    "system": "write it as [prompt] system or system_text",
    "tool_choice": 'batchpipe sets it itself; for a forced tool call write [output] format = "tool"',
    "output_config": "write `effort = ...`; the format is [output] format",
    "output_format": "write [output] format",
    "cache_control": "write [prompt] cache",
    "extra_body": "it is an argument of the SDK, not a parameter of the API; write the parameters themselves",
    "extra_headers": "it is an argument of the SDK; write `betas = [...]` for beta headers",
    "extra_query": "it is an argument of the SDK, not a parameter of the API; remove the line",
    "workspace_id": "the key belongs to a workspace; remove the line",
    "custom_id": _BATCHPIPE_OWN,
    "n": "one answer per request; remove the line",
}


# For each setting a test of its value, and a description of a right value.
SETTINGS: Mapping[str, tuple[Test, str]] = {
    "temperature": (is_number(0, 1), "a number from 0 to 1"),
    "top_p": (is_number(0, 1), "a number from 0 to 1"),
    "top_k": (is_whole(1), "a whole number above 0"),
    "effort": (lambda value: value in EFFORTS, "one of " + ", ".join(EFFORTS)),
    "thinking": (
        lambda value: isinstance(value, str | Mapping),
        'a table such as { type = "adaptive" }, or that type alone',
    ),
    "stop_sequences": (is_texts(), "a list of strings that are not blank"),
    "inference_geo": (lambda value: isinstance(value, str) and bool(value), 'a region, such as "us"'),
    "metadata": (
        lambda value: isinstance(value, Mapping) and set(value) <= {"user_id"},
        'a table such as { user_id = "..." }',
    ),
    "service_tier": (lambda value: value in ("auto", "standard_only"), '"auto" or "standard_only"'),
    "user_profile_id": (lambda value: isinstance(value, str) and bool(value), "a string"),
    "betas": (is_texts(), "a list of beta names"),
    "tools": (is_server_tools("custom"), "a list of server tools, each with its `type`"),
}


def problems(rung: RungSettings, *, output_format: str, sent_schema: Mapping[str, Any] | None) -> list[RuleProblem]:
    """Return what the provider refuses in this rung or schema ("error"), and what looks like a mistake ("warning")."""
    model = find_model(rung.model)
    return [
        *_model(rung.model),
        *setting_problems(rung.settings, SETTINGS, REFUSED),
        *_max_tokens(rung, model),
        *_sampling(rung, model),
        *_effort(rung, model),
        *_thinking(rung, model, output_format),
        *_other(rung, model, output_format),
    ]


def _model(model: str) -> Iterator[RuleProblem]:
    gone = retires(model)
    if model_data()["model_pattern"] not in model.lower():
        yield RuleProblem(
            key="model", what=f"`{model}` is not a model of this provider", hint=model_hint(model, listed_models())
        )
    elif gone is not None:
        what = f"`{model}` is retired by its provider on {gone}; from then on every request fails"
        yield RuleProblem(key="model", what=what, hint="Move to a newer model before that day.", level="warning")
    elif find_model(model) == KnownModel():
        what = f"`{model}` is not in the list of known models, so its settings and limits are not checked"
        hint = f"{model_hint(model, listed_models())} A new model runs all the same."
        yield RuleProblem(key="model", what=what, hint=hint, level="warning")


def _max_tokens(rung: RungSettings, model: KnownModel) -> Iterator[RuleProblem]:
    cap = most_output(model, rung.mode)
    if cap is not None and rung.max_tokens > cap:
        where = "in a batch" if rung.mode == "batch" else "in a realtime call"
        what = f"`{rung.model}` writes at most {cap:,} tokens {where}; max_tokens is {rung.max_tokens:,}"
        yield RuleProblem(key="max_tokens", what=what, hint=f"Write max_tokens = {cap} or less.")
    elif model.thinks_by_default and "thinking" not in rung.settings and rung.max_tokens < _FEW_TOKENS:
        what = f"`{rung.model}` thinks by default, and its thinking counts against max_tokens = {rung.max_tokens}"
        off = 'write thinking = "disabled", or ' if "disabled" in (model.thinking or ()) else ""
        hint = sentence(f"{off}raise max_tokens, or answers will be cut off")
        yield RuleProblem(key="max_tokens", what=what, hint=hint, level="warning")


def _sampling(rung: RungSettings, model: KnownModel) -> Iterator[RuleProblem]:
    used = [key for key in SAMPLING if key in rung.settings]
    if model.sampling is False:
        for key in used:
            yield RuleProblem(
                key=key,
                what=f"`{rung.model}` does not take {key}",
                hint="Remove the line; models up to Claude 4.6 take it.",
            )
    elif model.one_sampling and {"temperature", "top_p"} <= set(used):
        yield RuleProblem(
            key="top_p",
            what=f"`{rung.model}` takes temperature or top_p, not both",
            hint="Remove one of the two lines.",
        )


def _effort(rung: RungSettings, model: KnownModel) -> Iterator[RuleProblem]:
    if "effort" in rung.settings and model.effort is False:
        yield RuleProblem(key="effort", what=f"`{rung.model}` does not take effort", hint="Remove the line.")


def _thinking(rung: RungSettings, model: KnownModel, output_format: str) -> Iterator[RuleProblem]:
    thinking = thinking_of(rung.settings)
    if thinking is None:
        return
    kind = thinking.get("type")
    if kind not in _THINKING_TYPES:
        near = nearest(str(kind), _THINKING_TYPES)
        hint = f"Did you mean `{near}`?" if near else f"Write one of {', '.join(_THINKING_TYPES)}."
        yield RuleProblem(key="thinking", what=f"thinking cannot be of the type {kind!r}", hint=hint)
        return
    if model.thinking is not None and kind not in model.thinking and kind != "between_tools":
        known = " or ".join(f'"{each}"' for each in model.thinking)
        yield RuleProblem(
            key="thinking",
            what=f'`{rung.model}` does not take thinking of the type "{kind}"',
            hint=f"Write thinking of the type {known}" + (", and `effort` for how much." if kind == "enabled" else "."),
        )
    elif kind in model.thinking_deprecated:
        what = f'thinking of the type "{kind}" is deprecated on `{rung.model}`'
        hint = 'Write thinking = "adaptive", and `effort` for how much.'
        yield RuleProblem(key="thinking", what=what, hint=hint, level="warning")
    if kind == "enabled":
        yield from _enabled(rung, thinking, output_format)
    high = rung.settings.get("effort") in ("xhigh", "max")
    if kind == "disabled" and model.disabled_up_to_high and high:
        yield RuleProblem(
            key="thinking",
            what=f'thinking can be turned off on `{rung.model}` only up to effort "high"',
            hint='Write effort = "high" or less, or leave thinking on.',
        )


def _enabled(rung: RungSettings, thinking: Mapping[str, Any], output_format: str) -> Iterator[RuleProblem]:
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int) or isinstance(budget, bool) or not _MIN_BUDGET <= budget < rung.max_tokens:
        yield RuleProblem(
            key="thinking",
            what=f"thinking needs budget_tokens from {_MIN_BUDGET} to below max_tokens = {rung.max_tokens}, "
            f"not {budget!r}",
            hint=f'Write thinking = {{ type = "enabled", budget_tokens = {_MIN_BUDGET} }}; raise max_tokens.',
        )
    if output_format == "tool":
        yield RuleProblem(
            key="thinking",
            what='a forced tool call (format = "tool") fails with thinking of the type "enabled"',
            hint='Write [output] format = "json_schema", or thinking of another type.',
        )
    for key in ("temperature", "top_k"):
        if key in rung.settings and rung.settings[key] != 1:
            yield RuleProblem(key=key, what=f"{key} cannot be set with thinking on", hint=f"Remove {key} or thinking.")


def _other(rung: RungSettings, model: KnownModel, output_format: str) -> Iterator[RuleProblem]:
    if "inference_geo" in rung.settings and model.inference_geo is False:
        what = f"`{rung.model}` does not take inference_geo"
        yield RuleProblem(key="inference_geo", what=what, hint="Remove the line; models from Claude 4.6 on take it.")
    if "tools" in rung.settings and output_format == "tool":
        what = 'with format = "tool" the answer is a forced tool call, so other tools are never used'
        yield RuleProblem(key="tools", what=what, hint='Remove tools, or write [output] format = "json_schema".')
