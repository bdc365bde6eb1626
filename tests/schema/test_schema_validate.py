"""Tests of the validation of answers: the documents, and the errors that a model is shown."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchpipe.schema.describe import MAX_LENGTH
from batchpipe.schema.validate import TOO_DEEP, AnswerValidator, Format, schema_errors

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "label": {"type": "string", "enum": ["billing", "bug"]},
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "choice": {"anyOf": [{"enum": ["Yes", "No"]}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"const": "Red"}, "maxItems": 3},
        "when": {"type": "string", "format": "date-time"},
        "code": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 4},
        "count": {"type": "integer", "multipleOf": 5},
        "place": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "kind": {"enum": ["Town", "TOWN", "village"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "free": {},
    },
    "required": ["label"],
    "additionalProperties": False,
}


def document(answer: str, format: Any = "json_schema", schema: Any = SCHEMA) -> Any:
    text, error = AnswerValidator(schema, format).validate(answer)
    assert error is None
    assert text is not None
    return json.loads(text)


def error_of(answer: str, format: Any = "json_schema", schema: Any = SCHEMA) -> str:
    text, error = AnswerValidator(schema, format).validate(answer)
    assert text is None
    assert error is not None
    return error


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"label":"Bugs"}', 'label: "Bugs" is not one of "billing", "bug"'),
        ('{"label":5}', 'label: 5 is not one of "billing", "bug"'),
        ("{}", "label: is missing"),
        ('{"label":"bug","score":2}', "score: 2 is more than 1"),
        ('{"label":"bug","score":-1}', "score: -1 is less than 0"),
        ('{"label":"bug","score":"high"}', 'score: "high" is not a number'),
        ('{"label":"bug","choice":"Maybe"}', 'choice: "Maybe" is not one of "Yes", "No"'),
        ('{"label":"bug","tags":["red",1]}', 'tags[1]: 1 is not "Red"'),
        ('{"label":"bug","tags":["Red","Red","Red","Red"]}', "has more than 3 items"),
        ('{"label":"bug","when":"noon"}', 'when: "noon" is not a date-time'),
        ('{"label":"bug","code":"A1"}', 'code: "A1" does not match the pattern ^[a-z]+$'),
        ('{"label":"bug","code":"a"}', 'code: "a" has fewer than 2 characters'),
        ('{"label":"bug","code":"abcde"}', 'code: "abcde" has more than 4 characters'),
        ('{"label":"bug","count":7}', "count: 7 is not a multiple of 5"),
        ('{"label":"bug","count":7.5}', "count: 7.5 is not a whole number"),
        ('{"label":"bug","place":{}}', "place.city: is missing"),
        ('{"label":"bug","place":{"city":"x","kind":"tOWN"}}', 'is not one of "Town", "TOWN", "village"'),
        ('{"label":"bug","extra":1}', "extra: is not a field of the schema; leave it out"),
        ('{"label":"bug"', "the answer is not JSON: "),
        ("[1]", "the answer is [1], not one JSON object"),
        ('"x"', 'the answer is "x", not one JSON object'),
        ("", "the answer is not JSON: "),
        ('{"label":"bug","score":NaN}', "the answer is not JSON: "),
        ('{"label":"bug","free":"\x00', "the answer is not JSON: "),
    ],
)
def test_errors_name_the_path_and_what_is_allowed(answer: str, expected: str) -> None:
    assert expected in error_of(answer)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"label":"BUG"}', {"label": "bug"}),
        ('{"label":"bug","choice":"YES"}', {"label": "bug", "choice": "Yes"}),
        ('{"label":"bug","choice":null}', {"label": "bug", "choice": None}),
        ('{"label":"Bug","tags":["red","RED"]}', {"label": "bug", "tags": ["Red", "Red"]}),
        (
            '{"label":"bug","place":{"city":"BUG","kind":"VILLAGE"}}',
            {"label": "bug", "place": {"city": "BUG", "kind": "village"}},
        ),
        ('{"label":"bug","label":"billing"}', {"label": "billing"}),
        ('{"label":"bug","free":{"a":[1,2.5,"x"]}}', {"label": "bug", "free": {"a": [1, 2.5, "x"]}}),
        (
            '{"label":"bug","free":123456789012345678901234567890}',
            {"label": "bug", "free": 123456789012345678901234567890},
        ),
        ('{"label":"bug","free":18446744073709551615}', {"label": "bug", "free": 18446744073709551615}),
    ],
)
def test_valid_answers(answer: str, expected: Any) -> None:
    assert document(answer) == expected


def test_a_nested_repair_that_another_hides() -> None:
    variants = [
        {"properties": {"kind": {"const": "Cat"}, "size": {"enum": ["Big"]}}, "required": ["kind"]},
        {"properties": {"kind": {"const": "Dog"}, "size": {"enum": ["Tall"]}}, "required": ["kind"]},
    ]
    schema = {"type": "object", "properties": {"pet": {"anyOf": variants}}}
    assert document('{"pet":{"kind":"dog","size":"tall"}}', schema=schema) == {"pet": {"kind": "Dog", "size": "Tall"}}


def test_errors_are_few_short_and_in_a_fixed_order() -> None:
    answer = json.dumps({f"x{number}": "y" * 500 for number in range(20)})
    error = error_of(answer)
    assert len(error) <= MAX_LENGTH
    assert error.splitlines()[-1] == "and 16 more"
    assert error.splitlines()[0].startswith("label")
    long = error_of(json.dumps({"label": "z" * 5_000}))
    assert long.startswith('label: "zzz')
    assert len(long) < 200


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"label":"bug"}', {"label": "bug"}),
        ('Sure, {name}:\n```json\n{"label":"BUG"}\n```\nAnything else?', {"label": "bug"}),
        ('```\n{"label":"bug"}\n```', {"label": "bug"}),
        ('The answer is {"label":"bug","free":{"a":{}}} as you see.', {"label": "bug", "free": {"a": {}}}),
        ('{"label":"bug"} is my answer', {"label": "bug"}),
        ('Braces in text: {"label":"bug","free":"}{"} end', {"label": "bug", "free": "}{"}),
    ],
)
def test_json_is_taken_from_the_text(answer: str, expected: Any) -> None:
    assert document(answer, "json") == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("none", "the answer holds no JSON object; give one JSON object and nothing else"),
        ("{label}", "the answer is not JSON"),
        ('{"label":"bug"} or {"label":"billing"}', "the answer is not JSON"),
        ('Either {"label":"bug"} or {"label":"billing"}.', "the answer holds 2 JSON objects"),
        ('```\n{"label":"bug"}\n```\n```\n{"label":"bug"}\n```', "the answer holds 2 JSON objects"),
        ("{" * 20_000, "the answer holds no JSON object"),
        ('x {"a":' * 20_000, "the answer holds no JSON object"),
    ],
)
def test_json_that_cannot_be_taken_from_the_text(answer: str, expected: str) -> None:
    assert error_of(answer, "json").startswith(expected)


def test_text_is_the_one_field() -> None:
    schema = {
        "type": "object",
        "properties": {"reply": {"type": "string", "minLength": 3}},
        "required": ["reply"],
        "additionalProperties": False,
    }
    assert document(' {"a": 1}\n', "text", schema) == {"reply": ' {"a": 1}\n'}
    assert error_of("ab", "text", schema) == 'reply: "ab" has fewer than 3 characters'


def test_answers_that_are_nested_deeply() -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"a": {}}}
    for depth, tail in ((300, ""), (1_010, ""), (1_010, ',"b":12345678901234567890123')):
        answer = '{"a":' + "[" * depth + "]" * depth + tail + "}"
        assert error_of(answer, schema=schema) == TOO_DEEP
    assert "depth limit" in error_of('{"a":' + "[" * 5_000 + "]" * 5_000 + "}", schema=schema)


@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}")])
def test_answers_that_are_nested_deeply_and_wrong(opened: str, closed: str) -> None:
    """jsonschema_rs finds out that they are wrong, and raises an error where it is to say why."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"a": {"enum": ["b"]}, "c": {"type": "string"}},
        "additionalProperties": False,
    }
    for name in ("a", "c", "unknown"):
        for depth in (260, 1_000):
            answer = f'{{"{name}":' + opened * depth + "1" + closed * depth + "}"
            assert error_of(answer, schema=schema) == TOO_DEEP


