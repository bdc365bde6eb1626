"""The service's rules on a request of `generateContent`: what it may hold, and the texts in it."""

import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from batchpipe.emulator.answering.files import File, read_file
from batchpipe.emulator.answering.texts import Texts
from batchpipe.emulator.gemini.errors import GoogleError
from batchpipe.emulator.gemini.models import Model
from batchpipe.emulator.gemini.schemas import check_schema
from batchpipe.emulator.service.jsontypes import JsonObject, is_integer, is_list, is_number, is_object, word_set

_REQUEST = word_set(
    "contents systemInstruction generationConfig safetySettings tools toolConfig cachedContent serviceTier model store"
)
_CONFIG = word_set(
    "temperature topP topK candidateCount maxOutputTokens stopSequences seed presencePenalty frequencyPenalty "
    "responseMimeType responseSchema responseJsonSchema responseModalities responseLogprobs logprobs thinkingConfig "
    "mediaResolution speechConfig imageConfig enableEnhancedCivicAnswers"
)
_THINKING = word_set("thinkingLevel thinkingBudget includeThoughts")
_PART = word_set("text thought thoughtSignature inlineData fileData functionCall functionResponse mediaResolution")
_DATA = ("text", "inlineData", "fileData", "functionCall", "functionResponse")
_RESOLUTIONS = ("MEDIA_RESOLUTION_LOW", "MEDIA_RESOLUTION_MEDIUM", "MEDIA_RESOLUTION_HIGH")
_THRESHOLDS = word_set("BLOCK_LOW_AND_ABOVE BLOCK_MEDIUM_AND_ABOVE BLOCK_ONLY_HIGH BLOCK_NONE OFF")
_FUNCTION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}")
_MOST_STOPS = 5
# The characters that make a token, in a rough guess.
_TOKEN_CHARACTERS = 4


# Returns the type and the bytes of an uploaded file by its address; None for any other address.
Attached = Callable[[str], tuple[str, bytes] | None]


@dataclass(slots=True)
class Attachments:
    """The files of a request, and what returns those that it names."""

    attached: Attached
    found: list[File] = field(default_factory=list[File])


@dataclass(frozen=True, slots=True)
class AnswerPlan:
    """What a request asks for: the most tokens, the schema of the answer, a function that it has to call, the texts.

    `tokens`: those of the prompt. `thinks`: whether the model thinks.
    """

    model: Model
    max_tokens: int
    schema: JsonObject | None
    function: str | None
    stop_sequences: tuple[str, ...]
    thinks: bool
    tier: str | None
    texts: Texts
    system: str
    tokens: int


def make_plan(request: object, model: Model, attached: Attached = lambda address: None) -> AnswerPlan:
    """Check a request and return what it asks for; `attached` returns a file that it names.

    Raises GoogleError with the service's words.
    """
    found = _camel(_members(request, "", None))
    _known("", found, _REQUEST)
    config = _camel(_members(found.get("generationConfig", {}), "generation_config", None))
    _known("generation_config", config, _CONFIG)
    _numbers(config, model)
    schema = _schema(config)
    function, parameters = _function(found)
    if found.get("cachedContent") is not None:
        raise GoogleError(403, "CachedContent not found (or permission denied)")
    _safety(found.get("safetySettings", []))
    tier = found.get("serviceTier")
    if tier is not None and tier not in ("unspecified", "standard", "flex", "priority"):
        raise _invalid("service_tier", tier)
    files = Attachments(attached)
    system = _texts("system_instruction", found["systemInstruction"], files) if "systemInstruction" in found else []
    turns = _turns(found.get("contents"), files)
    user = ["\n".join(texts) for role, texts in turns if role == "user"]
    shown = "\n".join(system)
    tokens = 8 + (sum(map(len, user)) + len(shown) + len(str(schema or parameters or ""))) // _TOKEN_CHARACTERS
    tokens += sum(map(_file_tokens, files.found))
    if tokens > model.context_tokens:
        raise GoogleError(
            400,
            f"The input token count ({tokens}) exceeds the maximum number of tokens allowed ({model.context_tokens}).",
        )
    return AnswerPlan(
        model=model,
        max_tokens=config.get("maxOutputTokens", model.max_tokens),
        schema=schema if function is None else parameters,
        function=function,
        stop_sequences=tuple(config.get("stopSequences", ())),
        thinks=_thinks(config.get("thinkingConfig"), model),
        tier=tier,
        texts=Texts(
            user[-1],
            "\n".join([shown, *user[:-1]]),
            turns[-1][1][0] + "".join(each.text for each in files.found),
            files=tuple(files.found),
        ),
        system=shown,
        tokens=tokens,
    )


