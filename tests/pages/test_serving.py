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
