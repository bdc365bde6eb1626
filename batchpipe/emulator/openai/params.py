"""The service's rules on request bodies, for responses and for chat completions; and the texts in them."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from batchpipe.emulator.answering.files import File, read_bytes, read_data_url
from batchpipe.emulator.answering.texts import Texts
from batchpipe.emulator.openai.errors import OpenAIError
from batchpipe.emulator.openai.models import Model, find_model
from batchpipe.emulator.openai.schemas import check_strict
from batchpipe.emulator.service.jsontypes import JsonObject, is_integer, is_list, is_number, is_object, word_set

RESPONSES, CHAT = "/v1/responses", "/v1/chat/completions"
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_KEYS = {
    RESPONSES: word_set(
        "background background_options include input instructions max_output_tokens max_tool_calls metadata model "
        "moderation parallel_tool_calls prompt_cache_key prompt_cache_options prompt_cache_retention reasoning "
        "safety_identifier service_tier store stream stream_options temperature text tool_choice tools top_logprobs "
        "top_p truncation user previous_response_id conversation prompt context_management"
    ),
    CHAT: word_set(
        "frequency_penalty logit_bias logprobs max_completion_tokens max_tokens messages metadata modalities model "
        "moderation n parallel_tool_calls presence_penalty prompt_cache_key prompt_cache_options "
        "prompt_cache_retention reasoning_effort response_format safety_identifier seed service_tier stop store "
        "stream stream_options temperature tool_choice tools top_logprobs top_p user verbosity web_search_options"
    ),
}
_NOT_IN_BATCHES = ("stream", "background", "previous_response_id", "conversation")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MOST_BREAKPOINTS = 4
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_MOST_FILE_BYTES = 52_428_800


@dataclass(frozen=True, slots=True)
class AnswerPlan:
    """How a request is answered.

    `schema` is that of the JSON answer or of the tool `tool`; None for free text. `cache_mode` is "automatic" for
    models whose writes are free, "implicit", or "explicit". `hidden_tokens` are those of the schema and the tools.
    """

    model: Model
    endpoint: str
    max_tokens: int
    schema: JsonObject | None
    tool: str | None
    effort: str
    cache_mode: str
    cache_ttl: str
    service_tier: str
    hidden_tokens: int


def refuse(message: str, param: str | None = None, code: str | None = None, status: int = 400) -> OpenAIError:
    """Return the error of a wrong body."""
    return OpenAIError(status, message, param=param, code=code)


def make_plan(body: JsonObject, endpoint: str, *, batch: bool) -> AnswerPlan:
    """Return the plan for a body. Raises OpenAIError with the provider's own message."""
    for name in body:
        if name not in _KEYS[endpoint]:
            raise refuse(f"Unknown parameter: '{name}'.", name, "unknown_parameter")
    for name in _NOT_IN_BATCHES if batch else ():
        if body.get(name):
            raise refuse(f"'{name}' is not supported in batches.", name, "unsupported_parameter")
    model = _model(body, endpoint)
    max_tokens = _max_tokens(body, model, endpoint)
    effort = _effort(body, model, endpoint)
    _check_sampling(body, model, effort)
    schema = _schema(body, endpoint)
    tool = _tool(body, model, endpoint, effort)
    if tool is not None:
        schema = tool[1]
    mode, ttl = _caching(body, model, endpoint)
    return AnswerPlan(
        model=model,
        endpoint=endpoint,
        max_tokens=max_tokens,
        schema=schema,
        tool=None if tool is None else tool[0],
        effort=effort,
        cache_mode=mode,
        cache_ttl=ttl,
        service_tier=_service_tier(body),
        hidden_tokens=len(str(schema)) // 8 if schema is not None else 0,
    )


def _model(body: JsonObject, endpoint: str) -> Model:
    name = body.get("model")
    if not isinstance(name, str):
        raise refuse("Missing required parameter: 'model'.", "model", "missing_required_parameter")
    model = find_model(name)
    if model is None:
        message = f"The model `{name}` does not exist or you do not have access to it."
        raise refuse(message, "model", "model_not_found", 404)
    if endpoint == CHAT and not model.chat:
        raise refuse("This model is only supported in v1/responses and not in v1/chat/completions.", "model")
    return model


