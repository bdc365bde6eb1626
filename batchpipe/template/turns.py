"""Turns of a conversation that stand before the row's own message: examples that the model follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from batchpipe.providers import Turn
from batchpipe.template.values import printed

COLUMNS = ("user", "assistant")
# The name under which the sources of a version say which query gives the turns; no file can have it.
SOURCE = "<turns>"


def turns_of(rows: Sequence[Mapping[str, Any]]) -> tuple[Turn, ...]:
    """Return the turns that the rows of a query are, in their order."""
    return tuple(Turn(user=printed(row["user"]), assistant=printed(row["assistant"])) for row in rows)


def turn_problems(name: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield (what, hint) for everything in the rows of the query `name` that cannot be turns."""
    hint = f"Let [prompt.queries] {name} give the columns user and assistant: SELECT ... AS user, ... AS assistant."
    missing = [each for each in COLUMNS if rows and each not in rows[0]]
    if missing:
        yield f"the query `{name}` has no column {' and no column '.join(missing)}", hint
        return
    for column in COLUMNS if rows else ():
        if f"{column}_1" in rows[0]:  # so DuckDB calls the second column of a name
            yield f"the query `{name}` gives two columns called {column}", f"Keep one of them: SELECT ... AS {column}."
            return
    for number, row in enumerate(rows, start=1):
        for column in COLUMNS:
            try:
                text = printed(row[column])
            except UnicodeDecodeError:
                text = ""
            if not text.strip():
                yield f"row {number} of the query `{name}` has no text in {column}", f"Add WHERE {column} <> ''."
                return


def turns_text(turns: Sequence[Turn]) -> str:
    """Return the turns as a person reads them."""
    return "\n\n".join(f"user: {each.user}\nassistant: {each.assistant}" for each in turns)
