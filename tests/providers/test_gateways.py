"""Gateways: providers of the settings with their own address, key, headers, names and prices."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from commandline import CommandLine, surroundings
from gateway import Gateway
from projects import BASIC, Project, numbered

from batchpipe.engine.cost.pricing import unit_price
from batchpipe.engine.exchange.answering_models import is_same_model
from batchpipe.engine.ledger.overview import spend_by_day

TABLE = """
[providers.{name}]
protocol = "anthropic"
base_url = "{url}"
key = "${{{key}}}"
auth_header = "x-api-key"
headers = {{ "x-team" = "research" }}
models = {{ "claude-haiku-4-5" = "anthropic/claude-haiku-4.5" }}
price_factor = 0.4
"""
LADDER = BASIC.replace(
    'model = "claude-haiku-4-5"\nmax_tokens = 200\n',
    'model = "aiprime:claude-haiku-4-5"\nmax_tokens = 200\naccept = "score > 2"\n\n'
    '[[models]]\nmodel = "claude-sonnet-4-6"\nmax_tokens = 200\n',
)
KEYS = {"GATE_KEY": "gateway-key", "OTHER_KEY": "other-key"}


class Gated:
    """A project whose settings name a gateway in front of its emulator."""

    def __init__(self, root: Path, command_line: CommandLine) -> None:
        self.project = Project(root)
        self.monkeypatch = command_line.monkeypatch
        self.gateway = Gateway(behind=self.project.emulator.base_url, keys=tuple(KEYS.values()))
        self.call = command_line
        self.project.rows(numbered(4))

    def close(self) -> None:
        self.gateway.stop()
        self.project.close()

    def tables(self, keys: Mapping[str, str], more: str = "") -> None:
        """Write the settings: one table for each name in `keys`, with the variable of its key."""
        tables = [TABLE.format(name=name, url=self.gateway.url, key=key) for name, key in keys.items()]
        (self.project.root / "batchpipe.toml").write_text("".join(tables) + more, encoding="utf-8")


@pytest.fixture
def gated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Gated]:
    made = Gated(tmp_path, CommandLine(monkeypatch=monkeypatch, capsys=capsys))
    monkeypatch.chdir(tmp_path)
    address = made.gateway.url.removesuffix("/anthropic")
    trusted = ",".join(f"{name}@{address}" for name in KEYS)
    for name, value in {**surroundings(made.project), **KEYS, "BATCHPIPE_TRUST": trusted}.items():
        monkeypatch.setenv(name, value)
    yield made
    made.close()


def test_a_ladder_climbs_from_a_gateway_to_the_built_in_provider(gated: Gated) -> None:
    gated.tables({"aiprime": "GATE_KEY"})
    gated.gateway.answers_as = "anthropic/claude-haiku-4.5"
    gated.project.pipeline(LADDER)
    assert "to aiprime:claude-haiku-4-5 for" in gated.call("plan", "demo").out
    assert "it would be sent to rung 1, aiprime:claude-haiku-4-5," in gated.call("show", "demo", "1").out
    done = gated.call("run", "demo", "--json")
    assert done.code == 0, done.talk
    assert "1 aiprime:claude-haiku-4-5" in gated.call("report", "demo").out
    assert "rung 1, aiprime:claude-haiku-4-5, try 1" in gated.call("show", "demo", "1").out
    sql = gated.project.sql
    assert sql("SELECT provider, model, rung, count(*) FROM ledger.requests GROUP BY ALL ORDER BY rung") == [
        ("aiprime", "claude-haiku-4-5", 1, 4),
        ("anthropic", "claude-sonnet-4-6", 2, 4),
    ]
    assert sql("SELECT provider, protocol, base_url FROM ledger.batches ORDER BY prepared_at") == [
        ("aiprime", "anthropic", gated.gateway.url),
        ("anthropic", "anthropic", gated.project.emulator.base_url),
    ]
    day = sql("SELECT max(recorded_at) FROM ledger.results")[0][0].date()
    price = unit_price("anthropic", "claude-haiku-4-5", day, price_factor=Decimal("0.4"))
    assert price is not None
    priced = sql("SELECT input_usd, output_usd FROM ledger.prices WHERE provider = 'aiprime' AND processing = 'batch'")
    assert priced == [(price.steps[0].input, price.steps[0].output)]
    (costs,) = sql(
        "SELECT sum(cost_usd), sum(input_tokens), sum(output_tokens), min(model) FROM ledger.results "
        "WHERE provider = 'aiprime'"
    )
    assert costs[0] == price.steps[0].input * costs[1] + price.steps[0].output * costs[2]
    assert costs[3] == "anthropic/claude-haiku-4.5"
    assert gated.gateway.models == {costs[3]}
    assert {each[0] for each in sql("SELECT DISTINCT provider FROM ledger.spend")} == {"aiprime", "anthropic"}
    context = gated.project.context()
    with closing(context), closing(context.work()) as work, context.database.reading(work) as session:
        spent = spend_by_day(session, None, session.now - timedelta(days=2))
    assert {each.model for each in spent} == {"aiprime:claude-haiku-4-5", "claude-sonnet-4-6"}
    headers = [headers for _, _, headers in gated.gateway.calls]
    assert all(each["x-api-key"] == "gateway-key" and each["x-team"] == "research" for each in headers)
    assert "test-key" not in str(headers)


def test_a_batch_is_collected_by_whoever_has_its_address_and_waits_where_nobody_has(gated: Gated) -> None:
    gated.tables({"aiprime": "GATE_KEY"})
    odd = {"match": "number 4", "output": {"label": "bug", "score": 0.5}, "message": {"usage": None}}
    gated.project.faults({"delay_seconds": 600, "requests": [odd]})
    text = BASIC.replace("claude-haiku-4-5", "aiprime:claude-haiku-4-5")
    gated.project.pipeline(text)
    assert gated.call("run", "demo", "--no-wait").code == 5
    # The gateway has left the settings, and the file names another model: new rows go there, these wait.
    gated.tables({})
    gated.project.pipeline(BASIC)
    gated.project.rows(numbered(6))
    gated.project.faults({"requests": [odd]})
    left = gated.call("run", "demo")
    assert left.code == 3
    assert f'[providers.aiprime]\nprotocol = "anthropic"\nbase_url = "{gated.gateway.url}"' in left.talk
    said = "no provider of the settings has the address"
    table = f'[providers.aiprime]\nprotocol = "anthropic"\nbase_url = "{gated.gateway.url}"'
    for command in ("plan", "status"):
        shown = gated.call(command, "demo")
        assert shown.code == 0
        assert said in shown.out
        assert table in "\n".join(line.strip() for line in shown.out.splitlines())
    (planned,) = json.loads(gated.call("plan", "demo", "--json").out)["without_provider"]
    assert (said in planned["what"], table in planned["fix"]) == (True, True)
    (wait,) = json.loads(gated.call("status", "demo", "--json").out)["troubles"]
    assert (said in wait["what"], table in wait["fix"], wait["give_up"]) == (True, True, False)
    assert gated.project.sql("SELECT state, count(*) FROM ledger.row_state GROUP BY ALL ORDER BY ALL") == [
        ("accepted", 2),
        ("pending", 4),
    ]
    # Under another name, with a second account beside it whose key comes first.
    gated.tables({"second": "OTHER_KEY", "renamed": "GATE_KEY"})
    assert not any("[tool.batchpipe" in gated.call(command, "demo").out for command in ("plan", "status"))
    done = gated.call("run", "demo")
    assert done.code == 0, done.talk
    assert gated.project.requests_sent() == 6
    assert gated.project.sql("SELECT state, count(*) FROM ledger.row_state GROUP BY ALL") == [("accepted", 6)]
    # By the prices of its table, which has another name now.
    paid = "sum(cost_usd) * 1000000 = sum(input_tokens * 0.5 + output_tokens * 2.5) * 0.4"
    known = "provider = 'aiprime' AND cost_usd IS NOT NULL"
    assert gated.project.sql(f"SELECT {paid}, count(*) FROM ledger.results WHERE {known}") == [(True, 3)]
    held = "SELECT (data ->> 'held_usd')::DECIMAL(20, 15) > 0 FROM ledger.events WHERE kind = 'cost_unknown'"
    assert gated.project.sql(held) == [(True,)]
    # Prices stand under the name that results have.
    assert gated.project.sql("SELECT DISTINCT provider FROM ledger.prices ORDER BY ALL") == [
        ("aiprime",),
        ("anthropic",),
    ]


def test_batches_that_nobody_can_be_asked_about_do_not_keep_a_run_waiting_for_their_room(gated: Gated) -> None:
    """They fill the queue, and their provider has left the settings."""
    gated.tables({"aiprime": "GATE_KEY"})
    full = BASIC + "[chunking]\nmax_queued = 4\n"
    gated.project.pipeline(full.replace("claude-haiku-4-5", "aiprime:claude-haiku-4-5"))
    gated.project.faults({"never_ends": True})
    assert gated.call("run", "demo", "--no-wait").code == 5
    gated.tables({})
    gated.project.pipeline(full)
    gated.project.rows(numbered(6))
    left = gated.call("run", "demo", "--wait", "5s")
    assert left.code == 3
    assert "no provider of the settings has the address" in left.talk


def test_a_renamed_provider_keeps_results_as_long_as_its_table_says(gated: Gated) -> None:
    url = gated.project.emulator.base_url
    gated.call.monkeypatch.setenv("BATCHPIPE_TRUST", f"GATE_KEY@{url}")
    gated.call.monkeypatch.setenv("GATE_KEY", "test-key")
    table = f'[providers.{{}}]\nprotocol = "openai"\nbase_url = "{url}/v1"\nkey = "${{{{GATE_KEY}}}}"\n'
    table += "keep_results_days = 2\n"
    settings = gated.project.root / "batchpipe.toml"
    settings.write_text(table.format("other"), encoding="utf-8")
    gated.project.faults({"delay_seconds": 600})
    gated.project.pipeline(BASIC.replace("claude-haiku-4-5", "other:gpt-6-luna"))
    assert gated.call("run", "demo", "--no-wait").code == 5
    settings.write_text(table.format("renamed"), encoding="utf-8")
    gated.project.pipeline(BASIC.replace("claude-haiku-4-5", "renamed:gpt-6-luna"))
    gated.project.faults({})
    done = gated.call("run", "demo")
    assert done.code == 0, done.talk
    assert re.search(r"the results of batch_\w+ are kept until", done.talk), done.talk


def test_a_deadline_leaves_a_batch_that_nobody_can_be_asked_about(gated: Gated) -> None:
    """Six batches were quick, so that the seventh is late; its provider has left the settings, and new rows go on."""
    gated.tables({"aiprime": "GATE_KEY"})
    text = BASIC.replace("claude-haiku-4-5", "aiprime:claude-haiku-4-5") + "\n[chunking]\nmax_requests = 2\n"
    gated.project.pipeline(text)
    gated.project.rows(numbered(11))
    assert gated.call("run", "demo").code == 0
    gated.project.faults({"never_ends": True})
    gated.project.rows(numbered(12))
    assert gated.call("run", "demo", "--no-wait").code == 5
    gated.tables({})
    gated.project.faults({})
    gated.project.pipeline(BASIC)
    gated.project.rows(numbered(14))
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    hurried = gated.call("run", "demo", "--by", soon)
    assert hurried.code == 3
    assert "no provider of the settings has the address" in hurried.talk
    found = dict(gated.project.sql("SELECT state, count(*) FROM ledger.row_state GROUP BY ALL"))
    assert found == {"accepted": 13, "pending": 1}
    assert gated.project.sql("SELECT count(*) FROM ledger.events WHERE kind = 'cancel_requested'") == [(0,)]


def factors(gated: Gated, by: str) -> dict[str, Decimal]:
    """Return what results cost, as a factor on the list price of their tokens, by a column of `ledger.batches`."""
    listed = "sum(r.input_tokens * 0.5 + r.output_tokens * 2.5)"
    found = gated.project.sql(
        f"SELECT b.{by}, (sum(r.cost_usd) * 1000000 / {listed})::DECIMAL(9, 6) FROM ledger.results r "
        "JOIN ledger.batches b USING (chunk_id) GROUP BY ALL"
    )
    return {name: factor.normalize() for name, factor in found}


def test_batches_that_end_together_have_the_prices_of_the_address_that_each_was_sent_to(gated: Gated) -> None:
    """The table of a provider is given another address and price while its first batch is under way."""
    further = Gateway(behind=gated.project.emulator.base_url, keys=tuple(KEYS.values()))
    try:
        before, after = (TABLE.format(name="{}", url=each.url, key="GATE_KEY") for each in (gated.gateway, further))
        after = after.replace("0.4", "0.8")
        settings = gated.project.root / "batchpipe.toml"
        gated.project.faults({"delay_seconds": 600})
        gated.project.pipeline(BASIC.replace("claude-haiku-4-5", "aiprime:claude-haiku-4-5"))
        settings.write_text(before.replace("{}", "aiprime"), encoding="utf-8")
        assert gated.call("run", "demo", "--no-wait").code == 5
        settings.write_text(after.replace("{}", "aiprime") + before.replace("{}", "older"), encoding="utf-8")
        trusted = f"GATE_KEY@{gated.gateway.url},GATE_KEY@{further.url}"
        gated.monkeypatch.setenv("BATCHPIPE_TRUST", trusted)
        gated.project.rows(numbered(7))
        assert gated.call("run", "demo", "--no-wait").code == 5
        assert gated.call("run", "demo", "--no-wait").code == 5  # from the second look on a batch may end
        gated.project.faults({})
        done = gated.call("run", "demo")
        assert done.code == 0, done.talk
        found = {gated.gateway.url: Decimal("0.4"), further.url: Decimal("0.8")}
        assert factors(gated, "base_url") == found
    finally:
        further.stop()


def test_models_with_one_name_at_a_gateway_have_each_its_own_price(gated: Gated) -> None:
    """An alias answers for both; each request is priced as the model that was asked for."""
    gated.tables({"aiprime": "GATE_KEY"})
    settings = gated.project.root / "batchpipe.toml"
    own = '"claude-haiku-4-5" = "anthropic/claude-haiku-4.5"'
    text = settings.read_text(encoding="utf-8")
    settings.write_text(text.replace(own, f'"claude-opus-4-5" = "anthropic/claude-haiku-4.5", {own}'), encoding="utf-8")
    gated.gateway.answers_as = "anthropic/claude-haiku-4.5"
    gated.project.faults({"delay_seconds": 600})
    for name in ("claude-haiku-4-5", "claude-opus-4-5"):
        gated.project.pipeline(BASIC.replace("claude-haiku-4-5", f"aiprime:{name}"))
        assert gated.call("run", "demo", "--no-wait").code == 5
        gated.project.rows(numbered(7))
    gated.project.faults({})
    done = gated.call("run", "demo")
    assert done.code == 0, done.talk
    assert factors(gated, "model") == {"claude-haiku-4-5": Decimal("0.4"), "claude-opus-4-5": Decimal(2)}
    assert "was asked for" not in done.talk


def test_what_is_wrong_with_a_provider_is_said_before_anything_is_sent(gated: Gated) -> None:
    gated.project.pipeline(BASIC.replace("claude-haiku-4-5", "aiprime:claude-haiku-4-5"))
    gated.tables({"aiprime": "MISSING_KEY"})
    missing = gated.call("run", "demo")
    assert missing.code == 3
    assert "MISSING_KEY" in missing.talk
    gated.tables(
        {"aiprime": "GATE_KEY"},
        f'\n[env.short]\nprice_factor = 0.5\n[env.moved.providers.aiprime]\nbase_url = "{gated.gateway.url}"\n',
    )
    short = gated.call("run", "demo", "--env", "short")
    assert short.code == 2
    assert "[providers.anthropic]" in short.talk
    # A layer that names the address inherits no key: the gateway gets none of ours.
    assert gated.call("run", "demo", "--env", "moved").code == 3
    assert "gateway-key" not in str(gated.gateway.calls)
    gated.call.monkeypatch.setenv("BATCHPIPE_TRUST", "")
    untrusted = gated.call("run", "demo")
    assert untrusted.code == 3
    assert "export BATCHPIPE_TRUST=GATE_KEY@" in untrusted.talk
    gated.project.pipeline(BASIC.replace("claude-haiku-4-5", "gpt-6-luna"))
    other = gated.call("check", "demo")
    assert other.code == 2
    assert 'provider: "openai:gpt-6-luna"' in other.talk + other.out
    assert gated.project.requests_sent() == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", '"" names no model'),
        ("openai:", '"openai:" names no model'),
        (":gpt-6-luna", '":gpt-6-luna" names no model'),
        ("local", "local is the model that a pipeline trains itself"),
    ],
)
def test_what_names_no_model_is_asked_nothing(gated: Gated, name: str, words: str) -> None:
    gated.project.pipeline()
    (gated.project.root / "gold.csv").write_text("id,body,lang,amount,label\n1,text,en,1,bug\n", encoding="utf-8")
    gated.project.pipeline(BASIC + '\n[eval]\ngold = "gold.csv"\n')
    for command in (("try", "demo", "1", "--model", name), ("eval", "demo", "--model", name)):
        refused = gated.call(*command)
        assert refused.code == 2, refused.talk
        assert words in refused.talk
    assert gated.project.log()["calls"] == []


@pytest.mark.parametrize("protocol", ["anthropic", "openai", "gemini"])
def test_what_no_header_can_hold_is_refused_before_anything_is_sent(gated: Gated, protocol: str) -> None:
    """It is named by its own variable, and its value is not shown."""
    url = gated.project.emulator.base_url
    table = f'[providers.other]\nprotocol = "{protocol}"\nbase_url = "{url}/v1"\nkey = "${{GATE_KEY}}"\n'
    (gated.project.root / "batchpipe.toml").write_text(table + 'headers = { "x-team" = "${TEAM}" }\n', encoding="utf-8")
    models = {"anthropic": "claude-haiku-4-5", "openai": "gpt-6-luna", "gemini": "gemini-3.8-flash"}
    gated.project.pipeline(BASIC.replace("claude-haiku-4-5", f"other:{models[protocol]}"))
    gated.call.monkeypatch.setenv("BATCHPIPE_TRUST", f"GATE_KEY@{url},TEAM@{url}")
    for key, team, named in (("test-key", "sesame-1\n", "TEAM"), ("sesame-1\nb", "research", "GATE_KEY")):
        gated.call.monkeypatch.setenv("GATE_KEY", key)
        gated.call.monkeypatch.setenv("TEAM", team)
        for command in (("run", "demo"), ("try", "demo", "1")):
            refused = gated.call(*command)
            assert refused.code == 3, refused.talk
            assert f"error: {named}: {named} holds characters that a header cannot hold" in refused.talk
            assert "sesame" not in refused.talk + refused.out
    assert gated.project.sql("SELECT count(*) FROM ledger.batches") == [(0,)]


def test_a_gateway_without_batches_is_found_out_before_anything_is_sent(gated: Gated) -> None:
    gated.gateway.batches = False
    gated.tables({"aiprime": "GATE_KEY"})
    gated.project.pipeline(BASIC.replace("claude-haiku-4-5", "aiprime:claude-haiku-4-5"))
    assumed = gated.call("plan", "demo")
    assert assumed.code == 0
    assert "aiprime is assumed to take batches" in assumed.out
    gate = gated.call("run", "demo")
    assert gate.code == 6, gate.talk
    for told in (gate, gated.call("plan", "demo")):
        assert told.code == 6
        assert 'Write mode = "realtime" under [providers.aiprime]' in told.out + told.talk
        assert "In realtime it costs about $0.00" in told.out + told.talk
    assert gated.project.sql("SELECT count(*) FROM ledger.requests") == [(0,)]
    assert {method for method, _, _ in gated.gateway.calls} == {"GET"}
    gated.tables({"aiprime": "GATE_KEY"}, 'mode = "realtime"\n')
    done = gated.call("run", "demo")
    assert done.code == 0, done.talk
    assert gated.project.sql("SELECT provider, count(*) FROM ledger.results GROUP BY ALL") == [("aiprime", 4)]


@pytest.mark.parametrize(
    ("protocol", "model", "path", "hint"),
    [
        ("anthropic", "claude-haiku-4-5", "/v1", "take /v1 off its base_url"),
        ("gemini", "gemini-3.8-flash", "/v1beta", "take /v1beta off its base_url"),
        ("openai", "gpt-6-luna", "/api", "end its base_url in /v1"),
        ("anthropic", "claude-haiku-4-5", "/v1/messages", "take /v1/messages off its base_url"),
        ("openai", "gpt-6-luna", "/v1/chat/completions", "take /chat/completions off its base_url"),
        ("openai", "gpt-6-luna", "/v1/v1", "take /v1 off its base_url"),
        ("openai", "gpt-6-luna", "/v1beta", "end its base_url in /v1"),
    ],
)
def test_an_address_with_the_version_twice_or_not_at_all_is_named(
    gated: Gated, protocol: str, model: str, path: str, hint: str
) -> None:
    url = gated.project.emulator.base_url
    gated.call.monkeypatch.setenv("BATCHPIPE_TRUST", f"GATE_KEY@{url}")
    gated.call.monkeypatch.setenv("GATE_KEY", "test-key")
    table = f'[providers.other]\nprotocol = "{protocol}"\nbase_url = "{url}{path}"\nkey = "${{GATE_KEY}}"\n'
    (gated.project.root / "batchpipe.toml").write_text(table, encoding="utf-8")
    gated.project.pipeline(BASIC.replace("claude-haiku-4-5", f"other:{model}"))
    gate = gated.call("run", "demo")
    assert gate.code == 6, gate.talk
    assert hint in gate.out
    asked = gated.call("run", "demo", "--realtime")
    assert asked.code == 3, asked.talk
    assert f"the provider does not know {model}" in asked.talk
    assert hint in asked.talk
    tried = gated.call("try", "demo", "1")
    assert tried.code == 3, tried.talk
    assert hint in tried.talk


@pytest.mark.parametrize("protocol", ["anthropic", "openai", "gemini"])
def test_a_page_in_the_place_of_the_list_means_that_there_are_no_batches(gated: Gated, protocol: str) -> None:
    """It is believed where it comes again and again, and where no batch was ever taken; nothing is sent before."""
    models = {"anthropic": "claude-haiku-4-5", "openai": "gpt-6-luna", "gemini": "gemini-3.8-flash"}
    url = gated.project.emulator.base_url + ("/v1" if protocol == "openai" else "")
    gated.call.monkeypatch.setenv("BATCHPIPE_TRUST", f"GATE_KEY@{gated.project.emulator.base_url}")
    gated.call.monkeypatch.setenv("GATE_KEY", "test-key")
    table = f'[providers.other]\nprotocol = "{protocol}"\nbase_url = "{url}"\nkey = "${{GATE_KEY}}"\n'
    (gated.project.root / "batchpipe.toml").write_text(table, encoding="utf-8")
    gated.project.pipeline(BASIC.replace("claude-haiku-4-5", f"other:{models[protocol]}"))
    pages = {"call": "list", "fault": "html", "times": 3}
    gated.project.faults({"calls": [pages]})
    gate = gated.call("run", "demo")
    assert gate.code == 6, gate.talk
    assert "the list of batches cannot be read" in gate.out
    assert {call["method"] for call in gated.project.log()["calls"]} == {"GET"}
    gated.project.faults({"calls": [{**pages, "times": 2}]})
    assert gated.call("run", "demo").code == 0
    gated.project.rows(numbered(6))
    gated.project.faults({"calls": [pages]})
    assert gated.call("run", "demo").code == 0
    assert gated.project.requests_sent() == 6


def test_another_model_that_answers_is_said_once(gated: Gated) -> None:
    gated.tables({"aiprime": "GATE_KEY"})
    gated.gateway.answers_as = "anthropic/claude-haiku-4.5-20251001"
    gated.project.pipeline(BASIC.replace("claude-haiku-4-5", "aiprime:claude-haiku-4-5"))
    assert "answered" not in gated.call("run", "demo").talk
    gated.gateway.answers_as = "claude-sonnet-4-6"
    gated.project.rows(numbered(8))
    (gated.project.root / "pipelines" / "demo.toml").write_text(
        BASIC.replace("claude-haiku-4-5", "aiprime:claude-haiku-4-5") + "\n[chunking]\nmax_requests = 3\n"
    )
    other = gated.call("run", "demo")
    assert other.code == 0, other.talk
    assert other.talk.count("aiprime was asked for claude-haiku-4-5, and claude-sonnet-4-6 answered") == 1
    assert ("claude-sonnet-4-6",) in gated.project.sql("SELECT DISTINCT model FROM ledger.results")


def test_limits_of_a_provider_hold_batches_back(gated: Gated) -> None:
    """Ten rows, at most two batches at once, and a queue of about as many tokens as three requests."""
    text = BASIC.replace("claude-haiku-4-5", "aiprime:claude-haiku-4-5")
    gated.tables({"aiprime": "GATE_KEY"}, "limits = { max_batches = 2, max_queued_tokens = 500 }\n")
    gated.project.rows(numbered(10))
    gated.project.pipeline(text)
    gated.project.faults({"delay_seconds": 0.3})
    done = gated.call("run", "demo")
    assert done.code == 0, done.talk
    batches = list(gated.project.log()["batches"].values())
    sizes = gated.project.sql("SELECT bytes FROM ledger.batches")
    assert sum(each["total"] for each in batches) == 10
    assert len(batches) >= 3
    assert max(size for (size,) in sizes) <= 500 * 3.5
    overlapping = gated.project.sql(
        "SELECT max((SELECT count(*) FROM ledger.batches b WHERE b.submitted_at <= a.submitted_at "
        "AND b.collected_at > a.submitted_at)) FROM ledger.batches a"
    )
    assert overlapping[0][0] <= 2
    gated.tables({"aiprime": "GATE_KEY"}, "keep_results_days = 3\n")
    kept = gated.call("plan", "demo")
    assert kept.code == 2
    assert "keep_results_days" in kept.talk


def test_a_name_that_only_begins_like_a_models_is_another_model() -> None:
    same = [
        ("claude-haiku-4-5", "claude-haiku-4-5-20251001"),
        ("claude-haiku-4-5", "anthropic/claude-haiku-4.5"),
        ("gpt-6-luna", "gpt-6-luna-2026-09-22"),
        ("gemini-3.8-flash", "models/gemini-3.8-flash-002"),
        ("claude-3-haiku", "anthropic.claude-3-haiku".removeprefix("anthropic.") + "-v1:0"),
    ]
    others = [
        ("gemini-3.8-flash", "gemini-3.8-flash-lite"),
        ("gpt-5", "gpt-5.1"),
        ("gpt-5", "gpt-5-mini"),
        ("claude-haiku-4-5", "claude-sonnet-4-6"),
    ]
    assert [is_same_model(*pair) for pair in same] == [True] * len(same)
    assert [is_same_model(*pair) for pair in others] == [False] * len(others)
    day = date(2026, 11, 29)
    assert unit_price("gemini", "gemini-3.8-flash-lite", day, listed_as="google") is None
    assert unit_price("gemini", "gemini-3.8-flash-002", day, listed_as="google") is not None
    stands_in = unit_price("gemini", "gemini-3.7-flash", day, listed_as="google")
    assert stands_in is not None
    assert not stands_in.exact
    assert "full price" in stands_in.source


def test_variables_of_a_table_may_stand_in_a_dotenv_that_git_does_not_track(
    gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Address, key and headers: an address that such a file names with the key needs no confirmation."""
    for name in ("GATE_KEY", "BATCHPIPE_TRUST"):
        monkeypatch.delenv(name)
    root = gated.project.root
    (root / ".env").write_text(f"GATE_KEY=gateway-key\nGATE={gated.gateway.url}\nTEAM=research-7\n")
    table = TABLE.format(name="aiprime", url="${GATE}", key="GATE_KEY").replace('"research"', '"${TEAM}"')
    (root / "batchpipe.toml").write_text(table)
    gated.project.pipeline(BASIC.replace("claude-haiku-4-5", "aiprime:claude-haiku-4-5"))
    done = gated.call("run", "demo")
    assert done.code == 0, done.talk
    assert {headers["x-team"] for _, _, headers in gated.gateway.calls} == {"research-7"}
    assert "research-7" not in done.talk + done.out
    # Anybody who may write to the repository can change a file that git tracks: it is not the environment.
    for command in (("init", "-q"), ("add", "-f", ".env")):
        subprocess.run(["git", "-C", str(root), *command], check=True, capture_output=True)
    gated.project.rows(numbered(5))
    refused = gated.call("run", "demo")
    assert (refused.code, gated.project.requests_sent()) == (2, 4)
    assert "the environment variable GATE is not set" in refused.talk


