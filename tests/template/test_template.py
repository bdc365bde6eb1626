"""Tests of templates: the mistakes found before a row is rendered, and the rendered text."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from batchpipe.common.errors import PipelineError, TemplateError
from batchpipe.pipeline.model import Prompt
from batchpipe.template import Templates, compile_templates

COLUMNS = ("ticket_id", "subject", "body", "plan", "items", "odd name", "_hidden")
VARS = {"product": "Acme", "limits": {"words": 50}}
QUERIES = {"examples": [{"subject": "s1", "label": "bug"}, {"subject": "s2", "label": "billing"}]}
FIELDS = {"label": {"enum": ["bug", "billing"], "description": "The queue"}, "items": {"type": "array"}}
ROW = {
    "ticket_id": 7,
    "subject": "Hello",
    "body": "The body",
    "plan": None,
    "items": [1, 2],
    "odd name": "odd",
    "_hidden": "h",
}


def compiled(
    root: Path, user: str = "{{ subject }}", *, files: Mapping[str, str] | None = None, **options: Any
) -> Templates:
    for name, text in (files or {}).items():
        path = root / "prompts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
    prompt = options.pop("prompt", None) or {"user_text": user}
    settings = {"columns": COLUMNS, "vars": VARS, "queries": QUERIES, "fields": FIELDS, **options}
    return compile_templates(Prompt(**prompt), root=root, where=lambda toml_path: f"p.toml {toml_path}", **settings)


def rendered(root: Path, user: str, **options: Any) -> str:
    return compiled(root, user, **options).render(ROW).user


def problems(root: Path, user: str = "x", **options: Any) -> list[tuple[str, str, str]]:
    with pytest.raises(PipelineError) as caught:
        compiled(root, user, **options)
    return [(each.where, each.what, each.hint) for each in caught.value.problems]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ subject }}: {{ body }}", "Hello: The body"),
        ("{{ product }} {{ limits.words }}", "Acme 50"),
        ("[{{ plan }}]", "[]"),
        ("{{ row.subject }}{{ row['odd name'] }}{{ row._hidden }}", "Helloodd" + "h"),
        ("{{ row.items }} {{ items }}", "[1, 2] [1, 2]"),
        ("{% for e in examples %}{{ loop.index }}{{ e.label }} {% endfor %}", "1bug 2billing "),
        ("{{ fields.label.enum | join(', ') }}", "bug, billing"),
        ("{{ fields.items.type }}", "array"),
        ("{{ '<b>' }}", "<b>"),
        ("one\n", "one"),
        ("one\n\n", "one\n"),
        ("{% if subject %}\nyes\n{% endif %}\n", "\nyes\n"),
        ("a\r\nb", "a\nb"),
        ("{{ plan or 'none' }}", "none"),
        ("{% set n = namespace(x=0) %}{% for i in items %}{% set n.x = n.x + i %}{% endfor %}{{ n.x }}", "3"),
        ("{% macro m(a, b=product) %}{{ a }}{{ b }}{{ varargs }}{% endmacro %}{{ m(plan) }}", "Acme()"),
        ("{% macro m() %}<{{ caller(1) }}>{% endmacro %}{% call(x) m() %}{{ x }}{% endcall %}", "<1>"),
        ("{% with a = subject %}{{ a }}{% endwith %}", "Hello"),
        ("{% set x %}{{ body }}{% endset %}{{ x }}", "The body"),
        ("{% filter upper %}{{ subject }}{% endfilter %}", "HELLO"),
        ("{% if subject %}{% set late = 1 %}{% endif %}{{ late }}", "1"),
        ("{% for a, b in {'k': 1}.items() %}{{ a }}{{ b }}{% endfor %}", "k1"),
        ("{% for i in items if i > 1 %}{{ i }}{% else %}{{ plan }}{% endfor %}", "2"),
        ("{{ range(3) | list }}", "[0, 1, 2]"),
        ("{{ row.get('subject') }}", "Hello"),
        ("{{ row | length }}", "7"),
    ],
)  # fmt: skip
def test_a_row_renders(tmp_path: Path, template: str, text: str) -> None:
    assert rendered(tmp_path, template) == text


@pytest.mark.parametrize(
    ("template", "columns"),
    [
        ("{{ subject }}", {"subject"}),
        ("{% if plan %}{{ body }}{% endif %}", {"plan", "body"}),
        ("{{ row['odd name'] }}{{ row.plan }}", {"odd name", "plan"}),
        ("{% for subject in examples %}{{ subject.label }}{% endfor %}", set()),
        ("{% for e in examples %}{{ e.subject }}{% endfor %}{{ body }}", {"body"}),
        ("{% set subject = body %}{{ subject }}", {"body"}),
        ("{% macro m(subject) %}{{ subject }}{{ plan }}{% endmacro %}{{ m(body) }}", {"plan", "body"}),
        ("{% for row in examples %}{{ row['label'] }}{% endfor %}", set()),
        ("{{ row[product] }}", set(COLUMNS)),
        ("{% for k in row %}{{ k }}{% endfor %}", set(COLUMNS)),
        ("{{ row.items() }}", {"items"}),
        ("{{ row.keys() | list }}", set(COLUMNS)),
        ("{{ subject if plan else body }}", {"subject", "plan", "body"}),
    ],
)
def test_the_columns_used_are_known_without_rendering(tmp_path: Path, template: str, columns: set[str]) -> None:
    assert compiled(tmp_path, template).columns == columns


def test_columns_vars_and_sources_of_included_templates_count(tmp_path: Path) -> None:
    files = {
        "a/user.j2": "{% extends 'base.j2' %}{% block main %}{% include 'part.j2' %}{{ super() }}{% endblock %}",
        "base.j2": "{% block main %}{{ subject }}{% endblock %}",
        "part.j2": "{% import 'lib.j2' as lib %}{{ lib.greet(body) }}",
        "lib.j2": "{% macro greet(x) %}{{ product }} {{ x }}{% endmacro %}",
        "unused.j2": "{{ nonsense }}",
    }
    found = compiled(tmp_path, files=files, prompt={"user": "a/user.j2"})
    assert found.columns == {"subject", "body"}
    assert found.names_used == {"product"}
    assert [name for name, _ in found.sources] == ["a/user.j2", "base.j2", "lib.j2", "part.j2"]
    assert found.render(ROW).user == "Acme The bodyHello"


def test_included_templates_see_the_names_of_the_including_one(tmp_path: Path) -> None:
    files = {"item.j2": "{{ e.label }}{{ heading }}", "numbered.j2": "{{ loop.index }}{{ e.label }}"}
    template = "{% set heading = '!' %}{% for e in examples %}{% include 'item.j2' %}{% endfor %}"
    assert rendered(tmp_path, template, files=files) == "bug!billing!"
    looping = "{% for e in examples %}{{ loop.last }}{% include 'numbered.j2' %}{% endfor %}"
    assert rendered(tmp_path, looping) == "false1bugtrue2billing"
    ((where, what, _),) = problems(tmp_path, looping.replace("{{ loop.last }}", ""))
    assert (where, what) == ("prompts/numbered.j2:1", "there is no input column, var or query `loop`")


def test_a_template_imported_without_context_does_not_see_the_row(tmp_path: Path) -> None:
    files = {"lib.j2": "{% macro m() %}\n{{ subject }}{% endmacro %}"}
    ((where, what, hint),) = problems(tmp_path, "{% from 'lib.j2' import m %}{{ m() }}", files=files)
    assert where == "prompts/lib.j2:2"
    assert "`subject` belongs to the row" in what
    assert "with context" in hint
    assert rendered(tmp_path, "{% from 'lib.j2' import m with context %}{{ m() }}", files=files) == "\nHello"


def test_a_dynamic_include_counts_all_columns_and_all_files(tmp_path: Path) -> None:
    files = {"bug.j2": "B {{ body }}", "billing.j2": "M", "x/other.j2": "O"}
    found = compiled(tmp_path, "{% include subject ~ '.j2' %}", files=files)
    assert found.columns == set(COLUMNS)
    assert found.names_used == {"product", "limits", "examples"}
    assert {name for name, _ in found.sources} == {"<user_text>", *files}
    assert found.render({**ROW, "subject": "bug"}).user == "B The body"
    with pytest.raises(TemplateError, match=r"Hello\.j2") as caught:
        found.render(ROW)
    assert caught.value.where == "p.toml [prompt] user_text line 1"


def test_includes_of_lists_and_conditions_are_followed(tmp_path: Path) -> None:
    files = {"b.j2": "{{ body }}", "c.j2": "{{ plan }}"}
    template = "{% include ['a.j2', 'b.j2'] %}{% include 'b.j2' if subject else 'c.j2' %}"
    template += "{% include 'z.j2' ignore missing %}"
    found = compiled(tmp_path, template, files=files)
    assert found.columns == {"subject", "body", "plan"}
    assert found.render(ROW).user == "The bodyThe body"


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    files = {
        "broken.j2": "line\n{% if %}",
        "part.md.j2": "x",
        "user.j2": "{{ subjct }}\n{{ produkt | uper }}\n{% include 'prt.md.j2' %}\n{{ row.bdy }}"
        "{{ fields.lable }}{{ x is devined }}{{ now() }}{{ items | random }}{% include 'broken.j2' %}",
    }
    found = problems(tmp_path, files=files, prompt={"user": "user.j2", "system": "sytem.j2"})
    assert {(where, hint) for where, _, hint in found} >= {
        ("prompts/user.j2:1", "Did you mean `subject`?"),
        ("prompts/user.j2:2", "Did you mean `product`?"),
        ("prompts/user.j2:2", "Did you mean `upper`?"),
        ("prompts/user.j2:3", "Did you mean `part.md.j2`?"),
        ("prompts/user.j2:4", "Did you mean `body`?"),
        ("prompts/user.j2:4", "Did you mean `label`?"),
        ("prompts/user.j2:4", "Did you mean `defined`?"),
        ("prompts/broken.j2:2", "Write a value there: {% if x %}, {% include 'x.md.j2' %}, {{ x }}."),
    }
    whats = " ".join(what for _, what, _ in found)
    assert "`now` would have another value each time" in whats
    assert "the filter `random` returns another result each time" in whats
    assert "there is no template prompts/sytem.j2" in whats


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{% for e in examples %}{% endfor %}{{ e }}", "e"),
        ("{% for e in examples %}{% set seen = 1 %}{% endfor %}{{ seen }}", "seen"),
        ("{% macro m(a) %}{% endmacro %}{{ a }}", "a"),
        ("{% with a = 1 %}{% endwith %}{{ a }}", "a"),
        ("{{ loop.index }}", "loop"),
        ("{% block b %}{{ e }}{% endblock %}", "e"),
        ("{{ missing | default('x') }}", "missing"),
        ("{{ missing is defined }}", "missing"),
        ("{{ lipsum() }}", "lipsum"),
        ("{% set n.x = 1 %}", "n"),
    ],
)
def test_a_name_that_is_never_there_is_found(tmp_path: Path, template: str, name: str) -> None:
    ((where, what, _),) = problems(tmp_path, template)
    assert where == "p.toml [prompt] user_text line 1"
    assert f"`{name}`" in what


def test_a_name_that_one_template_sets_may_be_tested_for_in_another(tmp_path: Path) -> None:
    files = {"part.j2": "{% if tone is defined %}{{ tone | default('') }}{% endif %}."}
    part = "{% include 'part.j2' %}"
    prompt = {"system_text": part, "user_text": "{% set tone = 1 %}" + part}
    with pytest.raises(PipelineError):
        compiled(tmp_path, files=files, prompt={"user_text": "{% include 'part.j2' %}"})
    message = compiled(tmp_path, files=files, prompt=prompt).render(ROW)
    assert (message.system, message.user) == (".", "1.")


def test_an_import_of_a_macro_that_is_not_there_is_found(tmp_path: Path) -> None:
    files = {"lib.j2": "{% macro greet() %}{% endmacro %}"}
    ((where, what, hint),) = problems(tmp_path, "\n{% from 'lib.j2' import gret %}{{ gret() }}", files=files)
    assert (where, hint) == ("p.toml [prompt] user_text line 2", "Did you mean `greet`?")
    assert "`gret`" in what


def test_names_that_mean_two_things_are_refused(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        columns=["subject", "row", "x"],
        vars={"x": 1, "both": 1},
        queries={"both": [], "fields": []},
        user="text",
    )
    own = "batchpipe's name for the whole row or for the output fields"
    assert [(where, what.partition(":")[0]) for where, what, _ in found] == [
        ("p.toml [prompt.vars] x", "`x` is an input column and a var"),
        ("p.toml [input] query row", f"`row` is an input column and {own}"),
        ("p.toml [prompt.queries] both", "`both` is a var and a query"),
        ("p.toml [prompt.queries] fields", f"`fields` is a query and {own}"),
    ]


def test_templates_stay_under_their_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "link.j2").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "prompts" / "near.j2").symlink_to(tmp_path / "prompts" / "real.j2")
    (tmp_path / "prompts" / "real.j2").write_text("real")
    for name in ("../secret.txt", "link.j2", str(tmp_path / "secret.txt")):
        ((_, what, _),) = problems(tmp_path, prompt={"user": name})
        assert "is outside prompts/" in what
    assert compiled(tmp_path, prompt={"user": "near.j2"}).render(ROW).user == "real"


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "a.j2").write_bytes(b"\xff\xfe")
    ((_, what, _),) = problems(tmp_path, prompt={"user": "a.j2"})
    assert "is not UTF-8 text" in what


def test_line_ends_and_byte_order_marks_change_no_source(tmp_path: Path) -> None:
    compiled(tmp_path, files={"a.j2": "x\ny\n"}, prompt={"user": "a.j2"})
    unix = compiled(tmp_path, prompt={"user": "a.j2"}).sources
    (tmp_path / "prompts" / "a.j2").write_bytes(b"\xef\xbb\xbfx\r\ny\r\n")
    assert compiled(tmp_path, prompt={"user": "a.j2"}).sources == unix


def test_a_user_prompt_is_needed_and_only_one(tmp_path: Path) -> None:
    assert problems(tmp_path, prompt={"system_text": "x"})[0][1] == "there is no user prompt"
    both = problems(tmp_path, files={"a.j2": ""}, prompt={"user": "a.j2", "user_text": "x"})
    assert both[0][1] == "`user` and `user_text` are both given"


def test_a_system_prompt_without_the_row_is_rendered_once(tmp_path: Path) -> None:
    static = compiled(tmp_path, prompt={"system_text": "For {{ product }}.", "user_text": "{{ subject }}"})
    assert (static.system_is_static, static.static_system) == (True, "For Acme.")
    assert static.render(ROW).system is static.render(ROW).system
    moving = compiled(tmp_path, prompt={"system_text": "For {{ plan }}.", "user_text": "{{ subject }}"})
    assert (moving.system_is_static, moving.static_system) == (False, None)
    assert moving.render({**ROW, "plan": "pro"}).system == "For pro."
    none = compiled(tmp_path, "x")
    assert (none.system_is_static, none.static_system, none.render(ROW).system) == (True, None, None)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("\n{{ limits.word }}", "no attribute 'word'"),
        ("\n{{ 1 / (ticket_id - 7) }}", "division by zero"),
        ("\n{{ ticket_id + subject }}", "unsupported operand"),
        ("\n{{ items[5] }}", "no element 5"),
        ("\n{{ range(1000000) }}", "too big"),
        ("\n{{ subject.__class__ }}", "unsafe"),
        ("\n{{ items.append(3) }}", "is unsafe"),
        ("\n{{ plan.lower() }}", "no attribute 'lower'"),
        ("\n{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion"),
        ("\n{{ examples | map('nope') | list }}", "No filter named"),
    ],
)
def test_a_row_that_does_not_render_names_the_line(tmp_path: Path, template: str, words: str) -> None:
    found = compiled(tmp_path, template)
    with pytest.raises(TemplateError) as caught:
        found.render(ROW)
    assert caught.value.where == "p.toml [prompt] user_text line 2"
    assert words in caught.value.what
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_an_error_in_a_macro_names_the_file_of_the_macro(tmp_path: Path) -> None:
    files = {"lib.j2": "{% macro m(x) %}\n\n{{ x.missing }}{% endmacro %}"}
    found = compiled(tmp_path, "{% from 'lib.j2' import m %}{{ m(limits) }}", files=files)
    with pytest.raises(TemplateError) as caught:
        found.render(ROW)
    assert caught.value.where == "prompts/lib.j2:3"


def test_an_error_in_the_static_system_prompt_is_found_at_once(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="no attribute"):
        compiled(tmp_path, prompt={"system_text": "{{ limits.nope }}", "user_text": "x"})


def test_json_is_deterministic(tmp_path: Path) -> None:
    value = {
        "b": Decimal("1.10"),
        "a": [date(2026, 1, 2), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), None, True],
        "c": Decimal("12345678901234567890.123"),
        "d": b"\x00\x01",
        "e": Decimal("5.00"),
        "é": "<&>",
    }
    text = compiled(tmp_path, "{{ row.items | tojson }}").render({**ROW, "items": value}).user
    assert text == (
        '{"a": ["2026-01-02", "2026-01-02T03:04:05+00:00", null, true], "b": 1.1, '
        '"c": "12345678901234567890.123", "d": "AAE=", "e": 5, "é": "<&>"}'
    )
    assert rendered(tmp_path, "{{ fields.label | tojson }}").startswith('{"description"')
    assert rendered(tmp_path, "{{ row | tojson }}").startswith('{"_hidden": "h", "body"')


def test_bytes_render_as_the_text_they_hold(tmp_path: Path) -> None:
    found = compiled(tmp_path, "{{ body }}")
    assert found.render({"body": "é".encode()}).user == "é"
    with pytest.raises(TemplateError):
        found.render({"body": b"\xff"})


def test_state_in_an_imported_template_does_not_pass_from_row_to_row(tmp_path: Path) -> None:
    files = {"lib.j2": "{% set c = cycler('a', 'b') %}{% macro m() %}{{ c.next() }}{% endmacro %}"}
    found = compiled(tmp_path, "{% import 'lib.j2' as lib %}{{ lib.m() }}", files=files)
    assert [found.render(ROW).user for _ in range(3)] == ["a", "a", "a"]


def test_a_row_changes_nothing_for_the_next(tmp_path: Path) -> None:
    template = "{% if subject == 'first' %}{% set product = 'changed' %}{% endif %}{{ product }}"
    found = compiled(tmp_path, template)
    assert found.render({"subject": "first"}).user == "changed"
    assert found.render({"subject": "second"}).user == "Acme"
    assert found.render({"subject": "third"}).user == "Acme"


def test_a_row_that_fails_changes_nothing_for_the_next(tmp_path: Path) -> None:
    template = "{{ subject }}{% autoescape true %}{{ 6 // body | int }}{% endautoescape %}"
    found = compiled(tmp_path, template)
    assert found.render({"subject": "<b>", "body": "2"}).user == "<b>3"
    with pytest.raises(TemplateError):
        found.render({"subject": "<b>", "body": "0"})
    assert found.render({"subject": "<b>", "body": "3"}).user == "<b>2"


def test_blocks_of_a_base_are_those_of_each_row_anew(tmp_path: Path) -> None:
    files = {"base.j2": "{% block a %}base {{ subject }}{% endblock %}"}
    own = compiled(tmp_path, "{% extends 'base.j2' %}{% block a %}own+{{ super() }}{% endblock %}", files=files)
    plain = compiled(tmp_path, "{% extends 'base.j2' %}", files=files)
    assert [own.render({"subject": n}).user for n in "12"] == ["own+base 1", "own+base 2"]
    assert [plain.render({"subject": n}).user for n in "12"] == ["base 1", "base 2"]


def test_recursive_includes_end_the_analysis(tmp_path: Path) -> None:
    files = {"tree.j2": "{{ n.v }}{% for n in n.kids %}{% include 'tree.j2' %}{% endfor %}"}
    found = compiled(tmp_path, "{% set n = limits.tree %}{% include 'tree.j2' %}", files=files, vars={
        "limits": {"tree": {"v": 1, "kids": [{"v": 2, "kids": []}]}}
    })  # fmt: skip
    assert found.render(ROW).user == "12"


def test_a_block_that_is_defined_twice_is_found(tmp_path: Path) -> None:
    ((where, what, _),) = problems(tmp_path, "{% block a %}{% endblock %}\n{% block a %}{% endblock %}")
    assert where == "p.toml [prompt] user_text line 2"
    assert "defined twice" in what
