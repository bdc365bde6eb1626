"""Replies with fields of any other type: a call ends as the protocol's other calls do, and raises nothing else."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from batchpipe.providers import NotSentError, RefusedError, UnavailableError, UnknownOutcomeError

from .protocols import Desk

EXPECTED = (NotSentError, RefusedError, UnavailableError, UnknownOutcomeError)
ODD: tuple[Any, ...] = (
    None, [], {}, "", "soon", -1, 0.5, 10**30, 1e300, True, "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00Z",
    [None], [{}], {"a": 1}, "../../x", "a/b?c#d", "a\nb", "\u202e\ufffd", "x" * 5000,
)  # fmt: skip
# So many changed replies of each call are tried a day.
TRIED = 25


def places(value: Any, prefix: str = "") -> Iterator[str]:
    """Yield the names of the fields of a JSON value, such as `data.*.id`."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield f"{prefix}{name}"
            yield from places(each, f"{prefix}{name}.")
    elif isinstance(value, list) and value:
        yield from places(value[0], f"{prefix}*.")


def fields_of(replies: list[httpx2.Response]) -> list[str]:
    """Return the names of all fields in replies that are JSON."""
    found: set[str] = set()
    for reply in replies:
        if "json" in reply.headers.get("content-type", "") and "/emulator/" not in str(reply.url):
            found.update(places(reply.json()))
    return sorted(found)


@pytest.mark.parametrize("call", ["list", "retrieve", "create", "upload", "message", "cancel"])
def test_no_field_of_any_reply_raises_what_nobody_expects(
    desk: Desk, call: str, chance: random.Random, full_sweep: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {"delay_seconds": 3600, "max_batches": 1_000_000}
    desk.faults(**limits)
    batch_id = desk.submit().batch_id
    body, shipment = desk.shipment()

    def answered() -> None:
        made = desk.provider.answer(
            "id-1", desk.params("Row <1>"), headers=desk.provider.batch_headers(desk.rung), timeout_seconds=5
        )
        path = desk.folder / "changed.jsonl"
        path.write_bytes(made.line)
        desk.read(path)

    make: Callable[[], Any] = {
        "list": lambda: (desk.provider.account(), desk.provider.list_batches(lambda states: False)),
        "retrieve": lambda: desk.provider.poll(batch_id),
        "create": lambda: desk.provider.submit(
            body, shipment, input_id=desk.provider.upload(body, shipment, timeout_seconds=5), timeout_seconds=5
        ),
        "upload": lambda: desk.provider.upload(body, shipment, timeout_seconds=5),
        "message": answered,
        "cancel": lambda: desk.provider.cancel(batch_id),
    }[call]
    replies: list[httpx2.Response] = []
    send = httpx2.Client.send

    def kept(client: httpx2.Client, request: httpx2.Request, **options: Any) -> httpx2.Response:
        reply = send(client, request, **options)
        reply.read()
        replies.append(reply)
        return reply

    with monkeypatch.context() as patch:
        patch.setattr(httpx2.Client, "send", kept)
        make()
    fields = fields_of(replies)
    assert fields or call == "upload"
    cases = list(itertools.product(fields, ODD))
    for name, value in cases if full_sweep else chance.sample(cases, min(TRIED, len(cases))):
        rule = {"call": call, "fault": "changed", "changes": {name: value}, "times": 9}
        desk.faults(rule, **limits)
        words = words_of_failure(make)
        # They can be stored and shown.
        assert len(words.encode()) < 9000, (name, value)


def words_of_failure(make: Callable[[], Any]) -> str:
    """Return what a call says that fails in an expected way, else nothing."""
    try:
        make()
    except EXPECTED as error:
        return str(error)
    return ""
