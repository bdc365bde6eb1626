"""What requests will cost: expected by what this pipeline's results showed, and at most.

Before there are results, a token is taken to be 3.5 bytes of a request (English text has about 4 characters a token,
https://docs.anthropic.com/en/docs/about-claude/glossary#tokens, and JSON escapes add some), and an answer to fill 30%
of its room. At most, every byte is a token and every answer fills its room.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from batchpipe.engine.resolve import Resolved
from batchpipe.pricing import Price, PriceFile, Step, Tier, unit_price
from batchpipe.providers import RungSettings
from batchpipe.sql import quote_literal
from batchpipe.store.database import Session
from batchpipe.store.queries import query

BYTES_PER_TOKEN = 3.5
SHARE_OF_ROOM = 0.3
ENOUGH_RESULTS = 20
# What a request may cost beyond a token a byte: the hidden prompts of tools and structured outputs.
OVERHEAD_TOKENS = 1_500


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceBook:
    """Where prices come from: the built-in table, or the team's file before it, times a factor."""

    file: PriceFile | None = None
    factor: Decimal = Decimal(1)

    def price(self, resolved: Resolved, rung: RungSettings, day: date, *, realtime: bool = False) -> Price | None:
        """The price of a rung on `day`, its settings' surcharge included; None where nobody knows it."""
        factor = self.factor * resolved.rules.price_factor(rung)
        tier: Tier = "realtime" if realtime else "batch"
        return unit_price(resolved.rules.name, rung.model, day, tier, file=self.file, price_factor=factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """US dollars and tokens of a plan; the costs are None where a model's price is not known."""

    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    max_usd: Decimal | None
    realtime_usd: Decimal | None


def settings_text(rung: RungSettings) -> str:
    """A rung as text: what `--redo model` and identical requests compare; room is no part of it."""
    return json.dumps({"model": rung.model, **rung.settings}, sort_keys=True, default=str)


def fill_rung_settings(session: Session, resolved: Resolved) -> None:
    """`work.rung_settings`: the rung of each model with its settings; the lowest, where two differ in room only."""
    session.execute("CREATE OR REPLACE TABLE work.rung_settings (settings VARCHAR, rung SMALLINT)")
    rungs = {settings_text(rung): number for number, rung in reversed(list(enumerate(resolved.rungs, start=1)))}
    for settings, number in rungs.items():
        session.execute("INSERT INTO work.rung_settings VALUES ($1, $2)", [settings, number])


def fill_ladder(session: Session, resolved: Resolved, prices: PriceBook) -> None:
    """`work.ladder`: a row per rung with its model, room, prices per token and what to expect of a request.

    It stays empty where nothing was rendered: nothing will be sent, and no price is needed.
    """
    session.execute(
        "CREATE OR REPLACE TABLE work.ladder (rung SMALLINT, model VARCHAR, settings VARCHAR, max_tokens INTEGER, "
        "input_usd DECIMAL(20, 15), output_usd DECIMAL(20, 15), most_input_usd DECIMAL(20, 15), "
        "most_output_usd DECIMAL(20, 15), realtime_input_usd DECIMAL(20, 15), realtime_output_usd DECIMAL(20, 15), "
        "bytes_per_token DOUBLE, expected_output_tokens BIGINT)"
    )
    if not session.one("SELECT count(*) FROM work.rendered")[0]:
        return
    day = session.now.date()
    pipelines = ", ".join(quote_literal(each) for each in resolved.names)
    for number, rung in enumerate(resolved.rungs, start=1):
        steps = _steps(prices.price(resolved, rung, day))
        realtime = _steps(prices.price(resolved, rung, day, realtime=True))
        bytes_per_token, output_tokens, seen = session.one(
            query("shown_by_results", pipelines=pipelines), {"settings": settings_text(rung)}
        )
        enough = seen >= ENOUGH_RESULTS
        values = [
            number,
            rung.model,
            settings_text(rung),
            rung.max_tokens,
            steps[0].input if steps else None,
            steps[0].output if steps else None,
            max((max(each.input, each.cache_write_5m, each.cache_write_1h) for each in steps), default=None),
            max((each.output for each in steps), default=None),
            realtime[0].input if realtime else None,
            realtime[0].output if realtime else None,
            bytes_per_token if enough and bytes_per_token else BYTES_PER_TOKEN,
            round(output_tokens) if enough else max(1, round(rung.max_tokens * SHARE_OF_ROOM)),
        ]
        session.execute(f"INSERT INTO work.ladder VALUES ({', '.join(f'${n}' for n in range(1, 13))})", values)


def estimate(session: Session) -> Estimate:
    """What `work.queue` is expected to cost, and at most if every row climbs the whole ladder."""
    row = session.one(query("estimate"), {"overhead_bytes": OVERHEAD_TOKENS})
    return Estimate(input_tokens=row[0], output_tokens=row[1], cost_usd=row[2], max_usd=row[3], realtime_usd=row[4])


def _steps(price: Price | None) -> tuple[Step, ...]:
    return price.steps if price is not None else ()
