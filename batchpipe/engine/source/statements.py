"""Run the statements of `[input] setup` and `[output] after`, one at a time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import duckdb

from batchpipe.common.errors import PipelineError
from batchpipe.common.secrets import redacted
from batchpipe.pipeline.load import expand_variables
from batchpipe.pipeline.model import PipelineFile
from batchpipe.sql.messages import duckdb_message

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
    """

    place: str
    text: str
    query: str
    identity: str
    of_session: bool
    opens: bool
    closes: bool


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


def run_steps(connection: duckdb.DuckDBPyConnection, steps: Sequence[Step]) -> None:
    """Run statements one after another. Raises PipelineError, in which `${NAME}` stands again, for one that fails."""
    for step in steps:
        try:
            connection.execute(step.query)
        except duckdb.InterruptException as error:
            raise KeyboardInterrupt from error
        except duckdb.Error as error:
            # DuckDB's own text has an excerpt of the statement, perhaps cut in the middle of a password.
            cause = type(error)(redacted(duckdb_message(error)))
            what, hint = f"the statement failed: {cause}", f"The statement is: {step.text}"
            raise PipelineError(what, where=step.place, hint=hint) from cause


def _steps(text: str, place: str, environment: Mapping[str, str], seen: Counter[str]) -> Iterator[Step]:
    expanded = expand_variables(text, environment, place)
    parsed: list[tuple[str, duckdb.StatementType]]
    try:
        parsed = [(each.query, each.type) for each in duckdb.extract_statements(expanded)]
    except duckdb.Error:  # an extension may know more words; if not, the run of the statement says what is wrong
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
        )
