"""Replies whose bytes come one by one, for ever, over a real connection: each call of each protocol ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from projects import Project

from batchpipe.engine.notices import deliver
from batchpipe.project.notify import Notify
from batchpipe.providers import (
    Message,
    Provider,
    RungSettings,
    Shipment,
    UnavailableError,
    UnknownOutcomeError,
    get_provider_module,
)
from batchpipe.providers.shared import bounds, wire

from .dripping import Dripping
from .protocols import KEY, PROTOCOLS, Spoken

MORE_THAN_BUFFERS = 30_000_000
WAIT_SECONDS = 0.1
# A call that ended by itself ended soon after its time; the clock of a busy machine is given room.
ENDED_SECONDS = 8.0

HEADERS = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
DRIPS = {
    "a header": HEADERS + b"x-long: ",
    "a status": b"HTTP/1.1 200 ",
    "no news": b"",
    "a chunk": HEADERS + b"transfer-encoding: chunked\r\n\r\n5;",
    "an error": b"HTTP/1.1 503 Unavailable\r\ntransfer-encoding: chunked\r\n\r\n5;",
}


class Caller:
    """A provider of a protocol at an address, and a call of each kind."""

    def __init__(self, spoken: Spoken, base_url: str) -> None:
        module = get_provider_module(spoken.protocol)
        self.provider: Provider = module.provider(
            {module.KEY_VARIABLE: KEY}, base_url=base_url, endpoint=spoken.endpoint, timeout_seconds=WAIT_SECONDS
        )
        self.rung = RungSettings(model=spoken.model, max_tokens=9_000)
        self.batch_id = "batches/a" if spoken.protocol == "gemini" else "batch_1"

    def create(self) -> None:
        shipment = Shipment(label="suite-1", rung=self.rung, count=1, headers={})
        self.provider.submit(b"{}", shipment, input_id="files/a", timeout_seconds=WAIT_SECONDS)

    def that_make_nothing(self, folder: Path) -> list[Callable[[], object]]:
        """Return the calls that make no batch."""
        return [
            self.ask,
            partial(self.ask, max_tokens=200),
            partial(self.provider.poll, self.batch_id),
            partial(self.provider.cancel, self.batch_id),
            partial(self.provider.collect, self.batch_id, folder / "results.jsonl"),
            partial(self.provider.list_batches, lambda read: False),
            self.provider.account,
        ]

    def ask(self, *, max_tokens: int = 9_000) -> None:
        encode = self.provider.encoder(self.rung, output_format="text", sent_schema=None)
        params = encode(Message(None, "x"), max_tokens=max_tokens)
        headers = self.provider.batch_headers(self.rung)
        self.provider.answer("id-1", params, headers=headers, timeout_seconds=WAIT_SECONDS)


@pytest.fixture(params=PROTOCOLS, ids=lambda spoken: spoken.name)
def spoken(request: pytest.FixtureRequest) -> Spoken:
    found: Spoken = request.param
    return found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ERROR_SECONDS", "REPLY_SECONDS", "STREAM_SECONDS", "FILE_SECONDS"):
        monkeypatch.setattr(bounds, name, WAIT_SECONDS)
    monkeypatch.setattr(wire, "SEND_SECONDS", WAIT_SECONDS)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", DRIPS)
def test_every_call_ends_in_time_as_what_it_is(spoken: Spoken, name: str, tmp_path: Path) -> None:
    drop = b"HTTP/1.1 103 Early Hints\r\n\r\n" if name == "no news" else b"0"
    server = Dripping(DRIPS[name], drop)
    caller = Caller(spoken, server.base_url)
    began = time.monotonic()
    try:
        with pytest.raises(UnknownOutcomeError):
            caller.create()
        for call in caller.that_make_nothing(tmp_path):
            with pytest.raises(UnavailableError):
                call()
    finally:
        server.close()
    assert time.monotonic() - began < ENDED_SECONDS
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_a_body_that_is_read_slowly_ends_in_time(spoken: Spoken) -> None:
    server = Dripping(b"", b"", reads=False)
    caller = Caller(spoken, server.base_url)
    body = b" " * MORE_THAN_BUFFERS
    shipment = Shipment(label="suite-1", rung=caller.rung, count=1, headers={})
    began = time.monotonic()
    try:
        if spoken.protocol == "anthropic":
            with pytest.raises(UnknownOutcomeError):
                caller.provider.submit(body, shipment, input_id=None, timeout_seconds=5)
        else:
            with pytest.raises(UnavailableError):
                caller.provider.upload(body, shipment, timeout_seconds=5)
    finally:
        server.close()
    assert time.monotonic() - began < ENDED_SECONDS


def test_a_webhook_whose_reply_drips_ends_in_time(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "TRY_SECONDS", 0.2)
    server = Dripping(b"HTTP/1.1 200 OK\r\nx-long: ", b"0")
    try:
        failed = deliver.deliver(project.context(), Notify(webhook=server.base_url), {"text": "ended"})
    finally:
        server.close()
    assert failed == ["the webhook at 127.0.0.1 cannot be reached: ReadTimeout"]
