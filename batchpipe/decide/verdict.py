"""Decide what follows from a result: accept the answer, try again, go up a rung, or fail. Pure functions over values.

The collect step calls `decide` once for each distinct pair of outcome and standing, not once for each row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    "unknown",  # what cannot be read
    "permanent",
    "no_answer",  # of a vote: too few valid answers, or the one that stands fails a check
    "gone",  # paid for, but the provider no longer has the result
]

State = Literal["accepted", "failed", "retry", "escalated"]

LONGEST_PAUSE_DOUBLINGS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderPolicy:
    """What the pipeline file allows.

    `attempts`: most attempts on one rung. `transient`: most transient errors in a row. `max_tokens` and `caps` have one
    number of tokens per rung: what a first request may write, and the most that the model can (None: not known).
    `contexts` has the tokens that each rung's model takes (None: not known).
    """

    attempts: int
    transient: int
    max_tokens: tuple[int, ...]
    caps: tuple[int | None, ...]
    contexts: tuple[int | None, ...] = ()

    def next_rung(self, rung: int, rungs: int, *, takes_more: bool = False) -> int | None:
        """Return the next rung above `rung` (from 1) that the row may use; None where there is none.

        Bit r - 1 of `rungs` says whether the row may use rung r. With `takes_more` its model takes longer requests.
        """
        for candidate in range(rung + 1, len(self.max_tokens) + 1):
            if rungs >> (candidate - 1) & 1 and not (takes_more and self._takes_no_more(candidate, rung)):
                return candidate
        return None

    def _takes_no_more(self, candidate: int, rung: int) -> bool:
        """Return whether the model of a rung is known to take no longer requests than that of `rung`."""
        if max(candidate, rung) > len(self.contexts):
            return False
        more, now = self.contexts[candidate - 1], self.contexts[rung - 1]
        return more is not None and now is not None and more <= now


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What was true of a request when it was sent.

    `attempt` is its number on its rung, from 1. `transients` counts the transient errors in a row before it. `rungs`
    are the bits of the rungs that the row may use. `has_earlier_answer` says that a lower rung gave a valid answer.
    """

    rung: int
    attempt: int
    transients: int
    max_tokens: int
    rungs: int
    has_earlier_answer: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The new state of the row.

    `rung` is the rung that answered or that is next, `attempts` how many attempts were made on it. `max_tokens` is that
    of the next request (None: the rung's own). `answer` says whether this answer, an earlier one or none is kept.
    `review` marks a kept answer that `accept` did not hold for. Before a retry after a transient error the run waits
    2 ** `pause_doublings` poll intervals.
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
    """Return the verdict on a result with this outcome."""
    match outcome:
        case "accepted":
            return Verdict(state="accepted", rung=standing.rung, attempts=standing.attempt, answer="this")
        case "unaccepted":
            return _climb(standing, policy, answered=True)
        case "invalid" | "gone":
            if standing.attempt < policy.attempts:
                return _again(standing, max_tokens=standing.max_tokens)
            return _climb(standing, policy, answered=False)
        case "truncated":
            return _raise_max_tokens(standing, policy)
        case "context_window":
            return _climb(standing, policy, answered=False, takes_more=True)
        case "refused" | "no_answer":
            return _climb(standing, policy, answered=False)
        case "expired" | "transient" | "missing":
            return _wait(standing, policy)
        case "unknown":
            return _once_more(standing, policy)
        case "permanent":
            return _settle(standing, answered=False)


def _again(standing: Standing, *, max_tokens: int) -> Verdict:
    return Verdict(state="retry", rung=standing.rung, attempts=standing.attempt, max_tokens=max_tokens)


def _climb(standing: Standing, policy: LadderPolicy, *, answered: bool, takes_more: bool = False) -> Verdict:
    above = policy.next_rung(standing.rung, standing.rungs, takes_more=takes_more)
    if above is None:
        return _settle(standing, answered=answered)
    answer: Literal["this", "earlier", "none"] = (
        "this" if answered else "earlier" if standing.has_earlier_answer else "none"
    )
    return Verdict(state="escalated", rung=above, answer=answer)


def _settle(standing: Standing, *, answered: bool) -> Verdict:
    """Return the verdict where no rung is left: keep the newest valid answer for review; without one the row failed."""
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
    # The ladder may have become shorter while the request was in flight.
    cap = policy.caps[standing.rung - 1] if standing.rung <= len(policy.caps) else None
    raised = standing.max_tokens * 2 if cap is None else min(standing.max_tokens * 2, cap)
    if raised > standing.max_tokens and standing.attempt < policy.attempts:
        return _again(standing, max_tokens=raised)
    return _climb(standing, policy, answered=False)


def _once_more(standing: Standing, policy: LadderPolicy) -> Verdict:
    """Return the verdict on a result that cannot be read: it may have been billed, so that it is an attempt.

    A transient error before it counts as one that could not be read either, unless no attempt was made before.
    """
    first = not standing.transients or standing.attempt == 1
    if not first or standing.attempt >= policy.attempts:
        return _settle(standing, answered=False)
    return replace(_again(standing, max_tokens=standing.max_tokens), transients=1)


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
