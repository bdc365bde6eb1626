"""How requests are sent, as frozen values: `[[models]]`, `[chunking]` and `[retry]` of the pipeline file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from batchpipe.pipeline.value_types import Frozen, Names, Share, Size, SomePart, SomeShare, Whole

# The reserved name of the rung whose model a pipeline trains itself.
LOCAL = "local"
# The settings of all its versions, as `--redo model` compares them.
LOCAL_SETTINGS = '{"model": "local"}'
# What its `accept` calls the model's confidence, and the column of the output table that has it.
CONFIDENCE_COLUMN = "_confidence"

# Each member has a number among the bits that say which rungs a row may use.
MOST_VOTES = 15


class Member(BaseModel):
    """One member of `panel`. Keys beyond these are the provider's own settings."""

    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)

    model: str = Field(description="Model, or `provider:model`.")
    max_tokens: Whole | None = Field(default=None, gt=0, description="Most tokens of an answer; default: the rung's.")
    mode: Literal["batch", "realtime"] | None = Field(
        default=None, description="How it is asked; default: the rung's, else the provider's."
    )

    @property
    def settings(self) -> dict[str, Any]:
        """Return the provider's settings of this member."""
        return dict(self.model_extra or {})


def _member(value: Any) -> Any:
    """Return the short form `"model"` as the table `{model = "model"}`."""
    return {"model": value} if isinstance(value, str) else value


class Rung(BaseModel):
    """`[[models]]`: one rung of the ladder. Keys beyond these are the provider's own settings."""

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        defer_build=True,
        json_schema_extra={"oneOf": [{"required": ["model", "max_tokens"]}, {"required": ["panel"]}]},
    )

    model: str | None = Field(default=None, description="Model, or `provider:model`.")
    max_tokens: Whole | None = Field(default=None, gt=0, description="Most tokens of an answer.")
    samples: Whole = Field(
        default=1, ge=1, le=MOST_VOTES, description="How often the model is asked; its answers vote."
    )
    panel: tuple[Annotated[Member, BeforeValidator(_member, json_schema_input_type=str | Member)], ...] = Field(
        default=(),
        max_length=MOST_VOTES,
        description="Models that are asked once each, in place of `model`; their answers vote. A member is a model, or "
        "a table with settings of its own.",
        json_schema_extra={"type_text": "a list of models, or of tables with `model` and settings"},
    )
    vote: Names = Field(
        default=(), description="Fields that the answers vote on; default: enum, const and boolean fields."
    )
    quorum: Whole | None = Field(
        default=None, ge=1, description="Fewest valid answers for a vote; default: more than half of them."
    )
    accept: str | None = Field(default=None, description="SQL; an answer that does not satisfy it goes up a rung.")
    when: str | None = Field(default=None, description="SQL over input columns; only such rows use this rung.")
    mode: Literal["batch", "realtime"] | None = Field(
        default=None, description="`batch`, or `realtime`: each request is answered at once. Default: the provider's."
    )

    @property
    def settings(self) -> dict[str, Any]:
        """Return the provider's settings of this rung: temperature, effort, thinking, stop_sequences, ..."""
        return dict(self.model_extra or {})

    @property
    def votes(self) -> bool:
        """Return whether the rung asks a row more than once."""
        return self.samples > 1 or bool(self.panel)

    @property
    def members(self) -> tuple[Member, ...]:
        """Return what the rung asks, in order: its model, as often as it is asked, or the members of its panel.

        A member without `max_tokens` or `mode` has the rung's, and a panel's settings beside its own.
        """
        if not self.panel:
            alone = {"model": self.model or "", "max_tokens": self.max_tokens, "mode": self.mode, **self.settings}
            return (Member.model_validate(alone),) * self.samples
        return tuple(
            Member.model_validate(
                {
                    **self.settings,
                    "max_tokens": each.max_tokens or self.max_tokens,
                    "mode": each.mode or self.mode,
                    **each.settings,
                    "model": each.model,
                }
            )
            for each in self.panel
        )

    @property
    def name(self) -> str:
        """Return what people call the rung: its model, `3 x model` for samples, `panel of 3` for a panel."""
        if self.panel:
            return f"panel of {len(self.panel)}"
        return f"{self.samples} x {self.model}" if self.samples > 1 else self.model or ""


class LocalRung(Frozen):
    """`[[models]] model = "local"`: the first rung, a small model that learns from the answers of the others."""

    model: Literal["local"] = Field(description="The reserved name of the model that the pipeline trains itself.")
    accept: str = Field(description="SQL over fields and `_confidence`; rows that do not satisfy it go up a rung.")
    when: str | None = Field(default=None, description="SQL over input columns; only such rows use this rung.")
    columns: Names = Field(
        default=(),
        description="Text columns, or columns of numbers (embeddings), that it reads; default: the text columns that "
        "the prompt uses.",
    )
    audit: SomeShare = Field(
        default=0.02, description="Share of the rows it is sure of that are asked of the next rung all the same."
    )
    target: SomePart | None = Field(
        default=None,
        description="Share of rows that must be right: with gold a new version answers only after the exact test.",
    )


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
