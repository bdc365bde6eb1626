"""Tests of results that are not understood: they are judged all the same, cost an unknown sum, and are said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from calls import Printed, call_here
from helpers.reviewed import desk_of
from projects import BASIC, Project, numbered

from batchpipe.engine.quality.review import RowReview

GOOD = {"label": "bug", "score": 0.5}
USAGE = {"input_tokens": 100, "output_tokens": 20, "service_tier": "batch"}
TEXT = {"type": "text", "text": json.dumps(GOOD)}
NEW_BLOCK = {"type": "hologram", "data": "x"}

# Fields of a message that is judged all the same, and that costs an unknown sum.
ODD: dict[str, dict[str, Any]] = {
    "usage_missing": {"usage": "(missing)"},
    "usage_null": {"usage": None},
    "usage_text": {"usage": "many"},
    "count_missing": {"usage": {"input_tokens": 100}},
    "count_null": {"usage": {**USAGE, "output_tokens": None}},
    "count_text": {"usage": {**USAGE, "output_tokens": "20"}},
    "count_negative": {"usage": {**USAGE, "input_tokens": -100}},
    "count_fraction": {"usage": {**USAGE, "input_tokens": 0.5}},
    "count_absurd": {"usage": {**USAGE, "input_tokens": 10**18}},
    "count_above_bigint": {"usage": {**USAGE, "output_tokens": 1e30}},
    "cache_negative": {"usage": {**USAGE, "cache_read_input_tokens": -1}},
    "cache_text": {"usage": {**USAGE, "cache_creation_input_tokens": "some"}},
    "usage_zero": {"usage": {"input_tokens": 0, "output_tokens": 0}},
    "output_zero": {"usage": {**USAGE, "output_tokens": 0}},
    "thinking_above_output": {"usage": {**USAGE, "output_tokens_details": {"thinking_tokens": 21}}},
    "searches_absurd": {"usage": {**USAGE, "server_tool_use": {"web_search_requests": 1e30}}},
    "stop_null": {"stop_reason": None},
    "stop_missing": {"stop_reason": "(missing)"},
    "stop_new": {"stop_reason": "brand_new"},
    "model_null": {"model": None},
    "model_missing": {"model": "(missing)"},
    "new_block": {"content": [NEW_BLOCK, TEXT]},
    "block_without_type": {"content": [{"data": "x"}, TEXT]},
}
# Messages that cannot be read, or whose turn is not at its end.
UNREADABLE: dict[str, dict[str, Any]] = {
    "only_new_block": {"content": [NEW_BLOCK]},
    "content_null": {"content": None},
    "content_number": {"content": 7},
}


def rows(names: list[str]) -> list[dict[str, Any]]:
    return [{"id": n, "body": f"case:{name};", "lang": "en", "amount": 1} for n, name in enumerate(names, start=1)]


def said(project: Project, *arguments: str) -> Printed:
    """Return what a command line prints."""
    done = call_here(project, *arguments)
    return Printed(code=done.returncode, out=done.stdout, talk=done.stderr)


class Odd:
    """A project whose results have every oddity, after one run."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.names = [*ODD, *UNREADABLE, "paused", "paused_whole", "weird", "new_error", "plain"]
        project.pipeline(BASIC + "[budget]\nmax_usd = 1\n")
        project.rows(rows(self.names))
        rules: list[dict[str, Any]] = [
            {"match": f"case:{name};", "output": GOOD, "message": message}
            for name, message in (ODD | UNREADABLE).items()
        ]
        rules += [
            {"match": "case:paused;", "outcome": "pause_turn"},
            {"match": "case:paused_whole;", "output": GOOD, "message": {"stop_reason": "pause_turn"}},
            {"match": "case:weird;", "outcome": "unknown_type"},
        ]
        project.faults({"requests": [*rules, {"output": GOOD}]})
        self.run = said(project, "run", "demo", "--yes")
        self.again = said(project, "run", "demo", "--yes", "--json")

    def stories(self) -> dict[str, list[Any]]:
        """Return each row's results in order: attempt, outcome, cost."""
        found: dict[str, list[Any]] = {}
        for key, *values in self.project.sql(
            "SELECT q.key ->> 0, q.attempt, r.outcome, r.cost_usd FROM ledger.requests q "
            "JOIN ledger.results r USING (custom_id) ORDER BY q.seq"
        ):
            found.setdefault(self.names[int(key) - 1], []).append(tuple(values))
        return found


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Odd]:
    project = Project(tmp_path_factory.mktemp("odd"))
    yield Odd(project)
    project.close()


