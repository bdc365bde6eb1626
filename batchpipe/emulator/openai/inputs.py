"""The input file of a batch, as the service checks it after the batch was made."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from batchpipe.emulator.answering.files import line_tokens
from batchpipe.emulator.openai.models import find_model
from batchpipe.emulator.service.jsontypes import JsonObject, is_object

_MOST_ERRORS = 100


@dataclass
class CheckedInput:
    """What an input file holds: its requests, about how many tokens they have, its model, and what is wrong with it."""

    requests: int = 0
    tokens: int = 0
    model: str | None = None
    errors: list[JsonObject] = field(default_factory=list[JsonObject])


def check_input(path: Path, endpoint: str, max_requests: int) -> CheckedInput:
    """Check a file line by line, as the service does while a batch is `validating`."""
    found = CheckedInput()
    seen: set[str] = set()
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            found.requests += 1
            found.tokens += line_tokens(line, image_tokens=1_100, page_tokens=2_800)
            for code, message, param in _problems(line, endpoint, found, seen):
                if len(found.errors) < _MOST_ERRORS:
                    found.errors.append({"code": code, "line": number, "message": message, "param": param})
    if not found.requests:
        found.errors.append(
            {"code": "empty_file", "line": None, "message": "The batch input file is empty.", "param": None}
        )
    if found.requests > max_requests:
        message = f"The batch input file has more than {max_requests} requests."
        found.errors.append({"code": "too_many_requests_in_file", "line": None, "message": message, "param": None})
    return found


def _problems(line: bytes, endpoint: str, found: CheckedInput, seen: set[str]) -> Iterator[tuple[str, str, str | None]]:
    """Yield the code, message and parameter of everything that is wrong with a line."""
    try:
        request: object = orjson.loads(line)
    except orjson.JSONDecodeError:
        request = None
    if not is_object(request):
        yield "invalid_json_line", "This line is not parseable as valid JSON.", None
        return
    for name in ("custom_id", "method", "url", "body"):
        if name not in request:
            yield "missing_required_parameter", f"Missing required parameter: '{name}'.", name
            return
    custom_id, body = request["custom_id"], request["body"]
    if not isinstance(custom_id, str) or not custom_id:
        yield "invalid_request", "'custom_id' has to be a string.", "custom_id"
        return
    if custom_id in seen:
        yield "duplicate_custom_id", f"The custom_id '{custom_id}' is used more than once.", "custom_id"
    seen.add(custom_id)
    if request["method"] != "POST":
        yield "invalid_method", "The 'method' has to be POST.", "method"
    if request["url"] != endpoint:
        yield "invalid_url", f"The URL '{request['url']}' does not match the endpoint of the batch.", "url"
    if not is_object(body):
        yield "missing_required_parameter", "The 'body' has to be an object.", "body"
        return
    model = body.get("model")
    if not isinstance(model, str):
        yield "missing_required_parameter", "Missing required parameter: 'model'.", "body.model"
    elif find_model(model) is None:
        yield "model_not_found", f"The provided model '{model}' is not supported by the Batch API.", "body.model"
    elif found.model is None:
        found.model = model
    elif found.model != model:
        message = f"The model '{model}' does not match the model '{found.model}' of the lines before."
        yield "mismatched_model", message, "body.model"
