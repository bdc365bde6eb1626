"""Tests of prices against numbers computed by hand from the provider's list, in US dollars per million tokens."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from model_prices import models_of

from batchpipe.common.errors import PipelineError
from batchpipe.engine.cost.price_rows import PriceRow, prices_table
from batchpipe.engine.cost.pricing import ALL_INPUT, TOKEN_KINDS, Tier, Tokens, cost_usd, read_prices, unit_price
from batchpipe.providers import REGISTRY, get_provider_module

DAY = date(2026, 11, 22)
OPUS = "2.5 3.125 5 0.25 12.5"
# input, 5m write, 1h write, read, output
BATCH = {
    "claude-haiku-4-5": "0.5 0.625 1 0.05 2.5",
    "claude-haiku-4-5-20251001": "0.5 0.625 1 0.05 2.5",
    "claude-haiku-5-5": "0.05 0.0625 0.1 0.005 0.25",
    "claude-sonnet-4-6": "1.5 1.875 3 0.15 7.5",
    "claude-sonnet-5": "1 1.25 2 0.1 5",
    "claude-sonnet-5-5": "1 1.25 2 0.05 5",
    "claude-opus-4-5": OPUS,
    "claude-opus-4-6": OPUS,
    "claude-opus-4-7": OPUS,
    "claude-opus-4-8": OPUS,
    "claude-opus-5": OPUS,
    "claude-opus-5-5": "2 2.5 4 0.1 10",
    "claude-fable-5": "5 6.25 10 0.5 25",
    "claude-fable-5-1": "5 6.25 10 0.125 25",
    "claude-fable-5-2": "4 5 8 0.1 20",
    "claude-mythos-5-2": "4 5 8 0.1 20",
}


def numbers(listed: str) -> list[Decimal]:
    """Return the prices per token: input, 5m write, 1h write, read, output."""
    return [Decimal(each) / 1_000_000 for each in listed.split()]


@pytest.mark.parametrize("model", BATCH)
def test_batch_prices_are_those_of_the_list(model: str) -> None:
    price = unit_price("anthropic", model, DAY)
    assert price is not None
    step = price.steps[0]
    assert step.above_input_tokens == ALL_INPUT
    assert [getattr(step, kind) for kind in TOKEN_KINDS] == numbers(BATCH[model])
    assert step.web_search == Decimal("0.01")
    assert price.exact
    assert price.source.startswith("genai-prices ")


@pytest.mark.parametrize("model", BATCH)
def test_realtime_tokens_cost_twice_as_much_and_searches_the_same(model: str) -> None:
    price = unit_price("anthropic", model, DAY, "realtime")
    assert price is not None
    assert [getattr(price.steps[0], kind) for kind in TOKEN_KINDS] == [2 * each for each in numbers(BATCH[model])]
    assert price.steps[0].web_search == Decimal("0.01")


def test_a_long_prompt_costs_more_as_a_whole() -> None:
    price = unit_price("anthropic", "claude-haiku-5-5", DAY)
    assert price is not None
    short, long = price.steps
    assert long.above_input_tokens == 100_000
    assert [getattr(long, kind) for kind in TOKEN_KINDS] == numbers("0.25 0.3125 0.5 0.025 1.25")
    assert (price.step(100_000), price.step(100_001), price.step(0)) == (short, long, short)
    at = Tokens(input=60_000, cache_read=40_000, output=1_000)
    above = Tokens(input=60_000, cache_read=40_001, output=1_000)
    assert cost_usd(price, at) == Decimal("0.003") + Decimal("0.0002") + Decimal("0.00025")
    assert cost_usd(price, above) == Decimal("0.015") + Decimal("0.001000025") + Decimal("0.00125")


@pytest.mark.parametrize("tier", ["batch", "realtime"])
def test_a_step_that_the_table_has_for_realtime_alone_counts_in_batches_too(tier: Tier) -> None:
    price = unit_price("openai", "gpt-5.5-pro", DAY, tier)
    assert price is not None
    short, long = price.steps
    assert long.above_input_tokens == 272_000
    assert [getattr(long, kind) / getattr(short, kind) for kind in TOKEN_KINDS] == [2, 2, 2, 2, Decimal("1.5")]
    assert price.exact


def test_a_request_of_every_kind_of_token() -> None:
    price = unit_price("anthropic", "claude-sonnet-4-6", DAY)
    assert price is not None
    tokens = Tokens(
        input=1_000_000,
        cache_write_5m=200_000,
        cache_write_1h=100_000,
        cache_read=2_000_000,
        output=10_000,
        web_searches=3,
    )
    # 1.5 + 0.375 + 0.3 + 0.3 + 0.075 for tokens, 0.03 for searches
    assert cost_usd(price, tokens) == Decimal("2.58")
    assert cost_usd(price, tokens, token_factor=Decimal("1.1")) == Decimal("2.55") * Decimal("1.1") + Decimal("0.03")
    assert cost_usd(price, tokens, billed=False) == 0


@pytest.mark.parametrize("provider", list(REGISTRY))
def test_a_batch_costs_at_most_a_little_over_half_where_its_price_is_known(provider: str) -> None:
    """The installed table's batch prices are held against its own full prices."""
    listed_as, known = get_provider_module(provider).PRICED_AS, 0
    for model in models_of(provider):
        batch, full = (unit_price(listed_as, model, DAY, tier) for tier in ("batch", "realtime"))
        if batch is None or full is None or not batch.exact:
            continue
        known += 1
        for step in batch.steps:
            whole = full.step(step.above_input_tokens + 1)
            assert 0 < step.input <= Decimal("0.55") * whole.input, model
            assert 0 < step.output <= Decimal("0.55") * whole.output, model
            assert step.cache_read <= whole.cache_read, model
    assert known >= 8


