"""A provider that is down, or refuses everything, stands in the way of its own rows alone."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from clocked import Clock
from projects import BASIC, Project, numbered

from batchpipe.common.errors import CredentialsError, ProviderError

LADDER = BASIC.replace(
    'model = "claude-haiku-4-5"\nmax_tokens = 200\n',
    'model = "openai:gpt-6-luna"\nmax_tokens = 200\nwhen = "amount < 5"\n\n'
    '[[models]]\nmodel = "claude-haiku-4-5"\nmax_tokens = 200\n',
)
REALTIME = LADDER.replace("max_tokens = 200\n", 'max_tokens = 200\nmode = "realtime"\n')
INVALID_ONCE = {"match": "number 7", "outcome": "invalid_json", "times": 1}
# Of 20 rows 10 are for the first rung.
STANDING = "SELECT state, count(*) FROM ledger.row_state GROUP BY ALL ORDER BY ALL"
ASKED = "SELECT provider, count(DISTINCT custom_id) FROM ledger.results GROUP BY ALL ORDER BY ALL"


class Relay(socketserver.ThreadingTCPServer):
    """Passes what comes at its own port on to another address."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, behind: tuple[str, int], port: int = 0) -> None:
        class Passing(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(behind) as there:
                    back = threading.Thread(target=pass_on, args=(there, self.request), daemon=True)
                    back.start()
                    pass_on(self.request, there)
                    back.join()

        super().__init__(("127.0.0.1", port), Passing)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


def pass_on(here: socket.socket, there: socket.socket) -> None:
    """Pass all bytes from one connection to the other."""
    with suppress(OSError):
        while data := here.recv(65_536):
            there.sendall(data)
        there.shutdown(socket.SHUT_WR)


class Door:
    """The address of OpenAI, behind which the emulator is. Nobody listens there while it is `shut`."""

    def __init__(self, project: Project) -> None:
        where = urlsplit(project.emulator.base_url)
        self.behind = (str(where.hostname), int(where.port or 0))
        self.relay: Relay | None = Relay(self.behind)
        self.port = self.relay.server_address[1]

    def shut(self) -> None:
        if self.relay is not None:
            self.relay.shutdown()
            self.relay.server_close()
            self.relay = None

    def open(self) -> None:
        self.relay = self.relay or Relay(self.behind, self.port)


@pytest.fixture
def door(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    made = Door(project)
    there = project.environment | {"OPENAI_BASE_URL": f"http://127.0.0.1:{made.port}/v1"}
    monkeypatch.setattr(Project, "environment", there)
    yield made
    made.shut()


@pytest.fixture
def clock(project: Project) -> Clock:
    project.rows(numbered(20))
    return Clock(project=project, step=5.0)


@pytest.mark.parametrize("budget", ["", "\n[budget]\nmax_usd = 1.0\n"])
def test_rows_of_another_provider_are_asked_in_realtime_while_one_is_down(
    project: Project, clock: Clock, door: Door, budget: str
) -> None:
    """A row of the other one is retried, too: what is for the one that is down stands in no plan's way."""
    project.pipeline(REALTIME + budget)
    project.faults({"requests": [INVALID_ONCE]})
    door.shut()
    for _ in range(2):
        began = clock.now()
        down = clock.run()
        assert isinstance(down.error, ProviderError), down
        assert "cannot be reached" in down.error.what
        assert timedelta(minutes=1) <= clock.now() - began < timedelta(minutes=5)
        assert project.sql(STANDING) == [("accepted", 10), ("new", 10)]
    assert project.sql(ASKED) == [("anthropic", 11)]
    door.open()
    done = clock.run()
    assert (done.error, done.result.submitted) == (None, 10)
    assert project.sql(STANDING) == [("accepted", 20)]
    assert project.sql(ASKED) == [("anthropic", 11), ("openai", 10)]


def test_a_provider_that_comes_back_is_asked_in_the_same_run(project: Project, clock: Clock, door: Door) -> None:
    """The batch of the other one takes an hour; meanwhile the one that is down is tried now and then."""
    project.pipeline(LADDER.replace("< 5", "< 5 OR amount = 7"))
    project.faults({"delay_seconds": 3_600})
    door.shut()
    down = clock.run()
    assert isinstance(down.error, ProviderError)
    assert "cannot be reached" in down.error.what
    assert project.sql(STANDING) == [("accepted", 8), ("new", 12)]
    tried = "SELECT count(*) FROM ledger.events WHERE kind = 'chunk_not_sent'"
    assert project.sql(tried)[0][0] < 60
    door.open()
    assert clock.run().error is None
    assert project.sql(STANDING) == [("accepted", 20)]
    assert project.requests_sent() == 20


def test_batches_of_others_are_collected_while_a_provider_with_open_batches_is_down(
    project: Project, clock: Clock, door: Door
) -> None:
    project.pipeline(LADDER)
    project.faults({"delay_seconds": 600})
    assert clock.run(no_wait=True).error is None
    door.shut()
    down = clock.run()
    assert isinstance(down.error, ProviderError)
    assert "nothing is lost" in str(down.error.hint)
    assert project.sql(STANDING) == [("accepted", 10), ("pending", 10)]
    door.open()
    assert clock.run().error is None
    assert project.sql(STANDING) == [("accepted", 20)]
    assert project.requests_sent() == 20


@pytest.mark.parametrize("text", [LADDER, REALTIME])
def test_a_refusal_of_everything_by_one_provider_comes_after_what_is_for_others(
    project: Project, clock: Clock, text: str
) -> None:
    project.pipeline(text)
    where = "/v1/messages" if text is REALTIME else "/v1/messages/batches"
    call = "message" if text is REALTIME else "create"
    project.faults({"calls": [{"call": call, "fault": "status:401", "times": 100, "protocol": "openai"}]})
    stopped = clock.run()
    assert isinstance(stopped.error, ProviderError)
    assert "refuses (401)" in stopped.error.what
    assert stopped.error.where == "provider openai"
    assert any(each["path"] == where for each in project.log()["calls"])
    project.faults({})
    assert clock.run().error is None
    assert project.sql(STANDING) == [("accepted", 20)]
    assert project.sql(ASKED) == [("anthropic", 10), ("openai", 10)]


@pytest.mark.parametrize("ladder", [LADDER, REALTIME], ids=["batches", "realtime"])
def test_a_key_that_only_a_later_rung_needs_is_missed_before_anything_is_sent(
    project: Project, monkeypatch: pytest.MonkeyPatch, ladder: str
) -> None:
    project.rows(numbered(4))  # all for the first rung
    project.pipeline(ladder)
    whole = project.environment
    keyless = {name: value for name, value in whole.items() if name != "ANTHROPIC_API_KEY"}
    monkeypatch.setattr(Project, "environment", keyless)
    with pytest.raises(CredentialsError, match="no key for the provider anthropic"):
        project.run()
    assert project.sql("SELECT count(*) FROM ledger.requests") == [(0,)]
    monkeypatch.setattr(Project, "environment", whole)
    assert project.run().rows["accepted"] == 4
    # Where nothing is due, no key is needed.
    monkeypatch.setattr(Project, "environment", keyless)
    assert project.run().submitted == 0
