"""Count the rows of the input that are too long for a model of the ladder, with their cost where they go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf
from typing import Any

import duckdb

from batchpipe.commands.printing.text import count, money
from batchpipe.decide.tokens import BYTES_PER_TOKEN
from batchpipe.engine.context import Context
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.source import Source
from batchpipe.lint.subject import Finding
from batchpipe.sql.quoting import quote_identifier


def too_long_rows(context: Context, resolved: Resolved, source: Source, params: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield a finding for each rung below the last whose model does not take some rows, and for rows that none takes.

    Reads the whole input. A row's tokens are taken to be those of the columns that the templates read.
    """
    known = [each if each is not None else inf for each in resolved.contexts]
    sizes = _sizes(resolved, source, params, min(known))
    for number, most in enumerate(known, start=1):
        if any(each >= most for each in known[: number - 1]):
            continue  # no row comes to this rung for its length
        above = next((each for each in range(number + 1, len(known) + 1) if known[each - 1] > most), None)
        highest = known[above - 1] if above is not None else inf
        these = [each for each in sizes if most < each <= highest]
        if not these:
            continue
        model, tokens = resolved.rungs[number - 1].model, sum(these)
        what = (
            f"{count(len(these), 'row')} with about {count(tokens)} tokens, too long for {model} ({count(int(most))})"
        )
        where = resolved.file.where("[[models]]")
        if above is None:
            hint = (
                "No rung takes them by that number: they are tried, and fail at no cost where the model refuses them. "
                "Shorten the text, or add a rung whose model takes more."
            )
            yield Finding(what=f"the input has {what}", where=where, hint=hint)
            continue
        price = context.prices().price(resolved, resolved.rungs[above - 1], context.clock().date())
        cost = None if price is None else tokens * price.step(max(these)).input
        hint = f"They go to {resolved.rungs[above - 1].model}, for about {money(cost)} of input."
        yield Finding(what=f"the input has {what}", where=where, hint=hint)


def _sizes(resolved: Resolved, source: Source, params: Mapping[str, Any], least: float) -> list[int]:
    """Return the tokens that the rows longer than `least` tokens are expected to have."""
    columns = [each for each in resolved.input_columns if each.name in resolved.templates.columns]
    if least == inf or not columns:
        return []
    size = " + ".join(f"coalesce(strlen(CAST({quote_identifier(each.name)} AS VARCHAR)), 0)" for each in columns)
    query = resolved.file.query.strip().rstrip(";")
    named = {str(each) for each in duckdb.extract_statements(query)[0].named_parameters}
    values = {**resolved.file.pipeline.input.params, **params}
    statement = f"SELECT size FROM (SELECT {size} AS size FROM ({query}\n)) WHERE size > {int(least * BYTES_PER_TOKEN)}"
    try:
        rows = source.connection.execute(statement, {name: values[name] for name in named}).fetchall()
    except duckdb.Error:
        return []  # the first rows could be read; `plan` and `run` report what fails later
    return [round(each / BYTES_PER_TOKEN) for (each,) in rows]