def _max_tokens(body: JsonObject, model: Model, endpoint: str) -> int:
    names = ("max_output_tokens",) if endpoint == RESPONSES else ("max_completion_tokens", "max_tokens")
    for name in names:
        value = body.get(name)
        if value is None:
            continue
        if name == "max_tokens" and model.efforts and not model.foreign:
            message = (
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'."
            )
            raise refuse(message, name, "unsupported_parameter")
        if not is_integer(value) or value < 1:
            raise refuse(f"Invalid value for '{name}': expected an integer above 0.", name, "invalid_type")
        if value > model.max_tokens:
            raise refuse(f"{name} is too large: {value}. This model supports at most {model.max_tokens}.", name)
        return value
    return model.max_tokens


def _effort(body: JsonObject, model: Model, endpoint: str) -> str:
    reasoning = body.get("reasoning") or {}
    if not is_object(reasoning):
        raise refuse("Invalid type for 'reasoning': expected an object.", "reasoning", "invalid_type")
    effort = reasoning.get("effort") if endpoint == RESPONSES else body.get("reasoning_effort")
    place = "reasoning.effort" if endpoint == RESPONSES else "reasoning_effort"
    if effort is None:
        return model.default_effort
    if effort not in EFFORTS:
        raise refuse(f"Invalid value: '{effort}'. Supported values are: {', '.join(EFFORTS)}.", place, "invalid_value")
    if model.efforts is not None and effort not in model.efforts:
        message = f"Unsupported value: '{effort}' is not supported with the '{model.id}' model."
        raise refuse(message, place, "unsupported_value")
    return str(effort)


def _check_sampling(body: JsonObject, model: Model, effort: str) -> None:
    for name, most in (("temperature", 2), ("top_p", 1)):
        value = body.get(name)
        if value is None:
            continue
        if not is_number(value) or not 0 <= value <= most:
            raise refuse(f"Invalid '{name}': expected a number from 0 to {most}.", name, "invalid_value")
        if effort != "none" and not model.foreign:
            message = f"Unsupported parameter: '{name}' is not supported with this model."
            raise refuse(message, name, "unsupported_parameter")


def _schema(body: JsonObject, endpoint: str) -> JsonObject | None:
    place, holder, form = "response_format", body, body.get("response_format")
    if endpoint == RESPONSES:
        holder = body.get("text") or {}
        if not is_object(holder) or not set(holder) <= {"format", "verbosity"}:
            raise refuse("Unknown parameter in 'text'.", "text", "unknown_parameter")
        place, form = "text.format", holder.get("format")
    verbosity = holder.get("verbosity") if endpoint == RESPONSES else body.get("verbosity")
    if verbosity not in (None, "low", "medium", "high"):
        raise refuse(f"Invalid value: '{verbosity}'.", "verbosity", "invalid_value")
    if form is None:
        return None
    if not is_object(form) or form.get("type") not in ("text", "json_object", "json_schema"):
        raise refuse(f"Invalid value for '{place}.type'.", f"{place}.type", "invalid_value")
    if form["type"] != "json_schema":
        return {"type": "object", "properties": {}} if form["type"] == "json_object" else None
    inner: Any = form if endpoint == RESPONSES else form.get("json_schema")
    if not is_object(inner) or not _NAME.fullmatch(str(inner.get("name", ""))):
        raise refuse(f"Missing required parameter: '{place}.name'.", f"{place}.name", "missing_required_parameter")
    schema = inner.get("schema")
    if not is_object(schema):
        raise refuse(f"Missing required parameter: '{place}.schema'.", f"{place}.schema", "missing_required_parameter")
    if inner.get("strict"):
        check_strict(schema, f"{place}.schema", str(inner["name"]))
    return schema


