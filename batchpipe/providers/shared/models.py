"""Read `models.toml` of a protocol: what is known of its models, by name."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any, TypeVar

Known = TypeVar("Known")


def read_model_data(package: str) -> Mapping[str, Any]:
    """Return the whole of the `models.toml` in `package`."""
    return tomllib.loads(resources.files(package).joinpath("models.toml").read_text("utf-8"))


def by_model(data: Mapping[str, Any], make: Callable[..., Known]) -> Mapping[str, Known]:
    """Return what `make` makes of each generation's values, by the names of its models."""
    found: dict[str, Known] = {}
    for generation in data["generations"]:
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in generation.items()}
        models = values.pop("models")
        found.update(dict.fromkeys(models, make(**values)))
    return found
