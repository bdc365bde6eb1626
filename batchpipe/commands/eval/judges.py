"""Print the results of an evaluation's judges: how many answers they judged, at what cost, and which are wrong."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from batchpipe.commands.eval.quality import SEVERAL, Outcome
from batchpipe.commands.printing.text import count, money, safe, shortened, shown_key
from batchpipe.engine.quality.judges import Judged

SHOWN_VALUE = 60
SHOWN_REASON = 120
HEADER = ("judge of", "models", "answers", "judged", "not judged", "cost")
RIGHT = (2, 3, 4, 5)


def judge_lines(judged: Sequence[Judged]) -> list[list[str]]:
    """Return a line for each judge, with the columns of `HEADER`."""
    return [
        [
            each.field,
            SEVERAL.join(each.models),
            count(each.pairs),
            count(each.judged),
            count(each.not_judged),
            money(each.cost_usd),
        ]
        for each in judged
    ]


def judge_notes(judged: Sequence[Judged]) -> Iterator[str]:
    """Yield notes on what was not judged, and why."""
    for each in judged:
        if each.failed:
            named = "; ".join(f"{shown_key(key)} ({safe(error)})" for key, error in each.failures)
            more = " and more" if each.failed > len(each.failures) else ""
            yield (
                f"The judge of {each.field} failed for {count(each.failed, 'answer')}, "
                f"counted as wrong: {named}{more}. "
                "It is asked again when its prompt or its models change."
            )
        waiting = each.not_judged - each.failed
        if waiting:
            yield f"{count(waiting, 'answer')} of {each.field} not judged yet, counted as wrong until then."


def judges_object(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """Return what `--json` says about the judges."""
    return [
        {
            "field": each.field,
            "models": each.models,
            "answers": each.pairs,
            "judged": each.judged,
            "not_judged": each.not_judged,
            "cost_usd": each.cost_usd,
        }
        for each in judged
    ]


def refused_answers(outcomes: Iterable[Outcome], fields: Sequence[str], most: int) -> list[list[object]]:
    """Return the first `most` answers that a judge says are wrong: field, key, true value, answer, reason."""
    found: list[list[object]] = []
    for each in outcomes:
        for name in fields:
            said = each.judged.get(name)
            if each.answer is not None and said is not None and said.reason is not None and not said.correct:
                reason = shortened(said.reason, SHOWN_REASON)
                found.append([name, shown_key(each.key), _shown(each.gold[name]), _shown(each.answer[name]), reason])
    return found[:most]


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return shortened(text, SHOWN_VALUE)
