"""Show what a plan changes in what is sent: the prompt's text, and a few due rows before and after.

The earlier side is the version that answered, or one that is named. The rows are chosen in SQL; only they are read and
rendered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import duckdb

from batchpipe.common.errors import PipelineError, TemplateError
from batchpipe.decide.fingerprint import newest_recipe
from batchpipe.engine.local.plan_part import Hints
from batchpipe.engine.local.said import said_of
from batchpipe.engine.plan.plan import DUE_REASONS
from batchpipe.engine.plan.render import feedback_text
from batchpipe.engine.resolved.commits import Commit
from batchpipe.engine.resolved.prompt_text import PartDiff, VersionText, diff_texts, text_of_resolved, unified
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.resolved.versions import (
    KnownInputs,
    KnownVersion,
    RecordedVersion,
    find_version,
    known_versions,
    past_columns,
    read_version,
    resolve_version,
)
from batchpipe.engine.source.row_values import row_values
from batchpipe.engine.source.snapshot import InputColumn, Snapshot, input_column
from batchpipe.engine.source.source import Inputs
from batchpipe.media.content import SUFFIX, bare_lines
from batchpipe.pipeline.model import PipelineFile
from batchpipe.providers.known import KnownProviders
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import Sql, joined, number_sql, quote_list, sql
from batchpipe.sql.recorded import recorded_value
from batchpipe.store.database import Database, Session, Work
from batchpipe.store.queries import query
from batchpipe.template.hints import RowHints

# The values of rows by the position of the row.
PresentRows: TypeAlias = Mapping[int, Mapping[str, Any]]

ROWS_OF_A_REASON = 2
NEWEST = newest_recipe().number


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptDiffOptions:
    """Says whether the change is `wanted`, and between which versions.

    A version is given by any of its names. None is the version that answered, or the present one.
    """

    wanted: bool = False
    from_version: str | None = None
    to_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedRequest:
    """Holds a rendered request as the model would see it, or the `problem` for which it does not render."""

    system: str | None = None
    turns: str = ""
    user: str = ""
    feedback: str | None = None
    problem: str | None = None

    @property
    def text(self) -> str:
        """Return the whole request, its parts under headings."""
        if self.problem is not None:
            return f"(does not render: {self.problem})"
        parts = (
            ("system", self.system),
            ("turns", self.turns),
            ("user", self.user),
            ("after the last answer", self.feedback),
        )
        return "\n\n".join(f"[{title}]\n{text}" for title, text in parts if text)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledRow:
    """Describes a due row as it was asked and as it will be.

    `version` is the one that the row stands under. `before` is None where there is none to show.
    """

    key: str
    reason: str
    version: str | None
    before: RenderedRequest | None
    after: RenderedRequest

    def diff(self, from_name: str, to_name: str) -> str:
        """Return the change of the request as a unified diff; it is empty where the request is the same."""
        return unified(self.before.text if self.before else None, self.after.text, from_name, to_name)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptDiff:
    """Holds what changes in the prompt and in sampled rows.

    `before` is the version that answered, None where nothing is answered. `problem` says why rows cannot be rendered
    under it.
    """

    before: VersionText | None
    after: VersionText
    prompt: Sequence[PartDiff]
    rows: Sequence[SampledRow]
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedVersions:
    """Holds the versions that were named, looked up, and the columns that left the input (`past`), with their types."""

    before: RecordedVersion | Commit | None
    after: RecordedVersion | Commit | None
    past: Mapping[str, str]


def find_named(database: Database, work: Work, file: PipelineFile, options: PromptDiffOptions) -> NamedVersions:
    """Look up the versions that `options` name.

    Reads the ledger. Raises UsageError for a version that there is not.
    """
    names = file.pipeline.names
    if not (options.wanted or options.to_version):
        return NamedVersions(before=None, after=None, past={})
    with database.reading(work) as session:
        known = known_versions(session, names)
        past = past_columns(session, names)
    asked = ((options.from_version, "--from-version"), (options.to_version, "--to-version"))
    found = [find_version(known, file.root, name, where=where) if name else None for name, where in asked]
    with database.reading(work) as session:
        before, after = (
            read_version(session, names, each) if isinstance(each, KnownVersion) else each for each in found
        )
    return NamedVersions(before=before, after=after, past=past)


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierPrompt:
    """Holds the earlier side: its text, and the resolved version for rendering, or the problem with that."""

    text: VersionText
    resolved: Resolved | None
    problem: str | None


def resolve_earlier(
    version: RecordedVersion | Commit,
    resolved: Resolved,
    inputs: Inputs,
    past: Mapping[str, str],
    providers: KnownProviders,
) -> EarlierPrompt:
    """Resolve `version` so that it can render rows of `inputs`; `past` are columns that left the input.

    Raises PipelineError where `version` is a git commit whose files cannot be used.
    """
    try:
        earlier = resolve_version(version, resolved.file, inputs, providers, past=past)
    except PipelineError as error:
        if isinstance(version, Commit):
            raise
        return EarlierPrompt(text=version.text, resolved=None, problem=error.what)
    text = version.text if isinstance(version, RecordedVersion) else text_of_resolved(earlier, version.label)
    return EarlierPrompt(text=text, resolved=earlier, problem=None)


def answering_version(session: Session, names: Sequence[str]) -> RecordedVersion | None:
    """Return the version that most answers stand under; None where nothing is answered.

    Reads `work.plan`, `work.standing`, `ledger.prompt_versions`.
    """
    found = session.rows(query("answering_version"))
    known = {each.prompt_version: each for each in known_versions(session, names)}
    version = known.get(found[0][0]) if found else None
    return read_version(session, names, version) if version else None


def make_prompt_diff(
    database: Database,
    work: Work,
    resolved: Resolved,
    snapshot: Snapshot,
    *,
    label: str,
    before: EarlierPrompt | None,
    past: Mapping[str, str],
    providers: KnownProviders,
    hints: Hints | None = None,
) -> PromptDiff:
    """Return what the plan in `work` changes; without `before` against the version that answered.

    `label` names the present version. `hints` says what templates ask of the local model, as it is now for both.
    Reads `work.plan`, `work.due`, `work.rendered`, `work.standing`, the ledger.
    Writes `work.sampled`.
    """
    listed = quote_list(DUE_REASONS)
    with database.reading(work) as session:
        version = answering_version(session, resolved.names) if before is None else None
        session.execute(query("sampled", due_reasons=listed), {"each": ROWS_OF_A_REASON})
        found = session.dictionaries(query("sampled_requests", pipelines=quote_list(resolved.names)))
    if version is not None:
        before = resolve_earlier(version, resolved, KnownInputs(work.connection, snapshot.columns), past, providers)
    after = text_of_resolved(resolved, label)
    recipes = {each.version.recipe for each in (resolved, before.resolved if before else None) if each is not None}
    positions = [each["position"] for each in found]
    present = {recipe: _present(work.connection, snapshot, positions, recipe) for recipe in recipes}
    also = before.resolved.templates.hints if before is not None and before.resolved is not None else ()
    said: Mapping[int, RowHints] = {}
    if hints is not None and positions:
        listed = joined(", ", (number_sql(int(each)) for each in positions))
        said = said_of(work.connection, snapshot, hints, Sql("position"), listed, also)
    rows = [_row(work.connection, resolved, before, each, present, said.get(each["position"])) for each in found]
    rows.sort(key=lambda each: DUE_REASONS.index(each.reason))
    return PromptDiff(
        before=before.text if before else None,
        after=after,
        prompt=diff_texts(before.text, after) if before else (),
        rows=rows,
        problem=before.problem if before else None,
    )


def _present(connection: Connection, snapshot: Snapshot, positions: Sequence[int], recipe: int) -> PresentRows:
    """Return the rows at `positions`, each with the values of its columns as templates get them under `recipe`."""
    if not positions:
        return {}
    read = row_values(snapshot.columns, recipe)
    chosen = sql(
        "SELECT {chosen} FROM {relation} s WHERE position IN ({listed})",
        chosen=joined(", ", [Sql("position"), *read.select]),
        relation=snapshot.relation,
        listed=joined(", ", map(number_sql, positions)),
    )
    return {row[0]: read.row(row[1:]) for row in connection.execute(chosen).fetchall()}


def _row(
    connection: Connection,
    resolved: Resolved,
    before: EarlierPrompt | None,
    found: Mapping[str, Any],
    present: Mapping[int, PresentRows],
    said: RowHints | None,
) -> SampledRow:
    """Return a sampled row, rendered under the earlier and the present version; `present` has the rows by recipe.

    `said` is what the local model says of the row.
    """
    feedback = None
    if found["feedback_error"] is not None:
        feedback = feedback_text(found["feedback_answer"] or "", found["feedback_error"])
    earlier = None
    if before is not None and before.resolved is not None and found["reason"] != "new":
        sent = {}
        if found["input_values"] is not None and found["columns"] is not None:
            columns = [input_column(*each) for each in zip(found["columns"], found["types"], strict=True)]
            sent = typed_values(connection, columns, found["input_values"], before.resolved.version.recipe)
        then = present[before.resolved.version.recipe][found["position"]]
        earlier = _rendered(before.resolved, {**then, **sent, **_same_files(then, sent)}, None, said)
    return SampledRow(
        key=found["key"],
        reason=found["reason"],
        version=found["version"],
        before=earlier,
        after=_rendered(resolved, present[resolved.version.recipe][found["position"]], feedback, said),
    )


def _same_files(present: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known today of the contents of files that were sent, where they are the same: with their sizes."""
    return {
        name: present[name]
        for name, lines in sent.items()
        if name.endswith(SUFFIX) and isinstance(present.get(name), str) and bare_lines(present[name]) == lines
    }


