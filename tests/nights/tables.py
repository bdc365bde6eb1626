"""The figures as Markdown tables, and as pictures."""

from __future__ import annotations

from collections.abc import Sequence

from batchpipe.charts.chart import dollars_mark, percent
from batchpipe.charts.lines import Line, LineWords, lines

from .costs import Cost
from .doubts import Found
from .drifting import Drift
from .nights import Broken, Month


def table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: int) -> str:
    """Return a table whose last `numbers` columns are numbers."""
    rule = ["---"] * (len(header) - numbers) + ["---:"] * numbers
    return "\n".join(f"| {' | '.join(each)} |" for each in (header, rule, *rows))


def usd(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def cost_table(found: Sequence[Cost]) -> str:
    rows = [
        [
            each.kind,
            each.ladder,
            str(each.gold),
            str(each.target),
            f"{each.given:.1%}",
            f"{each.broken:.1%}",
            usd(each.usd_per_1000_right),
        ]
        for each in found
    ]
    return table(("Mistakes", "Ladder", "Gold rows", "Target", "Given", "Broken", "USD per 1,000 right rows"), rows, 5)


def growth_table(found: Sequence[tuple[str, int, float, float, float | None, float]]) -> str:
    rows = [
        [kind, f"{rows:,}", f"{accuracy:.1%}", f"{likely:.1%}", usd(price), usd(first)]
        for kind, rows, accuracy, likely, price, first in found
    ]
    header = ("Mistakes", "Answered rows", "Local model right", "Truth among the ten likeliest")
    return table((*header, "USD per 1,000 right rows, ladder at 0.78", "First model alone"), rows, 5)


def night_table(lived: Month) -> str:
    rows = [
        [
            str(each.number),
            str(each.version or ""),
            f"{each.local:.1%}",
            f"{each.right:.1%}",
            usd(each.usd_per_1000),
            usd(each.usd_per_1000_right),
            usd(each.usd_per_1000_right_without),
        ]
        for each in lived.nights
    ]
    header = ("Night", "Version", "Answered by it", "Right", "USD per 1,000 rows", "Per 1,000 right ones")
    return table((*header, "Without a local rung"), rows, 7)


def broken_table(found: Sequence[Broken]) -> str:
    rows = [[each.case, str(each.versions), f"{each.broken:.1%}", f"{each.broken_without:.1%}"] for each in found]
    return table(("Versions", "How many", "Broken in some night", "Broken with 5% for each version"), rows, 3)


def drift_table(found: Sequence[Drift]) -> str:
    rows = [
        [each.case, f"{each.alarms:.2%}", f"{each.rows_at_median:,}" if each.rows_at_median else ""] for each in found
    ]
    return table(("Case", "Lives with an alarm", "Audited rows until then (median)"), rows, 2)


def doubt_table(found: Sequence[Found]) -> str:
    rows = [
        [each.kind, f"{each.by_confidence:.1%}", f"{each.without_local:.1%}", f"{each.with_local:.1%}"]
        for each in found
    ]
    return table(("Mistakes", "By confidence", "Learnt from reviews", "With the local model"), rows, 3)


def cost_picture(
    alone: Sequence[tuple[float, float]], ladder: Sequence[Cost], local: Sequence[Cost], draws: int
) -> str:
    """Draw what 1,000 right rows cost against the promised accuracy."""
    words = LineWords(
        title="What 1,000 right rows cost",
        below=f"against the promised accuracy, mean of {draws} draws of 600 gold rows; models alone: what they reach",
        x="accuracy",
        y="US dollars per 1,000 right rows",
    )
    drawn = [
        Line(
            name="models alone", places=[(round(share, 3), price) for share, price in alone], colour="grey", dashed=True
        ),
        Line(name="ladder", places=_places(ladder), colour="blue"),
        Line(name="with a local rung", places=_places(local), colour="green"),
    ]
    return lines(words, drawn, y_text=dollars_mark).file


def _places(found: Sequence[Cost]) -> list[tuple[float, float]]:
    return [(each.target, each.usd_per_1000_right) for each in found if each.usd_per_1000_right is not None]


def night_picture(lived: Month) -> str:
    """Draw how the price of a right row falls."""
    words = LineWords(
        title="What 1,000 right rows cost, night by night",
        below=f"{lived.nights[0].rows} new questions each night; the local model is trained on what went up",
        x="night",
        y="US dollars per 1,000 right rows",
    )
    drawn = [
        Line(
            name="ladder",
            places=[(each.number, each.usd_per_1000_right_without) for each in lived.nights],
            colour="blue",
        ),
        Line(
            name="with a local rung",
            places=[(each.number, each.usd_per_1000_right) for each in lived.nights],
            colour="green",
        ),
    ]
    return lines(words, drawn, y_text=dollars_mark).file


def coverage_picture(found: Sequence[tuple[str, Sequence[tuple[float, float]]]], draws: int) -> str:
    """Draw how often the intervals of shares hold the true share; each case has (true share, part of the draws)."""
    colours = ("blue", "green", "orange", "purple", "pink", "amber", "red", "grey")
    words = LineWords(
        title="How often the interval of a share holds the true share",
        below=f"200 reviewed rows of 2,977, {draws:,} draws; 95% is what an interval promises",
        x="true share",
        y="intervals that hold it",
    )
    drawn = [
        Line(name=name, places=sorted(places), colour=colour)
        for (name, places), colour in zip(found, colours, strict=False)
    ]
    wanted = Line(name="95%", places=[(0.01, 0.95), (0.4, 0.95)], colour="grey", dashed=True)
    return lines(words, [wanted, *drawn], y_text=percent).file
