"""Tests of where a key may be sent: each place that names a key or an address, and what confirms a pair of them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from commandline import CommandLine, at_terminal
from projects import BASIC, Project, numbered

from batchpipe.common.errors import CredentialsError, UsageError
from batchpipe.project.trust import Sending, Trust, address_of, is_tracked, is_whole_address, variables_sent

GATEWAY = "https://gateway.example"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return CommandLine(monkeypatch=monkeypatch, capsys=capsys)


def ready(project: Project, rows: int = 3) -> str:
    """Make a pipeline with rows, and return the pair that names this project's emulator."""
    project.pipeline()
    project.rows(numbered(rows))
    return f"ANTHROPIC_API_KEY@{project.emulator.base_url}"


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


def calls_of(project: Project) -> int:
    return len(project.log()["calls"])


def test_an_address_of_the_repository_is_confirmed_before_anything_is_sent(project: Project, call: CommandLine) -> None:
    pair = ready(project)
    (project.root / "batchpipe.toml").write_text(f'base_url = "{project.emulator.base_url}/"\npoll_interval = 0.02\n')
    call.monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")
    for command in (("run", "demo"), ("try", "demo", "1"), ("run", "demo", "--json")):
        ended = call(*command)
        assert ended.code == 3, ended.talk
        assert f"export BATCHPIPE_TRUST={pair}" in ended.talk + ended.out
        assert "test-key" not in ended.talk + ended.out
    # Neither `.env` nor a file of the repository confirms anything.
    (project.root / ".env").write_text(f"BATCHPIPE_TRUST={pair}\n")
    assert call("run", "demo").code == 3
    assert calls_of(project) == 0
    call.monkeypatch.setenv("BATCHPIPE_TRUST", f"OTHER_KEY@https://x.example, {pair}/v1/ignored,")
    ended = call("run", "demo")
    assert (ended.code, project.requests_sent()) == (0, 3), ended.talk


def test_an_address_of_env_counts_only_where_git_does_not_track_the_file(project: Project, call: CommandLine) -> None:
    pair = ready(project)
    (project.root / "batchpipe.toml").write_text("poll_interval = 0.02\n")
    (project.root / ".env").write_text(f"ANTHROPIC_BASE_URL={project.emulator.base_url}\nANTHROPIC_API_KEY=test-key\n")
    git(project.root, "init", "-q")
    git(project.root, "add", "-f", ".env")
    ended = call("run", "demo")
    assert (ended.code, calls_of(project)) == (3, 0), ended.talk
    assert pair in ended.talk
    # A tracked key may be somebody else's, whose account would get the rows.
    call.monkeypatch.setenv("ANTHROPIC_BASE_URL", project.emulator.base_url)
    ended = call("run", "demo")
    assert (ended.code, calls_of(project)) == (3, 0), ended.talk
    call.monkeypatch.delenv("ANTHROPIC_BASE_URL")
    git(project.root, "rm", "-q", "--cached", "-f", ".env")
    assert call("run", "demo").code == 0


def test_a_person_at_a_terminal_is_asked_once(project: Project, call: CommandLine, tmp_path: Path) -> None:
    ready(project)
    (project.root / "batchpipe.toml").write_text(f'base_url = "{project.emulator.base_url}"\npoll_interval = 0.02\n')
    home = tmp_path / "home"
    surroundings = {"ANTHROPIC_API_KEY": "test-key", "XDG_CONFIG_HOME": str(home)}
    code, shown = at_terminal(project.root, "try", "demo", "1", answers=[("[y/N] ", "n\n")], environment=surroundings)
    assert (code, calls_of(project)) == (3, 0), shown
    code, shown = at_terminal(project.root, "try", "demo", "1", answers=[("[y/N] ", "y\n")], environment=surroundings)
    assert code == 0, shown
    kept = home / "batchpipe" / "trusted_addresses"
    assert kept.read_text() == f"ANTHROPIC_API_KEY@{project.emulator.base_url}\n"
    assert kept.stat().st_mode & 0o777 == 0o600
    for name, value in surroundings.items():
        call.monkeypatch.setenv(name, value)
    assert call("try", "demo", "2").code == 0


PLACES = [
    ("environment", "environment", GATEWAY, True),
    ("environment", "provider", "https://api.anthropic.com", True),
    ("environment", "repository", GATEWAY, False),
    ("repository", "environment", GATEWAY, False),
    ("repository", "provider", "https://api.anthropic.com", False),
    ("environment", "environment", "http://gateway.example", False),
    ("environment", "environment", "http://127.0.0.1:8080", True),
    ("environment", "environment", "http://[::1]:8080", True),
    ("environment", "environment", "http://localhost:8080", True),
    ("environment", "environment", "http://localhost.evil.example", False),
    ("environment", "environment", "http://127.0.0.1.evil.example", False),
    ("environment", "repository", "http://127.0.0.1:8080", False),
]


