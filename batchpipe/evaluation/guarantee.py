"""The promise of a tuned ladder in words, with its method and its assumptions."""

from __future__ import annotations

from collections.abc import Sequence

from batchpipe.evaluation.claims import Claim, ClaimResult

METHOD = (
    "Method: Learn then Test with a fixed sequence (Angelopoulos et al., arXiv:2110.01052) and the exact binomial "
    "test; it assumes nothing about models or confidences."
)


def guarantee(n: int, results: Sequence[ClaimResult], risk: float, labels: int | None, top: str | None = None) -> str:
    """Return the promise in words. `labels` is how many gold rows would do.

    `top` is the model whose answers are taken as true, None where gold is.
    """
    rows = "rows" if top else "gold rows"
    given = all(each.given for each in results)
    seldom = f"Over samples of {rows} at most 1 in {1 / risk:.3g} such promises is broken."
    if len(results) > 1:
        seldom = f"Over samples of {rows}, one of these promises or more is broken in at most 1 of {1 / risk:.3g}."
    if given:
        said = f"The ladder is promised {_joined([_said(each, each.claim.target, top) for each in results])}. {seldom}"
    else:
        missed = [f"{each.claim.target:.1%}{_of(each.claim)}" for each in results if each.low < each.claim.target]
        best = [_said(each, each.low, top) for each in results]
        alone = " (each taken alone)" if len(results) > 1 else ""
        said = (
            f"No ladder passed for {_joined(missed)}. The most careful one can be promised {_joined(best)}{alone}. "
            f"{seldom} "
        )
        said += (
            f"If it is as good as on these rows, about {labels:,} {rows} are enough: {labels - n:,} more."
            if labels is not None and labels > n
            else f"It was right on too few rows: more {rows} alone do not bring the promise."
        )
    if top is not None:
        return (
            f"This is agreement with {top}, and not truth: where {top} is wrong, a ladder that agrees with it is wrong "
            f"too. {n:,} rows of this input, drawn by the hash of their keys, tested the ladders, which were ordered "
            f"before an answer of {top} was seen. {said} It holds for rows to come that are like this input. {METHOD}"
        )
    return (
        f"All {n:,} gold rows tested the ladders, which were ordered before a gold value was seen. {said} The gold "
        f"rows must be a random sample of the rows to come, which nobody picked. {METHOD} What holds for the rest of "
        "this table is what --held-out promises."
    )


def _said(result: ClaimResult, share: float, top: str | None) -> str:
    claim, value = result.claim, f"{result.claim.field}={result.claim.value}"
    if claim.kind == "accuracy":
        return f"to {f'agree with {top}' if top else 'be right'} on at least {share:.1%} of the rows to come"
    if claim.kind == "precision":
        what = f"agree with {top}" if top else "be right"
        return f"to {what} on at least {share:.1%} of the rows to come that it answers with {value}"
    whose = f"that {top} answers with {value}" if top else f"whose true value is {value}"
    return f"to find at least {share:.1%} of the rows to come {whose}"


def _of(claim: Claim) -> str:
    return f" {claim.words}" if claim.field else ""


def _joined(parts: Sequence[str]) -> str:
    return " and ".join((", ".join(parts[:-1]), parts[-1])) if len(parts) > 2 else " and ".join(parts)
