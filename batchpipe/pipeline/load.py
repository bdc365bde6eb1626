"""Reading a pipeline file into frozen values, and writing it back. All mistakes of a file are reported at once."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from batchpipe.common.errors import PipelineError
from batchpipe.pipeline import rules
from batchpipe.pipeline.field_rules import name_findings, subtable
from batchpipe.pipeline.model import Budget, Pipeline, PipelineFile
from batchpipe.pipeline.places import find_lines, toml_path
from batchpipe.pipeline.problems import ProblemList
from batchpipe.pipeline.variables import expand_variables, names_with_a_quote

__all__ = ["dump", "expand_variables", "load", "names_with_a_quote", "parse"]


def load(path: Path, root: Path, project_budget: Budget | None = None) -> PipelineFile:
    """Read the pipeline file at `path`; paths in it are relative to `root`.

    `project_budget` is what all pipelines of the project may spend together.
    Raises PipelineError with every mistake found. Templates and SQL are not checked here.
    """
    shown = _shown(path, root)
    text = _read(path, shown)
    data, problems = _tables(text, path.stem, shown)
    source, output = subtable(data, "input"), subtable(data, "output")
    query = _text_of(source.get("query_file"), root, problems, ("input", "query_file"), "a SELECT")
    content = _schema_content(output, source, root, problems)
    pipeline = _validated(data, problems)
    lines = {toml_path(place, data): line for place, line in problems.lines.items()}
    return PipelineFile(
        pipeline=pipeline,
        path=path,
        root=root,
        query=pipeline.input.query or query or "",
        schema_content=content,
        lines=lines,
        project_budget=project_budget or Budget(),
    )


def parse(text: str, *, name: str = "", where: str = "pipeline") -> Pipeline:
    """Parse the text of a pipeline file, without a look at any other file.

    `name` is the pipeline's name if the text has none; messages call the file `where`. Raises PipelineError with every
    mistake found.
    """
    data, problems = _tables(text, name, where)
    return _validated(data, problems)


def dump(pipeline: Pipeline) -> str:
    """Return `pipeline` as TOML with all defaults; `parse(dump(pipeline)) == pipeline`."""
    data = pipeline.model_dump(by_alias=True, exclude_none=True)
    local = data.pop("local", None)
    if local is not None:
        data["models"] = [local, *data["models"]]
    return tomli_w.dumps(_toml(data))


def _toml(value: Any) -> Any:
    """Return the value with lists in place of tuples, as TOML needs it."""
    if isinstance(value, Mapping):
        return {key: _toml(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_toml(each) for each in value]
    return value


def _shown(path: Path, root: Path) -> str:
    try:
        return str(path.relative_to(root))
    except ValueError:
        return str(path)


def _read(path: Path, shown: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        hint = f"Save it as UTF-8 (byte {error.start} is not)."
        raise PipelineError("the file is not UTF-8 text", where=shown, hint=hint) from error
    except OSError as error:
        what = f"the file cannot be read: {error.strerror}"
        raise PipelineError(what, where=shown, hint="Check the path and its permissions.") from error


def _tables(text: str, name: str, shown: str) -> tuple[dict[str, Any], ProblemList]:
    """Parse the TOML. Returns its tables, with the default name filled in, and the list that collects mistakes."""
    try:
        parsed = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        number = int(found[1]) if found else max(1, len(text.splitlines()))
        where = f"{shown}:{number}"
        line = "".join(text.splitlines()[number - 1 : number]).strip()
        what = f"not valid TOML: {str(error).split(' (at ')[0]}" + (f": {line}" if line else "")
        hint = 'Write strings in quotes (key = "text"), tables in [brackets], and commas between the items of a list.'
        if re.match("Cannot (overwrite|declare)", str(error)):
            hint = "It stands twice in the file: remove one of the two. Only [[models]] may stand several times."
        raise PipelineError(what, where=where, hint=hint) from error
    data = {key: value if key == "budget" else _with_floats(value) for key, value in parsed.items()}
    output = subtable(data, "output")
    if output.get("format") == "text" and not output.get("fields"):
        data["output"] = {**output, "fields": {"text": {"type": "string"}}}
    if name and "name" not in data:
        data = {"name": name, **data}
    problems = ProblemList(file=shown, data=data, lines=find_lines(text))
    return data, problems


def _with_floats(value: Any) -> Any:
    """Return the value with floats in place of decimals, which only amounts of money keep."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {key: _with_floats(each) for key, each in value.items()}
    return [_with_floats(each) for each in value] if isinstance(value, list) else value


