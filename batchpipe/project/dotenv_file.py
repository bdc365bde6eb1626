"""The `.env` of the project root: variables beside those of the process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import SecretStr

from batchpipe.common.errors import UsageError
from batchpipe.project.trust import Place, is_tracked, is_whole_address

DOTENV = ".env"


def dotenv_variables(root: Path) -> dict[str, str]:
    """Return the variables of the root's `.env`; none where there is no such file.

    Raises UsageError for a file that cannot be read: what it sets may be another database, and is not guessed.
    """
    path = root / DOTENV
    if not path.is_file():
        return {}
    from dotenv import dotenv_values  # only where there is such a file

    try:
        found = dotenv_values(path, interpolate=False)
    except UnicodeDecodeError as error:
        hint = f"Save it as UTF-8 (byte {error.start} is not)."
        raise UsageError("the file is not UTF-8 text", where=DOTENV, hint=hint) from error
    except OSError as error:
        hint = "Let this user read it, or move it away: the settings and keys in it are needed before anything else."
        raise UsageError(f"the file cannot be read: {error.strerror}", where=DOTENV, hint=hint) from error
    return {name: value for name, value in found.items() if value is not None}


def credentials(environment: Mapping[str, str], root: Path, variable_names: Sequence[str]) -> dict[str, SecretStr]:
    """Return the values of `variable_names` that the environment or the root's `.env` sets; "" counts as not set."""
    dotenv = dotenv_variables(root)
    found = {name: environment.get(name) or dotenv.get(name) for name in variable_names}
    return {name: SecretStr(value) for name, value in found.items() if value}


def with_dotenv(environment: Mapping[str, str], root: Path) -> Mapping[str, str]:
    """Return `environment`, and what the root's `.env` sets beside it, where git does not track that file."""
    found = {name: value for name, value in dotenv_variables(root).items() if value and not environment.get(name)}
    return {**environment, **found} if found and not is_tracked(root, DOTENV) else environment


def place_of(root: Path, environment: Mapping[str, str], name: str) -> Place | None:
    """Return where the variable `name` is set: in the environment or a `.env` that git does not track, or in a `.env`
    that git tracks; None where it is not set.
    """
    if environment.get(name):
        return "environment"
    if not dotenv_variables(root).get(name):
        return None
    return "repository" if is_tracked(root, DOTENV) else "environment"


def place_of_address(
    root: Path, environment: Mapping[str, str], variables: Mapping[str, str], text: str, named_by: str
) -> Place:
    """Return where the URL `text` of a setting comes from: `named_by` is the variable that can set it, `variables` has
    what a `${NAME}` in it stands for.
    """
    if is_whole_address(text, variables):
        return "environment"
    return place_of(root, environment, named_by) or "repository"
