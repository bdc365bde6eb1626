"""The local rung of a pipeline, resolved: which columns its model reads, which fields it answers, when it is sure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchpipe.common.errors import PipelineError, Problem
from batchpipe.engine.source.snapshot import InputColumn
from batchpipe.engine.source.source import Inputs
from batchpipe.local_model import library
from batchpipe.pipeline.model import PipelineFile
from batchpipe.pipeline.sending import CONFIDENCE_COLUMN, LocalRung
from batchpipe.schema.columns import Column
from batchpipe.sql.conditions import Condition, bind_condition, parse_condition
from batchpipe.sql.connection import Connection
from batchpipe.template import Templates

TEXT_TYPES = ("VARCHAR", "JSON")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedLocalRung:
    """The local rung with everything looked up.

    `columns` are the text columns that the model reads, `embedding` a column of numbers beside them. `fields` are the
    fields that it answers, each with its allowed values as JSON texts. `confidence` is the field that says how sure an
    answer is; None where there is none. `shape` identifies fields, values and columns: a model of another shape cannot
    answer.
    """

    columns: tuple[InputColumn, ...]
    embedding: InputColumn | None
    fields: Mapping[str, tuple[str, ...]]
    confidence: str | None
    accept: Condition
    when: Condition | None
    audit: float
    target: float | None
    shape: str

    @property
    def width(self) -> int | None:
        """Return how many numbers the embedding has by its type; 0 without one, None where the type does not say."""
        if self.embedding is None:
            return 0
        return int(self.embedding.type[self.embedding.type.index("[") + 1 : -1] or 0) or None

    @property
    def inputs(self) -> set[str]:
        """Return the input columns that it reads. They are part of the input hash."""
        conditions = (self.accept, *((self.when,) if self.when is not None else ()))
        read = (*self.columns, *((self.embedding,) if self.embedding is not None else ()))
        return {each.name for each in read} | {name for each in conditions for name in each.inputs}


def missing_packages(file: PipelineFile) -> Iterator[Problem]:
    """Yield a mistake where the file has a local rung, and a package that its model needs is not installed."""
    package = library.missing_package() if file.pipeline.local is not None else None
    if package is not None:
        what = f'model = "local" needs the package {package}, which is not installed'
        yield Problem(what=what, where=file.where("[[models]] 0"), hint=library.HINT)


def refuse_missing_packages(file: PipelineFile) -> None:
    """Raise PipelineError where a package that the file's local rung needs is not installed."""
    problems = list(missing_packages(file))
    if problems:
        raise PipelineError.from_problems(problems)


def local_rung_reader(
    file: PipelineFile,
    source: Inputs,
    full: Mapping[str, Any],
    columns: Sequence[Column],
    input_columns: Sequence[InputColumn],
    templates: Templates | None,
) -> Callable[[], ResolvedLocalRung | None]:
    """Return what resolves the local rung of `file`, or of the pipeline that it evaluates; it returns None where there
    is none.

    Without `templates`, which have mistakes of their own, it is not looked at. An evaluation whose rows lack a column
    that only the local model reads goes without it.
    """
    if templates is None:
        return lambda: None
    types = {each.name: each.type for each in columns}
    used = sorted(templates.texts)

    def read() -> ResolvedLocalRung | None:
        try:
            found = resolve_local_rung(file, source.connection, full, types, input_columns, used)
        except PipelineError:
            if file.pipeline.local is not None or templates.hints:
                raise
            return None
        _refuse_hints(file, templates, found)
        return found

    return read


def _refuse_hints(file: PipelineFile, templates: Templates, rung: ResolvedLocalRung | None) -> None:
    """Raise PipelineError where templates ask the local model, and there is none or it does not answer the field."""
    for use in templates.hints:
        if rung is None:
            what = f"{use.shown} asks the local model, and there is none"
            hint = 'Begin the ladder with model = "local"; with accept = "false" it answers no row by itself.'
            if file.section:
                hint = "Remove it: a judge has no local model."
            raise PipelineError(what, where=file.where("[prompt]"), hint=hint)
        if use.field is not None and use.field not in rung.fields:
            known = ", ".join(rung.fields)
            what = f"{use.shown}: the local model does not answer {use.field}, which is optional"
            raise PipelineError(what, where=file.where("[prompt]"), hint=f"It answers: {known}.")


def resolve_local_rung(
    file: PipelineFile,
    connection: Connection,
    full: Mapping[str, Any],
    field_types: Mapping[str, str],
    input_columns: Sequence[InputColumn],
    used: Sequence[str],
) -> ResolvedLocalRung | None:
    """Return the local rung of `file`, or of the pipeline that it evaluates; None where it has none.

    `used` are the input columns that the prompt uses.

    Raises PipelineError with every mistake: a field that it cannot answer, a column that there is not, a condition.
    """
    rung = _rung(file)
    if rung is None:
        return None
    problems: list[Problem] = []
    confidence = _confidence_field(file, full)
    fields = _fields(file, full, confidence, problems)
    chosen = _columns(file, rung, input_columns, used, problems)
    columns = tuple(each for each in chosen if not is_embedding(each.type))
    types = {each.name: each.type for each in input_columns}
    where = file.where("[[models]] 0 accept")

    def bound(text: str, names: Mapping[str, str], where: str) -> Condition | None:
        try:
            parsed = parse_condition(connection, text, fields=names, columns=types, where=where)
            bind_condition(connection, parsed, field_types=names, column_types=types, where=where)
        except PipelineError as error:
            problems.extend(error.problems)
            return None
        return parsed

    accept = bound(rung.accept, {**field_types, CONFIDENCE_COLUMN: "DOUBLE"}, where)
    when = bound(rung.when, {}, file.where("[[models]] 0 when")) if rung.when is not None else None
    if problems or accept is None:
        raise PipelineError.from_problems(problems)
    return ResolvedLocalRung(
        columns=columns,
        embedding=next((each for each in chosen if is_embedding(each.type)), None),
        fields=fields,
        confidence=confidence,
        accept=accept,
        when=when,
        audit=float(rung.audit),
        target=None if rung.target is None else float(rung.target),
        shape=_shape(fields, chosen),
    )


