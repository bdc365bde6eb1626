"""One emulator for each protocol of the suite, without faults at the start of each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from batchpipe.emulator import Emulator

from .protocols import PROTOCOLS, Desk, Spoken


@pytest.fixture(scope="module", params=PROTOCOLS, ids=lambda spoken: spoken.name)
def shared_desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("suite")
    with Emulator(folder / "service") as emulator:
        desk = Desk(request.param, emulator, folder)
        with desk.http:
            yield desk


@pytest.fixture
def desk(shared_desk: Desk) -> Desk:
    shared_desk.faults()
    return shared_desk


@pytest.fixture(params=PROTOCOLS, ids=lambda spoken: spoken.name)
def spoken(request: pytest.FixtureRequest) -> Spoken:
    found: Spoken = request.param
    return found