def test_a_pattern_that_backtracks_is_invalid_and_not_slow() -> None:
    schema = {"type": "object", "properties": {"a": {"pattern": r"^(a+)+\1$"}}}
    assert "does not match" in error_of(json.dumps({"a": "a" * 4_000 + "b"}), schema=schema)


@pytest.mark.parametrize(
    ("schema", "path", "what"),
    [
        ({"type": "strin"}, "type", '"strin" is not valid JSON Schema'),
        ({"properties": {"a": {"pattern": "("}}}, "properties.a.pattern", '"(" is not valid JSON Schema'),
        (
            {"$ref": "https://example.com/x"},
            "the schema",
            "a $ref refers to another file, or to a definition that is not there",
        ),
        ({"$ref": "other.json"}, "the schema", "a $ref refers to another file, or to a definition that is not there"),
        ({"$ref": "#/nothing"}, "the schema", "a $ref refers to another file, or to a definition that is not there"),
    ],
)
def test_a_schema_that_is_not_valid(schema: Any, path: str, what: str) -> None:
    [(shown, said, hint)] = schema_errors(schema)
    assert (shown, said.startswith(what)) == (path, True)
    assert hint
    with pytest.raises(ValueError, match=path):
        AnswerValidator(schema, "json_schema")


def test_a_valid_schema_has_no_errors() -> None:
    assert schema_errors(SCHEMA) == []


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