def _tool(body: JsonObject, model: Model, endpoint: str, effort: str) -> tuple[str, JsonObject] | None:
    tools = body.get("tools") or []
    if not is_list(tools) or not all(is_object(tool) and isinstance(tool.get("type"), str) for tool in tools):
        raise refuse("Invalid type for 'tools'.", "tools", "invalid_type")
    functions = [tool for tool in tools if tool["type"] == "function"]
    without_tools = model.id.startswith("gpt-6") and (model.id.endswith("-astra") or effort != "none")
    if functions and endpoint == CHAT and without_tools:
        message = "Function tools are not supported with this model in v1/chat/completions. Use v1/responses."
        raise refuse(message, "tools", "unsupported_parameter")
    choice = body.get("tool_choice")
    named = [tool if endpoint == RESPONSES else tool.get("function") or {} for tool in functions]
    for tool in named:
        if tool.get("strict") and is_object(tool.get("parameters")):
            check_strict(tool["parameters"], "tools", str(tool.get("name")))
    if not is_object(choice):
        return None
    wanted = choice.get("name") if endpoint == RESPONSES else (choice.get("function") or {}).get("name")
    chosen = next((tool for tool in named if tool.get("name") == wanted), None)
    if chosen is None:
        raise refuse(f"Tool choice '{wanted}' not found in 'tools' parameter.", "tool_choice", "invalid_value")
    return str(wanted), chosen.get("parameters") or {"type": "object", "properties": {}}


def _caching(body: JsonObject, model: Model, endpoint: str) -> tuple[str, str]:
    options = body.get("prompt_cache_options")
    retention = body.get("prompt_cache_retention")
    if not model.paid_writes:
        if options is not None and not model.foreign:
            message = "Unsupported parameter: 'prompt_cache_options' is not supported with this model."
            raise refuse(message, "prompt_cache_options", "unsupported_parameter")
        return "automatic", "30m"
    if retention is not None:
        message = "Unsupported parameter: 'prompt_cache_retention' is not supported with this model."
        raise refuse(message, "prompt_cache_retention", "unsupported_parameter")
    options = {} if options is None else options
    if not is_object(options) or not set(options) <= {"mode", "ttl", "prewarm", "comparison_response_id"}:
        raise refuse("Unknown parameter in 'prompt_cache_options'.", "prompt_cache_options", "unknown_parameter")
    mode, ttl = options.get("mode", "implicit"), options.get("ttl", "30m")
    if mode not in ("implicit", "explicit") or ttl not in (("30m", "12h") if endpoint == RESPONSES else ("30m",)):
        raise refuse("Invalid value for 'prompt_cache_options'.", "prompt_cache_options", "invalid_value")
    return str(mode), str(ttl)


def _service_tier(body: JsonObject) -> str:
    tier = body.get("service_tier") or "auto"
    if tier not in ("auto", "default", "flex", "scale", "priority", "fast"):
        raise refuse(f"Invalid value: '{tier}'.", "service_tier", "invalid_value")
    return {"auto": "default", "fast": "priority"}.get(str(tier), str(tier))


def read_texts(body: JsonObject, plan: AnswerPlan, attached: Callable[[object], bytes | None]) -> Texts:
    """Check the messages of a body and return their texts; `attached` returns the content of a named file.

    Raises OpenAIError with the provider's own message.
    """
    return _Reader(plan, attached).read(body)


