"""A new recipe for keys, hashes and fingerprints makes no row due: what an older one recorded is compared under it."""

from __future__ import annotations

import pytest
from commandline import CommandLine
from helpers.gold import report
from projects import Project

from batchpipe.decide.fingerprint import RECIPES
from batchpipe.engine.source.snapshot import input_column, input_hash_sql

COLUMNS = {
    "amount": "DECIMAL(10, 2)",
    "share": "DOUBLE",
    "weight": "FLOAT",
    "tags": "VARCHAR[]",
    "place": "STRUCT(city VARCHAR, floor INTEGER)",
    "at": "TIMESTAMP WITH TIME ZONE",
}
VALUES = {
    "amount": "n::DECIMAL(10, 2)",
    "share": "n + 0.1",
    "weight": "(n / 10)::FLOAT",
    "tags": "['a' || n, NULL, 'b']",
    "place": "{'city': 'x' || n, 'floor': n::INTEGER}",
    "at": "TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_days(n::INTEGER)",
}
PIPELINE = """
[input]
query = "{query}"
key = "{key}"

[prompt]
user_text = "{prompt}"

[output.fields.label]
type = "string"
enum = ["billing", "bug", "other"]

[[models]]
model = "claude-haiku-4-5"
max_tokens = 200
"""


SECOND = RECIPES[2]


def first_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on there is only the first recipe, as there was when rows of it were answered."""
    monkeypatch.delitem(RECIPES, 2)


def second_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the second recipe is there too, and the newest."""
    monkeypatch.setitem(RECIPES, 2, SECOND)


def query(rows: int = 5, edited: int | None = None, types: dict[str, str] | None = None) -> str:
    """SELECT of `rows` rows with every type; the values of row `edited` are other ones."""
    n = f"(CASE WHEN n = {edited} THEN n + 100 ELSE n END)" if edited is not None else "n"
    columns = COLUMNS | (types or {})
    values = [f"({value})::{columns[name]} AS {name}" for name, value in VALUES.items()]
    return f"SELECT id, {', '.join(values)} FROM (SELECT n AS id, {n} AS n FROM range(0, {rows}) t(n))"


PROMPT = " ".join(f"{{{{ {name} }}}}" for name in COLUMNS)


def write(
    project: Project,
    *,
    key: str = "id",
    prompt: str = PROMPT,
    rows: int = 5,
    edited: int | None = None,
    types: dict[str, str] | None = None,
) -> None:
    project.pipeline(PIPELINE.format(query=query(rows, edited, types), key=key, prompt=prompt))


