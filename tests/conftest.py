"""What every test works with: no network but loopback, no keys, and projects in temporary folders."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from projects import Project


class ThisTestTriedToReachTheNetworkError(Exception):
    """A test opened a connection to something that is not on this machine."""


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection but to loopback and to local sockets."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in (
            "127.0.0.1",
            "::1",
            "localhost",
        ):
            raise ThisTestTriedToReachTheNetworkError(address)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, no setting and no colour of the machine's own reaches a test."""
    for name in list(os.environ):
        if name.startswith(("ANTHROPIC_", "BATCHPIPE_", "OPENAI_")) or name in ("FORCE_COLOR", "NO_COLOR"):
            monkeypatch.delenv(name)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full-sweep", action="store_true", help="every point and every pair, not a sample")


@pytest.fixture
def full_sweep(request: pytest.FixtureRequest) -> bool:
    """Whether the sweeps are to try everything."""
    return bool(request.config.getoption("--full-sweep"))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """An empty project that is the working folder; its runs go to an emulator of its own."""
    monkeypatch.chdir(tmp_path)
    made = Project(tmp_path)
    yield made
    made.close()


@pytest.fixture
def project_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], Project]]:
    """Makes projects in given folders."""
    made: list[Project] = []

    def make(folder: Path) -> Project:
        monkeypatch.chdir(folder)
        made.append(Project(folder))
        return made[-1]

    yield make
    for each in made:
        each.close()