def test_a_model_without_a_batch_price_has_an_upper_bound() -> None:
    early = unit_price("anthropic", "claude-haiku-4-5", date(2026, 10, 13))
    known = unit_price("anthropic", "claude-haiku-4-5", date(2026, 10, 14))
    assert early is not None
    assert known is not None
    assert (early.exact, known.exact) == (False, True)
    assert early.steps[0].input == 2 * known.steps[0].input
    old = unit_price("anthropic", "claude-sonnet-4-0", DAY)
    assert old is not None
    assert not old.exact


def test_prices_change_with_the_day() -> None:
    before = unit_price("anthropic", "claude-opus-4-6", date(2026, 3, 12), "realtime")
    after = unit_price("anthropic", "claude-opus-4-6", date(2026, 3, 13), "realtime")
    assert before is not None
    assert after is not None
    assert [step.above_input_tokens for step in before.steps] == [ALL_INPUT, 200_000]
    assert [step.above_input_tokens for step in after.steps] == [ALL_INPUT]


def test_unknown_models_have_no_price_and_prefixes_do_not_matter() -> None:
    assert unit_price("anthropic", "claude-mythos-5", DAY) is None
    assert unit_price("anthropic", "nothing-of-the-kind", DAY) is None
    assert unit_price("nobody", "claude-haiku-4-5", DAY) is None
    assert unit_price("anthropic", "vendor/claude-haiku-4-5", DAY) is not None


def test_a_factor_multiplies_everything() -> None:
    plain = unit_price("anthropic", "claude-haiku-4-5", DAY)
    dear = unit_price("anthropic", "claude-haiku-4-5", DAY, price_factor=Decimal("1.2"))
    assert plain is not None
    assert dear is not None
    assert dear.steps[0].input == plain.steps[0].input * Decimal("1.2")
    assert dear.steps[0].web_search == Decimal("0.012")


PRICES = """
source = "our contract"
[[prices]]
model = "claude-haiku-4-5"
input = 0.1
output = 0.7
[[prices]]
model = "claude-haiku-4-5"
from = 2026-11-20
input = 0.2
output = 0.8
cache_read = 0.02
[[prices]]
model = "claude-haiku-4-5"
from = 2026-11-20
above_input_tokens = 1000
input = 0.4
output = 1.6
web_search = 5
[[prices]]
model = "llama-*"
input = 1
output = 2
"""


