"""The table `[review]` of a pipeline file: which rows a person should see, and how."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from batchpipe.pipeline.value_types import Flag, Frozen, Names, PartOfAll, Share


class Review(Frozen):
    """`[review]`: rows that a person should see, beside those whose answer no rung accepted."""

    where: str | None = Field(default=None, description="SQL over input and output: `review` shows such rows.")
    sample: Share = Field(default=0.0, description="Share of the rows, by hash of the key, that `review` shows.")
    by: Literal["uniform", "doubt"] = Field(
        default="uniform",
        description='How the sample is drawn: `"uniform"`, or `"doubt"`: unsure answers more often, with probabilities '
        "that are recorded.",
    )
    target: PartOfAll | None = Field(
        default=None,
        description="Share of rows that must be right: `review` shows what a person must see for it, by `eval --tune`.",
    )
    blind: Flag = Field(
        default=True, description="A row of the sample is shown without the model's answer until the person has chosen."
    )
    show: Names = Field(default=(), description="Input columns shown beside those that the prompt uses.")
