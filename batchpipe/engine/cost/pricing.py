"""Unit prices by model, day and tier, exact and with their source; a user's own price file comes first.

A price file is TOML or JSON, in US dollars per million tokens (`web_search`: per thousand searches):

    source = "our contract"             # optional; default: the file's name

    [[prices]]
    model = "claude-haiku-4-5"          # as reported or as asked for; `*` stands for anything
    tier = "batch"                      # default; "realtime" is for comparison only
    from = 2026-01-01                   # optional: the first day of this price
    above_input_tokens = 200_000        # optional: for requests with more input than this, cached or not
    input = 0.5
    output = 2.5
    cache_write_5m = 0.625              # default: input, as for the next two
    cache_write_1h = 1.0
    cache_read = 0.05
    web_search = 10                     # default: 0
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import cache
from importlib import metadata, resources
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from batchpipe.common.errors import PipelineError, Problem

Tier = Literal["batch", "realtime"]

TOKEN_KINDS = ("input", "cache_write_5m", "cache_write_1h", "cache_read", "output")
ALL_INPUT = -1  # `above_input_tokens` of the lowest step: every request has more
# No price is higher, in US dollars per million tokens: a larger number is a slip, and no column holds the costs.
MOST_USD = 1_000_000
_MILLION = Decimal(1_000_000)
_THOUSAND = Decimal(1_000)
# Where writes to the cache cost money, one of the longer lifetime costs twice an uncached token; the table has not
# every such price (https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching#pricing, and the types of
# `cache_write_tokens_details` in the SDK of GPT-5.6 and later).
_LONG_WRITE = Decimal(2)
_PRICE_TABLE = "genai-prices"
_FULL_PRICE = ", the full price: no batch price is known"
_OTHER_MODEL = re.compile(r"-(?!latest|preview|exp)[a-z]")
_BATCH_CONTEXT = {"processing": "batch"}
_KEYS: Mapping[str, tuple[str, ...]] = {
    "input": ("input_mtok",),
    "cache_write_5m": ("cache_write_mtok", "input_mtok"),
    "cache_write_1h": ("cache_write_1h_mtok", "input_mtok"),
    "cache_read": ("cache_read_mtok", "input_mtok"),
    "output": ("output_mtok",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The tokens of one request. `input` counts only the tokens that no cache read or wrote."""

    input: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    cache_read: int = 0
    output: int = 0
    web_searches: int = 0

    @property
    def all_input(self) -> int:
        """Return all input tokens, cached or not."""
        return self.input + self.cache_write_5m + self.cache_write_1h + self.cache_read


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceStep:
    """US dollars per token, and per search, for requests with more input than `above_input_tokens`."""

    above_input_tokens: int
    input: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal
    cache_read: Decimal
    output: Decimal
    web_search: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """The price of a model on a day. A whole request is priced by the last step whose threshold it exceeds.

    `exact` is False where no batch price is known: the realtime price stands in for it, as an upper bound.
    """

    provider: str
    model: str
    day: date
    tier: Tier
    steps: tuple[PriceStep, ...]  # by `above_input_tokens`, the first is ALL_INPUT
    source: str
    exact: bool = True

    def step(self, all_input: int) -> PriceStep:
        """Return the step for a request with `all_input` input tokens, cached ones included."""
        return next(each for each in reversed(self.steps) if all_input > each.above_input_tokens)


class _FilePrice(BaseModel):
    """An entry of a price file, in US dollars per million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    tier: Tier = "batch"
    since: Annotated[date, Field(alias="from")] = date.min
    above_input_tokens: int = ALL_INPUT
    input: Annotated[Decimal, Field(ge=0, le=MOST_USD)]
    output: Annotated[Decimal, Field(ge=0, le=MOST_USD)]
    cache_write_5m: Annotated[Decimal | None, Field(ge=0, le=MOST_USD)] = None
    cache_write_1h: Annotated[Decimal | None, Field(ge=0, le=MOST_USD)] = None
    cache_read: Annotated[Decimal | None, Field(ge=0, le=MOST_USD)] = None
    web_search: Annotated[Decimal, Field(ge=0, le=MOST_USD)] = Decimal(0)

    def step(self) -> PriceStep:
        """Return the entry as US dollars per token and per search."""
        by_kind = {kind: getattr(self, kind) for kind in TOKEN_KINDS}
        per_token = {kind: (self.input if value is None else value) / _MILLION for kind, value in by_kind.items()}
        return PriceStep(
            above_input_tokens=self.above_input_tokens, web_search=self.web_search / _THOUSAND, **per_token
        )


class PriceFile(BaseModel):
    """The team's own prices. `read_prices` reads them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = ""
    prices: tuple[_FilePrice, ...]

    def find(self, provider: str, model: str, day: date, tier: Tier) -> Price | None:
        """Return the newest price on `day`. An exact name goes before a pattern, and an earlier pattern before a later
        one.
        """
        known = [each for each in self.prices if each.tier == tier and each.since <= day]
        patterns = [each.model for each in known if fnmatchcase(model, each.model)]
        name = model if model in patterns else next(iter(patterns), None)
        named = [each for each in known if each.model == name]
        newest = max((each.since for each in named if each.above_input_tokens == ALL_INPUT), default=None)
        if newest is None:
            return None
        steps = {each.above_input_tokens: each.step() for each in named if each.since >= newest}
        ordered = tuple(steps[above] for above in sorted(steps))
        return Price(provider=provider, model=model, day=day, tier=tier, steps=ordered, source=self.source)


