"""Print a pilot: what its rows showed, before the rest is paid for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from batchpipe.commands.printing.estimates import estimate_object, interval_text, spans_text
from batchpipe.commands.printing.text import count, money, pairs, safe, shortened
from batchpipe.engine.cost.estimate import Estimate
from batchpipe.engine.plan.pilot_sample import HeldBack
from batchpipe.engine.plan.plan import Plan
from batchpipe.engine.run.pilot_summary import Histogram, PilotAccuracy, PilotRow, PilotSummary
from batchpipe.schema import exact_json

SHOWN_REASONS = 8
SHOWN_WIDTH = 100
BARS = " ▁▂▃▄▅▆▇█"


def held_object(held: HeldBack, meanwhile: Plan | None) -> dict[str, Any]:
    """Return what `plan --json` says of a pilot: its rows, what waits, and what goes on under the version before."""
    before = meanwhile.estimate if meanwhile is not None else None
    return {
        "rows": held.rows,
        "gold": held.gold,
        "whole": _sum(held.requests, held.whole),
        "meanwhile": _sum(meanwhile.requests if meanwhile is not None else 0, before),
    }


def _sum(requests: int, estimate: Estimate | None) -> dict[str, Any]:
    if estimate is None:
        return {"requests": requests, "cost_usd": Decimal(0), "max_usd": Decimal(0)}
    return {"requests": requests, "cost_usd": estimate.cost_usd, "max_usd": estimate.max_usd}


def held_text(held: HeldBack) -> str:
    """Return what `plan` says of a pilot."""
    whole = f"{count(held.requests, 'request')}, about {money(held.whole.cost_usd)}"
    if held.rows:
        gold = f", {count(held.gold)} of them with a true value" if held.gold is not None else ""
        return f"{count(held.rows, 'row')} go first{gold}, then the run stops; the whole is {whole}"
    return f"not approved yet: nothing is sent before `run --approve`; {whole} would follow"


def pilot_object(summary: PilotSummary) -> dict[str, Any]:
    """Return the pilot in the object of `run --json`."""
    value = asdict(summary)
    rest = value.pop("rest")
    return {
        **value,
        "reasons": [{"outcome": outcome, "error": error, "rows": rows} for outcome, error, rows in summary.reasons],
        "valid_share": round(summary.valid_share, 6),
        "accuracy": accuracy_object(summary.accuracy),
        "usd_per_row": _rounded(summary.usd_per_row),
        "rest": {name: rest[name] for name in ("input_tokens", "output_tokens", "cost_usd", "max_usd")}
        | {"cost_low_usd": rest["low_usd"], "cost_high_usd": rest["high_usd"]}
        | {"hours": estimate_object(summary.rest)["hours"]},
    }


def pilot_text(summary: PilotSummary) -> str:
    """Return the pilot for a person. Nothing in it steers the terminal."""
    tokens = (summary.input_tokens // max(summary.requests, 1), summary.output_tokens // max(summary.requests, 1))
    rest = f"{count(summary.rest_requests, 'request')}, about {money(summary.rest.cost_usd)}"
    rest += f"{interval_text(summary.rest)}, {money(summary.rest.max_usd)} at most"
    lines = [
        "pilot",
        pairs(
            [
                ("valid", f"{summary.valid:,} of {count(summary.rows, 'row')} ({summary.valid_share:.1%})"),
                ("right", _right(summary.accuracy)),
                ("tokens", f"{tokens[0]:,} in and {tokens[1]:,} out per request"),
                ("cost", f"{money(summary.cost_usd)}, {_each(summary.usd_per_row)} per row"),
                ("the rest", rest),
                ("its time", spans_text(summary.rest) if summary.rest_requests else ""),
            ]
        ),
    ]
    if summary.reasons:
        lines.append("  not valid")
        lines += [
            f"    {rows:>5,}  {_reason(outcome, error)}" for outcome, error, rows in summary.reasons[:SHOWN_REASONS]
        ]
    lines += [f"  {safe(name)}: {_values(values)}" for name, values in summary.values.items() if values]
    lines += [f"  {safe(name)}: {_bars(each)}" for name, each in summary.histograms.items()]
    lines.append("  examples")
    lines += [f"    {_example(each)}" for each in summary.examples]
    return "\n".join(lines)


def accuracy_object(found: PilotAccuracy | None) -> dict[str, Any] | None:
    """Return the pilot's accuracy for `--json`."""
    if found is None:
        return None
    ends = list(found.interval) if found.interval is not None else None
    return {"n": found.n, "right": found.right, "accuracy": found.share, "ci95": ends, "climbing": found.climbing} | {
        "made_up": found.made_up
    }


def _right(found: PilotAccuracy | None) -> str:
    if found is None:
        return ""
    climbing = f"; {found.climbing:,} more go up a rung" if found.climbing else ""
    climbing += "; made up, as the emulator's answers are" if found.made_up else ""
    if found.interval is None:
        return f"not known: no row with a true value has a present answer{climbing}"
    low, high = found.interval
    rows = count(found.n, "row")
    return f"{found.right:,} of {rows} with a true value, {found.share:.1%} (95%: {low:.1%} to {high:.1%}){climbing}"


def _rounded(value: Decimal | None) -> Decimal | None:
    return round(value, 15) if value is not None else None


def _each(value: Decimal | None) -> str:
    return f"${value:.6f}" if value is not None else "unknown"


def _reason(outcome: str, error: str) -> str:
    return shortened(safe(f"{outcome}: {error}" if error else outcome), SHOWN_WIDTH)


def _values(values: Mapping[str, int]) -> str:
    total = sum(values.values())
    return ", ".join(f"{shortened(safe(value), 40)} {rows:,} ({rows / total:.0%})" for value, rows in values.items())


def _bars(histogram: Histogram) -> str:
    """Return ten bars between the lowest and the highest value; the tallest bar has the most rows."""
    most = max(histogram.rows, default=0)
    bars = "".join(BARS[-(-rows * (len(BARS) - 1) // most)] if most else BARS[0] for rows in histogram.rows)
    return f"{histogram.low:g} |{bars}| {histogram.high:g}"


def _example(example: PilotRow) -> str:
    key = example.key[0] if len(example.key) == 1 else json.dumps(list(example.key), ensure_ascii=False)
    answer = exact_json.dumps(example.output) if example.output is not None else f"({example.error})"
    asked = " | ".join(value for value in example.input.values() if value)
    return f"{shortened(safe(key), 24)}  {shortened(safe(asked), 60)}  →  {shortened(safe(answer), SHOWN_WIDTH)}"
