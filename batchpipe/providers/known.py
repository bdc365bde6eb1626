"""Find the provider that a model's name means: the built-in ones and those of the settings, each with its protocol."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from batchpipe.common.errors import PipelineError
from batchpipe.common.likeness import nearest
from batchpipe.project.settings_place import settings_file, settings_table, under
from batchpipe.providers import DEFAULT_PROVIDER, MODEL_NAMES, REGISTRY, get_provider_module
from batchpipe.providers.interface import ProviderModule, ProviderRules
from batchpipe.providers.values import Limits, RungSettings

Mode = Literal["batch", "realtime"]

# The bytes per token by which a batch is held to the size of a queue: texts of all languages have about 3 to 6.
BYTES_A_TOKEN = 3
DAY_SECONDS = 86_400
# What can be the name of a provider.
PROVIDER_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
# The name of a whole model, as `family-number` or `vendor/family-number`, and the prefix of names of fine-tuned models.
_WHOLE_MODEL = re.compile(r"([a-z][a-z0-9._-]*/)*[a-z][a-z0-9.]*-[a-z0-9.-]+")
_FINE_TUNED = "ft"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownProvider:
    """A provider that a model may name: `protocol` is how it is spoken to.

    `models` has the provider's own names of models, by the usual names. `limits` are those that replace the
    protocol's. `own_address` says that it is the built-in provider at the address of its own, so that its list of
    models is known. `upload_files` says whether it takes files that requests name; None: as it is usual.
    """

    name: str
    protocol: str
    endpoint: str | None = None
    mode: Mode | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    concurrency: int | None = None
    keep_results_days: int | None = None
    own_address: bool = True
    upload_files: bool | None = None

    @property
    def uploads_files(self) -> bool:
        """Return whether files are uploaded once for many requests; not at a gateway unless its table says so."""
        return self.name in REGISTRY if self.upload_files is None else self.upload_files

    @property
    def module(self) -> ProviderModule:
        """Return the module of the protocol, which is imported now."""
        return get_provider_module(self.protocol)

    @property
    def rules(self) -> ProviderRules:
        """Return the rules for what is sent to this provider."""
        return self.module.rules(self.endpoint)

    @property
    def batch_limits(self) -> Limits:
        """Return the limits on one batch: the protocol's, as far as the settings name no other."""
        own: dict[str, Any] = {key: value for key, value in self.limits.items() if key != "max_queued_tokens"}
        found = replace(self.rules.limits, **own)
        if self.results_seconds is not None:
            found = replace(found, results_seconds=self.results_seconds)
        tokens = self.limits.get("max_queued_tokens")
        return found if tokens is None else replace(found, max_token_bytes=tokens * BYTES_A_TOKEN)

    @property
    def results_seconds(self) -> int | None:
        """Return how long results are to stay there. None: as long as the provider keeps them."""
        days = self.keep_results_days
        longest = self.rules.limits.results_seconds
        return None if days is None else min(days * DAY_SECONDS, longest)

    def named(self, rung: RungSettings) -> RungSettings:
        """Return `rung` with the provider's own name of the model."""
        name = self.models.get(rung.model)
        return rung if name is None else replace(rung, model=name, known_as=rung.model)

    def own_name(self, model: str) -> str:
        """Return the provider's own name of a model."""
        return self.models.get(model, model)

    def usual_name(self, model: str, asked: Iterable[str] = ()) -> str:
        """Return the usual name of a model that the provider calls `model`: of several that of the one that was `asked`
        for, by its usual name.
        """
        named = next((each for each in asked if self.own_name(each) == model), None)
        return named or next((usual for usual, own in self.models.items() if own == model), model)


