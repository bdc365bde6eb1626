"""The models of the emulated service: their limits, and the parameters that they take."""

import re
from dataclasses import dataclass

from batchpipe.emulator.service.jsontypes import JsonObject

_NONE_UP = ("none", "low", "medium", "high", "xhigh")
_LOW_UP = ("low", "medium", "high", "xhigh", "max")
_SNAPSHOTS = {
    "gpt-5.5": "2026-04-23",
    "gpt-5.5-pro": "2026-04-23",
    "gpt-5.4-mini": "2026-03-17",
    "gpt-5.4-nano": "2026-03-17",
}
_OF_OTHERS = re.compile(r"claude|gemini|gpt-|o[0-9]", re.IGNORECASE)
CACHED_FROM_TOKENS = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model. `efforts` is None where every effort is taken; `paid_writes` is that of GPT-5.6 and later."""

    id: str
    context_tokens: int = 1_050_000
    max_tokens: int = 128_000
    efforts: tuple[str, ...] | None = None
    default_effort: str = "medium"
    paid_writes: bool = False
    chat: bool = True
    foreign: bool = False


def _new(name: str, efforts: tuple[str, ...] | None) -> Model:
    return Model(id=name, efforts=efforts, paid_writes=True)


MODELS = (
    _new("gpt-6.2-astra", _LOW_UP),
    _new("gpt-6.2-sol", None),
    _new("gpt-6.1-sol", _LOW_UP),
    _new("gpt-6.1-terra", (*_NONE_UP, "max")),
    _new("gpt-6-astra", _LOW_UP),
    _new("gpt-6-sol", (*_NONE_UP, "max")),
    _new("gpt-6-luna", (*_NONE_UP, "max")),
    _new("gpt-5.6-sol", _NONE_UP),
    _new("gpt-5.6-terra", _NONE_UP),
    _new("gpt-5.6-luna", _NONE_UP),
    Model(id="gpt-5.5", efforts=_NONE_UP),
    Model(id="gpt-5.5-pro", efforts=("low", "medium", "high", "xhigh"), default_effort="high", chat=False),
    Model(id="gpt-5.4", efforts=_NONE_UP, default_effort="none"),
    Model(id="gpt-5.4-mini", context_tokens=400_000, efforts=_NONE_UP, default_effort="none"),
    Model(id="gpt-5.4-nano", context_tokens=400_000, efforts=_NONE_UP, default_effort="none"),
    Model(id="gpt-5.1", context_tokens=400_000, efforts=("none", "low", "medium", "high"), default_effort="none"),
    Model(id="gpt-5", context_tokens=400_000, efforts=("minimal", "low", "medium", "high")),
    Model(id="gpt-5-mini", context_tokens=400_000, efforts=("minimal", "low", "medium", "high")),
    Model(id="gpt-5-nano", context_tokens=400_000, efforts=("minimal", "low", "medium", "high")),
    Model(id="o3", context_tokens=200_000, max_tokens=100_000, efforts=("low", "medium", "high")),
    Model(id="gpt-4.1", context_tokens=1_047_576, max_tokens=32_768, efforts=(), default_effort="none"),
    Model(id="gpt-4.1-mini", context_tokens=1_047_576, max_tokens=32_768, efforts=(), default_effort="none"),
    Model(id="gpt-4o", context_tokens=128_000, max_tokens=16_384, efforts=(), default_effort="none"),
    Model(id="gpt-4o-mini", context_tokens=128_000, max_tokens=16_384, efforts=(), default_effort="none"),
)
_BY_ID = {model.id: model for model in MODELS}
_BY_ID |= {f"{name}-{day}": _BY_ID[name] for name, day in _SNAPSHOTS.items()}


def find_model(name: str) -> Model | None:
    """Return the model with this name; None if the service does not have it.

    A name that looks like none of the known vendors' is a model of a server of one's own: it takes everything.
    """
    found = _BY_ID.get(name)
    if found is None and name and not _OF_OTHERS.match(name):
        return Model(id=name, default_effort="none", foreign=True)
    return found


def names_of(model: Model) -> tuple[str, ...]:
    """Return the names that stand for a model."""
    day = _SNAPSHOTS.get(model.id)
    return (model.id,) if day is None else (model.id, f"{model.id}-{day}")


def resolved_name(model: Model) -> str:
    """Return the name of the snapshot that answers."""
    return names_of(model)[-1]


def model_page() -> JsonObject:
    """Return all models as the API lists them."""
    return {"object": "list", "data": [model_info(model) for model in MODELS]}


def model_info(model: Model) -> JsonObject:
    """Return a model as the API shows it."""
    return {"id": model.id, "object": "model", "created": 1_790_000_000, "owned_by": "system"}