def read_prices(path: Path) -> PriceFile:
    """Read the price file at `path`.

    Raises PipelineError with everything that is wrong in the file.
    """
    hint = (
        'Write for each model: [[prices]], model = "NAME", input = 0.5, output = 2.5 (US dollars per million tokens).'
    )
    try:
        text = path.read_text("utf-8")
        if path.suffix == ".json":
            content = json.loads(text, parse_float=Decimal)
        else:
            content = tomllib.loads(text, parse_float=Decimal)
        file = PriceFile.model_validate(content)
    except ValidationError as error:
        raise PipelineError.from_problems(
            [
                Problem(what=each["msg"], where=f"{path} {'.'.join(map(str, each['loc']))}", hint=hint)
                for each in error.errors()
            ]
        ) from error
    except (OSError, ValueError) as error:
        raise PipelineError(f"the prices cannot be read: {error}", where=str(path), hint=hint) from error
    bases = {(each.model, each.tier) for each in file.prices if each.above_input_tokens == ALL_INPUT}
    lonely = [each for each in file.prices if (each.model, each.tier) not in bases]
    if lonely:
        what = f"`{lonely[0].model}` has prices for large requests (above_input_tokens), and none for smaller ones"
        raise PipelineError(what, where=str(path), hint="Add an entry without above_input_tokens.")
    named = Counter((each.model, each.tier, each.since, each.above_input_tokens) for each in file.prices)
    twice = next((model for (model, *_), times in named.items() if times > 1), None)
    if twice is not None:
        what = f"`{twice}` has two prices of one tier, from the same day on"
        raise PipelineError(what, where=str(path), hint="Remove one, or give the later one a day: from = 2027-01-01")
    return file if file.source else file.model_copy(update={"source": path.name})


def flat_prices(usd_per_million: Mapping[str, Decimal], *, source: str) -> PriceFile:
    """Return prices that are the same for every model, in US dollars per million tokens by kind of token."""
    tiers: tuple[Tier, ...] = ("batch", "realtime")
    entries = [{"model": "*", "tier": tier, **usd_per_million} for tier in tiers]
    return PriceFile.model_validate({"source": source, "prices": entries})


def unit_price(
    provider: str,
    model: str,
    day: date,
    tier: Tier = "batch",
    *,
    file: PriceFile | None = None,
    price_factor: Decimal = Decimal(1),
    listed_as: str | None = None,
) -> Price | None:
    """Return the price of `model` on `day` (UTC); None where no price is known.

    `price_factor` multiplies every price: it is what a gateway adds or takes off. `listed_as` is the provider's name in
    the package's table, where it is another one.
    """
    found = file.find(provider, model, day, tier) if file is not None else None
    found = found or _from_table(listed_as or provider, model, day, tier)
    if found is None:
        return None
    found = replace(found, provider=provider)
    if price_factor == 1:
        return found
    return replace(found, steps=tuple(_times(step, price_factor) for step in found.steps))


def _times(step: PriceStep, factor: Decimal) -> PriceStep:
    """Return the step with every price multiplied by `factor`."""
    prices = {kind: getattr(step, kind) * factor for kind in (*TOKEN_KINDS, "web_search")}
    return replace(step, **prices)


def listed_providers() -> tuple[str, ...]:
    """Return the names of the providers that the built-in price table has."""
    from genai_prices.data_snapshot import get_snapshot

    return tuple(each.id for each in get_snapshot().providers)


