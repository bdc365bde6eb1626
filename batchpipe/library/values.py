"""What a plan and a run come to, as values of a Python program, and how a notebook shows them."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from batchpipe.commands.printing.text import count, money

NO_TOKENS: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would do now. Costs are US dollars, None where a model's price is not known.

    `rows` has the words of `plan --json`: how many rows of the input are due, and for which reason. `cost_usd` is
    expected, `max_usd` the most, `realtime_usd` what single calls would cost. `gate` says where a run stops before it
    sends anything. Counts are None where the pipeline waits for another one (`waits_for` in
    `as_dict()`). `str(plan)` is what the command prints; `as_dict()` is the object of `plan --json`.
    """

    pipeline: str
    prompt_version: str
    rows: Mapping[str, int | None]
    due: int | None
    requests: int | None
    batches: int | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: Decimal | None
    max_usd: Decimal | None
    realtime_usd: Decimal | None
    gate: str | None
    text: str = field(repr=False)
    value: Mapping[str, Any] = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the object of `plan --json`."""
        return dict(self.value)

    def __str__(self) -> str:
        """Return the text of the command `plan`."""
        return self.text

    def _repr_html_(self) -> str:
        """Return the plan as a table for a notebook."""
        sent = f"{count(self.requests or 0)} in {count(self.batches or 0, 'batch', 'batches')}"
        figures = [
            ("requests", sent if self.requests is not None else "not known yet"),
            ("cost", f"{money(self.cost_usd)} expected, {money(self.max_usd)} at most"),
            ("realtime", money(self.realtime_usd)),
        ]
        gate = [("stops at", self.gate)] if self.gate is not None else []
        return _table(f"{self.pipeline}: plan (prompt {self.prompt_version})", self.rows, [*figures, *gate])


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run has come to. Costs are US dollars; `cost_usd` is None where the cost of no result is known.

    `status` is "done", "failed_rows" (more rows failed than `max_failed` allows), "pending" (batches are in flight) or
    "gate" (a person has to decide: `gate` says about what, `hint` how). `rows` has the words of `run --json`; a count
    that the run did not reach is None. `as_dict()` is the object of `run --json`.
    """

    pipeline: str
    run_id: str | None
    prompt_version: str | None
    status: str
    gate: str | None
    hint: str | None
    rows: Mapping[str, int | None]
    submitted: int
    batches: int
    attempts: int
    tokens: Mapping[str, int | None]
    unpriced: int
    cost_usd: Decimal | None
    realtime_usd: Decimal
    value: Mapping[str, Any] = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the object of `run --json`."""
        return dict(self.value)

    def _repr_html_(self) -> str:
        """Return the result as a table for a notebook."""
        figures = [
            ("sent", f"{count(self.submitted, 'request')} in {count(self.batches, 'batch', 'batches')}"),
            ("cost", money(self.cost_usd)),
        ]
        gate = [("stopped", self.gate), ("to go on", self.hint or "")] if self.gate is not None else []
        version = f" (prompt {self.prompt_version})" if self.prompt_version else ""
        return _table(f"{self.pipeline}{version}: {self.status}", self.rows, [*figures, *gate])


def plan_of(value: Mapping[str, Any], text: str) -> Plan:
    """Return the plan whose object of `plan --json` is `value`, and whose text for people is `text`."""
    estimate = value["estimate"]
    return Plan(
        pipeline=value["pipeline"],
        prompt_version=value["prompt_version"],
        rows=MappingProxyType(dict(value["rows"])),
        due=value["due"],
        requests=value["requests"],
        batches=value["batches"],
        input_tokens=estimate["input_tokens"],
        output_tokens=estimate["output_tokens"],
        cost_usd=estimate["cost_usd"],
        max_usd=estimate["max_usd"],
        realtime_usd=estimate["realtime_usd"],
        gate=value.get("gate"),
        text=text,
        value=value,
    )


def run_result(value: Mapping[str, Any], hint: str | None) -> Result:
    """Return the result whose object of `run --json` is `value`; `hint` says how to go on from its gate."""
    names = ("pipeline", "run_id", "prompt_version", "status", "gate", "submitted", "batches", "attempts", "unpriced")
    return Result(
        hint=hint,
        rows=MappingProxyType(dict(value["rows"])),
        tokens=MappingProxyType(dict(value["tokens"])),
        cost_usd=value["cost_usd"],
        realtime_usd=value["realtime_usd"],
        value=value,
        **{name: value[name] for name in names},
    )


def _table(title: str, rows: Mapping[str, int | None], figures: Sequence[tuple[str, str]]) -> str:
    """Return a small HTML table: the counts that are not 0, and the figures. Nothing in it is read as markup."""
    shown = [(word, count(number or 0)) for word, number in rows.items() if number or word == "input"]
    lines = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:right'>{html.escape(value)}</td></tr>"
        for name, value in (*shown, *figures)
    )
    return f"<table><caption style='text-align:left'>{html.escape(title)}</caption><tbody>{lines}</tbody></table>"
