"""Resolve a pipeline against its source: compile templates, build schemas, bind conditions, compute identities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from batchpipe.common.errors import PipelineError, Problem
from batchpipe.decide.fingerprint import (
    RECIPES,
    Fingerprint,
    judge_hash,
    newest_recipe,
    policy_hash,
    prompt_hash,
    schema_hash,
    version_hash,
    visible_hash,
)
from batchpipe.engine.answers.validation import AnswerRules
from batchpipe.engine.resolved.bind import Conditions, Rerun, bind_conditions
from batchpipe.engine.resolved.child_tables import child_table_problems
from batchpipe.engine.resolved.contents import contents_of, whens_with_contents
from batchpipe.engine.resolved.local_rung import ResolvedLocalRung, local_rung_reader, missing_packages
from batchpipe.engine.resolved.panels import VOTE_COLUMNS, Panel, panels_of, vote_warnings
from batchpipe.engine.resolved.policy import judging, policy_of
from batchpipe.engine.resolved.rungs import Ladder, ladder_of, schema_problems_of, sent_by
from batchpipe.engine.source.contents import bare_columns, with_contents
from batchpipe.engine.source.snapshot import InputColumn
from batchpipe.engine.source.source import Inputs
from batchpipe.media.content import content_name
from batchpipe.pipeline.load import dump
from batchpipe.pipeline.model import PipelineFile
from batchpipe.providers import ProviderRules, RuleProblem, RungSettings
from batchpipe.providers.known import KnownProvider, KnownProviders
from batchpipe.schema.build import enum_queries, full_schema, template_fields
from batchpipe.schema.columns import Column, output_columns
from batchpipe.schema.renames import field_renames, schemas_before
from batchpipe.schema.visible import visible_text
from batchpipe.sql.conditions import Condition
from batchpipe.template import Templates, compile_templates

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptVersion:
    """Everything that an answer depends on, except the row and the model.

    Its identities are UUIDs in text; `recipe` is the number of the one that made them, and makes fingerprints.
    """

    recipe: int
    prompt_version: str
    prompt_hash: str
    schema_hash: str
    visible_hash: str
    sources: tuple[tuple[str, str], ...]
    variables: Mapping[str, Any]
    queries: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A pipeline with everything looked up. `hash_columns` are the columns of the input hash, in its order.

    `rungs` are the ladder's, from number 1, and after them the members of panels that have no number of a rung.
    `panels` are the rungs that ask a row more than once, by their number. `local` is rung 0, which is trained here.
    `learner` is the local model that templates ask: that of rung 0, or of the pipeline that is evaluated.
    Rules, limits and the form of the schema are those of the provider of each rung: a ladder may mix providers.
    `key_types`: the types that its key had, with the recipes that wrote it, as far as the ledger was asked for them.
    """

    file: PipelineFile
    providers: KnownProviders
    rungs: tuple[RungSettings, ...]
    templates: Templates
    input_columns: tuple[InputColumn, ...]
    hash_columns: tuple[InputColumn, ...]
    columns: tuple[Column, ...]
    full_schema: Mapping[str, Any]
    visible_schema: str
    answer_rules: AnswerRules
    whens: tuple[Condition | None, ...]
    rerun: Rerun
    review_where: Condition | None
    version: PromptVersion
    policy_recipe: int
    policy_hash: str
    judge_hash: str
    policy: Mapping[str, Any]
    toml: str
    warnings: tuple[RuleProblem, ...]
    key_types: tuple[tuple[tuple[str, ...] | None, int], ...] = ()
    panels: Mapping[int, Panel] = field(default_factory=dict)
    local: ResolvedLocalRung | None = None
    learner: ResolvedLocalRung | None = None

    def version_under(self, recipe: int) -> PromptVersion:
        """Return the prompt version as the recipe of that number identifies it."""
        queries = self.version.queries
        return _version(self.file, self.templates, queries, self.full_schema, self.visible_schema, recipe)

    def provider_of(self, rung: RungSettings) -> KnownProvider:
        """Return the provider that a rung's requests are sent to."""
        name = rung.provider or self.providers.default
        return self.providers.by_name.get(name) or self.providers.of(name)

    @property
    def provider_names(self) -> list[str]:
        """Return the names of the providers of the ladder, each once."""
        return list(dict.fromkeys(self.provider_of(each).name for each in self.rungs))

    def rules_of(self, rung: RungSettings) -> ProviderRules:
        """Return the rules of the provider of a rung."""
        return self.provider_of(rung).rules

    @property
    def contexts(self) -> list[int | None]:
        """Return the tokens that each rung's model takes; None where that is not known."""
        return [self.rules_of(each).context_tokens(each.model) for each in self.rungs]

    def sent_schema(self, rung: RungSettings) -> Mapping[str, Any] | None:
        """Return the schema as the provider of a rung is sent it; None in the format "text"."""
        sent = sent_by(self.file, self.rules_of(rung), self.full_schema)
        return sent.schema if sent is not None else None

    def fingerprinter(self, recipe: int) -> Fingerprint:
        """Return what makes fingerprints of this pipeline's requests under the recipe of that number."""
        seen, turns = self.visible_schema, self.templates.turns
        visible: Any = [seen, turns] if turns else seen
        if self.templates.media:
            visible = ["files", visible]  # the user message is then given as JSON
        return RECIPES[recipe].fingerprinter(self.file.pipeline.output.format, visible)

    def versions_before_renames(self) -> list[PromptVersion]:
        """Return the prompt versions as they were before fields got their names of today, by every recipe."""
        output_format, found = self.file.pipeline.output.format, []
        for full in schemas_before(self.full_schema, self.answer_rules.renames):
            visible = visible_text(output_format, full)
            found += [
                _version(self.file, self.templates, self.version.queries, full, visible, recipe) for recipe in RECIPES
            ]
        return found

    def policy_under(self, recipe: int) -> tuple[str, str]:
        """Return the hashes of the policy and of its judge as the recipe of that number makes them."""
        schema = schema_hash(self.file.pipeline.output.format, self.full_schema, recipe)
        return (
            policy_hash(schema, self.policy, recipe),
            judge_hash(schema, judging(self.policy), self.policy["checks"], recipe),
        )

    @property
    def height(self) -> int:
        """Return how many rungs the ladder has."""
        return len(self.file.pipeline.models)

    def rung_of(self, seat: int) -> int:
        """Return the number of the rung that the model with the number `seat` among `rungs` is asked on."""
        if seat <= self.height:
            return seat
        return next(rung for rung, panel in self.panels.items() if any(each.seat == seat for each in panel.parts))

    @property
    def vote_columns(self) -> Mapping[str, str]:
        """Return the columns that votes add to the output table, with their types."""
        return VOTE_COLUMNS if self.panels else {}

    @property
    def name(self) -> str:
        """Return the pipeline's name."""
        return self.file.pipeline.name

    @property
    def names(self) -> list[str]:
        """Return the pipeline's name and, after a rename, the older name whose history it continues."""
        return self.file.pipeline.names

    @property
    def has_output(self) -> bool:
        """Return whether the answers go to an output table. The answers of an evaluation do not."""
        return not self.file.evaluates

    @property
    def table(self) -> str:
        """Return the output table, `name` or `schema.name`."""
        return self.file.pipeline.output.table or self.name

    @property
    def key_columns(self) -> tuple[InputColumn, ...]:
        """Return the columns of the key, in order."""
        by_name = {each.name: each for each in self.input_columns}
        return tuple(by_name[name] for name in self.file.pipeline.input.key)

    @property
    def include_columns(self) -> tuple[InputColumn, ...]:
        """Return the columns of `[output] include`."""
        by_name = {each.name: each for each in self.input_columns}
        return tuple(by_name[name] for name in self.file.pipeline.output.include)

    @property
    def group_columns(self) -> tuple[InputColumn, ...]:
        """Return the columns of `[chunking] group_by`."""
        by_name = {each.name: each for each in self.input_columns}
        return tuple(by_name[name] for name in self.file.pipeline.chunking.group_by)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """The shape of an answer: its schemas, its columns, and what templates see of its fields."""

    full: Mapping[str, Any]
    columns: tuple[Column, ...]
    template_fields: Mapping[str, Any]


