"""Collect the warnings of `check`: the linter's rules over a resolved pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from batchpipe.common.errors import BatchpipeError, Problem
from batchpipe.common.likeness import nearest
from batchpipe.engine.context import Context
from batchpipe.engine.cost.budget import has_limit
from batchpipe.engine.cost.pricing import listed_providers
from batchpipe.engine.resolved.empty_queries import empty_queries
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.csv_look import rounded_columns
from batchpipe.engine.source.source import Source
from batchpipe.lint.rules import RULES, findings
from batchpipe.lint.subject import Finding, LintedRung, Subject
from batchpipe.pipeline.codes import Code
from batchpipe.pipeline.load import expand_variables
from batchpipe.pipeline.model import PipelineFile
from batchpipe.project.settings_place import prices_hint, under

# Settings that let a model think, which uses a part of max_tokens.
THINKING = ("thinking", "effort")


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """A warning with its code and the short name of its rule."""

    code: str
    name: str
    problem: Problem


def warnings(
    context: Context, resolved: Resolved, source: Source, too_long: Iterable[Finding] = (), *, offline: bool
) -> list[Warned]:
    """Return the findings of every rule that the file does not ignore.

    `too_long` are those about the rows' length; `offline` says that no source may be read.
    """
    ignored = resolved.file.pipeline.check.ignore
    return [
        Warned(
            code=rule.code,
            name=rule.name,
            problem=Problem(what=each.what, where=each.where, hint=each.hint),
        )
        for rule, each in findings(_subject(context, resolved, source, too_long, offline=offline), ignored)
    ]


def judge_warnings(context: Context, resolved: Resolved) -> list[Warned]:
    """Return the findings about the models of a judge, which is a pipeline of its own."""
    known: Mapping[Code, Sequence[Finding]] = {
        Code.P009: list(_model_settings(resolved)),
        Code.P011: _unknown_prices(context, resolved),
        Code.P016: _empty_queries(resolved),
    }
    return [
        Warned(code=rule.code, name=rule.name, problem=Problem(what=each.what, where=each.where, hint=each.hint))
        for rule in RULES
        if rule.code not in resolved.file.pipeline.check.ignore
        for each in known.get(rule.code, ())
    ]


def models_without_price(context: Context, resolved: Resolved) -> list[str]:
    """Return the models of the ladder whose price is not known."""
    return [resolved.rungs[seat - 1].model for seat in _seats_without_price(context, resolved)]


def _seats_without_price(context: Context, resolved: Resolved) -> list[int]:
    prices, day = context.prices(), context.clock().date()
    return [n for n, rung in enumerate(resolved.rungs, start=1) if prices.price(resolved, rung, day) is None]


def has_budget(file: PipelineFile) -> bool:
    """Return whether the file or the project sets any budget."""
    return has_limit(file, None)


def _subject(
    context: Context, resolved: Resolved, source: Source, too_long: Iterable[Finding], *, offline: bool
) -> Subject:
    file, templates = resolved.file, resolved.templates
    price = context.prices().price(resolved, resolved.rungs[0], context.clock().date())
    step = price.step(0) if price is not None else None

    def place(*paths: str) -> str:
        return file.where(next((each for each in paths if each in file.lines), paths[-1]))

    return Subject(
        prompts=templates.prompt_texts(),
        system=templates.static_system,
        output_format=file.pipeline.output.format,
        schema=resolved.full_schema,
        rungs=[
            LintedRung(
                number=resolved.rung_of(number),
                model=rung.model,
                max_tokens=rung.max_tokens,
                thinks=any(name in rung.settings for name in THINKING),
            )
            for number, rung in enumerate(resolved.rungs, start=1)
        ],
        queries={name: rows for name, rows in resolved.version.queries.items() if name in templates.names_used},
        variables={name: each for name, each in resolved.version.variables.items() if name in templates.names_used},
        cache=file.pipeline.prompt.cache,
        place=place,
        line=templates.place,
        input_usd=step.input if step is not None else None,
        cache_read_usd=step.cache_read if step is not None else None,
        head=templates.static_head,
        cached_from=resolved.rules_of(resolved.rungs[0]).cached_from_tokens(resolved.rungs[0].model),
        known={
            Code.P008: list(_changing_query(file, source)),
            Code.P009: list(_model_settings(resolved)),
            Code.P010: list(_unset_variables(context, file)),
            Code.P011: list(_unknown_prices(context, resolved)),
            Code.P012: [Finding(what=each.what, where=each.where, hint=each.hint) for each in source.unread],
            Code.P013: list(too_long),
            Code.P015: list(_hidden_tables(context, file)),
            Code.P014: [] if offline else list(_rounded_values(resolved, source)),
            Code.P016: _empty_queries(resolved, [each.where for each in source.unread]),
        },
    )


def _empty_queries(resolved: Resolved, unread: Sequence[str] = ()) -> list[Finding]:
    return [Finding(what=each.what, where=each.where, hint=each.hint) for each in empty_queries(resolved, unread)]


def _changing_query(file: PipelineFile, source: Source) -> Iterator[Finding]:
    why = source.non_deterministic()
    if why is not None:
        hint = "Two runs may see different rows; add an ORDER BY or a parameter, if that is not meant."
        what = f"the query is not deterministic: {why}"
        yield Finding(what=what, where=file.where("[input] query"), hint=hint)


def _hidden_tables(context: Context, file: PipelineFile) -> Iterator[Finding]:
    """Yield a finding for each statement that may read output tables of other pipelines without saying so."""
    hint = "Name the pipelines whose tables it reads: after_pipelines = [...] under [input]; [] where it reads none."
    for where, why in context.chain.reads(file).hides:
        yield Finding(what=f"it is not known whose tables are read: {why}", where=where, hint=hint)


def _rounded_values(resolved: Resolved, source: Source) -> Iterator[Finding]:
    """Yield a finding for each used column of a CSV file in which reading changes the digits of a number."""
    given = {each.name.lower() for each in resolved.input_columns}
    used = {*resolved.key_columns, *resolved.hash_columns, *resolved.include_columns}
    known = {each.name.lower() for each in used}
    file = resolved.file
    for each in rounded_columns(source.connection, file.query):
        name = each.column.lower()
        if name in known if name in given else name in file.query.lower():
            what = (
                f"{each.file}: {each.values:,} values of {each.column} are read with other digits: DuckDB takes the "
                f"column to be {each.type}: {each.text!r} becomes {each.read}"
            )
            better = "VARCHAR" if each.type == "DOUBLE" else "DOUBLE"
            hint = f"Give its type: read_csv({each.file!r}, types = {{{each.column!r}: {better!r}}})."
            yield Finding(what=what, where=file.where("[input] query"), hint=hint)


def _model_settings(resolved: Resolved) -> Iterator[Finding]:
    for each in resolved.warnings:
        where = resolved.file.where(f"[[models]] {each.key}".rstrip())
        yield Finding(what=each.what, where=where, hint=each.hint)


def _unset_variables(context: Context, file: PipelineFile) -> Iterator[Finding]:
    for number, statement in enumerate(file.pipeline.output.after):
        place = file.where(f"[output] after[{number}]")
        try:
            expand_variables(statement, context.environment, place)
        except BatchpipeError as error:
            yield Finding(what=error.what, where=place, hint=error.hint or "")


def _unknown_prices(context: Context, resolved: Resolved) -> Sequence[Finding]:
    if has_budget(resolved.file):
        return []  # that is reported as an error
    return [
        Finding(
            what=f"no price is known for {resolved.rungs[seat - 1].model}: costs will be unknown",
            where=resolved.file.where(f"[[models]] {resolved.rung_of(seat)} model"),
            hint=_price_hint(context, resolved.rungs[seat - 1].provider),
        )
        for seat in _seats_without_price(context, resolved)
    ]


def _price_hint(context: Context, provider: str) -> str:
    """Return what to write so that the prices of a provider are known."""
    table, own = context.settings.providers.get(provider), f"providers.{provider}"
    if table is None:
        return f"Give it in a file: {prices_hint()}."
    if table.price_provider is not None and table.price_provider not in (known := listed_providers()):
        near = nearest(table.price_provider, known)
        meant = f'did you mean "{near}"?' if near else f"it has: {', '.join(known)}."
        return f'The built-in table has no provider "{table.price_provider}" (price_provider {under(own)}): {meant}'
    return f"Give it in a file: {prices_hint(own)}."
