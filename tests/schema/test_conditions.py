"""Tests of SQL conditions: the names they may use, what is refused, and rows, none of which makes a condition fail."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batchpipe.common.errors import PipelineError
from batchpipe.sql.conditions import Condition, bind_condition, parse_condition
from batchpipe.sql.quoting import quote_identifier

FIELDS = {
    "label": "VARCHAR",
    "score": "DOUBLE",
    "tags": "VARCHAR[]",
    "place": "STRUCT(city VARCHAR, size BIGINT)",
    "doc": "JSON",
    "sure": "BOOLEAN",
}
COLUMNS = {"body": "VARCHAR", "score": "INTEGER", "Plan Name": "VARCHAR", "seen": "DATE", "x": "INTEGER"}
COLUMNS["meta"] = "JSON"
ROW: dict[str, Any] = {
    "o:label": "bug", "o:score": 0.75, "o:tags": ["a", "b"], "o:place": {"city": "Bern", "size": 3},
    "o:doc": '{"a": 1}', "o:sure": None,
    "i:body": "it's -- text", "i:score": 7, "i:Plan Name": "gold", "i:seen": "2026-01-02", "i:meta": None, "i:x": 0,
}  # fmt: skip
SESSION = duckdb.connect()


def bound(text: str) -> Condition:
    condition = parse_condition(SESSION, text, fields=FIELDS, columns=COLUMNS, where="demo.toml [output.checks] c")
    bind_condition(SESSION, condition, field_types=FIELDS, column_types=COLUMNS, where="demo.toml [output.checks] c")
    return condition


def truth(text: str) -> bool:
    """Return the value of the condition on ROW, as the engine evaluates it."""
    condition = bound(text)
    types = {f"o:{name}": kind for name, kind in FIELDS.items()} | {f"i:{name}": kind for name, kind in COLUMNS.items()}
    values = ", ".join(f"${n}::{types[name]} AS {quote_identifier(name)}" for n, name in enumerate(ROW, start=1))
    cursor = SESSION.cursor()
    row = cursor.execute(f"SELECT {condition.truth} FROM (SELECT {values})", list(ROW.values())).fetchone()
    assert row is not None
    assert row[0] in (True, False)
    return bool(row[0])


def refused(text: str) -> PipelineError:
    with pytest.raises(PipelineError) as caught:
        bound(text)
    assert caught.value.where == "demo.toml [output.checks] c"
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("score > 0.7", True),  # a bare name is the field before the column
        ("score > 1", False),
        ("input.score = 7", True),
        ("output.score = 0.75", True),
        ("OUTPUT.Score = 0.75 AND Input.X = 0", True),
        ("body LIKE '%--%'", True),
        ("body = 'it''s -- text'", True),
        ("\"plan name\" = 'gold'", True),
        ("place.city = 'Bern'", True),
        ("output.place.size = 3", True),
        ("place['city'] = 'Zug'", False),
        ("list_contains(tags, label)", False),
        ("len(list_filter(tags, lambda t: t <> label)) = 2", True),
        ("list_filter(tags, lambda label: label = 'a') = ['a']", True),
        ("list_reduce([1, 2], lambda a, b: a + b + x) = 3", True),
        ("[t FOR t IN tags IF t = 'a'] = ['a']", True),
        ("doc ->> 'a' = '1'", True),
        ("label = 'bug' -- and a remark", True),
        ("/* why */ label = 'bug'\n", True),
        ("seen = DATE '2026-01-02'", True),
        ("label IN ('bug', 'other') AND score BETWEEN 0 AND 1", True),
        ("CASE WHEN score > 0.5 THEN label = 'bug' END", True),
        ("label COLLATE nocase = 'BUG'", True),
        ("now() > seen", True),
        ("true", True),
        ("NULL", False),
    ],
)
def test_a_condition_is_true_or_not(text: str, expected: bool) -> None:
    assert truth(text) is expected


@pytest.mark.parametrize(
    "text",
    [
        "sure",
        "NOT sure",
        "meta ->> 'a' = '1'",
        "1 / x > 0 AND ln(x) > 0",
        "ln(x) = 1",
        "label::INTEGER = 1",
        "NOT (label::INTEGER = 1)",
        "body::DATE > seen",
        "json_extract(body, '$.a') IS NULL",
    ],
)
def test_null_or_an_error_in_a_row_is_not_true(text: str) -> None:
    assert truth(text) is False


def test_a_condition_says_what_it_reads() -> None:
    condition = bound("score > 1 AND input.score > 2 AND output.place.city = body")
    assert condition.outputs == {"score", "place"}
    assert condition.inputs == {"score", "body"}
    assert condition.text == "score > 1 AND input.score > 2 AND output.place.city = body"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("count(*) > 0", "aggregate"),
        ("sum(score) > 0", "aggregate"),
        ("any_value(label) = 'a'", "aggregate"),
        ("row_number() OVER () > 1", "window"),
        ("lag(score) OVER (ORDER BY x) > 1", "window"),
        ("(SELECT true)", "subquery"),
        ("EXISTS (SELECT 1)", "subquery"),
        ("label IN (SELECT 'a')", "subquery"),
        ("label = $1", "parameter"),
        ("label = $name", "parameter"),
        ("label = ?", "parameter"),
        ("random() > 0.5", "volatile"),
        ("uuid()::VARCHAR = label", "volatile"),
        ("error('no') IS NULL", "volatile"),
        ("setseed(0.5) IS NULL", "volatile"),
        ("unnest(tags) = 'a'", "UNNEST"),
        ("read_text('/etc/passwd') IS NOT NULL", "table function"),
    ],
)
def test_what_does_not_look_at_one_row_is_refused(text: str, word: str) -> None:
    error = refused(text)
    assert word in error.what
    assert text in error.what
    assert "looks at one row" in (error.hint or "")


@pytest.mark.parametrize("text", ["x", "score", "label", "'true'", "tags", "place"])
def test_what_is_not_boolean_is_refused(text: str) -> None:
    assert text in refused(text).what


@pytest.mark.parametrize(("text", "kind"), [("score", "DOUBLE"), ("label", "VARCHAR")])
def test_what_is_not_boolean_is_told_so(text: str, kind: str) -> None:
    assert f"is {kind}, not true or false" in refused(text).what


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("labell = 'bug'", "Did you mean 'label'?"),
        ("input.boddy = 'x'", "Did you mean 'body'?"),
        ("output.scoer > 1", "Did you mean 'score'?"),
        ("input.label = 'x'", "Did you mean 'label'?"),
        ("list_filter(tags, lambda t: t = lable) = []", "Did you mean 'label'?"),
        ("elephants > 1", "Known names: label, score"),
    ],
)
def test_an_unknown_name_brings_the_nearest_one(text: str, hint: str) -> None:
    error = refused(text)
    assert "no output field or input column is called" in error.what
    assert hint in (error.hint or "")


@pytest.mark.parametrize(
    "text",
    [
        "", "   ", "-- only a remark", "label = 'a', true", "true; DROP TABLE x", "true;", "true) , (false",
        "true) OR (true", "score > 0 /* open", "score > 0 */", "score > 0 WHERE true", "score > 0 FROM range(3)",
        "true UNION SELECT true", "true LIMIT 1", "true ORDER BY 1", "score > 0 AS y", "*", "COLUMNS(*) = 1",
        "COLUMNS('score') > 1", "DEFAULT", "'open", '"open', "score >", "memory.main.t.x = 1", "\x00",
        "true\n) UNION SELECT (true", "TRY(true), false)::VARCHAR || (SELECT 'x'",
    ],
)  # fmt: skip
def test_what_is_not_one_expression_is_refused(text: str) -> None:
    refused(text)


def test_a_json_arrow_is_no_lambda() -> None:
    assert truth("(doc -> 'a')::VARCHAR = '1'")


def test_a_position_is_refused() -> None:
    refused("#1 = 'bug'")


PIECES = st.sampled_from(
    ["true", "false", "label", "score", "input.x", "output.place.city", "'a'", "'", '"', ")", "(", ",", ";", "--", "/*",
     "*/", "\n", " ", "=", ">", "AND", "OR", "NOT", "SELECT", "FROM t", "UNION", "$1", "?", "#1", "*", "::INT", "[1]",
     "lambda t: t", "COPY t TO 'x'", "DROP TABLE kept", "INSERT INTO kept VALUES (2)", "1", "$$", "E'\\''", "\\"]
)  # fmt: skip


# Something that binds, with a stranger's text put into it.
SOUND = st.sampled_from(["label = '{}'", "score > 0 -- {}", "score > 0 /* {} */", "label = $${}$$", "true {}", "({})"])
TEXTS = st.one_of(
    st.lists(PIECES, min_size=1, max_size=8).map(" ".join),
    st.builds(lambda sound, pieces: sound.replace("{}", pieces), SOUND, st.lists(PIECES, max_size=6).map(" ".join)),
)


def test_no_text_gets_out_of_its_condition() -> None:
    """Check that a text is refused or stays one expression: the statement after it keeps its meaning."""
    bound_texts: set[str] = set()
    session = SESSION.cursor()
    session.execute("CREATE OR REPLACE TABLE kept AS SELECT 1 AS id")

    @settings(max_examples=300, deadline=None)
    @given(TEXTS)
    @example("true\n), false) OR coalesce(TRY(true")
    @example("true) ) ; DROP TABLE kept ; SELECT ((true")
    @example("true $$ ) $$")
    def stays_inside(text: str) -> None:
        try:
            condition = bound(text)
        except PipelineError:
            return
        bound_texts.add(text)
        names = [f"NULL AS {quote_identifier(f'o:{name}')}" for name in condition.outputs]
        names += [f"NULL AS {quote_identifier(f'i:{name}')}" for name in condition.inputs]
        source = f"(SELECT {', '.join(['1 AS one', *names])})"
        ((found, behind),) = session.execute(f"SELECT {condition.truth}, 'after' FROM {source}").fetchall()
        assert found in (True, False)
        assert behind == "after"

    stays_inside()
    assert session.execute("SELECT id FROM kept").fetchall() == [(1,)]
    assert len(bound_texts) >= 30
