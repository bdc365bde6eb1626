"""The provider of a seed: the emulator's service, and what it sold: every request that it took, and each answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import Any

import orjson

from batchpipe.emulator.assembly import assemble
from batchpipe.emulator.service.wire import Reply, Request

from .world import World

QUESTION = re.compile(r"<<(.*?)>>", re.DOTALL)


@dataclass(slots=True, kw_only=True)
class Sale:
    """One request that the provider took: what was asked (`identity`), of which batch, and what came of it.

    `text` is the whole question as the model saw it, without what a retry adds. `result` is the result line's
    `result`; None while the batch is processed. `in_flight_then` are the places of the sales that were processed when
    this one was made.
    """

    identity: str
    text: str
    custom_id: str
    batch_id: str | None
    at: float
    place: int
    model: str
    result: Mapping[str, Any] | None = None
    in_flight_then: frozenset[int] = frozenset()

    @property
    def answer(self) -> str | None:
        """Return the text of the answer; None where there is none."""
        message = (self.result or {}).get("message") or {}
        if self.result is None or self.result.get("type") != "succeeded":
            return None
        blocks = message.get("content") or ()
        return "".join(each.get("text", "") for each in blocks if each.get("type") == "text")

    @property
    def ended_well(self) -> bool:
        """Return whether the model finished its answer."""
        return self.answer is not None and self.result is not None and (
            self.result["message"].get("stop_reason") not in ("max_tokens", "refusal", "pause_turn",
                                                              "model_context_window_exceeded")
        )  # fmt: skip


class Provider:
    """The service, with its own clock, which is `ahead` of the true time."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.ahead = 0.0
        self.service = assemble(folder, seed=world.seed, clock=self.time, chance=world.drawing("provider"))
        self.service.routes.base_url = "http://127.0.0.1:9"
        self.incoming = folder / "incoming"
        self.sales: list[Sale] = []
        self._batches: dict[str, list[Sale]] = {}
        self._unended: set[str] = set()
        self._last = 0
        self._seen = 0

    def time(self) -> float:
        """Return the provider's time in seconds since 1970."""
        return self.world.now + self.ahead

    def answer(self, request: Request) -> Reply:
        """Answer one request, and write down what it sold."""
        params = None
        if request.path == "/v1/messages" and request.body is not None:
            params = orjson.loads(request.body.read_bytes())
        creates = request.method == "POST" and not request.path.endswith("/cancel")
        if creates:
            self._take_in()
        reply = self.service.routes.answer(request)
        if params is not None:
            self._sold_at_once(params, reply)
        elif creates:
            self._take_in()
        return reply

    def rules(self, rules: Mapping[str, Any]) -> None:
        """Put rules for what goes wrong in force."""
        self.service.rulebook.use_rules(orjson.dumps(rules), keep_counts=False)

    def stranger(self, requests: int) -> None:
        """Let somebody else make a batch in the same workspace."""
        body = self.incoming / "stranger.json"
        body.write_bytes(orjson.dumps({"requests": requests}))
        self.service.routes.answer(Request("POST", "/emulator/stranger", {}, {}, body))

    def look(self) -> list[Sale]:
        """Take in what happened; return the sales since the last look."""
        self._take_in()
        new, self._seen = self.sales[self._seen :], len(self.sales)
        return new

    def _take_in(self) -> None:
        """Take in the results of batches that have ended, and the batches that are new."""
        store = self.service.store
        for batch_id in sorted(self._unended):
            found = store.batch(batch_id)
            if found is not None and found.ended_at is not None:
                self._unended.discard(batch_id)
                results = {each["custom_id"]: each["result"] for each in self.results(batch_id)}
                for sale in self._batches[batch_id]:
                    sale.result = results.get(sale.custom_id)
        open_places = frozenset(each.place for each in self.sales if each.result is None)
        for batch in store.batches("stranger = 0 AND number > ? ORDER BY number", (self._last,)):
            self._last = batch.number
            self._unended.add(batch.id)
            sold = [
                _sale(json.loads(line), batch.id, self.world.now, place=len(self.sales) + place, then=open_places)
                for place, line in enumerate(store.body_path(batch.id).read_bytes().splitlines())
            ]
            self._batches[batch.id] = sold
            self.sales += sold

    def results(self, batch_id: str) -> Iterator[dict[str, Any]]:
        """Yield the result lines of a batch as the service keeps them, undamaged."""
        for line in self.service.store.results_path(batch_id).read_bytes().splitlines():
            yield orjson.loads(line)

    def close(self) -> None:
        """Close the service's store."""
        self.service.store.close()

    def _sold_at_once(self, params: Mapping[str, Any], reply: Reply) -> None:
        try:
            message = orjson.loads(reply.body)
        except orjson.JSONDecodeError:
            return
        if isinstance(message, dict) and message.get("type") == "message":
            sale = _sale({"custom_id": "", "params": params}, None, self.world.now, place=len(self.sales))
            sale.result = {"type": "succeeded", "message": message}
            self.sales.append(sale)


def _sale(
    request: Mapping[str, Any], batch_id: str | None, at: float, *, place: int, then: frozenset[int] = frozenset()
) -> Sale:
    params = request["params"]
    text = "".join(_texts(params["messages"][0]["content"]))
    system = "".join(_texts(params.get("system") or ""))
    found = QUESTION.search(text)
    asked = text[: found.end()] if found else text
    schema = json.dumps((params.get("output_config") or {}).get("format"), sort_keys=True)
    identity = md5(f"{params['model']}\n{system}\n{asked}\n{schema}".encode()).hexdigest()
    return Sale(
        identity=identity,
        text=asked,
        custom_id=request["custom_id"],
        batch_id=batch_id,
        at=at,
        place=place,
        model=params["model"],
        in_flight_then=then,
    )


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
        return
    for block in content:
        if block.get("type") == "text":
            yield block["text"]
