"""Checks of a rung for what the provider is known to refuse.

The API checks the body of a request only when its batch runs, so that a mistake would become thousands of errors later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from batchpipe.providers import RuleProblem, RungSettings
from batchpipe.providers.openai.encoding import CHAT, RESPONSES, Endpoint
from batchpipe.providers.openai.models import KnownModel, find_model, listed_models, model_data, retires
from batchpipe.providers.shared.settings import (
    Test,
    is_number,
    is_server_tools,
    is_whole,
    model_hint,
    sentence,
    setting_problems,
)

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
SAMPLING = ("temperature", "top_p")
_FEW_TOKENS = 1024

_NOT_IN_BATCHES = "batches do not take it; remove the line"
_BATCHPIPE_OWN = "batchpipe sets it itself; remove the line"
_NO_STATE = "a row has no earlier answer; remove the line"
# Keys of the API that a rung cannot set, and what to write instead.
REFUSED: Mapping[str, str] = {
    "stream": _NOT_IN_BATCHES,
    "stream_options": _NOT_IN_BATCHES,
    "store": "nothing is stored; remove the line",
    "n": "one answer per request; remove the line",
    "input": "write the prompt in [prompt]",
    "messages": "write the prompt in [prompt]",
    "instructions": "write it as [prompt] system or system_text",
    "system": "write it as [prompt] system or system_text",
    "prompt": "write the prompt in [prompt]",
    "conversation": _NO_STATE,
    "previous_response_id": _NO_STATE,
    "context_management": _NO_STATE,
    "text": "write `verbosity = ...`; the format is [output] format",
    "response_format": "write [output] format",
    "tool_choice": 'batchpipe sets it itself; for a forced tool call write [output] format = "tool"',
    "parallel_tool_calls": _BATCHPIPE_OWN,
    "functions": 'write [output] format = "tool"',
    "function_call": 'write [output] format = "tool"',
    "reasoning_effort": "write `effort = ...`",
    "max_output_tokens": "write `max_tokens = ...`",
    "max_completion_tokens": "write `max_tokens = ...`",
    "prompt_cache_key": "write [prompt] cache",
    "prompt_cache_options": "write [prompt] cache",
    "background_options": 'write `background = "2h"` or `background = "8h"`',
    "modalities": "an answer is a text; remove the line",
    "audio": "an answer is a text; remove the line",
    "logprobs": "the output does not keep it; remove the line",
    "top_logprobs": "the output does not keep it; remove the line",
    "include": "the output does not keep it; remove the line",
    "extra_body": "it is an argument of the SDK, not a parameter of the API; write the parameters themselves",
    "extra_headers": "it is an argument of the SDK; write `headers` into the provider's table",
    "custom_id": _BATCHPIPE_OWN,
}


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_texts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(each, str) for each in value.values())


# For each setting a test of its value, a description of a right value, and the only endpoint that takes it.
SETTINGS: Mapping[str, tuple[Test, str, Endpoint | None]] = {
    "effort": (lambda value: value in EFFORTS, "one of " + ", ".join(EFFORTS), None),
    "verbosity": (lambda value: value in ("low", "medium", "high"), '"low", "medium" or "high"', None),
    "reasoning": (
        lambda value: isinstance(value, Mapping) and set(value) <= {"mode", "context", "summary"},
        'a table such as { mode = "pro" }; for how much, write `effort`',
        RESPONSES,
    ),
    "temperature": (is_number(0, 2), "a number from 0 to 2", None),
    "top_p": (is_number(0, 1), "a number from 0 to 1", None),
    "service_tier": (
        lambda value: value in ("auto", "default", "flex", "priority", "fast"),
        '"auto", "default", "flex", "priority" or "fast"',
        None,
    ),
    "background": (lambda value: value in model_data()["prices"]["background"], '"2h" or "8h"', RESPONSES),
    "metadata": (_is_texts, "a table of texts", None),
    "safety_identifier": (_is_text, "a string", None),
    "user": (_is_text, "a string", None),
    "prompt_cache_retention": (lambda value: value in ("in_memory", "24h"), '"in_memory" or "24h"', None),
    "tools": (
        is_server_tools("function", "custom"),
        "a list of tools that the provider runs, each with its `type`",
        RESPONSES,
    ),
    "max_tool_calls": (is_whole(1), "a whole number above 0", RESPONSES),
    "truncation": (lambda value: value in ("auto", "disabled"), '"auto" or "disabled"', RESPONSES),
    "moderation": (lambda value: isinstance(value, Mapping), "a table", None),
    "seed": (is_whole(), "a whole number", CHAT),
    "stop": (lambda value: _is_text(value) or isinstance(value, list | tuple), "a string or a list of strings", CHAT),
    "frequency_penalty": (is_number(-2, 2), "a number from -2 to 2", CHAT),
    "presence_penalty": (is_number(-2, 2), "a number from -2 to 2", CHAT),
    "logit_bias": (lambda value: isinstance(value, Mapping), "a table of tokens and numbers", CHAT),
    "web_search_options": (lambda value: isinstance(value, Mapping), "a table", CHAT),
}


def problems(endpoint: Endpoint, rung: RungSettings, *, output_format: str) -> list[RuleProblem]:
    """Return what the provider refuses in this rung ("error"), and what looks like a mistake ("warning")."""
    model = find_model(rung.usual_name)
    return [
        *_model(rung, model, endpoint),
        *_settings(rung.settings, endpoint),
        *_max_tokens(rung, model),
        *_effort(rung, model),
        *_sampling(rung, model),
        *_lanes(rung),
        *_other(rung, model, endpoint, output_format),
    ]


def _model(rung: RungSettings, model: KnownModel, endpoint: Endpoint) -> Iterator[RuleProblem]:
    name = rung.usual_name
    gone = retires(name)
    if gone is not None:
        what = f"`{name}` is shut down by its provider on {gone}; a batch from the day before on can fail whole"
        yield RuleProblem(key="model", what=what, hint="Move to a newer model before that day.", level="warning")
    elif not model.name:
        what = f"`{name}` is not in the list of known models, so its settings and limits are not checked"
        hint = f"{model_hint(name, listed_models())} A new model runs all the same."
        yield RuleProblem(key="model", what=what, hint=hint, level="warning")
    if model.responses_only and endpoint != RESPONSES:
        what = f"`{name}` has no chat completions"
        yield RuleProblem(key="model", what=what, hint=f'Write endpoint = "{RESPONSES}" into the provider\'s table.')


def _settings(settings: Mapping[str, Any], endpoint: Endpoint) -> Iterator[RuleProblem]:
    known = {key: (test, words) for key, (test, words, _) in SETTINGS.items()}
    found = list(setting_problems(settings, known, REFUSED))
    yield from found
    wrong = {each.key for each in found}
    for key in settings:
        if key not in wrong and SETTINGS[key][2] not in (None, endpoint):
            what = f"`{key}` is no parameter of {endpoint}"
            yield RuleProblem(key=key, what=what, hint=f"Remove the line; {SETTINGS[key][2]} takes it.")


def _max_tokens(rung: RungSettings, model: KnownModel) -> Iterator[RuleProblem]:
    name = rung.usual_name
    if model.max_output is not None and rung.max_tokens > model.max_output:
        what = f"`{name}` writes at most {model.max_output:,} tokens; max_tokens is {rung.max_tokens:,}"
        yield RuleProblem(key="max_tokens", what=what, hint=f"Write max_tokens = {model.max_output} or less.")
    elif _reasons(rung, model) and rung.max_tokens < _FEW_TOKENS:
        what = f"`{name}` reasons before it answers, and its reasoning counts against max_tokens = {rung.max_tokens}"
        off = 'write effort = "none", or ' if "none" in (model.efforts or ()) else ""
        hint = sentence(f"{off}raise max_tokens, or answers will be cut off")
        yield RuleProblem(key="max_tokens", what=what, hint=hint, level="warning")


def _reasons(rung: RungSettings, model: KnownModel) -> bool:
    return rung.settings.get("effort", model.default_effort) not in (None, "none")


def _effort(rung: RungSettings, model: KnownModel) -> Iterator[RuleProblem]:
    effort = rung.settings.get("effort")
    if effort not in EFFORTS or model.efforts is None or effort in model.efforts:
        return
    what = f'`{rung.usual_name}` does not take effort = "{effort}"'
    hint = f"Write one of {', '.join(model.efforts)}." if model.efforts else "Remove the line."
    yield RuleProblem(key="effort", what=what, hint=hint)


def _sampling(rung: RungSettings, model: KnownModel) -> Iterator[RuleProblem]:
    """Yield problems of temperature and top_p, which models that reason take only while they do not."""
    if not model.name or not _reasons(rung, model):
        return
    off = 'write effort = "none", or ' if "none" in (model.efforts or ()) else ""
    for key in SAMPLING:
        if key in rung.settings:
            what = f"`{rung.usual_name}` does not take {key} while it reasons"
            yield RuleProblem(key=key, what=what, hint=sentence(f"{off}remove the line"))


def _lanes(rung: RungSettings) -> Iterator[RuleProblem]:
    """Yield problems of the settings that choose another speed, which only realtime calls have."""
    tier, window = rung.settings.get("service_tier"), rung.settings.get("background")
    if rung.mode == "batch":
        for key in ("service_tier", "background"):
            if rung.settings.get(key) not in (None, "auto", "default"):
                what = (
                    f"{key} = {rung.settings[key]!r} is for realtime calls, and the requests of this rung go in batches"
                )
                yield RuleProblem(key=key, what=what, hint='Write mode = "realtime" on the rung, or remove the line.')
    elif window is not None and tier not in (None, "auto", "default"):
        what = f'`background` is of the standard tier, and service_tier is "{tier}"'
        yield RuleProblem(key="service_tier", what=what, hint="Remove one of the two lines.")


def _other(rung: RungSettings, model: KnownModel, endpoint: Endpoint, output_format: str) -> Iterator[RuleProblem]:
    if "tools" in rung.settings and output_format == "tool":
        what = 'with format = "tool" the answer is a forced tool call, so other tools are never used'
        yield RuleProblem(key="tools", what=what, hint='Remove tools, or write [output] format = "json_schema".')
    if "prompt_cache_retention" in rung.settings and model.paid_writes:
        what = f"`{rung.usual_name}` does not take prompt_cache_retention"
        hint = "Remove the line; the lifetime follows from [prompt] cache."
        yield RuleProblem(key="prompt_cache_retention", what=what, hint=hint)
    if endpoint != CHAT or output_format != "tool" or not model.chat_tools:
        return
    if model.chat_tools == "never" or _reasons(rung, model):
        what = f"`{rung.usual_name}` takes no tools in chat completions" + (
            "" if model.chat_tools == "never" else " while it reasons"
        )
        off = "" if model.chat_tools == "never" else 'effort = "none", or '
        hint = f'Write {off}[output] format = "json_schema", or the endpoint {RESPONSES}.'
        yield RuleProblem(key="model", what=what, hint=hint)
