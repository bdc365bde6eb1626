"""Tests of `ui` and `serve` as processes: what they print and refuse, the socket, and how they end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx2
import pytest
from commandline import COMMAND, in_process_of_its_own
from projects import Project

from batchpipe.commands.ui import origin_of
from batchpipe.common.errors import UsageError
from batchpipe.pages.serving import kept_secret, listening_at
from pages.shown import environment

SERVE = ("serve", "--public-url", "https://pages.example.org", "--person-header", "X-User")
WITHOUT = "import sys; sys.modules['uvicorn'] = None; import importlib.util as u; f = u.find_spec; "
WITHOUT += "u.find_spec = lambda name, *a: None if name == 'uvicorn' else f(name, *a); "
WITHOUT += "from batchpipe.cli.main import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("serving"))
    yield project
    project.close()


def test_what_is_missing_or_taken_is_said(empty: Project) -> None:
    words: Sequence[str]
    for words in (["ui"], SERVE):
        found = subprocess.run(
            [sys.executable, "-c", WITHOUT, *words], cwd=empty.root, capture_output=True, text=True, check=False
        )
        assert found.returncode == 2
        assert "pip install 'batchpipe[ui]'" in found.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = in_process_of_its_own(empty.root, "ui", "--port", port, "--no-open")
        assert (refused.code, "--port 0" in refused.talk) == (2, True)
    refused = in_process_of_its_own(empty.root, *SERVE)
    assert (refused.code, "BATCHPIPE_PROXY_SECRET" in refused.talk) == (2, True)
    secret = {"BATCHPIPE_PROXY_SECRET": "long enough to be one"}
    for words, said in (
        (("serve", "--public-url", "pages.example.org/x", "--person-header", "X"), "--public-url"),
        ((*SERVE[:-1], "X-Batchpipe-Proxy"), "--person-header"),
        ((*SERVE[:-1], "X User"), "--person-header"),
        ((*SERVE, "--uds", "x.sock", "--port", "0"), "exclude each other"),
    ):
        refused = in_process_of_its_own(empty.root, *words, environment=secret)
        assert (refused.code, said in refused.talk) == (2, True)
    assert in_process_of_its_own(empty.root, "ui", "nothing", "--no-open").code == 2


def test_a_socket_behind_a_proxy(empty: Project, tmp_path: Path) -> None:
    path = tmp_path / "pages.sock"
    process = subprocess.Popen(
        [*COMMAND, *SERVE, "--uds", str(path), "--json"],
        cwd=empty.root,
        env={**os.environ, **environment(empty), "BATCHPIPE_PROXY_SECRET": "long enough to be one"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["public_url"] == "https://pages.example.org"
        assert path.stat().st_mode & 0o007 == 0
        with pytest.raises(UsageError, match="another process serves there"):
            listening_at(path)
        headers = {"x-batchpipe-proxy": "long enough to be one", "x-user": "bo"}
        with httpx2.Client(
            transport=httpx2.HTTPTransport(uds=str(path)), base_url="http://pages.example.org"
        ) as client:
            assert client.get("/", headers=headers).status_code == 200
            assert client.get("/", headers={"x-user": "bo"}).status_code == 401
        process.send_signal(signal.SIGTERM)
        process.wait(10)
        assert not path.exists()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Pages.Example.org:443/", "https://pages.example.org"),
        ("http://pages.example.org:443", "http://pages.example.org:443"),
        ("http://[::1]:80", "http://[::1]"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
    ],
)
def test_a_public_url_is_what_browsers_send_as_origin(url: str, origin: str) -> None:
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    "url", ["https://x.org:99999", "https://[::1", "https://ada@x.org", "https://x.org/p", "ftp://x.org", "https://"]
)
def test_a_public_url_that_cannot_be_one_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        origin_of(url)


def test_a_secret_that_is_cut_or_open_to_others_is_replaced(tmp_path: Path) -> None:
    first = kept_secret(tmp_path)
    path = tmp_path / "ui_secret"
    assert (len(first), path.stat().st_mode & 0o777, kept_secret(tmp_path)) == (64, 0o600, first)
    path.write_text("", "utf-8")
    second = kept_secret(tmp_path)
    path.chmod(0o644)
    third = kept_secret(tmp_path)
    assert (len({first, second, third}), len(second), path.stat().st_mode & 0o777) == (3, 64, 0o600)
    assert [each.name for each in tmp_path.iterdir()] == ["ui_secret"]
