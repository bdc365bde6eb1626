"""Rules about several keys of a pipeline file together. They read the parsed TOML (`field_rules` says why)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from batchpipe.pipeline.field_rules import (
    Finding,
    field_findings,
    name_findings,
    subtable,
    texts,
    types_of,
)
from batchpipe.pipeline.model import ADDED_COLUMNS
from batchpipe.pipeline.places import Path
from batchpipe.pipeline.problems import nearest_key
from batchpipe.pipeline.sending import LOCAL, LocalRung, Rung

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TABLE_NAME = re.compile(r"[^.\x00-\x1f]+(\.[^.\x00-\x1f]+)?")
RESERVED_NAMES = ("row", "fields")
# What names a model: no part of it is empty, and no space stands around one.
NAMES_A_MODEL = re.compile(r"(?!.*(\s:|:\s))[^\s:](.*[^\s:])?", re.DOTALL)
NAME_OF_A_MODEL = 'Write "model" or "provider:model", without spaces.'
# Names that mean something else than a schema of the database file, to DuckDB or to the ledger.
RESERVED_SCHEMAS = ("ledger", "work", "temp", "memory", "system", "information_schema", "pg_catalog")
NEXT_RUNG = 'Add [[models]] after it, such as model = "claude-haiku-4-5" with max_tokens: it learns from their answers.'


def rule_findings(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield (path, what, hint) for each mistake in `data` that the types of single keys do not show."""
    older = data.get("renamed_from")
    if isinstance(older, str | list) and data.get("name") in (older if isinstance(older, list) else [older]):
        hint = "Write the older name, or remove renamed_from."
        yield ("renamed_from",), "renamed_from is the pipeline's own name", hint
    yield from _input(subtable(data, "input"))
    yield from _prompt(subtable(data, "prompt"), ("prompt",))
    if isinstance(data.get("output"), Mapping):
        yield from _output(data["output"], subtable(data, "input"), data.get("name"))
    yield from _models(data.get("models"), ("models",))
    yield from _local(data)
    yield from _blank(subtable(data, "review"), ("review",), ("where",))
    yield from _compared(subtable(subtable(data, "eval"), "fields"))
    yield from _eval(data)
    yield from _not_finite(data, ())


def _eval(data: Mapping[str, Any]) -> Iterator[Finding]:
    given = data.get("eval")
    if given is None and "min_accuracy" in subtable(data, "pilot"):
        hint = "Add [eval] with gold, or with the fields that people review; or remove min_accuracy."
        yield ("pilot", "min_accuracy"), "min_accuracy needs [eval], which says what is true", hint
    if isinstance(given, Mapping) and "gold" not in given and not given.get("fields"):
        hint = 'Add gold = "SELECT ..."; or fields = { NAME = "exact" }, to compare with reviews.'
        yield ("eval",), "[eval] has neither gold nor fields", hint


def _input(data: Mapping[str, Any]) -> Iterator[Finding]:
    if not data:
        return
    yield from _one_of(data, ("input",), "query", "query_file")
    if data.get("key") == []:
        yield ("input", "key"), "the key names no column", 'Write key = "column" or ["column", "column"].'
    yield from _names(texts(data, "key"), ("input", "key"))
    yield from _blank(data, ("input",), ("key", "setup"))
    yield from _columns(data)
    for name in subtable(data, "params"):
        if not IDENTIFIER.fullmatch(name):
            hint = "Use letters, digits and _: it is $name in the query."
            yield ("input", "params", name), f'"{name}" cannot be a parameter\'s name', hint


def _columns(data: Mapping[str, Any]) -> Iterator[Finding]:
    seen: set[str] = set()
    for name in subtable(data, "columns"):
        if name.lower() in seen:
            hint = "Rename one of them in the query (SELECT ... AS ...): SQL does not tell such names apart."
            yield ("input", "columns", name), f'"{name}" differs from another column only in case', hint
        seen.add(name.lower())


