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
from batchpipe.providers.anthropic import encoding, media
from batchpipe.providers.anthropic.lint import problems
from batchpipe.providers.anthropic.models import cached_from, find_model, model_data, most_output
from batchpipe.providers.shared.lines import count_sql, source, sql_text, usd
from batchpipe.providers.shared.mending import mended_lines, written
from batchpipe.schema.reduce import schema_problems, sent_schema
from batchpipe.sql.quoting import Sql, trusted

# The parts of a line that are read, as DuckDB's JSON structure.
_LINE: dict[str, Any] = {
    "custom_id": "VARCHAR",
    "reported_usd": "VARCHAR",
    "result": {
        "type": "VARCHAR",
        "error": {
            "type": "VARCHAR",
            "message": "VARCHAR",
            "error": {"type": "VARCHAR", "message": "VARCHAR", "details": {"error_code": "VARCHAR"}},
        },
        "message": {
            "model": "VARCHAR",
            "stop_reason": "VARCHAR",
            "stop_details": {"category": "VARCHAR", "explanation": "VARCHAR"},
            "content": [{"type": "VARCHAR", "text": "VARCHAR", "name": "VARCHAR", "input": "JSON"}],
            "usage": {
                "cost": "VARCHAR",
                "input_tokens": "JSON",
                "output_tokens": "JSON",
                "cache_creation_input_tokens": "JSON",
                "cache_read_input_tokens": "JSON",
                "cache_creation": {
                    "ephemeral_5m_input_tokens": "JSON",
                    "ephemeral_1h_input_tokens": "JSON",
                },
                "output_tokens_details": {"thinking_tokens": "JSON"},
                "server_tool_use": {"web_search_requests": "JSON"},
                "service_tier": "VARCHAR",
                "inference_geo": "VARCHAR",
            },
        },
    },
}
# The SQL of each count: where it stands, and whether a line may leave it out.
_COUNTS = {
    "input_tokens": ("usage.input_tokens", False),
    "output_tokens": ("usage.output_tokens", False),
    "cache_read_tokens": ("usage.cache_read_input_tokens", True),
    "all_cache_write_tokens": ("usage.cache_creation_input_tokens", True),
    "cache_write_5m_tokens": ("usage.cache_creation.ephemeral_5m_input_tokens", True),
    "cache_write_1h_tokens": ("usage.cache_creation.ephemeral_1h_input_tokens", True),
    "thinking_tokens": ("usage.output_tokens_details.thinking_tokens", True),
    "web_searches": ("usage.server_tool_use.web_search_requests", True),
}


@cache
def _lines_sql(*, text: bool) -> Sql:
    sql = resources.files(__package__).joinpath("lines.sql").read_text("utf-8")
    account, prices, known = model_data()["account"], model_data()["prices"], model_data()["known"]
    values = {
        "lines": source(_LINE, text=text),
        "reported_usd": usd("reported_usd", "result.message.usage.cost"),
        "account_types": ", ".join(map(sql_text, account["types"])),
        "account_codes": ", ".join(map(sql_text, account["codes"])),
        "account_messages": sql_text(account["messages"]),
        "too_long_messages": sql_text(model_data()["too_long"]["messages"]),
        "regional_geo": ", ".join(map(sql_text, prices["regional_geo"])),
        "regional_factor": prices["regional_factor"],
        "known_blocks": ", ".join(map(sql_text, known["blocks"])),
        "known_stop_reasons": ", ".join(map(sql_text, known["stop_reasons"])),
        **{name: count_sql(place, optional=optional) for name, (place, optional) in _COUNTS.items()},
    }
    for name, value in values.items():
        sql = sql.replace("{" + name + "}", value)
    return trusted(sql)


def _with_exact_inputs(line: dict[str, Any]) -> dict[str, Any]:
    """Return the line with the input of each tool call as the text of its JSON."""
    content = line.get("result") or {}
    for name in ("message", "content"):
        content = content.get(name) or {} if isinstance(content, dict) else {}
    for block in content if isinstance(content, list) else ():
        if isinstance(block, dict) and isinstance(block.get("input"), dict):
            block["input"] = written(block["input"]).decode().rstrip("\n")
    return line


class Rules:
    """Everything of this provider that needs no key: limits, rules, encoding, and the reading of results."""

    name = "anthropic"

    @property
    def limits(self) -> Limits:
        return Limits(**model_data()["limits"])

    def schema(self, full: Mapping[str, Any]) -> SentSchema:
        return SentSchema(schema=sent_schema(full), problems=schema_problems(full))

    def problems(
        self, rung: RungSettings, *, output_format: str, sent_schema: Mapping[str, Any] | None
    ) -> Sequence[RuleProblem]:
        return problems(rung, output_format=output_format, sent_schema=sent_schema)

    def max_output_tokens(self, model: str, mode: Mode = "realtime") -> int | None:
        """Return the most output tokens; in batches with a beta header. Retries are not raised above it without one."""
        return most_output(find_model(model), mode)

    def context_tokens(self, model: str) -> int | None:
        """Return the most tokens of a request with its answer."""
        return find_model(model).context

    @property
    def media(self) -> MediaLimits:
        return media.LIMITS

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
        return encoding.ParamsEncoder(
            rung, output_format=output_format, sent_schema=sent_schema, cache=cache, head=head, turns=turns
        )

    def unmarked(self, params: bytes) -> bytes:
        return encoding.unmarked(params)

    def naming_uploads(self, params: bytes, names: Mapping[str, str]) -> bytes:
        return params

    def cached_from_tokens(self, model: str) -> int:
        return cached_from(model)

    def marks_cache(self, model: str) -> bool:
        return True

    def visible_schema(self, *, output_format: str, sent_schema: Mapping[str, Any] | None) -> str:
        return encoding.visible_schema(output_format, sent_schema)

    def price_factor(self, rung: RungSettings) -> Decimal:
        prices = model_data()["prices"]
        regional = rung.settings.get("inference_geo") in prices["regional_geo"]
        return Decimal(prices["regional_factor"] if regional else 1)

    def batch_headers(self, rung: RungSettings) -> Mapping[str, str]:
        model = find_model(rung.usual_name)
        needed = encoding.long_output_from(model.max_output, model.long_output, rung.max_tokens)
        return encoding.batch_headers(rung, long_output=needed)

    def assemble(self, requests: Iterable[tuple[str, bytes]]) -> bytes:
        return encoding.assemble(requests)

    def lines_sql(self, *, text: bool) -> Sql:
        return _lines_sql(text=text)

    def mended_lines(self, lines: Iterable[bytes], *, exact_inputs: bool) -> Iterator[bytes]:
        return mended_lines(lines, _with_exact_inputs if exact_inputs else None)
