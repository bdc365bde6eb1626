"""Run `batchpipe check`: find everything about a pipeline that can be known without spending."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb

from batchpipe.commands.call.call import Call, load_each
from batchpipe.commands.call.exits import DONE, WRONG
from batchpipe.commands.call.failure import problem_text
from batchpipe.commands.call.params import split_params, typed_params
from batchpipe.commands.check.findings import Warned, has_budget, judge_warnings, models_without_price, warnings
from batchpipe.commands.check.media import media_of_input
from batchpipe.commands.check.neighbours import neighbour_problems
from batchpipe.commands.check.too_long import too_long_rows
from batchpipe.commands.printing.media import media_lines, media_object
from batchpipe.commands.printing.text import shown_path
from batchpipe.common.errors import BatchpipeError, PipelineError, Problem
from batchpipe.engine.context import Context
from batchpipe.engine.cost.budget import no_price
from batchpipe.engine.gold.gold_rows import evaluated_file, gold_fields, has_input_columns, reviewed_fields
from batchpipe.engine.media.figures import MediaPlan
from batchpipe.engine.plan.render import render_row, template_values
from batchpipe.engine.quality.judges import ANSWER, EXPECTED, FieldJudge, resolve_judges
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.contents import holds_unsendable
from batchpipe.engine.source.source import Source
from batchpipe.pipeline.files import declared_in
from batchpipe.pipeline.model import PipelineFile
from batchpipe.project.project import refuse_same_names
from batchpipe.project.settings_place import price_hint
from batchpipe.sql.messages import duckdb_message, query_hint
from batchpipe.sql.quoting import Sql, quote_identifier, sql, type_sql

FIRST_ROWS = 100
EVERY_ROW = Sql("true")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A file with its problems, which keep it from running, and its warnings, which do not."""

    pipeline: str
    file: str
    problems: Sequence[Problem] = ()
    warnings: Sequence[Warned] = ()
    files: MediaPlan | None = None
    files_text: Sequence[str] = ()


def check(
    call: Call, arguments: Sequence[str], params: Sequence[str] = (), *, all: bool = False, offline: bool = False
) -> int:
    """Check the named files, or all of the project; return 2 where a file has a problem.

    With `offline` no source is opened: the declared columns stand for the query's columns.
    """
    selection = call.select(arguments, all=all or not arguments)
    files, broken = load_each(selection, call.root, call.settings.budget)
    given = typed_params(files, split_params(params))
    twice = _same_names(files)
    project = declared_in(call.root, *selection.paths)
    by_path = {file.path: file for file in files}
    found = []
    with call.context() as context:
        for path in selection.paths:
            if path in broken:
                found.append(Checked(pipeline=path.stem, file=shown_path(path, call.root), problems=broken[path]))
                continue
            file = by_path[path]
            one = check_file(context, file, given[file.pipeline.name], offline=offline)
            problems = [*(each for each in twice if each.where == file.where("name")), *one.problems]
            problems += [each for each in _circle(context, file) if each not in problems]
            problems += neighbour_problems(file, project)
            found.append(replace(one, problems=list(dict.fromkeys(problems))))
    if call.json:
        call.emit([checked_object(each) for each in found], selection.single)
    elif shown := [each for each in found if not call.quiet or each.problems or each.warnings]:
        call.out("\n".join(_text(each) for each in shown))
    return WRONG if any(each.problems for each in found) else DONE


def _circle(context: Context, file: PipelineFile) -> Sequence[Problem]:
    """Return what is wrong with the order of the pipelines that `file` reads."""
    try:
        context.chain.ordered([file])
    except PipelineError as error:
        return [each for each in error.problems if "circle" in each.what]
    return ()


def check_file(context: Context, file: PipelineFile, params: Mapping[str, Any], *, offline: bool = False) -> Checked:
    """Return what is wrong with one file that could be read."""
    warned: list[Warned] = []
    problems: Sequence[Problem] = ()
    files: MediaPlan | None = None
    text: Sequence[str] = ()
    try:
        with context.source(file, params, offline=offline) as source:
            resolved = context.resolve(file, source)
            too_long = () if offline else too_long_rows(context, resolved, source, params)
            warned = warnings(context, resolved, source, too_long, offline=offline)
            if not offline:
                _render_first_rows(resolved, source, params)
                files = media_of_input(context, resolved, source)
                text = media_lines(resolved, files) if files is not None else ()
        judges = _judges(context, file, params, resolved) if file.pipeline.eval is not None and not offline else ()
        for each in judges:
            warned += judge_warnings(context, each.resolved)
        problems = [one for each in (resolved, *(each.resolved for each in judges)) for one in _unpriced(context, each)]
    except PipelineError as error:
        problems = error.problems
    except BatchpipeError as error:
        if error.exit_code != WRONG:
            raise
        where = error.where or file.where()
        problems = [Problem(what=error.what, where=where, hint=error.hint or "")]
    problems = [*problems, *_after_problems(file)]
    return Checked(
        pipeline=file.pipeline.name, file=file.where(), problems=problems, warnings=warned, files=files, files_text=text
    )


