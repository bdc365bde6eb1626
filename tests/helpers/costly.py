"""Rows whose answers are long and cost much."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from projects import BASIC, Project

# US dollars per token of the model in BASIC, at the batch tier.
PER_INPUT, PER_OUTPUT = Decimal("0.0000005"), Decimal("0.0000025")
GOOD = {"label": "other", "score": 0.9}


def used_usd(project: Project) -> Decimal:
    """Return the cost by the emulator's own results."""
    spent = Decimal(0)
    for path in (project.root / ".emulator" / "results").glob("*.jsonl"):
        for line in path.read_text().splitlines():
            usage: Mapping[str, Any] = json.loads(line)["result"].get("message", {}).get("usage", {})
            spent += PER_INPUT * usage.get("input_tokens", 0) + PER_OUTPUT * usage.get("output_tokens", 0)
    return spent


def costly(text: str, more: str = "") -> str:
    """A pipeline whose answers nearly reach max_tokens, so that a request costs two thirds of its highest cost."""
    field = '[output.fields.why]\ntype = "string"\n[[models]]'
    chunking = "[chunking]\nmax_requests = 6\nmax_in_flight = 2\n"
    return BASIC.replace("[[models]]", field).replace("= 200", "= 2000") + f"{chunking}{more}[budget]\n{text}\n"


LONG = {"requests": [{"output": {**GOOD, "why": "x" * 7600}}]}
