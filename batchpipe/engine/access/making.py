"""Make a provider: its key and headers come out of the environment, its address out of the settings.

A key is sent only to the address that it belongs to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from batchpipe.common.errors import CredentialsError
from batchpipe.common.secrets import redacted, remember
from batchpipe.pipeline.variables import expand_variables
from batchpipe.project.dotenv_file import credentials, place_of, place_of_address
from batchpipe.project.provider_tables import HEADER_VALUE, VARIABLE, ProviderTable
from batchpipe.project.settings import PREFIX, Settings
from batchpipe.project.trust import Place, Sending, Trust, address_of, variables_sent
from batchpipe.providers import REGISTRY, Provider
from batchpipe.providers.known import KnownProvider
from batchpipe.providers.shared.credentials import checked_key, checked_proxies

if TYPE_CHECKING:
    import httpx2

# A server that you run yourself reads no key, but some refuse a call that has none.
NO_KEY = "no-key"
NO_TABLE = ProviderTable()


class _Secret(NamedTuple):
    """A value that is sent, and the variable that holds it."""

    variable: str
    value: str


def shown_url(url: str) -> str:
    """Return a base URL as it is recorded: one with a value of `${NAME}` without it, and with a hash that tells it
    from others.
    """
    url = url.rstrip("/")
    shown = redacted(url)
    return url if shown == url else f"{shown} ({hashlib.sha256(url.encode()).hexdigest()[:8]})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Makes the providers of a project. `ask` puts a question to a person, `transport` carries HTTP requests.

    `environment` is that of the process. `variables` returns the values for `${NAME}`: the process's environment, and
    the `.env` file if git does not track it.
    """

    settings: Settings
    root: Path
    environment: Mapping[str, str]
    variables: Callable[[], Mapping[str, str]]
    ask: Callable[[str], bool] | None
    transport: httpx2.BaseTransport | None

    def url(self, provider: KnownProvider) -> str:
        """Return the address of a provider as it is recorded. Raises UsageError for a variable that is not set."""
        module = provider.module
        self._remember(provider)
        found = credentials(self.environment, self.root, (module.BASE_URL_VARIABLE,))
        values = {name: secret.get_secret_value() for name, secret in found.items()}
        made = module.provider(
            {**values, module.KEY_VARIABLE: NO_KEY}, base_url=self._base_url(provider), endpoint=provider.endpoint
        )
        return shown_url(made.base_url)

    def _remember(self, provider: KnownProvider) -> None:
        """Let no text show the keys of a provider that is not called: what it has said may be read and shown, as when
        the raw folder is replayed.
        """
        found = credentials(self.environment, self.root, provider.module.KEY_VARIABLES)
        for name, secret in found.items():
            remember(secret.get_secret_value(), "${" + name + "}")
        with suppress(CredentialsError):
            key = self._key(provider)
            for each in [*([key] if key is not None else []), *self._secrets_of_table(provider)]:
                remember(each.value, "${" + each.variable + "}")

    def make(self, provider: KnownProvider) -> Provider:
        """Return a provider with its calls.

        Raises CredentialsError without a key, where a key may not be sent to the address, and for a proxy that cannot
        be used.
        """
        checked_proxies()
        module, table = provider.module, self._table(provider)
        found = credentials(self.environment, self.root, module.VARIABLES)
        values = {name: secret.get_secret_value() for name, secret in found.items()}
        key = self._key(provider)
        if key is not None or not self._has_usual_key(provider):
            # The other variables are of the account that the usual key belongs to.
            address = {name: value for name, value in values.items() if name == module.BASE_URL_VARIABLE}
            values = address | {module.KEY_VARIABLE: key.value if key is not None else NO_KEY}
        else:
            used = next((name for name in module.KEY_VARIABLES if name in found), None)
            key = _Secret(used, values[used]) if used is not None else None
        secrets = [*([key] if key is not None else []), *self._secrets_of_table(provider)]
        for each in secrets:
            remember(each.value, "${" + each.variable + "}")
        if key is not None:
            checked_key(key.value, name=key.variable, provider=provider.name)
        made = module.provider(
            values,
            base_url=self._base_url(provider),
            auth_header=table.auth_header,
            headers=self._headers(provider, table),
            endpoint=provider.endpoint,
            transport=self.transport,
        )
        for each in secrets:
            self._require_trust(provider, made, each.variable)
        return made

    def emulated(self, provider: KnownProvider, url: str, key: str) -> Provider:
        """Return a provider that the emulator at `url` plays. It needs no key, and no header is sent to it."""
        checked_proxies()
        module = provider.module
        path = urlsplit(module.DEFAULT_BASE_URL).path.rstrip("/")
        return module.provider({module.KEY_VARIABLE: key}, base_url=url + path, endpoint=provider.endpoint)

    def _table(self, provider: KnownProvider) -> ProviderTable:
        return self.settings.providers.get(provider.name, NO_TABLE)

    def _base_url(self, provider: KnownProvider) -> str | None:
        """Return the address that the settings give a provider; None where they give none."""
        own = self._table(provider).base_url
        if own is not None:
            return self._expanded(own, provider, "base_url")
        short = self._given_url(provider)
        return self.settings.text("base_url", self._variables_of(short)) if short is not None else None

    def _given_url(self, provider: KnownProvider) -> str | None:
        """Return the address that the settings give a provider, as it stands there; None where they give none."""
        return self._table(provider).base_url or (self.settings.base_url if self._is_default(provider) else None)

    def _is_default(self, provider: KnownProvider) -> bool:
        """Return whether the short forms of the settings are meant for `provider`."""
        return provider.name == (self.settings.provider or next(iter(REGISTRY)))

    def _has_usual_key(self, provider: KnownProvider) -> bool:
        """Return whether the usual variables of the protocol hold the provider's key. They do for the built-in
        provider, and for a provider at the same address.
        """
        return provider.name in REGISTRY or self._base_url(provider) is None

    def _key(self, provider: KnownProvider) -> _Secret | None:
        """Return the key of the provider's table, with its variable; None where the table has none.

        Raises CredentialsError where the variable is not set.
        """
        secret = self._table(provider).key
        if secret is None:
            return None
        text = secret.get_secret_value()
        found = VARIABLE.fullmatch(text)
        if found is None:
            return _Secret(self._variable(provider, "KEY"), text)
        value = credentials(self.environment, self.root, (found[1],)).get(found[1])
        if value is None:
            raise CredentialsError(
                f"there is no key for the provider {provider.name}",
                where=found[1],
                hint=f"Set {found[1]} in the environment or in .env; `--emulator` needs none.",
            )
        return _Secret(found[1], value.get_secret_value().strip())

    def _headers(self, provider: KnownProvider, table: ProviderTable) -> dict[str, str]:
        """Return the headers of a table with the values of their variables.

        Raises UsageError for a variable that is not set, CredentialsError for a value that cannot be sent.
        """
        found = {}
        for name, text in table.headers.items():
            found[name] = self._expanded(text, provider, f"headers.{name}")
            held = ", ".join(each[1] for each in VARIABLE.finditer(text))
            place = held or f"the setting providers.{provider.name}.headers.{name}"
            if found[name] != found[name].strip() or not HEADER_VALUE.fullmatch(found[name]):
                hint = "Write one line of ASCII, without spaces or a line's end around it."
                raise CredentialsError(f"{place} holds characters that a header cannot hold", where=place, hint=hint)
        return found

    def _secrets_of_table(self, provider: KnownProvider) -> Iterator[_Secret]:
        """Yield the variables in the headers of a provider, and those in its address that are sent, with their values,
        as far as they are set.
        """
        names = [found[1] for text in self._table(provider).headers.values() for found in VARIABLE.finditer(text)]
        for name in dict.fromkeys([*names, *variables_sent(self._given_url(provider) or "")]):
            if value := self.variables().get(name):
                yield _Secret(name, value)

    def _variables_of(self, text: str) -> Mapping[str, str]:
        """Return what the variables in `text` stand for; where there are none, git is not asked about `.env`."""
        return self.variables() if "${" in text else self.environment

    def _expanded(self, text: str, provider: KnownProvider, key: str) -> str:
        return expand_variables(text, self._variables_of(text), f"the setting providers.{provider.name}.{key}")

    @staticmethod
    def _variable(provider: KnownProvider, key: str) -> str:
        """Return the variable that sets `key` of the provider's table."""
        return f"{PREFIX}PROVIDERS__{provider.name.upper()}__{key}"

    def _require_trust(self, provider: KnownProvider, made: Provider, variable: str) -> None:
        """Check that what `variable` holds may be sent to the provider's address. Raises CredentialsError."""
        root, environment, module = self.root, self.environment, provider.module
        url = self._given_url(provider)
        place: Place | None
        if address_of(made.base_url) == address_of(module.DEFAULT_BASE_URL):
            place = "provider"
        elif url is None:
            place = place_of(root, environment, module.BASE_URL_VARIABLE)
        else:
            is_own = self._table(provider).base_url is not None
            named_by = self._variable(provider, "BASE_URL") if is_own else f"{PREFIX}BASE_URL"
            place = place_of_address(root, environment, self._variables_of(url), url, named_by)
        key_place = place_of(root, environment, variable) or "repository"
        sending = Sending(variable=variable, key_place=key_place, url=made.base_url, url_place=place or "provider")
        Trust(environment=environment, ask=self.ask).require(sending)
