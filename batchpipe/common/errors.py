"""Every error that batchpipe raises on purpose.

Each class has an exit code and a short code for `--json`. A message has three parts: what is wrong, where (file,
TOML path, line or row key), and the command or edit that fixes it. The values of `${NAME}` and of keys are taken out of
all three. `cli.main` catches these errors, in one place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from batchpipe.common.hints import typed_again
from batchpipe.common.secrets import redacted


class BatchpipeError(Exception):
    """Base class of all errors: `what` is wrong, `where` it is, and the `hint` that says how to fix it."""

    exit_code = 70
    code = "bug"

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what = redacted(what)
        self.where = None if where is None else redacted(where)
        self.hint = None if hint is None else redacted(typed_again(hint))
        super().__init__(self.what)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.what}" + (f"\n  {self.hint}" if self.hint else "")


class UsageError(BatchpipeError):
    """The command line is wrong."""

    exit_code = 2
    code = "usage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake in a file. `where` is the file with a TOML path or a line, `hint` the edit that fixes it."""

    what: str
    where: str
    hint: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "hint", typed_again(self.hint))
        for name in ("what", "where", "hint"):
            object.__setattr__(self, name, redacted(getattr(self, name)))


class PipelineError(BatchpipeError):
    """The pipeline file, its templates or its SQL are wrong; `problems` holds every mistake that was found."""

    exit_code = 2
    code = "pipeline"

    def __init__(self, what: str, *, where: str, hint: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(what, where=where, hint=hint)
        self.problems = tuple(problems) or (Problem(what=what, where=where, hint=hint),)

    @classmethod
    def from_problems(cls, problems: Sequence[Problem]) -> PipelineError:
        """Return one error that shows all `problems` (at least one), each with its place and its fix."""
        first = problems[0]
        return cls(first.what, where=first.where, hint=first.hint, problems=problems)

    def __str__(self) -> str:
        return "\n".join(f"{each.where}: {each.what}\n  {each.hint}" for each in self.problems)


class TemplateError(PipelineError):
    """A template cannot be rendered for a row; `where` is the template's file and line."""

    code = "template"


class ReviewError(PipelineError):
    """A file of reviews is wrong: `problems` holds every wrong line, and no review of the file is recorded."""

    code = "review"


class InputError(BatchpipeError):
    """The input query runs, but its rows cannot be used: a key is NULL or occurs twice, or too many keys changed."""

    exit_code = 2
    code = "input"


class ProviderError(BatchpipeError):
    """The provider refuses a request, cannot be reached, or has no batch endpoint."""

    exit_code = 3
    code = "provider"


class NoProviderError(ProviderError):
    """No provider of the settings has the protocol and the address that a batch was sent to."""

    code = "no_provider"


class CredentialsError(ProviderError):
    """There is no API key, or the provider refuses the key."""

    code = "credentials"


class DatabaseError(BatchpipeError):
    """The database cannot be read or written."""

    exit_code = 4
    code = "database"


class GoneDatabaseError(DatabaseError):
    """The database file was removed or replaced by another one while a command ran."""

    code = "database"


class LockedError(DatabaseError):
    """Another process holds the database or the pipeline."""

    code = "locked"


class GateError(BatchpipeError):
    """The run stopped and a person has to decide: about the budget, the pilot, changed keys or a held chunk."""

    exit_code = 6
    code = "gate"


class InternalError(BatchpipeError):
    """batchpipe itself made a mistake: something that must always be true was not."""

    exit_code = 70
    code = "bug"
