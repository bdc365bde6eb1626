"""The tables `[tool.batchpipe.providers.NAME]`: their keys, and how the layers of settings make one table of several.

A layer above another one replaces single keys. A layer that sets `base_url` inherits no `key` and no `headers`: a key
goes to the address that it was written beside.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from batchpipe.common.errors import UsageError
from batchpipe.common.likeness import nearest
from batchpipe.project.settings_place import settings_file, settings_table

PROVIDERS = "providers"
SEPARATOR = "__"
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# A rung that is answered by the machine itself has this name.
RESERVED = ("local",)
SENT_WITH_KEY = ("key", "headers")
# What a name and a value of a header are made of (RFC 9110, 5.1 and 5.5), and the headers that hold keys.
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
HEADER_VALUE = re.compile(r"[\t -~]*")
_HEADERS_OF_KEYS = ("authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie")

# The highest price in US dollars per million tokens, and the highest factor on prices: more is a slip, and no column
# holds the costs.
MOST_USD, MOST_FACTOR = 1_000_000, 1_000
Usd = Annotated[Decimal, Field(ge=0, le=MOST_USD)]


class ProviderLimits(BaseModel):
    """The limits that replace those of the protocol."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_requests: int | None = Field(default=None, ge=1, description="The most requests in a batch.")
    max_bytes: int | None = Field(default=None, ge=1, description="The most bytes in a batch.")
    max_batches: int | None = Field(default=None, ge=1, description="The most batches at once.")
    max_queued_tokens: int | None = Field(
        default=None, ge=1, description="The most input tokens that may wait for one model."
    )


class ProviderPrices(BaseModel):
    """Prices for every model of a provider, in US dollars per million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Usd
    output: Usd
    cache_write_5m: Usd | None = None
    cache_write_1h: Usd | None = None
    cache_read: Usd | None = None


class ProviderTable(BaseModel):
    """The settings of one provider. A `${NAME}` in `base_url`, `key` and `headers` is replaced when it is used."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    protocol: str | None = Field(
        default=None,
        description="The protocol, by the name of a built-in provider. A built-in provider has that of its own name.",
    )
    base_url: str | None = Field(
        default=None, description="The address of the API. Default: the address of the protocol's own provider."
    )
    key: SecretStr | None = Field(
        default=None, description="`${NAME}`: the variable of the environment that holds the key."
    )
    auth_header: Literal["bearer", "x-api-key", "api-key", "x-goog-api-key"] | None = Field(
        default=None, description="The header with the key. Default: the header of the protocol's own provider."
    )
    mode: Literal["batch", "realtime"] | None = Field(
        default=None, description='"realtime" for a provider that has no batches.'
    )
    models: Mapping[str, str] = Field(
        default_factory=dict,
        description="Usual name of a model = its name at this provider. Limits and prices go by the usual name.",
    )
    price_factor: Decimal = Field(
        default=Decimal(1), gt=0, le=MOST_FACTOR, description="Every price of this provider is multiplied by it."
    )
    prices: ProviderPrices | Path | None = Field(
        default=None,
        description="A file with the prices, or a table: `{ input = 0, output = 0 }` in US dollars per million tokens.",
    )
    price_provider: str | None = Field(
        default=None, description="The name under which the built-in price table is read."
    )
    endpoint: str | None = Field(
        default=None, pattern="^/", description="The path of the requests, for a protocol that has several."
    )
    headers: Mapping[str, str] = Field(default_factory=dict, description="More headers, sent with every call.")
    limits: ProviderLimits = Field(
        default_factory=ProviderLimits, description="Limits that replace those of the protocol."
    )
    upload_files: bool | None = Field(
        default=None,
        description="Upload a file once, if many requests send it. Default: only to OpenAI and Gemini themselves.",
    )
    concurrency: int | None = Field(default=None, ge=1, description="The most realtime calls at once.")
    keep_results_days: int | None = Field(
        default=None, ge=1, description="Days that results stay at the provider, for a provider that can be told."
    )


KEYS = tuple(ProviderTable.model_fields)
# What the environment can set: a value, and no table.
SCALARS = tuple(each for each in KEYS if each not in ("models", "headers", "limits"))


