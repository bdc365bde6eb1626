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


class Refusing(socketserver.StreamRequestHandler):
    """A proxy that lets nobody through."""

    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.1 407 Who are you\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize("mode", ["batch", "realtime"])
@pytest.mark.parametrize("model", ["claude-haiku-4-5", "openai:gpt-6-luna", "gemini:gemini-3.8-flash"])
def test_a_proxy_that_refuses_a_connection_costs_nothing(
    project: Project, clock: Clock, monkeypatch: pytest.MonkeyPatch, model: str, mode: str
) -> None:
    """Nothing reaches the provider: no batch is looked for, and no call is booked as one that may have been paid."""
    project.pipeline(BASIC.replace("claude-haiku-4-5", model) + f'mode = "{mode}"\n')
    clock.step = 60.0
    whole = project.environment
    names = ("ANTHROPIC_BASE_URL", "OPENAI_BASE_URL", "GOOGLE_GEMINI_BASE_URL")
    monkeypatch.setattr(Project, "environment", whole | dict.fromkeys(names, "https://nowhere.example"))
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refusing) as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True).start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.server_address[1]}")
        stopped = clock.run()
        proxy.shutdown()
    assert isinstance(stopped.error, ProviderError)
    assert "ProxyError: 407 Who are you" in stopped.error.what
    assert "HTTPS_PROXY" in str(stopped.error.hint)
    assert project.sql("SELECT count(*) FROM ledger.events WHERE kind = 'cost_unknown'") == [(0,)]
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.setattr(Project, "environment", whole)
    assert clock.run().error is None
    assert project.sql(STANDING) == [("accepted", 20)]
    assert project.sql("SELECT count(*) FROM ledger.results") == [(20,)]


THREE = BASIC.replace(
    'model = "claude-haiku-4-5"\nmax_tokens = 200\n',
    'model = "openai:gpt-6-luna"\nmax_tokens = 200\nwhen = "amount < 5"\n\n'
    '[[models]]\nmodel = "gemini:gemini-3.8-flash"\nmax_tokens = 200\nwhen = "amount < 8"\n\n'
    '[[models]]\nmodel = "claude-haiku-4-5"\nmax_tokens = 200\n',
)
# Of 20 rows 10 are for openai, 6 for gemini and 4 for anthropic; one of gemini is retried, one goes up to anthropic.
INVALID = [INVALID_ONCE, {"match": "number 6", "outcome": "refused", "model": "gemini-3.8-flash"}]
WAITS = "the due rows of openai wait"


@pytest.fixture
def hasty(clock: Clock) -> Clock:
    clock.step = 60.0
    return clock


def refusing(call: str, fault: str, protocol: str = "openai", **more: int) -> dict[str, object]:
    return {"call": call, "fault": fault, "times": 1000, "protocol": protocol, **more}


@pytest.mark.parametrize(
    ("call", "fault", "what"),
    [
        ("list", "status:401", "refuses (401)"),
        ("upload", "status:403", "refuses (403)"),
        ("list", "status:404", "openai has no batch endpoint"),
    ],
)
def test_a_provider_that_refuses_before_its_first_batch_holds_up_no_other(
    project: Project, hasty: Clock, call: str, fault: str, what: str
) -> None:
    project.pipeline(THREE)
    project.faults({"delay_seconds": 600, "calls": [refusing(call, fault)], "requests": INVALID})
    stopped = hasty.run()
    said = stopped.result.gate if fault == "status:404" else stopped.error and stopped.error.what
    assert what in str(said)
    assert (WAITS in str(said)) == (fault != "status:404")
    assert stopped.result.status == ("gate" if fault == "status:404" else "error")
    assert (stopped.result.rows["accepted"], stopped.result.rows["due"], stopped.result.submitted) == (10, 10, 12)
    assert [text for text in project.said if what in text] == [
        text for text in project.said if text.startswith("demo: warning: ")
    ]
    asked = [each for each in project.log()["calls"] if each["path"].startswith(("/v1/batches", "/v1/files"))]
    assert len(asked) == 2 if call == "upload" else 1
    project.faults({})
    done = hasty.run()
    assert (done.error, done.result.gate, done.result.submitted) == (None, None, 10)
    assert project.sql(STANDING) == [("accepted", 20)]
    assert project.sql(ASKED) == [("anthropic", 5), ("gemini", 7), ("openai", 10)]


def test_a_run_that_nobody_else_is_asked_in_ends_at_once(project: Project, hasty: Clock) -> None:
    project.pipeline(THREE.replace("amount < 5", "amount < 100"))
    project.faults({"calls": [refusing("list", "status:401")]})
    began = hasty.now()
    stopped = hasty.run()
    assert stopped.error is not None
    assert WAITS in stopped.error.what
    assert hasty.now() - began < timedelta(seconds=60)
    assert project.sql("SELECT count(*) FROM ledger.requests") == [(0,)]


