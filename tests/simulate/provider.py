"""The provider of a seed: the emulator's service, and what it sold: every request that it took, and each answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from hashlib import md5
from pathlib import Path
from typing import Any

import orjson

from batchpipe.emulator.assembly import assemble
from batchpipe.emulator.service.wire import Reply, Request

from .shops import AT_ONCE, NOTHING, SHOPS, Asked, Result, Shop, asked, cost_usd, read_result
from .world import World


@dataclass(slots=True, kw_only=True)
class Sale:
    """One request that the provider took: what was asked (`identity`), of which batch, and what came of it.

    `text` is the whole question as the model saw it, without what a retry adds. `result` is None while the batch is
    processed. `in_flight_then` are the places of the sales that were processed when this one was made. `lost`: the
    reply of a realtime call was lost.
    """

    identity: str
    text: str
    custom_id: str
    batch_id: str | None
    at: float
    place: int
    model: str
    result: Result | None = None
    in_flight_then: frozenset[int] = frozenset()
    lost: bool = False

    @property
    def answer(self) -> str | None:
        """Return the text of the answer; None where there is none."""
        return None if self.result is None else self.result.answer

    @property
    def ended_well(self) -> bool:
        """Return whether the model finished its answer."""
        return self.result is not None and self.result.answer is not None and self.result.finished

    @property
    def cost_usd(self) -> Decimal:
        """Return what the provider bills for it."""
        return cost_usd(self.model, self.result or NOTHING, at_once=self.batch_id is None)


class Provider:
    """The service, with its own clock, which is `ahead` of the true time.

    A clock that is put back stands still at the newest batch: no list of a provider leaves out what lies in its future.
    """

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.ahead = 0.0
        self._shown = 0.0
        self.service = assemble(folder, seed=world.seed, clock=self.time, chance=world.drawing("provider"))
        self.service.routes.base_url = "http://127.0.0.1:9"
        self.incoming = folder / "incoming"
        self.sales: list[Sale] = []
        self._batches: dict[str, list[Sale]] = {}
        self._unended: dict[str, Shop] = {}
        self._last = dict.fromkeys(SHOPS, 0)
        self._seen = 0

    def time(self) -> float:
        """Return the provider's time in seconds since 1970."""
        return max(self.world.now + self.ahead, self._shown)

    def answer(self, request: Request) -> Reply:
        """Answer one request, and write down what it sold."""
        body = None
        at_once = AT_ONCE.fullmatch(request.path)
        if at_once is not None and request.method == "POST" and request.body is not None:
            body = orjson.loads(request.body.read_bytes())
        creates = request.method == "POST" and not request.path.endswith("cancel")
        if creates:
            self._take_in()
        reply = self.service.routes.answer(request)
        if body is not None and at_once is not None:
            self._sold_at_once(asked(body, model=at_once[1] or ""), reply)
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
        for batch_id, shop in sorted(self._unended.items()):
            if shop.ended(store, batch_id):
                del self._unended[batch_id]
                results = shop.results(store, batch_id)
                for sale in self._batches[batch_id]:
                    sale.result = results.get(sale.custom_id, NOTHING)
        then = self._open_places()
        for shop in SHOPS:
            for number, batch_id in shop.new(store, self._last[shop]):
                self._last[shop], self._shown = number, self.time()
                self._unended[batch_id] = shop
                first = len(self.sales)
                sold = [
                    self._sale(each, batch_id, place=first + place, then=then)
                    for place, each in enumerate(shop.requests(store, batch_id))
                ]
                self._batches[batch_id] = sold
                self.sales += sold

    def _open_places(self) -> frozenset[int]:
        return frozenset(each.place for each in self.sales if each.result is None)

    def close(self) -> None:
        """Close the service's store."""
        self.service.store.close()

    def _sold_at_once(self, request: Asked, reply: Reply) -> None:
        try:
            result = read_result(orjson.loads(reply.body))
        except orjson.JSONDecodeError:
            return
        if result is not NOTHING:
            self._take_in()
            sale = self._sale(request, None, place=len(self.sales), then=self._open_places())
            sale.result, sale.lost = result, reply.framing not in ("length", "close")
            self.sales.append(sale)

    def _sale(self, request: Asked, batch_id: str | None, *, place: int, then: frozenset[int]) -> Sale:
        identity = md5(f"{request.model}\n{request.text}\n{request.schema}".encode()).hexdigest()
        return Sale(
            identity=identity,
            text=request.text,
            custom_id=request.custom_id,
            batch_id=batch_id,
            at=self.world.now,
            place=place,
            model=request.model,
            in_flight_then=then,
        )
