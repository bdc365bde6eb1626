"""A row as `try` asks it, and what its call can cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from batchpipe.common.errors import GateError
from batchpipe.engine.context import Context
from batchpipe.engine.cost.budget import has_limit, project_limits, tightest, unpriced
from batchpipe.engine.cost.estimate import OVERHEAD_TOKENS
from batchpipe.engine.cost.ladder import settings_text
from batchpipe.engine.cost.most import most_unmarked_usd
from batchpipe.engine.ledger.events import open_load, spent
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.providers import Message, RungSettings
from batchpipe.sql.quoting import Sql
from batchpipe.store.database import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedRequest:
    """Describes a row as it is sent.

    `fingerprints` is SQL for those by every recipe. `custom_id` is that of the known answer, or of the call to come.
    `chunk_id` is None where the answer is known. `part` tells the samples of a model apart on a rung that votes; it is
    empty elsewhere. `local_model` is the version of the local model that templates asked.
    """

    key: str
    rung: int
    settings: RungSettings
    message: Message
    params: bytes
    fingerprint: str
    fingerprints: Sql
    custom_id: str
    chunk_id: str | None
    part: str = ""
    local_model: str | None = None


def most_usd(context: Context, resolved: Resolved, request: TriedRequest) -> Decimal | None:
    """Return the most that the call of a request can cost; None where no price is known."""
    price = context.prices().price(resolved, request.settings, context.clock().date(), realtime=True)
    if price is None:
        return None
    return most_unmarked_usd(price, len(request.params) + OVERHEAD_TOKENS, request.settings.max_tokens)


def refuse_over_budget(
    session: Session, context: Context, resolved: Resolved, requests: Sequence[TriedRequest], run_id: str
) -> None:
    """Raise GateError where the calls may cost more than what is left of a budget, and PipelineError where there is a
    budget and no price is known. What is answered already costs nothing.

    Reads the ledger.
    """
    asked = [each for each in requests if each.chunk_id is not None]
    if not asked or not has_limit(resolved.file, None):
        return
    costs = [most_usd(context, resolved, each) for each in asked]
    most = sum((each for each in costs if each is not None), Decimal(0))
    names = resolved.names
    spent_so_far, busy = spent(session, names, run_id), open_load(session, names, run_id)
    further = project_limits(session, resolved.file, run_id)
    limit = tightest(resolved.file.pipeline.budget, None, spent_so_far, busy, further)
    if limit is not None and None in costs:
        models = dict.fromkeys(each.settings.model for each, most in zip(asked, costs, strict=True) if most is None)
        raise unpriced(resolved.file, limit, list(models))
    if limit is not None and most > limit.left_usd:
        raise GateError(
            f"{limit.name} of ${limit.allowed_usd:f}: ${max(limit.left_usd, Decimal(0)):.4f} is left, and "
            f"{'this call' if len(asked) == 1 else f'these {len(asked)} calls'} may cost ${most:.4f}",
            where=resolved.name,
            hint="Try fewer rows, or raise the budget.",
        )


def sent_once(requests: Sequence[TriedRequest]) -> list[TriedRequest]:
    """Return `requests`: of those that ask the same only the first is to be sent, the others take its answer."""
    first: dict[tuple[str, str, str], TriedRequest] = {}
    found = []
    for each in requests:
        same = first.setdefault((each.fingerprint, settings_text(each.settings), each.part), each)
        found.append(each if same is each else replace(each, custom_id=same.custom_id, chunk_id=None))
    return found
