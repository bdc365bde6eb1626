"""Grade both sides of a diff: which rows the new side fixed, and which it broke."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from batchpipe.common.errors import UsageError
from batchpipe.engine.gold.agreement import wilson
from batchpipe.engine.gold.answered_gold import Examples, GradedAnswer, TrueValues, grade_answers, reviewed_among
from batchpipe.engine.gold.reviewed_gold import FromReview
from batchpipe.evaluation.statistics import mcnemar
from batchpipe.sql.quoting import Sql, sql
from batchpipe.store.database import Session

SIDE = Sql("(SELECT key_id, custom_id, output, true AS valid FROM {side} SEMI JOIN work.pairs USING (key_id))")


@dataclass(frozen=True, slots=True, kw_only=True)
class RightRows:
    """How many of `n` rows are right before and after. `fixed` and `broken` are the keys of the rows that differ.

    `p_value` is that of McNemar's test; None where the library for it is not installed.
    """

    n: int
    before: int
    after: int
    fixed: Sequence[str]
    broken: Sequence[str]
    p_value: float | None

    def interval(self, right: int) -> tuple[float, float]:
        """Return the 95% interval of `right` of the n rows; from 0 to 1 where there are no rows."""
        return wilson(right, self.n) if self.n else (0.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldDiff:
    """Both sides graded. `whole` counts a row as right where every compared field is right, `fields` each field alone.

    `judged` names the fields that a judge compares; they are left out.
    """

    whole: RightRows
    judged: Sequence[str]
    fields: Mapping[str, RightRows]
    reviewed: FromReview


def diff_gold(
    session: Session, gold: TrueValues, names: Sequence[str], examples: Sequence[Examples]
) -> GoldDiff | None:
    """Grade both sides over the rows of `work.pairs` that have a true value; None where there are none.

    Reads `work.pairs`, `work.side_before`, `work.side_after`, `work.true_values`, the ledger.
    """
    before, after = (
        {each.key: each for each in grade_answers(session, gold, names, sql(SIDE, side=side), examples)}
        for side in (Sql("work.side_before"), Sql("work.side_after"))
    )
    pairs = [(before[key], after[key]) for key in sorted(before.keys() & after.keys())]
    if not pairs:
        return None
    return GoldDiff(
        whole=_right_rows(pairs, [(old.right, new.right) for old, new in pairs]),
        judged=gold.judged,
        fields={
            each.name: _right_rows(pairs, [(old.correct[each.name], new.correct[each.name]) for old, new in pairs])
            for each in gold.fields
        },
        reviewed=reviewed_among([new for _, new in pairs]),
    )


def _right_rows(pairs: Sequence[tuple[GradedAnswer, GradedAnswer]], marks: Sequence[tuple[bool, bool]]) -> RightRows:
    """Return how many rows are right on each side, with McNemar's test."""
    keys = [old.key for old, _ in pairs]
    first, second = [old for old, _ in marks], [new for _, new in marks]
    try:
        p_value = mcnemar(first, second).p_value
    except UsageError:
        p_value = None
    return RightRows(
        n=len(marks),
        before=sum(first),
        after=sum(second),
        fixed=[key for key, (old, new) in zip(keys, marks, strict=True) if new and not old],
        broken=[key for key, (old, new) in zip(keys, marks, strict=True) if old and not new],
        p_value=p_value,
    )
