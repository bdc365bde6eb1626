"""The policy of a pipeline as plain data: everything that validates an answer, besides the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from batchpipe.engine.answers.validation import AnswerRules
from batchpipe.engine.resolved.panels import VOTE_COLUMNS
from batchpipe.engine.source.snapshot import InputColumn
from batchpipe.pipeline.model import Output
from batchpipe.schema.casts import TIMES
from batchpipe.schema.columns import Column, has_exact_numbers, leaf_types, output_columns
from batchpipe.sql.conditions import Condition, parse_condition
from batchpipe.sql.connection import Connection
from batchpipe.sql.types import INTEGERS

# Part of a policy with columns of more digits than a double holds: answers that were read as doubles are judged again.
EXACT_NUMBERS = {"numbers": "exact"}
# Part of a policy with columns of which a text may say more than was read of it: such answers are judged again, too.
EXACT_TEXTS = {"texts": "exact"}


def policy_of(
    output: Output,
    full: Mapping[str, Any],
    columns: Sequence[Column],
    hash_columns: Sequence[InputColumn],
    *,
    accepts: Sequence[str | None],
) -> dict[str, Any]:
    """Return the policy of answers in `columns` under the schema `full`; `accepts` has the `accept` of each rung."""
    exact = any(has_exact_numbers(each.shape) for each in columns)
    return {
        "output": output.model_dump(
            mode="json",
            by_alias=True,
            exclude_none=True,
            include={"format", "fields", "schema_file"},
            exclude={"fields": {"__all__": {"renamed_from"}}},
        ),
        "full_schema": full,
        "columns": [(each.name, each.type) for each in hash_columns],
        "checks": dict(output.checks),
        "accept": list(accepts),
        **(EXACT_NUMBERS if exact else {}),
        **(EXACT_TEXTS if any(_was_read_in_part(each) for each in columns) else {}),
    }


def _was_read_in_part(column: Column) -> bool:
    """Return whether an answer may say more than an earlier version of batchpipe read of it into `column`."""
    types = set(leaf_types(column.shape))
    beside_json = "JSON" in types and has_exact_numbers(column.shape)
    return bool(types & TIMES) or beside_json or (column.exact and bool(types & {"DOUBLE", *INTEGERS}))


def judging(policy: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what of a policy decides whether an answer is valid: parts of its output, and how answers are read."""
    output: Mapping[str, Any] = policy["output"]
    return {**output, **{name: policy[name] for name in (*EXACT_NUMBERS, *EXACT_TEXTS) if name in policy}}


def answer_rules_of(policy: Mapping[str, Any], connection: Connection) -> AnswerRules:
    """Return the answer rules of a policy in the ledger, for answers to an older prompt version."""
    output = Output.model_validate(policy["output"])
    columns = output_columns(policy["full_schema"], output)
    names = [name for name, _ in policy["columns"]]
    fields = [*(each.name for each in columns), *VOTE_COLUMNS]

    def condition(text: str) -> Condition:
        return parse_condition(connection, text, fields=fields, columns=names, where="the ledger")

    return AnswerRules(
        output_format=output.format,
        full_schema=policy["full_schema"],
        columns=columns,
        input_columns=tuple((name, kind) for name, kind in policy["columns"]),
        checks={name: condition(text) for name, text in policy["checks"].items()},
        accepts=[condition(text) if text else None for text in policy["accept"]],
    )
