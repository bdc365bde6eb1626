"""Find the gold rows that are a random share of the input: those of `[eval] gold`, and reviewed rows of `[review]
sample`.

A person reviews other rows because they looked doubtful. Those rows are harder than the rest, so that no promise can be
based on them.
"""

from __future__ import annotations

from collections.abc import Sequence

from batchpipe.engine.gold.gold_rows import Gold, GoldRows
from batchpipe.engine.source.snapshot import Snapshot, present_key_sql
from batchpipe.sql.quoting import Sql
from batchpipe.store.database import Work
from batchpipe.store.queries import query


def picked_keys(work: Work, gold: Gold, rows: GoldRows, key: Sequence[str]) -> frozenset[str]:
    """Return the keys of gold rows that were reviewed for another reason than `[review] sample` and that the gold of
    the file lacks.

    Reads `work.truth`, `work.reviewed_truth`.
    """
    known = Sql("SELECT NULL::VARCHAR WHERE false")
    if gold.snapshot is not None:
        known = query("gold_keys", gold=gold.snapshot.relation, gold_key=_canonical(gold.snapshot, key))
    statement = query("picked_keys", rows=rows.rows.relation, row_key=_canonical(rows.rows, key), known=known)
    return frozenset(row[0] for row in work.connection.execute(statement).fetchall())


def _canonical(snapshot: Snapshot, key: Sequence[str]) -> Sql:
    by_name = {each.name: each for each in snapshot.columns}
    return present_key_sql(by_name[name] for name in key)
