"""What is known of the provider's models, read from `models.toml`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any

from batchpipe.providers import Mode
from batchpipe.providers.shared.models import by_model, read_model_data

_SNAPSHOT_DATE = re.compile(r"[-@]\d{8}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """What a model takes. None means that nothing is known, so that nothing is refused.

    `context`, `max_output` and `long_output` are in tokens; `long_output` is the most output in a batch, for which the
    request needs a beta header. `sampling`, `effort`, `inference_geo`: whether the model takes these settings.
    `thinking`: the types of thinking that it takes.
    """

    name: str = ""
    context: int | None = None
    max_output: int | None = None
    long_output: int | None = None
    sampling: bool | None = None
    one_sampling: bool = False  # takes temperature or top_p, not both
    thinking: tuple[str, ...] | None = None
    thinking_deprecated: tuple[str, ...] = ()
    thinks_by_default: bool = False
    disabled_up_to_high: bool = False  # thinking can be turned off only up to effort "high"
    effort: bool | None = None
    inference_geo: bool | None = None


def most_output(model: KnownModel, mode: Mode) -> int | None:
    """Return the most output tokens of a model in this mode."""
    return (model.long_output if mode == "batch" else None) or model.max_output


@cache
def model_data() -> Mapping[str, Any]:
    """Return the whole of `models.toml`."""
    return read_model_data(__package__)


@cache
def _by_model() -> Mapping[str, KnownModel]:
    return by_model(model_data(), KnownModel)


def alias(model: str) -> str:
    """Return the model's name without the date of a snapshot: `claude-haiku-4-5` for `claude-haiku-4-5-20251001`."""
    return _SNAPSHOT_DATE.sub("", model)


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
