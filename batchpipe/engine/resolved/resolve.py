"""Resolve a pipeline against its source: compile templates, build schemas, bind conditions, compute identities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import duckdb

from batchpipe.common.errors import PipelineError, Problem
from batchpipe.decide.fingerprint import (
    RECIPES,
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
from batchpipe.engine.resolved.model_names import split_model
from batchpipe.engine.resolved.policy import judging, policy_of
from batchpipe.engine.source.snapshot import InputColumn
from batchpipe.engine.source.source import Inputs
from batchpipe.pipeline.load import dump
from batchpipe.pipeline.model import Output, PipelineFile
from batchpipe.providers import ProviderRules, RuleProblem, RungSettings, get_provider_module
from batchpipe.schema.build import enum_queries, full_schema, template_fields
from batchpipe.schema.columns import Column, output_columns
from batchpipe.schema.reduce import schema_problems, sent_schema
from batchpipe.schema.renames import field_renames, schemas_before
from batchpipe.schema.validate import schema_errors
from batchpipe.sql.conditions import Condition, parse_condition
from batchpipe.template import Templates, compile_templates

T = TypeVar("T")

STRUCTURED_FORMATS = ("json_schema", "tool")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptVersion:
    """All that makes an answer what it is, less the row and the model.

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

    `key_types`: the types that its key had, with the recipes that wrote it, as far as the ledger was asked for them.
    """

    file: PipelineFile
    rules: ProviderRules
    rungs: tuple[RungSettings, ...]
    templates: Templates
    input_columns: tuple[InputColumn, ...]
    hash_columns: tuple[InputColumn, ...]
    columns: tuple[Column, ...]
    full_schema: Mapping[str, Any]
    sent_schema: Mapping[str, Any] | None
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

    def version_under(self, recipe: int) -> PromptVersion:
        """Return the prompt version as the recipe of that number identifies it."""
        queries = self.version.queries
        return _version(self.file, self.templates, queries, self.full_schema, self.visible_schema, recipe)

    def versions_before_renames(self) -> list[PromptVersion]:
        """Return the prompt versions as they were before fields got their names of today, by every recipe."""
        output_format, found = self.file.pipeline.output.format, []
        for full in schemas_before(self.full_schema, self.answer_rules.renames):
            sent = None if output_format == "text" else sent_schema(full)
            visible = self.rules.visible_schema(output_format=output_format, sent_schema=sent)
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
    sent: Mapping[str, Any] | None
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


def resolve(file: PipelineFile, source: Inputs, default_provider: str) -> Resolved:
    """Resolve `file` against `source`.

    Raises PipelineError with every problem that was found.
    """
    findings = _Findings()
    problems = findings.problems
    ladder = findings.attempt(lambda: _rungs(file, default_provider))
    shape = findings.attempt(lambda: _shape(file, source))
    input_columns = findings.attempt(source.columns)
    if shape is not None:
        problems.extend(_schema_problems(file, shape.full))
        if ladder is not None:
            problems.extend(_rung_problems(file, *ladder, shape.sent, "error"))
    queries = findings.attempt(lambda: _query_rows(file, source))
    if input_columns is None or shape is None or queries is None:
        raise PipelineError.from_problems(problems)
    problems.extend(source.column_problems(input_columns))
    templates = findings.attempt(lambda: _templates(file, shape, input_columns, queries))
    conditions = bind_conditions(file, source.connection, shape.columns, input_columns, problems)
    if problems or ladder is None or templates is None:
        raise PipelineError.from_problems(problems)
    return _resolved(file, ladder, shape, input_columns, templates, queries, conditions)


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
        sent=None if output.format == "text" else sent_schema(full),
        columns=_columns(file, full),
        template_fields=template_fields(output, enums, content),
    )


def _query_rows(file: PipelineFile, source: Inputs) -> dict[str, list[dict[str, Any]]]:
    queries = file.pipeline.prompt.queries
    return {name: source.table(query, f"[prompt.queries] {name}") for name, query in queries.items()}


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
    ladder: tuple[ProviderRules, tuple[RungSettings, ...]],
    shape: _Shape,
    input_columns: tuple[InputColumn, ...],
    templates: Templates,
    queries: Mapping[str, Any],
    conditions: Conditions,
) -> Resolved:
    rules, rungs = ladder
    output, models = file.pipeline.output, file.pipeline.models
    visible = rules.visible_schema(output_format=output.format, sent_schema=shape.sent)
    recipe = newest_recipe()
    version = _version(file, templates, queries, shape.full, visible, recipe.number)
    used = set(templates.columns) | conditions.inputs
    hash_columns = tuple(sorted((each for each in input_columns if each.name in used), key=lambda each: each.name))
    policy = policy_of(output, shape.full, shape.columns, hash_columns, accepts=[each.accept for each in models])
    return Resolved(
        file=file,
        rules=rules,
        rungs=rungs,
        templates=templates,
        input_columns=input_columns,
        hash_columns=hash_columns,
        columns=shape.columns,
        full_schema=shape.full,
        sent_schema=shape.sent,
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
        warnings=tuple(_rule_problems(rules, rungs, file, shape.sent, "warning")),
    )


def answer_rules_of(policy: Mapping[str, Any], connection: duckdb.DuckDBPyConnection) -> AnswerRules:
    """Return the answer rules of a policy in the ledger, for answers to an older prompt version."""
    output = Output.model_validate(policy["output"])
    columns = output_columns(policy["full_schema"], output)
    names = [name for name, _ in policy["columns"]]
    fields = [each.name for each in columns]

    def condition(text: str) -> Condition:
        return parse_condition(connection, text, fields=fields, columns=names, where="the ledger")

    return AnswerRules(
        output_format=output.format,
        full_schema=policy["full_schema"],
        columns=columns,
        input_columns=tuple((name, kind) for name, kind in policy["columns"]),
        checks={name: condition(text) for name, text in policy["checks"].items()},
        accepts=[condition(text) if text else None for text in policy["accept"]],
    )


def _rungs(file: PipelineFile, default_provider: str) -> tuple[ProviderRules, tuple[RungSettings, ...]]:
    """Return the provider's rules and each rung's settings. Raises PipelineError for rungs of different providers."""
    rungs, providers = [], []
    for rung in file.pipeline.models:
        provider, model = split_model(rung.model, default_provider)
        providers.append(provider)
        rungs.append(RungSettings(model=model, max_tokens=rung.max_tokens, settings=rung.settings))
    if len(set(providers)) > 1:
        what = f"the ladder mixes providers: {', '.join(dict.fromkeys(providers))}"
        raise PipelineError(what, where=file.where("[[models]]"), hint="Use models of one provider in a pipeline.")
    module = get_provider_module(providers[0], where=file.where("[[models]] model"))
    return module.RULES, tuple(rungs)


def _columns(file: PipelineFile, full: Mapping[str, Any]) -> tuple[Column, ...]:
    try:
        return output_columns(full, file.pipeline.output)
    except ValueError as error:
        hint = "Write a DuckDB type, such as DECIMAL(12,2)."
        raise PipelineError(str(error), where=file.where("[output.fields] column"), hint=hint) from error


def _schema_problems(file: PipelineFile, full: Mapping[str, Any]) -> list[Problem]:
    """Return what is wrong with the schema, and what structured outputs cannot express even in its reduced form."""
    found = schema_errors(full)
    if file.pipeline.output.format in STRUCTURED_FORMATS:
        found = [*found, *schema_problems(full)]
    return [Problem(what=what, where=file.where(f"[output] {path}".rstrip()), hint=hint) for path, what, hint in found]


def _rule_problems(
    rules: ProviderRules,
    rungs: tuple[RungSettings, ...],
    file: PipelineFile,
    sent: Mapping[str, Any] | None,
    level: str,
) -> list[RuleProblem]:
    """Return what the provider's rules say against the rungs, at this `level`."""
    output_format = file.pipeline.output.format
    return [
        each
        for rung in rungs
        for each in rules.problems(rung, output_format=output_format, sent_schema=sent)
        if each.level == level
    ]


def _rung_problems(
    file: PipelineFile,
    rules: ProviderRules,
    rungs: tuple[RungSettings, ...],
    sent: Mapping[str, Any] | None,
    level: str,
) -> list[Problem]:
    problems = []
    for number, rung in enumerate(rungs, start=1):
        for each in _rule_problems(rules, (rung,), file, sent, level):
            where = file.where(f"[[models]] {number} {each.key}".rstrip())
            problems.append(Problem(what=each.what, where=where, hint=each.hint))
    return problems


def _version(
    file: PipelineFile,
    templates: Templates,
    queries: Mapping[str, Any],
    full: Mapping[str, Any],
    visible: str,
    recipe: int,
) -> PromptVersion:
    prompt = prompt_hash(templates.sources, file.pipeline.prompt.vars, queries, recipe)
    schema = schema_hash(file.pipeline.output.format, full, recipe)
    return PromptVersion(
        recipe=recipe,
        prompt_version=version_hash(prompt, schema, recipe),
        prompt_hash=prompt,
        schema_hash=schema,
        visible_hash=visible_hash(prompt, file.pipeline.output.format, visible, recipe),
        sources=templates.sources,
        variables=file.pipeline.prompt.vars,
        queries=queries,
    )
