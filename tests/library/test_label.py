"""Tests of `batchpipe.label`: tables of three libraries in and out, what is asked once, and what is refused."""

from __future__ import annotations

import enum
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import duckdb
import pandas
import polars
import pyarrow
import pytest
from commandline import CommandLine
from projects import Project

import batchpipe
from batchpipe.library.label_file import field_table

FIELDS: dict[str, Any] = {"queue": ["billing", "bug"], "count": int, "urgent": bool}
QUEUE: dict[str, Any] = {"key": "id", "prompt": "Which queue? {{ text }}", "models": "claude-haiku-4-5"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> batchpipe.Project:
    folder = tmp_path_factory.mktemp("labels") / "made"
    faults = {"requests": [{"match": "always wrong", "outcome": "wrong_enum"}]}
    made = batchpipe.Project.create(folder, emulator=True)
    (folder / "faults.json").write_text(json.dumps(faults))
    assert made.root == folder.resolve()
    assert batchpipe.Project.create(folder).root == made.root
    return batchpipe.Project(folder, emulator=True, emulator_faults=folder / "faults.json")


def sent(project: batchpipe.Project) -> int:
    """The requests that were ever sent, by the ledger."""
    path = project.root / ".batchpipe" / "emulator" / "batchpipe.duckdb"
    with duckdb.connect(str(path), read_only=True) as connection:
        return int((connection.execute("SELECT count(*) FROM ledger.requests").fetchone() or (0,))[0])


def test_whole_numbers_that_arrow_does_not_hold_are_text(tmp_path: Path) -> None:
    most, beyond = 10**38 - 1, 2**128 - 1
    answer = {"fits": most, "large": beyond, "in": [{"fits": most, "large": beyond}]}
    faults = {"requests": [{"match": "hello", "output": json.dumps(answer)}]}
    made = batchpipe.Project.create(tmp_path / "made", emulator=True)
    (made.root / "faults.json").write_text(json.dumps(faults))
    project = batchpipe.Project(made.root, emulator=True, emulator_faults=made.root / "faults.json")
    number = {"type": "integer", "column": "UHUGEINT"}
    item = {"type": "object", "fields": {"fits": number, "large": number}}
    fields = {"fits": number, "large": number, "in": {"type": "array", "items": item}}
    table = pyarrow.table({"id": [1], "text": ["hello"]})
    [row] = batchpipe.label(table, fields=fields, project=project, **QUEUE).to_pylist()
    texts = {"fits": str(most), "large": str(beyond)}
    assert row == {"id": 1, "text": "hello", "fits": most, "large": str(beyond), "in": [texts], "_error": None}


def test_tables_of_three_libraries_add_up(project: batchpipe.Project) -> None:
    """A name, an index, an order and a type that a library cares for stay; the second call sends nothing."""
    frame = pandas.DataFrame(
        {"text": ["c", "a", "b", "always wrong"], "odd": [object(), 1, "x", None], 5: 0, "id": [3, 1, 2, 4]},
        index=["w", "x", "y", "z"],
    )
    labelled = batchpipe.label(frame, fields=FIELDS, project=project, **QUEUE)
    assert isinstance(labelled, pandas.DataFrame)
    assert list(labelled.index) == ["w", "x", "y", "z"]
    assert list(labelled["id"]) == [3, 1, 2, 4]
    assert list(labelled.columns) == [*frame.columns, *FIELDS, "_error"]
    assert "queue" not in frame.columns
    assert set(labelled["queue"][:3]) <= {"billing", "bug"}
    assert (str(labelled["count"].dtype), str(labelled["urgent"].dtype)) == ("Int64", "boolean")
    whole = batchpipe.label(frame.iloc[:3], fields=FIELDS, project=project, **QUEUE)
    assert whole["_error"].isna().all()
    assert labelled["_error"].dtype == labelled["queue"].dtype == whole["queue"].dtype == whole["_error"].dtype
    assert labelled["queue"].isna().tolist() == [False, False, False, True]
    assert labelled["_error"].isna().tolist() == [True, True, True, False]
    assert "queue" in str(labelled["_error"].iloc[3])
    known = sent(project)

    again = batchpipe.label(labelled, fields=FIELDS, project=project, **QUEUE)
    pandas.testing.assert_frame_equal(again, labelled)
    assert sent(project) == known

    other = polars.DataFrame({"id": [2, 9], "text": ["b", "new"]})
    found = batchpipe.label(other, fields=FIELDS, project=project, **QUEUE)
    assert isinstance(found, polars.DataFrame)
    assert found["id"].to_list() == [2, 9]
    assert found["queue"][0] == labelled["queue"].iloc[2]
    assert sent(project) == known + 1

    table = pyarrow.table({"text": ["new", "c"], "id": pyarrow.array([9, 3])})
    last = batchpipe.label(table, fields=FIELDS, project=project, **QUEUE)
    assert isinstance(last, pyarrow.Table)
    assert last.column("queue").to_pylist() == [found["queue"][1], labelled["queue"].iloc[0]]
    assert last.schema.field("urgent").type == pyarrow.bool_()
    empty = batchpipe.label(table.slice(0, 0), fields=FIELDS, project=project, **QUEUE)
    assert (empty.num_rows, empty.column_names) == (0, last.column_names)
    assert sent(project) == known + 1


def test_other_commands_find_what_label_made(
    project: batchpipe.Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the working folder is another; and a new pipeline over the same keys is no renamed one."""
    batchpipe.label(pandas.DataFrame({"id": [1], "text": ["a"]}), fields=FIELDS, project=project, **QUEUE)
    command_line = CommandLine(monkeypatch=monkeypatch, capsys=capsys)
    rooted = ("-C", str(project.root), "--emulator")
    shown = command_line("results", "label_queue_count_urgent", "--json", *rooted)
    assert shown.code == 0, shown.talk
    assert 1 in [row["id"] for row in shown.value["rows"]]
    assert "label_queue_count_urgent" in command_line("status", *rooted).out
    assert project.pipeline("label_queue_count_urgent").results().fetchall()
    one = pandas.DataFrame({"ticket": ["1"], "text": ["a"]}).set_index("ticket")
    named = batchpipe.label(
        one, **{**QUEUE, "key": "ticket"}, fields={"tone": Literal["calm", "cross"]}, name="tones", project=project
    )
    assert (named["tone"].iloc[0] in ("calm", "cross"), list(named.index)) == (True, ["1"])


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"frame": {"id": [1, 1], "text": ["a", "b"]}}, batchpipe.InputError, "not unique"),
        ({"frame": {"id": [1, None], "text": ["a", "b"]}}, batchpipe.InputError, "no id"),
        ({"frame": {"id": [1], "Text": ["a"], "text": ["b"]}}, batchpipe.InputError, "two columns called"),
        ({"frame": {"id": [1], "text": [object()]}}, batchpipe.InputError, "'text' cannot be read"),
        ({"key": "nothing"}, batchpipe.InputError, "no column 'nothing'"),
        ({"prompt": "{{ txt }}"}, batchpipe.PipelineError, "txt"),
        ({"fields": {}}, batchpipe.UsageError, "no field"),
        ({"fields": {"a": 7}}, batchpipe.UsageError, "says nothing of a field"),
        ({"models": []}, batchpipe.UsageError, "no model"),
        ({"name": "Not A Name"}, batchpipe.UsageError, "not a name for a pipeline"),
        ({"max_usd": "x"}, batchpipe.UsageError, "not an amount of money"),
    ],
)
def test_what_cannot_be_labelled_is_an_error(
    project: batchpipe.Project, changed: dict[str, Any], error: type[Exception], words: str
) -> None:
    frame = pandas.DataFrame(changed.pop("frame", {"id": [1], "text": ["a"]}))
    given = {**QUEUE, "fields": FIELDS, "project": project, "name": "refused", **changed}
    with pytest.raises(error, match=re.escape(words)):
        batchpipe.label(frame, **given)


@pytest.mark.parametrize(
    ("given", "hint"),
    [({"id": [1]}, "pandas"), (polars.LazyFrame({"id": [1]}), "collect"), (pyarrow.record_batch({"id": [1]}), "Table")],
)
def test_what_is_no_table_is_an_error(given: Any, hint: str) -> None:
    with pytest.raises(batchpipe.UsageError) as caught:
        batchpipe.label(given, fields=FIELDS, **QUEUE)
    assert hint in str(caught.value)


def test_without_a_project_nothing_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(batchpipe.UsageError) as caught:
        batchpipe.label(pandas.DataFrame({"id": [1], "text": ["a"]}), fields=FIELDS, **QUEUE)
    assert "batchpipe.Project.create('.')" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_cost_has_to_be_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a provider that costs money: the emulator of tests, over its address."""
    service = Project(tmp_path)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", service.emulator.base_url)
    project = batchpipe.Project(tmp_path, poll_interval=0.02, confirm_above_usd=0)
    frame = pandas.DataFrame({"id": [1, 2], "text": ["a", "b"]})
    try:
        with pytest.raises(
            batchpipe.GateError, match=r"2 requests would be sent for about \$?.*nothing was sent"
        ) as caught:
            batchpipe.label(frame, fields=FIELDS, project=project, **QUEUE)
        assert "max_usd=0.0" in str(caught.value)
        assert service.requests_sent() == 0
        with pytest.raises(batchpipe.GateError, match="--max-usd of"):
            batchpipe.label(frame, fields=FIELDS, project=project, max_usd=0, **QUEUE)
        assert service.requests_sent() == 0
        labelled = batchpipe.label(frame, fields=FIELDS, project=project, max_usd=1, **QUEUE)
        assert labelled["_error"].isna().all()
        assert service.requests_sent() == 2
        assert batchpipe.label(frame, fields=FIELDS, project=project, **QUEUE).equals(labelled)
    finally:
        service.close()


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@pytest.mark.parametrize(
    ("spec", "table"),
    [
        (["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        ({"b", "a"}, {"type": "string", "enum": ["a", "b"]}),
        ([1, 2], {"type": "integer", "enum": [1, 2]}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (Colour, {"type": "string", "enum": ["red", "blue"]}),
        (float, {"type": "number"}),
        ("integer", {"type": "integer"}),
        (list[bool], {"type": "array", "items": {"type": "boolean"}}),
        ({"type": "string", "maxLength": 3}, {"type": "string", "maxLength": 3}),
    ],
)
def test_a_field_may_be_written_in_pythons_words(spec: Any, table: dict[str, Any]) -> None:
    assert field_table("x", spec) == table


def test_columns_that_cannot_be_kept_are_left_out_or_named(project: batchpipe.Project) -> None:
    """Two columns of one name, and types that Parquet does not have."""
    given = {**QUEUE, "fields": FIELDS, "project": project, "name": "odd_types"}
    doubled = pandas.DataFrame([[1, "a", "b"]], columns=["id", "text", "text"])
    with pytest.raises(batchpipe.InputError, match="two columns called 'text' and 'text'"):
        batchpipe.label(doubled, **given)
    interval = pyarrow.array([(1, 2, 3)], pyarrow.month_day_nano_interval())
    odd = pyarrow.table({"id": [901], "text": ["an odd row"], "odd": interval})
    kept = batchpipe.label(odd, **given)
    assert kept.column("odd").equals(odd.column("odd"))
    with pytest.raises(batchpipe.InputError, match="the column 'odd' cannot be read"):
        batchpipe.label(odd, **{**given, "prompt": "{{ text }} {{ odd }}"})


def test_threads_that_label_the_same_wait_for_one_another(project: batchpipe.Project) -> None:
    given = {**QUEUE, "fields": FIELDS, "project": project, "name": "by_threads"}
    frames = [polars.DataFrame({"id": [first, first + 1], "text": ["x", f"y {first}"]}) for first in (10, 20, 30)]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda frame: batchpipe.label(frame, **given), frames))
    assert [each["id"].to_list() for each in found] == [[10, 11], [20, 21], [30, 31]]
    assert all(each["_error"].is_null().all() for each in found)
