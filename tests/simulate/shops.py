"""The three protocols of the emulated service as shops: what was taken, what came of it, and what that cost."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from batchpipe.emulator.service.store import Store

from .parts.pictures import words_of_pictures
from .parts.switches import SHOWN

QUESTION = re.compile(r"^.*?<<.*?>>", re.DOTALL)
AT_ONCE = re.compile(r"/v1/messages|/v1/responses|/v1/chat/completions|/v1beta/models/([^/:]+):(?:g|streamG)enerate.*")

# US dollars for a million tokens in a batch: input, output. A realtime call costs twice that.
PRICES = {
    "claude-haiku-4-5": ("0.5", "2.5"),
    "claude-sonnet-4-6": ("1.5", "7.5"),
    "claude-opus-4-8": ("2.5", "12.5"),
    "gpt-6-luna": ("0.05", "0.25"),
    "gpt-5.4-mini": ("0.375", "2.25"),
    "gemini-3.8-flash": ("0.375", "1.875"),
    "gemini-3.5-flash-lite": ("0.15", "1.25"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request: its custom id, its model, what was asked up to the end of the question, and its schema."""

    custom_id: str
    model: str
    text: str
    schema: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a request. `answer` is None where there is none. `name` is the answer's own id at the provider."""

    answer: str | None = None
    finished: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    name: str = ""


NOTHING = Result()
OF_SCHEMA = ("output_config", "text", "generationConfig", "response_format", "tools")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """One protocol. `table` has its batches, `id_column` their ids; `custom_id` names the id in a line."""

    protocol: str
    table: str
    id_column: str
    custom_id: str = "custom_id"

    def new(self, store: Store, after: int) -> list[tuple[int, str]]:
        """Return the number and the id of each batch since number `after`, without those of strangers."""
        if not store.query("SELECT 1 FROM sqlite_master WHERE name = ?", (self.table,)):
            return []  # the first call of a protocol makes its tables
        statement = f"SELECT number, {self.id_column} FROM {self.table} WHERE stranger = 0 AND number > ?"
        return [(int(number), str(name)) for number, name in store.query(f"{statement} ORDER BY number", (after,))]

    def ended(self, store: Store, name: str) -> bool:
        """Return whether a batch has ended."""
        return bool(store.query(f"SELECT 1 FROM {self.table} WHERE {self.id_column} = ? AND ended_at > 0", (name,)))

    def requests(self, store: Store, name: str) -> list[Asked]:
        """Return the requests of a batch."""
        path, model = store.body_path(name), ""
        if self.protocol == "gemini":
            found = store.query("SELECT file_name, model FROM gemini_batches WHERE name = ?", (name,))
            file, model = str(found[0][0]), str(found[0][1])
            path = store.folder / "bodies" / f"{file.partition('/')[2]}.gemini"
        inner = {"anthropic": "params", "openai": "body", "gemini": "request"}[self.protocol]
        lines = (json.loads(line) for line in path.read_bytes().splitlines() if line.strip())
        return [asked(line[inner], line[self.custom_id], model) for line in lines]

    def results(self, store: Store, name: str) -> dict[str, Result]:
        """Return the result of each request of a batch that has one, undamaged."""
        return {line[self.custom_id]: read_result(line) for path in self._files(store, name) for line in _lines(path)}

    def _files(self, store: Store, name: str) -> Iterator[Path]:
        if self.protocol != "openai":
            yield store.results_path(name.rpartition("/")[2])
            return
        statement = "SELECT output_file_id, error_file_id FROM openai_batches WHERE id = ?"
        for file in store.query(statement, (name,))[0]:
            if file is not None:
                yield store.folder / "files" / str(file)


SHOPS = (
    Shop(protocol="anthropic", table="batches", id_column="id"),
    Shop(protocol="openai", table="openai_batches", id_column="id"),
    Shop(protocol="gemini", table="gemini_batches", id_column="name", custom_id="key"),
)


