"""Checks of a rung for what the provider is known to refuse.

The API checks a request only when its batch runs, so that a mistake would become thousands of errors hours later.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from batchpipe.providers import RuleProblem, RungSettings
from batchpipe.providers.gemini.encoding import SAMPLING
from batchpipe.providers.gemini.models import NAME, KnownModel, find_model, listed_models, model_data, retires
from batchpipe.providers.shared.settings import Test, is_number, is_texts, is_whole, model_hint, setting_problems

EFFORTS = ("minimal", "low", "medium", "high", "xhigh")
TIERS = ("flex", "standard", "priority")
_RESOLUTIONS = ("low", "medium", "high")
_THRESHOLDS = ("BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH", "BLOCK_NONE", "OFF")
_MOST_STOPS = 5
_FEW_TOKENS = 1024

_NO_STATE = "a row has no state to go on from; remove the line"
_FORMAT = "write [output] format"
_TEXT_ONLY = "an answer is text; remove the line"
# Keys of the API or its SDK, in both spellings, that a rung cannot set, and what to write instead.
REFUSED: Mapping[str, str] = {
    "contents": "write the prompt in [prompt]",
    "system_instruction": "write it as [prompt] system or system_text",
    "max_output_tokens": "write `max_tokens = ...`",
    "thinking": "write `effort = ...`, or `thinking_budget = ...` for a model up to Gemini 2.5",
    "thinking_config": "write `effort = ...`, or `thinking_budget = ...` for a model up to Gemini 2.5",
    "thinking_level": "write `effort = ...`",
    "include_thoughts": "thoughts are paid and not stored; remove the line",
    "response_schema": _FORMAT,
    "response_json_schema": _FORMAT,
    "response_mime_type": _FORMAT,
    "response_format": _FORMAT,
    "response_modalities": _TEXT_ONLY,
    "speech_config": _TEXT_ONLY,
    "image_config": _TEXT_ONLY,
    "candidate_count": "one answer per request; remove the line",
    "n": "one answer per request; remove the line",
    "logprobs": "no place is kept for them; remove the line",
    "response_logprobs": "no place is kept for them; remove the line",
    "cached_content": "its storage costs by the hour, and shared beginnings are cached by themselves; remove the line",
    "tools": "batches do not take tools of the provider; remove the line",
    "tool_config": 'batchpipe sets it itself; for a forced tool call write [output] format = "tool"',
    "automatic_function_calling": "it is an argument of the SDK; remove the line",
    "continuation_token": _NO_STATE,
    "automatic_continuation": _NO_STATE,
    "store": _NO_STATE,
    "labels": "the provider takes them only in its cloud platform; remove the line",
    "http_options": "it is an argument of the SDK; remove the line",
    "generation_config": "write its settings themselves, such as `temperature = 0`",
    "stream": "batches do not take it; remove the line",
    "priority": "batchpipe sends batches in their order; remove the line",
}


def _is_safety(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(each, Mapping)
        and set(each) <= {"category", "threshold", "method"}
        and str(each.get("category", "")).startswith("HARM_CATEGORY_")
        and each.get("threshold") in _THRESHOLDS
        for each in value
    )


def _is_resolution(value: Any) -> bool:
    return isinstance(value, str) and value.lower().removeprefix("media_resolution_") in _RESOLUTIONS


# For each setting a test of its value, and a description of a right value.
SETTINGS: Mapping[str, tuple[Test, str]] = {
    "temperature": (is_number(0, 2), "a number from 0 to 2"),
    "top_p": (is_number(0, 1), "a number from 0 to 1"),
    "top_k": (is_whole(1, 1_000), "a whole number above 0"),
    "effort": (lambda value: value in EFFORTS, "one of " + ", ".join(EFFORTS)),
    "thinking_budget": (
        is_whole(-1, 1_000_000),
        "a number of tokens, 0 for none, or -1 for as many as the model likes",
    ),
    "stop_sequences": (is_texts(_MOST_STOPS), f"a list of at most {_MOST_STOPS} strings that are not blank"),
    "seed": (is_whole(-(2**31), 2**31 - 1), "a whole number of 32 bits"),
    "presence_penalty": (is_number(-2, 2), "a number from -2 to 2"),
    "frequency_penalty": (is_number(-2, 2), "a number from -2 to 2"),
    "media_resolution": (_is_resolution, "one of " + ", ".join(_RESOLUTIONS)),
    "safety_settings": (
        _is_safety,
        'a list such as [{ category = "HARM_CATEGORY_HARASSMENT", threshold = "BLOCK_ONLY_HIGH" }]',
    ),
    "service_tier": (lambda value: value in TIERS, "one of " + ", ".join(TIERS)),
}


def problems(rung: RungSettings, *, output_format: str, sent_schema: Mapping[str, Any] | None) -> list[RuleProblem]:
    """Return what the provider refuses in this rung or schema ("error"), and what looks like a mistake ("warning")."""
    model = find_model(rung.usual_name)
    return [
        *_model(rung.usual_name),
        *setting_problems(rung.settings, SETTINGS, REFUSED, _snake),
        *_max_tokens(rung, model),
        *_sampling(rung, model),
        *_thinking(rung, model),
        *_tier(rung),
    ]


def _model(model: str) -> Iterator[RuleProblem]:
    gone = retires(model)
    tuned = model.startswith("tunedModels/")
    if not NAME.fullmatch(model.removeprefix("models/")):
        what = f"`{model}` cannot be the name of a model: it has characters that cannot stand in the path of a call"
        yield RuleProblem(key="model", what=what, hint=model_hint(model, listed_models()))
    elif not tuned and not re.search(model_data()["model_pattern"], model.lower()):
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
    cap = model.max_output
    budget = rung.settings.get("thinking_budget")
    budgeted = isinstance(budget, int) and not isinstance(budget, bool)
    if cap is not None and rung.max_tokens > cap:
        what = f"`{rung.usual_name}` writes at most {cap:,} tokens; max_tokens is {rung.max_tokens:,}"
        yield RuleProblem(key="max_tokens", what=what, hint=f"Write max_tokens = {cap} or less.")
    elif budgeted and int(budget or 0) > 0 and int(budget or 0) >= rung.max_tokens:
        what = f"thinking_budget = {budget} leaves nothing of max_tokens = {rung.max_tokens} for the answer"
        yield RuleProblem(key="max_tokens", what=what, hint="Raise max_tokens, or write a smaller thinking_budget.")
    elif _thinks(rung, model) and rung.max_tokens < _FEW_TOKENS:
        what = f"`{rung.usual_name}` thinks, and its thinking counts against max_tokens = {rung.max_tokens}"
        yield RuleProblem(key="max_tokens", what=what, hint=_less_thinking(model), level="warning")


def _thinks(rung: RungSettings, model: KnownModel) -> bool:
    """Return whether a request of this rung spends many tokens on thinking."""
    if "thinking_budget" in rung.settings:
        return bool(rung.settings["thinking_budget"])
    if "effort" in rung.settings:
        return rung.settings["effort"] not in ("minimal", "low")
    return model.thinks


def _less_thinking(model: KnownModel) -> str:
    if model.thinking_off:
        return "Write thinking_budget = 0, or raise max_tokens, or answers will be cut off."
    if model.thinking_levels:
        return f'Write effort = "{model.thinking_levels[0]}", or raise max_tokens, or answers will be cut off.'
    return "Raise max_tokens, or answers will be cut off."


def _sampling(rung: RungSettings, model: KnownModel) -> Iterator[RuleProblem]:
    for key in SAMPLING:
        if model.sampling == "ignored" and key in rung.settings:
            what = f"`{rung.usual_name}` ignores {key}"
            yield RuleProblem(key=key, what=what, hint="Remove the line; it changes nothing.", level="warning")


def _thinking(rung: RungSettings, model: KnownModel) -> Iterator[RuleProblem]:
    effort, budget = rung.settings.get("effort"), rung.settings.get("thinking_budget")
    levels = model.thinking_levels
    if effort is not None and budget is not None:
        what = "effort and thinking_budget cannot be set together"
        yield RuleProblem(key="thinking_budget", what=what, hint="Remove one of the two lines.")
        return
    if effort in EFFORTS and levels is not None and effort not in levels:
        hint = f"Write one of {', '.join(levels)}." if levels else "Write thinking_budget = ... (tokens; 0 for none)."
        yield RuleProblem(key="effort", what=f'`{rung.usual_name}` does not take effort "{effort}"', hint=hint)
    if not isinstance(budget, int) or isinstance(budget, bool):
        return
    if model.thinking_budget is False:
        hint = f"Write effort = ... ({', '.join(levels)})." if levels else "Write effort = ..."
        yield RuleProblem(key="thinking_budget", what=f"`{rung.usual_name}` does not take thinking_budget", hint=hint)
    elif budget == 0 and model.thinking_budget and not model.thinking_off:
        what = f"`{rung.usual_name}` cannot turn its thinking off"
        yield RuleProblem(key="thinking_budget", what=what, hint=f"Write {model.budget_from} or more, or -1.")
    elif budget > 0 and model.budget_to is not None and not model.budget_from <= budget <= model.budget_to:
        what = (
            f"`{rung.usual_name}` takes a thinking_budget from {model.budget_from} to {model.budget_to}, not {budget}"
        )
        yield RuleProblem(key="thinking_budget", what=what, hint="Write a number in that range, or -1.")


def _tier(rung: RungSettings) -> Iterator[RuleProblem]:
    """Yield the problem of a tier other than the usual one, which only realtime calls have."""
    tier = rung.settings.get("service_tier")
    if rung.mode == "batch" and tier in TIERS and tier != "standard":
        what = f'service_tier = "{tier}" is for realtime calls, and the requests of this rung go in batches'
        hint = 'Write mode = "realtime" on the rung, or remove the line.'
        yield RuleProblem(key="service_tier", what=what, hint=hint)


def _snake(key: str) -> str:
    """Return the name of a setting in snake case: `topP` is the API's spelling of `top_p`."""
    return re.sub(r"(?<=[a-z])([A-Z])", lambda found: "_" + found[1], key).lower()
