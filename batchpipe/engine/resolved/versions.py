"""Find prompt versions by name: `v3`, the first digits of a version's hash, or any name that git knows for a commit.

A named version can be shown as text, and resolved so that rows can be rendered with it again. A version of the ledger
is taken from the ledger whole. A version of a commit is taken from the commit's files; its SQL runs over the project as
it is now.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from batchpipe.common.errors import PipelineError, Problem, UsageError
from batchpipe.engine.resolved.commits import Commit, find_commit, unpack
from batchpipe.engine.resolved.prompt_text import VersionText, text_of_recorded
from batchpipe.engine.resolved.resolve import PromptVersion, Resolved, resolve
from batchpipe.engine.source.snapshot import InputColumn, input_column
from batchpipe.engine.source.source import Inputs
from batchpipe.media.content import SUFFIX
from batchpipe.pipeline.load import parse
from batchpipe.pipeline.model import Pipeline, PipelineFile, Rerun
from batchpipe.providers.known import KnownProviders
from batchpipe.schema.build import enum_queries
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Session
from batchpipe.store.queries import query

HASH = re.compile(r"[0-9a-f]{4,32}")
SHOWN_HASH = 12
SHOWN_VERSIONS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownVersion:
    """A prompt version in the ledger. Times are naive UTC."""

    version: str
    prompt_version: str
    recorded_at: datetime
    git_commit: str | None

    @property
    def hash(self) -> str:
        """Return the hash as 32 hex digits."""
        return self.prompt_version.replace("-", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedVersion:
    """A version as the ledger keeps it: everything that is needed to render a row again."""

    known: KnownVersion
    identity: PromptVersion
    output_format: str
    full_schema: Mapping[str, Any]
    toml: str

    @property
    def label(self) -> str:
        """Return the version's short name, such as `v3`."""
        return self.known.version

    @property
    def text(self) -> VersionText:
        """Return the version's texts by part."""
        return text_of_recorded(
            self.label,
            toml=self.toml,
            sources=dict(self.identity.sources),
            variables=self.identity.variables,
            queries=self.identity.queries,
            full_schema=self.full_schema,
            output_format=self.output_format,
        )


def known_versions(session: Session, names: Sequence[str]) -> list[KnownVersion]:
    """Return the versions that runs of the pipelines called `names` recorded, oldest first.

    Reads `ledger.prompt_versions`.
    """
    rows = session.dictionaries(query("known_versions", pipelines=quote_list(names)))
    return [KnownVersion(**row) for row in rows]


def find_version(known: Sequence[KnownVersion], root: Path, name: str, *, where: str) -> KnownVersion | Commit:
    """Return the version or commit that `name` means. A version of the ledger goes before a commit.

    Raises UsageError at `where`, with the known versions, for a name that means nothing or more than one version.
    """
    wanted = name.strip().lower()
    for each in known:
        if each.version == wanted:
            return each
    digits = wanted.replace("-", "")
    begins = [each for each in known if HASH.fullmatch(digits) and each.hash.startswith(digits)]
    if len(begins) == 1:
        return begins[0]
    if len(begins) > 1:
        what = f"{name!r} is the beginning of several versions: {', '.join(each.version for each in begins)}"
        raise UsageError(what, where=where, hint="Give more digits of the hash, or the version's number.")
    commit = find_commit(root, name.strip())
    if commit is None:
        raise UsageError(f"there is no prompt version {name!r}", where=where, hint=_listed(known))
    return commit


def read_version(session: Session, names: Sequence[str], known: KnownVersion) -> RecordedVersion:
    """Return all that the ledger keeps of the version `known`.

    Reads `ledger.prompt_versions`, `ledger.policies`.
    """
    statement = query("recorded_version", pipelines=quote_list(names))
    row = session.dictionaries(statement, {"prompt_version": known.prompt_version})[0]
    return RecordedVersion(
        known=known,
        identity=PromptVersion(
            recipe=row["recipe"],
            prompt_version=row["prompt_version"],
            prompt_hash=row["prompt_hash"],
            schema_hash=row["schema_hash"],
            visible_hash=row["visible_hash"],
            sources=tuple((each["name"], each["text"]) for each in json.loads(row["sources"])),
            variables=json.loads(row["vars"]),
            queries=json.loads(row["queries"]),
        ),
        output_format=row["format"],
        full_schema=json.loads(row["full_schema"]),
        toml=row["pipeline_toml"],
    )


def past_columns(session: Session, names: Sequence[str]) -> dict[str, str]:
    """Return the input columns that any recorded prompt or condition read, with their DuckDB types.

    Reads `ledger.policies`.
    """
    return dict(session.rows(query("past_input_columns", pipelines=quote_list(names))))


def resolve_version(
    version: RecordedVersion | Commit,
    file: PipelineFile,
    inputs: Inputs,
    providers: KnownProviders,
    *,
    past: Mapping[str, str] | None = None,
) -> Resolved:
    """Resolve the present pipeline with the prompt and the output fields of `version`.

    With `past` columns the result is only fit for rendering: the templates know columns that left the input, and
    conditions are left out.
    Raises PipelineError where the version does not fit the pipeline any more.
    """
    with TemporaryDirectory(prefix="batchpipe-version-") as folder:
        given = _given(version, file, Path(folder), judged=past is None)
        tables = _recorded_tables(version, given) if isinstance(version, RecordedVersion) else {}
        resolved = resolve(given, _VersionInputs(inputs, tables, given.pipeline, past or {}), providers)
    resolved = replace(resolved, file=given.model_copy(update={"root": file.root}))
    if not isinstance(version, RecordedVersion):
        return resolved
    return replace(resolved, version=version.identity, templates=resolved.templates.under(version.identity.recipe))