@pytest.mark.parametrize(("key_place", "url_place", "url", "safe"), PLACES)
def test_every_pair_of_places(key_place: str, url_place: str, url: str, safe: bool) -> None:
    sending = Sending(variable="K", key_place=key_place, url=url, url_place=url_place)  # type: ignore[arg-type]
    assert sending.is_safe == safe
    if safe:
        return
    with pytest.raises(CredentialsError) as raised:
        Trust(environment={"BATCHPIPE_TRUST": "A@https://a.example"}).require(sending)
    assert raised.value.exit_code == 3
    line = f"export BATCHPIPE_TRUST=A@https://a.example,{sending.pair}"
    assert str(raised.value.hint).endswith(line)
    Trust(environment={"BATCHPIPE_TRUST": line.partition("=")[2]}).require(sending)


def test_what_is_confirmed_is_one_variable_at_one_address() -> None:
    sending = Sending(variable="K", key_place="environment", url=f"{GATEWAY}:443/v1", url_place="repository")
    assert sending.pair == f"K@{GATEWAY}"
    Trust(environment={"BATCHPIPE_TRUST": "K@HTTPS://Gateway.Example/".replace("HTTPS", "https")}).require(sending)
    for other in ("L@" + GATEWAY, "K@http://gateway.example", f"K@{GATEWAY}:8443", "K@https://a.gateway.example"):
        with pytest.raises(CredentialsError):
            Trust(environment={"BATCHPIPE_TRUST": other}).require(sending)
    for wrong in ("K", "K@gateway.example", "*@https://gateway.example", "K@https://*", "K@https://u@gateway.example"):
        with pytest.raises(UsageError, match="not a key's variable"):
            Trust(environment={"BATCHPIPE_TRUST": wrong}).require(sending)


def test_an_address_is_read_as_the_library_that_sends_reads_it() -> None:
    assert address_of("https://Api.Example:443/x@y") == "https://api.example"
    assert address_of("http://[::1]:80/") == "http://[::1]"
    for url in (
        "https://good.example\\@evil.example",
        "https://u:p@evil.example",
        "ftp://x",
        "https://",
        "https://a:b",
    ):
        assert address_of(url) is None


def test_a_setting_that_is_all_a_variable_names_an_address_of_the_environment() -> None:
    given = {"GATEWAY": GATEWAY, "HOST": "gateway.example"}
    assert is_whole_address("${GATEWAY}", given)
    assert is_whole_address("${GATEWAY}/v1", given)
    for text in ("${GATEWAY}.evil.example", "${GATEWAY}@evil.example", "https://${HOST}", "${HOST}", GATEWAY):
        assert not is_whole_address(text, given)


TOKEN = "ghp_SECRETSECRET0123456789"


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("mirror:claude-haiku-4-5", '[providers.mirror]\nprotocol = "anthropic"\nbase_url = "{url}/${{TOKEN}}"\n'),
        ("mirror:gpt-6-luna", '[providers.mirror]\nprotocol = "openai"\nbase_url = "{url}/?t=${{TOKEN}}"\n'),
        ("gemini:gemini-3.8-flash", '[providers.gemini]\nbase_url = "{url}/${{TOKEN}}"\nmode = "realtime"\n'),
        ("claude-haiku-4-5", 'base_url = "{url}/${{TOKEN}}/v1"\n'),
    ],
)
def test_a_variable_within_an_address_of_the_repository_is_confirmed(
    project: Project, call: CommandLine, model: str, settings: str
) -> None:
    ready(project)
    url = project.emulator.base_url
    project.pipeline(BASIC.replace("claude-haiku-4-5", model))
    (project.root / "batchpipe.toml").write_text(settings.format(url=url))
    call.monkeypatch.setenv("TOKEN", TOKEN)
    for name in ("ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        call.monkeypatch.setenv(name, "test-key")
    call.monkeypatch.setenv("BATCHPIPE_TRUST", f"ANTHROPIC_API_KEY@{url},GEMINI_API_KEY@{url}")
    for command in (("run", "demo", "--yes", "--no-wait"), ("try", "demo", "1")):
        ended = call(*command)
        if "?" in settings:
            assert ended.code in (2, 3), ended.talk
        else:
            assert ended.code == 3, ended.talk
            assert f",TOKEN@{url}" in ended.talk
        assert TOKEN not in ended.talk + ended.out
    assert calls_of(project) == 0


def test_a_variable_that_is_an_address_a_host_or_a_port_is_nothing_that_is_sent() -> None:
    for text in ("${URL}", "${URL}/v1", "https://${HOST}/v1", "http://127.0.0.1:${PORT}/v1", "https://${HOST}:${PORT}"):
        assert variables_sent(text) == []
    for text in (
        "https://x.example/${T}",
        "${URL}/${T}",
        "https://${HOST}/${T}/${T}",
        "https://${T}.x.example/",
        "https://x.example?${T}",
        "https://${T}@x.example/",
        "${T}://x.example/",
        "https://x.example:8080/a?b=${T}#c",
    ):
        assert set(variables_sent(text)) == {"T"}
    assert variables_sent("${A}${B}") == ["A", "B"]


def test_where_git_cannot_say_a_file_counts_as_tracked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_tracked(tmp_path, ".env")
    (tmp_path / ".git").mkdir()
    assert is_tracked(tmp_path, ".env")
    git(tmp_path, "init", "-q")
    assert not is_tracked(tmp_path, ".env")
    monkeypatch.setenv("PATH", os.devnull)
    assert is_tracked(tmp_path, ".env")