def built_in(name: str) -> KnownProvider:
    """Return the built-in provider `name` as it is without settings."""
    return KnownProvider(name=name, protocol=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownProviders:
    """All providers that a model may name, and the `default` of models without a prefix.

    `short_forms` are the settings that are meant for the default provider alone.
    """

    default: str = DEFAULT_PROVIDER
    by_name: Mapping[str, KnownProvider] = field(default_factory=lambda: {name: built_in(name) for name in REGISTRY})
    short_forms: tuple[str, ...] = ()

    def split(self, model: str) -> tuple[str, str]:
        """Split `provider:model` into its two parts. A model without a prefix belongs to the default provider.

        A colon may belong to the model's name, as in `ft:base:team` or `name-v1:0`. What stands before it is a provider
        where it is a known one, or was meant to be: it is written almost like one, or stands before the name of a whole
        model.
        """
        provider, separator, name = model.partition(":")
        if not separator:
            return self.default, model
        if provider in self.by_name:
            return provider, name
        meant = difflib.get_close_matches(provider.strip().lower(), self.by_name, 1, 0.75) or _WHOLE_MODEL.fullmatch(
            name
        )
        return (provider, name) if meant and provider != _FINE_TUNED else (self.default, model)

    def of(self, name: str, *, where: str = "provider") -> KnownProvider:
        """Return the provider `name`.

        Raises PipelineError at `where` for one that is not known, and for another than the default one while the
        settings have a key that is meant for that one alone.
        """
        found = self.by_name.get(name)
        if found is not None and name != self.default and self.short_forms:
            key = self.short_forms[0]
            hint = f"Write {key} {under(f'providers.{self.default}')}."
            raise PipelineError(f"the setting `{key}` does not say which provider it is for", where=where, hint=hint)
        if found is not None:
            return found
        near = nearest(name.strip(), self.by_name)
        known = ", ".join(sorted(self.by_name))
        hint = f"Did you mean `{near}`?" if near else f"Known providers: {known}."
        if name == self.default:
            hint += " It is the default provider: correct the setting `provider`, or the variable BATCHPIPE_PROVIDER."
        else:
            hint += f" If `{name}:` begins the model's name, write the provider before it: {self.default}:{name}:..."
        if PROVIDER_NAME.fullmatch(name):
            hint += f" To add a provider: {settings_table(f'providers.{name}')} in {settings_file()}."
        raise PipelineError(f"there is no provider `{name}`", where=where, hint=hint)

    def recorded(self, name: str, protocol: str, endpoint: str | None) -> KnownProvider:
        """Return the provider that had the name `name` and spoke `protocol` when something was sent to it."""
        found = self.by_name.get(name)
        if found is None or found.protocol != protocol:
            return KnownProvider(name=name, protocol=protocol, endpoint=endpoint, own_address=False)
        return found if found.endpoint == endpoint else replace(found, endpoint=endpoint)

    def labelled(self, name: str) -> KnownProvider | None:
        """Return the provider that has this name now; None where none has."""
        return self.by_name.get(name)

    def full_name(self, rung: RungSettings) -> str:
        """Return the name of a rung's model as a pipeline file may have it: with a prefix where one is needed."""
        plain = rung.provider in ("", self.default) and self.split(rung.model)[1] == rung.model
        return rung.model if plain else f"{rung.provider or self.default}:{rung.model}"

    def shown(self, model: str) -> str:
        """Return a model's name of a pipeline file without the prefix of the default provider."""
        provider, name = self.split(model)
        return self.full_name(RungSettings(model=name, max_tokens=1, provider=provider))

    def owner(self, provider: KnownProvider, model: str) -> str | None:
        """Return the other built-in provider whose model `model` is by its name, where `provider` cannot have it."""
        if not provider.own_address or re.match(MODEL_NAMES[provider.protocol], model):
            return None
        owners = [name for name in REGISTRY if name != provider.protocol and re.match(MODEL_NAMES[name], model)]
        return next(iter(owners), None)


def with_provider(provider: str | None, model: str) -> str:
    """Return a model as it is shown: with its provider before it, unless that is the usual one."""
    if provider is not None and model.startswith(f"{provider}:"):
        return model
    return model if provider in (None, "", DEFAULT_PROVIDER) else f"{provider}:{model}"
