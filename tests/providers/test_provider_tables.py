"""Tests of what is said about a provider's table that cannot be right: the place, the mistake, and what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchpipe.common.errors import PipelineError, UsageError
from batchpipe.engine.access.configured import known_providers
from batchpipe.engine.cost.pricing import listed_providers
from batchpipe.pipeline.load import load
from batchpipe.project.settings import load_settings
from batchpipe.providers.known import KnownProviders

TABLE = '[providers.oo]\nprotocol = "openai"\nbase_url = "http://127.0.0.1:1/v1"\n'


def said(root: Path, text: str, **environment: str) -> tuple[str, str]:
    """Return the place and the words of the error that settings make."""
    (root / "batchpipe.toml").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        known_providers(load_settings(root, environment=environment))
    return str(caught.value.where), f"{caught.value.what} {caught.value.hint}"


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        (TABLE + 'mode = "stream"', "batchpipe.toml providers.oo.mode", "'batch' or 'realtime'"),
        (TABLE + "concurrency = 0", "batchpipe.toml providers.oo.concurrency", "greater than or equal to 1"),
        (TABLE + "prices = { input = -1, output = 0 }", "batchpipe.toml providers.oo.prices.input", "-1 is not valid"),
        (
            TABLE + "prices = { input = 1e7, output = 0 }",
            "batchpipe.toml providers.oo.prices.input",
            "equal to 1000000",
        ),
        (TABLE + "price_factor = 1e30", "batchpipe.toml providers.oo.price_factor", "equal to 1000"),
        ("price_factor = 1e30", "batchpipe.toml price_factor", "equal to 1000"),
        (TABLE + "limits = { max_requests = 0 }", "batchpipe.toml providers.oo.limits.max_requests", "0 is not valid"),
        (TABLE + "keep_results_days = 0", "batchpipe.toml providers.oo.keep_results_days", "equal to 1"),
        (TABLE + 'endpoint = "/v1/completions"', "[providers.oo] endpoint", '"/v1/chat/completions"'),
        (
            TABLE.replace("openai", "gemini") + 'endpoint = "/v1/responses"',
            "[providers.oo] endpoint",
            "the protocol gemini has no endpoint '/v1/responses' Remove the line.",
        ),
        (TABLE.replace("http:", "ftp:"), "[providers.oo] base_url", "Write it like https://"),
        *(
            (
                TABLE.replace("127.0.0.1:1", odd),
                "[providers.oo] base_url",
                "no address that can be called",
            )
            for odd in ("[::1", "127.0.0.1:99999", "127.0.0.1:x", "127.0.0.1:0", ":80")
        ),
        (TABLE.replace("127", "user:word@127"), "[providers.oo] base_url", "without a user's name"),
        (
            TABLE + 'headers = { Authorization = "Bearer sk-1" }',
            "batchpipe.toml providers.oo.headers.Authorization",
            '"Authorization" = "${OO_KEY}"',
        ),
        (TABLE + 'headers = { "a b" = "c" }', "batchpipe.toml providers.oo.headers.a b", "cannot be sent"),
        (TABLE + 'headers = { "a" = "b\\nc" }', "batchpipe.toml providers.oo.headers.a", "cannot be sent"),
        (TABLE + 'models = { "gpt-6-luna" = " " }', "batchpipe.toml providers.oo.models", "a model has no name"),
    ],
)
def test_a_mistake_in_a_table_has_its_place_and_what_to_write(
    tmp_path: Path, text: str, where: str, words: str
) -> None:
    found = said(tmp_path, text)
    assert found[0] == where
    assert words in found[1]


@pytest.mark.parametrize(
    "headers", ['{ "x-team" = ["sesame"] }', '"x-team: sesame"', '{ "x-team" = { of = "sesame" } }']
)
def test_what_stands_among_headers_is_not_shown(tmp_path: Path, headers: str) -> None:
    where, words = said(tmp_path, f"{TABLE}headers = {headers}")
    assert where.startswith("batchpipe.toml providers.oo.headers")
    assert "the headers cannot be read" in words
    assert "sesame" not in words


def test_a_bad_value_is_named_by_the_layer_that_has_it(tmp_path: Path) -> None:
    where, words = said(tmp_path, TABLE, BATCHPIPE_PROVIDERS__OO__MODE="stream")
    assert where == "the environment variable BATCHPIPE_PROVIDERS__OO__MODE"
    assert "'stream' is not valid" in words


@pytest.mark.parametrize("name", ["OPENAI", "Openai", "opnai"])
def test_the_nearest_provider_is_named_whatever_the_case(name: str) -> None:
    known = KnownProviders()
    assert known.split(f"{name}:gpt-6-luna") == (name, "gpt-6-luna")
    with pytest.raises(PipelineError) as caught:
        known.of(name)
    assert "Did you mean `openai`?" in str(caught.value.problems[0].hint)
    assert ("providers.opnai]" in str(caught.value.problems[0].hint)) == (name == "opnai")


def test_a_provider_that_is_not_there_is_named_before_a_gateways_name_of_a_model() -> None:
    known = KnownProviders()
    assert known.split("router:openai/gpt-6-luna") == ("router", "openai/gpt-6-luna")
    for model in ("openai/gpt-6-luna", "openai/gpt-6-luna:batch", "us.anthropic.claude-haiku-4-5-v1:0"):
        assert known.split(model) == ("anthropic", model)
    with pytest.raises(PipelineError, match="there is no provider `router`"):
        known.of("router")


@pytest.mark.parametrize("model", ["openai: gpt-6-luna", " gpt-6-luna", "gpt-6-luna ", "openai :x", ":x", "x:", " "])
def test_a_space_around_a_part_names_no_model(tmp_path: Path, model: str) -> None:
    path = tmp_path / "p.toml"
    path.write_text(
        '[input]\nquery = "SELECT 1 AS id"\nkey = "id"\n[prompt]\nuser_text = "{{ id }}"\n[output.fields.a]\n'
        f'type = "string"\n[[models]]\nmodel = "{model}"\nmax_tokens = 9\n',
        encoding="utf-8",
    )
    with pytest.raises(PipelineError) as caught:
        load(path, tmp_path)
    assert [each.where for each in caught.value.problems] == ["p.toml:9 [[models]] 1 model"]


def test_the_built_in_prices_have_providers() -> None:
    assert {"anthropic", "google", "openai", "openrouter"} <= set(listed_providers())


def test_a_default_provider_that_there_is_not_is_a_mistake_of_the_setting(tmp_path: Path) -> None:
    known = known_providers(load_settings(tmp_path, environment={"BATCHPIPE_PROVIDER": "nope"}))
    with pytest.raises(PipelineError, match="no provider `nope`") as caught:
        known.of(known.split("claude-haiku-4-5")[0])
    assert "BATCHPIPE_PROVIDER" in (caught.value.hint or "")
