"""What is known of the models, read from `models.toml`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources
from typing import Any

_SNAPSHOT_DATE = re.compile(r"[-@]\d{8}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """One generation of models. None means that nothing is known, so that nothing is refused.

    `context`, `max_output` and `long_output` (a batch's own limit, under a beta header) are in tokens.
    """

    name: str = ""
    context: int | None = None
    max_output: int | None = None
    long_output: int | None = None
    sampling: bool | None = None
    one_sampling: bool = False  # temperature or top_p, not both
    thinking: tuple[str, ...] | None = None
    thinking_deprecated: tuple[str, ...] = ()
    thinks_by_default: bool = False
    disabled_up_to_high: bool = False  # thinking can be off only up to effort "high"
    effort: bool | None = None
    inference_geo: bool | None = None


@cache
def model_data() -> Mapping[str, Any]:
    """The whole of `models.toml`."""
    return tomllib.loads(resources.files(__package__).joinpath("models.toml").read_text("utf-8"))


@cache
def _by_model() -> Mapping[str, KnownModel]:
    found = {}
    for generation in model_data()["generations"]:
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in generation.items()
        }
        models = values.pop("models")
        found.update(dict.fromkeys(models, KnownModel(**values)))
    return found


def alias(model: str) -> str:
    """The model without a snapshot's date: `claude-haiku-4-5-20251001` is `claude-haiku-4-5`."""
    return _SNAPSHOT_DATE.sub("", model)


def find_model(model: str) -> KnownModel:
    """What is known of `model`; nothing for a model that is not listed."""
    return _by_model().get(alias(model), KnownModel())


def cached_from(model: str) -> int:
    """The shortest prefix (tokens) of `model` that is cached; the largest known where nobody knows it."""
    found = model_data()["cached_from"]
    return int(found.get(alias(model), found["default"]))


def listed_models() -> tuple[str, ...]:
    return tuple(_by_model())


def retires(model: str) -> date | None:
    """The last day of a model that is being retired, or was."""
    found = model_data()["retires"].get(alias(model))
    return found if isinstance(found, date) else None
