"""Give the content of a prompt version as texts by part, and the parts that differ between two versions."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.template.turns import SOURCE as TURNS_SOURCE

INLINE = ("<system_text>", "<user_text>")


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionText:
    """The texts of a version by part: `system`, `user`, the included `prompts/...`, `vars`, `queries.x`, `schema`.

    `label` is the version's name for a person.
    """

    label: str
    parts: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartDiff:
    """A part that differs between two versions, as a unified diff."""

    part: str
    diff: str


def text_of_resolved(resolved: Resolved, label: str) -> VersionText:
    """Return the texts of a resolved pipeline."""
    version, pipeline = resolved.version, resolved.file.pipeline
    return VersionText(
        label=label,
        parts=_parts(
            pipeline.prompt.system,
            pipeline.prompt.user,
            dict(version.sources),
            json.loads(_json(version.variables)),
            json.loads(_json(version.queries)),
            resolved.full_schema,
            pipeline.output.format,
        ),
    )


def text_of_recorded(
    label: str,
    *,
    toml: str,
    sources: Mapping[str, str],
    variables: Mapping[str, Any],
    queries: Mapping[str, Any],
    full_schema: Mapping[str, Any],
    output_format: str,
) -> VersionText:
    """Return the texts of a version that the ledger keeps."""
    prompt = tomllib.loads(toml).get("prompt", {})
    return VersionText(
        label=label,
        parts=_parts(prompt.get("system"), prompt.get("user"), sources, variables, queries, full_schema, output_format),
    )


def diff_texts(before: VersionText, after: VersionText) -> list[PartDiff]:
    """Return the parts that differ, in the order of a prompt."""
    names = [*before.parts, *(each for each in after.parts if each not in before.parts)]
    names.sort(key=_place)
    found = []
    for name in names:
        old, new = before.parts.get(name), after.parts.get(name)
        if old != new:
            diff = unified(old, new, f"{name} ({before.label})", f"{name} ({after.label})")
            found.append(PartDiff(part=name, diff=diff))
    return found


def unified(before: str | None, after: str | None, from_name: str, to_name: str) -> str:
    """Return a unified diff of two texts. None is a text that does not exist. Empty where the texts are the same."""
    old = [] if before is None else before.split("\n")
    new = [] if after is None else after.split("\n")
    missing = "(none)"
    return "\n".join(
        difflib.unified_diff(
            old,
            new,
            fromfile=missing if before is None else from_name,
            tofile=missing if after is None else to_name,
            lineterm="",
        )
    )


def _parts(
    system: str | None,
    user: str | None,
    sources: Mapping[str, str],
    variables: Mapping[str, Any],
    queries: Mapping[str, Any],
    full_schema: Mapping[str, Any],
    output_format: str,
) -> dict[str, str]:
    """Return the texts of a prompt version by part."""
    parts: dict[str, str] = {}
    for part, name in (("system", system or INLINE[0]), ("user", user or INLINE[1])):
        if name in sources:
            parts[part] = sources[name]
    for name, text in sources.items():
        if name == TURNS_SOURCE:
            parts["turns"] = text
        elif name not in (system, user, *INLINE):
            parts[f"prompts/{name}"] = text
    if variables:
        parts["vars"] = "\n".join(f"{name} = {_json(value)}" for name, value in sorted(variables.items()))
    for name, rows in sorted(queries.items()):
        parts[f"queries.{name}"] = _rows(rows)
    parts["schema"] = f"format: {output_format}\n" + json.dumps(full_schema, indent=2, ensure_ascii=False)
    return parts


def _rows(rows: Sequence[Any]) -> str:
    return "\n".join(_json(row) for row in rows)


def _json(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


def _place(part: str) -> tuple[int, str]:
    """Return the sort key of a part: its place in a prompt, then its name."""
    order = ("system", "turns", "user", "prompts/", "vars", "queries.", "schema")
    return next(number for number, start in enumerate(order) if part.startswith(start)), part