@pytest.fixture
def typed(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    line = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    line.provide(project)
    return line


@pytest.fixture
def answered(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Five rows that were answered under recipe 1; the second one is there now."""
    first_recipe(monkeypatch)
    write(project)
    assert project.run().submitted == 5
    second_recipe(monkeypatch)
    return project


def test_nothing_is_due_and_one_edited_row_is(answered: Project) -> None:
    plan = answered.preview()
    assert (plan.plan.due, plan.plan.rows_by_reason["unchanged"], plan.version) == (0, 5, "v1")
    assert answered.run().submitted == 0
    write(answered, edited=3)
    assert (answered.plan().due, answered.plan().rows_by_reason["input_changed"]) == (1, 1)
    assert answered.run().submitted == 1
    assert answered.sql("SELECT DISTINCT version, recipe FROM ledger.prompt_versions") == [("v1", 1)]


def test_new_rows_go_on_under_the_recorded_version(answered: Project) -> None:
    write(answered, rows=7)
    assert answered.plan().rows_by_reason["new"] == 2
    assert answered.run().submitted == 2
    assert answered.plan().rows_by_reason["unchanged"] == 7


def test_an_edit_carries_over_what_asks_the_same(answered: Project) -> None:
    """The new version goes by the new recipe, and finds the answers by the prints of the old one."""
    write(answered, prompt=PROMPT + "{% if amount > 2 %}!{% endif %}")
    plan = answered.plan()
    assert (plan.rows_by_reason["carried_over"], plan.rows_by_reason["prompt_changed"]) == (3, 2)
    [tried] = answered.attempt(keys=['["1"]'])
    assert (tried.known, "T00:00:00+00:00" in tried.user) == (True, True)
    assert answered.run().submitted == 2
    versions = answered.sql("SELECT version, recipe FROM ledger.prompt_versions ORDER BY version")
    assert versions == [("v1", 1), ("v2", 2)]
    assert answered.plan().rows_by_reason["unchanged"] == 5
    write(answered)
    assert answered.plan().due == 0


def test_a_template_that_the_old_recipe_could_not_render_is_no_error(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A HUGEINT was text then, and compares with numbers now."""
    first_recipe(monkeypatch)
    rows = "SELECT n AS id, n::HUGEINT AS big FROM range(0, 3) t(n)"
    project.pipeline(PIPELINE.format(query=rows, key="id", prompt="{{ big }}"))
    assert project.run().submitted == 3
    second_recipe(monkeypatch)
    project.pipeline(PIPELINE.format(query=rows, key="id", prompt="{{ big }}{% if big > 1 %}!{% endif %}"))
    plan = project.plan()
    assert (plan.rows_by_reason["carried_over"], plan.rows_by_reason["prompt_changed"]) == (2, 1)


def test_a_changed_type_is_no_changed_value(answered: Project) -> None:
    """`DECIMAL 3.00` was recorded; as DOUBLE it is `3.0`, which the recorded type writes as before."""
    types = {"amount": "DOUBLE", "weight": "DOUBLE"}
    write(answered, types=types)
    plan = answered.plan()
    assert plan.rows_by_reason["input_changed"] == 0
    write(answered, types=types, edited=2)
    assert answered.plan().rows_by_reason["input_changed"] == 1


def test_recipes_that_agree_hash_nothing_twice() -> None:
    for kind in ("VARCHAR", "BIGINT", "DATE", "BOOLEAN", "INTEGER"):
        column = input_column("a", kind)
        assert input_hash_sql([column], 1) == input_hash_sql([column], 2)


def test_a_request_in_flight_and_an_answer_of_try_are_found(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    first_recipe(monkeypatch)
    write(project, rows=6)
    tried = project.attempt(rows=2)
    assert len(tried) == 2
    second_recipe(monkeypatch)
    plan = project.plan()
    assert (plan.rows_by_reason["carried_over"], plan.rows_by_reason["new"]) == (2, 4)
    again = project.attempt(rows=2)
    assert all(each.known for each in again)


@pytest.mark.parametrize("key", ["amount", "share", "weight", "tags", "place", "at"])
def test_a_key_of_any_type_stays_the_same_key(project: Project, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    first_recipe(monkeypatch)
    write(project, key=key, prompt="{{ id }}")
    assert project.run().submitted == 5
    stored = set(project.sql("SELECT key, key_id FROM ledger.requests"))
    second_recipe(monkeypatch)
    assert project.plan().rows_by_reason["unchanged"] == 5
    write(project, key=key, prompt="{{ id }}!", rows=6)
    assert project.plan().rows_by_reason["new"] == 1
    assert project.run().submitted == 6
    assert stored < set(project.sql("SELECT key, key_id FROM ledger.requests"))
    assert project.plan().rows_by_reason["unchanged"] == 6
    assert project.run().submitted == 0
    assert project.sql("SELECT count(*) FROM demo WHERE _current") == [(6,)]


def test_a_key_whose_type_changes_stays_the_same_key(project: Project) -> None:
    """One `5.5` among whole numbers makes the column another type, and no other row new."""
    rows = "SELECT n{cast} AS id, n AS text FROM (SELECT unnest({numbers}) AS n)"
    given = PIPELINE.replace("{prompt}", "{{{{ text }}}}").replace("{key}", "id")
    project.pipeline(given.format(query=rows.format(cast="::BIGINT", numbers="[1, 2, 3]")))
    assert project.run().submitted == 3
    whole = rows.replace("n AS text", "round(n)::BIGINT AS text")
    project.pipeline(given.format(query=whole.format(cast="::DOUBLE", numbers="[1, 2, 3, 5.5]")))
    plan = project.plan()
    assert (plan.rows_by_reason["unchanged"], plan.rows_by_reason["new"], plan.removed) == (3, 1, 0)
    assert project.run().submitted == 1
    assert project.sql("SELECT key FROM ledger.requests ORDER BY key") == [
        ('["1"]',),
        ('["2"]',),
        ('["3"]',),
        ('["5.5"]',),
    ]
    assert project.sql("SELECT id, _current FROM demo ORDER BY id") == [(1, True), (2, True), (3, True), (5.5, True)]
    assert project.plan().due == 0


def test_a_request_in_flight_under_the_old_recipe_answers_a_row_that_asks_the_same(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prompt is edited while the requests are in flight; rows of other keys ask what was asked before the edit."""
    first_recipe(monkeypatch)
    project.faults({"delay_seconds": 1e9})
    write(project)
    (outcome,) = project.outcomes(wait_seconds=0.2)
    assert outcome.result.submitted == 5
    second_recipe(monkeypatch)
    more = query().replace("SELECT id,", "SELECT id + 100 * extra AS id,") + ", range(2) e(extra)"
    project.pipeline(PIPELINE.format(query=more, key="id", prompt=PROMPT + "{% if amount > 99 %}!{% endif %}"))
    plan = project.plan()
    assert (plan.rows_by_reason["pending"], plan.due, plan.requests, plan.followers) == (5, 5, 0, 5)


def test_an_evaluation_finds_the_answers_of_the_old_recipe(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both by the pipeline's rows and by its own; an edit that no row sees asks nobody again either."""
    first_recipe(monkeypatch)
    gold = "\n[eval]\ngold = \"SELECT id::VARCHAR AS id, 'bug' AS label FROM range(0, 7) t(id)\"\n"
    text = PIPELINE.format(query=query(7), key="id", prompt=PROMPT) + gold
    project.pipeline(PIPELINE.format(query=query(4), key="id", prompt=PROMPT) + gold)
    assert project.run().submitted == 4
    project.pipeline(text)
    assert report(project)["gold"] == 7
    assert project.requests_sent() == 7
    second_recipe(monkeypatch)
    assert report(project)["gold"] == 7
    project.pipeline(text.replace('{{ at }}"', '{{ at }}{% if amount > 99 %}!{% endif %}"'))
    assert report(project)["gold"] == 7
    assert project.requests_sent() == 7


def test_plan_names_a_changed_type_and_what_it_costs(typed: CommandLine, project: Project) -> None:
    rows = "SELECT n AS id, {value} AS code FROM (VALUES (1, '10'), (2, '007'), (3, '30')) t(n, code)"
    given = PIPELINE.replace("{prompt}", "{{{{ code }}}}").replace("{key}", "id")
    project.pipeline(given.format(query=rows.format(value="code")))
    assert project.run().submitted == 3
    project.pipeline(given.format(query=rows.format(value="code::BIGINT")))
    plan = typed("plan", "demo", "--json").value
    [change] = plan["type_changes"]
    assert change == {
        "column": "code",
        "before": "VARCHAR",
        "now": "BIGINT",
        "due": 1,  # 007 is 7 now
        "cost_usd": plan["estimate"]["cost_usd"],
    }
    assert "code is BIGINT now and was VARCHAR: 1 row with another value" in typed("plan", "demo").out
    assert project.run().submitted == 1
    project.pipeline(given.format(query=rows.format(value="code::DOUBLE")))
    assert "code is DOUBLE now and was BIGINT: no row is due for it" in typed("plan", "demo").out
    assert project.run().submitted == 0
    assert "type_changes" not in typed("plan", "demo", "--json").value


def test_keys_that_the_keys_type_cannot_hold(typed: CommandLine, project: Project) -> None:
    """A text key becomes a whole number: `A1` and `007` are no such key; their answers stay, and that is said."""
    rows = "SELECT {key} AS id, 'text ' || id AS text FROM (SELECT unnest([{keys}]) AS id)"
    given = PIPELINE.replace("{prompt}", "{{{{ text }}}}").replace("{key}", "id")
    project.pipeline(given.format(query=rows.format(key="id", keys="'1', '2', '3', 'A1', '007'")))
    assert project.run().submitted == 5
    project.pipeline(given.format(query=rows.format(key="id::BIGINT", keys="'1', '2', '3'")))
    said = 'id is BIGINT now, and 2 answered keys do not fit it, such as ["007"]: the output table leaves them out'
    assert said in typed("plan", "demo").out
    assert project.run().submitted == 0
    assert any(said in each for each in project.said)
    assert project.sql("SELECT id, _current FROM demo ORDER BY id") == [(1, True), (2, True), (3, True)]
    shown = typed("show", "demo", "3.0", "--json")
    assert (shown.code, shown.value["key"], shown.value["state"]) == (0, ["3"], "accepted")
    assert typed("show", "demo", "A1", "--json").value["state"] == "accepted"
    project.pipeline(given.format(query=rows.format(key="id::DECIMAL(9,1)", keys="'1', '2', '3', '5.5'")))
    assert project.run().submitted == 1
    project.pipeline(given.format(query=rows.format(key="id::BIGINT", keys="'1', '2', '3'")))
    assert project.run().submitted == 0  # and 5.5 does not become 6
    assert project.sql("SELECT id FROM demo ORDER BY id") == [(1,), (2,), (3,)]
    [tried] = project.attempt(keys=['["2.00"]'])
    assert (tried.key, tried.known) == (["2"], True)