def test_an_answer_is_judged_whatever_else_is_not_understood(odd: Odd) -> None:
    stories = odd.stories()
    assert {name: stories[name] for name in ODD} == {name: [(1, "answered", None)] for name in ODD}
    accepted = {odd.names[id - 1] for (id,) in odd.project.sql("SELECT id FROM demo WHERE label = 'bug' AND _current")}
    assert accepted == {*ODD, "paused_whole", "plain", "new_error"}


def test_what_cannot_be_read_is_tried_once_more_and_then_failed_with_the_reason(odd: Odd) -> None:
    stories = odd.stories()
    unread = [*UNREADABLE, "weird"]
    assert {name: stories[name] for name in unread} == {
        name: [(1, "unknown", None), (2, "unknown", None)] for name in unread
    }
    errors = dict(odd.project.sql("SELECT (key ->> 0)::INTEGER, error FROM ledger.row_state WHERE state = 'failed'"))
    reasons = {odd.names[number - 1]: error for number, error in errors.items()}
    assert reasons.keys() == {*unread, "paused"}
    assert "`weird`" in reasons["weird"]
    assert "`hologram`" in reasons["only_new_block"]
    assert "the content is missing" in reasons["content_null"]
    assert "pause_turn" in reasons["paused"]
    assert json.loads(odd.again.out)["submitted"] == 0


def test_a_paused_turn_counts_only_with_a_whole_answer(odd: Odd) -> None:
    stories = odd.stories()
    assert [(attempt, outcome) for attempt, outcome, _ in stories["paused"]] == [(1, "unknown"), (2, "unknown")]
    assert [(attempt, outcome) for attempt, outcome, _ in stories["paused_whole"]] == [(1, "answered")]
    assert all(cost > 0 for *_, cost in [*stories["paused"], *stories["paused_whole"]])


def test_a_run_says_what_was_not_understood(odd: Odd) -> None:
    assert "14 results are not understood: the usage has counts that are missing or cannot be" in odd.run.talk
    for each in ("`hologram`", "`pause_turn`", "the content is missing", "What that cost is not known"):
        assert each in odd.run.talk
    assert "unknown for 31 results" in odd.run.out
    events = odd.project.sql(
        "SELECT data ->> 'count', data ->> 'line' FROM ledger.events WHERE kind = 'results_unknown'"
    )
    assert [int(number) for number, _ in events] == [len(ODD) + len(UNREADABLE) + 3, len(UNREADABLE) + 2]
    assert all("custom_id" in line for _, line in events)


def test_an_unknown_cost_is_shown_as_unknown(odd: Odd) -> None:
    assert "of unknown cost" in said(odd.project, "status", "demo").out
    assert "31 results not in these sums: the cost is unknown" in said(odd.project, "report", "demo").out
    shown = said(odd.project, "show", "demo", "1")
    assert "unknown" in shown.out
    assert json.loads(said(odd.project, "show", "demo", "1", "--json").out)["cost_usd"] is None
    (first,) = json.loads(said(odd.project, "results", "demo", "--where", "id = 1", "--json").out)["rows"]
    assert (first["label"], first["_cost_usd"]) == ("bug", None)


