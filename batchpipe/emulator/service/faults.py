"""Rules, written in JSON, for what the emulator does wrong: outcomes of requests, faults of HTTP calls, limits."""

import re
from collections.abc import Set
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path
from typing import Any

import orjson

from batchpipe.emulator.service.errors import EmulatorError
from batchpipe.emulator.service.jsontypes import JsonObject, is_integer, is_list, is_number, is_object, word_set

OUTCOMES = word_set(
    "errored_invalid errored_credit errored_overloaded errored_api errored_rate_limit errored_permission "
    "expired canceled refused refused_midway truncated context_window pause_turn invalid_json wrong_enum "
    "out_of_range extra_field missing_field enum_case empty_content split_text unknown_type not_batch_tier "
    "commentary status_0 failed_body output message"
)
CALLS = ("create", "retrieve", "list", "results", "cancel", "delete", "message", "models", "upload", "files")
PROTOCOLS = ("anthropic", "openai", "gemini")

MAX_REQUESTS = 100_000
MAX_BYTES = 256_000_000
CACHE_HITS = 0.98
RESULTS_KEPT = 29 * 86_400.0
_LANDED_LATER_ANSWER = "status:500"
_OTHER_HOST = "http://results.invalid"
_EVERY_CALL = word_set(
    "reset empty html late redirect changed accepted_then_reset accepted_then_empty accepted_then_html "
    "accepted_then_redirect accepted_late"
)
LIST_ORDERS = ("newest", "oldest", "shuffled")
_ONLY_FOR = {
    "landed_later": "create",
    "earlier_id": "create",
    "fails_late": "create",
    "output_late": "create",
    "partial": "create",
    "counts_lie": "create",
    "list_lag": "list",
    "results_url_other_host": "retrieve",
    **dict.fromkeys(
        word_set(
            "results_cut_line_end results_cut_mid_line results_cut_length results_cut_chunk doubled_line "
            "differing_double foreign_line foreign_lines missing_line blank_line bad_json_line no_lines results_edited"
        ),
        "results",
    ),
}
_STATUS = re.compile(r"(status|status_html|accepted_then_status):([45]\d\d)")


