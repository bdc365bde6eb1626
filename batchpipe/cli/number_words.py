"""Say in plain words which number an option takes, where the parser has refused what was typed."""

from __future__ import annotations

import re
from typing import Any, get_args

SHOWN = 40  # characters of what was typed
EXAMPLES = {
    "--delay": "0.5",
    "--max-drop": "0.02",
    "--port": "8080",
    "--reviewer-accuracy": "0.95",
    "--risk": "0.05",
    "--rung": "2",
    "--samples": "3",
    "--target": "0.9",
    "--withdraw": "1",
}
EXAMPLE = "10"
ZERO_ROWS = re.compile(r"\+?0+")


def number_words(error: Exception) -> tuple[str, str] | None:
    """Return what is wrong with the number of an option, and an example; None for another mistake of the parser."""
    parameter = getattr(error, "param", None)
    described = getattr(parameter, "type_descriptor", None)
    told = getattr(error.__cause__, "errors", None)
    if described is None or told is None:
        return None
    annotation = described.annotation
    kind = next(iter(get_args(annotation)), annotation)
    if kind not in (int, float):
        return None
    option = max(getattr(parameter, "opts", ()), key=len, default="")
    typed = str(told()[0].get("input", ""))
    shown = typed if len(typed) <= SHOWN else f"{typed[:SHOWN]}..."
    low, high = described.parameter_info.min, described.parameter_info.max
    word = "a whole number" if kind is int else "a number"
    what = f"{option} takes {word}{_range(low, high)}, and {shown!r} was given"
    hint = f"Such as: {option} {EXAMPLES.get(option, EXAMPLE)}."
    if option == "--limit" and low == 1 and ZERO_ROWS.fullmatch(typed):
        hint += " To send no new rows: --no-new."
    return what, hint


def _range(low: Any, high: Any) -> str:
    """Return the numbers that an option takes: ` from 1 up`, ` from 0 to 1`."""
    if low is None:
        return "" if high is None else f" up to {high:,}"
    return f" from {low} up" if high is None else f" from {low} to {high:g}"
