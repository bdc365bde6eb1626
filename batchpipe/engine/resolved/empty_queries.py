"""Find the queries of a prompt that give no row: what they should show is missing from every request."""

from __future__ import annotations

from collections.abc import Collection

from batchpipe.common.errors import Problem
from batchpipe.engine.resolved.resolve import Resolved


def empty_queries(resolved: Resolved, unread: Collection[str] = ()) -> list[Problem]:
    """Return what is to be said of each query that the prompt uses and that gives no row.

    `unread` are the places of queries that were not run, and are only taken as empty.
    """
    file, used = resolved.file, resolved.templates.names_used
    found = []
    for name, rows in resolved.version.queries.items():
        where = file.where(f"[prompt.queries] {name}")
        if rows or name not in used or where in unread:
            continue
        what = f"the query `{name}` gives no row: the prompt shows nothing of it"
        hint = f"Add rows to what it reads; or let the template test for them: {{% if {name} %}}."
        if name == file.pipeline.prompt.turns:
            what = f"the query `{name}` gives no row: no turn stands before the messages"
            hint = "Add rows to what it reads, or remove `turns`."
        found.append(Problem(what=what, where=where, hint=hint))
    return found
