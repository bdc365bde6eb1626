"""The pure half of this provider: what it accepts, how a request is written, and how a results file is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Any

from batchpipe.providers import (
    Block,
    CacheTtl,
    Encoder,
    Limits,
    MediaLimits,
    Mode,
    RuleProblem,
    RungSettings,
    SentSchema,
    Turn,
)
from batchpipe.providers.openai import encoding, media
from batchpipe.providers.openai.encoding import RESPONSES, Endpoint
from batchpipe.providers.openai.lint import problems
from batchpipe.providers.openai.models import alias, find_model, model_data
from batchpipe.providers.openai.schema import strict_schema
from batchpipe.providers.shared.lines import count_sql, source, sql_text, usd
from batchpipe.providers.shared.mending import mended_lines
from batchpipe.sql.quoting import Sql, trusted

_ERROR = {"type": "VARCHAR", "code": "VARCHAR", "message": "VARCHAR"}
_CALL = {"name": "VARCHAR", "arguments": "VARCHAR"}
# The parts of a line that are read, as DuckDB's JSON structure.
_LINE: dict[str, Any] = {
    "id": "VARCHAR",
    "custom_id": "VARCHAR",
    "window": "VARCHAR",
    "reported_usd": "VARCHAR",
    "error": _ERROR,
    "response": {
        "status_code": "VARCHAR",
        "body": {
            "model": "VARCHAR",
            "status": "VARCHAR",
            "service_tier": "VARCHAR",
            "incomplete_details": {"reason": "VARCHAR"},
            "error": _ERROR,
            "output": [
                {
                    "type": "VARCHAR",
                    "phase": "VARCHAR",
                    "content": [{"type": "VARCHAR", "text": "VARCHAR", "refusal": "VARCHAR"}],
                    **_CALL,
                }
            ],
            "choices": [
                {
                    "finish_reason": "VARCHAR",
                    "message": {
                        "content": "JSON",
                        "refusal": "VARCHAR",
                        "tool_calls": [{"type": "VARCHAR", "function": _CALL}],
                        "function_call": _CALL,
                    },
                }
            ],
            "usage": {
                "cost": "VARCHAR",
                "total_tokens": "JSON",
                "input_tokens": "JSON",
                "input_tokens_details": {
                    "cached_tokens": "JSON",
                    "cache_write_tokens": "JSON",
                    "cache_write_tokens_details": {"ttl_30m_tokens": "JSON", "ttl_12h_tokens": "JSON"},
                },
                "output_tokens": "JSON",
                "output_tokens_details": {"reasoning_tokens": "JSON"},
                "prompt_tokens": "JSON",
                "prompt_tokens_details": {"cached_tokens": "JSON", "cache_write_tokens": "JSON"},
                "completion_tokens": "JSON",
                "completion_tokens_details": {"reasoning_tokens": "JSON"},
            },
        },
    },
}
# The SQL of each count: where it stands, and whether a line may leave it out.
_COUNTS = {
    "input_tokens": ("usage.input_tokens", False),
    "output_tokens": ("usage.output_tokens", False),
    "total_tokens": ("usage.total_tokens", False),
    "prompt_tokens": ("usage.prompt_tokens", False),
    "completion_tokens": ("usage.completion_tokens", False),
    "input_cached": ("usage.input_tokens_details.cached_tokens", True),
    "input_written": ("usage.input_tokens_details.cache_write_tokens", True),
    "written_30m": ("usage.input_tokens_details.cache_write_tokens_details.ttl_30m_tokens", True),
    "written_12h": ("usage.input_tokens_details.cache_write_tokens_details.ttl_12h_tokens", True),
    "output_reasoning": ("usage.output_tokens_details.reasoning_tokens", True),
    "prompt_cached": ("usage.prompt_tokens_details.cached_tokens", True),
    "prompt_written": ("usage.prompt_tokens_details.cache_write_tokens", True),
    "completion_reasoning": ("usage.completion_tokens_details.reasoning_tokens", True),
}
# How an error without a status ends, by its code.
_FAILED = (
    "CASE WHEN error_code IN ({account}) THEN 'account' WHEN error_code IN ({refused}) THEN 'refused' "
    "WHEN error_code IN ({context}) THEN 'context_window' WHEN error_code IN ({transient}) THEN 'transient' "
    "WHEN error_code IN ({permanent}) THEN 'permanent' ELSE 'unknown' END"
)


def _list(words: Sequence[str]) -> str:
    return ", ".join(map(sql_text, words))


@cache
def _lines_sql(*, text: bool) -> Sql:
    sql = resources.files(__package__).joinpath("lines.sql").read_text("utf-8")
    errors, known = model_data()["errors"], model_data()["known"]
    windows, priority = model_data()["prices"]["background"], model_data()["prices"]["priority"]
    named = [f"WHEN starts_with(body.model, {sql_text(name)}) THEN {factor}" for name, factor in priority.items()]
    values = {
        "lines": source(_LINE, text=text),
        "reported_usd": usd("reported_usd", "response.body.usage.cost"),
        "failed_outcome": _FAILED,
        "account_messages": sql_text(errors["account_messages"]),
        "gone_messages": sql_text(errors["gone_messages"]),
        "context_messages": sql_text(errors["context_messages"]),
        **{name: _list(words) for name, words in errors.items() if isinstance(words, list)},
        "known_items": _list(known["items"]),
        "known_finish_reasons": _list(known["finish_reasons"]),
        "priority_factors": " ".join([*named, f"ELSE {priority['default']}"]),
        "background_factors": " ".join(f"WHEN {sql_text(name)} THEN {factor}" for name, factor in windows.items()),
        **{name: count_sql(place, optional=optional) for name, (place, optional) in _COUNTS.items()},
    }
    for name, value in values.items():
        sql = sql.replace("{" + name + "}", value)
    return trusted(sql)


class Rules:
    """Everything of this provider that needs no key: limits, rules, encoding, and the reading of results."""

    name = "openai"

    def __init__(self, endpoint: Endpoint = RESPONSES) -> None:
        self.endpoint: Endpoint = endpoint

    @property
    def limits(self) -> Limits:
        return Limits(**model_data()["limits"], create="label", queued="input_tokens", results_may_expire=True)

    def schema(self, full: Mapping[str, Any]) -> SentSchema:
        return strict_schema(full)

    def problems(
        self, rung: RungSettings, *, output_format: str, sent_schema: Mapping[str, Any] | None
    ) -> Sequence[RuleProblem]:
        return problems(self.endpoint, rung, output_format=output_format)

    def max_output_tokens(self, model: str, mode: Mode = "realtime") -> int | None:
        return find_model(model).max_output

    def context_tokens(self, model: str) -> int | None:
        known = find_model(model)
        return known.max_input or known.context

    @property
    def media(self) -> MediaLimits:
        return media.CHAT_LIMITS if self.endpoint == encoding.CHAT else media.LIMITS

    def media_tokens(self, rung: RungSettings, block: Block) -> int:
        return media.tokens(rung.usual_name, block)

    def encoder(
        self,
        rung: RungSettings,
        *,
        output_format: str,
        sent_schema: Mapping[str, Any] | None,
        cache: CacheTtl | None = None,
        head: str = "",
        turns: Sequence[Turn] = (),
    ) -> Encoder:
        return encoding.BodyEncoder(
            self.endpoint,
            rung,
            output_format=output_format,
            sent_schema=sent_schema,
            cache=cache,
            head=head,
            turns=turns,
        )

    def unmarked(self, params: bytes) -> bytes:
        return encoding.unmarked(params)

    def naming_uploads(self, params: bytes, names: Mapping[str, str]) -> bytes:
        return media.naming_uploads(params, names)

    def cached_from_tokens(self, model: str) -> int:
        return int(model_data()["cache"]["least_tokens"])

    def marks_cache(self, model: str) -> bool:
        return find_model(model).paid_writes

    def visible_schema(self, *, output_format: str, sent_schema: Mapping[str, Any] | None) -> str:
        return encoding.visible_schema(output_format, sent_schema)

    def price_factor(self, rung: RungSettings) -> Decimal:
        if rung.mode == "batch":
            return Decimal(1)
        prices = model_data()["prices"]
        if rung.settings.get("service_tier") in ("priority", "fast"):
            return Decimal(prices["priority"].get(alias(rung.usual_name), prices["priority"]["default"]))
        if rung.settings.get("service_tier") == "flex":
            return Decimal(prices["flex"])
        return Decimal(prices["background"].get(rung.settings.get("background"), 1))

    def batch_headers(self, rung: RungSettings) -> Mapping[str, str]:
        return {}

    def assemble(self, requests: Iterable[tuple[str, bytes]]) -> bytes:
        return encoding.assemble(self.endpoint, requests)

    def lines_sql(self, *, text: bool) -> Sql:
        return _lines_sql(text=text)

    def mended_lines(self, lines: Iterable[bytes], *, exact_inputs: bool) -> Iterator[bytes]:
        # The input of a tool comes as a text, which keeps every digit of its numbers.
        return mended_lines(lines)
