"""Leases of rows: nobody gets a row that somebody else was given within the last five minutes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

LEASE_SECONDS = 300.0


@dataclass(slots=True, kw_only=True)
class Leases:
    """The rows from 0 to `rows` - 1, each free, given to a person, or said.

    Rows are given in order; rows that come back go first. Times are seconds of one clock.
    """

    rows: int
    _next: int = field(default=0, init=False)
    _back: list[int] = field(default_factory=list, init=False)
    _given: dict[int, tuple[str, float]] = field(default_factory=dict, init=False)
    _said: set[int] = field(default_factory=set, init=False)

    @property
    def left(self) -> int:
        """Return how many rows nobody has reviewed."""
        return self.rows - len(self._said)

    def give(self, person: str, number: int, now: float, *, without: Iterable[int] = ()) -> list[int]:
        """Return up to `number` rows for a person, in order, and lease them. `without` are the rows that the person
        has. Rows that the person was given earlier, for example before a reload of the page, come first.
        """
        self._take_back(now)
        known = set(without)
        own = sorted(each for each, (holder, _) in self._given.items() if holder == person and each not in known)
        found = own[:number]
        for each in known - self._said:
            if (
                each not in self._given or self._given[each][0] == person
            ):  # a row that went on to another one is not taken back
                self._given[each] = (person, now)
        waiting, self._back = sorted(self._back), []
        for each in waiting:
            if len(found) < number and each not in known and each not in self._said and each not in self._given:
                found.append(each)
            elif each not in self._said and each not in self._given:
                self._back.append(each)
        while len(found) < number and self._next < self.rows:
            if self._next not in self._given and self._next not in self._said:
                found.append(self._next)
            self._next += 1
        for each in found:
            self._given[each] = (person, now)
        return found

    def say(self, numbers: Sequence[int]) -> None:
        """Note that somebody has reviewed rows."""
        for each in numbers:
            self._said.add(each)
            self._given.pop(each, None)

    def return_to(self, person: str, numbers: Sequence[int], now: float) -> None:
        """Give rows back to a person who took a review of them back."""
        for each in numbers:
            self._said.discard(each)
            self._given[each] = (person, now)

    def free(self, numbers: Sequence[int]) -> None:
        """Take rows back from whoever has them."""
        for each in numbers:
            if self._given.pop(each, None) is not None and each not in self._said:
                self._back.append(each)

    def holder(self, number: int, now: float) -> str | None:
        """Return who has a row; None where nobody does."""
        self._take_back(now)
        return self._given[number][0] if number in self._given else None

    def _take_back(self, now: float) -> None:
        """Free the rows whose lease has ended."""
        over = [each for each, (_, since) in self._given.items() if now - since > LEASE_SECONDS]
        for each in over:
            del self._given[each]
            self._back.append(each)
