"""Ask the local model about the rows of an evaluation, in a version that was trained on none of them and none of their
texts.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

from batchpipe.engine.context import Context
from batchpipe.engine.local.choosing import find_sure_rows
from batchpipe.engine.local.hints import learning_of
from batchpipe.engine.local.prepare import learn
from batchpipe.engine.local.texts import embedding_sql, text_sql
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import Snapshot, texts_sql
from batchpipe.pipeline.sending import LOCAL
from batchpipe.sql.quoting import Sql, sql
from batchpipe.store.queries import query

# The number of the local rung, and its name where models are listed.
NUMBER, NAME = 0, LOCAL


def local_answers(context: Context, ladder: Resolved, rows: Snapshot, *, trains: bool) -> Any | None:
    """Return an Arrow table of what the local model says of `rows`: key_id, valid, accepts, confidence, output; None
    where there is no model yet, or the pipeline has none.

    With `trains` the model is trained in memory where that is due. Nothing is recorded. Reads the ledger and
    `[eval] gold`. Writes, in a working database of its own, work.documents, work.validity, work.local_predictions and
    work.local_sure, and reads them.
    """
    if ladder.learner is None:
        return None
    resolved = learning_of(ladder)
    with closing(context.work()) as work:
        rows.make_room(work.memory)
        version = learn(context, work, resolved, rows, compared=True, trains=trains).version
        if version is None:
            return None
        rung = ladder.learner
        when = rung.when.truth if rung.when is not None else Sql("true")
        typed = rows.typed(sorted(rung.when.inputs)) if rung.when is not None and rung.when.inputs else None
        if typed is not None:
            when = sql("position IN (SELECT position FROM {typed} WHERE {when})", typed=typed, when=when)
        given = {"text": text_sql(rung.columns), "embedding": embedding_sql(rung.embedding)}
        asked = query("local_evaluated", rows=rows.relation, when=when, **given)
        predicted = query("local_evaluated_rows", rows=rows.relation, values=texts_sql(resolved.hash_columns))
        find_sure_rows(work, resolved, version, asked=asked, rows=predicted)
        return work.connection.sql(query("local_said")).to_arrow_table()
