"""The curve of cost against accuracy as a picture."""

from __future__ import annotations

from collections.abc import Sequence

from batchpipe.evaluation.tuning import Tuning


def curve_svg(tuning: Tuning, models: Sequence[str], title: str) -> str:
    """A self-contained SVG; `models` are the names of the rungs, in their order."""
    raise NotImplementedError