@cache
def _from_table(provider: str, model: str, day: date, tier: Tier) -> Price | None:
    """Return the price in the package's table.

    The table silently gives the full price for a context that it does not know. So a batch price is only believed where
    it differs from the realtime price, and output costs less.
    """
    realtime = _model_price(provider, model, day, {})
    if realtime is None:
        return _from_list(provider, model, day, tier)
    steps, exact = _steps(realtime), True
    if tier == "batch":
        found = _model_price(provider, model, day, _BATCH_CONTEXT)
        batch = _with_steps_of(_steps(found), steps)
        exact = found != realtime and all(each.output < full.output for each, full in zip(batch, steps, strict=False))
        steps = batch if exact else steps
    source = f"{_PRICE_TABLE} {metadata.version(_PRICE_TABLE)}" + ("" if exact else _FULL_PRICE)
    return Price(provider=provider, model=model, day=day, tier=tier, steps=steps, source=source, exact=exact)


def _with_steps_of(steps: tuple[PriceStep, ...], full: tuple[PriceStep, ...]) -> tuple[PriceStep, ...]:
    """Return the steps of a batch price, with those of the `full` price that the table leaves out: a batch is as much
    dearer then as a realtime call.
    """
    made = list(steps)
    for below, step in pairwise(full):
        if all(each.above_input_tokens != step.above_input_tokens for each in made):
            last = max((each for each in made if each.above_input_tokens < step.above_input_tokens), key=_start)
            prices = {
                kind: getattr(last, kind) * getattr(step, kind) / (getattr(below, kind) or 1) for kind in TOKEN_KINDS
            }
            made.append(replace(last, above_input_tokens=step.above_input_tokens, **prices))
    return tuple(sorted(made, key=_start))


def _start(step: PriceStep) -> int:
    return step.above_input_tokens


def _from_list(provider: str, model: str, day: date, tier: Tier) -> Price | None:
    """Return the list price of a model that the table does not have yet; it stands in for a batch price."""
    listed = _list_prices().get(provider)
    found = listed.find(provider, model, day, "realtime") if listed is not None else None
    return None if found is None else replace(found, tier=tier, exact=tier == "realtime")


@cache
def _list_prices() -> Mapping[str, PriceFile]:
    """Return the prices of `list_prices.toml` by provider."""
    text = resources.files(__package__).joinpath("list_prices.toml").read_text("utf-8")
    return {name: PriceFile.model_validate(each) for name, each in tomllib.loads(text, parse_float=Decimal).items()}


def _model_price(provider: str, model: str, day: date, context: Mapping[str, str]) -> Any:
    """Return the table's own price object; None where the table has none.

    The prefix of a gateway (`vendor/model`) is not part of the model. The table takes a name that only begins like a
    model's for that model: `x-lite` is another model than `x`, and only a date or `latest` names the same one.
    """
    from genai_prices import Usage, calc_price

    noon = datetime.combine(day, time(12), UTC)
    for name in dict.fromkeys((model, model.rpartition("/")[2])):
        try:
            found = calc_price(Usage(), name, provider_id=provider, genai_request_timestamp=noon, price_context=context)
        except LookupError:
            continue
        if not _OTHER_MODEL.match(name.removeprefix(found.model.id)):
            return found.model_price
    return None


def _steps(price: Any) -> tuple[PriceStep, ...]:
    """Return the table's price as steps, in US dollars per token."""
    values = {
        kind: next((found for key in keys if (found := getattr(price, key)) is not None), Decimal(0))
        for kind, keys in _KEYS.items()
    }
    starts = {tier.start for value in values.values() for tier in getattr(value, "tiers", ())}
    searches = (price.web_searches_kcount or Decimal(0)) / _THOUSAND
    paid_writes = price.cache_write_mtok is not None and getattr(price, "cache_write_1h_mtok", None) is None
    factors = {"cache_write_1h": _LONG_WRITE} if paid_writes else {}
    return tuple(
        PriceStep(
            above_input_tokens=above,
            web_search=searches,
            **{kind: _at(value, above) * factors.get(kind, 1) / _MILLION for kind, value in values.items()},
        )
        for above in sorted({ALL_INPUT, *starts})
    )


def _at(value: Any, above: int) -> Decimal:
    """Return a price of the table at a threshold. The table has a number, or a base price with dearer tiers."""
    if isinstance(value, Decimal):
        return value
    reached = [tier.price for tier in value.tiers if tier.start <= above]
    found: Decimal = reached[-1] if reached else value.base
    return found


def cost_usd(price: Price, tokens: Tokens, *, token_factor: Decimal = Decimal(1), billed: bool = True) -> Decimal:
    """Return what one request cost. `token_factor` is the factor of this result, such as a region that costs more."""
    if not billed:
        return Decimal(0)
    step = price.step(tokens.all_input)
    for_tokens = sum((getattr(step, kind) * getattr(tokens, kind) for kind in TOKEN_KINDS), Decimal(0))
    return for_tokens * token_factor + step.web_search * tokens.web_searches
