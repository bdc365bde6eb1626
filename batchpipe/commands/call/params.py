"""Read `--param name=value`: values for `$name` in the input query, with the type that the file gives them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from batchpipe.common.errors import UsageError
from batchpipe.common.likeness import nearest
from batchpipe.pipeline.model import PipelineFile

WHERE = "--param"


def split_params(texts: Sequence[str]) -> dict[str, str]:
    """Return the parameters by name, each as text: `["since=2026-01-01"]`.

    Raises UsageError for a text without `=`.
    """
    params: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            what = f"{text!r} is not a parameter"
            raise UsageError(what, where=WHERE, hint="Write it like --param since=2026-01-01.")
        params[name.strip()] = value
    return params


def typed_params(files: Sequence[PipelineFile], given: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the parameters of each pipeline: those that its file declares, with the declared types.

    Raises UsageError for a parameter that no file declares, or whose value does not fit the declared type.
    """
    declared_params(files, given)
    return {
        file.pipeline.name: {
            name: _typed(name, value, file.pipeline.input.params[name])
            for name, value in given.items()
            if name in file.pipeline.input.params
        }
        for file in files
    }


def declared_params(
    files: Sequence[PipelineFile], given: Mapping[str, Any], *, where: str = WHERE
) -> Mapping[str, Any]:
    """Return `given`. Raises UsageError, which calls the place `where`, for a parameter that no file declares."""
    for name in given:
        if not any(name in file.pipeline.input.params for file in files):
            known = sorted({each for file in files for each in file.pipeline.input.params})
            near = nearest(name, known)
            hint = f"Did you mean {near}?" if near else f"Declare it: [input] params = {{ {name} = ... }}"
            raise UsageError(f"there is no parameter {name!r}", where=where, hint=hint)
    return given


def _typed(name: str, value: str, declared: Any) -> Any:
    """Return `value`, written as in TOML, with the type of `declared`."""
    if isinstance(declared, str):
        return value
    try:
        parsed = tomllib.loads(f"value = {value}\n")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        parsed = None
    if type(parsed) is type(declared):
        return parsed
    if isinstance(declared, float) and type(parsed) is int:
        return float(parsed)
    kind = {bool: "true or false", int: "a whole number", float: "a number", list: "a list"}.get(type(declared))
    hint = f"The file gives it as {declared!r}: write {kind or 'a value of that kind'}."
    raise UsageError(f"{value!r} does not fit the parameter {name}", where=WHERE, hint=hint)
