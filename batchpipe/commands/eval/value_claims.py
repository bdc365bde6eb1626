"""Read the promises of `--precision` and `--recall`, and say which answers and true values they count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from batchpipe.commands.call.options import EvalRequest
from batchpipe.common.errors import UsageError
from batchpipe.common.likeness import nearest
from batchpipe.engine.gold.gold_rows import GoldField
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.evaluation.claims import Claim, PromisedValues, read_claim
from batchpipe.evaluation.field_comparison import class_name
from batchpipe.evaluation.ladder_cost import ThresholdLadder
from batchpipe.evaluation.tuning import accept_condition
from batchpipe.schema.columns import Column
from batchpipe.sql.connection import plain_name
from batchpipe.sql.quoting import quote_literal

LISTED = 10


def value_claims(request: EvalRequest, fields: Sequence[GoldField], ladder: Resolved) -> tuple[Claim, ...]:
    """Return the claims of `--precision` and `--recall`, each once.

    Raises UsageError for a field that is not compared exactly, or a value that the field cannot have.
    """
    read = [read_claim("precision", each) for each in request.precision]
    read += [read_claim("recall", each) for each in request.recall]
    return tuple(dict.fromkeys(_known(each, fields, ladder) for each in read))


def _known(claim: Claim, fields: Sequence[GoldField], ladder: Resolved) -> Claim:
    """Return the claim with the value as it is written in answers."""
    where = f"--{claim.kind} {claim.field}={claim.value}:{claim.target:g}"
    compared = {each.name: each for each in fields}
    if claim.field not in compared:
        near = nearest(claim.field, compared)
        hint = f"Did you mean {near!r}?" if near else f"The fields that are compared: {', '.join(compared)}."
        raise UsageError(f"no field {claim.field!r} is compared", where=where, hint=hint)
    if compared[claim.field].compared.compare != "exact":
        what = f"{claim.field} is compared by {compared[claim.field].compared.compare}, so that it has no single values"
        raise UsageError(what, where=where, hint="Promise for a field whose values are compared exactly.")
    schema = ladder.full_schema.get("properties", {}).get(claim.field, {})
    values = _values(schema)
    listed = "enum" in schema or "const" in schema
    value = claim.value if listed or values is None else claim.value.lower()
    if values is not None and value not in values:
        near = nearest(value, values)
        some = ", ".join(values[:LISTED]) + (", ..." if len(values) > LISTED else "")
        hint = f"Did you mean {near!r}?" if near else f"Its values: {some}."
        raise UsageError(f"{claim.field} has no value {claim.value!r}", where=where, hint=hint)
    return Claim(kind=claim.kind, field=claim.field, value=value, target=claim.target)


def _values(schema: Mapping[str, Any]) -> list[str] | None:
    """Return the values that a field can have, as text; None where the schema does not list them."""
    if "enum" in schema:
        return [class_name(each) for each in schema["enum"]]
    if "const" in schema:
        return [class_name(schema["const"])]
    kinds = schema.get("type")
    kinds = {kinds} if isinstance(kinds, str) else {*(kinds or ())}
    if kinds - {"null"} == {"boolean"}:
        return ["true", "false", *(["null"] if "null" in kinds else [])]
    return None


def promised_values(
    claims: Sequence[Claim], keys: Sequence[str], truths: Mapping[str, Mapping[str, Any]]
) -> PromisedValues:
    """Return the claims with what is true of the gold rows `keys`, in this order."""
    return PromisedValues(
        claims=tuple(claims),
        truths=tuple([class_name(truths[key][each.field]) == each.value for key in keys] for each in claims),
    )


def has_values(claims: Sequence[Claim], answer: Mapping[str, Any] | None) -> tuple[bool, ...]:
    """Return for each claim whether the answer gives its value."""
    return tuple(answer is not None and class_name(answer[each.field]) == each.value for each in claims)


def ladder_accepts(
    ladder: ThresholdLadder, claims: Sequence[Claim], confidences: Sequence[str], columns: Sequence[Column]
) -> dict[int, str | None]:
    """Return the SQL of `accept` for each rung that is used; None for a rung that accepts every valid answer.

    `confidences` has the SQL that says how sure an answer of each rung is.
    """
    types = {each.name: each.type for each in columns}
    tests = dict.fromkeys(_test(each, types.get(each.field, "VARCHAR")) for each in claims)
    for_values = ladder.for_values if ladder.for_values is not None else ladder.accepts
    found: dict[int, str | None] = {}
    for rung, value, other in zip(ladder.rungs, for_values, ladder.accepts, strict=True):
        confidence = confidences[rung - 1] if rung <= len(confidences) else ""
        if value == other:
            found[rung] = None if other is None else accept_condition(other, confidence)
        else:
            one, two = ("true" if each is None else accept_condition(each, confidence) for each in (value, other))
            found[rung] = f"CASE WHEN {' OR '.join(tests)} THEN {one} ELSE {two} END"
    return found


def _test(claim: Claim, kind: str) -> str:
    """Return the SQL that says whether an answer has the value of the claim."""
    name = plain_name(claim.field)
    if claim.value == "null":  # NULL has this name too
        return f"({name} IS NULL OR CAST({name} AS VARCHAR) = 'null')"
    if kind == "BOOLEAN":
        return f"{name} = {claim.value}"
    value = quote_literal(claim.value)
    return f"{name} = {value}" if kind == "VARCHAR" else f"CAST({name} AS VARCHAR) = {value}"
