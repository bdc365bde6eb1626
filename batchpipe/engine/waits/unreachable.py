"""Providers that cannot be asked now: what is for others goes on, and the run ends when nothing else moves any more."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from batchpipe.common.errors import BatchpipeError, ProviderError
from batchpipe.decide.chunking import intersect_ranges
from batchpipe.engine.resolved.resolve import Resolved

# How long no connection to a provider may be made before a run ends that has nothing else to do, and how often the
# provider is tried from then on while the run goes on with others.
UNREACHABLE = timedelta(seconds=60)
TRIED_AGAIN = timedelta(minutes=5)


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
    everything. `rungs` has the range of numbers of each rung's due requests.
    """

    resolved: Resolved
    clock: Callable[[], datetime]
    rungs: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    unreachable: UnreachableProviders = field(init=False)
    _until: dict[tuple[str, str | None], datetime] = field(default_factory=dict, init=False)
    _refused: dict[str, BatchpipeError] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        hint = "Check the network and `base_url`, then run the same command again: nothing was sent."
        self.unreachable = UnreachableProviders(clock=self.clock, hint=hint)

    def pause(self, rung: int, seconds: float, *, model_only: bool = False) -> datetime:
        """Let the rungs of the provider of `rung` wait for so many seconds, or those of its model there; return until
        when. The longest pause counts.
        """
        key = self._provider(rung), (self.resolved.rungs[rung - 1].model if model_only else None)
        until = self.clock() + timedelta(seconds=seconds)
        self._until[key] = max(until, self._until.get(key, until))
        return self._until[key]

    def not_reached(self, rung: int, message: str, seconds: float) -> None:
        """Let the provider of `rung` wait, since no connection to it was made: so many seconds, and longer where that
        lasts.
        """
        name = self._provider(rung)
        self.unreachable.meet(name, message)
        self.pause(rung, TRIED_AGAIN.total_seconds() if self.unreachable.lasts(name) else seconds)

    def reached(self, rung: int) -> None:
        """Note that the provider of `rung` was reached."""
        self.unreachable.relieve(self._provider(rung))

    def refuse(self, rung: int, error: BatchpipeError) -> None:
        """Keep the refusal that all further requests to the provider of `rung` would get, with the provider's name."""
        name = self._provider(rung)
        if error.where == "provider":
            error.where = f"provider {name}"
        self._refused.setdefault(name, error)

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
            if self._provider(each) not in self._refused and ((until := self._ends(each)) is None or until <= now)
        ]

    def rung_of(self, number: int) -> int:
        """Return the rung of the request with this number."""
        return next(rung for rung, (first, stop) in self.rungs.items() if first <= number < stop)

    def rungs_of(self, pending: Sequence[tuple[int, int]]) -> list[int]:
        """Return the rungs of the requests with numbers in the ranges `pending`."""
        return [rung for rung, numbers in self.rungs.items() if intersect_ranges(pending, [numbers])]

    def reachable(self, pending: Sequence[tuple[int, int]]) -> list[int]:
        """Return those of these rungs to whose providers a connection was made when they were tried last."""
        return [each for each in self.rungs_of(pending) if not self.unreachable.has(self._provider(each))]

    def until(self, rungs: Collection[int]) -> datetime | None:
        """Return when the first pause of `rungs` ends, or has ended since `drop_ended`; None without one."""
        return min((until for each in rungs if (until := self._ends(each)) is not None), default=None)

    def raise_refusal(self) -> None:
        """Raise the first refusal that was kept."""
        for error in self._refused.values():
            raise error

    def _ends(self, rung: int) -> datetime | None:
        """Return when the pause of `rung` ends; None where there was none."""
        name, model = self._provider(rung), self.resolved.rungs[rung - 1].model
        found = [self._until[key] for key in ((name, None), (name, model)) if key in self._until]
        return max(found, default=None)

    def _provider(self, rung: int) -> str:
        """Return the name of the provider of `rung`."""
        return self.resolved.provider_of(self.resolved.rungs[rung - 1]).name
