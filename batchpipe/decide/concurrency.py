"""How many realtime calls may be under way at once: additive increase, multiplicative decrease.

The figures are those of inspect-ai's adaptive connections: 20 at the start, 0.8 times as many after a refusal for the
rate (429, 529) but at most one cut in 15 seconds, 5% more after a clean round. A round is as many answers as may be
under way, and it counts only where most of the room was used. Times are seconds of a clock that never goes back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from batchpipe.decide.rate_room import RoomLeft

START, LEAST, MOST = 20.0, 1.0, 100.0
CUT, GROWTH, CUT_SECONDS = 0.8, 1.05, 15.0
USED_SHARE = 0.8
# The pause after a refusal that names none, and after a call without an answer: doubled up to the longest.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
# The number of calls in a row without an answer or a refusal that stops the run: each may have been paid for.
LOST_IN_A_ROW = 10
# How long the provider may refuse call after call.
LONGEST_REFUSAL_SECONDS = 3_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """Says how many calls may be under way at once, and when the next one may begin.

    `clean` counts the answers since the limit changed last. `rests_until` is when the next call may begin. `refused`
    and `lost` count calls in a row, `refused_since` is when the first of them was refused. `bound` is what a reply
    said to be left, until `bound_until`.
    """

    limit: float = START
    most: float = MOST
    clean: int = 0
    cut_at: float | None = None
    rests_until: float = 0.0
    refused: int = 0
    refused_since: float | None = None
    lost: int = 0
    bound: int | None = None
    bound_until: float = 0.0

    def at_once(self, now: float) -> int:
        """Return how many calls may be under way at `now`."""
        most = int(min(self.limit, self.most))
        if self.bound is not None and now < self.bound_until:
            most = min(most, self.bound)
        return max(most, int(LEAST))

    def wait_seconds(self, now: float) -> float:
        """Return how long no call may begin; 0 where one may begin now."""
        return max(self.rests_until - now, 0.0)

    @property
    def is_lost(self) -> bool:
        """Return whether so many calls in a row had no answer that no further one is made."""
        return self.lost >= LOST_IN_A_ROW

    def is_refused(self, now: float) -> bool:
        """Return whether the provider has refused one call after the other for too long."""
        return self.refused_since is not None and now - self.refused_since >= LONGEST_REFUSAL_SECONDS

    def after_answer(self, now: float, under_way: int, room: RoomLeft) -> Concurrency:
        """Return what holds after an answer, while `under_way` calls were under way, this one included.

        `room` is what its reply says of the limits: where none is left, the next call waits for it.
        """
        known = replace(self, refused=0, refused_since=None, lost=0)
        if room.at_once is not None:
            known = replace(known, bound=room.at_once, bound_until=now + room.seconds)
        if room.is_empty:
            known = replace(known, rests_until=max(known.rests_until, now + room.seconds))
        if under_way < USED_SHARE * self.at_once(now):
            return known
        if known.clean + 1 < self.at_once(now):
            return replace(known, clean=known.clean + 1)
        return replace(known, clean=0, limit=min(known.limit * GROWTH, known.most))

    def after_refusal(self, now: float, retry_after_seconds: float | None) -> Concurrency:
        """Return what holds after a refusal for the rate. What the provider asks to wait for is the least that is
        waited.
        """
        refused = self.refused + 1
        asked = retry_after_seconds or 0.0
        pause = max(asked, 0.0 if asked else self._pause_seconds(refused))
        known = replace(
            self,
            refused=refused,
            refused_since=now if self.refused_since is None else self.refused_since,
            rests_until=max(self.rests_until, now + pause),
            clean=0,
        )
        if self.cut_at is not None and now - self.cut_at < max(CUT_SECONDS, asked):
            return known
        return replace(known, limit=max(min(self.limit, self.most) * CUT, LEAST), cut_at=now)

    def after_loss(self, now: float) -> Concurrency:
        """Return what holds after a call that had neither an answer nor a refusal. It cuts nothing."""
        lost = self.lost + 1
        return replace(self, lost=lost, clean=0, rests_until=max(self.rests_until, now + self._pause_seconds(lost)))

    def _pause_seconds(self, times: int) -> float:
        """Return the pause after so many calls in a row went wrong; those that were under way together count once."""
        rounds = max(times - 1, 0) // max(int(self.limit), 1)
        return min(FIRST_PAUSE_SECONDS * 2.0 ** min(rounds, 10), LONGEST_PAUSE_SECONDS)
