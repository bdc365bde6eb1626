"""Streams that are odd: nothing in them raises, and an answer that came whole is kept whatever else they hold."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from batchpipe.providers import RefusedError, UnavailableError

from .protocols import Spoken
from .streamed import MADE, Line, written

TEXTS = ("one ", "two")
DEEP, LONG = "@deep@", "@long@"
ODD: tuple[Any, ...] = (None, [], {}, "", "soon", -1, 0.5, 10**30, LONG, True, [None], [{}], {"a": 1}, {"x": DEEP})
# So many changed streams of each protocol are tried a day.
TRIED = 100
# The places of each protocol's events without which an answer is not whole, and those that they stand in.
NEEDED: Mapping[str, Sequence[str]] = {
    "anthropic": ("content_block", "content_block.type", "content_block.text", "delta", "delta.text"),
    "openai": tuple(
        "response" + each
        for each in ("", ".output", ".output.*", ".output.*.type", ".output.*.content", ".output.*.content.*",
                     ".output.*.content.*.type", ".output.*.content.*.text")
    ),
    "openai /v1/chat/completions": (
        "choices", "choices.*", "choices.*.delta", "choices.*.delta.content", "choices.*.finish_reason",
    ),
    "gemini": (
        "candidates", "candidates.*", "candidates.*.content", "candidates.*.content.parts",
        "candidates.*.content.parts.*", "candidates.*.content.parts.*.text", "candidates.*.finishReason",
    ),
}  # fmt: skip
# What a stream may hold after its end, in the place of a part, or as one more event.
ERROR = {"type": "error", "error": {"type": "overloaded_error", "code": "server_error", "message": "late"}}
TRAILERS: tuple[Any, ...] = (ERROR, {"error": "late"}, '{"usage": {', "[1]", "null", {"delta": "x"}, {"choices": 7})


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the ways to each part of a JSON value."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in parts:
        yield (*path, name)
        yield from places(each, (*path, name))


def changed(event: Mapping[str, Any], path: tuple[Any, ...], odd: Any, levels: int = 300) -> str:
    """Return an event, as JSON, with an odd value at the end of a way."""
    made: Any = copy.deepcopy(event)
    inner = made
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = odd
    text = json.dumps(made).replace(f'"{DEEP}"', "[" * levels + "]" * levels)
    return text.replace(f'"{LONG}"', "9" * 5_000)


def is_needed(spoken: Spoken, path: tuple[Any, ...]) -> bool:
    return ".".join("*" if isinstance(each, int) else each for each in path) in NEEDED[spoken.name]


def test_an_answer_is_kept_whatever_the_rest_of_its_stream_is(
    spoken: Spoken, tmp_path: Path, chance: random.Random, full_sweep: bool
) -> None:
    """Each part of each event in turn is of another type: nothing raises, and a cost is never a wrong one."""
    line, events, found, whole = Line(spoken), MADE[spoken.name](TEXTS), [], set()
    cases = [(n, path, odd) for n, event in enumerate(events) for path in places(event) for odd in ODD]
    for number, (n, path, odd) in enumerate(cases if full_sweep else chance.sample(cases, min(TRIED, len(cases)))):
        made = [*events[:n], changed(events[n], path, odd), *events[n + 1 :]]
        try:
            found.append(line.ask(f"id-{number}", written(made, escaped=True)))
        except (UnavailableError, RefusedError):
            assert is_needed(spoken, path), (n, path, odd)
            continue
        if not is_needed(spoken, path):
            whole.add(f"id-{number}")
    rows = line.rows(found, tmp_path)
    assert rows.keys() >= whole
    for name in whole:
        row = rows[name]
        assert (row["answer"], row["outcome"]) == ("one two", "answered"), row
        assert row["output_tokens"] in (9, None)


def test_events_that_are_missing_doubled_or_very_deep_raise_nothing(spoken: Spoken) -> None:
    line, events = Line(spoken), MADE[spoken.name](TEXTS)
    made: list[list[Any]] = []
    for n, event in enumerate(events):
        made += ([*events[:n], *events[n + 1 :]], [*events[:n], event, *events[n:]])
        for levels in (995, 1_005, 1_020, 50_000):
            inner = next((name for name, each in event.items() if isinstance(each, dict)), None)
            path = ("x",) if inner is None else (inner, "x")
            made.append([*events[:n], changed(event, path, DEEP, levels), *events[n + 1 :]])
            made.append([*events[:n], changed({"error": 0}, ("error",), {"message": DEEP}, levels), *events[n:]])
    for each in made:
        body = written(each, escaped=True)
        for size in (len(body), len(body) // 2):
            for cut in (False, True):
                try:
                    line.ask("id-1", body[:size], cut=cut)
                except (UnavailableError, RefusedError):
                    continue


def test_nothing_takes_an_answer_away_that_has_ended(spoken: Spoken, tmp_path: Path) -> None:
    """A break, an error, a damaged piece: what is missing of the usage makes the cost unknown."""
    line, events = Line(spoken), list(MADE[spoken.name](TEXTS))
    without_mark = written(events).removesuffix(b"data: [DONE]\n\n")
    cases = [(without_mark, True), (without_mark, False), (without_mark.rstrip(), True)]
    cases += [(written([*events, each]), cut) for each in TRAILERS for cut in (False, True)]
    found = [line.ask(f"id-{number}", body, cut=cut) for number, (body, cut) in enumerate(cases)]
    rows = line.rows(found, tmp_path)
    assert len(rows) == len(cases)
    for row in rows.values():
        assert (row["answer"], row["outcome"], row["output_tokens"]) == ("one two", "answered", 9)
    if spoken.name == "openai":
        return
    # The last event but one says why the model stopped, or the last one does.
    last = -2 if spoken.name in ("anthropic", "openai /v1/chat/completions") else -1
    end = {name: each for name, each in events[last].items() if name not in ("usage", "usageMetadata")}
    found = []
    for number, more in enumerate(([], *([each] for each in TRAILERS))):
        body = written([*events[:last], end, *more]).removesuffix(b"data: [DONE]\n\n")
        found.append(line.ask(f"id-{number}", body, cut=True))
    for row in line.rows(found, tmp_path).values():
        assert (row["answer"], row["outcome"]) == ("one two", "answered")
        assert (row["output_tokens"], row["cost_known"], row["billed"]) == (None, False, True)


def test_an_event_with_a_null_error_is_no_error(spoken: Spoken, tmp_path: Path) -> None:
    line, found = Line(spoken), []
    nothing: tuple[Any, ...] = (None, "", {}, [], 0)
    for number, odd in enumerate(nothing):
        body = written([{**each, "error": odd} for each in MADE[spoken.name](TEXTS)])
        found.append(line.ask(f"id-{number}", body))
    for row in line.rows(found, tmp_path).values():
        assert (row["answer"], row["output_tokens"]) == ("one two", 9)


def plain_answer(spoken: Spoken) -> Any:
    """Return the answer that is not streamed, as the events tell of it."""
    events = MADE[spoken.name](TEXTS)
    if spoken.name == "anthropic":
        usage = {"input_tokens": 3, "output_tokens": 9}
        text = {"type": "text", "text": "one two"}
        return {**events[0]["message"], "content": [text], "stop_reason": "end_turn", "usage": usage}
    if spoken.name == "openai":
        return events[-1]["response"]
    if spoken.name == "gemini":
        content = {"role": "model", "parts": [{"text": "one two"}]}
        return {**events[-1], "candidates": [{"content": content, "finishReason": "STOP"}]}
    choice = {"message": {"role": "assistant", "content": "one two"}, "finish_reason": "stop"}
    return {"model": "gpt-5.4", "choices": [choice], "usage": events[-1]["usage"]}


def test_an_answer_that_is_not_streamed_is_the_answer(spoken: Spoken, tmp_path: Path) -> None:
    line, answer = Line(spoken), json.dumps(plain_answer(spoken))
    pretty = json.dumps(plain_answer(spoken), indent=2)
    bodies = [answer, pretty, f"\ufeff\r\n {answer}\n", "\n".join(map(json.dumps, MADE[spoken.name](TEXTS)))]
    bodies += [json.dumps(MADE[spoken.name](TEXTS)), json.dumps(MADE[spoken.name](TEXTS), indent=1)]
    cases = [(body.encode(), cut) for body in bodies for cut in (False, True)]
    found = [line.ask(f"id-{number}", body, cut=cut, size=50) for number, (body, cut) in enumerate(cases)]
    rows = line.rows(found, tmp_path)
    assert len(rows) == len(cases)
    for row in rows.values():
        assert (row["answer"], row["outcome"], row["output_tokens"]) == ("one two", "answered", 9)
    for broken in (answer[:-9], pretty[:-9], "[" + answer[:-9], "[]"):
        with pytest.raises(UnavailableError):
            line.ask("id-1", broken.encode(), cut=True)


# The errors of each protocol that a stream may hold: too long, at fault, of the key, and of the moment.
SAID: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "anthropic": (
        {"type": "invalid_request_error", "message": "prompt is too long: 300000 tokens > 200000 maximum"},
        {"type": "invalid_request_error", "message": "max_tokens: must be greater"},
        {"type": "authentication_error", "message": "invalid x-api-key"},
        {"type": "overloaded_error", "message": "Overloaded"},
    ),
    "openai": (
        {"type": "invalid_request_error", "code": "context_length_exceeded", "message": "Your input is too long"},
        {"type": "invalid_request_error", "code": None, "message": "no such tool"},
        {"type": "invalid_request_error", "code": "invalid_api_key", "message": "bad key"},
        {"type": "requests", "code": "rate_limit_exceeded", "message": "slow down"},
    ),
    "gemini": (
        {"code": 400, "status": "INVALID_ARGUMENT", "message": "The input token count (2000000) exceeds the maximum"},
        {"code": 400, "status": "INVALID_ARGUMENT", "message": "no such tool"},
        {"code": 403, "status": "PERMISSION_DENIED", "message": "bad key"},
        {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Quota exceeded for requests per minute"},
    ),
}
BEGINS: Mapping[str, Mapping[str, Any]] = {
    "openai": {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}},
    "openai /v1/chat/completions": {"model": "gpt-5.4", "choices": [{"delta": {"role": "assistant", "content": ""}}]},
    "gemini": {"modelVersion": "gemini-3.8-flash", "responseId": "r"},
}


def test_an_error_in_the_place_of_an_answer_is_what_its_words_say(spoken: Spoken, tmp_path: Path) -> None:
    """Before any content it is a refusal, which costs nothing; after some it may have been paid for."""
    line, events = Line(spoken), MADE[spoken.name](TEXTS)
    begin = BEGINS.get(spoken.name, events[0])
    texts = events[:-1] if spoken.name == "openai" else events[:3] if spoken.name == "anthropic" else events[:2]
    outcomes: dict[str, str] = {}
    found: list[bytes] = []
    for number, error in enumerate(SAID[spoken.protocol]):
        forms: list[Mapping[str, Any]] = [{"type": "error", "error": error}, {"error": error}]
        if spoken.name == "openai":
            forms.append({**error, "type": "error"} if error["code"] else forms[0])
        for said in forms:
            for before in ([], [begin]):
                with pytest.raises((RefusedError, UnavailableError)) as caught:
                    line.ask(f"id-{len(found)}", written([*before, said]), cut=bool(before))
                refused: Exception = caught.value
                if isinstance(refused, UnavailableError):
                    assert (number, refused.turned_away) == (3, not before)
                    continue
                assert isinstance(refused, RefusedError)
                assert (refused.kind, refused.line is None) == (
                    ("account", True) if number == 2 else ("invalid", False)
                )
                if refused.line is not None:
                    outcomes[f"id-{len(found)}"] = ("context_window", "permanent")[number]
                    found.append(refused.line)
            with pytest.raises(UnavailableError) as lost:
                line.ask("id-1", written([*texts, said]))
            assert (lost.value.status, lost.value.turned_away) == (None, False)
    rows = line.rows(found, tmp_path)
    assert {name: row["outcome"] for name, row in rows.items()} == outcomes
    assert {(row["billed"], row["cost_known"]) for row in rows.values()} == {(False, True)}


def test_an_error_of_no_known_kind_is_lost_once_the_answer_has_begun(spoken: Spoken) -> None:
    begin = BEGINS.get(spoken.name, MADE[spoken.name](TEXTS)[0])
    for error in ("overloaded", {"message": "what is this"}, {"type": ["x"], "code": {"a": 1}, "message": [2]}):
        with pytest.raises(UnavailableError) as lost:
            Line(spoken).ask("id-1", written([begin, {"type": "error", "error": error}]))
        assert lost.value.status is None


def test_a_failed_response_after_an_error_is_told_by_that(spoken: Spoken, tmp_path: Path) -> None:
    if spoken.name != "openai":
        return
    too_long = SAID["openai"][0]
    for error in (None, {"code": "context_length_exceeded", "message": "Your input is too long"}):
        failed: dict[str, Any] = {
            "id": "resp_1",
            "status": "failed",
            "error": error,
            "output": [],
            "usage": None,
            "model": "gpt-6-luna",
        }
        events = [
            BEGINS["openai"],
            {"type": "error", "error": too_long},
            {"type": "response.failed", "response": failed},
        ]
        row = Line(spoken).row(written(events), tmp_path)
        assert (row["outcome"], row["billed"], row["cost_known"]) == ("context_window", False, True)
    item = MADE["openai"](TEXTS)[-1]["response"]["output"][0]
    done = {"type": "response.output_item.done", "output_index": 0, "item": item}
    for odd in ({"status": "completed", "output": []}, None, {"status": None}):
        row = Line(spoken).row(written([done, {"type": "response.completed", "response": odd}]), tmp_path)
        assert (row["answer"], row["outcome"], row["cost_known"]) == ("one two", "answered", False)
