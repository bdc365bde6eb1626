"""Make the tables of models and prices: `python tests/model_prices.py` writes them into `reference/models.md`.

Prices are those of the built-in table, at the day that the page names. A table is renewed by hand, since a newer table
of prices is no mistake of the page.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from checkout import PACKAGE

from batchpipe.engine.cost.pricing import Price, unit_price
from batchpipe.providers import get_provider_module

PAGE = PACKAGE / "docs/reference/models.md"
MADE = re.compile(r"(<!-- priced: (\w+) -->\n).*?(<!-- /priced -->)", re.DOTALL)
DAY = date(2026, 11, 29)
SOURCES = Path(__file__).with_name("model_sources.toml")


def models_of(provider: str) -> dict[str, Mapping[str, Any]]:
    """Return what the protocol's own file says of each of its models, by name."""
    text = (PACKAGE / f"providers/{provider}/models.toml").read_text("utf-8")
    return {model: each for each in tomllib.loads(text)["generations"] for model in each["models"]}


def table(provider: str, day: date = DAY) -> str:
    """Return the table of a provider's models, with their prices on `day` and what these were checked against."""
    sources: Mapping[str, Any] = tomllib.loads(SOURCES.read_text("utf-8"))[provider]
    lines = [
        "| Model | Context | Output | Batch: input / cached / output | Realtime: the same | Checked against |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    listed_as = get_provider_module(provider).PRICED_AS
    for model, known in models_of(provider).items():
        shown = [_price(unit_price(listed_as, model, day, tier)) for tier in ("batch", "realtime")]
        most = known.get("long_output", known.get("max_output"))
        cells = [
            f"`{model}`",
            _count(known.get("context")),
            _count(most),
            *shown,
            sources.get(model, sources["others"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _price(price: Price | None) -> str:
    """Return the prices of a million tokens in US dollars, the dearer steps for long prompts behind them."""
    if price is None:
        return "not known"
    if price.tier == "batch" and not price.exact:
        return "none known: the full price"
    steps = []
    for step in price.steps:
        plain = " / ".join(_dollars(each) for each in (step.input, step.cache_read, step.output))
        steps.append(plain if step.above_input_tokens < 0 else f"above {step.above_input_tokens:,} tokens {plain}")
    return "; ".join(steps)


def _dollars(price: Decimal) -> str:
    return f"{(price * 1_000_000).normalize():f}"


def _count(tokens: int | None) -> str:
    return "" if tokens is None else f"{tokens:,}"


if __name__ == "__main__":
    PAGE.write_text(MADE.sub(lambda found: found[1] + table(found[2]) + found[3], PAGE.read_text("utf-8")), "utf-8")