@dataclass(frozen=True, slots=True)
class KnownInputs:
    """An input whose columns are known already, for versions that run no query of their own."""

    connection: Connection
    known: tuple[InputColumn, ...]

    def columns(self) -> tuple[InputColumn, ...]:
        """Return the known columns."""
        return self.known

    def column_problems(self, columns: Sequence[InputColumn]) -> list[Problem]:
        """Return no problem: the columns are known."""
        return []

    def table(self, query: str, toml_path: str) -> list[dict[str, Any]]:
        """Raise PipelineError: the rows of a query are not known here."""
        hint = "Name a version that was run, such as v1."
        raise PipelineError("the rows of a query are not recorded", where=toml_path, hint=hint)


class _VersionInputs:
    """The input `inputs`, with recorded rows for small queries and with columns that left the input."""

    def __init__(
        self,
        inputs: Inputs,
        tables: Mapping[str, list[dict[str, Any]]],
        pipeline: Pipeline,
        past: Mapping[str, str],
    ) -> None:
        self.connection = inputs.connection
        self._inputs = inputs
        self._tables = tables
        taken = {*pipeline.prompt.vars, *pipeline.prompt.queries}
        # What was known of the contents of a file is no column of the input.
        own = {name: type for name, type in past.items() if name not in taken and not name.endswith(SUFFIX)}
        self._past = tuple(input_column(name, type) for name, type in own.items())

    def columns(self) -> tuple[InputColumn, ...]:
        """Return the present columns and those that left the input."""
        present = self._inputs.columns()
        names = {each.name for each in present}
        return (*present, *(each for each in self._past if each.name not in names))

    def column_problems(self, columns: Sequence[InputColumn]) -> list[Problem]:
        """Return a problem for each column that the file names and the input does not have."""
        return self._inputs.column_problems(columns)

    def table(self, query: str, toml_path: str) -> list[dict[str, Any]]:
        """Return the recorded rows of a small query, else the rows that it gives now."""
        if toml_path in self._tables:
            return self._tables[toml_path]
        return self._inputs.table(query, toml_path)


def _given(version: RecordedVersion | Commit, file: PipelineFile, folder: Path, *, judged: bool) -> PipelineFile:
    """Return the present file with the version's prompt and fields; its templates are written under `folder`."""
    if isinstance(version, Commit):
        there = unpack(version, file, folder)
        prompt, output, content = there.pipeline.prompt, there.pipeline.output, there.schema_content
    else:
        _write_sources(version, folder)
        pipeline = parse(version.toml, name=file.pipeline.name, where=f"{version.label} in the ledger")
        prompt, output = pipeline.prompt, pipeline.output
        content = version.full_schema if output.schema_file else None
    shape = {"format": output.format, "fields": output.fields, "schema_file": output.schema_file}
    policy: dict[str, Any] = {} if judged else {"checks": {}}
    models = file.pipeline.models
    if not judged:
        models = tuple(each.model_copy(update={"accept": None, "when": None}) for each in models)
    changed: dict[str, Any] = {"prompt": prompt, "models": models}
    changed["output"] = file.pipeline.output.model_copy(update=shape | policy)
    pipeline = file.pipeline.model_copy(update=changed if judged else changed | {"rerun": Rerun()})
    return file.model_copy(update={"pipeline": pipeline, "root": folder, "schema_content": content, "lines": {}})


def _write_sources(version: RecordedVersion, folder: Path) -> None:
    """Write the recorded templates as files. Templates inside the pipeline file are part of its own text."""
    prompts = (folder / "prompts").resolve()
    prompts.mkdir()
    for name, text in version.identity.sources:
        path = (prompts / name).resolve()
        if not name.startswith("<") and path.is_relative_to(prompts):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())


def _recorded_tables(version: RecordedVersion, given: PipelineFile) -> dict[str, list[dict[str, Any]]]:
    """Return the rows that the version's queries gave, by the TOML path that asks for them."""
    tables = {f"[prompt.queries] {name}": list(rows) for name, rows in version.identity.queries.items()}
    for path in enum_queries(given.pipeline.output):
        tables[f"[output] enum of {path}"] = _enum_rows(_node(version.full_schema, path))
    return tables


def _node(schema: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """Return the schema of the field at `path`: `label`, `address.city`, `tags[].name`."""
    node = schema
    for part in path.split("."):
        name = part.rstrip("[]")
        node = node["properties"][name]
        for _ in range(part.count("[]")):
            node = node["items"]
    return node


def _enum_rows(node: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the enum's values with their meanings, which the field's description lists in the same order."""
    values = [each for each in node.get("enum", ()) if each is not None]
    _, _, left = str(node.get("description", "")).rpartition("Values:\n")
    rows = []
    for value, following in zip(values, [*values[1:], None], strict=True):
        entry, _, left = left.partition(f"\n- {following}") if following is not None else (left, "", "")
        left = f"- {following}{left}"
        _, separator, meaning = entry.partition(f"- {value}: ")
        rows.append({"value": value, "meaning": meaning if separator else None})
    return rows


def _listed(known: Sequence[KnownVersion]) -> str:
    """Return a hint that lists the versions that can be named, newest first, with their dates."""
    if not known:
        return "No run has recorded a version yet; a git ref (a branch, a tag, a commit) can be named too."
    shown = [
        f"{each.version} ({each.recorded_at:%Y-%m-%d %H:%M} UTC, {each.hash[:SHOWN_HASH]})"
        for each in list(reversed(known))[:SHOWN_VERSIONS]
    ]
    more = f" and {len(known) - len(shown)} older ones" if len(known) > len(shown) else ""
    return f"There are {', '.join(shown)}{more}; a git ref (a branch, a tag, a commit) can be named too."
