"""What the local rung does, in words."""

from __future__ import annotations

from batchpipe.commands.printing.text import count, safe
from batchpipe.engine.local.plan_part import LocalPlan


def local_text(local: LocalPlan) -> str:
    """Return what the local rung does in a plan: `local:v1 answers 140 rows at no cost`."""
    if local.model is None:
        return f"no row is answered by the local model: {safe(local.says)}"
    audited = f", and {count(local.audited, 'row')} of which it is sure go up all the same" if local.audited else ""
    return f"{local.model} answers {count(local.answered, 'row')} at no cost{audited}; {safe(local.says)}"
