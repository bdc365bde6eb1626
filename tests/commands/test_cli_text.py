"""Tests of how values are printed for people and for programs."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from batchpipe.commands.printing.text import (
    count,
    duration,
    json_text,
    moment,
    money,
    pairs,
    safe,
    share,
    shortened,
    table,
)

HALF_PAST_TWELVE = datetime(2026, 7, 1, 12, 30)  # noqa: DTZ001 - times are naive UTC


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "unknown"),
        (Decimal(0), "$0.00"),
        (Decimal("0.0123"), "$0.0123"),
        (Decimal("0.00001"), "under $0.0001"),
        (Decimal("1234.567"), "$1,234.57"),
        (Decimal("-2"), "-$2.00"),
    ],
)
def test_money(value: Decimal | None, expected: str) -> None:
    assert money(value) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (273_600, "3 d 4 h"),
        (-5, "0 s"),
    ],
)
def test_duration(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_counts() -> None:
    assert count(1234) == "1,234"
    assert count(1, "row") == "1 row"
    assert count(2, "batch", "batches") == "2 batches"
    assert share(1, 8) == "12.5%"
    assert share(1, 0) == ""
    assert moment(HALF_PAST_TWELVE) == "2026-07-01 12:30 UTC"
    assert shortened("abcdef", 4) == "abc…"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("a\r\nb\tc", "a\\nb\\tc"),
        ("\u202eevil\u2028", "\\u202eevil\\u2028"),
        ("[bold]x[/bold]", "[bold]x[/bold]"),
        ("Größe 漢字 👍", "Größe 漢字 👍"),
        ("\x9b31m", "\\x9b31m"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_safe(text: str, expected: str) -> None:
    assert safe(text) == expected


def test_safe_lines() -> None:
    assert safe("a\nb\x1b", lines=True) == "a\nb\\x1b"


def test_a_plain_table_is_aligned() -> None:
    shown = table(("name", "rows"), [("漢字", 5), ("x", 1000), (None, 2)], right=(1,))
    assert shown.splitlines() == ["name  rows", "漢字     5", "x     1000", "         2"]


def test_markup_in_a_cell_is_text() -> None:
    shown = table(("a",), [("[red]x[/red]\x1b[0m",)], terminal=True)
    assert "[red]x[/red]\\x1b[0m" in shown


def test_pairs_leave_out_what_is_empty() -> None:
    assert pairs([("a", 1), ("long", "x"), ("none", None), ("empty", "")]) == "  a     1\n  long  x"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Decimal("0.000000100000"), "0.0000001"),
        (Decimal("12345678901234567890.123456789012345"), "12345678901234567890.123456789012345"),
        (Decimal("1E+2"), "100"),
        (Decimal("NaN"), "null"),
        (float("inf"), "null"),
        (HALF_PAST_TWELVE, '"2026-07-01T12:30:00Z"'),
        (date(2026, 7, 1), '"2026-07-01"'),
        (Path("a/b"), '"a/b"'),
        ({"a": [1, None, True, (2.5,)], "b": {}}, '{"a": [1, null, true, [2.5]], "b": {}}'),
        (b"\xff", '"\\\\xff"'),
        ("\ud800é", '"\\ud800\\u00e9"'),
    ],
)
def test_json(value: Any, expected: str) -> None:
    assert json_text(value) == expected
    json.loads(json_text(value))
