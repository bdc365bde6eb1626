"""Write what `batchpipe.label` is given as a pipeline file, so that every command can look at it and go on with it."""

from __future__ import annotations

import datetime
import enum
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from batchpipe.common import modes
from batchpipe.common.durable import part_of
from batchpipe.common.errors import UsageError
from batchpipe.pipeline.sending import LOCAL
from batchpipe.pipeline.value_types import NAME_PATTERN
from batchpipe.scaffold.layout import TomlBlock, document

WHERE = "batchpipe.label"
KINDS: Mapping[Any, Mapping[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    Decimal: {"type": "number"},
    datetime.date: {"type": "string", "format": "date"},
    datetime.datetime: {"type": "string", "format": "date-time"},
}
TYPE_NAMES = ("string", "boolean", "integer", "number")
COMMENT = "Written by batchpipe.label. Its rows lie beside it."


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTask:
    """What is asked about each row of a table: the words of a pipeline file, less its input."""

    name: str
    key: Sequence[str]
    prompt: str
    system: str | None
    fields: Mapping[str, Any]
    models: Sequence[Mapping[str, Any]]
    checks: Mapping[str, str]

    @property
    def used(self) -> str:
        """Return all texts that may name a column."""
        conditions = [str(each.get(word, "")) for each in self.models for word in ("accept", "when")]
        return "\n".join((self.prompt, self.system or "", *self.checks.values(), *conditions))

    def written(self, rows: Path) -> str:
        """Return the pipeline file, whose input is the file `rows`."""
        prompt = {"user_text": self.prompt} | ({"system_text": self.system} if self.system is not None else {})
        quoted = str(rows).replace("'", "''")
        output: dict[str, Any] = {"fields": self.fields} | ({"checks": self.checks} if self.checks else {})
        blocks = [
            TomlBlock(table={"name": self.name, "renamed_from": False}, comment=COMMENT),
            TomlBlock(
                table={
                    "input": {
                        "query": f"SELECT * FROM read_parquet('{quoted}')",
                        "key": list(self.key),
                        "window": True,
                    },
                    "prompt": prompt,
                    "output": output,
                }
            ),
            *(TomlBlock(header="[[models]]", table=each) for each in self.models),
        ]
        return document(blocks)


def task_of(
    *,
    name: str | None,
    key: str | Sequence[str],
    prompt: str,
    system: str | None,
    fields: Mapping[str, Any],
    models: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]],
    checks: Mapping[str, str] | None,
    max_tokens: int,
) -> LabelTask:
    """Return the task. Raises UsageError for arguments of a kind that cannot be used."""
    if not fields:
        hint = 'Such as fields={"queue": ["billing", "bug"], "urgent": bool}.'
        raise UsageError("there is no field to fill", where="fields", hint=hint)
    rungs = [models] if isinstance(models, str | Mapping) else list(models)
    if not rungs:
        raise UsageError("there is no model to ask", where="models", hint='Such as models=["claude-haiku-4-5"].')
    chosen = name or default_name(fields)
    if not re.fullmatch(NAME_PATTERN, chosen):
        hint = "Use lower-case letters, digits and _, and begin with a letter."
        raise UsageError(f"{chosen!r} is not a name for a pipeline", where="name", hint=hint)
    return LabelTask(
        name=chosen,
        key=[key] if isinstance(key, str) else list(key),
        prompt=prompt,
        system=system,
        fields={field: field_table(field, spec) for field, spec in fields.items()},
        models=[_rung({"model": each} if isinstance(each, str) else each, max_tokens) for each in rungs],
        checks=dict(checks or {}),
    )


def default_name(fields: Mapping[str, Any]) -> str:
    """Return `label_` and the fields' names, as the name of a pipeline."""
    return "_".join(["label", *(re.sub(r"[^a-z0-9]+", "_", each.lower()).strip("_") for each in fields)]).rstrip("_")


def field_table(name: str, spec: Any) -> dict[str, Any]:
    """Return a field in the words of a pipeline file.

    `spec` is a list of allowed values, a type (str, int, float, bool, date, datetime, an Enum, a Literal, a list of one
    of them), the name of a type, or the table itself. Raises UsageError for anything else.
    """
    if isinstance(spec, Mapping):
        return dict(spec)
    if isinstance(spec, str) and spec in TYPE_NAMES:
        return {"type": spec}
    if isinstance(spec, type) and issubclass(spec, enum.Enum):
        return field_table(name, [each.value for each in spec])
    if not isinstance(spec, types.GenericAlias) and isinstance(spec, type) and spec in KINDS:
        return dict(KINDS[spec])
    origin, arguments = typing.get_origin(spec), typing.get_args(spec)
    if origin is typing.Literal:
        return field_table(name, list(arguments))
    if origin is list and len(arguments) == 1:
        return {"type": "array", "items": field_table(name, arguments[0])}
    if isinstance(spec, list | tuple | set | frozenset) and spec:
        values = sorted(spec) if isinstance(spec, set | frozenset) else list(spec)
        found = {KINDS[type(each)]["type"] for each in values if type(each) in KINDS}
        if len(found) == 1 and all(type(each) in KINDS for each in values):
            return {"type": found.pop(), "enum": values}
    hint = 'Give a list of values, a type such as str, int, float or bool, or a table such as {"type": "string"}.'
    raise UsageError(f"{spec!r} says nothing of a field", where=f"fields[{name!r}]", hint=hint)


def write_file(task: LabelTask, folder: Path, rows: Path) -> Path:
    """Write the pipeline file of `task` into `folder`, and return its path."""
    path = folder / f"{task.name}.toml"
    part = part_of(path)
    with open(part, "w", encoding="utf-8", opener=modes.opener) as file:
        file.write(task.written(rows))
    modes.replace(part, path)
    return path


def _rung(given: Mapping[str, Any], max_tokens: int) -> dict[str, Any]:
    """Return the rung with `max_tokens` where it has none; the local model, which writes nothing, takes none."""
    return dict(given) if given.get("model") == LOCAL else {"max_tokens": max_tokens, **given}