def test_the_users_own_prices_come_first(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(PRICES)
    file = read_prices(path)
    old = unit_price("anthropic", "claude-haiku-4-5", date(2026, 11, 19), file=file)
    new = unit_price("anthropic", "claude-haiku-4-5", DAY, file=file)
    assert old is not None
    assert new is not None
    assert (old.source, old.steps[0].input, len(old.steps)) == ("our contract", Decimal("1e-7"), 1)
    base, long = new.steps
    assert (base.input, base.cache_read, base.cache_write_1h) == (
        Decimal("2e-7"),
        Decimal("2e-8"),
        Decimal("2e-7"),
    )
    assert (long.above_input_tokens, long.output, long.web_search) == (
        1000,
        Decimal("1.6e-6"),
        Decimal("0.005"),
    )
    pattern = unit_price("anthropic", "llama-4-70b", DAY, file=file)
    assert pattern is not None
    assert pattern.steps[0].output == Decimal("2e-6")
    realtime = unit_price("anthropic", "claude-haiku-4-5", DAY, "realtime", file=file)
    assert realtime is not None
    assert realtime.source.startswith("genai-prices")


def test_a_price_file_may_be_json(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text('{"prices": [{"model": "m", "input": 0.3, "output": 1, "from": "2026-01-01"}]}')
    price = unit_price("x", "m", DAY, file=read_prices(path))
    assert price is not None
    assert (price.source, price.steps[0].input) == ("prices.json", Decimal("3e-7"))
    assert unit_price("x", "m", date(2025, 12, 31), file=read_prices(path)) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[prices]]\nmodel = 'm'\ninput = 1\noutptu = 2", "prices.0.outp"),
        ("[[prices]]\nmodel = 'm'\ninput = -1\noutput = 2", "prices.0.input"),
        ("[[prices]]\nmodel = 'm'\ntier = 'night'\ninput = 1\noutput = 2", "prices.0.tier"),
        ("[[prices]]\nmodel = 'm'\nabove_input_tokens = 5\ninput = 1\noutput = 2", "none for smaller"),
        ("[[prices]]\nmodel = 'm'\ninput = 1e7\noutput = 2", "prices.0.input"),
        ("[[prices]]\nmodel = 'm'\ninput = 1\noutput = 2\n" * 2, "`m` has two prices of one tier"),
        ("not toml", "cannot be read"),
    ],
)
def test_a_wrong_price_file_says_where(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(PipelineError) as caught:
        read_prices(path)
    assert words in str(caught.value)
    with pytest.raises(PipelineError, match="cannot be read"):
        read_prices(tmp_path / "missing.toml")


def test_the_table_has_a_row_per_change_and_step() -> None:
    days = [date(2026, 10, 12), date(2026, 10, 13), date(2026, 10, 14), DAY]
    models = [("anthropic", "claude-haiku-5-5"), ("anthropic", "unknown")]
    rows = prices_table(models, days, tiers=["batch"])
    assert [(row.from_day, row.above_input_tokens, row.exact) for row in rows] == [
        (date(2026, 10, 12), ALL_INPUT, False),
        (date(2026, 10, 12), 100_000, False),
        (date(2026, 10, 14), ALL_INPUT, True),
        (date(2026, 10, 14), 100_000, True),
    ]


def test_the_table_multiplies_in_sql_as_the_function_does() -> None:
    """Exact decimals in DuckDB: the same cost to the last digit, by the last step that a request exceeds."""
    rows = prices_table([("anthropic", "claude-haiku-5-5")], [DAY], tiers=["batch"])
    price = unit_price("anthropic", "claude-haiku-5-5", DAY)
    assert price is not None
    columns = ", ".join(f"{name} DECIMAL(20, 15)" for name in (*TOKEN_KINDS, "web_search"))
    with duckdb.connect() as connection:
        connection.execute(
            f"CREATE TABLE prices (provider VARCHAR, model VARCHAR, tier VARCHAR, from_day DATE, "
            f"above_input_tokens BIGINT, {columns}, source VARCHAR, exact BOOLEAN)"
        )
        marks = ", ".join("?" for _ in PriceRow._fields)
        connection.executemany(f"INSERT INTO prices VALUES ({marks})", [list(row) for row in rows])
        for tokens in (Tokens(input=100_000, output=7), Tokens(input=99_999, cache_read=2, output=7)):
            (found,) = connection.execute(
                "SELECT ?::BIGINT * input + ?::BIGINT * cache_read + ?::BIGINT * output FROM prices "
                "WHERE ?::BIGINT > above_input_tokens ORDER BY above_input_tokens DESC LIMIT 1",
                [tokens.input, tokens.cache_read, tokens.output, tokens.all_input],
            ).fetchone() or (None,)
            assert found == cost_usd(price, tokens)
