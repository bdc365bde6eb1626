"""What every protocol has to do, over real HTTP against the emulator: creates, batches, results, realtime calls."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from batchpipe.providers import NotSentError, RefusedError, UnavailableError, UnknownOutcomeError

from .protocols import KEY, Desk

DAY = 86_400
REFUSED = (
    ("status:400", "invalid"),
    ("status:401", "account"),
    ("status:402", "account"),
    ("status:403", "account"),
    ("status:404", "no_batch_endpoint"),
    ("status:413", "too_large"),
    ("status_html:413", "too_large"),
    ("status:429", "rate_limit"),
)
UNKNOWN = (
    "status:500",
    "status:503",
    "status_html:502",
    "status_html:400",
    "status_html:429",
    "reset",
    "empty",
    "html",
    "redirect",
    "accepted_then_reset",
    "accepted_then_status:500",
    "accepted_then_html",
    "accepted_then_empty",
)


def test_a_batch_runs_from_create_to_lines(desk: Desk) -> None:
    state = desk.submit(5)
    assert state.ended is None
    assert state.total in (None, 5)
    assert state.created_at is not None
    assert state.expires_at is not None
    ended = desk.ended(state.batch_id)
    assert ended.ended is not None
    assert ended.ended.has_results
    assert ended.ended.without_line == "missing"
    assert ended.ended.refused is None
    assert ended.total == 5
    lines = desk.lines(state.batch_id)
    assert set(lines) == {f"id-{each}" for each in range(5)}
    for line in lines.values():
        assert (line["outcome"], line["billed"], line["cost_known"], line["oddity"]) == ("answered", True, True, None)
        assert line["input_tokens"] > 0
        assert line["output_tokens"] >= line["thinking_tokens"]
        assert line["answer"].startswith("{")
        assert line["model"].startswith(desk.spoken.model)


@pytest.mark.parametrize(("fault", "kind"), REFUSED)
def test_a_refused_create_is_refused(desk: Desk, fault: str, kind: str) -> None:
    desk.faults({"call": "create", "fault": fault, "retry_after": 7, "message": f"not with {KEY}"})
    with pytest.raises(RefusedError) as caught:
        desk.submit()
    assert caught.value.kind == (desk.spoken.too_many if kind == "rate_limit" else kind)
    assert caught.value.retry_after_seconds == 7
    assert KEY not in str(caught.value)
    assert desk.submit().batch_id


def test_a_create_without_a_clear_refusal_has_an_unknown_outcome(desk: Desk) -> None:
    for fault in UNKNOWN:
        desk.faults({"call": "create", "fault": fault})
        with pytest.raises(UnknownOutcomeError):
            desk.submit()
    desk.faults({"call": "create", "fault": "accepted_late", "seconds": 2})
    with pytest.raises(UnknownOutcomeError):
        desk.submit(timeout_seconds=0.3)


def test_a_create_without_a_connection_was_not_sent(desk: Desk) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = desk.bound(f"http://127.0.0.1:{closed.getsockname()[1]}")
    body, shipment = desk.shipment()
    with pytest.raises(NotSentError, match=nowhere.base_url.removeprefix("http://").partition("/")[0]):
        nowhere.submit(body, shipment, input_id="file-1", timeout_seconds=5)


def test_a_lost_batch_is_found_in_the_list(desk: Desk) -> None:
    """By its label where the provider keeps one, else among the batches that are new."""
    before = {each.batch_id for each in desk.provider.list_batches(lambda states: False).states}
    desk.faults({"call": "create", "fault": "accepted_then_reset"})
    body, shipment = desk.shipment()
    with pytest.raises(UnknownOutcomeError):
        desk.submitted(body, shipment)
    listed = desk.provider.list_batches(lambda states: False)
    assert listed.whole
    assert listed.organization is not None or desk.spoken.protocol == "gemini"
    new = [each for each in listed.states if each.batch_id not in before]
    assert len(new) == 1
    if desk.provider.limits.create == "label":
        assert [each for each in listed.states if each.label == shipment.label] == new
        assert new[0].input_id
    else:
        assert new[0].total == 4


def test_a_list_that_lags_or_breaks_off_is_told(desk: Desk) -> None:
    desk.submit()
    desk.faults({"call": "list", "fault": "list_lag", "seconds": 10 * DAY})
    assert desk.provider.list_batches(lambda states: False).states == []
    desk.faults({"call": "list", "fault": "html"})
    with pytest.raises(UnavailableError):
        desk.provider.list_batches(lambda states: False)
    for fault in ("status:404", "status:405"):
        desk.faults({"call": "list", "fault": fault})
        with pytest.raises(RefusedError) as caught:
            desk.provider.account()
        assert caught.value.kind == "no_batch_endpoint"


def test_a_batch_can_fail_after_it_was_made(desk: Desk) -> None:
    for code, kind in desk.spoken.late_codes.items():
        rule = {"call": "create", "fault": "fails_late", "error_code": code, "message": "words", "line": 3}
        desk.faults(rule)
        ended = desk.ended(desk.submit().batch_id).ended
        assert ended is not None
        assert (ended.has_results, ended.without_line, ended.line) == (False, "not_taken", 3)
        assert ended.refused is not None
        assert ended.refused.kind == kind
        assert "words" in ended.refused.message


def test_failed_requests_have_lines_too(desk: Desk) -> None:
    """Where they stand in a file of their own, both files become one; where all fail there is only the other one."""
    some = {"outcome": "errored_invalid", "match": "Row <1>"}
    later = {"outcome": "errored_overloaded", "match": "Row <2>"}
    desk.faults(requests=[some, later])
    lines = desk.lines(ended_batch(desk))
    outcomes = {name: line["outcome"] for name, line in lines.items()}
    assert outcomes == {"id-0": "answered", "id-1": "permanent", "id-2": "transient", "id-3": "answered"}
    assert not lines["id-1"]["billed"]
    assert lines["id-1"]["error_message"]
    desk.faults(requests=[{"outcome": "errored_invalid"}])
    lines = desk.lines(ended_batch(desk))
    assert {line["outcome"] for line in lines.values()} == {"permanent"}
    assert len(lines) == 4


def ended_batch(desk: Desk, count: int = 4) -> str:
    batch_id = desk.submit(count).batch_id
    assert desk.ended(batch_id).ended is not None
    return batch_id


def test_other_ends_of_a_request(desk: Desk) -> None:
    rules = [
        {"outcome": "refused", "match": "Row <0>"},
        {"outcome": "truncated", "match": "Row <1>"},
        {"outcome": "errored_credit", "match": "Row <2>"},
        {"outcome": "unknown_type", "match": "Row <3>"},
    ]
    desk.faults(requests=rules)
    lines = desk.lines(ended_batch(desk))
    outcomes = {name: line["outcome"] for name, line in lines.items()}
    assert outcomes == {"id-0": "refused", "id-1": "truncated", "id-2": "account", "id-3": desk.spoken.strange_end}
    assert lines["id-1"]["output_tokens"] == 2000
    strange = lines["id-3"]
    assert strange["oddity"]
    assert strange["raw"]


def test_what_a_batch_did_before_it_expired_is_kept(desk: Desk) -> None:
    desk.faults(delay_seconds=20 * DAY, finished_before_expiry=0.5)
    state = desk.submit(20)
    desk.control("clock", {"advance_seconds": 3 * DAY})
    ended = desk.ended(state.batch_id).ended
    assert ended is not None
    lines = desk.lines(state.batch_id)
    outcomes = {line["outcome"] for line in lines.values()}
    assert outcomes <= {"answered", "expired"}
    assert "answered" in outcomes
    assert sum(line["outcome"] == "answered" for line in lines.values()) < 20
    assert "expired" in outcomes or ended.without_line == "expired"


def test_what_a_batch_did_before_it_was_canceled_is_kept(desk: Desk) -> None:
    desk.faults(delay_seconds=3600, finished_before_cancel=0.5)
    state = desk.submit(20)
    assert desk.provider.cancel(state.batch_id).batch_id == state.batch_id
    ended = desk.ended(state.batch_id).ended
    assert ended is not None
    lines = desk.lines(state.batch_id)
    answered = {name for name, line in lines.items() if line["outcome"] == "answered"}
    assert 0 < len(answered) < 20
    assert {line["outcome"] for line in lines.values()} <= {"answered", "canceled"}
    assert len(lines) == 20 or ended.without_line == "canceled"


def test_results_are_whole_or_not_there(desk: Desk, tmp_path: Path) -> None:
    batch_id = ended_batch(desk)
    path = tmp_path / "results.jsonl"
    for fault in ("results_cut_length", "results_cut_chunk", "html", "status:500", "reset", "no_lines"):
        desk.faults({"call": "results", "fault": fault, "times": 9})
        with pytest.raises(UnavailableError):
            desk.provider.collect(batch_id, path)
        assert list(tmp_path.iterdir()) == []
    desk.faults()
    desk.provider.collect(batch_id, path)
    assert len(desk.read(path)) == 4


def test_a_paid_answer_with_an_odd_status_is_judged(desk: Desk, tmp_path: Path) -> None:
    """The text of each was paid for: it is there to be judged, and is not asked for again for nothing."""
    batch_id = ended_batch(desk, 2)
    judged: list[tuple[Any, dict[str, Any]]] = []
    for number, edit in enumerate(desk.spoken.odd_lines):
        desk.faults({"call": "results", "fault": "results_edited", "edits": [edit]})
        path = tmp_path / f"{number}.jsonl"
        desk.provider.collect(batch_id, path)
        assert edit[1].encode() in path.read_bytes()
        judged += [(edit, line) for line in desk.read(path).values()]
    for changes in desk.spoken.odd_replies:
        desk.faults({"call": "message", "fault": "changed", "changes": changes})
        path = tmp_path / "reply.jsonl"
        path.write_bytes(make(desk, "message").line)
        judged += [(changes, line) for line in desk.read(path).values()]
    assert judged
    for odd, line in judged:
        assert line["outcome"] in ("answered", "unfinished"), odd
        assert line["billed"], odd
        assert line["answer"].startswith("{"), odd
        assert line["output_tokens"] > 0, odd


def test_damaged_lines_are_told_and_raise_nothing(desk: Desk) -> None:
    batch_id = ended_batch(desk, 6)
    for fault in ("bad_json_line", "foreign_line", "doubled_line", "blank_line", "missing_line"):
        desk.faults({"call": "results", "fault": fault})
        lines = desk.lines(batch_id)
        assert sum(line["outcome"] == "answered" for line in lines.values()) >= 5
        assert (None in lines) == (fault == "bad_json_line")
        assert ("somebody-elses-row" in lines) == (fault == "foreign_line")


def test_a_refusal_that_is_somebody_elses_blames_no_request(desk: Desk) -> None:
    """A redirect, or the page of a proxy: of an upload, of a call that may be repeated, and of a realtime call."""
    for fault in ("redirect", "status_html:400", "status_html:422"):
        for call in ("message", "retrieve", *(("upload",) if desk.provider.limits.create == "label" else ())):
            desk.faults({"call": call, "fault": fault, "times": 9})
            with pytest.raises(RefusedError) as caught:
                desk.submit() if call == "upload" else make(desk, call)
            assert (caught.value.kind, caught.value.line) == ("foreign", None), (fault, call)


def test_polls_that_fail_can_be_repeated(desk: Desk) -> None:
    batch_id = desk.submit().batch_id
    for fault in ("status:500", "status:429", "status:408", "reset", "html", "empty"):
        desk.faults({"call": "retrieve", "fault": fault})
        with pytest.raises(UnavailableError):
            desk.provider.poll(batch_id)
    with pytest.raises(RefusedError) as caught:
        desk.provider.poll(batch_id + "x")
    assert caught.value.kind == "not_found"
    desk.faults({"call": "retrieve", "fault": "status:401"})
    with pytest.raises(RefusedError) as caught:
        desk.provider.poll(batch_id)
    assert caught.value.kind == "account"


def test_the_key_goes_to_its_own_address_and_is_not_shown(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0.2)
        host = f"http://127.0.0.1:{other.getsockname()[1]}"
        for call in ("create", "retrieve", "list", "results", "message"):
            desk.faults({"call": call, "fault": "redirect", "host": host, "times": 9})
            with pytest.raises((RefusedError, UnknownOutcomeError, UnavailableError)) as caught:
                make(desk, call)
            assert KEY not in str(caught.value)
        with pytest.raises(TimeoutError):
            other.accept()
    assert KEY not in repr(desk.provider)


def make(desk: Desk, call: str) -> Any:
    """Make one kind of call."""
    if call == "create":
        return desk.submit()
    if call == "list":
        return desk.provider.account()
    if call == "message":
        headers = desk.provider.batch_headers(desk.rung)
        return desk.provider.answer("id-1", desk.params("Row <1>"), headers=headers, timeout_seconds=5)
    if call == "retrieve":
        return desk.provider.poll(desk.submit().batch_id)
    return desk.provider.collect(ended_batch(desk), desk.folder / "redirected.jsonl")


def test_a_realtime_call_has_the_line_of_a_batch(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "line.jsonl"
    path.write_bytes(make(desk, "message").line)
    line = desk.read(path)["id-1"]
    assert (line["outcome"], line["oddity"]) == ("answered", None)
    assert line["input_tokens"] > 0
    desk.faults(requests=[{"outcome": "errored_invalid"}])
    with pytest.raises(RefusedError) as caught:
        make(desk, "message")
    assert caught.value.line is not None
    path.write_bytes(caught.value.line)
    assert desk.read(path)["id-1"]["outcome"] == "permanent"
    for fault, status in (("status:429", 429), ("status:503", 503), ("reset", None), ("html", None)):
        desk.faults({"call": "message", "fault": fault})
        with pytest.raises(UnavailableError) as unavailable:
            make(desk, "message")
        assert unavailable.value.status == status
    # Too much load in the provider's own words cost nothing; a proxy says the same of a connection that broke.
    for fault, own in (("status:503", True), ("status_html:503", False), ("status:500", False), ("status:429", True)):
        desk.faults({"call": "message", "fault": fault})
        with pytest.raises(UnavailableError) as unavailable:
            make(desk, "message")
        assert unavailable.value.turned_away == own


def test_an_uploaded_input_can_be_deleted(desk: Desk) -> None:
    body, shipment = desk.shipment()
    input_id = desk.provider.upload(body, shipment, timeout_seconds=10)
    if input_id is not None:
        desk.provider.discard(input_id)
        with suppress(RefusedError):
            desk.provider.discard(input_id)
