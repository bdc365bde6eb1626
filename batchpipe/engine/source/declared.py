"""Check the input's columns: those that `[input] columns` declares, and those that a pipeline file names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import duckdb

from batchpipe.common.errors import PipelineError, Problem
from batchpipe.common.given import toml_key, toml_text
from batchpipe.common.likeness import nearest
from batchpipe.pipeline.model import PipelineFile
from batchpipe.sql.canonical import reads_back_as_key, survives
from batchpipe.sql.connection import plain_name
from batchpipe.sql.quoting import folded, quote_identifier
from batchpipe.sql.type_tree import type_tree

NUMBERED = re.compile(r"_\d+$")


def declared_types(file: PipelineFile, connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Return the declared columns with their types as DuckDB writes them; an empty dict where no column is declared.

    Raises PipelineError with every type that DuckDB does not know.
    """
    types, problems = {}, []
    for name, text in file.pipeline.input.columns.items():
        try:
            types[name] = str(connection.type(text))
        except duckdb.Error:
            what = f"{text!r} is not a type of DuckDB"
            hint = "Write a type such as VARCHAR, BIGINT, DOUBLE, DATE, TIMESTAMP, DECIMAL(12,2) or VARCHAR[]."
            problems.append(Problem(what=what, where=_place(file, name), hint=hint))
    if problems:
        raise PipelineError.from_problems(problems)
    return types


def hold_to(file: PipelineFile, declared: Mapping[str, str], given: Mapping[str, str]) -> None:
    """Check that the query gives every declared column in its declared type.

    Raises PipelineError with every column that is missing or has another type.
    """
    problems = [
        Problem(what=what, where=_place(file, name), hint=hint)
        for name, kind in declared.items()
        for what, hint in _differences(name, kind, given)
    ]
    if problems:
        raise PipelineError.from_problems(problems)


def _names_as_written(
    connection: duckdb.DuckDBPyConnection, query: str, params: Mapping[str, Any], given: Mapping[str, str]
) -> list[str]:
    """Return the names of the query's columns as it gives them: in a subquery, as `given`, those of one name have
    numbers.
    """
    if not any(NUMBERED.search(name) for name in given):
        return list(given)
    try:
        return [row[0] for row in connection.execute(f"DESCRIBE {query}", params).fetchall()]
    except duckdb.Error:
        return list(given)


def refuse_doubled(
    file: PipelineFile,
    connection: duckdb.DuckDBPyConnection,
    query: tuple[str, Mapping[str, Any]],
    given: Mapping[str, str],
) -> None:
    """Raise PipelineError where the query gives two columns of one name, which DuckDB compares without case.

    Where columns are declared, only they count. `query` is its text with its parameters.
    """
    declared = {folded(each) for each in file.pipeline.input.columns}
    seen: dict[str, str] = {}
    problems = []
    for name in _names_as_written(connection, *query, given):
        first = seen.get(folded(name))
        seen[folded(name)] = name
        if first is not None and (not declared or folded(name) in declared):
            what = f"the query gives two columns of one name: {first!r} and {name!r}"
            hint = f"Name one of them apart, or leave it out: SELECT ... AS {plain_name(f'other_{name}')}."
            problems.append(Problem(what=what, where=file.where("[input] query"), hint=hint))
    if problems:
        raise PipelineError.from_problems(problems)


def column_problems(file: PipelineFile, types: Mapping[str, str]) -> list[Problem]:
    """Return a problem for each column that the file names and the input does not have, or not in a fit type.

    `types` are the types of the input's columns. The key and `include` are kept as text and read back.
    """
    pipeline, known = file.pipeline, list(types)
    named = (
        ("[input] key", pipeline.input.key),
        ("[output] include", pipeline.output.include),
        ("[chunking] group_by", pipeline.chunking.group_by),
        ("[review] show", pipeline.review.show),
        ("[pilot] stratify", [pipeline.pilot.stratify] if pipeline.pilot and pipeline.pilot.stratify else []),
    )
    listing = "[input] columns declares" if pipeline.input.columns else "The query gives"
    problems = []
    for toml_path, name in ((path, name) for path, names in named for name in names if name not in known):
        near = nearest(name, known)
        hint = f"Did you mean {near!r}?" if near else f"{listing}: {', '.join(known)}."
        problems.append(Problem(what=f"the input has no column {name!r}", where=file.where(toml_path), hint=hint))
    for toml_path, names in named[:2]:
        kept = survives if toml_path == "[output] include" else reads_back_as_key
        for name in dict.fromkeys(names):
            if name in types and not kept(type_tree(types[name])):
                what = f"{name} is {types[name]}: DuckDB cannot read the text of such a value back as the same value"
                hint = f"Write CAST({quote_identifier(name)} AS VARCHAR) AS {quote_identifier(name)} in the query."
                problems.append(Problem(what=what, where=file.where(toml_path), hint=hint))
    return problems


def undeclared(file: PipelineFile) -> PipelineError:
    """Return the error for a file whose source may not be opened and that declares no columns."""
    pipeline = file.pipeline
    named = dict.fromkeys([*pipeline.input.key, *pipeline.output.include, *pipeline.chunking.group_by])
    form = ", ".join(f'{toml_key(name)} = "VARCHAR"' for name in named)
    return PipelineError(
        "the input's columns are not known without the source",
        where=file.where("[input]"),
        hint=f"Add columns = {{ {form}, ... }} with every column that is used and its type (in DuckDB, "
        "DESCRIBE and the query print them), or check without --offline.",
    )


def _differences(name: str, kind: str, given: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return what differs between a declared column and the query's, as (what, hint): at most one pair."""
    if name not in given:
        real = nearest(name, given)
        hint = (
            f"It gives {real!r}: write that name, or {plain_name(real)} AS {plain_name(name)} in the query."
            if real
            else _listing(given)
        )
        return [(f"the query gives no column {name!r}", hint)]
    if given[name] != kind:
        own = plain_name(name)
        hint = f"Write {toml_key(name)} = {toml_text(given[name])}, or CAST({own} AS {kind}) AS {own} in the query."
        return [(f"the query gives {given[name]}, not {kind}", hint)]
    return []


def _listing(given: Mapping[str, str]) -> str:
    return f"The query gives: {', '.join(given)}."


def _place(file: PipelineFile, name: str) -> str:
    """Return the line of the column in the file, else the line of `[input.columns]`."""
    own = f"[input.columns] {name}"
    return file.where(own) if own in file.lines else f"{file.where('[input.columns]')} {name}"
