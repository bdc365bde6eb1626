"""Settings of a machine or a team: the database file, the provider, the time between polls, and others.

A setting is taken from the first of these that has it: the command line, `BATCHPIPE_*` variables, the `.env` of the
project root, `[tool.batchpipe.env.NAME]`, `[tool.batchpipe]`, the defaults. The two tables are in `batchpipe.toml` or
in `pyproject.toml`; `batchpipe.toml` may have the keys at its top level instead, with `[env.NAME]` beside them.
The tables of `providers` are merged key by key.
"""

from __future__ import annotations

import os
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from batchpipe.common.errors import UsageError
from batchpipe.common.given import home_path, is_utf_8
from batchpipe.common.likeness import nearest
from batchpipe.pipeline.model import Budget
from batchpipe.pipeline.variables import expand_variables
from batchpipe.project.dotenv_file import dotenv_variables
from batchpipe.project.notify import Notify
from batchpipe.project.provider_tables import (
    MOST_FACTOR,
    PROVIDERS,
    SEPARATOR,
    ProviderLimits,
    ProviderPrices,
    ProviderTable,
    merged_tables,
    refuse_unknown_keys,
    tables_of_variables,
)
from batchpipe.project.settings_place import SettingsPlace, remember_place, settings_table

PREFIX = "BATCHPIPE_"
# Variables of that prefix that are no settings: the CI file that `init` writes installs batchpipe by the first, the
# second confirms addresses, and the third is what the proxy before `serve` knows.
NO_SETTINGS = {"wheel", "trust", "proxy_secret"}
EMULATOR_POLL_SECONDS = 0.2
BUDGET, NOTIFY = "budget", "notify"
# The keys of the tables within the settings.
_KEYS_OF: Mapping[str, Sequence[str]] = {
    BUDGET: tuple(Budget.model_fields),
    NOTIFY: tuple(Notify.model_fields),
    "limits": tuple(ProviderLimits.model_fields),
    "prices": tuple(ProviderPrices.model_fields),
}
POLL_SECONDS = 60.0


LONGEST_SECONDS = 1e9  # thirty years: a date that far away can still be written


def _poll_seconds(earlier: dict[str, Any]) -> float:
    return EMULATOR_POLL_SECONDS if earlier.get("emulator") else POLL_SECONDS


def _table(value: Any) -> Any:
    """Return a text, as a variable has it, as the table that it is in TOML: `{ max_usd = 5 }`."""
    if not isinstance(value, str):
        return value
    try:
        return tomllib.loads(f"value = {value}", parse_float=Decimal)["value"]
    except tomllib.TOMLDecodeError as error:
        raise ValueError("write a table of TOML: { max_usd = 5 }") from error


