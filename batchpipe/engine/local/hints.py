"""Ask the local model about rows that are rendered: the likeliest values of a field, the nearest answered rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from batchpipe.engine.local.knowledge import value_column
from batchpipe.engine.local.texts import embedding_sql, embeddings_of, text_sql
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.local_model.model import LocalModel
from batchpipe.sql.quoting import Sql, joined, quote_identifier
from batchpipe.store.database import Work
from batchpipe.store.queries import query
from batchpipe.template.hints import Example, HintUse, RowHints
from batchpipe.template.values import printed


def learning_of(resolved: Resolved) -> Resolved:
    """Return the pipeline whose answers the local model learns from: for an evaluation that which it evaluates."""
    if resolved.file.learner is None:
        return resolved
    file = resolved.file.model_copy(update={"pipeline": resolved.file.learner, "evaluates": (), "learner": None})
    return replace(resolved, file=file, local=resolved.learner)


@dataclass(slots=True, kw_only=True)
class LocalHints:
    """Says what the templates of `resolved` ask of a version of the local model.

    `name` is the version: `local:v7`. Examples are rows that the version was trained on and that may still teach it.
    `work.local_lessons` holds no gold row, no row of the review sample, no row bought for a comparison, and no row with
    the text of one of these.
    """

    work: Work
    resolved: Resolved
    model: LocalModel
    name: str
    bytes_of: dict[tuple[str, int], int] = field(default_factory=dict, init=False)
    rows: int = field(default=0, init=False)
    _forbidden: list[str] | None = field(default=None, init=False)

    @property
    def select(self) -> tuple[Sql, Sql, Sql]:
        """Return SQL, over the snapshot `s`, for what `of` takes of a row: key_id, text, embedding."""
        rung = self.resolved.learner
        assert rung is not None
        return Sql("md5(s.key)::UUID::VARCHAR"), text_sql(rung.columns), embedding_sql(rung.embedding)

    def of(self, rows: Sequence[tuple[str, str, str | None]], also: Sequence[HintUse] = ()) -> list[RowHints]:
        """Return the hints of rows, each given by key_id, text and embedding; `also` are calls of other templates.

        Reads `work.local_lessons`.
        """
        known, own = {each.name for each in self.model.fields}, self.resolved.templates.hints
        uses = [each for each in dict.fromkeys((*own, *also)) if each.field is None or each.field in known]
        texts, embeddings = [text for _, text, _ in rows], embeddings_of([each for *_, each in rows], self.model.width)
        likely: dict[str, list[list[object]]] = {}
        for name in dict.fromkeys(each.field for each in uses if each.field is not None):
            most = max(each.count for each in uses if each.field == name)
            found = self.model.likely(texts, name, most + 1, embeddings)
            likely[name] = [[value for value in each if value is not None][:most] for each in found]
        most = max((each.count for each in uses if each.field is None), default=0)
        near: list[list[Example]] = [[] for _ in rows]
        if most:
            near = self._near([key for key, *_ in rows], texts, embeddings, most)
        self.rows += len(rows)
        for use in uses:
            if use.field is not None:
                size = sum(len(printed(each[: use.count]).encode("utf-8", "replace")) for each in likely[use.field])
                self.bytes_of[use.field, use.count] = self.bytes_of.get((use.field, use.count), 0) + size
        return [
            RowHints(likely={name: values[place] for name, values in likely.items()}, near=near[place])
            for place in range(len(rows))
        ]

    def _near(
        self, keys: Sequence[str], texts: Sequence[str], embeddings: Sequence[Sequence[float]] | None, count: int
    ) -> list[list[Example]]:
        known = self.model.known
        assert known is not None
        if self._forbidden is None:  # once, and not for every block of rows: the lessons stay as they are
            usable = {key for (key,) in self.work.connection.execute(query("local_lesson_keys")).fetchall()}
            self._forbidden = [key for key in known.keys if key not in usable]
        found = self.model.near(texts, count, self._forbidden, embeddings, keys)
        examples = self._examples(sorted({each.key for row in found for each in row}))
        return [[examples[each.key] for each in row] for row in found]

    def _examples(self, keys: Sequence[str]) -> Mapping[str, Example]:
        """Return answered rows as examples, by key_id. Reads `work.local_lessons`."""
        rung = self.resolved.learner
        assert rung is not None
        values = joined(", ", (quote_identifier(value_column(place)) for place in range(len(rung.fields))))
        rows = self.work.connection.execute(query("local_examples", values=values), {"keys": keys}).fetchall()
        return {
            key: Example(text=text, answer=dict(zip(rung.fields, map(json.loads, values), strict=True)))
            for key, text, values in rows
        }
