"""Warn about the models that answered: other models than those that were asked, and prices that stand in for unknown
ones.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from batchpipe.providers.known import KnownProvider
from batchpipe.sql.connection import Connection
from batchpipe.store.queries import query

# What may follow the name of a model and leaves it the same one: a date, a number of a version, a stage.
_SAME_MODEL = re.compile(
    r"([-@:](\d{4}-\d\d-\d\d|\d\d-\d{4}|\d{3,}|v\d+(:\d+)?|latest|stable|(preview|exp)(-\d\d-\d\d(\d\d)?)?))*"
)


def model_warnings(
    connection: Connection, provider: KnownProvider, asked: Mapping[str, str], answered: Iterable[tuple[str, str]]
) -> list[str]:
    """Return what is to be said of the models in `answered`, pairs of a chunk id and a model.

    `asked` has the model that each chunk asked, by its usual name.
    Reads `work.ended`, `work.prices`, `work.received`.
    """
    others = sorted(
        {
            (asked[chunk_id], model)
            for chunk_id, model in answered
            if chunk_id in asked and not is_same_model(asked[chunk_id], provider.usual_name(model, (asked[chunk_id],)))
        }
    )
    warnings = [f"{provider.name} was asked for {wanted}, and {model} answered" for wanted, model in others]
    full: Collection[str] = [model for (model,) in connection.execute(query("full_price")).fetchall()]
    if full:
        warnings.append(f"no price in batches is known for {', '.join(full)}: the full price stands in for it")
    return warnings


def is_same_model(asked: str, answered: str) -> bool:
    """Return whether `answered` names the model `asked`, or a dated or numbered version of it."""
    wanted, found = (_plain(each) for each in (asked, answered))
    longer, shorter = max(wanted, found, key=len), min(wanted, found, key=len)
    return longer.startswith(shorter) and _SAME_MODEL.fullmatch(longer.removeprefix(shorter)) is not None


def _plain(model: str) -> str:
    """Return a model's name without its vendor, in small letters, with dots as dashes."""
    return model.lower().rpartition("/")[2].replace(".", "-")