def _camel(found: JsonObject) -> JsonObject:
    """Return the members under the names of the JSON form; the service takes the names of its protocol buffers too."""
    return {re.sub(r"_([a-z])", lambda each: each[1].upper(), name): value for name, value in found.items()}


def _members(value: object, place: str, allowed: frozenset[str] | None) -> JsonObject:
    if not is_object(value):
        raise GoogleError(400, f"Invalid value at '{place or 'request'}': expected an object")
    if allowed is not None:
        _known(place, _camel(value), allowed)
    return value


def _known(place: str, found: JsonObject, allowed: frozenset[str]) -> None:
    for name in found:
        if name not in allowed:
            where = f" at '{place}'" if place else ""
            message = f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.'
            raise GoogleError(400, message)


def _invalid(place: str, value: object) -> GoogleError:
    return GoogleError(400, f"Invalid value at '{place}': {value!r}")


def _numbers(config: JsonObject, model: Model) -> None:
    for name, low, high in (("temperature", 0, 2), ("topP", 0, 1), ("presencePenalty", -2, 2)):
        if name in config and not (is_number(config[name]) and low <= config[name] <= high):
            raise _invalid(f"generation_config.{name}", config[name])
    for name in ("topK", "seed", "candidateCount", "maxOutputTokens"):
        if name in config and not is_integer(config[name]):
            raise _invalid(f"generation_config.{name}", config[name])
    most = config.get("maxOutputTokens", 1)
    if not 1 <= most <= model.max_tokens:
        raise GoogleError(
            400,
            f"Unable to submit request because it has a maxOutputTokens value of {most} but the supported range is "
            f"from 1 (inclusive) to {model.max_tokens + 1} (exclusive).",
        )
    if config.get("candidateCount", 1) != 1:
        raise GoogleError(400, "Multiple candidates is not enabled for this model")
    stops = config.get("stopSequences", [])
    if not is_list(stops) or len(stops) > _MOST_STOPS or not all(isinstance(each, str) and each for each in stops):
        raise _invalid("generation_config.stop_sequences", stops)
    if config.get("mediaResolution", _RESOLUTIONS[0]) not in _RESOLUTIONS:
        raise _invalid("generation_config.media_resolution", config["mediaResolution"])


def _schema(config: JsonObject) -> JsonObject | None:
    given = [name for name in ("responseSchema", "responseJsonSchema") if config.get(name) is not None]
    if not given:
        return None
    if len(given) > 1:
        raise GoogleError(400, "response_schema and response_json_schema cannot be set together")
    if config.get("responseMimeType") != "application/json":
        raise GoogleError(400, "A response schema needs the response_mime_type application/json")
    schema = config[given[0]]
    check_schema(schema)
    return dict(schema)


def _function(found: JsonObject) -> tuple[str | None, JsonObject | None]:
    """Return the function that the model has to call, with the schema of its parameters; (None, None) for none."""
    declared: dict[str, Any] = {}
    tools = found.get("tools", [])
    for tool in tools if is_list(tools) else [tools]:
        functions = _camel(_members(tool, "tools", None)).get("functionDeclarations", [])
        for function in functions if is_list(functions) else [None]:
            known = _camel(_members(function, "tools.function_declarations", None))
            name = known.get("name")
            if not isinstance(name, str) or not _FUNCTION_NAME.fullmatch(name):
                raise GoogleError(400, f"Invalid function name {name!r}")
            declared[name] = known.get("parametersJsonSchema", known.get("parameters"))
            if declared[name] is not None:
                check_schema(declared[name])
    config = _camel(_members(found.get("toolConfig", {}), "tool_config", None)).get("functionCallingConfig", {})
    calling = _camel(_members(config, "tool_config.function_calling_config", None))
    mode, names = calling.get("mode", "AUTO"), calling.get("allowedFunctionNames", [])
    if mode not in ("AUTO", "ANY", "NONE", "VALIDATED") or not is_list(names):
        raise _invalid("tool_config.function_calling_config.mode", mode)
    if any(name not in declared for name in names) or (mode == "ANY" and not declared):
        raise GoogleError(400, "allowed_function_names has a function that is not declared")
    if mode != "ANY":
        return None, None
    name = str(names[0]) if names else next(iter(declared))
    return name, declared[name]