@dataclass(frozen=True, slots=True)
class RequestRule:
    """An outcome for the requests for which all given conditions hold.

    `match`: a substring of the request's text. `model`: its model. `share`: the share of contents, chosen by hash.
    `times`: how often the rule applies. `per`: whether `times` counts all its requests ("rule"), or the requests of
    each row's own text ("content"). `output`: the answer, for the outcome "output". `message`: fields that the message
    has in the place of its own; a field with the value "(missing)" is taken away.
    """

    outcome: str
    match: str | None = None
    model: str | None = None
    share: float = 1.0
    times: int | None = None
    per: str = "content"
    output: Any = None
    message: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class CallRule:
    """A fault for `times` calls of one kind, after `after` calls without it; of `protocol` alone where it is given.

    `seconds` is the delay: in real time for a late answer, in the emulator's time for landed_later and list_lag.
    The fault "fails_late" lets a batch fail with `error_code` and `message`, at `line` of its input; after
    "output_late" a batch names no results for `seconds` after its end. `edits` are for results_edited: what stands in
    the results, and what takes its place, each character a byte. The fault "changed" sets the fields of `changes` in
    the reply, and takes away those of `removes`; a field is named like `request_counts.processing`, or `data.*.id` for
    all members of a list.
    """

    call: str
    fault: str
    protocol: str | None = None
    times: int = 1
    after: int = 0
    seconds: float = 0.0
    retry_after: float | str | None = None
    error_code: str | None = None
    message: str | None = None
    line: int | None = None
    answer: str = _LANDED_LATER_ANSWER
    host: str = _OTHER_HOST
    edits: tuple[tuple[bytes, bytes], ...] = ()
    changes: JsonObject = field(default_factory=dict[str, Any])
    removes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules in force, and the limits of the service.

    `max_storage_bytes`: the room for a project's files. `max_queued_tokens`: the input tokens of a model that may wait.
    `validating_seconds`: how long a new batch is checked; where a protocol has these.
    `finished_before_cancel`, `finished_before_expiry`: the share of a batch that is answered before. `cache_hits`: the
    share of requests that find a prefix which an earlier batch left in the cache. `never_ends`: batches neither end nor
    expire. `results_kept_seconds`: how long results are kept. `clock_offset_seconds`: how far the clock that replies
    show is ahead. `date_header`, `account_headers`: whether replies have them. `key`: a hash of the rules' text.
    """

    requests: tuple[RequestRule, ...] = ()
    calls: tuple[CallRule, ...] = ()
    max_queued: int | None = None
    max_queued_tokens: int | None = None
    max_batches: int | None = None
    validating_seconds: float = 0.0
    max_requests: int = MAX_REQUESTS
    max_bytes: int = MAX_BYTES
    max_storage_bytes: int | None = None
    delay_seconds: float | None = None
    finished_before_cancel: float = 0.0
    finished_before_expiry: float = 0.0
    cache_hits: float = CACHE_HITS
    never_ends: bool = False
    results_kept_seconds: float = RESULTS_KEPT
    clock_offset_seconds: float = 0.0
    date_header: bool = True
    account_headers: bool = True
    list_order: str = "newest"
    key: str = ""


def read_rules(path: Path) -> bytes:
    """Return the text of a faults file after checking it. Raises EmulatorError that names the file."""
    try:
        text = path.read_bytes()
    except OSError as problem:
        raise EmulatorError(f"{path}: {problem.strerror}") from problem
    parse_rules(text, str(path))
    return text


def parse_rules(text: bytes, where: str) -> Rules:
    """Return the rules that a JSON text describes. Raises EmulatorError that says what is wrong, and where."""
    try:
        found: object = orjson.loads(text)
    except orjson.JSONDecodeError as problem:
        raise EmulatorError(f"{where}: not JSON: {problem}") from problem
    if not is_object(found):
        raise EmulatorError(f"{where}: expected an object with the keys 'requests' and 'calls'")
    reader = _Reader(where)
    reader.keys("", found, Rules.__dataclass_fields__.keys() - {"key"})
    hits = reader.number("cache_hits", found.get("cache_hits"))
    kept = reader.number("results_kept_seconds", found.get("results_kept_seconds"))
    return Rules(
        requests=tuple(
            reader.request(f"requests[{place}]", rule)
            for place, rule in enumerate(reader.rules("requests", found.get("requests", [])))
        ),
        calls=tuple(
            reader.call(f"calls[{place}]", rule)
            for place, rule in enumerate(reader.rules("calls", found.get("calls", [])))
        ),
        max_queued=reader.whole("max_queued", found.get("max_queued")),
        max_queued_tokens=reader.whole("max_queued_tokens", found.get("max_queued_tokens")),
        max_batches=reader.whole("max_batches", found.get("max_batches")),
        validating_seconds=reader.number("validating_seconds", found.get("validating_seconds")) or 0.0,
        max_requests=reader.whole("max_requests", found.get("max_requests")) or MAX_REQUESTS,
        max_bytes=reader.whole("max_bytes", found.get("max_bytes")) or MAX_BYTES,
        max_storage_bytes=reader.whole("max_storage_bytes", found.get("max_storage_bytes")),
        delay_seconds=reader.number("delay_seconds", found.get("delay_seconds")),
        finished_before_cancel=reader.number("finished_before_cancel", found.get("finished_before_cancel")) or 0.0,
        finished_before_expiry=reader.number("finished_before_expiry", found.get("finished_before_expiry")) or 0.0,
        cache_hits=CACHE_HITS if hits is None else hits,
        never_ends=reader.flag("never_ends", found.get("never_ends", False)),
        results_kept_seconds=RESULTS_KEPT if kept is None else kept,
        clock_offset_seconds=reader.offset("clock_offset_seconds", found.get("clock_offset_seconds", 0.0)),
        date_header=reader.flag("date_header", found.get("date_header", True)),
        account_headers=reader.flag("account_headers", found.get("account_headers", True)),
        list_order=reader.word("list_order", found.get("list_order", "newest"), LIST_ORDERS),
        key=md5(text).hexdigest(),
    )


class _Reader:
    def __init__(self, where: str) -> None:
        self.where = where

    def error(self, place: str, message: str) -> EmulatorError:
        return EmulatorError(f"{self.where}: {place}: {message}")

    def keys(self, place: str, found: JsonObject, allowed: Set[str]) -> None:
        for name in found:
            if name not in allowed:
                raise self.error(f"{place}.{name}".strip("."), f"unknown key; known are {', '.join(sorted(allowed))}")

    def rules(self, place: str, found: object) -> list[JsonObject]:
        if not is_list(found) or not all(is_object(rule) for rule in found):
            raise self.error(place, "expected a list of objects")
        return found

    def whole(self, place: str, value: object) -> int | None:
        if value is None or (is_integer(value) and value >= 0):
            return value
        raise self.error(place, f"expected a whole number, not {value!r}")

    def number(self, place: str, value: object) -> float | None:
        if value is None or (is_number(value) and value >= 0):
            return value
        raise self.error(place, f"expected a number, not {value!r}")

    def offset(self, place: str, value: object) -> float:
        if is_number(value):
            return value
        raise self.error(place, f"expected a number, not {value!r}")

    def flag(self, place: str, value: object) -> bool:
        if isinstance(value, bool):
            return value
        raise self.error(place, f"expected true or false, not {value!r}")

    def word(self, place: str, value: object, allowed: tuple[str, ...]) -> str:
        if isinstance(value, str) and value in allowed:
            return value
        raise self.error(place, f"expected one of {', '.join(allowed)}, not {value!r}")

    def text(self, place: str, value: object) -> str | None:
        if value is None or isinstance(value, str):
            return value
        raise self.error(place, f"expected a string, not {value!r}")

    def request(self, place: str, rule: JsonObject) -> RequestRule:
        self.keys(place, rule, RequestRule.__dataclass_fields__.keys())
        message = rule.get("message")
        if message is not None and not is_object(message):
            raise self.error(f"{place}.message", f"expected an object, not {message!r}")
        outcome = rule.get("outcome", next((each for each in ("output", "message") if each in rule), None))
        if outcome not in OUTCOMES:
            raise self.error(
                f"{place}.outcome", f"unknown outcome {outcome!r}; known are {', '.join(sorted(OUTCOMES))}"
            )
        match = self.text(f"{place}.match", rule.get("match"))
        per = rule.get("per", "content" if match is None else "rule")
        if per not in ("rule", "content"):
            raise self.error(f"{place}.per", "expected 'rule' or 'content'")
        share = self.number(f"{place}.share", rule.get("share"))
        return RequestRule(
            outcome=outcome,
            match=match,
            model=self.text(f"{place}.model", rule.get("model")),
            share=1.0 if share is None else share,
            times=self.whole(f"{place}.times", rule.get("times")),
            per=per,
            output=rule.get("output"),
            message=message,
        )

    def call(self, place: str, rule: JsonObject) -> CallRule:
        self.keys(place, rule, CallRule.__dataclass_fields__.keys())
        call, fault = rule.get("call"), rule.get("fault")
        if call not in CALLS:
            raise self.error(f"{place}.call", f"unknown call {call!r}; known are {', '.join(CALLS)}")
        if not isinstance(fault, str) or not (fault in _EVERY_CALL or _STATUS.fullmatch(fault) or fault in _ONLY_FOR):
            known = sorted({*_EVERY_CALL, *_ONLY_FOR, "status:NNN", "status_html:NNN", "accepted_then_status:NNN"})
            raise self.error(f"{place}.fault", f"unknown fault {fault!r}; known are {', '.join(known)}")
        if _ONLY_FOR.get(fault, call) != call:
            raise self.error(f"{place}.fault", f"{fault} is a fault of the call {_ONLY_FOR[fault]!r}")
        protocol = rule.get("protocol")
        if protocol is not None and protocol not in PROTOCOLS:
            raise self.error(f"{place}.protocol", f"unknown protocol {protocol!r}; known are {', '.join(PROTOCOLS)}")
        times = self.whole(f"{place}.times", rule.get("times"))
        answer = self.text(f"{place}.answer", rule.get("answer")) or _LANDED_LATER_ANSWER
        if answer != "reset" and not _STATUS.fullmatch(answer):
            raise self.error(f"{place}.answer", "expected 'reset' or 'status:NNN'")
        changes, removes = rule.get("changes", {}), rule.get("removes", [])
        if not is_object(changes) or not is_list(removes) or not all(isinstance(each, str) for each in removes):
            raise self.error(place, "expected an object as `changes`, and a list of names as `removes`")
        wait = rule.get("retry_after")
        return CallRule(
            call=call,
            fault=fault,
            protocol=protocol,
            times=1 if times is None else times,
            after=self.whole(f"{place}.after", rule.get("after")) or 0,
            seconds=self.number(f"{place}.seconds", rule.get("seconds")) or 0.0,
            retry_after=wait if isinstance(wait, str) else self.number(f"{place}.retry_after", wait),
            error_code=self.text(f"{place}.error_code", rule.get("error_code")),
            message=self.text(f"{place}.message", rule.get("message")),
            line=self.whole(f"{place}.line", rule.get("line")),
            answer=answer,
            host=self.text(f"{place}.host", rule.get("host")) or _OTHER_HOST,
            edits=tuple(self.edit(f"{place}.edits", each) for each in rule.get("edits", [])),
            changes=changes,
            removes=tuple(removes),
        )

    def edit(self, place: str, value: object) -> tuple[bytes, bytes]:
        if not is_list(value) or len(value) != 2 or not all(isinstance(each, str) for each in value):
            raise self.error(place, "expected pairs of texts: what is there, and what takes its place")
        return value[0].encode("latin-1"), value[1].encode("latin-1")