# A first call on a new checkout makes tables of Unicode's characters, which takes seconds.
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from([*SCHEMA["properties"], "other"]), JSON_VALUES, max_size=4))
def test_any_object_gives_a_valid_document_or_an_error(answer: dict[str, Any]) -> None:
    text, error = AnswerValidator(SCHEMA, "json_schema").validate(json.dumps(answer))
    assert (text is None) != (error is None)
    if text is not None:
        again, none = AnswerValidator(SCHEMA, "json_schema").validate(text)
        assert (again, none) == (text, None)


@given(st.text(max_size=60))
def test_any_text_gives_an_error_or_a_document(answer: str) -> None:
    for format in ("json_schema", "json"):
        text, error = AnswerValidator(SCHEMA, format).validate(answer)
        assert (text is None) != (error is None)


@given(st.sampled_from(["billing", "bug"]), st.lists(st.booleans(), min_size=7, max_size=7))
def test_any_spelling_of_an_enum_value_is_set_to_it(value: str, upper: list[bool]) -> None:
    spelled = "".join(c.upper() if flag else c for c, flag in zip(value, upper, strict=False))
    assert document(orjson.dumps({"label": spelled}).decode()) == {"label": value}


def test_importing_the_module_does_not_load_the_validator() -> None:
    code = "import sys, batchpipe.schema.validate; print('jsonschema_rs' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


NUMBERS = {
    "type": "object",
    "properties": {"amount": {"type": "number"}, "count": {"type": "integer"}, "any": {}},
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    "number",
    [
        "123456789012345678.91",
        "0.1234567890123456789",
        "19.99499999999999999999",
        "-123456789012345678901234567890.5",
        "12345678901234567890123",
        "9007199254740993",
        "18446744073709551616",
    ],
)
def test_a_document_has_the_digits_of_the_answer(number: str) -> None:
    output, error = AnswerValidator(NUMBERS, "json_schema").validate(f'{{"any": [{number}, 0.10, "1.10"]}}')
    assert (output, error) == (f'{{"any":[{number},0.1,"1.10"]}}', None)


def test_an_integer_is_exact_or_invalid() -> None:
    validator = AnswerValidator(NUMBERS, "json_schema")
    assert validator.validate('{"count": 9007199254740993.0}') == ('{"count":9007199254740993}', None)
    assert validator.validate('{"count": 1e3}')[1] is None
    for number in ("9007199254740993.1", "5.00000000000000000001", "0.5"):
        output, error = validator.validate(f'{{"count": {number}}}')
        assert output is None
        assert "count" in (error or "")
    output, error = validator.validate('{"amount": 1e400}')
    assert (output, error is None) == (None, False)