def _rung(file: PipelineFile) -> LocalRung | None:
    """Return the local rung of the file, or of the pipeline that it evaluates. A judge has none."""
    if file.pipeline.local is not None:
        return file.pipeline.local
    return file.learner.local if file.learner is not None and not file.section else None


def _confidence_field(file: PipelineFile, full: Mapping[str, Any]) -> str | None:
    """Return the field that says how sure an answer is, where there is one."""
    name = file.pipeline.eval.confidence if file.pipeline.eval is not None else "confidence"
    node = full.get("properties", {}).get(name)
    return name if isinstance(node, Mapping) and node.get("type") == "number" else None


def _fields(
    file: PipelineFile, full: Mapping[str, Any], confidence: str | None, problems: list[Problem]
) -> dict[str, tuple[str, ...]]:
    """Return the required fields with their allowed values; add those that have no list of values to `problems`."""
    found = {}
    for name in full.get("required", ()):
        if name == confidence:
            continue
        values = _values(full["properties"][name])
        if values is None:
            hint = "Give it an enum, make it optional = true, or remove the local rung."
            if "$ref" in str(full["properties"][name]):
                hint = "A `$ref` is not followed: write the enum into the field itself, or remove the local rung."
            what = f"the local model cannot answer {name}: it is neither an enum, a const, a boolean nor the confidence"
            problems.append(Problem(what=what, where=file.where(f"[output.fields.{name}]"), hint=hint))
            continue
        found[name] = tuple(json.dumps(each, ensure_ascii=False) for each in values)
    if not found and not problems:
        what = "the local model has no field to answer"
        hint = "Add a required field with an enum, or remove the local rung."
        problems.append(Problem(what=what, where=file.where("[output]"), hint=hint))
    return found


def _values(node: Any) -> Sequence[Any] | None:
    """Return the values that a field may have; None where they are not listed."""
    if not isinstance(node, Mapping):
        return None
    if "const" in node:
        return [node["const"]]
    if "enum" in node:
        return list(node["enum"])
    if node.get("type") == "boolean":
        return [False, True]
    if isinstance(node.get("type"), list) and set(node["type"]) == {"boolean", "null"}:
        return [None, False, True]
    return None


def _columns(
    file: PipelineFile,
    rung: LocalRung,
    input_columns: Sequence[InputColumn],
    used: Sequence[str],
    problems: list[Problem],
) -> tuple[InputColumn, ...]:
    """Return the columns that the model reads: those of the file, and where none of them is a text the text columns
    that the prompt uses.
    """
    by_name = {each.name: each for each in input_columns}
    where = file.where("[[models]] 0 columns")
    chosen = []
    for name in rung.columns:
        column = by_name.get(name)
        if column is None:
            known = ", ".join(by_name)
            problems.append(
                Problem(what=f"the input has no column {name!r}", where=where, hint=f"Its columns: {known}.")
            )
        elif column.type not in TEXT_TYPES and not is_embedding(column.type):
            hint = "Name text columns, or a column of numbers such as FLOAT[384]; or cast it in the query."
            what = f"the local model cannot read {name}, which is {column.type}"
            problems.append(Problem(what=what, where=where, hint=hint))
        else:
            chosen.append(column)
    if sum(is_embedding(each.type) for each in chosen) > 1:
        what = "the local model reads one column of numbers beside its texts"
        problems.append(Problem(what=what, where=where, hint="Keep one of them."))
    if not any(each.type in TEXT_TYPES for each in chosen):
        found = [by_name[name] for name in sorted(used) if name in by_name and by_name[name].type in TEXT_TYPES]
        if not found and not problems:
            what = "the prompt uses no text column that the local model could read"
            texts = [each.name for each in by_name.values() if each.type in TEXT_TYPES]
            hint = f"Name what it reads: columns = {json.dumps(texts[:1], ensure_ascii=False)}."
            hint = hint if texts else "The input has no text column: cast one in the query, CAST(... AS VARCHAR)."
            problems.append(Problem(what=what, where=where, hint=hint))
        chosen += found
    return tuple(chosen)


def is_embedding(kind: str) -> bool:
    """Return whether a DuckDB type is a list of numbers."""
    return kind.endswith("]") and kind.split("[")[0] in ("FLOAT", "DOUBLE") and kind.count("[") == 1


def _has_width(kind: str) -> bool:
    """Return whether a DuckDB type says how many numbers each row has: a model of another width reads none of them."""
    return is_embedding(kind) and not kind.endswith("[]")


def _shape(fields: Mapping[str, tuple[str, ...]], columns: Sequence[InputColumn]) -> str:
    """Return the identity of what the model answers, and out of what."""
    read = [f"{each.name} {each.type}" if _has_width(each.type) else each.name for each in columns]
    described = [{name: sorted(values) for name, values in sorted(fields.items())}, read]
    return hashlib.md5(json.dumps(described, ensure_ascii=False).encode(), usedforsecurity=False).hexdigest()
