"""Tests of `init` and `new`: their files can be parsed and run, and never replace another file."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import pytest

from batchpipe.common.errors import UsageError
from batchpipe.pipeline.load import load
from batchpipe.pipeline.model import Pipeline
from batchpipe.scaffold import init, new, next_steps
from batchpipe.scaffold.budget import budget_usd, input_size
from batchpipe.schema.build import template_fields
from batchpipe.sql.quoting import quote_literal


def read(root: Path, name: str) -> Pipeline:
    return load(root / "pipelines" / f"{name}.toml", root).pipeline


def rows(root: Path, pipeline: Pipeline) -> list[dict[str, Any]]:
    assert pipeline.input.query
    with duckdb.connect() as session:
        session.execute(f"SET file_search_path = {quote_literal(str(root))}")
        cursor = session.execute(pipeline.input.query)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def render(root: Path, pipeline: Pipeline) -> tuple[str, list[str]]:
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(root / "prompts"), undefined=jinja2.StrictUndefined)
    facts = template_fields(pipeline.output)
    assert pipeline.prompt.system
    assert pipeline.prompt.user
    user = environment.get_template(pipeline.prompt.user)
    return (
        environment.get_template(pipeline.prompt.system).render(fields=facts),
        [user.render(row, fields=facts, row=row) for row in rows(root, pipeline)],
    )


def answers(root: Path, name: str) -> list[dict[str, Any]]:
    text = (root / "pipelines" / "data" / "answers" / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def names(root: Path, paths: list[Path]) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


def source(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.write_text(text, encoding="utf-8")
    return path


def test_init_writes_a_project(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "project"
    assert names(root, init(root)) == [
        "batchpipe.toml",
        ".gitignore",
        ".github/workflows/batchpipe.yml",
        "pipelines/feedback.toml",
        "prompts/feedback/system.md.j2",
        "prompts/feedback/user.md.j2",
        "pipelines/data/feedback.csv",
        "pipelines/data/answers/feedback.jsonl",
        "pipelines/schemas/batchpipe.schema.json",
    ]
    assert tomllib.loads((root / "batchpipe.toml").read_text()) == {
        "database": "batchpipe.duckdb",
        "confirm_above_usd": 5,
    }
    assert ".batchpipe/" in (root / ".gitignore").read_text().splitlines()
    assert "batchpipe run --all --emulator --yes" in (root / ".github/workflows/batchpipe.yml").read_text()


def test_init_answers_every_row_of_its_pipeline(tmp_path: Path) -> None:
    init(tmp_path)
    pipeline = read(tmp_path, "feedback")
    system, users = render(tmp_path, pipeline)
    small, large = (
        {line["match"]: line["output"] for line in answers(tmp_path, "feedback") if line["model"] == rung.model}
        for rung in pipeline.models
    )
    for user in users:
        (match,) = (each for each in small if each in user)
        assert (small[match]["confidence"] < 0.8) == (match in large)
        assert f"- {small[match]['label']}: " in system
    assert len(large) == 2
    assert pipeline.budget.max_usd == 5


def test_init_lists_every_file_in_the_way_and_writes_nothing(tmp_path: Path) -> None:
    source(tmp_path, ".gitignore", "mine\n")
    (tmp_path / "prompts" / "feedback").mkdir(parents=True)
    (tmp_path / "prompts/feedback/user.md.j2").symlink_to("nowhere")
    with pytest.raises(UsageError) as caught:
        init(tmp_path)
    assert caught.value.what == ".gitignore, prompts/feedback/user.md.j2 exist already; nothing was written"
    assert caught.value.hint
    assert (tmp_path / ".gitignore").read_text() == "mine\n"
    assert not (tmp_path / "pipelines").exists()


def test_init_in_a_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        init(source(tmp_path, "file", ""))


def test_next_steps_name_the_folder_unless_it_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"\n  cd {tmp_path}\n" in next_steps(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert "  cd " not in next_steps(Path())
    assert "batchpipe run feedback --emulator" in next_steps(Path())


@pytest.mark.parametrize("labels", [(), ("billing", "a bug", "other")])
def test_new_without_input_runs_at_once(tmp_path: Path, labels: tuple[str, ...]) -> None:
    written = new("tags", root=tmp_path, labels=labels)
    assert names(tmp_path, written) == [
        "pipelines/tags.toml",
        "prompts/tags/system.md.j2",
        "prompts/tags/user.md.j2",
        "pipelines/data/tags.csv",
        "pipelines/data/answers/tags.jsonl",
        "pipelines/schemas/batchpipe.schema.json",
    ]
    pipeline = read(tmp_path, "tags")
    system, users = render(tmp_path, pipeline)
    lines = answers(tmp_path, "tags")
    assert len(users) == len(lines) == 3
    for user, line in zip(users, lines, strict=True):
        assert line["match"] in user
        assert set(line["output"]) == set(pipeline.output.fields)
    if labels:
        assert pipeline.output.fields["label"].enum == labels
        assert all(f"\n- {label}\n" in system for label in labels)


def test_new_on_a_csv_shows_all_but_the_key(tmp_path: Path) -> None:
    path = source(tmp_path, "orders.csv", "customer,order_id,note\nAda,7,late\nAda,8,\n")
    written = new("orders", root=tmp_path, source=path, labels=("good", "bad"))
    assert names(tmp_path, written) == [
        "pipelines/orders.toml",
        "prompts/orders/system.md.j2",
        "prompts/orders/user.md.j2",
        "pipelines/schemas/batchpipe.schema.json",
    ]
    pipeline = read(tmp_path, "orders")
    assert pipeline.input.key == ("order_id",)
    assert pipeline.input.query == "SELECT customer, order_id, note\nFROM read_csv('orders.csv')\n"
    assert pipeline.models[0].accept == "confidence >= 0.8"
    user = (tmp_path / "prompts/orders/user.md.j2").read_text()
    assert user == "<row>\n<customer>{{ customer }}</customer>\n<note>{{ note }}</note>\n</row>\n"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("name,id\nAda,1\nBo,2\n", ("id",)),
        ("code,text\nx,1.5\ny,1.5\n", ("code",)),
        ("score,code\n0.5,x\n0.7,y\n", ("code",)),
        ("text,customer_id\nhello,1\nhi,1\n", ("text",)),
        ("id,text\n1,a\n,b\n", ("text",)),
        ("path,revision,text\na,1,x\na,2,x\nb,1,x\n", ("path", "revision")),
    ],
)
def test_new_chooses_a_key(tmp_path: Path, text: str, key: tuple[str, ...]) -> None:
    new("rows", root=tmp_path, source=source(tmp_path, "rows.csv", text))
    assert read(tmp_path, "rows").input.key == key


def test_new_shows_a_key_that_is_content_as_well(tmp_path: Path) -> None:
    new("rows", root=tmp_path, source=source(tmp_path, "rows.csv", "question\nWhy?\nHow?\n"))
    _, users = render(tmp_path, read(tmp_path, "rows"))
    assert users[0] == "<row>\n<question>Why?</question>\n</row>"


def test_new_refuses_a_file_without_a_key(tmp_path: Path) -> None:
    path = source(tmp_path, "rows.csv", "name,text\nAda,hello\nAda,hello\n")
    with pytest.raises(UsageError, match="no column, and no pair of columns, can be the key") as caught:
        new("rows", root=tmp_path, source=path)
    assert caught.value.hint
    assert not (tmp_path / "pipelines").exists()


def test_new_quotes_what_needs_quotes(tmp_path: Path) -> None:
    path = source(
        tmp_path,
        "it's [raw]*?.csv",
        'First Name,"say ""hi""",order,ID,Straße,_secret,row,fields,label,in,loop,{{x}}\n'
        "a1,b1,c1,d1,e1,f1,g1,h1,i1,j1,k1,l1\n",
    )
    new("odd", root=tmp_path, source=path, labels=("x", "y"))
    pipeline = read(tmp_path, "odd")
    assert pipeline.input.key == ("ID",)
    assert list(pipeline.output.fields) == ["model_label", "confidence"]
    (row,) = rows(tmp_path, pipeline)
    assert list(row) == [
        *("First Name", 'say "hi"', "order", "ID", "Straße", "secret", "row_column", "fields_column"),
        *("label", "in", "loop", "{{x}}"),
    ]
    _, (user,) = render(tmp_path, pipeline)
    shown = [line[line.index(">") + 1 : line.rindex("<")] for line in user.splitlines()[1:-1]]
    # A first name looks like personal data, and `label` like the label that the model is to find.
    assert shown == [f"{letter}1" for letter in "bcefghjkl"]