def test_what_a_gateway_says_of_the_cost_stands_beside_what_is_computed(gated: Gated) -> None:
    """In a batch in the usage of each line, in realtime in a header; budgets and sums go by the computed cost."""
    gated.tables({"aiprime": "GATE_KEY"})
    gated.gateway.costs = "1.25e-05"
    text = BASIC.replace("claude-haiku-4-5", "aiprime:claude-haiku-4-5")
    gated.project.pipeline(text)
    assert gated.call("run", "demo").code == 0
    gated.project.rows(numbered(6))
    gated.gateway.costs = "0.003"
    done = gated.call("run", "demo", "--realtime")
    assert (done.code, "2 requests in realtime" in done.talk + done.out) == (0, True), done.talk
    costs = gated.project.sql(
        "SELECT reported_usd, count(*), min(cost_usd) > 0 FROM ledger.results GROUP BY 1 ORDER BY 1"
    )
    assert costs == [(Decimal("0.0000125"), 4, True), (Decimal("0.003"), 2, True)]
    (found,) = gated.call("report", "demo", "--json").value["reported"]
    assert (found["provider"], found["results"], Decimal(found["reported_usd"])) == ("aiprime", 6, Decimal("0.00605"))
    assert "$0.0060 by aiprime for 6 results, " in gated.call("report", "demo").out
    assert "reported" in gated.call("show", "demo", "6").out
    # What can be no cost is none.
    gated.gateway.costs = "-1"
    gated.project.rows(numbered(7))
    assert gated.call("run", "demo").code == 0
    assert gated.project.sql("SELECT count(*) FROM ledger.results WHERE reported_usd IS NULL") == [(1,)]


