"""How requests are sent, as frozen values: `[[models]]`, `[chunking]` and `[retry]` of the pipeline file."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from batchpipe.pipeline.value_types import Frozen, Names, Share, Size, Whole


class Rung(BaseModel):
    """`[[models]]`: one rung of the ladder. Keys beyond these are the provider's own settings."""

    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)

    model: str = Field(description="Model, or `provider:model`.")
    max_tokens: Whole = Field(gt=0, description="Most tokens of an answer.")
    accept: str | None = Field(default=None, description="SQL; an answer that does not satisfy it goes up a rung.")
    when: str | None = Field(default=None, description="SQL over input columns; only such rows use this rung.")
    mode: Literal["batch", "realtime"] | None = Field(
        default=None, description="`batch`, or `realtime`: each request is answered at once. Default: the provider's."
    )

    @property
    def settings(self) -> dict[str, Any]:
        """Return the provider's settings of this rung: temperature, effort, thinking, stop_sequences, ..."""
        return dict(self.model_extra or {})


class Chunking(Frozen):
    """`[chunking]`: how requests are packed into batches."""

    max_requests: Whole = Field(default=10_000, gt=0, description="Requests per batch.")
    max_bytes: Size = Field(default=32_000_000, description="Bytes per batch: a number, or a size like `32MB`.")
    max_in_flight: Whole = Field(default=8, gt=0, description="Batches at once.")
    max_queued: Whole = Field(
        default=200_000, gt=0, description="Requests waiting at the provider, all batches together."
    )
    group_by: Names = Field(default=(), description="Input columns that a batch must not mix.")


class Retry(Frozen):
    """`[retry]`: how often a row is tried."""

    attempts: Whole = Field(default=3, ge=1, description="Most attempts of a row on one rung.")
    transient: Whole = Field(default=5, ge=1, description="Most expired requests or errors in a row.")
    max_failed: Share = Field(default=0.0, description="Share of a run's rows that may end failed before exit 1.")
    stragglers: Whole = Field(
        default=0, ge=0, description="So few retries and escalations as are left are asked in realtime."
    )