def test_new_avoids_names_that_differ_in_capitals_only(tmp_path: Path) -> None:
    path = source(tmp_path, "rows.csv", "id,_Text,text,Answer\n1,a,b,c\n")
    new("rows", root=tmp_path, source=path)
    pipeline = read(tmp_path, "rows")
    assert list(rows(tmp_path, pipeline)[0]) == ["id", "model_Text", "text", "Answer"]
    assert list(pipeline.output.fields) == ["model_answer"]


@pytest.mark.parametrize("suffix", ["parquet", "json", "jsonl", "csv.gz", "tsv"])
def test_new_reads_other_kinds_of_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows.{suffix}"
    query = "SELECT range AS id, 'text ' || range AS text FROM range(3)"
    options = {"parquet": "", "json": "(ARRAY true)", "tsv": "(DELIMITER '\t')"}.get(suffix, "")
    with duckdb.connect() as session:
        session.execute(f"COPY ({query}) TO {quote_literal(str(path))} {options}")
    new("rows", root=tmp_path, source=path)
    assert rows(tmp_path, read(tmp_path, "rows")) == [{"id": i, "text": f"text {i}"} for i in range(3)]


def test_new_reaches_a_file_beside_the_project(tmp_path: Path) -> None:
    path = source(tmp_path, "rows.csv", "id,text\n1,a\n")
    (tmp_path / "project").mkdir()
    new("rows", root=tmp_path / "project", source=path)
    query = read(tmp_path / "project", "rows").input.query
    assert query == "SELECT id, text\nFROM read_csv('../rows.csv')\n"


