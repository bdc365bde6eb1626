"""The pipelines that come with the repository: their data, prompts and answers fit together."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal

import duckdb
import jsonschema_rs
import pytest
from helpers.examples import NAMES, ROOT, Example, Row, ask, example, gold_labels, share

from batchpipe.schema.columns import output_columns, uncast_sql, value_sql
from batchpipe.sql.conditions import INPUT_PREFIX, OUTPUT_PREFIX, Condition, bind_condition, parse_condition
from batchpipe.sql.quoting import quote_identifier, quote_literal


def judged(name: str, rung: int) -> set[str]:
    """What does not hold in any answer of the rung: fields that do not cast, checks, `accept`."""
    this = example(name)
    columns = output_columns(this.schema, this.pipeline.output)
    failed: set[str] = set()
    with duckdb.connect() as session:
        session.execute(f"SET file_search_path = {quote_literal(str(ROOT))}")
        inputs = input_types(session, this)
        conditions = bound_conditions(session, this, rung, {each.name: each.type for each in columns}, inputs)
        tests = {
            **{each.name: f"NOT {uncast_sql(each, 'd')}" for each in columns},
            **{label: each.truth for label, each in conditions.items()},
        }
        for row, output in zip(this.rows, this.outputs(rung), strict=True):
            if output is None:
                continue
            document = {columns[0].name: output} if isinstance(output, str) else output
            values: dict[str, str] = {OUTPUT_PREFIX + each.name: value_sql(each, "d") for each in columns}
            values |= {INPUT_PREFIX + each: literal(row[each], kind) for each, kind in inputs.items()}
            named = ", ".join(f"{sql} AS {quote_identifier(each)}" for each, sql in values.items())
            source = f"SELECT d, {named} FROM (SELECT {literal(json.dumps(document), 'JSON')} AS d)"
            held = session.execute(f"SELECT {', '.join(tests.values())} FROM ({source})").fetchone()
            assert held is not None
            failed |= {label for label, holds in zip(tests, held, strict=True) if not holds}
    return failed


def input_types(session: duckdb.DuckDBPyConnection, this: Example) -> dict[str, str]:
    params = dict(this.pipeline.input.params) or None
    described = session.execute(f"DESCRIBE {this.pipeline.input.query}", params).fetchall()
    return {column[0]: column[1] for column in described}


def bound_conditions(
    session: duckdb.DuckDBPyConnection,
    this: Example,
    rung: int,
    fields: dict[str, str],
    inputs: dict[str, str],
) -> dict[str, Condition]:
    accept = this.pipeline.models[rung].accept
    texts = {**this.pipeline.output.checks, **({"accept": accept} if accept else {})}
    conditions = {
        label: parse_condition(session, text, fields=fields, columns=inputs, where=label)
        for label, text in texts.items()
    }
    for label, each in conditions.items():
        bind_condition(session, each, field_types=fields, column_types=inputs, where=label)
    return conditions


def literal(value: object, kind: str) -> str:
    return f"CAST({'NULL' if value is None else quote_literal(str(value))} AS {kind})"


def test_the_examples_are_those_that_the_readme_names() -> None:
    assert NAMES == [
        "comment_moderation",
        "function_tags",
        "invoice_extraction",
        "meeting_summaries",
        "persona_variations",
        "ticket_triage",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_row_has_a_key_of_its_own(name: str) -> None:
    keys = example(name).row_keys()
    assert keys
    assert len(set(keys)) == len(keys)
    assert all(part is not None for key in keys for part in key)


@pytest.mark.parametrize("name", NAMES)
def test_a_query_gives_the_same_rows_each_time(name: str) -> None:
    query, params = example(name).pipeline.input.query, dict(example(name).pipeline.input.params)
    assert query
    again = ask(query, params or None)
    assert sorted(map(repr, again)) == sorted(map(repr, example(name).rows))


@pytest.mark.parametrize("name", NAMES)
def test_prompts_name_every_allowed_value(name: str) -> None:
    this = example(name)
    for property_name, node in this.schema.get("properties", {}).items():
        for value in node.get("enum", ()):
            assert str(value) in this.system, f"{property_name}: {value}"


@pytest.mark.parametrize("name", NAMES)
def test_the_first_rung_has_an_answer_to_every_row(name: str) -> None:
    this = example(name)
    missing = [key for key, output in zip(this.row_keys(), this.outputs(0), strict=True) if output is None]
    assert missing == []


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_speaks_for_one_prompt_only(name: str) -> None:
    this = example(name)
    prompts = set(this.users)
    lines = Counter((line["match"], line.get("model")) for line in this.answers)
    assert set(lines.values()) == {1}
    answers = this.answers
    if name == "function_tags":  # its last line speaks for the functions of later versions of DuckDB
        *answers, other = answers
        assert all(other["match"] in user for user in prompts)
    for match in {line["match"] for line in answers}:
        assert match not in this.system
        spoken = sum(match in user for user in prompts)
        # Other versions of DuckDB have other functions.
        assert spoken == 1 or (name == "function_tags" and spoken == 0), match


@pytest.mark.parametrize("name", NAMES)
def test_answers_fit_the_schema(name: str) -> None:
    this = example(name)
    validator = jsonschema_rs.validator_for(this.schema, validate_formats=True)
    is_text = this.pipeline.output.format == "text"
    (field,) = this.pipeline.output.fields if is_text else ("",)
    for line in this.answers:
        document = {field: line["output"]} if is_text else line["output"]
        assert [error.message for error in validator.iter_errors(document)] == []


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_of_models_on_the_ladder(name: str) -> None:
    this = example(name)
    ladder = {rung.model for rung in this.pipeline.models}
    assert {line["model"] for line in this.answers if "model" in line} <= ladder


@pytest.mark.parametrize("name", NAMES)
def test_answers_pass_casts_checks_and_accept_where_they_should(name: str) -> None:
    expected = {
        ("comment_moderation", 0): {"accept"},
        ("comment_moderation", 1): {"accept"},
        ("invoice_extraction", 0): {"items_sum_to_net"},
        ("ticket_triage", 0): {"accept"},
    }
    for rung in range(len(example(name).pipeline.models)):
        assert judged(name, rung) == expected.get((name, rung), set())


def test_tickets_gold_labels_are_of_the_same_tickets() -> None:
    this = example("ticket_triage")
    gold = gold_labels()
    assert [row["ticket_id"] for row in this.rows] == list(gold)
    assert set(gold.values()) == set(this.schema["properties"]["label"]["enum"])


def test_tickets_most_stay_on_the_first_rung_and_the_rest_climb_to_a_better_answer() -> None:
    this = example("ticket_triage")
    gold = list(gold_labels().values())
    first, second = this.outputs(0), this.outputs(1)
    climbs = [output["confidence"] < 0.8 for output in first]
    stayed = [output["label"] == label for output, label, up in zip(first, gold, climbs, strict=True) if not up]
    climbed = [output["label"] == label for output, label, up in zip(second, gold, climbs, strict=True) if up]
    assert 0.1 < share(climbs) < 0.3
    assert share(stayed) > 0.9
    assert 0.5 < share(climbed) < 1
    assert [output is not None for output in second] == climbs


def test_tickets_two_render_to_the_same_request() -> None:
    this = example("ticket_triage")
    doubled = [user for user, count in Counter(this.users).items() if count > 1]
    assert len(doubled) == 1
    plans = [row["plan"] for row, user in zip(this.rows, this.users, strict=True) if user == doubled[0]]
    assert plans == ["solo", "free"]


def test_tickets_keep_quotes_newlines_and_emoji() -> None:
    (odd,) = (row for row in example("ticket_triage").rows if "😡" in row["subject"])
    assert odd["body"].count("\n") == 5
    assert '"Something went wrong (ref. 7F-22)"' in odd["body"]


def test_invoices_add_up_but_for_the_one_that_is_to_climb() -> None:
    this = example("invoice_extraction")
    wrong = [key for key, output in zip(this.row_keys(), this.outputs(0), strict=True) if not adds_up(output)]
    assert wrong == [("mail-005",)]
    assert [adds_up(output) for output in this.outputs(1)] == [True] * len(this.rows)


def adds_up(invoice: Row) -> bool:
    net, tax, total = (Decimal(str(invoice[name])) for name in ("net_total", "tax_total", "total"))
    return sum(Decimal(str(item["amount"])) for item in invoice["line_items"]) == net and net + tax == total


def test_summaries_keep_the_limit_that_prompt_and_check_name() -> None:
    this = example("meeting_summaries")
    limit = this.pipeline.prompt.vars["max_words"]
    assert f"<= {limit}" in this.pipeline.output.checks[f"at_most_{limit}_words"]
    assert f"at most {limit} words" in this.system
    assert all(10 < len(output.split()) <= limit for output in this.outputs(0))


def test_variations_are_every_question_with_every_persona() -> None:
    this = example("persona_variations")
    questions, personas = ({key[part] for key in this.row_keys()} for part in (0, 1))
    assert len(this.rows) == len(questions) * len(personas)
    variations = [output["variation"] for output in this.outputs(0)]
    assert len(set(variations)) == len(variations)


def test_moderation_leaves_some_comments_to_a_person() -> None:
    this = example("comment_moderation")
    second = this.outputs(1)
    climbed = [output is not None for output in second]
    assert climbed == [output["confidence"] < 0.75 for output in this.outputs(0)]
    unsure = [output for output in second if output and output["confidence"] < 0.75]
    assert 2 <= len(unsure) <= 6


def test_functions_are_one_row_each() -> None:
    this = example("function_tags")
    (counted,) = ask(
        "SELECT count(DISTINCT (function_name, function_type)) AS functions FROM duckdb_functions() "
        "WHERE database_name = 'system' AND description <> ''"
    )
    assert len(this.rows) == counted["functions"] > 400