def test_a_table_of_a_gateways_prices_goes_by_the_gateways_names(gated: Gated) -> None:
    """The usual name is looked up first. Where only the full price is known it is said of batches, not of realtime."""
    gated.tables({"aiprime": "GATE_KEY"})
    settings = gated.project.root / "batchpipe.toml"
    settings.write_text(settings.read_text().replace("price_factor = 0.4", 'price_provider = "openrouter"'))
    gated.project.pipeline(BASIC.replace("claude-haiku-4-5", "aiprime:claude-haiku-4-5"))
    assert gated.call("plan", "demo", "--json").value["estimate"]["full_price"] == ["aiprime:claude-haiku-4-5"]
    full = "no price in batches is known for"
    in_batches = gated.call("run", "demo")
    assert (in_batches.code, full in in_batches.talk + in_batches.out) == (0, True), in_batches.talk
    day = gated.project.sql("SELECT max(recorded_at) FROM ledger.results")[0][0].date()
    price = unit_price("openrouter", "anthropic/claude-haiku-4.5", day, "realtime")
    assert price is not None
    tokens = gated.project.sql("SELECT sum(input_tokens), sum(output_tokens), sum(cost_usd) FROM ledger.results")[0]
    assert tokens[2] == tokens[0] * price.steps[0].input + tokens[1] * price.steps[0].output
    gated.project.rows(numbered(6))
    at_once = gated.call("run", "demo", "--realtime")
    assert (at_once.code, full in at_once.talk + at_once.out) == (0, False), at_once.talk


