"""Providers that cannot be asked now, or refuse everything: what is for others goes on, and the run ends when nothing
else moves any more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from batchpipe.common.errors import BatchpipeError, ProviderError
from batchpipe.common.logs import Event, Tell
from batchpipe.decide.chunking import intersect_ranges, subtract_ranges
from batchpipe.engine.resolved.resolve import Resolved

# How long no connection to a provider may be made before a run ends that has nothing else to do, and how often the
# provider is tried from then on while the run goes on with others.
UNREACHABLE = timedelta(seconds=60)
TRIED_AGAIN = timedelta(minutes=5)

CHECK = "Check the network, the proxy where one is named (HTTPS_PROXY), and `base_url`."


@dataclass(slots=True, kw_only=True)
class UnreachableProviders:
    """Keeps since when no connection to a provider was made, by what names it. `hint` says what to do about it."""

    clock: Callable[[], datetime]
    hint: str
    _since: dict[str, datetime] = field(default_factory=dict, init=False)
    _messages: dict[str, str] = field(default_factory=dict, init=False)

    def meet(self, name: str, message: str) -> None:
        """Note that no connection to the provider `name` was made, with the message."""
        self._since.setdefault(name, self.clock())
        self._messages[name] = message

    def relieve(self, name: str) -> None:
        """Note that the provider `name` was reached."""
        self._since.pop(name, None)

    def keep(self, names: Collection[str]) -> None:
        """Note that all providers were reached but those called `names`."""
        self._since = {name: since for name, since in self._since.items() if name in names}

    def has(self, name: str) -> bool:
        """Return whether no connection to the provider `name` was made when it was tried last."""
        return name in self._since

    def lasts(self, name: str) -> bool:
        """Return whether no connection to the provider `name` was made for a minute."""
        since = self._since.get(name)
        return since is not None and self.clock() - since >= UNREACHABLE

    @property
    def error(self) -> ProviderError | None:
        """Return the error of the first provider to which no connection was made for a minute; None without one."""
        name = next((each for each in self._since if self.lasts(each)), None)
        if name is None:
            return None
        what = f"the provider cannot be reached: {self._messages[name]}"
        return ProviderError(what, where="provider", hint=self.hint)


@dataclass(slots=True, kw_only=True)
class RungWaits:
    """Keeps which rungs of a ladder nothing is sent for now: their provider cannot be reached, asks to wait, or refuses
    everything. `rungs` has the range of numbers of each rung's due requests. `refused` has the refusals, by provider.
    `seconds` is how long one waits that cannot be reached.
    """

    resolved: Resolved
    clock: Callable[[], datetime]
    tell: Tell
    seconds: float
    rungs: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    unreachable: UnreachableProviders = field(init=False)
    _until: dict[tuple[str, str | None], datetime] = field(default_factory=dict, init=False)
    refused: dict[str, BatchpipeError] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        hint = f"{CHECK} Then run the same command again: nothing was sent."
        self.unreachable = UnreachableProviders(clock=self.clock, hint=hint)

    def asked_to_wait(self, rung: int, message: str | None, seconds: float, *, model_only: bool = False) -> None:
        """Let the rungs of the provider of `rung` wait for so many seconds, and tell it. With `model_only`, for
        realtime calls, those of its model there. Without the provider's `message` the wait is one of our own, after
        calls without an answer.
        """
        until, word = self._pause(rung, seconds, model_only=model_only), "asking" if model_only else "sending"
        when = f"{word} again at {until:%H:%M:%S} UTC"
        if message is None:
            self.tell(Event(kind="notice", detail=f"after calls without an answer: {when}"))
        else:
            self.tell(Event(kind="asked_to_wait", detail=f"{message}; {when}"))

    def _pause(self, rung: int, seconds: float, *, model_only: bool = False) -> datetime:
        """Let rungs wait, and return until when. The longest pause counts."""
        key = self._provider(rung), (self.resolved.rungs[rung - 1].model if model_only else None)
        until = self.clock() + timedelta(seconds=seconds)
        self._until[key] = max(until, self._until.get(key, until))
        return self._until[key]

    def not_reached(self, rung: int, message: str) -> None:
        """Let the provider of `rung` wait, since no connection to it was made, and tell it. Where that lasts, the wait
        is longer.
        """
        self.tell(Event(kind="unreachable", level="warning", detail=message))
        name = self._provider(rung)
        self.unreachable.meet(name, message)
        self._pause(rung, TRIED_AGAIN.total_seconds() if self.unreachable.lasts(name) else self.seconds)

    def reached(self, rung: int) -> None:
        """Note that the provider of `rung` was reached."""
        self.unreachable.relieve(self._provider(rung))

    def refuse(self, name: str, error: BatchpipeError) -> None:
        """Keep and tell the refusal that all further requests to the provider `name` would get."""
        if name not in self.refused:
            self.refused[name] = error
            if error.where == "provider":
                error.where = f"provider {name}"
                error.what += f"; the due rows of {name} wait"
            self.tell(Event(kind="warning", level="warning", detail=f"{error.where}: {error.what}"))

    def left(self, pending: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return `pending` without the requests to providers that refuse everything: these wait for the next run."""
        refused = [numbers for rung, numbers in self.rungs.items() if self._provider(rung) in self.refused]
        return list(subtract_ranges(pending, intersect_ranges(pending, refused)))

    def drop_ended(self) -> None:
        """Forget the pauses that have ended."""
        now = self.clock()
        self._until = {key: until for key, until in self._until.items() if until > now}

    def free(self) -> list[int]:
        """Return the rungs with due requests that may be sent now."""
        now = self.clock()
        return [
            each
            for each in self.rungs
            if self._provider(each) not in self.refused and ((until := self._ends(each)) is None or until <= now)
        ]

    def rung_of(self, number: int) -> int:
        """Return the rung of the request with this number."""
        return next(rung for rung, (first, stop) in self.rungs.items() if first <= number < stop)

    def provider_at(self, number: int) -> str:
        """Return the name of the provider of the request with this number."""
        return self._provider(self.rung_of(number))

    def rungs_of(self, pending: Sequence[tuple[int, int]]) -> list[int]:
        """Return the rungs of the requests with numbers in the ranges `pending`."""
        return [rung for rung, numbers in self.rungs.items() if intersect_ranges(pending, [numbers])]

    def reachable(self, pending: Sequence[tuple[int, int]]) -> list[int]:
        """Return those of these rungs to whose providers a connection was made when they were tried last."""
        return [each for each in self.rungs_of(pending) if not self.unreachable.has(self._provider(each))]

    def until(self, rungs: Collection[int]) -> datetime | None:
        """Return when the first pause of `rungs` ends, or has ended since `drop_ended`; None without one."""
        return min((until for each in rungs if (until := self._ends(each)) is not None), default=None)

    def _ends(self, rung: int) -> datetime | None:
        """Return when the pause of `rung` ends; None where there was none."""
        name, model = self._provider(rung), self.resolved.rungs[rung - 1].model
        found = [self._until[key] for key in ((name, None), (name, model)) if key in self._until]
        return max(found, default=None)

    def _provider(self, rung: int) -> str:
        """Return the name of the provider of `rung`."""
        return self.resolved.provider_of(self.resolved.rungs[rung - 1]).name
