"""Tests of settings: their precedence, the place of a bad one, and credentials, which are never shown."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import batchpipe
from batchpipe.common.errors import PipelineError, UsageError
from batchpipe.engine.access.configured import known_providers
from batchpipe.project import settings_place
from batchpipe.project.dotenv_file import credentials
from batchpipe.project.settings import Settings, load_settings

TOOL = "[tool.batchpipe]\n"


def settings_of(
    root: Path,
    pyproject: str = "",
    dotenv: str = "",
    environment: Mapping[str, str] | None = None,
    env: str | None = None,
    **command_line: Any,
) -> Settings:
    (root / "pyproject.toml").write_text(pyproject)
    (root / ".env").write_text(dotenv)
    return load_settings(root, environment=environment or {}, command_line=command_line, env=env)


def error(root: Path, **sources: Any) -> tuple[str, str | None, str | None]:
    with pytest.raises(UsageError) as raised:
        settings_of(root, **sources)
    return raised.value.what, raised.value.where, raised.value.hint


def test_defaults(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, environment={})
    assert settings.database_path(tmp_path, {}) == tmp_path / "batchpipe.duckdb"
    assert (settings.poll_interval, settings.reconcile_wait) == (60, 600)
    assert (settings.confirm_above_usd, settings.price_factor) == (Decimal(5), Decimal(1))
    assert (settings.provider, settings.base_url, settings.prices) == (None, None, None)
    assert (settings.log_format, settings.emulator) == ("text", False)


def test_the_emulator_polls_at_once(tmp_path: Path) -> None:
    assert settings_of(tmp_path, emulator=True).poll_interval == 0.2
    assert settings_of(tmp_path, environment={"BATCHPIPE_EMULATOR": "1"}).poll_interval == 0.2
    assert settings_of(tmp_path, emulator=True, poll_interval=7).poll_interval == 7


def test_first_found_wins(tmp_path: Path) -> None:
    pyproject = "[tool.batchpipe]\nprovider = 'e'\nbase_url = 'e'\n[tool.batchpipe.env.ci]\nprovider = 'd'\n"
    dotenv = "BATCHPIPE_PROVIDER=c\nOTHER=x\n"
    environment = {"BATCHPIPE_PROVIDER": "b", "PATH": "/bin"}

    def provider(**sources: Any) -> str | None:
        return settings_of(tmp_path, pyproject, **sources).provider

    assert provider(dotenv=dotenv, environment=environment, env="ci", provider="a") == "a"
    assert provider(dotenv=dotenv, environment=environment, env="ci", provider=None) == "b"
    assert provider(dotenv=dotenv, environment={"BATCHPIPE_PROVIDER": ""}, env="ci") == "c"
    assert provider(env="ci") == "d"
    assert provider() == "e"
    assert settings_of(tmp_path, pyproject, env="ci").base_url == "e"
    assert settings_of(tmp_path).provider is None


@pytest.mark.parametrize("text", ["poll_interval = 0.5", f"{TOOL}poll_interval = 0.5"])
def test_batchpipe_toml_with_or_without_the_table(tmp_path: Path, text: str) -> None:
    (tmp_path / "batchpipe.toml").write_text(
        f"{text}\n[{'tool.batchpipe.' if TOOL in text else ''}env.ci]\nprices = 'p'"
    )
    settings = settings_of(tmp_path, env="ci")
    assert (settings.poll_interval, settings.path("prices", tmp_path, {})) == (0.5, tmp_path / "p")


def test_settings_in_two_files(tmp_path: Path) -> None:
    (tmp_path / "batchpipe.toml").write_text("provider = 'x'")
    assert error(tmp_path, pyproject=f"{TOOL}provider = 'y'") == (
        "there are settings in two places",
        "batchpipe.toml and pyproject.toml [tool.batchpipe]",
        "Move all of them into one place; at the top level of batchpipe.toml [tool.batchpipe.budget] is [budget].",
    )


@pytest.mark.parametrize(
    ("name", "text", "header", "beside"),
    [
        ("batchpipe.toml", 'database = "x.duckdb"\n', "[env.prod]", "at the top of batchpipe.toml"),
        ("batchpipe.toml", "", "[env.prod]", "at the top of batchpipe.toml"),
        (
            "batchpipe.toml",
            f"{TOOL}shared = true\n",
            "[tool.batchpipe.env.prod]",
            "under [tool.batchpipe] in batchpipe",
        ),
        (
            "pyproject.toml",
            f"{TOOL}shared = true\n",
            "[tool.batchpipe.env.prod]",
            "under [tool.batchpipe] in pyproject",
        ),
        ("pyproject.toml", "", "[tool.batchpipe.env.prod]", "under [tool.batchpipe] in pyproject"),
    ],
)
def test_a_hint_names_a_table_as_the_file_of_the_settings_writes_it(
    tmp_path: Path, name: str, text: str, header: str, beside: str
) -> None:
    """What is printed can be written into the file that is named."""
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_settings(tmp_path, environment={}, env="prod")
    assert f"write the table {header} with" in str(caught.value.hint)
    assert beside in settings_place.under()
    assert settings_place.settings_file() == name
    with pytest.raises(PipelineError) as unknown:
        known_providers(load_settings(tmp_path, environment={})).of("nosuch")
    added = str(unknown.value.problems[0].hint).rpartition("To add a provider: ")[2]
    assert added == f"{header.replace('env.prod', 'providers.nosuch')} in {name}."
    path.write_text(f'{text}{header}\nshared = false\n{added.split()[0]}\nprotocol = "openai"\n')
    settings = load_settings(tmp_path, environment={}, env="prod")
    assert (settings.shared, settings.providers["nosuch"].protocol) == (False, "openai")


def test_no_other_text_names_a_table_of_the_settings() -> None:
    """Docstrings may, and the text about settings in two places."""
    for path in Path(batchpipe.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "[tool.batchpipe" not in text:
            continue
        nodes = list(ast.walk(ast.parse(text)))
        documented = [each for each in nodes if isinstance(each, ast.Module | ast.ClassDef | ast.FunctionDef)]
        docstrings = [ast.get_docstring(each, clean=False) for each in documented]
        values = [each.value for each in nodes if isinstance(each, ast.Constant)]
        texts = [each for each in values if isinstance(each, str) and "[tool.batchpipe" in each]
        found = [each for each in texts if each not in docstrings and not each.startswith("Move all of them")]
        assert not found, path


def test_the_process_environment_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHPIPE_PROVIDER", "x")
    monkeypatch.setenv("PROVIDER", "x")
    assert settings_of(tmp_path).provider is None


def test_values_are_exact_and_frozen(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, f"{TOOL}price_factor = 1.1\nconfirm_above_usd = 0.30")
    assert (settings.price_factor, settings.confirm_above_usd) == (Decimal("1.1"), Decimal("0.30"))
    with pytest.raises(ValueError, match="frozen"):
        settings.provider = "x"


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (
            {"pyproject": f"{TOOL}poll_intervall = 5"},
            (
                "there is no such setting",
                "pyproject.toml [tool.batchpipe] poll_intervall",
                "Did you mean poll_interval?",
            ),
        ),
        (
            {"environment": {"BATCHPIPE_DATBASE": "x"}},
            (
                "there is no such setting",
                "the environment variable BATCHPIPE_DATBASE",
                "Did you mean BATCHPIPE_DATABASE?",
            ),
        ),
        (
            {"dotenv": "BATCHPIPE_DATBASE=x"},
            ("there is no such setting", ".env BATCHPIPE_DATBASE", "Did you mean BATCHPIPE_DATABASE?"),
        ),
        (
            {"pyproject": f"{TOOL}[tool.batchpipe.env.prod]\nlog_format = 'xml'", "env": "prod"},
            (
                "'xml' is not valid",
                "pyproject.toml [tool.batchpipe], env prod, log_format",
                "Input should be 'text' or 'json'. log_format: Format of log lines.",
            ),
        ),
        (
            {"environment": {"BATCHPIPE_POLL_INTERVAL": "often"}},
            (
                "'often' is not valid",
                "the environment variable BATCHPIPE_POLL_INTERVAL",
                "Input should be a valid number, unable to parse string as a number. "
                "poll_interval: Seconds between polls of a batch: 60; with the emulator 0.2.",
            ),
        ),
        (
            {"reconcile_wait": -1},
            (
                "-1 is not valid",
                "the command line reconcile_wait",
                "Input should be greater than or equal to 0. "
                "reconcile_wait: Seconds after which a submit of unknown outcome counts as lost, "
                "if the provider lists no batch.",
            ),
        ),
        (
            {"pyproject": f"{TOOL}[tool.batchpipe.env.ci]\n[tool.batchpipe.env.prod]", "env": "prd"},
            (
                "there is no environment 'prd'",
                "pyproject.toml [tool.batchpipe]",
                "There are: ci, prod. To add it, write the table [tool.batchpipe.env.prd] with its settings.",
            ),
        ),
        (
            {"env": "ci"},
            (
                "there is no environment 'ci'",
                "pyproject.toml [tool.batchpipe]",
                "There is none yet. To add it, write the table [tool.batchpipe.env.ci] with its settings.",
            ),
        ),
        (
            {"pyproject": f"{TOOL}env = 'ci'"},
            (
                "env is not a table of tables",
                "pyproject.toml [tool.batchpipe]",
                "Write [tool.batchpipe.env.NAME].",
            ),
        ),
        (
            {"database": "data/Ledger.duckdb"},
            (
                "the database cannot be called Ledger.duckdb",
                "the setting database",
                "Rename the file: DuckDB names the catalog after it, and ledger.requests would be ambiguous.",
            ),
        ),
    ],
)
def test_what_is_wrong_names_its_source(
    tmp_path: Path, sources: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    assert error(tmp_path, **sources) == expected


def test_a_file_that_is_not_toml(tmp_path: Path) -> None:
    what, where, _ = error(tmp_path, pyproject="[tool")
    assert what.startswith("not valid TOML: ")
    assert where == "pyproject.toml"


def test_variables_are_replaced_only_when_used(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, dotenv="BATCHPIPE_BASE_URL=https://${HOST}/v1", database="${DATA}/x.duckdb")
    assert settings.base_url == "https://${HOST}/v1"
    assert settings.text("base_url", {"HOST": "h"}) == "https://h/v1"
    assert settings.text("provider", {}) is None
    assert settings.database_path(tmp_path, {"DATA": "/data"}) == Path("/data/x.duckdb")
    assert settings.database_path(tmp_path, {"DATA": "data"}) == tmp_path / "data/x.duckdb"
    with pytest.raises(UsageError) as raised:
        settings.text("base_url", {})
    assert raised.value.what == "the environment variable HOST is not set"
    assert raised.value.where == "the setting base_url"
    with pytest.raises(UsageError, match=r"cannot be called \$\{DATA\}\.duckdb"):
        settings_of(tmp_path, database="${DATA}.duckdb").database_path(tmp_path, {"DATA": "ledger"})


def test_credentials_come_from_the_environment_then_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("API_KEY=from_file\nOTHER_KEY='with ${X}'\nEMPTY=\n")
    found = credentials({"API_KEY": ""}, tmp_path, ["API_KEY", "OTHER_KEY", "EMPTY", "MISSING"])
    assert {name: value.get_secret_value() for name, value in found.items()} == {
        "API_KEY": "from_file",
        "OTHER_KEY": "with ${X}",
    }
    assert credentials({"API_KEY": "first"}, tmp_path, ["API_KEY"])["API_KEY"].get_secret_value() == "first"
    assert "from_file" not in repr(found) + str(found)
    assert credentials({}, tmp_path / "none", ["API_KEY"]) == {}
