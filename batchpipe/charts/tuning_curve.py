"""The chart of cost against accuracy that tuning draws: the curve, each model alone, and the chosen ladder."""

from __future__ import annotations

from collections.abc import Sequence

from batchpipe.charts.chart import Chart
from batchpipe.charts.points import PictureFrame, Point, Words, points
from batchpipe.evaluation.tuning import Tuning

FRAME = PictureFrame(width=760, height=460, top=84)


def tuning_curve(tuning: Tuning, models: Sequence[str], title: str) -> Chart:
    """Return the chart; all its numbers are of the measured rows. `models` are the models of the rungs, in order."""
    found = tuning.measured
    which = "that were not used for tuning" if tuning.held_out else "that tested the ladders"
    words = Words(
        title=title,
        below=f"accuracy and cost on the {found.accuracy.n:,} gold rows {which}",
        x="cost per 1,000 rows (USD)",
        y="accuracy",
    )
    share, usd = found.accuracy, found.usd_per_1000
    chosen = Point(
        name=f"{'chosen' if tuning.reached else 'the most accurate'}: {share.value:.1%} for ${usd:.4g}",
        x=float(usd),
        y=share.value,
        low=share.low,
        high=share.high,
        colour="orange",
        strong=True,
    )
    singles = [
        Point(name=f"{model} alone", x=float(each.usd_per_1000), y=each.accuracy.value, colour="ink")
        for each, model in zip(tuning.singles, models, strict=True)
    ]
    curve = [each.measured for each in tuning.curve]
    places = sorted((float(each.usd_per_1000), each.accuracy.value) for each in curve)
    return points(words, [*singles, chosen], curve=places, target=tuning.target, frame=FRAME)