def tables_of_variables(values: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the provider tables that variables set, from values by `providers__name__key`.

    Raises UsageError for a name that is none, and for a key that a variable cannot set.
    """
    tables: dict[str, dict[str, str]] = {}
    for variable, value in values.items():
        parts = variable.split(SEPARATOR, 2)
        if parts[0] != PROVIDERS:
            continue
        shown = f"BATCHPIPE_{variable.upper()}"
        name, key = (*parts[1:], "", "")[:2]
        if not NAME.fullmatch(name) or name in RESERVED:
            hint = "Write it like BATCHPIPE_PROVIDERS__NAME__BASE_URL, NAME as it stands before the colon of a model."
            raise UsageError("this does not name a provider and its setting", where=shown, hint=hint)
        if key in KEYS and key not in SCALARS:
            hint = f"Write the table into {settings_file()}: {settings_table(f'providers.{name}.{key}')}"
            raise UsageError(f"a variable cannot set the table `{key}`", where=shown, hint=hint)
        if key not in SCALARS:
            near = nearest(key, SCALARS)
            meant = f"BATCHPIPE_PROVIDERS__{name.upper()}__{(near or 'BASE_URL').upper()}"
            raise UsageError("there is no such setting", where=shown, hint=f"Did you mean {meant}?")
        tables.setdefault(name, {})[key] = value
    return tables


def merged_tables(layers: Iterable[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Return one table for each provider, of the tables in `layers`, of which the first one counts most."""
    merged: dict[str, dict[str, Any]] = {}
    for tables in reversed(list(layers)):
        for name, values in tables.items():
            table = merged.setdefault(name, {})
            if "base_url" in values:
                for key in SENT_WITH_KEY:
                    table.pop(key, None)
            table.update(values)
    return merged


def refuse_unknown_keys(tables: Any, where: str) -> None:
    """Raise UsageError at `where` for `providers` that is no table of tables, and for a name or key that there is not.

    A key in a file has to be the name of a variable: `${NAME}`.
    """
    if not isinstance(tables, dict) or not all(isinstance(each, dict) for each in tables.values()):
        hint = f"Write {settings_table('providers.NAME')}."
        raise UsageError("providers is not a table of tables", where=where, hint=hint)
    for name, table in tables.items():
        place = f"{where}.{name}"
        if not NAME.fullmatch(name) or name in RESERVED:
            what = "the name is reserved" if name in RESERVED else "this cannot be the name of a provider"
            hint = "Names are of small letters, digits and single underscores, as in azure_eu."
            raise UsageError(what, where=place, hint=hint)
        for key in table:
            if key not in KEYS:
                near = nearest(key, KEYS)
                hint = f"Did you mean `{near}`?" if near else f"Its keys are: {', '.join(KEYS)}."
                raise UsageError(f"a provider has no setting `{key}`", where=place, hint=hint)
        key = table.get("key")
        if key is not None and not (isinstance(key, str) and VARIABLE.fullmatch(key)):
            hint = f'Write the name of a variable of the environment: key = "${{{name.upper()}_KEY}}"'
            raise UsageError("a key does not stand in a file", where=f"{place}.key", hint=hint)
        _refuse_texts(table, name, place)


def _refuse_texts(table: Mapping[str, Any], name: str, place: str) -> None:
    """Raise UsageError for a header that cannot be sent or holds a key, and for a model without a name."""
    headers, models = table.get("headers"), table.get("models")
    for header, value in headers.items() if isinstance(headers, dict) else ():
        where = f"{place}.headers.{header}"
        if not _HEADER.fullmatch(header) or (isinstance(value, str) and not HEADER_VALUE.fullmatch(value)):
            hint = "Names have letters, digits and hyphens; values are one line of ASCII."
            raise UsageError("this cannot be sent as a header", where=where, hint=hint)
        if header.lower() in _HEADERS_OF_KEYS and "${" not in str(value):
            hint = f'Write the name of a variable of the environment: "{header}" = "${{{name.upper()}_KEY}}"'
            raise UsageError("a key does not stand in a file", where=where, hint=hint)
    for usual, own in models.items() if isinstance(models, dict) else ():
        if not usual.strip() or (isinstance(own, str) and not own.strip()):
            hint = 'Write "usual name" = "name there".'
            raise UsageError("a model has no name", where=f"{place}.models", hint=hint)