def test_a_budget_holds_the_most_that_an_unknown_cost_can_be(odd: Odd) -> None:
    held = odd.project.sql(
        "SELECT sum((data ->> 'held_usd')::DECIMAL(38, 15)) FROM ledger.events WHERE kind = 'cost_unknown'"
    )
    # The most is a token for each byte, with 1,500 more for what the provider adds, and a full answer.
    expected = odd.project.sql(
        "SELECT sum((q.bytes + 1500) * 0.000001 + q.max_tokens * 0.0000025) FROM ledger.requests q "
        "JOIN ledger.results r USING (custom_id) WHERE r.cost_usd IS NULL"
    )
    assert float(held[0][0]) == pytest.approx(float(expected[0][0]))
    odd.project.pipeline(BASIC + f"[budget]\nmax_usd = {held[0][0]}\n")
    odd.project.rows(rows([*odd.names, "one_more"]))
    stopped = said(odd.project, "run", "demo", "--yes")
    assert stopped.code == 6
    assert "[budget] max_usd" in stopped.out


@pytest.mark.parametrize(("rule", "seen"), [
    ({"outcome": "unknown_type"}, "a result of the type `weird` (20)"),
    ({"outcome": "pause_turn"}, "`pause_turn`"),
])  # fmt: skip
def test_a_batch_of_which_nothing_is_understood_stops_the_run(
    project: Project, rule: dict[str, Any], seen: str
) -> None:
    project.pipeline(BASIC.replace("[[models]]", "[chunking]\nmax_requests = 20\nmax_in_flight = 1\n[[models]]"))
    project.rows(numbered(40))
    project.faults({"requests": [rule]})
    first = said(project, "run", "demo", "--yes")
    assert first.code == 3
    assert "none of the 20 results of a batch is understood" in first.talk
    assert seen in first.talk
    project.faults({})
    (outcome,) = project.outcomes()
    assert (outcome.result.status, outcome.result.rows["accepted"]) == ("done", 40)
    assert max(project.sql("SELECT count(*) FROM ledger.requests GROUP BY key")) == (2,)


def test_answers_that_are_taken_stop_no_run_however_odd_their_usage(project: Project) -> None:
    project.pipeline()
    project.rows(numbered(25))
    project.faults({"requests": [{"message": {"usage": "(missing)"}}]})
    result = project.run()
    assert (result.status, result.rows["accepted"], result.submitted) == ("done", 25, 25)
    assert (result.unpriced, result.known_cost_usd) == (25, None)


def test_what_a_free_server_does_not_count_costs_nothing(project: Project) -> None:
    (project.root / "free.toml").write_text(
        "".join(
            f'[[prices]]\nmodel = "claude-haiku-*"\ntier = "{each}"\ninput = 0\noutput = 0\n'
            for each in ("batch", "realtime")
        )
    )
    project.settings["prices"] = "free.toml"
    project.pipeline()
    project.rows(rows(["zero", "none", "stop"]))
    odd = {
        "zero": {"usage": {"input_tokens": 0, "output_tokens": 0}},
        "none": {"usage": None},
        "stop": {"stop_reason": "new"},
    }
    project.faults({"requests": [{"match": f"case:{n};", "output": GOOD, "message": each} for n, each in odd.items()]})
    result = project.run()
    assert (result.status, result.unpriced, result.known_cost_usd) == ("done", 0, Decimal(0))
    assert project.sql("SELECT DISTINCT cost_usd, realtime_usd FROM ledger.results") == [(0, 0)]
    (said_of,) = [each for each in project.said if "not understood" in each]
    assert "the stop_reason `new`" in said_of
    assert "not known" not in said_of


@pytest.mark.parametrize("message", ["null", '""', '" \\n"'])
def test_one_error_without_a_message_stops_the_run_and_is_named(project: Project, message: str) -> None:
    project.pipeline()
    project.rows(numbered(20))
    text = "messages.0.content: the emulator was told to refuse this"
    project.faults({"requests": [{"outcome": "errored_invalid"}], "calls": [edits((f'"{text}"', message))]})
    stopped = said(project, "run", "demo", "--yes")
    assert stopped.code == 3
    assert "failed with the same error: an error without a message (invalid_request_error)" in stopped.talk


def edits(*pairs: tuple[str, str]) -> dict[str, Any]:
    """Return a rule by which every download has each second text in the place of the first, as bytes of Latin 1."""
    return {"call": "results", "fault": "results_edited", "edits": list(pairs), "times": 9}


