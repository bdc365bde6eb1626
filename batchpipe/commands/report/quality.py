"""Read what a report says about quality: the cost per right row, the use of each rung, and the cheapest ladder.

The present answers are graded with gold. What other ladders would have answered is taken from the newest evaluation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from batchpipe.commands.eval.quality import SEVERAL
from batchpipe.commands.status.states import Named
from batchpipe.common.errors import BatchpipeError
from batchpipe.engine.context import Context
from batchpipe.engine.gold.agreement import Agreed
from batchpipe.engine.gold.answered_gold import GradedAnswer, grade_answers, read_true_values, reviewed_among
from batchpipe.engine.gold.reviewed_gold import FromReview
from batchpipe.engine.resolved.versions import known_versions, read_version
from batchpipe.pipeline.model import Output, PipelineFile
from batchpipe.providers.known import KnownProviders, with_provider
from batchpipe.schema.columns import output_columns
from batchpipe.sql.quoting import Sql, quote_list
from batchpipe.store.database import Session, Work
from batchpipe.store.queries import query

PLACES = Decimal("1E-15")


@dataclass(frozen=True, slots=True, kw_only=True)
class RungQuality:
    """The quality of one rung's model: `rows` of the present answers are its own; `right` counts those with a true
    value.

    `cost_usd` includes all its requests, also those for rows whose answer another rung gave.
    """

    rung: int
    model: str
    rows: int
    right: Agreed
    cost_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class SubLadder:
    """A ladder of some of the rungs on gold rows, as an evaluation recorded it.

    US dollars per 1,000 rows, per 1,000 right rows, and per 1,000 rows with their errors at `[eval] error_usd`; None
    where that is not known.
    """

    rungs: tuple[int, ...]
    models: tuple[str, ...]
    right: Agreed
    usd_per_1000: Decimal
    usd_per_1000_correct: Decimal | None
    usd_per_1000_with_errors: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """The newest evaluation: the ladders that it knows, and what each rung does in the whole ladder.

    `is_present`: whether its ladder has the same models as the file's.
    """

    version: str
    evaluated_at: datetime
    is_present: bool
    right: Agreed
    usd_per_1000_correct: Decimal | None
    rungs: Sequence[RungQuality]
    choices: Sequence[SubLadder]

    @property
    def full(self) -> SubLadder | None:
        """Return the whole ladder."""
        return max(self.choices, key=lambda each: len(each.rungs)) if self.choices else None

    @property
    def cheapest(self) -> SubLadder | None:
        """Return the cheapest ladder, errors included; None without a price of a wrong row."""
        priced = [each for each in self.choices if each.usd_per_1000_with_errors is not None]
        return min(priced, key=lambda each: (each.usd_per_1000_with_errors, len(each.rungs)), default=None)

    @property
    def whole(self) -> bool:
        """Return whether every choice of rungs is known."""
        full = self.full
        return full is None or len(self.choices) >= 2 ** len(full.rungs) - 1

    def without(self, rung: int) -> SubLadder | None:
        """Return the ladder without one rung; None where it is not known."""
        left = tuple(each for each in (self.full.rungs if self.full else ()) if each != rung)
        return next((each for each in self.choices if each.rungs == left), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportQuality:
    """The quality of a pipeline's present answers. `right` counts those with a true value; None where none has one.

    `judged` fields are left out. `usd_per_1000_correct` is the cost per 1,000 right rows; `usd_ends` is the same at
    both ends of the share's interval (None: no upper end). `problem` says why gold could not be read.
    """

    right: Agreed | None
    judged: Sequence[str]
    reviewed: FromReview
    usd_per_1000_correct: Decimal | None
    usd_ends: tuple[Decimal, Decimal | None] | None
    rungs: Sequence[RungQuality]
    evaluated: Evaluated | None
    error_usd: Decimal | None
    made_up: bool
    problem: str | None


def read_quality(
    context: Context, named: Named, usd_per_1000: Decimal | None, costs: Mapping[tuple[Any, Any], Decimal]
) -> ReportQuality | None:
    """Return what is known about the quality of a pipeline with `[eval]`; None without it.

    `usd_per_1000` is the cost per 1,000 answered rows, `costs` the cost of each rung and model as it is shown.
    """
    file = named.file
    if file is None or file.pipeline.eval is None:
        return None
    error_usd, problem = file.pipeline.eval.error_usd, None
    found: list[GradedAnswer] = []
    counted: list[tuple[int, str, str, int]] = []
    judged: Sequence[str] = ()
    with closing(context.work()) as work:
        try:
            found, counted, judged = _graded(context, work, named, file)
        except BatchpipeError as error:
            problem = str(error)
        with context.database.reading(work) as session:
            evaluated = _evaluated(session, named, file, error_usd, context.providers)
    right = _agreed("", found) if found else None
    per_correct, ends = _per_correct(usd_per_1000, right)
    return ReportQuality(
        right=right,
        judged=judged,
        reviewed=reviewed_among(found),
        usd_per_1000_correct=per_correct,
        usd_ends=ends,
        rungs=[
            RungQuality(
                rung=rung,
                model=(shown := with_provider(provider, model)),
                rows=rows,
                right=_agreed(shown, [each for each in found if each.extra == (rung, provider, model)]),
                cost_usd=costs.get((rung, shown), Decimal(0)),
            )
            for rung, provider, model, rows in counted
        ],
        evaluated=evaluated,
        error_usd=error_usd,
        made_up=context.settings.emulator and context.emulator_answers(file) is None,
        problem=problem,
    )


def _graded(
    context: Context, work: Work, named: Named, file: PipelineFile
) -> tuple[list[GradedAnswer], list[tuple[int, str, str, int]], Sequence[str]]:
    """Return the graded answers, the number of answers by rung, provider and model, and the fields that are left out.

    Reads `work.true_values`, the ledger. Writes `work.answers_that_stand`, `work.answers_to_grade`.
    """
    pipelines = quote_list(named.names)
    with context.database.reading(work) as session:
        known = known_versions(session, named.names)
        if not known:
            return [], [], ()
        version = read_version(session, named.names, known[-1])
    gold = read_true_values(context, work, file, output_columns(version.full_schema, Output()))
    if gold is None:
        return [], [], ()
    with context.database.reading(work) as session:
        session.execute(query("answers_that_stand", pipelines=pipelines))
        session.execute(query("answers_to_grade", pipelines=pipelines))
        examples = [version.identity.queries]
        found = grade_answers(
            session, gold, named.names, Sql("work.answers_to_grade"), examples, ["rung", "provider", "model"]
        )
        return found, session.rows(query("standing_by_rung")), gold.judged


def _agreed(name: str, found: Sequence[GradedAnswer]) -> Agreed:
    return Agreed(name=name, n=len(found), agreed=sum(each.right for each in found))


def _per_correct(
    usd_per_1000: Decimal | None, right: Agreed | None
) -> tuple[Decimal | None, tuple[Decimal, Decimal | None] | None]:
    """Return the cost of 1,000 right rows, and the same at both ends of the share's interval, the lower cost first."""
    if usd_per_1000 is None or right is None or right.interval is None or not right.agreed:
        return None, None
    low, high = (Decimal(str(each)) for each in right.interval)
    most = (usd_per_1000 / low).quantize(PLACES) if low else None
    return (usd_per_1000 * right.n / right.agreed).quantize(PLACES), ((usd_per_1000 / high).quantize(PLACES), most)


