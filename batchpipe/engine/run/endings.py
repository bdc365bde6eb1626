"""How a run ends, in words: the gate of chunks that a person has to decide about."""

from __future__ import annotations

from collections.abc import Mapping


def unclear_gate(name: str, unclear: Mapping[str, str]) -> tuple[str, str]:
    """Return the gate and its hint: the commands by which a person decides about chunks of unknown outcome.

    `unclear` maps chunks to the batches that may be theirs.
    """
    batch_id = next(iter(unclear.values()))
    gate = (
        f"the outcome of {len(unclear)} submits is not known. They may have made the batch {batch_id}, whose results "
        "are gone: their rows wait for a decision"
    )
    hint = (
        f"If that batch is yours: batchpipe recover {name} --adopt {batch_id}; to send the rows again: "
        f"batchpipe recover {name} --abandon"
    )
    return gate, hint
