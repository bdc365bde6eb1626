"""The service's rules on `params`, apart from the texts. They are checked when a batch is processed.

The parameters of a request without its messages and system prompt are its shape. Requests share shapes, so that one
`AnswerPlan` is made for each shape and kept.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from batchpipe.emulator.anthropic.models import EFFORT_LEVELS, LONG_OUTPUT_BETA, LONG_OUTPUT_TOKENS, Model, find_model
from batchpipe.emulator.anthropic.schemas import SchemaCount, SchemaRefusedError, check_schema
from batchpipe.emulator.anthropic.tools import check_tools
from batchpipe.emulator.service.jsontypes import JsonObject, is_integer, is_list, is_number, is_object, word_set

OLD_VERSION = "2023-06-01"
NEW_VERSION = "2026-10-21"
EFFORTS_WITHOUT_THINKING = ("low", "medium", "high")

_KEYS = word_set(
    "cache_control container diagnostics inference_geo max_tokens messages metadata model output_config "
    "service_tier speed stop_sequences stream system thinking tool_choice tools user_profile_id"
)
_SAMPLING = {"temperature": 1.0, "top_p": None, "top_k": None}


class ParamsError(Exception):
    """The service refuses a request with this message; `kind` is the provider's error type."""

    def __init__(self, message: str, kind: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind


@dataclass(frozen=True, slots=True)
class AnswerPlan:
    """How the requests of an accepted shape are answered.

    `schema` is the schema of the JSON answer or of the tool `tool`; None for free text. `hidden_tokens` are the tokens
    that the schema and the tools add to a prompt.
    """

    model: Model
    version: str
    max_tokens: int
    schema: JsonObject | None
    tool: str | None
    thinking: str | None
    hidden_tokens: int
    cache_ttl: str | None
    inference_geo: str | None
    stop_sequences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """The API version and betas that a request is sent under, and whether it is in a batch or a realtime call."""

    version: str
    betas: frozenset[str] = frozenset()
    batch: bool = True


def make_plan(params: JsonObject, call: Call, shape_bytes: int) -> AnswerPlan:
    """Return the plan for a shape. Raises ParamsError with the provider's own message."""
    _check_keys(params, call)
    model = _model(params)
    max_tokens = _max_tokens(params, model, call)
    _check_sampling(params, model, call)
    _check_small(params, model)
    count = SchemaCount()
    schema = _output_schema(params, model, count)
    thinking = _thinking(params, model, max_tokens)
    tool = check_tools(params, thinking, count, ParamsError)
    if tool is not None:
        schema = tool.schema
    return AnswerPlan(
        model=model,
        version=call.version,
        max_tokens=max_tokens,
        schema=schema,
        tool=None if tool is None else tool.name,
        thinking=thinking,
        hidden_tokens=shape_bytes // 6 if schema is not None or params.get("tools") else 0,
        cache_ttl=cache_ttl("cache_control", params.get("cache_control")),
        inference_geo=params.get("inference_geo"),
        stop_sequences=tuple(params.get("stop_sequences") or ()),
    )


def cache_ttl(place: str, control: object) -> str | None:
    """Return the lifetime in a `cache_control`; None if there is none. Raises ParamsError for a wrong one."""
    if control is None:
        return None
    if not is_object(control) or control.get("type") != "ephemeral":
        raise ParamsError(f"{place}: Input tag does not match any of the expected tags: 'ephemeral'")
    for name in control:
        if name not in ("type", "ttl"):
            raise ParamsError(f"{place}.ephemeral.{name}: Extra inputs are not permitted")
    if control.get("ttl", "5m") not in ("5m", "1h"):
        raise ParamsError(f"{place}.ephemeral.ttl: Input should be '5m' or '1h'")
    return str(control.get("ttl", "5m"))


def _check_keys(params: JsonObject, call: Call) -> None:
    for name in params:
        if name in _KEYS or (name in _SAMPLING and call.version == OLD_VERSION):
            continue
        raise ParamsError(f"{name}: Extra inputs are not permitted")
    for name in ("model", "max_tokens", "messages"):
        if name not in params:
            raise ParamsError(f"{name}: Field required")
    if call.batch and params.get("stream"):
        raise ParamsError("stream: streaming is not supported here")
    if call.batch and "speed" in params:
        raise ParamsError("speed: Extra inputs are not permitted")


def _model(params: JsonObject) -> Model:
    name = params["model"]
    if not isinstance(name, str):
        raise ParamsError("model: Input should be a valid string")
    model = find_model(name)
    if model is None:
        raise ParamsError(f"model: {name}", "not_found_error")
    return model


def _max_tokens(params: JsonObject, model: Model, call: Call) -> int:
    value = params["max_tokens"]
    if not is_integer(value):
        raise ParamsError("max_tokens: Input should be a valid integer")
    if value < 1:
        raise ParamsError("max_tokens: Input should be greater than or equal to 1")
    cap = model.max_tokens
    if call.batch and model.long_output and LONG_OUTPUT_BETA in call.betas:
        cap = LONG_OUTPUT_TOKENS
    if value > cap:
        raise ParamsError(
            f"max_tokens: {value} > {cap}, which is the maximum allowed number of output tokens for {model.id}"
        )
    return value


def _check_sampling(params: JsonObject, model: Model, call: Call) -> None:
    for name, default in _SAMPLING.items():
        value = params.get(name)
        if value is None:
            continue
        if not is_number(value) or (name == "top_k" and not is_integer(value)):
            raise ParamsError(f"{name}: Input should be a valid {'integer' if name == 'top_k' else 'number'}")
        if value < 0 or (name != "top_k" and value > 1):
            raise ParamsError(f"{name}: range: 0..1")
        if not model.takes_sampling and value != default:
            raise ParamsError(f"`{name}` is not supported by {model.id}; remove it or use its default")
        if name == "top_p" and params.get("temperature") is not None:
            raise ParamsError("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")
        thinking = params.get("thinking")
        thinks = is_object(thinking) and thinking.get("type") in ("enabled", "adaptive")
        if name == "temperature" and value != 1 and thinks:
            raise ParamsError("`temperature` may only be set to 1 when thinking is enabled")


def _texts(value: object) -> bool:
    return is_list(value) and all(isinstance(part, str) for part in value)


_SMALL: dict[str, tuple[Callable[[Any], bool], str]] = {
    "metadata": (is_object, "Input should be a valid dictionary"),
    "service_tier": (
        lambda value: value in ("auto", "standard_only"),
        "Input should be 'auto' or 'standard_only'",
    ),
    "stop_sequences": (_texts, "Input should be a valid list of strings"),
    "stream": (lambda value: isinstance(value, bool), "Input should be a valid boolean"),
    "inference_geo": (
        lambda value: value is None or isinstance(value, str),
        "Input should be a valid string",
    ),
    "diagnostics": (lambda value: value is None or is_object(value), "Input should be a valid dictionary"),
    "container": (
        lambda value: value is None or isinstance(value, str) or is_object(value),
        "Input should be a valid string or dictionary",
    ),
    "user_profile_id": (lambda value: isinstance(value, str), "Input should be a valid string"),
    "speed": (lambda value: value in ("standard", "fast", None), "Input should be 'standard' or 'fast'"),
}


def _check_small(params: JsonObject, model: Model) -> None:
    for name, (fits, complaint) in _SMALL.items():
        if name in params and not fits(params[name]):
            raise ParamsError(f"{name}: {complaint}")
    for name in params.get("metadata") or ():
        if name != "user_id":
            raise ParamsError(f"metadata.{name}: Extra inputs are not permitted")
    if any(re.fullmatch(r"\s*", text) for text in params.get("stop_sequences") or ()):
        raise ParamsError("stop_sequences: each stop sequence must contain non-whitespace")
    if params.get("inference_geo") is not None and not model.takes_inference_geo:
        raise ParamsError(f"inference_geo: {model.id} does not support inference_geo")


def _output_schema(params: JsonObject, model: Model, count: SchemaCount) -> JsonObject | None:
    config = params.get("output_config", {})
    if not is_object(config):
        raise ParamsError("output_config: Input should be a valid dictionary")
    for name in config:
        if name not in ("effort", "format"):
            raise ParamsError(f"output_config.{name}: Extra inputs are not permitted")
    effort = config.get("effort")
    if effort is not None:
        if not model.takes_effort:
            raise ParamsError("output_config.effort: This model does not support the effort parameter.")
        if effort not in EFFORT_LEVELS:
            allowed = ", ".join(f"'{level}'" for level in EFFORT_LEVELS)
            raise ParamsError(f"output_config.effort: Input should be one of {allowed}")
    form = config.get("format")
    if form is None:
        return None
    if not is_object(form) or form.get("type") != "json_schema":
        raise ParamsError("output_config.format.type: Input should be 'json_schema'")
    for name in form:
        if name not in ("type", "schema"):
            raise ParamsError(f"output_config.format.json_schema.{name}: Extra inputs are not permitted")
    if "schema" not in form:
        raise ParamsError("output_config.format.json_schema.schema: Field required")
    schema: JsonObject = form["schema"]
    try:
        check_schema(schema, count)
    except SchemaRefusedError as problem:
        raise ParamsError(f"output_config.format.schema: {problem}") from problem
    return schema


def _thinking(params: JsonObject, model: Model, max_tokens: int) -> str | None:
    thinking = params.get("thinking")
    if thinking is None:
        return "default" if model.thinks_by_default else None
    kind = thinking.get("type") if is_object(thinking) else None
    keys = {"enabled": ("type", "budget_tokens", "display"), "adaptive": ("type", "display")}
    if not is_object(thinking) or kind not in ("enabled", "adaptive", "disabled", "between_tools"):
        raise ParamsError(
            "thinking: Input tag does not match any of the expected tags: 'enabled', 'disabled', 'adaptive'"
        )
    for name in thinking:
        if name not in keys.get(kind, ("type",)):
            raise ParamsError(f"thinking.{kind}.{name}: Extra inputs are not permitted")
    if kind == "enabled":
        budget = thinking.get("budget_tokens")
        if not is_integer(budget):
            raise ParamsError("thinking.enabled.budget_tokens: Field required")
        if budget < 1024:
            raise ParamsError("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        if budget >= max_tokens:
            raise ParamsError("`max_tokens` must be greater than `thinking.budget_tokens`")
    if kind not in model.thinking_types:
        advice = ' Use "thinking.type.adaptive" and "output_config.effort".' if kind == "enabled" else ""
        raise ParamsError(f'"thinking.type.{kind}" is not supported for this model.{advice}')
    config: JsonObject = params.get("output_config") or {}
    effort = config.get("effort")
    if kind in ("disabled", "between_tools"):
        if model.id == "claude-opus-5" and effort not in (None, *EFFORTS_WITHOUT_THINKING):
            raise ParamsError(f"thinking.{kind}: not supported with effort '{effort}' on {model.id}")
        return None
    return str(kind)
