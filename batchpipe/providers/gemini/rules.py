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
from batchpipe.providers.gemini import encoding, media
from batchpipe.providers.gemini.lint import problems
from batchpipe.providers.gemini.models import cached_from, find_model, model_data
from batchpipe.providers.gemini.schema import schema_problems, sent_schema
from batchpipe.providers.shared.lines import count_sql, source, sql_text, usd
from batchpipe.providers.shared.mending import mended_lines, written
from batchpipe.sql.quoting import Sql, trusted

_FAILURE = {"code": "VARCHAR", "message": "VARCHAR", "status": "VARCHAR"}
# The parts of a line that are read, as DuckDB's JSON structure.
_LINE: dict[str, Any] = {
    "key": "VARCHAR",
    "reported_usd": "VARCHAR",
    "response": {
        "candidates": [
            {
                "content": {
                    "parts": [{"text": "VARCHAR", "thought": "VARCHAR", "functionCall": {"args": "JSON"}}],
                },
                "finishReason": "VARCHAR",
                "finishMessage": "VARCHAR",
            }
        ],
        "promptFeedback": {"blockReason": "VARCHAR", "blockReasonMessage": "VARCHAR"},
        "usageMetadata": {
            "promptTokenCount": "JSON",
            "cachedContentTokenCount": "JSON",
            "candidatesTokenCount": "JSON",
            "thoughtsTokenCount": "JSON",
            "toolUsePromptTokenCount": "JSON",
            "totalTokenCount": "JSON",
            "serviceTier": "VARCHAR",
        },
        "modelVersion": "VARCHAR",
    },
    "error": _FAILURE,
    "status": _FAILURE,
}
# Where each count stands in `usageMetadata`, and whether a line may leave it out: a count of 0 is left out.
_COUNTS = {
    "prompt_tokens": ("usage.promptTokenCount", False),
    "tool_prompt_tokens": ("usage.toolUsePromptTokenCount", True),
    "cache_read_tokens": ("usage.cachedContentTokenCount", True),
    "candidates_tokens": ("usage.candidatesTokenCount", True),
    "thinking_tokens": ("usage.thoughtsTokenCount", True),
    "total_tokens": ("usage.totalTokenCount", True),
}


def _words(values: Iterable[str]) -> str:
    return ", ".join(map(sql_text, values))


@cache
def _lines_sql(*, text: bool) -> Sql:
    sql = resources.files(__package__).joinpath("lines.sql").read_text("utf-8")
    account, errors, finish = model_data()["account"], model_data()["errors"], model_data()["finish"]
    values = {
        "lines": source(_LINE, text=text),
        "reported_usd": usd("reported_usd"),
        "account_codes": _words(account["codes"]),
        "account_statuses": _words(account["statuses"]),
        "account_messages": sql_text(account["messages"]),
        "gone_messages": sql_text(model_data()["storage"]["gone_messages"]),
        "too_long_messages": sql_text(model_data()["too_long"]["messages"]),
        **{f"{name}_errors": _words(each) for name, each in errors.items()},
        **{f"{name}_reasons": _words(each) for name, each in finish.items()},
        "priority_factor": model_data()["prices"]["priority"],
        "known_reasons": _words(word for each in finish.values() for word in each),
        **{name: count_sql(place, optional=optional) for name, (place, optional) in _COUNTS.items()},
    }
    for name, value in values.items():
        sql = sql.replace("{" + name + "}", value)
    return trusted(sql)


def _with_exact_inputs(line: dict[str, Any]) -> dict[str, Any]:
    """Return the line with the arguments of each function call as the text of its JSON."""
    response = line.get("response")
    candidates = response.get("candidates") if isinstance(response, dict) else None
    for candidate in candidates if isinstance(candidates, list) else ():
        content = candidate.get("content") if isinstance(candidate, dict) else None
        parts = content.get("parts") if isinstance(content, dict) else None
        for part in parts if isinstance(parts, list) else ():
            call = part.get("functionCall") if isinstance(part, dict) else None
            if isinstance(call, dict) and isinstance(call.get("args"), dict):
                call["args"] = written(call["args"]).decode().rstrip("\n")
    return line


class Rules:
    """Everything of this provider that needs no key: limits, rules, encoding, and the reading of results."""

    name = "gemini"

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
        """Return the most output tokens of one request, with those of thinking."""
        return find_model(model).max_output

    def context_tokens(self, model: str) -> int | None:
        """Return the most tokens of a request with its answer."""
        return find_model(model).context

    @property
    def media(self) -> MediaLimits:
        return media.LIMITS

    def media_tokens(self, rung: RungSettings, block: Block) -> int:
        return media.tokens(rung.usual_name, rung.settings, block)

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
        """Return the encoder of a rung. The cache works by itself and takes no mark: `cache` changes nothing."""
        return encoding.ParamsEncoder(rung, output_format=output_format, sent_schema=sent_schema, turns=turns)

    def unmarked(self, params: bytes) -> bytes:
        return params

    def naming_uploads(self, params: bytes, names: Mapping[str, str]) -> bytes:
        return media.naming_uploads(params, names)

    def cached_from_tokens(self, model: str) -> int:
        return cached_from(model)

    def marks_cache(self, model: str) -> bool:
        return False

    def visible_schema(self, *, output_format: str, sent_schema: Mapping[str, Any] | None) -> str:
        return encoding.visible_schema(output_format, sent_schema)

    def price_factor(self, rung: RungSettings) -> Decimal:
        """Return the factor of the tier that a realtime call asks for."""
        tier = rung.settings.get("service_tier") if rung.mode == "realtime" else None
        return Decimal(model_data()["prices"].get(tier, 1))

    def batch_headers(self, rung: RungSettings) -> Mapping[str, str]:
        return {}

    def assemble(self, requests: Iterable[tuple[str, bytes]]) -> bytes:
        return encoding.assemble(requests)

    def lines_sql(self, *, text: bool) -> Sql:
        return _lines_sql(text=text)

    def mended_lines(self, lines: Iterable[bytes], *, exact_inputs: bool) -> Iterator[bytes]:
        return mended_lines(lines, _with_exact_inputs if exact_inputs else None)
