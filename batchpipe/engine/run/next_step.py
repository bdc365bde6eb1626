"""Decide what a pipeline's run does next, by a table of states: a pure function of the answers to ten questions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

PLANS_AT_ONCE = 4  # so often one step plans anew because others have asked the same meanwhile
Step = Literal["end_pilot", "stop_at_gate", "finish", "plan_again", "wait"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """Answers ten questions about a run, once the run has submitted what it could."""

    pilot_holds: bool  # does a pilot that is not approved keep rows back?
    all_sent: bool  # has everything been sent that the present plan lets go?
    in_flight: bool  # is there an open chunk that can be waited for?
    previous_sends: bool  # are there rows to send under the version before, beside the pilot?
    gated: bool  # does a budget stop what is left to send?
    pausing: bool  # do rows wait for the end of a pause after a transient error?
    due_again: bool  # did results make rows due again?
    compare_anew: bool  # was a chunk lost, or did an earlier run's results come, so that rows are compared anew?
    no_wait: bool  # was the call told not to wait?
    asks_soon: bool  # do realtime calls go on after a pause of a minute at most?


@dataclass(frozen=True, slots=True)
class NextStep:
    """Describes one line of the table: if a run gives all answers of `when`, `step` is next, for the reason `why`."""

    when: Mapping[str, bool]
    step: Step
    why: str


# The first line that holds counts. The last one holds always.
STATES: tuple[NextStep, ...] = (
    NextStep(
        {"pilot_holds": True, "all_sent": True, "in_flight": False, "previous_sends": False},
        "end_pilot",
        "the pilot's answers have come back",
    ),
    NextStep({"gated": True, "in_flight": False}, "stop_at_gate", "a budget stops the rest, and nothing is waited for"),
    NextStep(
        {"pilot_holds": False, "all_sent": True, "in_flight": False, "pausing": False, "due_again": False},
        "finish",
        "nothing is due and nothing is in flight",
    ),
    NextStep({"all_sent": True, "due_again": True}, "plan_again", "results made rows due again"),
    NextStep({"no_wait": True, "asks_soon": True}, "wait", "realtime calls go on after a short pause"),
    NextStep({"no_wait": True, "all_sent": True, "compare_anew": True}, "wait", "rows are to be compared anew"),
    NextStep({"no_wait": True}, "finish", "the call does not wait for what is in flight"),
    NextStep({}, "wait", "batches are in flight, or the limits allow no further one"),
)


def next_step(state: RunState) -> NextStep:
    """Return the first line of the table whose answers are those of `state`."""
    return next(line for line in STATES if all(getattr(state, name) == answer for name, answer in line.when.items()))