def _prompt(data: Mapping[str, Any], path: Path) -> Iterator[Finding]:
    if not data:
        return
    yield from _one_of(data, path, "user", "user_text")
    if "system" in data and "system_text" in data:
        hint = "Keep system (a file under prompts/) or system_text."
        yield (*path, "system_text"), "there is both system and system_text", hint
    for key in ("system", "user"):
        value = data.get(key)
        if isinstance(value, str) and value.startswith("prompts/"):
            hint = f'Write "{value.removeprefix("prompts/")}".'
            yield (*path, key), "template paths start below prompts/", hint
    names = (("vars", subtable(data, "vars")), ("queries", subtable(data, "queries")))
    turns = data.get("turns")
    if isinstance(turns, str) and turns not in names[1][1]:
        hint = f'Write it: [prompt.queries] {turns} = "SELECT ... AS user, ... AS assistant FROM ...".'
        if not IDENTIFIER.fullmatch(turns):
            hint = "Write the name of a query of [prompt.queries]."
        yield (*path, "turns"), f'there is no query "{turns}" under [prompt.queries]', hint
    for key, entries in names:
        for name in entries:
            if not IDENTIFIER.fullmatch(name):
                hint = "Use letters, digits and _."
                yield (*path, key, name), f'"{name}" cannot be a name in a template', hint
            elif name in RESERVED_NAMES:
                hint = f'Rename it: in templates "{name}" already has a meaning.'
                yield (*path, key, name), f'"{name}" is a name that batchpipe uses itself', hint
            elif key == "queries" and name in names[0][1]:
                hint = f"Rename one of them. Such as [prompt.queries] {name}_rows = ..."
                yield (*path, key, name), f'"{name}" is also in [prompt.vars]', hint


def _output(data: Mapping[str, Any], source: Mapping[str, Any], own_name: Any) -> Iterator[Finding]:
    fields, is_text = subtable(data, "fields"), data.get("format") == "text"
    name = data.get("table")
    if isinstance(name, str):
        yield from _table_name(name, ("output", "table"))
    yield from _child_tables(subtable(data, "rows"), name if isinstance(name, str) else own_name)
    if is_text:
        yield from _text_format(data, fields)
    elif fields and "schema_file" in data:
        yield (
            ("output", "schema_file"),
            "there is both schema_file and fields",
            "Keep one of them. Remove schema_file, or [output.fields].",
        )
    elif not fields and "schema_file" not in data:
        hint = 'Add [output.fields.NAME] with a type, or schema_file, or format = "text".'
        yield ("output",), "the output has no fields", hint
    yield from _names(texts(data, "include"), ("output", "include"))
    keys = {key.lower() for key in texts(source, "key")}
    for column in texts(data, "include"):
        if column.lower() in keys:
            what = f'"{column}" is a key column, which the output has anyway'
            yield ("output", "include"), what, "Remove it from include."
    yield from name_findings(list(fields), ("output", "fields"), taken_names(data, source))
    yield from field_findings(fields, ("output", "fields"))
    yield from _renamed_fields(fields)
    yield from _blank(data, ("output",), ("after", "include"))
    for check, condition in subtable(data, "checks").items():
        if not IDENTIFIER.fullmatch(check):
            hint = "Use letters, digits and _."
            yield ("output", "checks", check), f'"{check}" cannot be a check\'s name', hint
        if isinstance(condition, str) and not condition.strip():
            yield ("output", "checks", check), "the check is empty", "Write a SQL condition, or remove it."


