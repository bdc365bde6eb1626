"""What is known of the provider's models, read from `models.toml`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any

from batchpipe.providers.shared.models import by_model, read_model_data

_SNAPSHOT_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_FINE_TUNED = re.compile(r"^ft:([^:]+):")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """What a model takes. None means that nothing is known, so that nothing is refused.

    `context`, `max_input` and `max_output` are in tokens; `context` is that of a request and its answer.
    `efforts`: the efforts that it takes; none where it does not reason.
    `default_effort`: how it reasons without the setting. `paid_writes`: tokens that are written to the cache cost more
    than others, and a request says what is written. `chat_tools`: when chat completions take tools ("never", "effort
    none"). `responses_only`: there are no chat completions of it.
    """

    name: str = ""
    context: int | None = None
    max_input: int | None = None
    max_output: int | None = None
    efforts: tuple[str, ...] | None = None
    default_effort: str | None = None
    paid_writes: bool = False
    chat_tools: str = ""
    responses_only: bool = False


@cache
def model_data() -> Mapping[str, Any]:
    """Return the whole of `models.toml`."""
    return read_model_data(__package__)


@cache
def _by_model() -> Mapping[str, KnownModel]:
    return by_model(model_data(), KnownModel)


def alias(model: str) -> str:
    """Return the model's name without the date of a snapshot; of a fine-tuned model, the name of its base."""
    tuned = _FINE_TUNED.match(model)
    return _SNAPSHOT_DATE.sub("", tuned[1] if tuned else model)


def find_model(model: str) -> KnownModel:
    """Return what is known of `model`; for a model that is not listed that is nothing."""
    return _by_model().get(alias(model), KnownModel())


def listed_models() -> tuple[str, ...]:
    """Return the names of all models in `models.toml`."""
    return tuple(_by_model())


def retires(model: str) -> date | None:
    """Return the day of the shutdown of a model that will be shut down, or was; None for any other model."""
    found = model_data()["retires"].get(alias(model))
    return found if isinstance(found, date) else None
