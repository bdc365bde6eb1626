"""The pure half of this provider: what it accepts, how requests and answers look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Any

from batchpipe.providers import CacheTime, Encoder, Limits, RuleProblem, RungSettings
from batchpipe.providers.anthropic import encoding
from batchpipe.providers.anthropic.facts import cached_from, data, facts_of
from batchpipe.providers.anthropic.lint import problems


def _sql_text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


@cache
def _lines_sql() -> str:
    sql = resources.files(__package__).joinpath("lines.sql").read_text("utf-8")
    account, prices = data()["account"], data()["prices"]
    values = {
        "account_types": ", ".join(map(_sql_text, account["types"])),
        "account_codes": ", ".join(map(_sql_text, account["codes"])),
        "account_messages": _sql_text(account["messages"]),
        "regional_geo": ", ".join(map(_sql_text, prices["regional_geo"])),
        "regional_factor": prices["regional_factor"],
    }
    for name, value in values.items():
        sql = sql.replace("{" + name + "}", value)
    return sql


class Rules:
    """What needs no key: limits, rules, encoding, the reading of results."""

    name = "anthropic"

    @property
    def limits(self) -> Limits:
        return Limits(**data()["limits"])

    def problems(
        self, rung: RungSettings, *, output_format: str, sent_schema: Mapping[str, Any] | None
    ) -> Sequence[RuleProblem]:
        return problems(rung, output_format=output_format, sent_schema=sent_schema)

    def max_output_tokens(self, model: str) -> int | None:
        """The cap without a beta: what a request may be raised to whose batch does not ask for more."""
        return facts_of(model).max_output

    def encoder(
        self,
        rung: RungSettings,
        *,
        output_format: str,
        sent_schema: Mapping[str, Any] | None,
        cache: CacheTime | None = None,
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
        prices = data()["prices"]
        regional = rung.settings.get("inference_geo") in prices["regional_geo"]
        return Decimal(prices["regional_factor"] if regional else 1)

    def batch_headers(self, rung: RungSettings) -> Mapping[str, str]:
        facts = facts_of(rung.model)
        needed = encoding.long_output_from(facts.max_output, facts.long_output, rung.max_tokens)
        return encoding.batch_headers(rung, long_output=needed)

    def assemble(self, requests: Sequence[tuple[str, bytes]]) -> bytes:
        return encoding.assemble(requests)

    def lines_sql(self) -> str:
        return _lines_sql()
