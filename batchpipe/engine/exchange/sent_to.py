"""Whom the chunks of each rung are sent to: the provider, its account, and what is recorded of both."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from batchpipe.common.errors import BatchpipeError, GateError
from batchpipe.decide.waits import LOOKS
from batchpipe.engine.cost.estimate import Estimate
from batchpipe.engine.exchange.no_batches import no_batches_gate, recorded_modes
from batchpipe.engine.exchange.records import label_of, refusal
from batchpipe.engine.exchange.run_parts import RunParts
from batchpipe.providers import Account, Provider, RefusedError, RungSettings, Shipment
from batchpipe.providers.known import KnownProvider


@dataclass(frozen=True, slots=True, kw_only=True)
class SentTo:
    """Says whom the chunks of a rung are sent to. `url` names the account beside the key."""

    known: KnownProvider
    provider: Provider
    account: Account
    url: str

    @property
    def data(self) -> dict[str, Any]:
        """Return what is recorded of it with the intent of a chunk."""
        endpoint = {} if self.known.endpoint is None else {"endpoint": self.known.endpoint}
        return {
            "provider": self.known.name,
            "protocol": self.known.protocol,
            **endpoint,
            "base_url": self.url,
            "key_hash": self.provider.key_hash,
            "organization": self.account.organization,
            "workspace": self.account.workspace,
            "clock_offset_seconds": self.account.clock_offset_seconds,
        }

    def shipment(self, rung: RungSettings, chunk_id: str, count: int) -> Shipment:
        """Return what describes a chunk of `count` requests of `rung` to the provider, by its own name of the model."""
        named = self.known.named(rung)
        return Shipment(
            label=label_of(chunk_id),
            rung=named,
            count=count,
            headers=self.provider.batch_headers(named),
            results_seconds=self.known.results_seconds,
        )


class AllRefusedError(Exception):
    """The provider called `name` takes no batch of ours, for the reason `error`. Nothing was prepared or sent."""

    def __init__(self, name: str, error: BatchpipeError) -> None:
        self.name, self.error = name, error
        super().__init__(error.what)


def sent_to(
    parts: RunParts,
    estimate: Estimate,
    rungs: Collection[int],
    account: Callable[[Provider], Account],
    account_url: Callable[[Provider], str],
) -> dict[int, SentTo]:
    """Return whom the chunks of each of `rungs` are sent to.

    `account` asks a provider for what it says of its account, `account_url` names the account beside the key.
    Writes `ledger.events`. Raises AllRefusedError where a provider refuses to list its batches or has no batch
    endpoint, CredentialsError without the key of one of the ladder's providers.
    """
    # A key that is missing is told before anything is paid for, and not when the first row goes up to its rung.
    for name in parts.resolved.provider_names:
        parts.providers.named(name)
    found: dict[int, SentTo] = {}
    for rung in sorted(rungs):
        known = parts.resolved.provider_of(parts.resolved.rungs[rung - 1])
        provider = parts.providers.named(known.name)
        try:
            named = _asked(account, provider)
        except RefusedError as error:
            if error.kind == "no_batch_endpoint":
                raise AllRefusedError(known.name, _gate(parts, estimate, known, account_url(provider))) from error
            raise AllRefusedError(known.name, refusal(error, provider.key_hash)) from error
        url = account_url(provider)
        if named.no_list is not None and not known.own_address and not _takes_batches(parts, url):
            raise AllRefusedError(known.name, _gate(parts, estimate, known, url, named.no_list))
        found[rung] = SentTo(known=known, provider=provider, account=named, url=url)
    return found


def _asked(account: Callable[[Provider], Account], provider: Provider) -> Account:
    """Return what a provider says of its account. What is no list of batches is believed when it comes several times.

    Raises RefusedError where it refuses.
    """
    for _ in range(LOOKS - 1):
        found = account(provider)
        if found.no_list is None:
            return found
    return account(provider)


def _takes_batches(parts: RunParts, url: str) -> bool:
    """Return whether an address has taken a batch. Reads `ledger.batches`, `ledger.events`."""
    with parts.reading() as session:
        return recorded_modes(session, [url]).get(url) == "batch"


def _gate(
    parts: RunParts, estimate: Estimate, provider: KnownProvider, url: str, instead: str | None = None
) -> GateError:
    """Record that a provider has no batch endpoint, and return the gate; `instead` is what came for the list.

    Writes `ledger.events`.
    """
    data = {"provider": provider.name, "protocol": provider.protocol, "base_url": url}
    with parts.writing() as session:
        parts.add_event(session, "no_batch_endpoint", data, chunk_id=None)
    return no_batches_gate(parts.resolved, provider, url, estimate, instead)