def _validated(data: dict[str, Any], problems: ProblemList) -> Pipeline:
    """Return the pipeline that `data` describes. Raises PipelineError with all mistakes, those added before too."""
    for finding in rules.rule_findings(data):
        problems.add(*finding)
    if isinstance(data.get("models"), dict):
        hint = "Write [[models]] with two brackets, once for each rung."
        problems.add(("models",), "[models] is a single table, but the ladder is a list of tables", hint)
        data["models"] = [data["models"]]
    try:
        pipeline = Pipeline.model_validate(_with_local(data, problems), by_alias=True, by_name=False)
    except ValidationError as error:
        problems.add_validation(error)
        raise PipelineError.from_problems(problems.in_order) from error
    if problems.in_order:
        raise PipelineError.from_problems(problems.in_order)
    return pipeline


def _with_local(data: dict[str, Any], problems: ProblemList) -> dict[str, Any]:
    """Return `data` with the local rung, if `[[models]]` begins with it, under a key of its own."""
    models = data.get("models")
    if "local" in data:
        problems.add(
            ("local",), 'unknown key "local"', 'Write [[models]] with model = "local", before the other rungs.'
        )
    if not (isinstance(models, list) and models and rules.is_local(models[0])):
        return {key: value for key, value in data.items() if key != "local"}
    problems.first_is_local = True
    return {**data, "models": models[1:], "local": models[0]}


def _text_of(name: Any, root: Path, problems: ProblemList, key: tuple[str, ...], what: str) -> str | None:
    """Return the text of a file that the pipeline names; if it cannot be read, add a mistake and return None."""
    if not isinstance(name, str) or not name.strip():
        return None
    try:
        return (root / name).read_text(encoding="utf-8-sig")
    except OSError as error:
        problems.add(key, f"{name}: {error.strerror}", f"Paths start at the project root; write {what} there.")
    except UnicodeDecodeError:
        problems.add(key, f"{name} is not UTF-8 text", "Save it as UTF-8.")
    except ValueError:  # a NUL in the name
        problems.add(key, f"{name!r} is no name of a file", f"Paths start at the project root; write {what} there.")
    return None


def _json_hint(message: str, name: str) -> str:
    """Return the edit that most likely mends a JSON file."""
    for words, edit in (
        ("property name", "Write the name in double quotes, and no comma before }"),
        ("Expecting ',' delimiter", "Put a comma between two values, and close each bracket"),
        ("Expecting ':' delimiter", "Put a colon between a name and its value"),
        ("Extra data", "Keep one value in the file, and remove what follows it"),
        ("Unterminated string", 'Close the text with "'),
        ("Invalid control character", "Write a line break in a text as \\n"),
    ):
        if words in message:
            return f"{edit}. To check the file: python -m json.tool {shlex.quote(name)}"
    edit = "Write a value there: a text in double quotes, a number, true, false, null, [...] or {...}"
    return f"{edit}. To check the file: python -m json.tool {shlex.quote(name)}"


def _schema_content(
    output: Mapping[str, Any], source: Mapping[str, Any], root: Path, problems: ProblemList
) -> dict[str, Any] | None:
    """Return the parsed `schema_file`, an object with named properties; add a mistake if it is something else."""
    key = ("output", "schema_file")
    name = output.get("schema_file")
    text = _text_of(name, root, problems, key, "the JSON Schema")
    if text is None:
        return None
    try:
        content = json.loads(text)
    except ValueError as error:
        problems.add(key, f"{name} is not JSON: {error}", _json_hint(str(error), str(name)))
        return None
    properties = subtable(content, "properties")
    if not properties or subtable(content, "") or content.get("type", "object") != "object":
        hint = 'Write {"type": "object", "properties": {...}}: each property is a column.'
        problems.add(key, f"{name} describes no object with properties", hint)
        return None
    for _, what, hint in name_findings(list(properties), (), rules.taken_names(output, source)):
        problems.add(key, f"{name}: {what}", hint)
    return dict(content)
