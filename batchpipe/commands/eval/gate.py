"""Decide whether an evaluation is good enough: it must reach some accuracies, and not be worse than another version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchpipe.commands.eval.quality import Quality
from batchpipe.common.errors import UsageError
from batchpipe.evaluation.statistics import McNemar, mcnemar

LEVEL = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """The least accuracy of the field `name`; of whole rows, with every field right, where `name` is None."""

    name: str | None
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Versus:
    """The ladder now (`after`) and under another version (`before`), over the rows that both answered.

    `fixed` and `broken` are the keys of the rows that only the one, or only the other, got right.
    """

    label: str
    before: Quality
    after: Quality
    test: McNemar
    fixed: tuple[str, ...]
    broken: tuple[str, ...]

    @property
    def drop(self) -> float:
        """Return by how much the accuracy fell."""
        return self.before.right.value - self.after.right.value

    @property
    def worse(self) -> bool:
        """Return whether more rows broke than were fixed, by more than chance explains at the level 0.05."""
        return len(self.broken) > len(self.fixed) and self.test.p_value < LEVEL


def read_bars(texts: Sequence[str], fields: Sequence[str]) -> list[Bar]:
    """Read `0.9` and `label=0.9` as bars.

    Raises UsageError for anything else.
    """
    found = []
    for text in texts:
        name, equals, number = text.rpartition("=")
        if equals and name not in fields:
            hint = f"The fields that are compared: {', '.join(fields)}."
            raise UsageError(f"no field {name!r} is compared", where="--fail-under", hint=hint)
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            hint = f"Write a share: --fail-under 0.9, or --fail-under {fields[0]}=0.9."
            raise UsageError(f"{number!r} is not a share from 0 to 1", where="--fail-under", hint=hint)
        found.append(Bar(name=name or None, value=value))
    return found


def versus(label: str, before: Quality, after: Quality) -> Versus:
    """Compare both versions over the rows that both answered."""
    keys = [key for key in after.right_by_key if key in before.right_by_key]
    first, second = [before.right_by_key[key] for key in keys], [after.right_by_key[key] for key in keys]
    return Versus(
        label=label,
        before=before,
        after=after,
        test=mcnemar(first, second),
        fixed=tuple(key for key in keys if after.right_by_key[key] and not before.right_by_key[key]),
        broken=tuple(key for key in keys if before.right_by_key[key] and not after.right_by_key[key]),
    )


def shortfalls(ladder: Quality, bars: Sequence[Bar], against: Versus | None, max_drop: float | None) -> list[str]:
    """Return sentences on why the evaluation is not good enough; none where it is."""
    found = []
    for bar in bars:
        share = ladder.fields[bar.name].accuracy if bar.name else ladder.right
        if share.value < bar.value:
            what = f"the accuracy of {bar.name}" if bar.name else "the accuracy"
            found.append(f"{what} is {share.value:.1%} of {share.n:,}, below {bar.value:.1%}")
    if against is not None and against.worse:
        found.append(
            f"worse than {against.label}: {len(against.broken):,} rows broken, {len(against.fixed):,} fixed "
            f"(McNemar p = {against.test.p_value:.2g})"
        )
    if against is not None and max_drop is not None and against.drop > max_drop:
        found.append(f"the accuracy fell by {against.drop:.1%} from {against.label}, more than {max_drop:.1%}")
    return found


def versus_object(found: Versus) -> Mapping[str, Any]:
    """Return what `--json` says about `--against`."""
    return {
        "version": found.label,
        "accuracy": found.before.right.value,
        "ci95": [found.before.right.low, found.before.right.high],
        "fixed": len(found.fixed),
        "broken": len(found.broken),
        "p_value": found.test.p_value,
        "cost_usd": found.before.cost_usd,
    }
