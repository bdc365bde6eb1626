"""Tests of the pipeline file: reading it, its mistakes, and writing it back."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from batchpipe.common.errors import PipelineError, UsageError
from batchpipe.pipeline.load import dump, expand_variables, load, parse
from batchpipe.pipeline.model import Pipeline
from batchpipe.pipeline.value_types import EnumQuery

MINIMAL = """
[input]
query = "SELECT 1 AS id"
key = "id"
[prompt]
user_text = "{{ id }}"
[output.fields.label]
type = "string"
[[models]]
model = "small"
max_tokens = 10
"""

WHOLE = """
name = "ticket_triage"
description = "Route support tickets to a queue"
renamed_from = "triage"

[input]
query_file = "pipelines/tickets.sql"
key = ["ticket_id", "revision"]
setup = ["ATTACH '${DSN}' AS crm (READ_ONLY)"]
params = { since = 2026-01-01, limit = 5 }
columns = { ticket_id = "BIGINT", revision = "INTEGER", plan = "VARCHAR", body = "VARCHAR" }

[prompt]
system_text = "You route tickets."
user = "ticket_triage/user.md.j2"
cache = "1h"
vars = { product = "Acme", ratio = 0.5 }
queries = { examples = "SELECT 1" }

[output]
table = "mart.tickets"
format = "tool"
include = ["plan"]
after = ["COPY x TO 'y'"]
[output.fields.label]
type = "string"
enum = { billing = "about money", bug = "" }
[output.fields.source]
type = "string"
enum = { query = "SELECT v FROM t" }
[output.fields.confidence]
type = "number"
minimum = 0
maximum = 1
column = "DECIMAL(3,2)"
[output.fields.people]
type = "array"
maxItems = 3
[output.fields.people.items]
type = "object"
[output.fields.people.items.fields.name]
type = "string"
minLength = 1
optional = true
[output.checks]
no_links = "NOT contains(label, 'http')"

[[models]]
model = "small"
max_tokens = 200
accept = "confidence >= 0.8"
[[models]]
model = "provider:large"
max_tokens = 400
effort = "medium"
temperature = 0.2
thinking = { type = "adaptive" }
when = "length(body) < 400_000"

[chunking]
max_requests = 5
max_bytes = "1.5 MB"
group_by = "plan"

[retry]
max_failed = 0.01

[budget]
max_usd = 500.10
max_usd_per_day = 0.30
max_usd_per_month = 20