def _rendered(
    resolved: Resolved, values: Mapping[str, Any], feedback: str | None, said: RowHints | None
) -> RenderedRequest:
    """Render one row under a version; the result holds the problem where that fails."""
    used = resolved.templates.columns
    try:
        message = resolved.templates.render({name: value for name, value in values.items() if name in used}, said)
    except TemplateError as error:
        return RenderedRequest(problem=f"{error.where}: {error.what}")
    turns = resolved.templates.turns_text
    return RenderedRequest(system=message.system, turns=turns, user=message.user, feedback=feedback)


def typed_values(
    connection: Connection,
    columns: Sequence[InputColumn],
    texts: Sequence[str | None],
    recipe: int = NEWEST,
) -> dict[str, Any]:
    """Return values that were kept as text in the types that templates got them in under `recipe`.

    A text that does not fit its type is left as it is.
    """
    named: dict[str, Any] = dict(zip([each.name for each in columns], texts, strict=True))
    for column in columns:
        if named[column.name] is None or column.type == "VARCHAR":
            continue
        read = row_values([column], recipe)
        given = Sql("$1") if column.as_text else recorded_value(Sql("$1::VARCHAR"), column.type)
        parts = {"chosen": read.select[0], "given": given, "stored": column.stored}
        statement = sql("SELECT {chosen} FROM (SELECT {given} AS {stored}) s", **parts)
        try:
            found = connection.execute(statement, [named[column.name]]).fetchone()
        except duckdb.Error:
            continue
        if found is not None and found[0] is not None:
            named |= read.row(found)
    return named
