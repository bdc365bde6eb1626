"""What the local rung does, in words."""

from __future__ import annotations

from batchpipe.commands.printing.text import count, money, safe
from batchpipe.engine.local.hint_costs import HintCost
from batchpipe.engine.local.plan_part import LocalPlan


def local_text(local: LocalPlan) -> str:
    """Return what the local rung does in a plan: `local:v1 answers 140 rows at no cost`."""
    if local.model is None:
        return f"no row is answered by the local model: {safe(local.says)}"
    audited = f", and {count(local.audited, 'row')} of which it is sure go up all the same" if local.audited else ""
    return f"{local.model} answers {count(local.answered, 'row')} at no cost{audited}; {safe(local.says)}"


def hint_text(cost: HintCost, model: str | None) -> str:
    """Return what a call of likely() costs, against the whole list in the part of the prompt that is cached.

    `model` is the version that was asked; None before there is one.
    """
    said = f"{safe(cost.call)}: {count(cost.tokens, 'token')} a row"
    if model is None:
        said = f"{safe(cost.call)} gives every value until there is a model: {count(cost.tokens, 'token')} a row"
    every = f"all {count(cost.values)} values: {count(cost.full_tokens, 'token')}"
    if cost.usd is None or cost.full_usd is None:
        return f"{said}; {every}"
    said, every = f"{said}, {money(cost.usd)} for 1,000 rows", f"{every}, {money(cost.full_usd)}"
    if cost.cached_usd is None:
        return f"{said}; {every}, since so short a prompt is not cached"
    cheaper = "cheaper" if cost.cached_usd < cost.usd else "dearer"
    return f"{said}; {every}, or {money(cost.cached_usd)} read from the cache in the system prompt, which is {cheaper}"