def test_a_file_with_damaged_lines_gives_every_answer_that_it_has(project: Project) -> None:
    """The file begins with a byte order mark, and has Windows' line ends, a NUL, half a pair, and bytes of no text."""
    field = '[output.fields.label]\ntype = "string"\n'
    project.pipeline(BASIC.split("[output.fields.label]")[0] + field + BASIC[BASIC.index("[[models]]") :])
    names = ["mark", "nul", "half", "bytes", "control", "cut", "half_outside"]
    project.rows(rows(names))
    outputs = [{"match": f"case:{name};", "output": {"label": f"<{name}>"}} for name in names]
    places = [
        ("<nul>", "<\x00>"),
        ("<half>", "<\\\\ud83d>"),
        ("<half_outside>", "<\\ud83d>"),
        ("<bytes>", "<\xff>"),
        ("<control>", "<\x01\t>"),
    ]
    broken = [('<cut>\\"}"}]', "<cut>")]
    project.faults({"requests": outputs, "calls": [edits(*places, *broken, ("\n", "\r\n\r\n"), ("", "\xef\xbb\xbf"))]})
    run = said(project, "run", "demo", "--yes")
    labels = {names[id - 1]: label for id, label in project.sql("SELECT id, label FROM demo")}
    assert labels == {
        "mark": "<mark>", "nul": "<\x00>", "half": "<\ufffd>", "half_outside": "<\ufffd>", "bytes": "<\ufffd>",
        "control": "<\x01\t>",
    }  # fmt: skip
    story = project.sql(
        "SELECT q.attempt, r.outcome, r.cost_usd FROM ledger.requests q JOIN ledger.results r USING (custom_id) "
        "WHERE q.key = '[\"6\"]' ORDER BY q.seq"
    )
    assert story == [(1, "unknown", None), (2, "unknown", None)]
    assert run.code == 1
    assert "not understood: the line is damaged" in run.talk
    assert project.sql("SELECT count(*) FROM ledger.results WHERE cost_usd IS NULL OR cost_usd <= 0") == [(2,)]


def test_a_text_that_is_blank_is_asked_for_again(project: Project) -> None:
    text = '[output]\nformat = "text"\n'
    project.pipeline(BASIC.split("[output.fields.label]")[0] + text + BASIC[BASIC.index("[[models]]") :])
    names = ["none", "thinking", "blanks", "fine"]
    project.rows(rows(names))
    thinking = {"type": "thinking", "thinking": "hm", "signature": "s"}
    empty = {"none": [], "thinking": [thinking], "blanks": [{"type": "text", "text": " \n\u200b"}]}
    rules = [{"match": f"case:{name};", "message": {"content": each}, "times": 1} for name, each in empty.items()]
    project.faults({"requests": rules})
    result = project.run()
    assert (result.status, result.rows["accepted"], result.submitted) == ("done", 4, 7)
    errors = project.sql("SELECT DISTINCT error FROM ledger.decisions WHERE state = 'retry'")
    assert errors == [("the answer is empty: it has no text",)]
    assert project.sql("SELECT count(*) FROM demo WHERE trim(text) = ''") == [(0,)]


MONEY = BASIC.split("[output.fields.label]")[0] + (
    '[output]\nformat = "{format}"\n[output.fields.amount]\ntype = "number"\ncolumn = "DECIMAL(20, 2)"\n'
    '[output.fields.count]\ntype = "integer"\n'
) + BASIC[BASIC.index("[[models]]") :] + '[review]\nwhere = "true"\n'  # fmt: skip


