"""What is known of the provider's models, read from `models.toml`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any

from batchpipe.providers.shared.models import by_model, read_model_data

# A snapshot is named after the month of its preview (`-preview-09-2025`) or by a number (`-001`).
_SNAPSHOT = re.compile(r"(-preview-\d{2}-\d{2,4}|-\d{3})$")
# What can stand in the path of a call. A tuned model is `tunedModels/NAME`.
NAME = re.compile(r"(tunedModels/)?[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """What a model takes. None means that nothing is known, so that nothing is refused.

    `context` and `max_output` are in tokens; thinking is part of the output. `thinking_levels` are the values of
    `effort`, `thinking_default` the one that counts without it. `thinking_budget`: whether the model takes a number of
    tokens for its thinking, from `budget_from` to `budget_to`; `thinking_off`: whether it takes 0. `sampling` is
    "ignored" where temperature, top_p and top_k change nothing.
    """

    name: str = ""
    context: int | None = None
    max_output: int | None = None
    thinking_levels: tuple[str, ...] | None = None
    thinking_default: str | None = None
    thinking_budget: bool | None = None
    thinking_off: bool = False
    budget_from: int = 0
    budget_to: int | None = None
    thinks_by_default: bool = False
    sampling: str | None = None

    @property
    def thinks(self) -> bool:
        """Return whether the model thinks where no setting says how much."""
        return self.thinks_by_default or self.thinking_default in ("low", "medium", "high")


@cache
def model_data() -> Mapping[str, Any]:
    """Return the whole of `models.toml`."""
    return read_model_data(__package__)


@cache
def _by_model() -> Mapping[str, KnownModel]:
    return by_model(model_data(), KnownModel)


def alias(model: str) -> str:
    """Return the model's name without the prefix of its resource and without a snapshot.

    `gemini-2.5-flash` is the name of `models/gemini-2.5-flash`, and of `gemini-2.5-flash-preview-09-2025`.
    """
    return _SNAPSHOT.sub("", model.removeprefix("models/"))


def find_model(model: str) -> KnownModel:
    """Return what is known of `model`; for a model that is not listed that is nothing."""
    return _by_model().get(alias(model), KnownModel())


def cached_from(model: str) -> int:
    """Return the fewest tokens of a prefix that `model` caches; for a model that is not listed, the most of all."""
    found = model_data()["cached_from"]
    return int(found.get(alias(model), found["default"]))


def listed_models() -> tuple[str, ...]:
    """Return the names of all models in `models.toml`."""
    return tuple(_by_model())


def retires(model: str) -> date | None:
    """Return the last day of a model that is being retired, or was; None for any other model."""
    found = model_data()["retires"].get(alias(model))
    return found if isinstance(found, date) else None
