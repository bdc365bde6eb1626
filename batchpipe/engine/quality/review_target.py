"""`[review] target`: the rows that a person must see, so that the table reaches the target.

`eval --tune --target X --reviewer-usd Y` finds the thresholds with a promise, and records them. A person sees each row
whose answer does not pass the threshold of the rung that answered, and each row of a rung that has no threshold there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from batchpipe.common.errors import PipelineError
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.pipeline.sending import CONFIDENCE_COLUMN, LOCAL
from batchpipe.providers.known import KnownProviders
from batchpipe.sql.conditions import Condition, parse_condition
from batchpipe.sql.quoting import quote_identifier, quote_list
from batchpipe.store.database import Session
from batchpipe.store.queries import query


def target_conditions(
    session: Session, resolved: Resolved, providers: KnownProviders
) -> dict[int, Condition | None] | None:
    """Return by rung the condition under which its answer may stand without a person. The condition is None for a rung
    whose every answer may stand; a rung whose answers a person always sees has no entry. Return None if the file has no
    target.

    Reads `ledger.events`. Raises PipelineError where no promise for the target is recorded.
    """
    target = resolved.file.pipeline.review.target
    if target is None:
        return None
    recorded = [json.loads(row[0]) for row in session.rows(query("tuned", pipelines=quote_list(resolved.names)))]
    found = next((each for each in recorded if each["target"] >= target), None)
    name = resolved.name
    if found is None:
        what = f"nothing is promised for {target:.1%}: which rows a person must see is not known"
        hint = f"To find it, with gold: batchpipe eval {name} --tune --target {target:g} --reviewer-usd 0.05"
        raise PipelineError(what, where=resolved.file.where("[review] target"), hint=hint)
    accepts = {providers.split(model): accept for model, accept in found["accepts"].items()}
    conditions: dict[int, Condition | None] = {}
    local = _local_condition(resolved, found["accepts"])
    if local is not None:
        fields, columns = [each.name for each in resolved.columns], [each.name for each in resolved.input_columns]
        where = f"batchpipe eval {name} --tune"
        conditions[0] = parse_condition(session.connection, local, fields=fields, columns=columns, where=where)
    for number, rung in enumerate(resolved.file.pipeline.models, start=1):
        model = providers.split(rung.name)
        if model not in accepts:
            continue
        accept = accepts[model]
        conditions[number] = accept and parse_condition(
            session.connection,
            accept,
            fields=[each.name for each in resolved.columns],
            columns=[each.name for each in resolved.input_columns],
            where=f"batchpipe eval {name} --tune",
        )
    return conditions


def _local_condition(resolved: Resolved, accepts: Mapping[str, str | None]) -> str | None:
    """Return the condition under which an answer of the local model may stand; None where a person sees all of them.

    Its confidence is read from the field that has it: an answer without one is seen.
    """
    if resolved.local is None or LOCAL not in accepts:
        return None
    accept = accepts[LOCAL]
    if accept is None:
        return "true"
    field = resolved.local.confidence
    return accept.replace(CONFIDENCE_COLUMN, quote_identifier(field)) if field is not None else None
