"""The last lines of a run tell why rows failed: how many for which reason, a key, and what shows or retries them."""

from __future__ import annotations

import json
import shlex

import pytest
from commandline import CommandLine
from projects import BASIC, Project, numbered

from batchpipe.commands.run.failures import key_argument

TWO_COLUMNS = BASIC.replace('key = "id"', 'key = ["lang", "id"]') + 'when = "amount < 9"\n[retry]\nattempts = 1\n'


def test_reasons_are_counted_by_kind_and_nothing_in_them_steers_the_terminal(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project.rows(numbered(12, german=12))
    project.pipeline(TWO_COLUMNS)
    refused = [{"match": f"number {n} ", "outcome": "errored_invalid"} for n in (3, 4)]
    odd = [{"match": f"number {n} ", "output": {"label": f"\x1b[3{n}m[red]\u202e", "score": n}} for n in (5, 6, 7)]
    project.faults({"requests": [*refused, *odd, {"match": "number 8 ", "outcome": "refused"}]})
    typed = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    typed.provide(project)

    said = typed("run", "demo")
    first, second, third, others, show = said.out.split("why rows failed:\n")[1].splitlines()[:5]

    assert said.code == 1
    assert "\x1b" not in said.out
    assert "\u202e" not in said.out
    assert first.startswith('    3 rows, such as ["de", "')
    assert "[red]\\u202e" in first
    assert first.endswith('" is not one of "billing", "bug", "other"')
    assert second.startswith("    2 rows, such as [")
    assert "the emulator was told to refuse this" in second
    # A row that no rung takes was never sent; its key is in the input alone.
    assert sorted((third.split(",")[0].strip(), others.strip())) == ["1 row", "1 row for other reasons"]
    failures = typed("run", "demo", "--json").value["failures"]
    assert [each["rows"] for each in failures] == [3, 2, 1]
    command = shlex.split(show.split("batchpipe ")[1])
    assert json.loads(command[-1]) == failures[0]["key"]
    assert "state    failed" in typed(*command).out

    assert typed("run", "demo", "--where", "amount = 9", "--json").value["failures"] == [
        {"error": error_of_the_row_never_sent(project), "rows": 1, "key": ["de", "9"]}
    ]


def error_of_the_row_never_sent(project: Project) -> str:
    ((error,),) = project.sql("SELECT error FROM ledger.decisions WHERE custom_id IS NULL")
    return str(error)


@pytest.mark.parametrize("value", ["a b", "-5", "[1]", "", "it's $HOME", "\x1b[31m", "\u202eabc", "é"])
def test_a_key_is_typed_as_it_is_printed(value: str) -> None:
    (argument,) = shlex.split(key_argument(json.dumps([value])))
    assert argument == value or json.loads(argument) == [value]
    assert argument.isprintable()
    assert argument.isascii()
    assert not argument.startswith("-")


def test_a_long_key_is_not_printed() -> None:
    assert key_argument(json.dumps(["x" * 500])) == "KEY"
