"""What is promised of the local rung: a version is tested on gold before it answers.

The test is that of the whole ladder, at the file's `accept`: a gold row that the version is sure of is as right as its
answer, any other row as the answer of the rungs above. The k-th test on one gold set gets 6 / (pi^2 k^2) of the risk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batchpipe.engine.answers.validation import fill_answers, validate_answers, validate_documents
from batchpipe.engine.context import Context
from batchpipe.engine.cost.ladder import settings_text
from batchpipe.engine.gold.answered_gold import TrueValues
from batchpipe.engine.gold.gold_rows import field_comparison
from batchpipe.engine.local.choosing import LocalVersion, find_sure_rows
from batchpipe.engine.local.texts import embedding_sql, stored_embedding_sql, stored_text_sql, text_sql
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import Snapshot, texts_sql
from batchpipe.evaluation.field_comparison import is_correct
from batchpipe.local_model.trust import passes
from batchpipe.schema.columns import value_sql
from batchpipe.sql.quoting import Sql, joined, number_sql, quote_identifier, quote_list, quote_literal, sql
from batchpipe.store.database import Work
from batchpipe.store.queries import query

NO_GOLD = "no promise: there is no gold to test it on"
NO_TARGET = "no promise: the local rung has no target"
RISK = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """Whether a version may answer, what is said of it, and the test, where it is new."""

    holds: bool
    says: str
    test: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldTest:
    """Tests versions of the local model on the gold rows in `work.true_values`. `snapshot` is the input."""

    context: Context
    work: Work
    resolved: Resolved
    snapshot: Snapshot
    gold: TrueValues
    tests: Sequence[Mapping[str, Any]] = field(default=())

    def of(self, version: LocalVersion) -> Promise:
        """Return whether a version passes.

        A test that was made already, of this version at this `accept` and target on this gold, is not made again.
        Reads `work.true_values`, the ledger.
        """
        rung, connection = self.resolved.local, self.work.connection
        assert rung is not None
        if rung.target is None:
            return Promise(holds=True, says=NO_TARGET)
        found = connection.execute(query("local_gold_identity", values=self._values(Sql("g")))).fetchone()
        rows, identity = found if found is not None else (0, "")
        if not rows:
            return Promise(holds=True, says=NO_GOLD)
        what = {"version": version.number, "gold": identity, "accept": rung.accept.text, "target": rung.target}
        known = next((each for each in self.tests if what.items() <= each.items()), None)
        if known is not None:
            return self._promise(known, new=False)
        right, n, unknown = self._right(version)
        number = 1 + sum(each["gold"] == identity for each in self.tests)
        passed = passes(right, n, rung.target, risk=RISK, version=number)
        figures = {"number": number, "right": right, "rows": n, "unknown": unknown, "passed": passed}
        return self._promise(what | figures, new=True)

    def _promise(self, test: Mapping[str, Any], *, new: bool) -> Promise:
        """Return what a test means, in words."""
        name, rows = f"local:v{test['version']}", f"{test['right']:,} of {test['rows']:,} gold rows"
        if test["passed"]:
            says = (
                f"promised: at least {test['target']:.1%} of the rows to come are right (the ladder with {name} is on "
                f"{rows})"
            )
        else:
            lacking = f"; {test['unknown']:,} have no answer of the rungs above yet" if test["unknown"] else ""
            says = (
                f"{name} did not pass the test of {test['target']:.1%}: the ladder with it is right on {rows}{lacking}"
            )
        return Promise(holds=bool(test["passed"]), says=says, test=test if new else None)

    def _right(self, version: LocalVersion) -> tuple[int, int, int]:
        """Return how many gold rows the ladder gets right, of how many, and of how many its answer is not known.

        A row whose answer is not known counts as wrong.
        Reads `work.true_values`, `work.local_gold_rows`, `work.local_sure`, `work.local_climbed`.
        """
        self._find_sure(version)
        self._find_climbed()
        columns = [self.gold.columns[each.name] for each in self.gold.fields]
        given = joined("", (sql(", {value}", value=value_sql(each, Sql("a.output"))) for each in columns))
        rows = self.work.connection.execute(
            query("local_gold_answers", true=self._values(Sql("g")), given=given)
        ).fetchall()
        comparisons = [field_comparison(each) for each in self.gold.fields]
        right = unknown = 0
        for is_known, *values in rows:
            unknown += not is_known
            true, said = values[: len(columns)], values[len(columns) :]
            compared = zip(comparisons, true, said, strict=True)
            right += bool(is_known) and all(how is None or is_correct(how, t, s) for how, t, s in compared)
        return right, len(rows), unknown

    def _values(self, alias: Sql) -> Sql:
        names = (quote_identifier(each.name) for each in self.gold.fields)
        return joined("", (sql(", {alias}.{name}", alias=alias, name=name) for name in names))

    def _find_sure(self, version: LocalVersion) -> None:
        """Fill `work.local_sure` for the gold rows.

        Reads `work.true_values`, `work.local_predictions`. Writes `work.local_gold_rows`.
        """
        rung, hashed = self.resolved.local, self.resolved.hash_columns
        assert rung is not None
        names, texts = Sql("g._columns"), Sql("g._texts")
        values = (
            sql("{texts}[list_position({names}, {name})]", texts=texts, names=names, name=quote_literal(each.name))
            for each in hashed
        )
        parts = {
            "own_text": stored_text_sql(rung.columns, names, texts),
            "own_embedding": stored_embedding_sql(rung.embedding, names, texts),
            "own_values": sql("[{values}]::VARCHAR[]", values=joined(", ", values)),
            "text": text_sql(rung.columns),
            "embedding": embedding_sql(rung.embedding),
            "values": texts_sql(hashed),
            "snapshot": self.snapshot.relation,
        }
        self.work.connection.execute(query("local_gold_rows", **parts))
        asked = query("local_gold_asked")
        find_sure_rows(self.work, self.resolved, version, asked=asked, rows=query("local_gold_predicted"))

    def _find_climbed(self) -> None:
        """Fill `work.local_climbed`: the answer of the rungs above to each gold row, by today's ladder.

        Reads `work.local_gold_rows`, `ledger.requests`, `ledger.results`. Writes `work.local_climbed`,
        `work.local_upper`, `work.answers`, `work.documents`, `work.validity`.
        """
        rungs = joined(
            ", ",
            (
                sql("({number}, {settings})", number=number_sql(number), settings=quote_literal(settings_text(each)))
                for number, each in enumerate(self.resolved.rungs[: self.resolved.height], start=1)
            ),
        )
        with self.context.database.reading(self.work) as session:
            session.execute(query("local_upper", families=quote_list(self.resolved.names), rungs=rungs))
            fill_answers(session, Sql("work.local_upper"))
        rules = self.resolved.answer_rules
        validate_documents(self.work, rules, Sql("work.answers"))
        validate_answers(self.work, rules, Sql("(SELECT * FROM work.local_upper)"))
        self.work.connection.execute(query("local_climbed"))