def _evaluated(
    session: Session, named: Named, file: PipelineFile, error_usd: Decimal | None, providers: KnownProviders
) -> Evaluated | None:
    """Return the newest evaluation that is recorded; None where there is none.

    Reads `ledger.events`.
    """
    found = session.rows(query("newest_evaluation", pipelines=quote_list(named.names)))
    if not found:
        return None
    data, at = json.loads(found[0][0]), found[0][1]
    models = SEVERAL.join(providers.shown(each.name) for each in file.pipeline.models)
    right = Agreed(name=data["model"], n=data["n"], agreed=data["hits"])
    cost = None if data["cost_usd"] is None else Decimal(data["cost_usd"])
    return Evaluated(
        version=data["version"],
        evaluated_at=at,
        right=right,
        is_present=data["model"] == models,
        usd_per_1000_correct=_each(cost, right.agreed) if cost is not None else None,
        rungs=[
            RungQuality(
                rung=each["rung"],
                model=each["model"],
                rows=each["n"],
                right=Agreed(name=each["model"], n=each["n"], agreed=each["hits"]),
                cost_usd=Decimal(each["cost_usd"]),
            )
            for each in data.get("rungs", ())
        ],
        choices=[_choice(each, error_usd) for each in data.get("ladders", ())],
    )


def _choice(data: Mapping[str, Any], error_usd: Decimal | None) -> SubLadder:
    n, hits, cost = data["n"], data["hits"], Decimal(data["cost_usd"])
    wrong = None if error_usd is None else _each(cost + error_usd * (n - hits), n)
    return SubLadder(
        rungs=tuple(data["rungs"]),
        models=tuple(data["models"]),
        right=Agreed(name="", n=n, agreed=hits),
        usd_per_1000=(cost * 1000 / n).quantize(PLACES),
        usd_per_1000_correct=_each(cost, hits),
        usd_per_1000_with_errors=wrong,
    )


def _each(cost: Decimal, rows: int) -> Decimal | None:
    """Return the cost of 1,000 rows at this cost for `rows`; None where there are no rows."""
    return (cost * 1000 / rows).quantize(PLACES) if rows else None