def test_new_breaks_a_long_list_of_columns(tmp_path: Path) -> None:
    header = ",".join(f"a_rather_long_column_{number}" for number in range(8))
    path = source(tmp_path, "rows.csv", f"{header}\n1,2,3,4,5,6,7,8\n")
    new("rows", root=tmp_path, source=path)
    query = read(tmp_path, "rows").input.query
    assert query
    assert max(map(len, query.splitlines())) < 100


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("rows.csv", None, "there is no such file"),
        ("rows.docx", "x", "this kind of file is not known"),
        ("rows", "x", "this kind of file is not known"),
        ("rows.parquet", "x", "DuckDB cannot read the file"),
        ("rows.csv", "id,text\n", "the file has no rows"),
        ("rows.csv", "".join(map(chr, range(256))) * 20, "this is no table in CSV"),
    ],
)
def test_new_says_what_is_wrong_with_a_file(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    path = tmp_path / name if text is None else source(tmp_path, name, text)
    with pytest.raises(UsageError, match=message) as caught:
        new("rows", root=tmp_path, source=path)
    assert caught.value.where == str(path)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "better"),
    [("My Rows", "my_rows"), ("2nd", "nd"), ("a-b", "a_b"), ("", "my_rows"), ("../x", "x"), ("ä", "my_rows")],
)
def test_new_refuses_a_bad_name_and_offers_another(tmp_path: Path, name: str, better: str) -> None:
    with pytest.raises(UsageError) as caught:
        new(name, root=tmp_path)
    assert f"`batchpipe new {better}`" in (caught.value.hint or "")


@pytest.mark.parametrize("labels", [("one",), ("a", ""), ("a", "A"), ("a", "b", " a ")])
def test_new_refuses_labels_that_cannot_be_told_apart(tmp_path: Path, labels: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="label") as caught:
        new("rows", root=tmp_path, labels=labels)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []
    assert ("differ only in case" in caught.value.what) == (labels == ("a", "A"))
    assert ("stand twice" in caught.value.what) == (len(labels) == 3)


def test_new_never_replaces_a_file(tmp_path: Path) -> None:
    new("rows", root=tmp_path)
    before = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=r"pipelines/rows\.toml, .* exist already; nothing was written"):
        new("rows", root=tmp_path, labels=("a", "b"))
    assert {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("typed", "command"),
    [
        ("questions.csv", "batchpipe new questions --input questions.csv"),
        ("my data/Q 1.parquet", "batchpipe new q --input 'my data/Q 1.parquet'"),
    ],
)
def test_a_file_in_the_place_of_the_name_is_told_with_the_command(tmp_path: Path, typed: str, command: str) -> None:
    with pytest.raises(UsageError) as caught:
        new(typed, root=tmp_path)
    assert (caught.value.hint or "").endswith(command)
    assert list(tmp_path.iterdir()) == []


def test_a_budget_has_room_for_the_longest_row_whatever_its_tokens_are(tmp_path: Path) -> None:
    lengths = [10] * 5 + [3_430_000]
    (tmp_path / "rows.csv").write_text("text\n" + "".join("a" * each + "\n" for each in lengths))
    relation = "read_csv('rows.csv', max_line_size = 4000000, header = true)"
    size = input_size(tmp_path, relation, ["text"])
    assert (size.rows, size.bytes, size.longest) == (6, sum(lengths), max(lengths) + 2)
    # Each byte may be a token: at half of 3 dollars a million of them.
    models = [("claude-haiku-4-5", 200), ("claude-sonnet-4-6", 400)]
    assert budget_usd(size, 1_000, models) > 3_430_000 * 1.5e-6
    assert budget_usd(input_size(tmp_path, f"(FROM {relation} LIMIT 5)", ["text"]), 1_000, models) == 5
