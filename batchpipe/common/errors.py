"""Every error that batchpipe raises on purpose.

Each class has an exit code and a short code for `--json`. A message has three parts: what is wrong, where (file,
TOML path, line or row key), and the command or edit that mends it. They are caught once, in `cli.main`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class BatchpipeError(Exception):
    """Base of all: `what` is wrong, `where`, and the `hint` that mends it."""

    exit_code = 70
    code = "bug"

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.what}" + (f"\n  {self.hint}" if self.hint else "")


class UsageError(BatchpipeError):
    """The command line is wrong."""

    exit_code = 2
    code = "usage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong in a file. `where` is the file with a TOML path or a line."""

    what: str
    where: str
    hint: str


class PipelineError(BatchpipeError):
    """The pipeline file, its templates or its SQL are wrong; `problems` holds every one that was found."""

    exit_code = 2
    code = "pipeline"

    def __init__(self, what: str, *, where: str, hint: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(what, where=where, hint=hint)
        self.problems = tuple(problems) or (Problem(what=what, where=where, hint=hint),)

    @classmethod
    def from_problems(cls, problems: Sequence[Problem]) -> PipelineError:
        """One error out of `problems` (at least one); it shows them all, each with its place and its edit."""
        first = problems[0]
        return cls(first.what, where=first.where, hint=first.hint, problems=problems)

    def __str__(self) -> str:
        return "\n".join(f"{each.where}: {each.what}\n  {each.hint}" for each in self.problems)


class TemplateError(PipelineError):
    """A template does not render for a row; `where` is the template's file and line."""

    code = "template"


class ReviewError(PipelineError):
    """A file of reviews cannot be taken: `problems` holds every line that is wrong, and nothing of it is recorded."""

    code = "review"


class InputError(BatchpipeError):
    """The input query runs, but its rows cannot be used (duplicate or null keys, too many keys changed)."""

    exit_code = 2
    code = "input"


class ProviderError(BatchpipeError):
    """The provider refuses, cannot be reached, or has no batch endpoint."""

    exit_code = 3
    code = "provider"


class CredentialsError(ProviderError):
    """No key, or a key that the provider does not take."""

    code = "credentials"


class DatabaseError(BatchpipeError):
    """The database cannot be read or written."""

    exit_code = 4
    code = "database"


class LockedError(DatabaseError):
    """Another process holds the database or the pipeline."""

    code = "locked"


class GateError(BatchpipeError):
    """The run stopped where a person decides: budget, pause, keys changed, a held chunk."""

    exit_code = 6
    code = "gate"


class InternalError(BatchpipeError):
    """batchpipe's own mistake: an invariant that did not hold."""

    exit_code = 70
    code = "bug"
