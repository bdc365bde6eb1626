"""Make the providers of one pipeline, each at its first use, and find the one that an open batch was sent to.

A batch is bound to a protocol, an address and an account. The name of a provider is a label: a batch is asked about
through any provider of the settings that has its protocol and its address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from batchpipe.common.errors import CredentialsError, NoProviderError, UsageError
from batchpipe.engine.ledger.events import OpenBatch, OpenCall, open_batches
from batchpipe.project.settings_place import settings_file, settings_table
from batchpipe.providers import REGISTRY, Provider, get_provider_module
from batchpipe.providers.known import KnownProvider, KnownProviders
from batchpipe.store.database import Session


@dataclass(slots=True, kw_only=True)
class PipelineProviders:
    """The providers that the requests of one pipeline go to.

    `make` makes a provider with its calls, and `url` names the address of one beside its key, as it is recorded with a
    batch; both take a provider's name.
    """

    known: KnownProviders
    make: Callable[[str], Provider]
    url: Callable[[str], str]
    _of_batches: dict[tuple[str, str, str, str], tuple[str, Provider]] = field(default_factory=dict, init=False)

    def named(self, name: str) -> Provider:
        """Return the provider `name`. Raises CredentialsError without its key."""
        return self.make(name)

    def known_of(self, batch: OpenBatch | OpenCall) -> KnownProvider:
        """Return what is known of the provider that a batch was sent to: its prices, limits and names of models.

        That is the provider of its name where that has its protocol and address still. A provider that was given
        another name since is the one through which the batch is asked about, or would be with a key.
        """
        name = batch.provider
        own = self.known.by_name.get(name)
        if own is None or not self._is_there(own, batch):
            with suppress(NoProviderError):
                name = self._name_asked(batch)
        return self.known.recorded(name, batch.protocol, batch.endpoint)

    def of(self, batch: OpenBatch) -> Provider:
        """Return the provider through which a batch is asked about. If several have its protocol and address, prefer
        the one whose key sent the batch, then the one with its name.
        Raises NoProviderError where there is none, CredentialsError where no key of theirs is set.
        """
        return self._asked_through(batch)[1]

    def _name_asked(self, batch: OpenBatch | OpenCall) -> str:
        """Return the name of the provider through which a batch is asked about, also where its key is not set. Raises
        NoProviderError where there is none.
        """
        try:
            return self._asked_through(batch)[0]
        except CredentialsError:
            return self._names_of(batch)[0]

    def _asked_through(self, batch: OpenBatch | OpenCall) -> tuple[str, Provider]:
        """Return the provider through which a batch is asked about, after its name. Raises what `of` raises."""
        asked = (batch.protocol, batch.base_url, batch.key_hash, batch.provider)
        if asked not in self._of_batches:
            self._of_batches[asked] = self._found(batch)
        return self._of_batches[asked]

    def groups(self, batches: Iterable[OpenBatch]) -> list[tuple[Provider, Sequence[OpenBatch]]]:
        """Return `batches` by the provider that they are asked about through; those that have none are left out."""
        found: dict[int, tuple[Provider, list[OpenBatch]]] = {}
        for each in batches:
            try:
                provider = self.of(each)
            except (NoProviderError, CredentialsError):
                continue
            found.setdefault(id(provider), (provider, []))[1].append(each)
        return list(found.values())

    def unaskable(self, batches: Iterable[OpenBatch]) -> dict[str, NoProviderError]:
        """Return why nobody can be asked about the chunks whose protocol and address no provider of the settings has.

        No key is looked up. A chunk that is asked in realtime asks about itself.
        """
        lost = [each for each in batches if each.state != "asking"]
        known = list(self.known.by_name.values()) if lost else []
        return {
            batch.chunk_id: no_provider(batch)
            for batch in lost
            if not any(self._is_there(each, batch) for each in known)
        }

    def without(self, session: Session, names: Sequence[str]) -> list[NoProviderError]:
        """Return an error for each address that open chunks of the pipelines called `names` were sent to and that no
        provider of the settings has. Reads `ledger.batches`.
        """
        found = self.unaskable(open_batches(session, names))
        return list({each.hint: each for each in found.values()}.values())

    def _found(self, batch: OpenBatch | OpenCall) -> tuple[str, Provider]:
        names = self._names_of(batch)
        made: list[tuple[str, Provider]] = []
        missing: CredentialsError | None = None
        for name in names:
            try:
                made.append((name, self.make(name)))
            except CredentialsError as error:
                missing = missing or error
                continue
            except UsageError as error:  # a variable of its headers is not set
                missing = missing or CredentialsError(error.what, where=error.where, hint=error.hint)
                continue
            if made[-1][1].key_hash == batch.key_hash:
                return made[-1]
        if made:
            return made[0]
        raise missing or no_provider(batch)

    def _names_of(self, batch: OpenBatch | OpenCall) -> list[str]:
        """Return the names of the providers that a batch may have been sent to; first the one of its name."""
        names = [name for name, each in self.known.by_name.items() if self._is_there(each, batch)]
        return sorted(names, key=lambda name: name != batch.provider)

    def _is_there(self, provider: KnownProvider, batch: OpenBatch | OpenCall) -> bool:
        """Return whether `provider` has the protocol and the address that `batch` was sent to."""
        if provider.protocol != batch.protocol:
            return False
        try:
            return self.url(provider.name) == batch.base_url
        except (UsageError, CredentialsError):  # a variable of its address is not set, or holds none
            return False


def no_provider(batch: OpenBatch | OpenCall) -> NoProviderError:
    """Return the error for a batch that no provider of the settings can be asked about, with the table that would add
    one.
    """
    hint, variable = f"Write into {settings_file()}:", f"{batch.provider.upper()}_KEY"
    if batch.provider in REGISTRY:
        module = get_provider_module(batch.provider)
        variable = module.KEY_VARIABLE
        hint = f"Set {module.BASE_URL_VARIABLE}={batch.base_url} and {variable}, or write into {settings_file()}:"
    lines = (
        f"{settings_table(f'providers.{batch.provider}')}\n"
        f'protocol = "{batch.protocol}"\nbase_url = "{batch.base_url}"\nkey = "${{{variable}}}"'
    )
    return NoProviderError(
        f"no provider of the settings has the address {batch.base_url} (protocol {batch.protocol}), to which "
        f"{'the batch ' + batch.batch_id if batch.batch_id else 'a chunk'} was sent: its rows stay pending",
        where=batch.pipeline,
        hint=f"{hint}\n{lines}",
    )
