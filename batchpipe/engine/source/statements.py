"""Run the statements of `[input] setup` and `[output] after`, one at a time, and look at the form of a SELECT."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb

from batchpipe.common.errors import PipelineError
from batchpipe.common.secrets import redacted
from batchpipe.common.working_folder import working_in
from batchpipe.pipeline.load import expand_variables, names_with_a_quote
from batchpipe.pipeline.model import PipelineFile
from batchpipe.sql.messages import duckdb_message, query_hint
from batchpipe.store.queries import query

# Statements whose effect ends with the session.
_OF_SESSION = {
    duckdb.StatementType.ATTACH,
    duckdb.StatementType.DETACH,
    duckdb.StatementType.LOAD,
    duckdb.StatementType.PRAGMA,
    duckdb.StatementType.PREPARE,
    duckdb.StatementType.SET,
    duckdb.StatementType.VARIABLE_SET,
}
_PIVOT = re.compile(r"\b(?:un)?pivot\b|\bpivot_wider\b", re.IGNORECASE)
# What is made under one name lies in the session's own memory; a schema or database before the name says another place.
_MADE_IN_SESSION = re.compile(
    r"\s*CREATE\s+(?:OR\s+REPLACE\s+)?(?:(?:TEMP|TEMPORARY|SECRET)\b|"
    r"(?:TABLE|VIEW|MACRO|FUNCTION|SEQUENCE|TYPE|SCHEMA)\s+(?:IF\s+NOT\s+EXISTS\s+)?"
    r'(?:"(?:[^"]|"")+"|\w+)(?!\s*\.)(?![\w"]))',
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One statement of the file. `identity` is a hash of its text in the file, and which of equal ones it is.

    `of_session`: its effect ends with the session. `opens` and `closes` say that it begins or ends a transaction.
    `quoted` are the `${NAME}` whose values have a single quote.
    """

    place: str
    text: str
    query: str
    identity: str
    of_session: bool
    opens: bool
    closes: bool
    quoted: Sequence[str] = ()


def steps_of(
    file: PipelineFile, statements: Sequence[str], toml_path: str, environment: Mapping[str, str]
) -> list[Step]:
    """Return the single statements of the entries of a list in the file, with the values of `${NAME}` in them.

    Raises UsageError for a variable that is not set.
    """
    seen: Counter[str] = Counter()
    return [
        step
        for number, text in enumerate(statements)
        for step in _steps(text, file.where(f"{toml_path}[{number}]"), environment, seen)
    ]


def run_steps(
    connection: duckdb.DuckDBPyConnection, steps: Sequence[Step], root: Path, *, without_outputs: bool = False
) -> None:
    """Run statements one after another; relative paths in them start at `root`.

    `without_outputs` says that the output tables are not there yet.
    Raises PipelineError, in which `${NAME}` stands again, for one that fails.
    """
    for step in steps:
        try:
            with working_in(root):
                connection.execute(step.query)
        except duckdb.InterruptException as error:
            raise KeyboardInterrupt from error
        except duckdb.Error as error:
            # DuckDB's own text has an excerpt of the statement, perhaps cut in the middle of a password.
            cause = type(error)(redacted(duckdb_message(error)))
            what, hint = f"the statement failed: {cause}", f"The statement is: {step.text}"
            if step.quoted:
                hint += f"\nThe value of {', '.join(step.quoted)} has a single quote: write it twice in the variable."
            if without_outputs and isinstance(error, duckdb.CatalogException):
                hint += "\nOutput tables of pipelines can be read in [input] query and [prompt.queries], not in setup."
            raise PipelineError(what, where=step.place, hint=hint) from cause


def _steps(text: str, place: str, environment: Mapping[str, str], seen: Counter[str]) -> Iterator[Step]:
    expanded = expand_variables(text, environment, place)
    parsed: list[tuple[str, duckdb.StatementType]]
    try:
        parsed = [(each.query, each.type) for each in duckdb.extract_statements(expanded)]
    except duckdb.Error:  # an extension may allow more; if not, running the statement shows what is wrong
        parsed = [(expanded, duckdb.StatementType.INVALID)]
    for number, (statement, kind) in enumerate(parsed):
        seen[f"{number} {text}"] += 1
        identity = f"{number} {seen[f'{number} {text}']} {text}"
        transaction = kind == duckdb.StatementType.TRANSACTION
        opens = transaction and statement.strip().upper().startswith(("BEGIN", "START"))
        yield Step(
            place=place,
            text=text,
            query=statement,
            identity=sha256(identity.encode()).hexdigest()[:16],
            of_session=kind in _OF_SESSION or _MADE_IN_SESSION.match(statement) is not None,
            opens=opens,
            closes=transaction and not opens,
            quoted=names_with_a_quote(text, environment),
        )


def one_select(text: str, place: str) -> str:
    """Return `text` as one SELECT without its final `;`.

    Raises PipelineError where the text is anything else.
    """
    try:
        statements = duckdb.extract_statements(text)
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        hint = f"Write one SELECT. {query_hint(error)}"
        raise PipelineError(f"this is not SQL: {duckdb_message(error)}", where=place, hint=hint) from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        kinds = ", ".join(each.type.name for each in statements) or "nothing"
        hint = "Write one SELECT. Statements that must run before it belong under [input] setup."
        if _PIVOT.search(text):
            hint = "A PIVOT that does not name its values is several statements: write PIVOT t ON column IN ('a', 'b')."
        raise PipelineError(f"this must be one SELECT, but it is {kinds}", where=place, hint=hint)
    return statements[0].query.strip().rstrip(";")


def limits_without_order(node: Any) -> bool:
    """Return whether any SELECT in a syntax tree has a LIMIT and no ORDER BY."""
    if isinstance(node, list):
        return any(limits_without_order(each) for each in node)
    if not isinstance(node, dict):
        return False
    kinds = {each.get("type") for each in node.get("modifiers") or ()}
    if "LIMIT_MODIFIER" in kinds and "ORDER_MODIFIER" not in kinds:
        return True
    return any(limits_without_order(each) for each in node.values())


def offer_macros(connection: duckdb.DuckDBPyConnection, *statements: str) -> None:
    """Define the macros of batchpipe that `statements` name in the session: `split_text`."""
    if any("split_text" in each.casefold() for each in statements):
        connection.execute(query("split_text"))