[check]
ignore = ["P004"]
"""


def messages(text: str, **options: Any) -> list[tuple[str, str, str]]:
    """Return (where, what, hint) of every mistake."""
    with pytest.raises(PipelineError) as raised:
        parse(text, **({"name": "triage"} | options))
    return [(problem.where, problem.what, problem.hint) for problem in raised.value.problems]


def with_field(field: str) -> str:
    return MINIMAL.replace('type = "string"', field)


def write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_whole_file(tmp_path: Path) -> None:
    write(tmp_path, "pipelines/tickets.sql", "SELECT * FROM tickets;\n")
    file = load(write(tmp_path, "pipelines/t.toml", WHOLE), tmp_path)
    pipeline = file.pipeline
    assert file.query == "SELECT * FROM tickets;\n"
    assert pipeline.input.key == ("ticket_id", "revision")
    assert pipeline.input.params == {"since": datetime.date(2026, 1, 1), "limit": 5}
    assert pipeline.input.setup == ("ATTACH '${DSN}' AS crm (READ_ONLY)",)
    assert pipeline.output.fields["source"].enum == EnumQuery(query="SELECT v FROM t")
    assert pipeline.output.fields["label"].enum == {"billing": "about money", "bug": ""}
    assert pipeline.models[1].settings == {
        "effort": "medium",
        "temperature": 0.2,
        "thinking": {"type": "adaptive"},
    }
    assert pipeline.chunking.max_bytes == 1_500_000
    assert pipeline.chunking.group_by == ("plan",)
    assert pipeline.budget.max_usd == Decimal("500.10")
    assert pipeline.budget.max_usd_per_day == Decimal("0.30")
    assert pipeline.budget.max_usd_per_month == Decimal(20)
    assert pipeline.table == "mart.tickets"
    assert pipeline.input.columns["ticket_id"] == "BIGINT"
    assert pipeline.check.ignore == ("P004",)
    assert parse(dump(pipeline)) == pipeline


def test_defaults_and_the_name_of_the_file(tmp_path: Path) -> None:
    file = load(write(tmp_path, "pipelines/triage.toml", MINIMAL), tmp_path)
    pipeline = file.pipeline
    assert (pipeline.name, pipeline.table, file.query) == ("triage", "triage", "SELECT 1 AS id")
    assert pipeline.input.key == ("id",)
    assert pipeline.output.format == "json_schema"
    assert pipeline.chunking.max_bytes == 32_000_000
    assert (pipeline.retry.attempts, pipeline.retry.transient, pipeline.retry.max_failed) == (3, 5, 0)
    assert pipeline.budget.max_usd is None


def test_places_have_lines(tmp_path: Path) -> None:
    write(tmp_path, "pipelines/tickets.sql", "SELECT 1")
    file = load(write(tmp_path, "pipelines/t.toml", WHOLE), tmp_path)
    lines = WHOLE.splitlines()
    for place, written in (
        ("[input] key", 'key = ["ticket_id", "revision"]'),
        ("[output.fields.label]", "[output.fields.label]"),
        ("[[models]] 2 when", 'when = "length(body) < 400_000"'),
        ("[output.checks] no_links", "no_links = \"NOT contains(label, 'http')\""),
    ):
        assert file.where(place) == f"pipelines/t.toml:{lines.index(written) + 1} {place}"
    assert file.where("[prompt.vars] nothing") == "pipelines/t.toml [prompt.vars] nothing"
    assert file.where() == "pipelines/t.toml"


def test_values_are_frozen() -> None:
    pipeline = parse(MINIMAL, name="triage")
    with pytest.raises(ValueError, match="frozen"):
        pipeline.name = "other"


def test_all_problems_are_reported_at_once_in_the_order_of_lines() -> None:
    text = """