def asked(body: Mapping[str, Any], custom_id: str = "", model: str = "") -> Asked:
    """Return what a request of any protocol asks."""
    texts = list(_texts(body))
    found = (QUESTION.match(text) for text in texts)
    text = next((match[0] for match in found if match), "") + "".join(words_of_pictures(each) for each in texts)
    schema = json.dumps([_without_room(body[name]) for name in OF_SCHEMA if body.get(name)], sort_keys=True)
    schema += "".join(each for each in _texts(_system(body)) if "<<" not in each)
    schema += "".join(each for each in texts if each == SHOWN)
    return Asked(custom_id=custom_id, model=str(body.get("model") or model), text=text, schema=schema)


def read_result(line: Mapping[str, Any]) -> Result:
    """Return the result that a result line of any protocol holds, or the body of a realtime call."""
    if "result" in line:
        return _of_anthropic((line["result"] or {}).get("message") or {})
    response = line.get("response") or line
    if "body" in response:
        response = response["body"] or {}
    if "output" in response:
        return _of_openai(response)
    if "usageMetadata" in response:
        return _of_gemini(response)
    return _of_anthropic(response) if response.get("type") == "message" else NOTHING


def cost_usd(model: str, result: Result, *, at_once: bool) -> Decimal:
    """Return what the provider bills for a result."""
    price_in, price_out = map(Decimal, PRICES[model])
    in_batch = (price_in * result.input_tokens + price_out * result.output_tokens) / 1_000_000
    return 2 * in_batch if at_once else in_batch


def _of_anthropic(message: Mapping[str, Any]) -> Result:
    if "content" not in message:
        return NOTHING
    usage = message["usage"]
    return Result(
        answer="".join(_said(each) for each in message["content"]),
        finished=message.get("stop_reason") in ("end_turn", "tool_use"),
        input_tokens=usage["input_tokens"],
        output_tokens=usage["output_tokens"],
        name=message["id"],
    )


def _said(block: Mapping[str, Any]) -> str:
    """Return what a block of an answer says: its text, or the fields that are given to the tool."""
    return json.dumps(block["input"]) if block.get("type") == "tool_use" else str(block.get("text", ""))


def _of_openai(response: Mapping[str, Any]) -> Result:
    parts = [part for each in response["output"] if each["type"] == "message" for part in each["content"]]
    given = (str(each["arguments"]) for each in response["output"] if each["type"] == "function_call")
    return Result(
        answer="".join(part["text"] for part in parts if part["type"] == "output_text") + "".join(given),
        finished=response["status"] == "completed" and all(part["type"] == "output_text" for part in parts),
        input_tokens=response["usage"]["input_tokens"],
        output_tokens=response["usage"]["output_tokens"],
        name=response["id"],
    )


def _of_gemini(response: Mapping[str, Any]) -> Result:
    usage = response["usageMetadata"]
    candidates: list[dict[str, Any]] = response.get("candidates") or [{}]
    candidate = candidates[0]
    parts = (candidate.get("content") or {}).get("parts") or ()
    return Result(
        answer="".join(
            json.dumps(part["functionCall"]["args"]) if "functionCall" in part else part.get("text", "")
            for part in parts
        ),
        finished=candidate.get("finishReason") == "STOP",
        input_tokens=usage.get("promptTokenCount", 0),
        output_tokens=usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0),
        name=response["responseId"],
    )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def _system(body: Mapping[str, Any]) -> Any:
    """Return the system prompt of a request of any protocol."""
    turns = [*(body.get("input") or ()), *(body.get("messages") or ())]
    said = [each for each in turns if isinstance(each, dict) and each.get("role") == "system"]
    return [body.get("system"), body.get("systemInstruction"), said]


def _without_room(config: Any) -> Any:
    if not isinstance(config, Mapping):
        return config
    return {name: value for name, value in config.items() if name not in ("maxOutputTokens", "thinkingConfig")}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().splitlines() if path.exists() else ():
        yield json.loads(line)
