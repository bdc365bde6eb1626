"""The setting `notify`: who is told how a run ended and which batches are stuck, when nobody watches."""

from __future__ import annotations

from typing import Literal, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

What = Literal["done", "failed", "gate", "stuck"]
EVERYTHING: tuple[What, ...] = get_args(What)


class Notify(BaseModel):
    """`[tool.batchpipe.notify]`: a command, a webhook or both, and what they are told of."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    command: tuple[str, ...] = Field(
        default=(), description="A program and its arguments, which gets JSON on its standard input. No shell reads it."
    )
    webhook: str | None = Field(default=None, description="A URL that JSON is posted to, such as `${SLACK_WEBHOOK}`.")
    on: tuple[What, ...] = Field(
        default=EVERYTHING, description='What is told: `"done"`, `"failed"`, `"gate"`, `"stuck"`; default: all.'
    )

    @field_validator("command", mode="before")
    @classmethod
    def _as_list(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError('no shell reads the command: write a list, command = ["program", "argument"]')
        return value

    @field_validator("webhook")
    @classmethod
    def _as_url(cls, value: str | None) -> str | None:
        if value is not None and "${" not in value:
            parts = urlsplit(value)
            if parts.scheme not in ("http", "https") or not parts.netloc:
                raise ValueError("write a URL like https://hooks.example/..., or ${NAME} of a variable that holds it")
        return value

    @model_validator(mode="after")
    def _has_a_way(self) -> Notify:
        if not self.command and self.webhook is None:
            raise ValueError("give a command or a webhook")
        return self