@pytest.mark.parametrize("form", ["json_schema", "tool"])
def test_a_decimal_has_the_digits_of_the_answer(project: Project, form: str) -> None:
    """Stored documents that lost digits are made again from the answers, at no cost and once."""
    project.pipeline(MONEY.replace("{format}", form))
    project.rows(rows(["big", "half", "large"]))
    given = {"big": "123456789012345678.91", "half": "19.995", "large": "1234567890123456789012.5"}
    outputs = [
        {"match": f"case:{name};", "output": {"amount": f"({name})", "count": 9007199254740993}} for name in given
    ]
    quoted = '"' if form == "tool" else '\\"'
    project.faults({"requests": outputs, "calls": [edits(*((f"{quoted}({n}){quoted}", t) for n, t in given.items()))]})
    result = project.run()
    table = [(1, Decimal("123456789012345678.91"), 2**53 + 1), (2, Decimal("20.00"), 2**53 + 1)]
    assert project.sql("SELECT id, amount, count FROM demo ORDER BY id") == table
    assert (result.rows["accepted"], result.rows["failed"], result.submitted) == (2, 1, 5)
    assert "amount: the value does not fit DECIMAL(20,2)" in said(project, "show", "demo", "3").out
    if form == "tool":
        return
    with duckdb.connect(str(project.root / "batchpipe.duckdb")) as connection:
        connection.execute("UPDATE ledger.results SET output = '{\"amount\":1.2345678901234568e17,\"count\":1}' "
                           "WHERE output LIKE '%8.91%'")  # fmt: skip
        connection.execute("UPDATE ledger.policies SET judge_hash = md5('before')::UUID")
        connection.execute("UPDATE demo SET amount = 123456789012345680.00")
    again = project.run()
    assert (again.submitted, again.rows["accepted"]) == (0, 2)
    assert project.sql("SELECT id, amount, count FROM demo ORDER BY id")[0] == table[0]
    assert project.run().rows["unchanged"] == 2
    assert project.sql("SELECT count(*) FROM ledger.results WHERE judged_again") == [(1,)]
    assert said(project, "review", "demo", "--export", "sheet.csv").code == 0
    sheet = project.root / "sheet.csv"
    exported = sheet.read_text(encoding="utf-8-sig")
    for digits, corrected in (("123456789012346000", 0), ("123456789012345678.92", 1)):
        sheet.write_text(exported.replace("123456789012345678.91", digits), encoding="utf-8")
        told = json.loads(said(project, "review", "demo", "--import", "sheet.csv", "--json").out)
        assert (told["corrected"], told["without_a_word"]) == (corrected, 2 - corrected)
    assert project.sql("SELECT amount FROM demo WHERE id = 1") == [(Decimal("123456789012345678.92"),)]
    (project.root / "review").mkdir()
    with desk_of(project, "every") as desk:
        row = desk.row(0)
        assert row.document["amount"] == Decimal("123456789012345678.92")
        typed = desk.forms[0].value("98765432109876543.215")
        ((document, error),) = desk.validate([(row.number, {**row.document, "amount": typed})])
        assert (error, document is not None) == ("", True)
        assert desk.record([RowReview(number=row.number, document=document or {}, accepted=False)]) == []
    assert project.sql("SELECT amount FROM demo WHERE id = 1") == [(Decimal("98765432109876543.22"),)]
    shown = said(project, "show", "demo", "1").out
    assert "amount: 123456789012345678.91 → 98765432109876543.215" in shown


def test_a_row_that_is_tried_says_what_is_not_understood(project: Project) -> None:
    project.pipeline()
    project.rows(rows(["usage", "content", "paused"]))
    odd = {"usage": {"usage": None}, "content": {"content": 7}, "paused": {"stop_reason": "pause_turn", "content": []}}
    project.faults({"requests": [{"match": f"case:{n};", "output": GOOD, "message": each} for n, each in odd.items()]})
    value = json.loads(said(project, "try", "demo", "1", "2", "3", "--json").out)
    assert [each["verdict"] for each in value["rows"]] == ["accepted", "unknown", "unknown"]
    assert [each["cost_usd"] is None for each in value["rows"]] == [True, True, False]
    assert value["cost_usd"] is None
    assert "the content is missing" in value["rows"][1]["error"]
    assert "pause_turn" in value["rows"][2]["error"]
    held = project.sql("SELECT count(*) FROM ledger.events WHERE kind = 'cost_unknown' AND data ->> 'held_usd' > '0'")
    assert held == [(2,)]
    text = said(project, "try", "demo", "1").out
    assert "nothing: it was answered before" in text