def _safety(settings: object) -> None:
    for each in settings if is_list(settings) else [settings]:
        found = _members(each, "safety_settings", None)
        if not str(found.get("category", "")).startswith("HARM_CATEGORY_") or found.get("threshold") not in _THRESHOLDS:
            raise _invalid("safety_settings", found)


def _thinks(config: object, model: Model) -> bool:
    """Return whether the model thinks under its `thinkingConfig`."""
    if config is None:
        return model.thinks
    found = _camel(_members(config, "generation_config.thinking_config", None))
    _known("generation_config.thinking_config", found, _THINKING)
    level, budget = found.get("thinkingLevel"), found.get("thinkingBudget")
    if level is not None and budget is not None:
        raise GoogleError(400, "You can only set only one of thinking budget and thinking level.")
    if level is not None:
        if not model.levels:
            raise GoogleError(400, "Thinking level is not supported for this model.")
        if str(level).lower() not in model.levels:
            raise GoogleError(400, f"Thinking level {level} is not supported for this model.")
        return str(level).lower() != "minimal"
    if budget is None:
        return model.thinks
    if not is_integer(budget) or not model.takes_budget:
        raise GoogleError(400, "Thinking budget is not supported for this model.")
    if budget == -1:
        return True
    if budget == 0 and not model.may_not_think:
        raise GoogleError(400, "Budget 0 is invalid. This model only works in thinking mode.")
    if budget and not model.budget[0] <= budget <= model.budget[1]:
        raise GoogleError(
            400,
            f"The thinking budget {budget} is invalid. Please choose a value between {model.budget[0]} and "
            f"{model.budget[1]}.",
        )
    return budget != 0


def _turns(contents: object, files: Attachments) -> list[tuple[str, list[str]]]:
    """Return the turns of a conversation as (role, texts)."""
    if not is_list(contents) or not contents:
        raise GoogleError(400, "* GenerateContentRequest.contents: contents is not specified")
    turns = []
    for place, content in enumerate(contents):
        here = f"contents[{place}]"
        role = _members(content, here, frozenset(("role", "parts"))).get("role", "user")
        if role not in ("user", "model"):
            raise GoogleError(400, "Please use a valid role: user, model.")
        turns.append((str(role), _texts(here, content, files)))
    if turns[-1][0] != "user":
        raise GoogleError(400, "Please ensure that the last turn has the role user.")
    return turns


def _file(here: str, part: JsonObject, files: Attachments) -> str:
    """Return what stands for a picture or a document, and add it to `files`; nothing for other parts."""
    if "fileData" in part:
        address = str(_camel(_members(part["fileData"], here, None)).get("fileUri"))
        named = files.attached(address)
        uploaded = read_file(b64encode(named[1]).decode(), named[0]) if named is not None else None
        if uploaded is None:
            return f"[file {address}]"
        files.found.append(uploaded)
        return uploaded.text
    if "inlineData" not in part:
        return ""
    given = _camel(_members(part["inlineData"], f"{here}.inline_data", None))
    media_type = str(given.get("mimeType"))
    if not media_type.startswith(("image/", "text/", "application/")):
        raise GoogleError(400, f"Unsupported MIME type: {media_type}")
    found = read_file(given.get("data"), media_type)
    if found is None or media_type == "image/gif":
        raise GoogleError(400, "Unable to process input image. Please retry or report in https://aistudio.google.com")
    files.found.append(found)
    return found.text


def _file_tokens(file: File) -> int:
    """Return the tokens of a picture, or of the pages of a document."""
    return 1_120 if file.is_image else max(file.pages, 1) * 560


def _texts(here: str, content: object, files: Attachments) -> list[str]:
    """Return the texts of the parts of a content; a picture or a document stands by its hash, and is in `files`."""
    parts = _members(content, here, frozenset(("role", "parts"))).get("parts")
    found = parts if is_list(parts) else [parts]
    if parts is None or not found:
        raise GoogleError(400, f"* GenerateContentRequest.{here}.parts: contents.parts must not be empty.")
    texts = []
    for place, part in enumerate(found):
        known = _camel(_members(part, f"{here}.parts[{place}]", None))
        _known(f"{here}.parts[{place}]", known, _PART)
        data = [name for name in _DATA if name in known]
        if len(data) != 1:
            message = f"* GenerateContentRequest.{here}.parts[{place}].data: required oneof field 'data' must have one "
            raise GoogleError(400, message + "initialized field")
        text = known.get("text", "") if data == ["text"] else _file(f"{here}.parts[{place}]", known, files)
        if not isinstance(text, str):
            raise _invalid(f"{here}.parts[{place}].text", text)
        texts.append(text)
    return texts
