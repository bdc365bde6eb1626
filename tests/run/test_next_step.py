"""The table of a run's states, gone through whole."""

from __future__ import annotations

from dataclasses import fields
from itertools import product

from batchpipe.engine.run.next_step import STATES, NextStep, RunState, next_step

QUESTIONS = [each.name for each in fields(RunState)]


def every_state() -> list[RunState]:
    """Every combination of answers."""
    return [
        RunState(**dict(zip(QUESTIONS, answers, strict=True)))
        for answers in product((False, True), repeat=len(QUESTIONS))
    ]


def states_of(line: NextStep) -> list[RunState]:
    return [state for state in every_state() if next_step(state) is line]


def test_every_line_asks_known_questions_and_is_reached() -> None:
    assert {name for line in STATES for name in line.when} == set(QUESTIONS)
    assert [line.why for line in STATES if not states_of(line)] == []
    assert STATES[-1].when == {}


def test_a_run_finishes_only_where_nothing_of_its_own_is_left_or_it_may_not_wait() -> None:
    for state in every_state():
        step = next_step(state).step
        if step == "finish" and not state.no_wait:
            assert state.all_sent
            assert not any((state.in_flight, state.pausing, state.due_again, state.pilot_holds))
        if step == "finish" and state.no_wait and state.all_sent:
            assert not state.due_again
            assert not state.compare_anew or not (state.in_flight or state.pausing or state.pilot_holds)


def test_a_call_that_does_not_wait_waits_only_for_the_rows_of_a_lost_chunk_or_for_realtime_calls() -> None:
    for state in every_state():
        if state.no_wait and next_step(state).step == "wait":
            assert state.asks_soon or (state.all_sent and state.compare_anew)


def test_results_that_made_rows_due_are_planned_before_anything_is_waited_for() -> None:
    for state in every_state():
        if state.all_sent and state.due_again:
            assert next_step(state).step in ("plan_again", "end_pilot", "stop_at_gate")


def test_a_gate_stops_the_run_only_once_nothing_is_waited_for() -> None:
    for state in every_state():
        step = next_step(state).step
        if step == "stop_at_gate":
            assert state.gated
            assert not state.in_flight
        if state.gated and not state.in_flight:
            assert step in ("stop_at_gate", "end_pilot")


def test_a_pilot_ends_once_its_answers_are_there_and_nothing_else_goes_on() -> None:
    for state in every_state():
        ends = next_step(state).step == "end_pilot"
        back = state.pilot_holds and state.all_sent and not state.in_flight and not state.previous_sends
        assert ends == back
