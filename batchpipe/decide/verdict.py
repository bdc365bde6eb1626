"""What a result leads to: the ladder's decisions, as one pure function over values.

The collect step calls it once per distinct combination of outcome and standing, not once per row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CheckedOutcome = Literal[
    "accepted",  # valid, and `accept` holds
    "unaccepted",  # valid, and `accept` does not hold
    "invalid",  # no JSON, schema, cast or check
    "truncated",
    "context_window",
    "refused",
    "expired",
    "transient",
    "missing",
    "unknown",
    "permanent",
]

State = Literal["accepted", "failed", "retry", "escalated"]

LONGEST_PAUSE_DOUBLINGS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderPolicy:
    """The policy: tries per rung, transient errors in a row, and each rung's room and cap in tokens."""

    attempts: int
    transient: int
    max_tokens: tuple[int, ...]
    caps: tuple[int | None, ...]

    def next_rung(self, rung: int, rungs: int) -> int | None:
        """The next rung above `rung` (from 1) that the row may use by the bits of `rungs`."""
        for candidate in range(rung + 1, len(self.max_tokens) + 1):
            if rungs >> (candidate - 1) & 1:
                return candidate
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a request stood when it was sent: `attempt` counts it, `transients` are the errors in a row before it."""

    rung: int
    attempt: int
    transients: int
    max_tokens: int
    rungs: int
    has_earlier_answer: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of the row.

    `rung` answered or is next; `attempts` were made on it; `max_tokens` is the next request's room (None: the
    rung's own); `answer` says which answer stands; `pause_doublings` is None or the exponent of the pause before a
    transient retry, in poll intervals.
    """

    state: State
    rung: int
    attempts: int = 0
    transients: int = 0
    max_tokens: int | None = None
    answer: Literal["this", "earlier", "none"] = "none"
    review: bool = False
    pause_doublings: int | None = None


def decide(outcome: CheckedOutcome, standing: Standing, policy: LadderPolicy) -> Verdict:
    """The verdict on one result, as the table of outcomes says."""
    match outcome:
        case "accepted":
            return Verdict(state="accepted", rung=standing.rung, attempts=standing.attempt, answer="this")
        case "unaccepted":
            return _climb(standing, policy, answered=True)
        case "invalid":
            if standing.attempt < policy.attempts:
                return _again(standing, max_tokens=standing.max_tokens)
            return _climb(standing, policy, answered=False)
        case "truncated":
            return _raise_max_tokens(standing, policy)
        case "context_window" | "refused":
            return _climb(standing, policy, answered=False)
        case "expired" | "transient" | "missing" | "unknown":
            return _wait(standing, policy)
        case "permanent":
            return _settle(standing, answered=False)


def _again(standing: Standing, *, max_tokens: int) -> Verdict:
    return Verdict(state="retry", rung=standing.rung, attempts=standing.attempt, max_tokens=max_tokens)


def _climb(standing: Standing, policy: LadderPolicy, *, answered: bool) -> Verdict:
    above = policy.next_rung(standing.rung, standing.rungs)
    if above is None:
        return _settle(standing, answered=answered)
    answer: Literal["this", "earlier", "none"] = (
        "this" if answered else "earlier" if standing.has_earlier_answer else "none"
    )
    return Verdict(state="escalated", rung=above, answer=answer)


def _settle(standing: Standing, *, answered: bool) -> Verdict:
    """No rung is left: the newest valid answer is kept for review, and without one the row has failed."""
    if answered or standing.has_earlier_answer:
        return Verdict(
            state="accepted",
            rung=standing.rung,
            attempts=standing.attempt,
            answer="this" if answered else "earlier",
            review=True,
        )
    return Verdict(state="failed", rung=standing.rung, attempts=standing.attempt)


def _raise_max_tokens(standing: Standing, policy: LadderPolicy) -> Verdict:
    # A rung beyond the end was taken off the ladder while its request was in flight.
    cap = policy.caps[standing.rung - 1] if standing.rung <= len(policy.caps) else None
    raised = standing.max_tokens * 2 if cap is None else min(standing.max_tokens * 2, cap)
    if raised > standing.max_tokens and standing.attempt < policy.attempts:
        return _again(standing, max_tokens=raised)
    return _climb(standing, policy, answered=False)


def _wait(standing: Standing, policy: LadderPolicy) -> Verdict:
    if standing.transients + 1 >= policy.transient:
        return _settle(standing, answered=False)
    return Verdict(
        state="retry",
        rung=standing.rung,
        attempts=standing.attempt - 1,
        transients=standing.transients + 1,
        max_tokens=standing.max_tokens,
        pause_doublings=min(standing.transients, LONGEST_PAUSE_DOUBLINGS),
    )
