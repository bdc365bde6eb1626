"""Refuse what an option names in the place of a provider's model."""

from __future__ import annotations

from batchpipe.common.errors import UsageError
from batchpipe.pipeline.rules import NAME_OF_A_MODEL, NAMES_A_MODEL
from batchpipe.pipeline.sending import LOCAL


def refuse_no_model(name: str, where: str) -> None:
    """Raise UsageError at `where` for a name that no model can have, and for that of the local model."""
    if not NAMES_A_MODEL.fullmatch(name):
        raise UsageError(f'"{name}" names no model', where=where, hint=NAME_OF_A_MODEL)
    if name == LOCAL:
        what = f"{LOCAL} is the model that a pipeline trains itself, which answers as a rung of the ladder"
        raise UsageError(what, where=where, hint="Name a model of a provider.")
