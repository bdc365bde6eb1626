"""Replies that go wrong: refusals, replies lost on the way, and results with broken lines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import orjson

from batchpipe.emulator.service.faults import CallRule
from batchpipe.emulator.service.jsontypes import JsonObject, is_list, is_object
from batchpipe.emulator.service.wire import Reply, html_reply, json_reply

_GONE = object()


@dataclass(frozen=True, slots=True)
class Wording:
    """How a protocol says things. `error` makes an error body of status, message, code and request id.

    `batches_path`: where its batches are. `id_name`: the member of a result line with the id of its request.
    `failed` turns a result line into one whose request failed.
    """

    error: Callable[[int, str, str | None, str], JsonObject]
    batches_path: str
    id_name: str
    failed: Callable[[JsonObject], JsonObject]


def refusal(fault: CallRule, request_id: str, wording: Wording) -> Reply | None:
    """Return the reply to a call that the fault refuses unread; None if the call has to be handled."""
    kind, _, number = fault.fault.partition(":")
    if kind == "status":
        reply = _error(fault, int(number), request_id, wording)
    elif kind == "status_html":
        reply = html_reply(int(number))
    elif kind == "reset":
        reply = Reply(0, framing="reset")
    elif kind == "empty":
        reply = Reply(200, b"{}")
    elif kind == "html":
        reply = html_reply(200)
    elif kind == "redirect":
        reply = _redirect(fault, wording)
    else:
        return None
    reply.fault = fault.fault
    reply.delay_seconds = fault.seconds
    if fault.retry_after is not None:
        wait = fault.retry_after
        reply.headers["retry-after"] = wait if isinstance(wait, str) else f"{wait:g}"
    return reply


def replacement(fault: CallRule, reply: Reply, request_id: str, wording: Wording) -> Reply:
    """Return what the fault sends in place of the reply to a call that was handled."""
    kind, _, number = fault.fault.partition(":")
    changed = reply
    if kind == "landed_later":
        kind, _, number = fault.answer.partition(":")
        kind = f"accepted_then_{kind}"
    elif kind == "results_url_other_host":
        changed = _other_host(reply, fault.host)
    if kind == "accepted_then_reset":
        changed = Reply(0, framing="reset")
    elif kind == "accepted_then_status":
        changed = _error(fault, int(number), request_id, wording)
    elif kind == "accepted_then_status_html":
        changed = html_reply(int(number))
    elif kind == "accepted_then_empty":
        changed = Reply(200, b"{}")
    elif kind == "accepted_then_html":
        changed = html_reply(200)
    elif kind == "accepted_then_redirect":
        changed = _redirect(fault, wording)
    elif kind == "changed":
        changed = _changed(reply, fault)
    elif kind in ("accepted_late", "late"):
        changed.delay_seconds = fault.seconds
    changed.fault = fault.fault
    return changed


def _error(fault: CallRule, status: int, request_id: str, wording: Wording) -> Reply:
    message = fault.message or f"The emulator was told to answer {status}."
    return json_reply(status, wording.error(status, message, fault.error_code, request_id))


def _other_host(reply: Reply, host: str) -> Reply:
    batch = orjson.loads(reply.body)
    if batch.get("results_url"):
        path = batch["results_url"].split("/v1/", 1)[1]
        batch["results_url"] = f"{host.rstrip('/')}/v1/{path}"
    return replace(reply, body=orjson.dumps(batch))


def edited(edits: Sequence[tuple[bytes, bytes]], reply: Reply) -> Reply:
    """Return a reply with results, in which the first text of each of `edits` is replaced by the second. An empty first
    text means the beginning.
    """
    assert reply.file is not None
    body = reply.file.read_bytes()
    for found, put in edits:
        body = body.replace(found, put) if found else put + body
    return Reply(200, body, reply.content_type, framing="length")


def _redirect(fault: CallRule, wording: Wording) -> Reply:
    return Reply(307, headers={"location": f"{fault.host.rstrip('/')}{wording.batches_path}"})


def _changed(reply: Reply, fault: CallRule) -> Reply:
    """Return a reply with other fields; one that is no JSON value, like a results file, stays as it is."""
    if not reply.body:
        return reply
    found = orjson.loads(reply.body)
    for name, value in fault.changes.items():
        _change(found, name.split("."), value)
    for name in fault.removes:
        _change(found, name.split("."), _GONE)
    return replace(reply, body=orjson.dumps(found))


def _change(found: object, path: list[str], value: object) -> None:
    """Set the field that `path` names to `value`, or take it away where `value` is `_GONE`."""
    name, *rest = path
    if name == "*" and is_list(found):
        for each in found:
            _change(each, rest, value)
    elif is_object(found) and rest:
        _change(found.get(name), rest, value)
    elif is_object(found) and value is _GONE:
        found.pop(name, None)
    elif is_object(found):
        found[name] = value


def damage(fault: str, reply: Reply, wording: Wording) -> Reply:
    """Return a reply with results whose lines are cut off, doubled, missing, foreign or broken."""
    assert reply.file is not None
    lines = reply.file.read_bytes().splitlines(keepends=True)
    middle = len(lines) // 2
    framing = "length"
    if fault == "results_cut_line_end":
        lines, framing = lines[:middle], "close"
    elif fault == "results_cut_mid_line":
        lines, framing = [*lines[:middle], lines[middle][: len(lines[middle]) // 2]], "close"
    elif fault in ("results_cut_length", "results_cut_chunk"):
        framing = "short" if fault == "results_cut_length" else "chunked"
    elif fault == "doubled_line":
        lines.insert(middle, lines[-1])
    elif fault == "differing_double":
        lines.insert(0, _written(wording.failed(orjson.loads(lines[-1]))))
    elif fault == "foreign_line":
        lines.insert(middle, _renamed(lines[0], wording))
    elif fault == "foreign_lines":
        lines = [_renamed(line, wording, f"somebody-elses-row-{place}") for place, line in enumerate(lines)]
    elif fault == "no_lines":
        lines = []
    elif fault == "missing_line":
        del lines[middle]
    elif fault == "blank_line":
        lines.insert(middle, b"\n")
    elif fault == "bad_json_line":
        lines[middle] = lines[middle][: len(lines[middle]) // 2] + b"\n"
    else:
        return reply
    return Reply(200, b"".join(lines), reply.content_type, framing=framing)


def _written(line: JsonObject) -> bytes:
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _renamed(line: bytes, wording: Wording, custom_id: str = "somebody-elses-row") -> bytes:
    return _written({**orjson.loads(line), wording.id_name: custom_id})
