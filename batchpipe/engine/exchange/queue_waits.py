"""Say what due requests wait for while a budget or a queue has no room for them, and end a wait for others' batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from batchpipe.common.errors import ProviderError
from batchpipe.common.logs import Event, Tell
from batchpipe.decide.waits import LONGEST_QUEUE
from batchpipe.engine.exchange.run_parts import RunParts
from batchpipe.engine.ledger.events import add_event
from batchpipe.store.queries import query


def record_budget_wait(parts: RunParts, tell: Tell, requests: int, limit: str, left_usd: Decimal, text: str) -> None:
    """Record and tell that `requests` wait for room in the budget called `limit`.

    Writes `ledger.events`.
    """
    _record(parts, "budget_awaited", {"requests": requests, "limit": limit, "left_usd": left_usd})
    tell(Event(kind="budget_awaited", requests=requests, detail=text))


def _record(parts: RunParts, kind: str, data: dict[str, Any]) -> None:
    with parts.writing() as session:
        add_event(session, parts.resolved.name, kind, data, run_id=parts.run_id)


@dataclass(slots=True, kw_only=True)
class QueueWait:
    """Waits for room in a queue that open batches fill which this run does not look after.

    It is told once, and again where other batches fill the queue. A batch lives two days at most: where nothing has
    changed for a day more, the run ends.
    """

    parts: RunParts
    tell: Tell
    _open: tuple[tuple[str, int, int], ...] = field(default=(), init=False)
    _since: datetime | None = field(default=None, init=False)

    def end(self) -> None:
        """Note that requests do not wait for others any more."""
        self._open, self._since = (), None

    def wait(self, requests: int, now: datetime, unaskable: Mapping[str, ProviderError]) -> None:
        """Note that `requests` wait at `now` (naive UTC); tell and record what for, where it is not told yet.

        `unaskable` says why nobody can be asked about open chunks of the pipeline itself.
        Reads `ledger.batches`. Writes `ledger.events`. Raises one of `unaskable`, ProviderError where nothing has
        changed for three days.
        """
        if unaskable:
            raise next(iter(unaskable.values()))
        with self.parts.reading() as session:
            found = tuple(session.rows(query("open_by_pipeline")))
        if not found:
            return
        batches, waiting = sum(each[1] for each in found), sum(each[2] for each in found)
        names = list(dict.fromkeys(name.partition(":")[0] for name, _, _ in found))
        filled = (
            f"the queue, which {batches:,} open {'batch' if batches == 1 else 'batches'} with {waiting:,} "
            f"{'request' if waiting == 1 else 'requests'} of {', '.join(names)} {'fills' if batches == 1 else 'fill'}"
        )
        if found != self._open:
            self._open, self._since = found, now
            _record(self.parts, "queue_awaited", {"requests": requests, "limit": filled})
            waits = f"{requests:,} {'request waits' if requests == 1 else 'requests wait'} for room in {filled}"
            text = f"{waits}; to take in what has ended: batchpipe run {' '.join(names)}"
            self.tell(Event(kind="queue_awaited", requests=requests, detail=text))
        elif self._since is not None and now - self._since >= LONGEST_QUEUE:
            raise ProviderError(
                f"for {LONGEST_QUEUE.days} days there was no room in {filled}",
                where=self.parts.resolved.name,
                hint=f"Take in what has ended: batchpipe run {' '.join(names)}. What never ends is given up by "
                f"batchpipe recover {names[0]} --abandon",
            )
