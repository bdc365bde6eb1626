"""Open batches that nobody can be asked about: no provider of the settings has them, or their provider refuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from batchpipe.common.errors import CredentialsError, NoProviderError, ProviderError
from batchpipe.common.logs import Event, Tell
from batchpipe.engine.ledger.events import OpenBatch
from batchpipe.providers import Provider


@dataclass(slots=True, kw_only=True)
class UnaskableBatches:
    """Keeps the errors of open batches that nobody can be asked about, by chunk: their rows stay pending.

    They are found anew at every look. `provider` returns the provider through which a batch is asked about.
    """

    provider: Callable[[OpenBatch], Provider]
    tell: Tell
    errors: dict[str, ProviderError] = field(default_factory=dict, init=False)
    _told: set[str | None] = field(default_factory=set, init=False)

    def find(self, batches: Sequence[OpenBatch]) -> None:
        """Find those of the open `batches` that no provider of the settings can be asked about; forget all others."""
        self.errors = {}
        for each in batches:
            try:
                self.provider(each)
            except (NoProviderError, CredentialsError) as error:
                self.errors[each.chunk_id] = error

    def refuse(self, batches: Sequence[OpenBatch], error: ProviderError) -> None:
        """Keep the refusal to say what became of `batches`, and tell it once in a run for each provider."""
        if not batches:
            return
        requests = sum(each.requests for each in batches)
        error.where = f"provider {batches[0].provider}"
        error.what += f"; {requests:,} {'request stays' if requests == 1 else 'requests stay'} pending"
        self.errors |= dict.fromkeys([each.chunk_id for each in batches], error)
        if error.where not in self._told:
            self._told.add(error.where)
            self.tell(Event(kind="warning", level="warning", detail=f"{error.where}: {error.what}"))

    def of_account(self, batch: OpenBatch, batches: Sequence[OpenBatch]) -> list[OpenBatch]:
        """Return those of `batches` that are asked about with the same key as `batch`, and could be up to now."""
        left = [each for each in batches if each.chunk_id not in self.errors]
        return [each for each in left if self.provider(each) is self.provider(batch)]
