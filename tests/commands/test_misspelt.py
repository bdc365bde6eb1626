"""Tests that a misspelt key, section, value, setting, option or command is answered with the name that was meant."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from batchpipe.cli.main import understood
from batchpipe.common.errors import BatchpipeError, PipelineError, UsageError
from batchpipe.common.likeness import edit_distance, nearest, nearest_names
from batchpipe.pipeline.load import parse
from batchpipe.pipeline.model import Budget, Eval, Input, Output, Pilot, Pipeline, Prompt
from batchpipe.pipeline.problems import nearest_key
from batchpipe.pipeline.review_table import Review
from batchpipe.pipeline.sending import Chunking, Retry
from batchpipe.project.settings import Settings, load_settings

FILE = """
name = "demo"
[input]
query = "SELECT 1 AS id"
key = "id"
[prompt]
user_text = "{{ id }}"
[output.fields.label]
type = "string"
[[models]]
model = "claude-haiku-4-5"
max_tokens = 100
[pilot]
rows = 10
[budget]
max_usd = 5
"""


def swaps(name: str) -> Iterator[str]:
    """Yield `name` with each pair of neighbours swapped."""
    for place in range(len(name) - 1):
        swapped = name[:place] + name[place + 1] + name[place] + name[place + 2 :]
        if swapped != name:
            yield swapped


def test_two_letters_that_are_swapped_are_one_slip() -> None:
    assert edit_distance("kye", "key") == edit_distance("ke", "key") == edit_distance("kex", "key") == 1
    assert edit_distance("", "key") == 3
    assert edit_distance("stauts", "status") == 1


def test_what_is_meant_is_found_and_nothing_else() -> None:
    assert nearest("kye", ["query", "query_file", "key"]) == "key"
    assert nearest("fro", ["from", "for"]) == "for"
    assert nearest("haiku", ["claude-opus-5", "claude-haiku-4-5"]) == "claude-haiku-4-5"
    assert nearest("usd", ["reserve", "max_usd"]) == "max_usd"
    assert nearest("Key", ["key"]) == "key"
    assert nearest("ot", ["to", "by"]) == "to"
    assert nearest("--model", ["--help", "--input"]) is None
    assert nearest("x" * 1_000_000, ["x" * 999, "key"]) is None
    assert nearest("", ["key"]) is None
    assert nearest_names("stauts", ["results", "status"], 2) == ["status", "results"]


@pytest.mark.parametrize("table", [Pipeline, Input, Prompt, Output, Chunking, Retry, Pilot, Review, Budget, Eval])
def test_every_key_is_found_with_two_letters_swapped(table: type) -> None:
    keys = list(table.model_fields)  # type: ignore[attr-defined]
    assert [typed for key in keys for typed in swaps(key) if nearest_key(typed, keys) != key] == []


@pytest.mark.parametrize(
    ("right", "typed", "hint"),
    [
        ("key =", "kye =", 'Did you mean "key"?'),
        ("key =", "kye =", '"kye" is there: did you mean "key"?'),
        ("[input]", "[inptu]", '"inptu" is there: did you mean "input"?'),
        ("[[models]]", "[[model]]", '"model" is there: did you mean "models"?'),
        ("max_usd", "usd", 'Did you mean "max_usd"?'),
        ("rows", "rwos", 'Did you mean "rows"?'),
        ('"string"', '"str"', 'Did you mean "string"?'),
        ('"string"', '"int"', 'Did you mean "integer"?'),
        ("type =", "tpye =", 'Did you mean "type"?'),
    ],
)
def test_a_misspelling_in_a_pipeline_file_is_told(right: str, typed: str, hint: str) -> None:
    with pytest.raises(PipelineError) as raised:
        parse(FILE.replace(right, typed, 1))
    assert hint in [each.hint for each in raised.value.problems]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["rnu"], "Did you mean run? "),
        (["stauts"], "Did you mean status? "),
        (["run", "--emualtor"], "Did you mean --emulator? "),
        (["run", "--no-wiat"], "Did you mean --no-wait? "),
        (["run", "--yse"], "Did you mean --yes? "),
        (["eval", "--targt", "0.9"], "Did you mean --target? "),
        (["results", "--ot", "x.csv"], "Did you mean --to? "),
        (["show", "--fromat", "json"], "See: "),
        (["new", "foo", "--model", "x"], "See: "),
    ],
)
def test_a_misspelling_on_the_command_line_is_told(arguments: list[str], hint: str) -> None:
    with pytest.raises(UsageError) as raised:
        understood(arguments)
    assert (raised.value.hint or "").startswith(hint)


@pytest.mark.parametrize(
    ("text", "where", "hint"),
    [
        ("[budget]\nmax_sud = 3", "budget.max_sud", "Did you mean max_usd?"),
        ("[notify]\nwebhok = 'http://x'", "notify.webhok", "Did you mean webhook?"),
        ("[providers.x.limits]\nmax_reqeusts = 3", "providers.x.limits.max_reqeusts", "Did you mean max_requests?"),
        ("[env.prod]\ndatabse = 'x'", "databse", "Did you mean database?"),
        ("[envs.prod]\ndatabase = 'x'", "envs", "Did you mean env?"),
    ],
)
def test_a_misspelling_in_the_settings_is_told(tmp_path: Path, text: str, where: str, hint: str) -> None:
    (tmp_path / "batchpipe.toml").write_text(text)
    with pytest.raises(BatchpipeError) as raised:
        load_settings(tmp_path, environment={})
    assert (raised.value.where or "").endswith(where)
    assert raised.value.hint == hint


def test_every_variable_is_found_with_two_letters_swapped(tmp_path: Path) -> None:
    for key in Settings.model_fields:
        for typed in swaps(key):
            with pytest.raises(UsageError) as raised:
                load_settings(tmp_path, environment={f"BATCHPIPE_{typed.upper()}": "x"})
            assert raised.value.hint == f"Did you mean BATCHPIPE_{key.upper()}?"
