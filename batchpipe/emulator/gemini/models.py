"""The models of the emulated service: their limits, and how they can be told to think."""

import re
from dataclasses import dataclass

_SNAPSHOT = re.compile(r"(-preview-\d{2}-\d{2,4}|-\d{3})$")
_ALL_LEVELS = ("minimal", "low", "medium", "high")
_THREE_LEVELS = ("low", "medium", "high")


@dataclass(frozen=True, slots=True)
class Model:
    """One model. `levels`: the levels of its thinking, none for a model that takes a budget of tokens in their place.

    `thinks`: whether it thinks where nothing is said. `budget`: the range of a budget above 0; `may_not_think`: whether
    it takes 0.
    """

    id: str
    levels: tuple[str, ...] = _ALL_LEVELS
    thinks: bool = True
    takes_budget: bool = True
    budget: tuple[int, int] = (1, 65_535)
    may_not_think: bool = True
    cached_from_tokens: int = 4_096
    context_tokens: int = 1_048_576
    max_tokens: int = 65_536


_MODELS = {
    model.id: model
    for model in (
        Model("gemini-4-argon", _THREE_LEVELS, takes_budget=False),
        Model("gemini-3.8-flash", _THREE_LEVELS),
        Model("gemini-3.7-flash"),
        Model("gemini-3.6-flash"),
        Model("gemini-3.5-flash"),
        Model("gemini-3.5-flash-lite", thinks=False),
        Model("gemini-3.1-flash-lite", thinks=False),
        Model("gemini-3.1-pro-preview", _THREE_LEVELS, may_not_think=False),
        Model("gemini-3-flash-preview", cached_from_tokens=1_024),
        Model("gemini-3-pro-preview", ("low", "high"), may_not_think=False),
        Model("gemini-2.5-pro", (), budget=(128, 32_768), may_not_think=False, cached_from_tokens=2_048),
        Model("gemini-2.5-flash", (), budget=(1, 24_576), cached_from_tokens=2_048),
        Model("gemini-2.5-flash-lite", (), thinks=False, budget=(512, 24_576), cached_from_tokens=2_048),
    )
}


def find_model(name: str) -> Model | None:
    """Return a model by its name, with or without `models/`, or by the name of a snapshot; None if there is none."""
    return _MODELS.get(_SNAPSHOT.sub("", name.removeprefix("models/")))


def names_of(model: Model) -> tuple[str, ...]:
    """Return the names by which rules and answers may name a model."""
    return (model.id, f"models/{model.id}")