def test_two_providers_of_one_model_are_told_apart(gated: Gated) -> None:
    """The answers of one model at two providers are compared with each other, and every page says whose each is."""
    text = BASIC + '[eval]\ngold = "gold.csv"\nexpect = { label = "category" }\n[review]\nwhere = "true"\n'
    gated.project.rows([{**row, "category": "billing"} for row in numbered(4)], "gold.csv")
    gated.tables({"aiprime": "GATE_KEY", "other": "OTHER_KEY"})
    gated.project.pipeline(text)
    assert gated.call("run", "demo").code == 0
    for name, label in (("aiprime", "bug"), ("other", "billing")):
        gated.project.pipeline(text.replace("claude-haiku-4-5", f"{name}:claude-haiku-4-5"))
        answer = {"match": "text", "outcome": "output", "output": {"label": label, "score": 0.5}}
        gated.project.faults({"requests": [answer]})
        done = gated.call("run", "demo", "--redo", "all")
        assert done.code == 0, done.talk
    names = ["--from-model", "aiprime:claude-haiku-4-5", "--to-model", "other:claude-haiku-4-5"]
    found = gated.call("diff", "demo", *names, "--json").value
    assert (found["from"]["model"], found["to"]["model"]) == (names[1], names[3])
    assert [each["pairs"] for each in found["fields"] if each["field"] == "label"] == [
        [{"from": "bug", "to": "billing", "rows": 4}]
    ]
    shown = {(each["from_model"], each["to_model"]) for each in found["sample"]}
    assert shown == {(f"{names[1]}-20251001", f"{names[3]}-20251001")}
    paid = gated.project.sql("SELECT sum(cost_usd) FROM ledger.results WHERE reported_usd IS NULL GROUP BY provider")
    assert {(each,) for each in (found["cost"]["from_usd"], found["cost"]["to_usd"])} < set(paid)
    own = gated.call("diff", "demo", "--from-model", "claude-haiku-4-5", "--to-model", names[3], "--json").value
    assert (own["from"]["model"], own["rows"]["compared"]) == ("claude-haiku-4-5", 4)
    wrong = gated.call("diff", "demo", "--from-model", "claude-none", "--to-model", names[3])
    assert all(each in wrong.talk for each in ("aiprime:claude-haiku-4-5, ", "other:claude-haiku-4-5, "))
    rungs = gated.call("report", "demo", "--json").value["quality"]["rungs"]
    assert [(each["model"], each["rows"]) for each in rungs] == [(names[3], 4)]
    assert rungs[0]["cost_usd"] == found["cost"]["to_usd"]
    assert gated.call("review", "demo", "--export", "sheet.csv").code == 0
    assert "other:claude-haiku-4-5" in (gated.project.root / "sheet.csv").read_text()


def test_spaces_around_a_key_are_left_out(gated: Gated) -> None:
    """A key that is read from a file ends in a line break."""
    gated.project.pipeline(BASIC)
    gated.call.monkeypatch.setenv("ANTHROPIC_API_KEY", " test-key\n")
    ran = gated.call("run", "demo")
    assert ran.code == 0, ran.talk
