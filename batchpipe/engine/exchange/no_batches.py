"""Addresses that have no batch endpoint: the gate that a run stops at, and what the ledger knows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from batchpipe.common.errors import GateError
from batchpipe.common.money import money
from batchpipe.engine.cost.estimate import Estimate
from batchpipe.engine.exchange.addresses import address_hint
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.project.settings_place import under
from batchpipe.providers.known import KnownProvider
from batchpipe.store.database import Session
from batchpipe.store.queries import query


def no_batches_gate(
    resolved: Resolved, provider: KnownProvider, url: str, estimate: Estimate, instead: str | None = None
) -> GateError:
    """Return the gate of a provider without a batch endpoint, with what the same costs in realtime.

    `instead` is what came in the place of its list of batches, where that was a reply of success.
    """
    usd = [each.realtime_usd for each in estimate.rungs if _is_asked(resolved, each.rung, provider)]
    known = [each for each in usd if each is not None]
    total = sum(known, Decimal(0))
    cost = f"about {money(total)}" if total else "nothing"
    if not usd or len(known) < len(usd):
        cost = "a price that is not known"
    return GateError(
        f"{provider.name} has no batch endpoint at {url}{f' ({instead})' if instead else ''}: nothing was sent there. "
        f"In realtime it costs {cost}",
        where=resolved.name,
        hint=f'Write mode = "realtime" {under(f"providers.{provider.name}")}, or for this run: '
        f"batchpipe run {resolved.name} --realtime{address_hint(provider, url)}",
    )


def _is_asked(resolved: Resolved, rung: int, provider: KnownProvider) -> bool:
    return resolved.provider_of(resolved.rungs[rung - 1]).name == provider.name


def recorded_modes(session: Session, urls: Sequence[str]) -> Mapping[str, str]:
    """Return what the ledger has recorded of addresses: "batch" where one took a batch, "realtime" where it has none.

    Reads `ledger.batches`, `ledger.events`.
    """
    return dict(session.rows(query("recorded_modes"), {"urls": list(urls)}))