@pytest.mark.parametrize("call", ["retrieve", "results"])
def test_batches_of_others_are_collected_while_a_provider_refuses_the_key_of_its_own(
    project: Project, hasty: Clock, call: str
) -> None:
    """A new key is asked for rows that are sent as well as for those that are in flight."""
    project.pipeline(THREE)
    project.faults({"delay_seconds": 600, "requests": INVALID})
    assert hasty.run(no_wait=True).error is None
    project.faults({"delay_seconds": 600, "requests": INVALID, "calls": [refusing(call, "status:401")]})
    stopped = hasty.run()
    assert isinstance(stopped.error, ProviderError)
    assert stopped.error.where == "provider openai"
    assert "10 requests stay pending" in stopped.error.what
    assert project.sql(STANDING) == [("accepted", 10), ("pending", 10)]
    assert sum("refuses (401)" in text for text in project.said) == 1
    project.faults({})
    assert hasty.run().error is None
    assert project.sql(STANDING) == [("accepted", 20)]
    assert project.requests_sent() == 22


def test_a_submit_of_unknown_outcome_at_a_provider_that_refuses_its_list_stops_no_other(
    project: Project, hasty: Clock
) -> None:
    project.pipeline(THREE)
    lost = {"call": "create", "fault": "accepted_then_reset", "protocol": "openai"}
    project.faults({"requests": INVALID, "calls": [lost, refusing("list", "status:403", after=1)]})
    stopped = hasty.run()
    assert "10 requests stay pending" in str(stopped.error)
    assert project.sql(STANDING) == [("accepted", 10), ("pending", 10)]
    project.faults({})
    assert hasty.run().error is None
    assert project.sql(STANDING) == [("accepted", 20)]
    assert project.requests_sent() == 22


def test_a_batch_that_is_refused_late_for_the_account_stops_no_other(project: Project, hasty: Clock) -> None:
    project.pipeline(THREE)
    late = refusing("create", "fails_late") | {"error_code": "billing_hard_limit_reached", "message": "no credit"}
    project.faults({"delay_seconds": 600, "requests": INVALID, "calls": [late]})
    stopped = hasty.run()
    assert "no credit" in str(stopped.error)
    assert WAITS in str(stopped.error)
    assert stopped.result.rows["accepted"] == 10
    project.faults({})
    assert hasty.run().error is None
    assert project.sql(STANDING) == [("accepted", 20)]
    assert project.requests_sent() == 32  # 10 of them in the batch that was refused


def test_the_end_of_the_time_says_who_refuses(project: Project, hasty: Clock) -> None:
    project.pipeline(THREE)
    project.faults({"delay_seconds": 3_600, "calls": [refusing("list", "status:401")]})
    stopped = hasty.run(wait=timedelta(minutes=10))
    assert WAITS in str(stopped.error)
    assert (stopped.result.rows["pending"], stopped.result.status) == (10, "error")
    assert "refuses (401)" in str(hasty.run(no_wait=True).error)
    assert project.requests_sent() == 10


def test_a_pilot_is_not_judged_before_all_of_its_rows_were_asked(project: Project, hasty: Clock) -> None:
    project.pipeline(THREE + "\n[pilot]\nrows = 8\n")
    project.faults({"calls": [refusing("list", "status:401")]})
    stopped = hasty.run()
    assert WAITS in str(stopped.error)
    assert stopped.result.gate is None
    sent = project.requests_sent()
    assert 0 < sent < 8
    project.faults({})
    done = hasty.run()
    assert done.error is None
    assert "pilot" in str(done.result.gate)
    assert project.requests_sent() == 8


def test_a_panel_asks_its_other_members(project: Project, hasty: Clock) -> None:
    members = 'panel = ["openai:gpt-6-luna", "gemini:gemini-3.8-flash", "claude-haiku-4-5"]\naccept = "_agreement > 0"'
    project.pipeline(BASIC.replace('model = "claude-haiku-4-5"', members))
    project.faults({"delay_seconds": 600, "calls": [refusing("list", "status:401")]})
    stopped = hasty.run()
    assert WAITS in str(stopped.error)
    assert project.sql(ASKED) == [("anthropic", 20), ("gemini", 20)]
    project.faults({})
    assert hasty.run().error is None
    assert project.sql(STANDING) == [("accepted", 20)]
    assert project.sql(ASKED) == [("anthropic", 20), ("gemini", 20), ("openai", 20)]