class Settings(BaseSettings):
    """The settings of one command. A `${NAME}` in them is replaced by `text`, `path` and `database_path`."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    database: Path = Field(default=Path("batchpipe.duckdb"), description="The DuckDB file, from the root.")
    emulator: bool = Field(default=False, description="Use the built-in emulator in place of a provider.")
    emulator_answers: Path | None = Field(default=None, description="File of answers for the emulator.")
    emulator_faults: Path | None = Field(default=None, description="File of faults for the emulator.")
    emulator_delay: float | None = Field(default=None, ge=0, description="Seconds until a batch ends.")
    poll_interval: float = Field(
        default_factory=_poll_seconds,
        gt=0,
        le=LONGEST_SECONDS,
        description="Seconds between polls of a batch: 60; with the emulator 0.2.",
    )
    reconcile_wait: float = Field(
        default=600.0,
        ge=0,
        le=LONGEST_SECONDS,
        description="Seconds after which a submit of unknown outcome counts as lost, if the provider lists no batch.",
    )
    confirm_above_usd: Decimal = Field(
        default=Decimal(5), ge=0, description="On a terminal, ask above this many US dollars."
    )
    provider: str | None = Field(default=None, description="Provider of models without a prefix.")
    base_url: str | None = Field(default=None, description="Base URL of the provider's API.")
    shared: bool = Field(
        default=False, description="Let others than the owner read `.batchpipe`, as far as the umask lets them."
    )
    log_format: Literal["text", "json"] = Field(default="text", description="Format of log lines.")
    price_factor: Decimal = Field(default=Decimal(1), gt=0, le=MOST_FACTOR, description="Factor on every price.")
    prices: Path | None = Field(default=None, description="File of prices that replace the built-in ones.")
    budget: Annotated[Budget, BeforeValidator(_table)] = Field(
        default_factory=Budget,
        description="Table with the keys of `[budget]`: what all pipelines of the project may spend together.",
    )
    notify: Annotated[Notify | None, BeforeValidator(_table)] = Field(
        default=None,
        description="Table: a `command` or a `webhook` that is told how runs ended and which batches are stuck.",
    )
    providers: Mapping[str, ProviderTable] = Field(
        default_factory=dict, description="A table for each provider beside the built-in ones, or instead of them."
    )

    def text(self, key: str, environment: Mapping[str, str]) -> str | None:
        """Return the setting `key` as text with `${NAME}` replaced; None if it is not set.

        Raises UsageError for a variable that is not set.
        """
        value = getattr(self, key)
        return None if value is None else expand_variables(str(value), environment, f"the setting {key}")

    def path(self, key: str, root: Path, environment: Mapping[str, str]) -> Path | None:
        """Return the absolute path of the file that the setting `key` names; a relative one starts at `root`.

        Raises UsageError for a variable that is not set.
        """
        text = self.text(key, environment)
        return None if text is None else root / home_path(text, f"the setting {key}")

    def database_path(self, root: Path, environment: Mapping[str, str]) -> Path:
        """Return the absolute path of the database file.

        Raises UsageError for a file called ledger.duckdb, and for a path that DuckDB cannot use.
        """
        path = root / home_path(self.text("database", environment) or "", "the setting database")
        if path.stem.lower() == "ledger":
            what = f"the database cannot be called {path.name}"
            hint = "Rename the file: DuckDB names the catalog after it, and ledger.requests would be ambiguous."
            raise UsageError(what, where="the setting database", hint=hint)
        refuse_signs(path)
        return path


def refuse_signs(path: Path) -> None:
    """Raise UsageError where `path` has a sign that DuckDB does not take as a part of a name.

    A `?` ends the name of a database, `*` and `?` stand for other files, and a backslash separates folders. Names are
    UTF-8 text for DuckDB.
    """
    if not is_utf_8(str(path)):
        odd = next(each for each in (*reversed(path.parents), path) if not is_utf_8(each.name))
        hint = "Rename it, or choose another name: DuckDB takes no other names."
        raise UsageError("the name is not UTF-8 text", where=str(odd), hint=hint)
    sign = next((each for each in "?*\\" if each in str(path) and each != os.sep), None)
    if sign is not None:
        odd = next(each for each in (*reversed(path.parents), path) if sign in each.name)
        what = f"the name {odd.name} has a {sign}, which DuckDB does not take as a part of a name"
        renamed = odd.with_name(odd.name.replace(sign, "_"))
        if odd.exists():
            hint = f"Rename it: mv {shlex.quote(str(odd))} {shlex.quote(str(renamed))}"
        else:
            hint = f"Choose another name: {shlex.quote(str(renamed))}"
        raise UsageError(what, where=str(odd), hint=hint)


@dataclass(frozen=True, slots=True)
class Layer:
    """One source of settings: its values by key as they were read, and how a message names the place of a key."""

    name: str
    values: Mapping[str, Any]
    prefix: str = ""

    def where(self, key: str) -> str:
        """Return the place of `key` for a message."""
        shown = f"{self.prefix}{key.upper()}" if self.prefix else key
        return f"{self.name} {shown}".strip()


class _LayerSource(PydanticBaseSettingsSource):
    """A layer in the form that pydantic-settings reads."""

    def __init__(self, settings: type[BaseSettings], layer: Layer) -> None:
        super().__init__(settings)
        self.layer = layer

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self.layer.values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return dict(self.layer.values)


def load_settings(
    root: Path,
    *,
    environment: Mapping[str, str],
    command_line: Mapping[str, Any] | None = None,
    env: str | None = None,
    given_in: str = "the command line",
) -> Settings:
    """Return the settings of the project at `root`, read from `environment`, `command_line` and files in `root`.

    A value of None in `command_line` counts as not given; `given_in` is what messages call its place. `env` is the
    value of `--env`. Raises UsageError, with its place, for an unknown key or a bad value.
    """
    given = _layers(root, environment, command_line or {}, env, given_in)
    layers = _with_merged_providers(given)
    for layer in layers:
        _refuse_unknown(layer)

    class Layered(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_: Any, **__: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return tuple(_LayerSource(settings_cls, layer) for layer in layers)

    try:
        settings = Layered()
    except ValidationError as error:
        raise _bad_value(error, layers, given) from error
    if "${" not in str(settings.database):
        settings.database_path(root, {})
    return settings


def _layers(
    root: Path, environment: Mapping[str, str], command_line: Mapping[str, Any], env: str | None, given_in: str
) -> list[Layer]:
    given = {key: value for key, value in command_line.items() if value is not None}
    return [
        Layer(given_in, given),
        Layer("the environment variable", _prefixed(environment), PREFIX),
        Layer(".env", _prefixed(dotenv_variables(root)), PREFIX),
        *_file_layers(root, env),
    ]


def _with_merged_providers(layers: Sequence[Layer]) -> list[Layer]:
    """Return `layers` without their provider tables, below a layer of the tables that these make together.

    Raises UsageError for a table that is none, or has a key that there is not.
    """
    tables = []
    for layer in layers:
        if layer.prefix:
            given: Any = tables_of_variables(layer.values)
        else:
            given = layer.values.get(PROVIDERS, {})
            refuse_unknown_keys(given, f"{layer.name} {PROVIDERS}")
        tables.append(given)
    found = merged_tables(tables)
    if not found:
        return list(layers)
    left = [
        replace(
            layer,
            values={key: value for key, value in layer.values.items() if key.partition(SEPARATOR)[0] != PROVIDERS},
        )
        for layer in layers
    ]
    return [Layer("the settings", {PROVIDERS: found}), *left]


def _prefixed(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the values of the `BATCHPIPE_*` variables by setting; "" counts as not set."""
    return {
        name[len(PREFIX) :].lower(): value
        for name, value in variables.items()
        if name.upper().startswith(PREFIX) and value and name[len(PREFIX) :].lower() not in NO_SETTINGS
    }


