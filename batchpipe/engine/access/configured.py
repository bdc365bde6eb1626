"""The providers that the settings know, and what each of them costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from batchpipe.common.errors import CredentialsError, UsageError
from batchpipe.common.given import home_path
from batchpipe.common.likeness import nearest
from batchpipe.engine.cost.ladder import PriceBook, PriceSource
from batchpipe.engine.cost.pricing import PriceFile, flat_prices, read_prices
from batchpipe.pipeline.variables import expand_variables
from batchpipe.project.provider_tables import ProviderPrices, ProviderTable
from batchpipe.project.settings import Settings
from batchpipe.project.settings_place import settings_table, under
from batchpipe.providers import DEFAULT_PROVIDER, REGISTRY, get_provider_module
from batchpipe.providers.known import KnownProvider, KnownProviders, built_in


def known_providers(settings: Settings) -> KnownProviders:
    """Return the built-in providers and those of the settings.

    Raises UsageError for a table that names no protocol, and for an address that is given twice.
    """
    default = settings.provider or DEFAULT_PROVIDER
    known = {name: built_in(name) for name in REGISTRY}
    known |= {name: _known(name, table) for name, table in settings.providers.items()}
    if settings.emulator:  # it plays the models by their usual names
        known = {name: replace(each, models={}) for name, each in known.items()}
    own = settings.providers.get(default)
    if settings.base_url is not None and own is not None and own.base_url is not None:
        hint = f"Write it once, as base_url {under(f'providers.{default}')}."
        raise UsageError("the address of the default provider is given twice", where="the setting base_url", hint=hint)
    given = {"base_url": settings.base_url is not None, "price_factor": settings.price_factor != 1}
    short_forms = tuple(key for key, is_given in given.items() if is_given)
    return KnownProviders(default=default, by_name=known, short_forms=short_forms)


def _known(name: str, table: ProviderTable) -> KnownProvider:
    protocol = table.protocol or (name if name in REGISTRY else None)
    own = settings_table(f"providers.{name}")
    place = f"{own} protocol"
    protocols = ", ".join(REGISTRY)
    if protocol is None and (near := nearest(name, REGISTRY)):
        hint = f"Did you mean {settings_table(f'providers.{near}')}? Else write how it is spoken to: protocol = ..."
        raise UsageError("the provider has no protocol", where=place, hint=hint)
    if protocol is None:
        hint = f'Write how it is spoken to: protocol = "{DEFAULT_PROVIDER}". There are: {protocols}.'
        raise UsageError("the provider has no protocol", where=place, hint=hint)
    if protocol not in REGISTRY:
        near = nearest(protocol, REGISTRY)
        hint = f"Did you mean {near!r}?" if near else f"There are: {protocols}."
        raise UsageError(f"there is no protocol {protocol!r}", where=place, hint=hint)
    if name in REGISTRY and protocol != name:
        hint = f"Give the table another name than {name}, which is that of a built-in provider."
        raise UsageError(f"the provider {name} speaks its own protocol", where=place, hint=hint)
    _refuse_endpoint(table, protocol, f"{own} endpoint")
    _refuse_address(table, protocol, f"{own} base_url")
    limits = {key: value for key, value in table.limits.model_dump().items() if value is not None}
    found = KnownProvider(
        name=name,
        protocol=protocol,
        endpoint=table.endpoint,
        mode=table.mode,
        models=table.models,
        limits=limits,
        concurrency=table.concurrency,
        keep_results_days=table.keep_results_days,
        upload_files=table.upload_files,
        own_address=name in REGISTRY and table.base_url is None,
    )
    if table.keep_results_days is not None and not found.rules.limits.results_may_expire:
        where = f"{own} keep_results_days"
        what = f"the protocol {protocol} does not let a batch say how long its results stay"
        raise UsageError(what, where=where, hint="Remove the line.")
    return found


def _refuse_endpoint(table: ProviderTable, protocol: str, where: str) -> None:
    """Raise UsageError at `where` for an endpoint that the protocol does not have."""
    endpoints = get_provider_module(protocol).ENDPOINTS
    if table.endpoint is not None and table.endpoint not in endpoints:
        what = f"the protocol {protocol} has no endpoint {table.endpoint!r}"
        hint = f"Write {' or '.join(map(repr, endpoints))}.".replace("'", '"') if endpoints else "Remove the line."
        raise UsageError(what, where=where, hint=hint)


def _refuse_address(table: ProviderTable, protocol: str, where: str) -> None:
    """Raise UsageError at `where` for a base URL that is none; one with a variable is looked at when it is used."""
    if table.base_url is not None and "${" not in table.base_url:
        module = get_provider_module(protocol)
        try:
            module.provider({module.KEY_VARIABLE: "none"}, base_url=table.base_url)
        except CredentialsError as error:
            what = f"{table.base_url!r} is no address that can be called"
            hint = f"{error.hint}, without a user's name, `?` and `#`."
            raise UsageError(what, where=where, hint=hint) from error


def price_book(settings: Settings, root: Path, environment: Mapping[str, str]) -> PriceBook:
    """Return where the prices of each provider come from: its own price file, the project's price file, or the built-in
    table.

    Raises UsageError for a variable that is not set, PipelineError for mistakes in a price file.
    """
    path = settings.path("prices", root, environment)
    shared = read_prices(path) if path else None
    default = settings.provider or DEFAULT_PROVIDER
    found = {default: PriceSource(file=shared, factor=settings.price_factor)}
    for name, table in settings.providers.items():
        file = _own_prices(name, table.prices, root, environment) or shared
        factor = table.price_factor * (settings.price_factor if name == default else 1)
        found[name] = PriceSource(file=file, factor=factor, listed_as=table.price_provider)
    return PriceBook(by_provider=found, others=PriceSource(file=shared))


def _own_prices(
    name: str, prices: ProviderPrices | Path | None, root: Path, environment: Mapping[str, str]
) -> PriceFile | None:
    """Return the prices of the table of provider `name`; None where it has none."""
    if prices is None:
        return None
    if isinstance(prices, Path):
        where = f"the setting providers.{name}.prices"
        return read_prices(root / home_path(expand_variables(str(prices), environment, where), where))
    given: dict[str, Any] = prices.model_dump(exclude_none=True)
    return flat_prices(given, source=f"the settings of {name}")
