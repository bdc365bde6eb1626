"""The names of evaluations: their requests stand in the ledger under a name that begins with their pipeline's."""

from __future__ import annotations

SEPARATOR = ":"

# The second part of such a name: an evaluation with gold, and one whose rows were bought to be compared with a model.
EVALUATION = "eval"
BOUGHT = "bought"


def evaluated_pipeline(name: str) -> str:
    """Return the name that commands know a pipeline by: for an evaluation that of the pipeline it evaluates."""
    return name.partition(SEPARATOR)[0]


def is_evaluation(name: str) -> bool:
    """Return whether `name` is that of an evaluation, and so of no pipeline file."""
    return SEPARATOR in name