def _after_problems(file: PipelineFile) -> Iterator[Problem]:
    """Yield a problem for each statement of `after` that is not SQL: else a run would find it only after the answers
    are paid for. Statements that an extension may allow, or that contain a variable, are left out.
    """
    pipeline = file.pipeline
    every = (*pipeline.input.setup, *pipeline.output.after)
    if any(re.match(r"\s*(LOAD|INSTALL)\b", each, re.IGNORECASE) for each in every):
        return
    for number, statement in enumerate(pipeline.output.after):
        if "${" in statement:
            continue
        try:
            duckdb.extract_statements(statement)
        except duckdb.Error as error:
            what = f"this is not SQL: {duckdb_message(error)}"
            yield Problem(what=what, where=file.where(f"[output] after[{number}]"), hint=query_hint(error))


def _judges(
    context: Context, file: PipelineFile, params: Mapping[str, Any], resolved: Resolved
) -> tuple[FieldJudge, ...]:
    """Return the judges of `[eval]`, resolved over gold, or over the input where gold lacks its columns."""
    provider = context.providers
    if file.pipeline.eval is None or file.pipeline.eval.gold is None:
        fields = reviewed_fields(file)
    else:
        over_gold = evaluated_file(file, gold=True)
        with context.source(over_gold, {}) as source:
            fields, columns = gold_fields(source, over_gold), source.columns()
            if has_input_columns(over_gold, fields, columns):
                judges = resolve_judges(source, over_gold, columns, resolved.columns, fields, provider)
                for each in judges:
                    _render_true_values(each, source)
                return judges
    over_input = evaluated_file(file, gold=False)
    with context.source(over_input, params) as source:
        return resolve_judges(source, over_input, resolved.input_columns, resolved.columns, fields, provider)


def _unpriced(context: Context, resolved: Resolved) -> Iterator[Problem]:
    """Yield a problem for each model without a price, if the file has a budget: such a budget cannot be kept."""
    if has_budget(resolved.file):
        for model in models_without_price(context, resolved):
            what = no_price([model], "the budget")
            yield Problem(what=what, where=resolved.file.where("[[models]]"), hint=price_hint())


def _render_first_rows(resolved: Resolved, source: Source, params: Mapping[str, Any]) -> None:
    """Render some real rows, so that a template that fails on a NULL is found before a run."""
    values = {each.name: quote_identifier(each.name) for each in resolved.input_columns}
    for row in _first_rows(resolved, source, values, params):
        if holds_unsendable(row):
            continue  # a run leaves the row out, and what is said of files names it
        render_row(resolved, row)
        resolved.templates.identity(row)


def _render_true_values(judge: FieldJudge, source: Source) -> None:
    """Render a judge's template for some real rows, with the true value as the answer."""
    assert judge.column is not None
    resolved = judge.resolved
    true_value = sql("TRY_CAST({column} AS {type})", column=quote_identifier(judge.column), type=type_sql(judge.type))
    values = {
        each.name: true_value if each.name in (ANSWER, EXPECTED) else quote_identifier(each.name)
        for each in resolved.input_columns
    }
    for row in _first_rows(resolved, source, values, {}, where=sql("{value} IS NOT NULL", value=true_value)):
        render_row(resolved, row)


def _first_rows(
    resolved: Resolved,
    source: Source,
    values: Mapping[str, Sql],
    params: Mapping[str, Any],
    where: Sql = EVERY_ROW,
) -> list[dict[str, Any]]:
    """Return the first rows of a file's input as templates get them; `values` has SQL for the value of each column."""
    file, read = resolved.file, template_values(resolved)
    query = file.query.strip().rstrip(";")
    named = {str(each) for each in duckdb.extract_statements(query)[0].named_parameters}
    given = {**file.pipeline.input.params, **params}
    stored = [each.stored_as(values[each.name]) for each in resolved.input_columns if each.name in read.names]
    statement = (
        f"SELECT {', '.join(['1', *read.select])} FROM (SELECT {', '.join(['1', *stored])} FROM ({query}\n) "
        f"WHERE {where} LIMIT {FIRST_ROWS}) s"
    )
    try:
        rows = source.connection.execute(statement, {name: given[name] for name in named}).fetchall()
    except duckdb.Error as error:
        what = f"the query failed: {duckdb_message(error)}"
        raise PipelineError(what, where=file.where("[input] query"), hint=query_hint(error)) from error
    return [read.row(row[1:]) for row in rows]


def _same_names(files: Sequence[PipelineFile]) -> Sequence[Problem]:
    try:
        refuse_same_names(files)
    except PipelineError as error:
        return error.problems
    return ()


def checked_object(found: Checked) -> dict[str, Any]:
    """Return the object of `check --json`."""
    return {
        "pipeline": found.pipeline,
        "file": found.file,
        "ok": not found.problems,
        "problems": [_problem(each) for each in found.problems],
        "warnings": [{"code": each.code, **_problem(each.problem)} for each in found.warnings],
    } | (media_object(found.files) if found.files is not None else {})


def _problem(problem: Problem) -> dict[str, str]:
    return {"message": problem.what, "where": problem.where, "hint": problem.hint}


def _warning(warned: Warned) -> str:
    """Return the problem's text with code and name at the end of its first line, as type checkers print them."""
    first, separator, rest = problem_text(warned.problem).partition("\n")
    return f"{first}  [{warned.code} {warned.name}]{separator}{rest}"


def _text(found: Checked) -> str:
    number = len(found.problems)
    verdict = "ok" if not number else f"{number} problem{'s' if number > 1 else ''}"
    lines = [f"{found.file}: {verdict}", *found.files_text]
    lines += [problem_text(each) for each in found.problems]
    lines += [f"warning: {_warning(each)}" for each in found.warnings]
    return "\n".join(lines)