name = "Triage"
[input]
query = "SELECT 1"
quey = "id"
[prompt]
user_text = "x"
cache = "always"
[output.fields.label]
type = "strin"
[[models]]
model = "m"
max_token = 5
[chunking]
max_bytes = "lots"
[pilot]
min_accuracy = 0.9
"""
    assert messages(text) == [
        (
            "pipeline:2 name",
            'cannot be "Triage"',
            'Lower-case letters, digits and _, a letter first. Write name = "triage".',
        ),
        (
            "pipeline:3 [input] key",
            "key is missing",
            "Add key = ... (Column or columns that name a row: stable, unique, not null.)",
        ),
        ("pipeline:5 [input] quey", 'unknown key "quey"', 'Did you mean "query"?'),
        (
            "pipeline:8 [prompt] cache",
            'cannot be "always"',
            'Write "auto", "off", "5m" or "1h". '
            '(Caching of the text that every request begins with: `"auto"` if it saves money, with one request sent '
            'ahead to fill the cache; `"5m"` or `"1h"` always, without such a request; `"off"` never.)',
        ),
        (
            "pipeline:10 [output.fields.label] type",
            '"strin" is not a JSON Schema type',
            'Did you mean "string"?',
        ),
        (
            "pipeline:11 [[models]] 1 max_tokens",
            "max_tokens is missing",
            '"max_token" is there: did you mean "max_tokens"?',
        ),
        (
            "pipeline:15 [chunking] max_bytes",
            'cannot be "lots"',
            'Write a number of bytes above 0, or a size like "32MB". '
            "(Bytes per batch: a number, or a size like `32MB`.)",
        ),
        (
            "pipeline:17 [pilot] min_accuracy",
            "min_accuracy needs [eval], which says what is true",
            "Add [eval] with gold, or with the fields that people review; or remove min_accuracy.",
        ),
    ]


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("a = ", "pipeline:1", "not valid TOML: Invalid value: a ="),
        (
            'a = "x"\n[input\n',
            "pipeline:2",
            "not valid TOML: Expected ']' at the end of a table declaration: [input",
        ),
        ("a = 1\na = 2", "pipeline:2", "not valid TOML: Cannot overwrite a value: a = 2"),
        ("[input]\n[input]", "pipeline:2", "not valid TOML: Cannot declare ('input',) twice: [input]"),
    ],
)
def test_toml_that_cannot_be_read(text: str, where: str, what: str) -> None:
    [(found_where, found, hint)] = messages(text)
    assert (found_where, found) == (where, what)
    assert hint.startswith("It stands twice" if "Cannot" in what else "Write strings in quotes")


def test_a_share_that_no_sample_can_show_is_refused() -> None:
    text = f"{MINIMAL}\n[pilot]\nmin_accuracy = 1\n[eval]\ngold = 'gold.csv'\n"
    [(where, what, _)] = messages(text)
    assert (where, what) == ("pipeline:14 [pilot] min_accuracy", "cannot be 1")


@pytest.mark.parametrize(
    ("old", "new", "where", "what", "hint"),
    [
        (
            "[[models]]",
            "[models]",
            "[models]",
            "[models] is a single table, but the ladder is a list of tables",
            "Write [[models]] with two brackets, once for each rung.",
        ),
        (
            'key = "id"',
            'key = "id"\ncache = "off"',
            "[input] cache",
            'unknown key "cache"',
            "It belongs in [prompt].",
        ),
        (
            'key = "id"',
            'key = "id"\nmax_tokens = 1',
            "[input] max_tokens",
            'unknown key "max_tokens"',
            "It belongs in [[models]].",
        ),
        (
            'key = "id"',
            'key = "id"\nzzz = 1',
            "[input] zzz",
            'unknown key "zzz"',
            "Known keys here: query, query_file, key, setup, params, window, columns, after_pipelines, upstream.",
        ),
        (
            'query = "SELECT 1 AS id"\n',
            "",
            "[input]",
            "there is neither query nor query_file",
            "Add query = ",
        ),
        ('query = "SELECT 1 AS id"', 'query = " "', "[input] query", "query is empty", "Write a value"),
        (
            'key = "id"',
            'key = "id"\nquery_file = "x.sql"',
            "[input] query_file",
            "there is both query and query_file",
            "Keep one of them.",
        ),
        ('key = "id"', "key = []", "[input] key", "the key names no column", "Write key = "),
        ('key = "id"', 'key = ["id", "ID"]', "[input] key", '"ID" is there twice', "Name every column once."),
        (
            'key = "id"',
            'key = "_model"',
            "[input] key",
            '"_model" is a column that batchpipe adds to the output',
            "Give it another name in the input query",
        ),
        ('key = "id"', "key = 5", "[input] key", "cannot be 5", "Write a string or a list of strings."),
        (
            'key = "id"',
            'key = "id"\nparams = { "a b" = 1 }',
            "[input.params] a b",
            '"a b" cannot be a parameter\'s name',
            "Use letters",
        ),
        ("user_text", "system_text", "[prompt]", "there is neither user nor user_text", "Add user = "),
        (
            'user_text = "{{ id }}"',
            'user_text = "x"\nuser = "y"',
            "[prompt] user_text",
            "there is both user and user_text",
            "Keep one of them.",
        ),
        (
            'user_text = "{{ id }}"',
            'user_text = "x"\nsystem = "a"\nsystem_text = "b"',
            "[prompt] system_text",
            "there is both system and system_text",
            "Keep system (a file under prompts/) or system_text.",
        ),
        (
            'user_text = "{{ id }}"',
            'user = "prompts/x.md"',
            "[prompt] user",
            "template paths start below prompts/",
            'Write "x.md".',
        ),
        (
            'user_text = "{{ id }}"',
            'user_text = "x"\nvars = { fields = 1 }',
            "[prompt.vars] fields",
            '"fields" is a name that batchpipe uses itself',
            "Rename it",
        ),
        (
            'user_text = "{{ id }}"',
            'user_text = "x"\nvars = { a = 1 }\nqueries = { a = "SELECT 1" }',
            "[prompt.queries] a",
            '"a" is also in [prompt.vars]',
            "Rename one of them.",
        ),
        (
            '[output.fields.label]\ntype = "string"',
            '[output]\nformat = "json"',
            "[output]",
            "the output has no fields",
            "Add [output.fields.NAME] with a type, or schema_file",
        ),
        (
            "[output.fields.label]",
            '[output]\nschema_file = "x.json"\n[output.fields.label]',
            "[output] schema_file",
            "there is both schema_file and fields",
            "Keep one of them.",
        ),
        (
            "[output.fields.label]",
            '[output]\ntable = "a.b.c"\n[output.fields.label]',
            "[output] table",
            '"a.b.c" cannot be a table\'s name',
            'Write "name" or "schema.name"',
        ),
        (
            "[output.fields.label]",
            '[output]\ntable = "Ledger.x"\n[output.fields.label]',
            "[output] table",
            "batchpipe keeps its own tables in the schema ledger",
            "Choose another schema",
        ),
        *(
            (
                "[output.fields.label]",
                f'[output]\ntable = "{schema}.x"\n[output.fields.label]',
                "[output] table",
                f"DuckDB keeps its own tables in the schema {schema.lower()}",
                "Choose another schema",
            )
            for schema in ("TEMP", "memory", "system", "information_schema", "pg_catalog")
        ),
        (
            "[output.fields.label]",
            '[output]\ninclude = ["ID"]\n[output.fields.label]',
            "[output] include",
            '"ID" is a key column, which the output has anyway',
            "Remove it from include.",
        ),
        (
            "[output.fields.label]",
            '[output]\ninclude = ["Label"]\n[output.fields.label]',
            "[output.fields.label]",
            'the field "label" is also an `include` column',
            "Rename the field",
        ),
        (
            "[output.fields.label]",
            "[output.fields.ID]",
            "[output.fields.ID]",
            'the field "ID" is also a key column',
            "Rename the field",
        ),
        (
            "[output.fields.label]",
            "[output.fields._label]",
            "[output.fields._label]",
            'the field name "_label" begins with _',
            'Write "label"',
        ),
        (
            "[output.fields.label]",
            '[output.fields.Label]\ntype = "string"\n[output.fields.label]',
            "[output.fields.label]",
            'the field "label" differs from "Label" only in case',
            "Rename one of them",
        ),
        (
            "[[models]]",
            '[output.checks]\n"a b" = "true"\n[[models]]',
            "[output.checks] a b",
            '"a b" cannot be a check\'s name',
            "Use letters",
        ),
        (
            "[[models]]",
            '[output.checks]\na = ""\n[[models]]',
            "[output.checks] a",
            "the check is empty",
            "Write a SQL condition",
        ),
        ('model = "small"', 'model = "x:"', "[[models]] 1 model", '"x:" names no model', 'Write "model"'),
        (
            "max_tokens = 10",
            "max_tokens = 0",
            "[[models]] 1 max_tokens",
            "cannot be 0",
            "Write a whole number above 0.",
        ),
        (
            "max_tokens = 10",
            "max_tokens = 1.5",
            "[[models]] 1 max_tokens",
            "cannot be 1.5",
            "Write a whole number",
        ),
        (
            "max_tokens = 10",
            'max_tokens = 1\naccept = ""',
            "[[models]] 1 accept",
            "accept is empty",
            "Write a value",
        ),
        (
            "[[models]]",
            '[[models]]\nmodel = "local"\naccept = "true"\naudit = 0\n[[models]]',
            "[[models]] 1 audit",
            "cannot be 0",
            "Write a number above 0, up to 1.",
        ),
        (
            "[[models]]",
            '[[models]]\nmodel = "local"\naccept = "true"\ntarget = 1\n[[models]]',
            "[[models]] 1 target",
            "cannot be 1",
            "Write a number above 0 and below 1.",
        ),
        (
            "[[models]]",
            "[retry]\nmax_failed = 2\n[[models]]",
            "[retry] max_failed",
            "cannot be 2",
            "Write a number from 0 to 1.",
        ),
        (
            "[[models]]",
            "[budget]\nmax_usd = -1.5\n[[models]]",
            "[budget] max_usd",
            'cannot be "-1.5"',
            "Write a number from 0 up.",
        ),
        (
            "[[models]]",
            "[chunking]\nmax_bytes = 0\n[[models]]",
            "[chunking] max_bytes",
            "cannot be 0",
            "Write a number of bytes above 0",
        ),
        (
            "[[models]]",
            "[chunking]\nmax_in_flight = true\n[[models]]",
            "[chunking] max_in_flight",
            "cannot be true",
            "Write a whole number above 0.",
        ),
        (
            "[input]",
            'renamed_from = "triage"\n[input]',
            "renamed_from",
            "is the pipeline's own name",
            "older name",
        ),
    ],
)
def test_rules_across_keys(old: str, new: str, where: str, what: str, hint: str) -> None:
    assert old in MINIMAL
    text = MINIMAL.replace(old, new)
    [(found_where, found, found_hint)] = messages(text)
    assert found_where.split(" ", 1)[1] == where
    assert found.endswith(what)
    assert hint in found_hint


@pytest.mark.parametrize(
    ("field", "key", "what"),
    [
        ('description = "x"', "", "the field has no type"),
        ("type = []", " type", "the list of types is empty"),
        ('type = "object"', "", "an object needs `fields`"),
        ('type = "array"', "", "an array needs `items`"),
        (
            'type = "string"\nfields = { a = { type = "string" } }',
            ".fields]",
            "`fields` belongs to an object, and the type is string",
        ),
        (
            'type = "object"\nitems = { type = "string" }\nfields = { a = { type = "string" } }',
            ".items]",
            "`items` belongs to an array",
        ),
        ('type = "string"\nenum = []', " enum", "the enum has no values"),
        ('type = "string"\nenum = {}', ".enum]", "the enum has no values"),
        ('type = "string"\nenum = ["a", "a"]', " enum", "the enum lists a value twice"),
        ('type = "string"\nenum = ["a", 1]', " enum", "1 is not of type string"),
        ('type = "integer"\nenum = { a = "b" }', ".enum]", "only strings can be given with their meanings"),
        ('type = "integer"\nconst = "a"', " const", '"a" is not of type integer'),
        ('enum = ["a"]\nconst = "a"', " const", "a field can have `enum` or `const`, not both"),
        ('type = "string"\nminimum = 1', " minimum", "`minimum` does not apply to a value of type string"),
        (
            'type = "integer"\nmaxLength = 1',
            " maxLength",
            "`maxLength` does not apply to a value of type integer",
        ),
        (
            'type = "number"\nminimum = 2\nmaximum = 1',
            " minimum",
            "minimum = 2 is more than maximum = 1: no value is valid",
        ),
        ('type = "number"\nminimum = nan', " minimum", "nan is not a number that can be used"),
        ('type = "string"\nminLength = -1', " minLength", "-1 is not a count"),
        ('type = "string"\nmin_length = 1', " min_length", 'unknown key "min_length"'),
        ('type = "string"\ncolumn = "TEXT; DROP TABLE x"', " column", "';' is not part of a type"),
        ('type = "string"\noptional = "yes"', " optional", 'cannot be "yes"'),
        (
            'type = "array"\nitems = { type = "string", optional = true }',
            ".items] optional",
            "an item cannot be optional",
        ),
        ('type = "array"\nitems = { type = "objec" }', ".items] type", '"objec" is not a JSON Schema type'),
        ('type = "string"\nenum = 5', " enum", "cannot be 5"),
    ],
)
def test_rules_of_a_field(field: str, key: str, what: str) -> None:
    [(where, found, hint)] = messages(with_field(field))
    place = "[output.fields.label" + (key if key.startswith(".") else f"]{key}")
    assert where.split(" ", 1)[1] == place
    assert found.endswith(what) or found.startswith(what)
    assert hint


def test_text_has_one_string_field() -> None:
    text = MINIMAL.replace('[output.fields.label]\ntype = "string"', '[output]\nformat = "text"')
    fields = parse(text, name="triage").output.fields
    assert list(fields) == ["text"]
    assert fields["text"].type == "string"
    named = text.replace('format = "text"', 'format = "text"\nfields = { reply = { type = "string", maxLength = 9 } }')
    assert list(parse(named, name="triage").output.fields) == ["reply"]


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        (
            'fields = { a = { type = "string" }, b = { type = "string" } }',
            'format = "text" has one field, not 2',
        ),
        ('fields = { a = { type = "integer" } }', 'the field of format = "text" is a string'),
        (
            'fields = { a = { type = "string", optional = true } }',
            'the field of format = "text" is always there',
        ),
        ('schema_file = "x.json"', 'format = "text" has one string field and no schema'),
    ],
)
def test_what_text_cannot_have(keys: str, what: str) -> None:
    text = MINIMAL.replace('[output.fields.label]\ntype = "string"', f'[output]\nformat = "text"\n{keys}')
    assert what in [found for _, found, _ in messages(text)]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ('"32MB"', 32_000_000),
        ('"1 GB"', 10**9),
        ('"16 MiB"', 2**24),
        ('"10k"', 10_000),
        ('"500"', 500),
        ("7", 7),
    ],
)
def test_sizes(size: str, expected: int) -> None:
    text = f"{MINIMAL}\n[chunking]\nmax_bytes = {size}\n"
    assert parse(text, name="triage").chunking.max_bytes == expected


def test_files_that_the_pipeline_names(tmp_path: Path) -> None:
    text = MINIMAL.replace('query = "SELECT 1 AS id"', 'query_file = "q.sql"').replace(
        '[output.fields.label]\ntype = "string"', '[output]\nschema_file = "s.json"'
    )
    path = write(tmp_path, "pipelines/triage.toml", text)

    def found() -> list[str]:
        with pytest.raises(PipelineError) as raised:
            load(path, tmp_path)
        return [problem.what for problem in raised.value.problems]

    assert found() == ["q.sql: No such file or directory", "s.json: No such file or directory"]
    write(tmp_path, "q.sql", "SELECT 1 AS id")
    write(tmp_path, "s.json", "{")
    assert found()[0].startswith("s.json is not JSON: ")
    write(tmp_path, "s.json", "[]")
    assert found() == ["s.json describes no object with properties"]
    write(tmp_path, "s.json", json.dumps({"properties": {"ID": {}, "_x": {}, "a": {}, "A": {}}}))
    assert found() == [
        's.json: the field "ID" is also a key column',
        's.json: the field name "_x" begins with _',
        's.json: the field "A" differs from "a" only in case',
    ]
    write(tmp_path, "s.json", json.dumps({"type": "object", "properties": {"a": {}}}))
    assert load(path, tmp_path).schema_content == {"type": "object", "properties": {"a": {}}}


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="the file cannot be read: No such file"):
        load(tmp_path / "pipelines" / "x.toml", tmp_path)
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(PipelineError, match="the file is not UTF-8 text"):
        load(path, tmp_path)


def test_variables_are_replaced_at_the_moment_of_use() -> None:
    assert expand_variables("a ${X} ${X}${Y_2} $X", {"X": "1", "Y_2": "2"}, "here") == "a 1 12 $X"
    assert expand_variables("${X}", {"X": "${Y}"}, "here") == "${Y}"
    with pytest.raises(UsageError) as raised:
        expand_variables("${SECRET}", {}, "x.toml [input] setup")
    assert raised.value.what == "the environment variable SECRET is not set"
    assert raised.value.where == "x.toml [input] setup"
    with pytest.raises(UsageError, match="not the name of a variable"):
        expand_variables("${A B}", {"A B": "x"}, "here")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
FULL = TEXT.filter(lambda text: text.strip() != "")
IDENTIFIERS = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True)
NUMBERS = st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.booleans() | NUMBERS | TEXT | st.dates()
CONSTANTS = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))


def _described(fields: dict[str, Any], described: str | None, optional: bool | None) -> dict[str, Any]:
    extra = {"description": described, "optional": optional}
    return fields | {key: value for key, value in extra.items() if value is not None}


LEAVES = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("string")},
        optional={
            "enum": st.lists(TEXT, min_size=1, max_size=3, unique=True)
            | st.dictionaries(TEXT, TEXT, min_size=1, max_size=3)
            | st.fixed_dictionaries({"query": FULL}),
            "format": st.sampled_from(["date", "uuid", "email"]),
            "maxLength": st.integers(0, 99),
            "pattern": TEXT,
            "column": st.sampled_from(["DATE", "DECIMAL(12,2)", "INTEGER[]"]),
        },
    ),
    st.fixed_dictionaries({"type": st.just("number")}, optional={"minimum": NUMBERS, "multipleOf": NUMBERS}),
    st.fixed_dictionaries({"type": st.just(["integer", "null"])}, optional={"exclusiveMaximum": NUMBERS}),
    st.fixed_dictionaries({"const": st.booleans() | TEXT}),
)
FIELDS = st.recursive(
    st.builds(_described, LEAVES, st.none() | TEXT, st.none()),
    lambda inner: (
        st.fixed_dictionaries(
            {"type": st.just("object"), "fields": st.dictionaries(FULL, inner, min_size=1, max_size=3)}
        )
        | st.fixed_dictionaries({"type": st.just("array"), "items": inner}, optional={"uniqueItems": st.booleans()})
    ),
    max_leaves=4,
)
DOLLARS = st.decimals(0, 10**6, places=4)
PIPELINES = st.fixed_dictionaries(
    {
        "name": IDENTIFIERS,
        "input": st.fixed_dictionaries(
            {"query": FULL, "key": st.just("key column") | st.just(["k1", "k2"])},
            optional={"setup": st.lists(FULL, max_size=2), "params": st.dictionaries(IDENTIFIERS, PLAIN)},
        ),
        "prompt": st.fixed_dictionaries(
            {"user_text": FULL},
            optional={
                "system_text": FULL,
                "cache": st.sampled_from(["auto", "off", "5m", "1h"]),
                "vars": st.dictionaries(IDENTIFIERS.map(lambda name: f"v_{name}"), CONSTANTS, max_size=3),
                "queries": st.dictionaries(IDENTIFIERS.map(lambda name: f"q_{name}"), FULL, max_size=2),
            },
        ),
        "output": st.fixed_dictionaries(
            {"fields": st.dictionaries(IDENTIFIERS.map(lambda name: f"f_{name}"), FIELDS, min_size=1, max_size=3)},
            optional={
                "table": st.just("mart.x"),
                "format": st.sampled_from(["json_schema", "tool", "json"]),
                "checks": st.dictionaries(IDENTIFIERS, FULL, max_size=2),
            },
        ),
        "models": st.lists(
            st.fixed_dictionaries(
                {"model": st.just("p:m"), "max_tokens": st.integers(1, 10**6)},
                optional={
                    "accept": FULL,
                    "effort": TEXT,
                    "thinking": st.dictionaries(TEXT, CONSTANTS, max_size=2),
                },
            ),
            min_size=1,
            max_size=3,
        ),
    },
    optional={
        "description": TEXT,
        "budget": st.fixed_dictionaries({}, optional={"max_usd": DOLLARS, "max_usd_per_day": DOLLARS}),
        "retry": st.fixed_dictionaries({}, optional={"max_failed": st.floats(0, 1)}),
    },
)


@settings(max_examples=80, deadline=None)
@given(PIPELINES)
def test_what_is_written_is_read_again(data: dict[str, Any]) -> None:
    pipeline: Pipeline = parse(tomli_w.dumps(data))
    again = parse(dump(pipeline))
    assert again == pipeline
    assert dump(again) == dump(pipeline)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from([*Pipeline.model_fields, "pilot", "x"]), CONSTANTS))
def test_no_toml_is_more_than_a_pipeline_error(data: dict[str, Any]) -> None:
    with pytest.raises(PipelineError):
        parse(tomli_w.dumps(data))
