"""Tell the provider in a model's name from the name."""

from __future__ import annotations

import difflib
import re

from batchpipe.providers import REGISTRY

# The name of a whole model, as `family-number`, and the prefix of names of fine-tuned models.
_WHOLE_MODEL = re.compile(r"[a-z][a-z0-9.]*-[a-z0-9.-]+")
_FINE_TUNED = "ft"


def split_model(model: str, default_provider: str) -> tuple[str, str]:
    """Split `provider:model` into its two parts. A model without a prefix belongs to the default provider.

    A colon may belong to the model's name, as in `ft:base:team` or `name-v1:0`. What stands before it is a provider
    where it is a known one, or was meant to be: it is written almost like one, or stands before the name of a whole
    model.
    """
    provider, separator, name = model.partition(":")
    meant = difflib.get_close_matches(provider, REGISTRY, 1, 0.75) or _WHOLE_MODEL.fullmatch(name)
    if separator and (provider in REGISTRY or (meant and provider != _FINE_TUNED)):
        return provider, name
    return default_provider, model