class _Reader:
    def __init__(self, plan: AnswerPlan, attached: Callable[[object], bytes | None]) -> None:
        self.attached = attached
        self.plan = plan
        self.responses = plan.endpoint == RESPONSES
        self.name = "input" if self.responses else "messages"
        self.seen: list[str] = []
        self.marks: list[int] = []
        self.files: list[File] = []

    def read(self, body: JsonObject) -> Texts:
        instructions = body.get("instructions")
        if isinstance(instructions, str):
            self.seen.append(instructions)
        found = body.get(self.name)
        if self.responses and isinstance(found, str):
            found = [{"role": "user", "content": found}]
        if not is_list(found) or not found:
            raise refuse(f"Missing required parameter: '{self.name}'.", self.name, "missing_required_parameter")
        texts = [self.message(f"{self.name}[{place}]", each) for place, each in enumerate(found)]
        if len(self.marks) > _MOST_BREAKPOINTS:
            raise refuse(f"At most {_MOST_BREAKPOINTS} prompt_cache_breakpoints are supported.", self.name)
        users = [place for place, (role, _, _) in enumerate(texts) if role == "user"]
        last = texts[users[-1]][1] if users else texts[-1][1]
        other = "\n".join(text for place, (_, text, _) in enumerate(texts) if not users or place != users[-1])
        first = texts[users[-1]][2] if users else last
        first += "".join(each.text for each in self.files)
        return Texts(last, f"{instructions or ''}\n{other}", first, *self.cached(), tuple(self.files))

    def cached(self) -> tuple[str, str | None]:
        """Return the text that is cached, and for how long."""
        if self.plan.cache_mode == "explicit":
            until = self.marks[-1] if self.marks else 0
            return ("\n".join(self.seen[:until]), self.plan.cache_ttl) if until else ("", None)
        if self.plan.cache_mode == "implicit":
            return "\n".join(self.seen), self.plan.cache_ttl
        return "\n".join(self.seen[:-1]), self.plan.cache_ttl

    def message(self, here: str, message: object) -> tuple[str, str, str]:
        """Return the role, the text, and the text that tells the row from others."""
        if not is_object(message):
            raise refuse(f"Invalid type for '{here}': expected an object.", here, "invalid_type")
        role = message.get("role")
        if role not in ("user", "assistant", "system", "developer"):
            raise refuse(f"Invalid value: '{role}'.", f"{here}.role", "invalid_value")
        content = message.get("content")
        if isinstance(content, str):
            self.seen.append(content)
            return str(role), content, content
        if not is_list(content) or not content:
            raise refuse(f"Invalid type for '{here}.content'.", f"{here}.content", "invalid_type")
        own = ""
        parts = []
        for place, part in enumerate(content):
            text, marked = self.part(f"{here}.content[{place}]", part, str(role))
            parts.append(text)
            own = "" if marked and part is not content[-1] else own or text
        return str(role), "\n".join(parts), own

    def file(self, here: str, part: JsonObject, kind: str) -> str:
        """Return what stands for a picture or a file."""
        holder: Any = part
        if not self.responses:
            holder = part.get(kind) if is_object(part.get(kind)) else {}
        image = kind in ("input_image", "image_url")
        given = holder.get("image_url" if self.responses else "url") if image else holder.get("file_data")
        address = given if image else holder.get("file_url")
        if isinstance(address, str) and address.startswith(("http://", "https://")):
            if not image and not self.responses:
                raise refuse("Unknown parameter: 'file_url'.", here, "unknown_parameter")
            return f"[{kind} {address}]"
        file_id = holder.get("file_id") if given is None and (self.responses or not image) else None
        if file_id is not None:
            data = self.attached(file_id)
            if data is None:
                raise refuse(f"No such File object: {file_id}", "id", "file_not_found")
            found = read_bytes(data)
        else:
            found = read_data_url(given)
        if found is None or found.is_image is not image:
            what = "The image data you provided does not represent a valid image." if image else "Invalid file data."
            raise refuse(what, here, "invalid_image" if image else "invalid_file")
        if image and found.media_type not in _IMAGES:
            raise refuse(f"Unsupported image type {found.media_type}.", here, "unsupported_image_media_type")
        if not image and file_id is None and not isinstance(holder.get("filename"), str):
            raise refuse(f"Missing required parameter: '{here}.filename'.", here, "missing_required_parameter")
        self.files.append(found)
        if sum(each.size for each in self.files) > _MOST_FILE_BYTES:
            raise refuse("The files of a request may have 50 MB together.", here, "file_too_large")
        return found.text

    def part(self, here: str, part: object, role: str) -> tuple[str, bool]:
        if not is_object(part):
            raise refuse(f"Invalid type for '{here}': expected an object.", here, "invalid_type")
        kind = part.get("type")
        texts = ("output_text",) if role == "assistant" and self.responses else ("input_text",)
        known = (*texts, "input_image", "input_file") if self.responses else ("text", "image_url", "file")
        if kind not in known:
            supported = ", ".join(f"'{each}'" for each in known)
            raise refuse(
                f"Invalid value: '{kind}'. Supported values are: {supported}.", f"{here}.type", "invalid_value"
            )
        text = part.get("text") if kind in (*texts, "text") else self.file(here, part, str(kind))
        if not isinstance(text, str):
            raise refuse(f"Missing required parameter: '{here}.text'.", f"{here}.text", "missing_required_parameter")
        self.seen.append(text)
        point = part.get("prompt_cache_breakpoint")
        if point is None:
            return text, False
        if not self.plan.model.paid_writes:
            raise refuse("Unsupported parameter: 'prompt_cache_breakpoint'.", here, "unsupported_parameter")
        if point != {"mode": "explicit"}:
            raise refuse("Invalid value for 'prompt_cache_breakpoint'.", here, "invalid_value")
        self.marks.append(len(self.seen))
        return text, True
