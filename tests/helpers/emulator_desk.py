"""The tools that the emulator's tests share: a running emulator, the real SDK, and plain HTTP."""

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import anthropic
import pytest
from anthropic.types import Message
from anthropic.types.messages import MessageBatch, MessageBatchIndividualResponse
from pydantic import TypeAdapter

from batchpipe.emulator import Emulator

BATCH = TypeAdapter(MessageBatch)
LINE = TypeAdapter(MessageBatchIndividualResponse)
MESSAGE = TypeAdapter(Message)

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "label": {"type": "string", "enum": ["billing", "bug", "other"]},
        "confidence": {"type": "number"},
        "reason": {"type": "string"},
    },
    "required": ["label", "confidence", "reason"],
    "additionalProperties": False,
}
HEADERS = {"authorization": "Bearer sk-test", "anthropic-version": "2026-10-21"}
SDK = anthropic.Anthropic(api_key="sk-test", base_url="http://127.0.0.1:1", max_retries=0, timeout=20)


def ends(call: Callable[[], None], seconds: float = 60) -> None:
    """Check that `call` returns, with room for a busy machine, though what it interrupts would take longer."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive()


def params(text: str = "Route this ticket.", **changes: Any) -> dict[str, Any]:
    """Return params that every model accepts, with changes; a change to None removes the key."""
    made = {
        "model": "claude-haiku-4-5",
        "max_tokens": 200,
        "messages": [{"role": "user", "content": text}],
        **changes,
    }
    return {name: value for name, value in made.items() if value is not None}


def structured(text: str = "Route this ticket.", schema: Any = None, **changes: Any) -> dict[str, Any]:
    form = {"type": "json_schema", "schema": SCHEMA if schema is None else schema}
    return params(text, **{"output_config": {"format": form}, **changes})


def request(custom_id: str, wanted: dict[str, Any]) -> dict[str, Any]:
    return {"custom_id": custom_id, "params": wanted}


class Desk:
    """An emulator with a client of the real SDK, and with plain HTTP calls."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.emulator = Emulator(folder, **options)

    def __enter__(self) -> Self:
        self.emulator.start()
        self.sdk = SDK.with_options(base_url=self.emulator.base_url)
        return self

    def __exit__(self, *problem: object) -> None:
        self.emulator.stop()

    def key(self, key: str) -> anthropic.Anthropic:
        return self.sdk.with_options(api_key=key)

    def http(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Make one HTTP call without the SDK. Raises the errors of http.client."""
        connection = http.client.HTTPConnection(self.emulator.base_url.removeprefix("http://"), timeout=20)
        try:
            sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, sent, HEADERS if headers is None else headers)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def error(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> str:
        """Return `status type: message` of an error in the provider's JSON."""
        status, got, text = self.http(method, path, body, headers)
        found = json.loads(text)
        assert found["type"] == "error"
        assert found["request_id"] == got["request-id"]
        return f"{status} {found['error']['type']}: {found['error']['message']}"

    def control(self, path: str, value: Any) -> Any:
        status, _, text = self.http("POST", f"/emulator/{path}", value, {})
        assert status == 200, text
        return json.loads(text)

    def faults(self, **rules: Any) -> None:
        self.control("faults", rules)

    def advance(self, seconds: float) -> None:
        self.control("clock", {"advance_seconds": seconds})

    def log(self) -> Any:
        return json.loads(self.http("GET", "/emulator/log", headers={})[2])

    def create(self, *wanted: dict[str, Any]) -> MessageBatch:
        """Make a batch of requests r-0, r-1, ..., each with the params given."""
        requests: Any = [request(f"r-{place}", one) for place, one in enumerate(wanted)]
        return self.sdk.messages.batches.create(requests=requests)

    def end(self, batch_id: str) -> MessageBatch:
        """Retrieve the batch until it has ended; each reply is checked against the SDK's types."""
        for _ in range(3):
            _, _, text = self.http("GET", f"/v1/messages/batches/{batch_id}")
            batch = BATCH.validate_json(text, strict=False)
            if batch.processing_status == "ended":
                counts = batch.request_counts
                assert counts.processing == 0
                return batch
        raise AssertionError(f"{batch_id} did not end")

    def raw_lines(self, batch_id: str) -> list[dict[str, Any]]:
        status, headers, text = self.http("GET", f"/v1/messages/batches/{batch_id}/results")
        assert (status, headers["content-type"]) == (200, "application/x-jsonl"), text
        return [json.loads(line) for line in text.splitlines()]

    def results(self, *wanted: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the `result` of each params, in the order given; each line is checked against the SDK's types."""
        batch = self.create(*wanted)
        self.end(batch.id)
        lines = self.raw_lines(batch.id)
        for line in lines:
            LINE.validate_python(line)
        found = {line["custom_id"]: line["result"] for line in lines}
        return [found[f"r-{place}"] for place in range(len(wanted))]

    def message(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Return the message that answers one request."""
        (result,) = self.results(wanted)
        assert result["type"] == "succeeded", result
        message: dict[str, Any] = result["message"]
        return message

    def text(self, wanted: dict[str, Any]) -> str:
        return "".join(block["text"] for block in self.message(wanted)["content"] if block["type"] == "text")

    def complaint(self, wanted: dict[str, Any]) -> str:
        """Return `type: message` of the error that one request ends with, or "" if it succeeds."""
        (result,) = self.results(wanted)
        if result["type"] == "succeeded":
            return ""
        inner = result["error"]["error"]
        return f"{inner['type']}: {inner['message']}"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Desk(tmp_path / "state") as made:
        yield made