def _file_layers(root: Path, env: str | None) -> list[Layer]:
    """Return `[tool.batchpipe.env.NAME]` if `env` is given, then `[tool.batchpipe]`."""
    shown, table = _tool_table(root)
    environments = table.get("env", {})
    if not isinstance(environments, dict) or not all(isinstance(each, dict) for each in environments.values()):
        raise UsageError("env is not a table of tables", where=shown, hint=f"Write {settings_table('env.NAME')}.")
    layers = [Layer(shown, {key: value for key, value in table.items() if key != "env"})]
    for name, values in environments.items():
        _refuse_unknown(Layer(f"{shown}, env {name},", values))
    if env is None:
        return layers
    if env not in environments:
        known = f"There are: {', '.join(sorted(environments))}." if environments else "There is none yet."
        hint = f"{known} To add it, write the table {settings_table(f'env.{env}')} with its settings."
        raise UsageError(f"there is no environment {env!r}", where=shown, hint=hint)
    return [Layer(f"{shown}, env {env},", environments[env]), *layers]


def _tool_table(root: Path) -> tuple[str, dict[str, Any]]:
    """Return what a message calls the table of settings in the project's files, and the table; remember the place.

    Raises UsageError if more than one place has settings.
    """
    own = _toml(root / "batchpipe.toml")
    tool = own.pop("tool", {}).get("batchpipe", {})
    shared = _toml(root / "pyproject.toml").get("tool", {}).get("batchpipe", {})
    at_top, in_pyproject = SettingsPlace("batchpipe.toml", at_top=True), SettingsPlace()
    sources = ((at_top, own), (SettingsPlace("batchpipe.toml"), tool), (in_pyproject, shared))
    given = [(place, table) for place, table in sources if table]
    if len(given) > 1:
        shown = " and ".join(place.shown for place, _ in given)
        hint = (
            "Move all of them into one place; at the top level of batchpipe.toml [tool.batchpipe.budget] is [budget]."
        )
        raise UsageError("there are settings in two places", where=shown, hint=hint)
    usual = at_top if (root / "batchpipe.toml").is_file() else in_pyproject
    place, table = given[0] if given else (usual, {})
    remember_place(place)
    return place.shown, table


