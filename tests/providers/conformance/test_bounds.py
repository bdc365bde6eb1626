"""Replies without an end, in every protocol: each call ends, and an error keeps the meaning of its status."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress

import httpx2
import pytest

from batchpipe.providers import (
    Message,
    NotSentError,
    Provider,
    RefusedError,
    RungSettings,
    Shipment,
    UnavailableError,
    UnknownOutcomeError,
    get_provider_module,
)
from batchpipe.providers.shared import bounds

from .protocols import KEY, PROTOCOLS, Spoken

MANY = 20_000


class Endless(httpx2.SyncByteStream):
    """A body that goes on for ever; it counts what was read of it."""

    def __init__(self) -> None:
        self.read = 0
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        for _ in itertools.count():
            self.read += 1_000
            yield b"x" * 1_000

    def close(self) -> None:
        self.closed = True


class Broken(httpx2.SyncByteStream):
    """A body that breaks off."""

    def __iter__(self) -> Iterator[bytes]:
        yield b'{"error": '
        raise httpx2.RemoteProtocolError("peer closed the connection")


class Talk:
    """A provider of a protocol whose replies all have one status, and no end, or the given body."""

    def __init__(
        self, spoken: Spoken, status: int, kind: str = "application/json", body: httpx2.SyncByteStream | None = None
    ) -> None:
        self.bodies: list[Endless] = []

        def answer(request: httpx2.Request) -> httpx2.Response:
            self.bodies.append(Endless())
            return httpx2.Response(status, headers={"content-type": kind}, stream=body or self.bodies[-1])

        module = get_provider_module(spoken.protocol)
        self.provider: Provider = module.provider(
            {module.KEY_VARIABLE: KEY},
            base_url="https://provider.example",
            endpoint=spoken.endpoint,
            transport=httpx2.MockTransport(answer),
        )
        self.rung = RungSettings(model=spoken.model, max_tokens=9_000)

    def create(self) -> None:
        shipment = Shipment(label="suite-1", rung=self.rung, count=1, headers={})
        self.provider.submit(b"{}", shipment, input_id="files/a", timeout_seconds=5)

    def ask(self) -> None:
        encode = self.provider.encoder(self.rung, output_format="text", sent_schema=None)
        params = encode(Message(None, "x"), max_tokens=9_000)
        self.provider.answer("id-1", params, headers=self.provider.batch_headers(self.rung), timeout_seconds=5)


@pytest.fixture(params=PROTOCOLS, ids=lambda spoken: spoken.name)
def spoken(request: pytest.FixtureRequest) -> Spoken:
    found: Spoken = request.param
    return found


def test_every_call_ends(spoken: Spoken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "REPLY_BYTES", MANY)
    monkeypatch.setattr(bounds, "ERROR_BYTES", MANY)
    batch_id = "batches/a" if spoken.protocol == "gemini" else "batch_1"
    for status in (200, 307, 400, 404, 413, 429, 500, 529):
        for kind in ("application/json", "text/event-stream", "text/html"):
            talk = Talk(spoken, status, kind)
            with pytest.raises((RefusedError, UnknownOutcomeError)) as created:
                talk.create()
            assert isinstance(created.value, RefusedError) == (status == 413)
            with pytest.raises((RefusedError, UnavailableError)) as asked:
                talk.ask()
            assert getattr(asked.value, "status", 0) == (None if status == 200 else status)
            with pytest.raises((RefusedError, UnavailableError)):
                talk.provider.poll(batch_id)
            with pytest.raises((RefusedError, UnavailableError)):
                talk.provider.account()
            assert len(talk.bodies) == 4
            assert all(each.closed and each.read <= MANY + 1_000 for each in talk.bodies)


def test_a_body_that_drips_ends_by_the_clock(spoken: Spoken, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ERROR_SECONDS", "REPLY_SECONDS", "STREAM_SECONDS"):
        monkeypatch.setattr(bounds, name, 0.0)
    for status in (200, 503):
        talk = Talk(spoken, status)
        for call in (talk.create, talk.ask):
            with suppress(RefusedError, UnknownOutcomeError, UnavailableError, NotSentError):
                call()
        assert [each.read for each in talk.bodies] == [1_000, 1_000]


def test_an_error_that_breaks_off_keeps_its_status(spoken: Spoken) -> None:
    """So a refusal for the rate costs nothing, whatever became of its words."""
    for status in (429, 503, 529):
        with pytest.raises(UnavailableError) as asked:
            Talk(spoken, status, body=Broken()).ask()
        assert asked.value.status == status
    with pytest.raises(RefusedError) as created:
        Talk(spoken, 413, body=Broken()).create()
    assert created.value.kind == "too_large"
    with pytest.raises(UnavailableError) as answered:
        Talk(spoken, 200, body=Broken()).ask()
    assert answered.value.status is None