class _Findings:
    """Collects problems: `attempt` goes on after a problem, so that a person sees all problems at once."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def attempt(self, call: Callable[[], T]) -> T | None:
        """Return what `call` gives; None where it raises PipelineError, whose problems are kept."""
        try:
            return call()
        except PipelineError as error:
            self.problems.extend(error.problems)
            return None


def resolve(file: PipelineFile, source: Inputs, providers: KnownProviders, *, answers: bool = True) -> Resolved:
    """Resolve `file` against `source`; with `answers` what a local rung needs is looked for. Raises PipelineError with
    every problem that was found.
    """
    findings = _Findings()
    problems = findings.problems
    problems.extend(missing_packages(file) if answers else ())
    ladder = findings.attempt(lambda: ladder_of(file, providers))
    shape = findings.attempt(lambda: _shape(file, source))
    input_columns = findings.attempt(lambda: bare_columns(source.columns()))
    if shape is not None:
        problems.extend(schema_problems_of(file, ladder, shape.full))
        problems.extend(child_table_problems(file, shape.columns))
        if ladder is not None:
            problems.extend(ladder.problems(shape.full))
    queries = findings.attempt(lambda: _query_rows(file, source))
    if input_columns is None or shape is None or queries is None:
        raise PipelineError.from_problems(problems)
    panels = panels_of(file, ladder.parts, shape.full, problems) if ladder is not None else {}
    problems.extend(source.column_problems(input_columns))
    templates = findings.attempt(lambda: _templates(file, shape, input_columns, queries))
    conditions = bind_conditions(file, source.connection, shape.columns, input_columns, problems)
    contents = contents_of(file, templates, input_columns, problems) if templates is not None else []
    learner = findings.attempt(local_rung_reader(file, source, shape.full, shape.columns, input_columns, templates))
    if problems or ladder is None or templates is None:
        raise PipelineError.from_problems(problems)
    whens = whens_with_contents(source.connection, ladder, conditions.whens, contents)
    conditions = replace(conditions, whens=whens, local=learner if file.pipeline.local is not None else None)
    columns = with_contents(input_columns, contents, _read_as_values(file, templates, conditions))
    made = _resolved(file, ladder, shape, columns, templates, queries, conditions)
    of_votes = vote_warnings(source.connection, file, conditions.accepts, conditions.checks)
    return replace(made, panels=panels, learner=learner, warnings=(*made.warnings, *of_votes))


def _read_as_values(file: PipelineFile, templates: Templates, conditions: Conditions) -> frozenset[str]:
    """Return the columns whose values are read, whether or not they are sent as files."""
    pipeline = file.pipeline
    written = {*pipeline.output.include, *pipeline.input.key, *pipeline.chunking.group_by}
    return templates.texts.union(conditions.inputs, written)


def _shape(file: PipelineFile, source: Inputs) -> _Shape:
    """Build the schemas, the columns and the template fields of an answer."""
    output, content = file.pipeline.output, file.schema_content
    enums = {
        path: [tuple(row.values()) for row in source.table(query, f"[output] enum of {path}")]
        for path, query in enum_queries(output).items()
    }
    full = full_schema(output, enums, content)
    return _Shape(
        full=full,
        columns=_columns(file, full),
        template_fields=template_fields(output, enums, content),
    )


def _query_rows(file: PipelineFile, source: Inputs) -> dict[str, list[dict[str, Any]]]:
    given = file.pipeline.prompt.queries.items()
    return {name: source.table(query, f"[prompt.queries] {name}") for name, query in given}


def _templates(
    file: PipelineFile, shape: _Shape, input_columns: tuple[InputColumn, ...], queries: dict[str, list[dict[str, Any]]]
) -> Templates:
    return compile_templates(
        file.pipeline.prompt,
        root=file.root,
        where=file.where,
        columns=[each.name for each in input_columns],
        vars=file.pipeline.prompt.vars,
        queries=queries,
        fields=shape.template_fields,
        recipe=newest_recipe().number,
    )


def _resolved(
    file: PipelineFile,
    ladder: Ladder,
    shape: _Shape,
    input_columns: tuple[InputColumn, ...],
    templates: Templates,
    queries: Mapping[str, Any],
    conditions: Conditions,
) -> Resolved:
    output, models = file.pipeline.output, file.pipeline.models
    visible = visible_text(output.format, shape.full)
    recipe = newest_recipe()
    version = _version(file, templates, queries, shape.full, visible, recipe.number)
    used = {*templates.texts, *(content_name(each.column) for each in templates.media)} | conditions.inputs
    hash_columns = tuple(sorted((each for each in input_columns if each.name in used), key=lambda each: each.name))
    policy = policy_of(output, shape.full, shape.columns, hash_columns, accepts=[each.accept for each in models])
    return Resolved(
        file=file,
        providers=ladder.providers,
        rungs=ladder.rungs,
        templates=templates,
        input_columns=input_columns,
        hash_columns=hash_columns,
        columns=shape.columns,
        full_schema=shape.full,
        visible_schema=visible,
        answer_rules=AnswerRules(
            output_format=output.format,
            full_schema=shape.full,
            columns=shape.columns,
            input_columns=tuple((each.name, each.type) for each in hash_columns),
            checks=conditions.checks,
            accepts=conditions.accepts,
            renames=field_renames(output),
        ),
        whens=conditions.whens,
        rerun=conditions.rerun,
        review_where=conditions.review,
        version=version,
        policy_recipe=recipe.number,
        policy_hash=policy_hash(version.schema_hash, policy, recipe.number),
        judge_hash=judge_hash(version.schema_hash, judging(policy), policy["checks"], recipe.number),
        policy=policy,
        toml=dump(file.pipeline),
        warnings=tuple(ladder.warnings(shape.full)),
        local=conditions.local,
    )


def _columns(file: PipelineFile, full: Mapping[str, Any]) -> tuple[Column, ...]:
    try:
        return output_columns(full, file.pipeline.output)
    except ValueError as error:
        hint = "Write a DuckDB type, such as DECIMAL(12,2)."
        raise PipelineError(str(error), where=file.where("[output.fields] column"), hint=hint) from error


def _version(
    file: PipelineFile,
    templates: Templates,
    queries: Mapping[str, Any],
    full: Mapping[str, Any],
    visible: str,
    recipe: int,
) -> PromptVersion:
    variables, output_format = file.pipeline.prompt.vars, file.pipeline.output.format
    prompt = prompt_hash(templates.sources, variables, queries, recipe)
    schema = schema_hash(output_format, full, recipe)
    return PromptVersion(
        recipe=recipe,
        prompt_version=version_hash(prompt, schema, recipe),
        prompt_hash=prompt,
        schema_hash=schema,
        visible_hash=visible_hash(prompt, output_format, visible, recipe),
        sources=templates.sources,
        variables=variables,
        queries=queries,
    )