def _toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"), parse_float=Decimal)
    except OSError as error:
        hint = "Let this user read it: the settings in it are needed before anything else."
        raise UsageError(f"the file cannot be read: {error.strerror}", where=path.name, hint=hint) from error
    except ValueError as error:
        hint = 'Write strings in quotes (key = "text"), tables in [brackets], and commas between the items of a list.'
        raise UsageError(f"not valid TOML: {error}", where=path.name, hint=hint) from error


def _refuse_unknown(layer: Layer) -> None:
    names = list(Settings.model_fields)
    for key in layer.values:
        if key in names:
            continue
        close = nearest(key, names if layer.prefix else [*names, "env"])
        shown = f"{layer.prefix}{close.upper()}" if close and layer.prefix else close
        hint = f"Did you mean {shown}?" if close else f"Known settings: {', '.join(names)}."
        raise UsageError("there is no such setting", where=layer.where(key), hint=hint)


def _place_in_tables(loc: Sequence[int | str], given: Sequence[Layer]) -> str:
    """Return the place of a key of a provider's table, in the first of the layers that has it."""
    name, key = (*map(str, loc[1:3]), "", "")[:2]
    rest = [str(each) for each in loc[3:] if "[" not in str(each) and each != ProviderPrices.__name__]
    for layer in given:
        variable = SEPARATOR.join((PROVIDERS, name, key))
        if layer.prefix and variable in layer.values:
            return layer.where(variable)
        table = layer.values.get(PROVIDERS, {}) if not layer.prefix else {}
        if isinstance(table, dict) and key in table.get(name, {}):
            return layer.where(".".join((PROVIDERS, name, key, *rest)))
    return f"the settings {'.'.join((PROVIDERS, name, key, *rest))}".rstrip(".")


def _known_key(loc: Sequence[int | str]) -> str | None:
    """Return what to write for a key that its table does not have; None where the table's keys are not listed."""
    keys = next((_KEYS_OF[str(each)] for each in reversed(loc[:-1]) if str(each) in _KEYS_OF), None)
    if keys is None:
        return None
    near = nearest(str(loc[-1]), keys)
    return f"Did you mean {near}?" if near else f"Its keys are: {', '.join(keys)}."


def _bad_value(error: ValidationError, layers: Sequence[Layer], given: Sequence[Layer]) -> UsageError:
    """Return the first error, with the source that its value came from: one of the layers as they were `given`."""
    first = error.errors(include_url=False)[0]
    said = first["msg"].removeprefix("Value error, ")
    said = said[:1].upper() + said[1:]
    key = str(first["loc"][0])
    layer = next((each for each in layers if key in each.values), layers[-1])
    unknown = _known_key(first["loc"]) if first["type"] == "extra_forbidden" else None
    hint = unknown or f"{said}."
    if key == PROVIDERS:
        secret = next((each for each in ("key", "headers") if each in first["loc"][2:3]), None)  # they are not shown
        what = f"{first.get('input')!r} is not valid" if secret is None else f"the {secret} cannot be read"
        return UsageError(what, where=_place_in_tables(first["loc"], given), hint=hint)
    if key == NOTIFY:  # its values may be secret
        place = ".".join(str(each) for each in first["loc"][:2])
        what = "the table is not valid" if place == key else f"{place} is not valid"
        return UsageError(what, where=layer.where(place), hint=hint)
    if unknown is not None:
        place = ".".join(str(each) for each in first["loc"])
        return UsageError("there is no such key", where=layer.where(place), hint=hint)
    value = layer.values.get(key)
    what = f"{repr(value) if isinstance(value, str) else value} is not valid"
    about = Settings.model_fields[key].description
    return UsageError(what, where=layer.where(key), hint=f"{hint} {key}: {about}")
