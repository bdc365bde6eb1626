"""Quote DuckDB's messages: what is wrong and what DuckDB suggests, without the excerpt of the statement."""

from __future__ import annotations

import difflib
import re

import duckdb

# From here on DuckDB shows an excerpt of the statement, which may be one that the user never saw, and may be cut in the
# middle of a password.
_EXCERPT = re.compile(r"\n+LINE \d+:")
# Lines that help nobody: the settings of the CSV reader, and what it looked for.
_NOISE = re.compile(
    r"^  \w+ = |^Original Line: |^The search space used was|Candidates: |^Encoding: |^For more info, visit"
)
# What DuckDB suggests out of a database that is attached under a hidden name, which SQL of the user never writes.
_SUGGESTED_HIDDEN = re.compile(r"\s*Did you mean:? \"store of [^\"]*\"\??")
MOST_LINES = 12
# DuckDB names the nearest table of all catalogs, its own included, however far it is.
LEAST_LIKENESS = 0.6
_NO_TABLE = re.compile(r"Table with name (.+?) does not exist!\s*(?:Did you mean:? \"([^\"]+)\"\??)?")
NAME_IT = "Make the table first, ATTACH its database in [input] setup, or read a file: FROM read_csv('FILE')."
TRY_IT = "Try it in DuckDB from the project's folder, or look for a typing mistake."


def duckdb_message(error: BaseException) -> str:
    """Return what DuckDB says is wrong, with the lines that help: candidates, possible solutions, the encoding."""
    text = _SUGGESTED_HIDDEN.sub("", _EXCERPT.split(str(error), maxsplit=1)[0])
    table = _NO_TABLE.search(text)
    if table and not _is_near(table):
        text = text[: table.start()] + f"Table with name {table[1]} does not exist!" + text[table.end() :]
    lines = [line.rstrip().expandtabs(2) for line in text.split("\n")]
    kept = [line for line in lines if line.strip() and not _NOISE.search(line)]
    return "\n".join(kept[:MOST_LINES])


def _is_near(table: re.Match[str]) -> bool:
    """Return whether the table that DuckDB suggests is most likely the one that was meant."""
    name, suggested = table[1].lower(), (table[2] or "").lower().split(".")[-1]
    return difflib.SequenceMatcher(None, name, suggested).ratio() >= LEAST_LIKENESS


def query_hint(error: duckdb.Error) -> str:
    """Return the step that most likely mends a query of the user that failed with `error`."""
    text = _SUGGESTED_HIDDEN.sub("", str(error))
    if isinstance(error, duckdb.OutOfMemoryException):
        return "Let the query hold fewer rows at once, free memory, or let the process have more of it."
    if "not utf-8 encoded" in text or "Invalid unicode" in text:
        return (
            "Name the file's encoding in the query: read_csv('FILE', encoding = 'latin-1'), or 'utf-16'; "
            "or save the file as UTF-8."
        )
    extension = re.search(r"Failed to download extension \"(\w+)\"", text)
    if extension:
        install = f"python -c \"import duckdb; duckdb.execute('INSTALL {extension[1]}')\""
        return f"Install it once where there is a network: {install}; see: batchpipe docs guides/offline_extensions"
    table = _NO_TABLE.search(text)
    if table and not _is_near(table):
        return NAME_IT
    suggested = re.search(r"(?:Did you mean:?|Candidate bindings:) (\"[^\"]+\")", text)
    if suggested:
        return f"Write {suggested[1]} in the query."
    if "No files found" in text:
        return "Correct the path: it starts at the project's root."
    if isinstance(error, duckdb.ParserException):
        near = re.search(r'at or near "([^"]+)"', text)
        return f"DuckDB stopped at {near[1]}: look at what stands there and before it." if near else TRY_IT
    return TRY_IT