def _renamed_fields(fields: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield the older names of fields that are fields of their own."""
    present = {name.lower() for name in fields}
    for name, field in fields.items():
        older = field.get("renamed_from") if isinstance(field, Mapping) else None
        if isinstance(older, str) and older.lower() in present:
            path = ("output", "fields", name, "renamed_from")
            what = f'"{older}" is a field that is there'
            yield path, what, "Write the name that the field had, and that no field has now; or remove renamed_from."


def taken_names(output: Mapping[str, Any], source: Mapping[str, Any]) -> dict[str, str]:
    """Return the names, in lower case, of the output columns that are not fields, and what each of them is."""
    return {column.lower(): "an `include` column" for column in texts(output, "include")} | {
        column.lower(): "a key column" for column in texts(source, "key")
    }


def _child_tables(rows: Mapping[str, Any], own: Any) -> Iterator[Finding]:
    """Yield the mistakes in the names of the tables of list fields: odd ones, and one name for two tables."""
    taken = {_two_parts(own): "the output table"} if isinstance(own, str) else {}
    for field, name in rows.items():
        if not isinstance(name, str):
            continue
        yield from _table_name(name, ("output", "rows", field))
        other = taken.setdefault(_two_parts(name), f"the table of {field}")
        if other != f"the table of {field}":
            yield ("output", "rows", field), f'"{name}" is also {other}', "Give it a name of its own."


def _two_parts(name: str) -> str:
    return (name if "." in name else f"main.{name}").lower()


def _table_name(name: str, path: Path) -> Iterator[Finding]:
    if not TABLE_NAME.fullmatch(name):
        hint = 'Write "name" or "schema.name", without further dots.'
        yield path, f'"{name}" cannot be a table\'s name', hint
    elif (schema := name.lower().rpartition(".")[0]) in RESERVED_SCHEMAS:
        owner = "batchpipe" if schema in ("ledger", "work") else "DuckDB"
        yield path, f"{owner} keeps its own tables in the schema {schema}", "Choose another schema, or none."


def _text_format(data: Mapping[str, Any], fields: Mapping[str, Any]) -> Iterator[Finding]:
    if "schema_file" in data:
        hint = "Remove schema_file, or choose another format."
        yield ("output", "schema_file"), 'format = "text" has one string field and no schema', hint
    if len(fields) > 1:
        hint = 'Keep one field, or write format = "json_schema".'
        yield ("output", "fields"), f'format = "text" has one field, not {len(fields)}', hint
    for name, field in fields.items():
        if isinstance(field, Mapping) and types_of(field) not in ([], ["string"]):
            path = ("output", "fields", name, "type")
            yield path, 'the field of format = "text" is a string', 'Write type = "string".'
        if isinstance(field, Mapping) and field.get("optional"):
            path = ("output", "fields", name, "optional")
            yield path, 'the field of format = "text" is always there', "Remove optional."


def _models(data: Any, path: Path) -> Iterator[Finding]:
    for index, rung in enumerate(data if isinstance(data, list) else ()):
        if not isinstance(rung, Mapping):
            continue
        model = rung.get("model")
        if isinstance(model, str) and not NAMES_A_MODEL.fullmatch(model):
            yield (*path, index, "model"), f'"{model}" names no model', NAME_OF_A_MODEL
        yield from _blank(rung, (*path, index), ("accept", "when"))
        if not is_local(rung):
            yield from _asked(rung, (*path, index))


def _asked(rung: Mapping[str, Any], path: Path) -> Iterator[Finding]:
    """Yield the mistakes in what a rung asks: a model, how often, or a panel."""
    panel = rung.get("panel") if rung.get("panel") or "model" not in rung else None
    if panel is None:
        for key, about in (("model", "Model, or `provider:model`."), ("max_tokens", "Most tokens of an answer.")):
            if key not in rung:
                typed = nearest_key(key, [name for name in rung if name not in Rung.model_fields])
                hint = f'"{typed}" is there: did you mean "{key}"?' if typed else f"Add {key} = ... ({about})"
                yield (*path, key), f"{key} is missing", hint
    elif panel == []:
        yield (*path, "panel"), "the panel has no members", 'Write panel = ["model", "provider:model", ...].'
    members: list[Any] = panel if isinstance(panel, list) else []
    if panel is not None and "model" in rung:
        yield (*path, "model"), "there is both model and panel", "Name the model in panel, or remove panel."
    if panel is not None and rung.get("samples", 1) != 1:
        hint = "Remove samples; to ask a member twice, name it twice."
        yield (*path, "samples"), "samples is for a rung with one model", hint
    for number, member in enumerate(members):
        name = member.get("model") if isinstance(member, Mapping) else member
        if name == LOCAL:
            hint = 'Write it as the first rung of its own: [[models]] model = "local"; and name models here.'
            yield (*path, "panel", number), "the local model cannot vote in a panel", hint
        elif isinstance(name, str) and not NAMES_A_MODEL.fullmatch(name):
            yield (*path, "panel", number), f'"{name}" names no model', NAME_OF_A_MODEL
        own = member.get("max_tokens") if isinstance(member, Mapping) else None
        if own is None and "max_tokens" not in rung:
            hint = "Add max_tokens = ... to the rung (Most tokens of an answer), or to each member."
            yield (*path, "max_tokens"), f"max_tokens is missing for {name}", hint
            break
    count = len(members) or rung.get("samples", 1)
    for key in ("vote", "quorum"):
        if rung.get(key) and count == 1 and panel is None:
            yield (
                (*path, key),
                f"{key} is for a rung that asks more than once",
                f"Add samples or panel, or remove {key}.",
            )
    quorum = rung.get("quorum")
    if isinstance(quorum, int) and isinstance(count, int) and (count > 1 or members) and count < quorum:
        answers = f"its {count} answers" if count > 1 else "its one answer"
        yield (*path, "quorum"), f"a quorum of {quorum} is more than {answers}", f"Write at most {count}."


def is_local(rung: Any) -> bool:
    """Return whether a table of `[[models]]` is the local rung."""
    return isinstance(rung, Mapping) and rung.get("model") == LOCAL


def _local(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield the mistakes of local rungs: one that is not the first, is alone, judges, or has keys of a provider."""
    models = data.get("models")
    rungs = models if isinstance(models, list) else [models]
    for index, rung in enumerate(rungs):
        if not is_local(rung):
            continue
        path = ("models", index)
        if index:
            hint = "Move it before the other rungs, and keep one of it."
            yield (*path, "model"), "the local model is not the first rung", hint
        elif len(rungs) == 1:
            yield (*path, "model"), "the local model is the only rung, and has nothing to learn from", NEXT_RUNG
        for key in rung:
            if key not in LocalRung.model_fields:
                known = ", ".join(name for name in LocalRung.model_fields if name != "model")
                yield (*path, key), f'the local model has no "{key}"', f"Remove it. Its keys: {known}."
        if not str(rung.get("accept", "-")).strip():
            yield (*path, "accept"), "accept is empty", 'Write accept = "_confidence >= 0.9".'
    for name, judge in subtable(subtable(data, "eval"), "fields").items():
        given = judge.get("models") if isinstance(judge, Mapping) else None
        for index, rung in enumerate(given if isinstance(given, list) else ()):
            if is_local(rung):
                hint = "Write the name of a provider's model."
                yield ("eval", "fields", name, "models", index, "model"), "a judge cannot be the local model", hint


def _compared(fields: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield the mistakes of `[eval.fields]`: a judge needs a prompt and models, and only a judge may have them."""
    for name, how in fields.items():
        path, given = ("eval", "fields", name), how if isinstance(how, Mapping) else {}
        if "judge" not in (how, given.get("compare")):
            for key in ("prompt", "models"):
                if given.get(key) and given.get("compare") in ("exact", "numeric", "set", "text"):
                    hint = 'Write compare = "judge", or remove it.'
                    yield (*path, key), f"only a judge has {key}", hint
            continue
        if not given.get("prompt"):
            hint = f"Add [eval.fields.{name}.prompt] with user or user_text: it sees answer, expected and the input."
            yield path, f"the judge of {name} has no prompt", hint
        else:
            yield from _prompt(subtable(given, "prompt"), (*path, "prompt"))
        if not isinstance(given.get("models"), list) or not given["models"]:
            hint = f"Add [[eval.fields.{name}.models]] with model and max_tokens, once for each rung."
            yield (*path, "models") if "models" in given else path, f"the judge of {name} has no models", hint
        yield from _models(given.get("models"), (*path, "models"))


def _one_of(data: Mapping[str, Any], path: Path, inline: str, file: str) -> Iterator[Finding]:
    """Yield a mistake unless exactly one of the two keys is given, with a value that is not blank."""
    if inline in data and file in data:
        yield (*path, file), f"there is both {inline} and {file}", f"Keep one of them. Remove {inline}, or {file}."
    elif inline not in data and file not in data:
        yield path, f"there is neither {inline} nor {file}", f"Add {inline} = ... or {file} = ..."
    yield from _blank(data, path, (inline, file))


def _blank(data: Mapping[str, Any], path: Path, keys: Sequence[str]) -> Iterator[Finding]:
    for key in keys:
        if any(not text.strip() for text in texts(data, key)):
            yield (*path, key), f"{key} is empty", "Write a value, or remove it."


def _names(columns: Sequence[str], path: Path) -> Iterator[Finding]:
    """Yield the mistakes of input columns that become output columns: named twice, or named like an added column."""
    seen: set[str] = set()
    for column in columns:
        if column.lower() in seen:
            yield path, f'"{column}" is there twice', "Name every column once."
        if column.lower() in dict(ADDED_COLUMNS):
            hint = "Give it another name in the input query (SELECT ... AS ...)."
            yield path, f'"{column}" is a column that batchpipe adds to the output', hint
        seen.add(column.lower())


def _not_finite(data: Any, path: Path) -> Iterator[Finding]:
    if isinstance(data, float) and not math.isfinite(data):
        yield path, f"{data} is not a number that can be used", "Write a finite number."
    elif isinstance(data, Mapping):
        for key, value in data.items():
            yield from _not_finite(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _not_finite(value, (*path, index))
