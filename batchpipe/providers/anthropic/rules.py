"""The pure half of this provider: what it accepts, how a request is written, and how a results file is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Any

import orjson

from batchpipe.providers import CacheTtl, Encoder, Limits, RuleProblem, RungSettings
from batchpipe.providers.anthropic import encoding
from batchpipe.providers.anthropic.lint import problems
from batchpipe.providers.anthropic.mending import DAMAGED, mended_lines
from batchpipe.providers.anthropic.models import cached_from, find_model, model_data
from batchpipe.sql.quoting import Sql, trusted


def _sql_text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


# The parts of a line that are read, as DuckDB's JSON structure; a list has the structure of its elements.
# A count is read as JSON: a text, or a number that no count can be, is told from a count then.
_LINE: dict[str, Any] = {
    "custom_id": "VARCHAR",
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
_READ_TYPED = (
    "SELECT filename, NULL::VARCHAR AS line, NULL::VARCHAR AS damaged, custom_id, result "
    "FROM read_ndjson($paths, columns = {{{columns}}}, "
    "filename = true, ignore_errors = true, maximum_object_size = $maximum_object_size)"
)
_READ_TEXT = (
    "SELECT filename, line, parsed.{damaged} AS damaged, parsed.custom_id AS custom_id, parsed.result AS result FROM ("
    "SELECT filename, json AS line, json_transform(json, {structure}) AS parsed FROM read_ndjson_objects("
    "$paths, filename = true, ignore_errors = true, maximum_object_size = $maximum_object_size))"
)
# A count of more digits than this is none that a request can have.
_COUNT_DIGITS = 8
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


def _type(structure: Any) -> str:
    """Return the SQL type of a JSON structure."""
    if isinstance(structure, str):
        return structure
    if isinstance(structure, list):
        return f"{_type(structure[0])}[]"
    fields = ", ".join(f'"{name}" {_type(each)}' for name, each in structure.items())
    return f"STRUCT({fields})"


def _source(*, text: bool) -> str:
    if text:
        structure = {**_LINE, DAMAGED: "VARCHAR"}
        return _READ_TEXT.format(structure=_sql_text(orjson.dumps(structure).decode()), damaged=DAMAGED)
    columns = ", ".join(f"{name}: {_sql_text(_type(each))}" for name, each in _LINE.items())
    return _READ_TYPED.format(columns=columns)


def _count(place: str, optional: bool) -> str:
    """Return the SQL of a count as BIGINT: NULL for what is no count, and for one that is missing though it may not."""
    count = (
        f"CASE WHEN length({place}) <= {_COUNT_DIGITS} AND NOT contains({place}, '.') "
        f"THEN CAST(TRY_CAST(CAST({place} AS VARCHAR) AS UINTEGER) AS BIGINT) END"
    )
    return f"CASE WHEN {place} IS NULL OR {place} = 'null' THEN 0 ELSE {count} END" if optional else count


@cache
def _lines_sql(*, text: bool) -> Sql:
    sql = resources.files(__package__).joinpath("lines.sql").read_text("utf-8")
    account, prices, known = model_data()["account"], model_data()["prices"], model_data()["known"]
    values = {
        "lines": _source(text=text),
        "account_types": ", ".join(map(_sql_text, account["types"])),
        "account_codes": ", ".join(map(_sql_text, account["codes"])),
        "account_messages": _sql_text(account["messages"]),
        "too_long_messages": _sql_text(model_data()["too_long"]["messages"]),
        "regional_geo": ", ".join(map(_sql_text, prices["regional_geo"])),
        "regional_factor": prices["regional_factor"],
        "known_blocks": ", ".join(map(_sql_text, known["blocks"])),
        "known_stop_reasons": ", ".join(map(_sql_text, known["stop_reasons"])),
        **{name: _count(*each) for name, each in _COUNTS.items()},
    }
    for name, value in values.items():
        sql = sql.replace("{" + name + "}", value)
    return trusted(sql)


class Rules:
    """Everything of this provider that needs no key: limits, rules, encoding, and the reading of results."""

    name = "anthropic"

    @property
    def limits(self) -> Limits:
        return Limits(**model_data()["limits"])

    def problems(
        self, rung: RungSettings, *, output_format: str, sent_schema: Mapping[str, Any] | None
    ) -> Sequence[RuleProblem]:
        return problems(rung, output_format=output_format, sent_schema=sent_schema)

    def max_output_tokens(self, model: str) -> int | None:
        """Return the most output tokens without a beta header; retries are not raised above it."""
        return find_model(model).max_output

    def context_tokens(self, model: str) -> int | None:
        """Return the most tokens of a request with its answer."""
        return find_model(model).context

    def encoder(
        self,
        rung: RungSettings,
        *,
        output_format: str,
        sent_schema: Mapping[str, Any] | None,
        cache: CacheTtl | None = None,
        head: str = "",
    ) -> Encoder:
        return encoding.ParamsEncoder(
            rung, output_format=output_format, sent_schema=sent_schema, cache=cache, head=head
        )

    def unmarked(self, params: bytes) -> bytes:
        return encoding.unmarked(params)

    def cached_from_tokens(self, model: str) -> int:
        return cached_from(model)

    def visible_schema(self, *, output_format: str, sent_schema: Mapping[str, Any] | None) -> str:
        return encoding.visible_schema(output_format, sent_schema)

    def price_factor(self, rung: RungSettings) -> Decimal:
        prices = model_data()["prices"]
        regional = rung.settings.get("inference_geo") in prices["regional_geo"]
        return Decimal(prices["regional_factor"] if regional else 1)

    def batch_headers(self, rung: RungSettings) -> Mapping[str, str]:
        model = find_model(rung.model)
        needed = encoding.long_output_from(model.max_output, model.long_output, rung.max_tokens)
        return encoding.batch_headers(rung, long_output=needed)

    def assemble(self, requests: Iterable[tuple[str, bytes]]) -> bytes:
        return encoding.assemble(requests)

    def lines_sql(self, *, text: bool) -> Sql:
        return _lines_sql(text=text)

    def mended_lines(self, lines: Iterable[bytes], *, exact_inputs: bool) -> Iterator[bytes]:
        return mended_lines(lines, exact_inputs=exact_inputs)