def test_a_number_that_would_take_long_to_calculate_with_does_not() -> None:
    validator = AnswerValidator(NUMBERS, "json_schema")
    for number in ("1e-999999999", "0." + "1" * 100_000, "1" * 300):
        output, _ = validator.validate(f'{{"any": 12345678901234567.5, "amount": {number}}}')
        assert output is not None
    assert validator.validate(f'{{"any": {"1" * 5_000}}}')[0] is None


@pytest.mark.parametrize(
    ("free", "read"),
    [
        (r"a\ud83db", "a\ufffdb"),
        (r"\ude00\ud83d\ude00", "\ufffd\U0001f600"),
        ("a\x00\x01\n", "a\x00\x01\n"),
        (r"\\ud83d", r"\ud83d"),
    ],
)
def test_halves_of_surrogate_pairs_and_raw_control_characters_are_read(free: str, read: str) -> None:
    output, error = AnswerValidator(NUMBERS, "json_schema").validate(f'{{"any": "{free}"}}')
    assert (json.loads(output or "null"), error) == ({"any": read}, None)


OPTIONAL = {
    "type": "object",
    "properties": {
        "label": {"type": "string"},
        "note": {"type": "string"},
        "kind": {"enum": ["a", "b"]},
        "open": {"type": ["string", "null"]},
        "inner": {
            "type": "object",
            "properties": {"must": {"type": "string"}, "may": {"type": "integer"}},
            "required": ["must"],
            "additionalProperties": False,
        },
    },
    "required": ["label"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("answer", "document"),
    [
        ({"label": "x", "note": None}, {"label": "x"}),
        ({"label": "x", "note": None, "kind": None, "open": None}, {"label": "x", "open": None}),
        ({"label": "x", "inner": {"must": "y", "may": None}}, {"label": "x", "inner": {"must": "y"}}),
        ({"label": "x", "kind": "A", "note": None}, {"label": "x", "kind": "a"}),
        ({"label": None}, None),
        ({"label": "x", "inner": {"must": None}}, None),
        ({"label": None, "note": None}, None),
        ({"label": "x", "other": None}, None),
    ],
)
def test_null_for_an_optional_field_is_taken_as_absent(answer: dict[str, Any], document: dict[str, Any] | None) -> None:
    output, error = AnswerValidator(OPTIONAL, "json_schema").validate(json.dumps(answer))
    assert (None if output is None else json.loads(output)) == document
    if document is None:
        assert "is missing" not in (error or "")


@pytest.mark.parametrize("format", ["json_schema", "tool", "json"])
@pytest.mark.parametrize(
    "answer",
    [
        '\ufeff{"label":"bug","free":"\u00a0\ufeff"}',
        '\u200b{"label":"bug","free":"\u00a0\ufeff"}\u2060\x00',
        '{\u00a0"label":\u00a0"bug",\n\u00a0"free":\u200b"\u00a0\ufeff"\u2028}\ufeff',
    ],
)
def test_a_character_that_nobody_sees_does_not_make_an_answer_invalid(answer: str, format: Format) -> None:
    assert document(answer, format) == {"label": "bug", "free": "\u00a0\ufeff"}


def test_what_is_wrong_beside_a_character_that_nobody_sees_is_told() -> None:
    assert error_of('\ufeff{"label":"bug",}').startswith("the answer is not JSON: trailing comma")
    assert error_of('\ufeff["bug"]') == 'the answer is ["bug"], not one JSON object'
    begun = time.process_time()
    assert error_of("\ufeff" + '"\\"' * 200_000).startswith("the answer is not JSON")
    assert time.process_time() - begun < 5


@pytest.mark.parametrize("text", ["", " ", "\n\t ", "\x00", "\u200b\ufeff", "\u00a0\u2003"])
def test_a_blank_text_is_no_answer(text: str) -> None:
    schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    validator = AnswerValidator(schema, "text")
    assert validator.validate(text) == (None, "the answer is empty: it has no text")
    assert validator.validate(text + "\ufffd")[1] is None
