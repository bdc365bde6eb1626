"""Tests of the project root, and of the pipelines that the command line names."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchpipe.common.errors import PipelineError, UsageError
from batchpipe.pipeline.files import pipeline_files
from batchpipe.pipeline.load import load
from batchpipe.project.project import find_pipelines, find_root, refuse_same_names


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("", encoding="utf-8")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    touch(
        tmp_path,
        "batchpipe.toml",
        "pipelines/triage.toml",
        "pipelines/summaries.toml",
        "pipelines/team/extract.toml",
        "pipelines/data/notes.toml",
        "pipelines/schemas/x.toml",
        "pipelines/.hidden/y.toml",
    )
    return tmp_path


def names(root: Path, *arguments: str, start: Path | None = None) -> tuple[list[str], bool]:
    selection = find_pipelines(arguments, root, start=start)
    return [str(path.relative_to(root)) for path in selection.paths], selection.single


@pytest.mark.parametrize("marker", ["pyproject.toml", "batchpipe.toml", ".git/HEAD"])
def test_the_root_is_the_nearest_folder_with_a_marker(tmp_path: Path, marker: str) -> None:
    touch(tmp_path, "pyproject.toml", f"inner/{marker}", "inner/pipelines/a/x.toml")
    assert find_root(tmp_path / "inner/pipelines/a/x.toml") == tmp_path / "inner"
    assert find_root(tmp_path / "inner/pipelines") == tmp_path / "inner"
    assert find_root(tmp_path) == tmp_path


def test_without_a_marker_it_is_the_parent_of_pipelines(tmp_path: Path) -> None:
    touch(tmp_path, "work/pipelines/a/x.toml")
    if find_root(tmp_path) != tmp_path:
        pytest.skip("a folder above the temporary one has a marker")
    assert find_root(tmp_path / "work/pipelines/a/x.toml") == tmp_path / "work"
    assert find_root(tmp_path / "work/pipelines") == tmp_path / "work"
    assert find_root(tmp_path / "work") == tmp_path / "work"


def test_pipeline_files_are_sorted_and_data_is_none(root: Path) -> None:
    found = [str(path.relative_to(root)) for path in pipeline_files(root / "pipelines")]
    assert found == ["pipelines/summaries.toml", "pipelines/team/extract.toml", "pipelines/triage.toml"]


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("triage", "pipelines/triage.toml"),
        ("pipelines/triage.toml", "pipelines/triage.toml"),
        ("team/extract", "pipelines/team/extract.toml"),
        ("extract", "pipelines/team/extract.toml"),
    ],
)
def test_one_by_name_or_file(root: Path, argument: str, expected: str) -> None:
    assert names(root, argument) == ([expected], True)


def test_paths_are_relative_to_the_working_folder_first(root: Path) -> None:
    assert names(root, "extract.toml", start=root / "pipelines/team") == (
        ["pipelines/team/extract.toml"],
        True,
    )
    assert names(root, "../triage.toml", start=root / "pipelines/team")[0] == ["pipelines/team/../triage.toml"]
    assert names(root, ".", start=root / "pipelines/team") == (["pipelines/team/extract.toml"], False)
    assert names(root, "triage", start=root / "pipelines/team") == (["pipelines/triage.toml"], True)


def test_several_and_folders_are_a_list(root: Path) -> None:
    both = ["pipelines/triage.toml", "pipelines/summaries.toml"]
    assert names(root, "triage", "summaries", "triage") == (both, False)
    assert names(root, "pipelines/team") == (["pipelines/team/extract.toml"], False)
    assert names(root, "team") == (["pipelines/team/extract.toml"], False)
    assert len(names(root, "pipelines")[0]) == 3
    everything = find_pipelines((), root, all=True)
    assert (len(everything.paths), everything.single) == (3, False)


def test_the_name_in_the_file(root: Path) -> None:
    (root / "pipelines/triage.toml").write_text('name = "ticket_triage"')
    (root / "pipelines/summaries.toml").write_text("not toml")
    assert names(root, "ticket_triage") == (["pipelines/triage.toml"], True)


def test_a_name_that_several_files_have(root: Path) -> None:
    touch(root, "pipelines/other/extract.toml")
    with pytest.raises(UsageError) as raised:
        names(root, "extract")
    assert raised.value.what == (
        "'extract' names several files: pipelines/other/extract.toml, pipelines/team/extract.toml"
    )


@pytest.mark.parametrize(
    ("argument", "hint"),
    [
        ("triag", "Did you mean triage? To make it: batchpipe new triag"),
        ("Triage", "Did you mean triage?"),
        ("pipelines/summary.toml", "Did you mean summaries? To make it: batchpipe new summary"),
        ("zzz", "There are: summaries, extract, triage. To make it: batchpipe new zzz"),
    ],
)
def test_what_is_not_found(root: Path, argument: str, hint: str) -> None:
    with pytest.raises(UsageError) as raised:
        names(root, argument)
    assert raised.value.what == f"there is no pipeline {argument!r}"
    assert raised.value.where == str(root / "pipelines")
    assert raised.value.hint == hint


def test_nothing_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        find_pipelines((), root)
    assert str(raised.value) == (
        "the command line: no pipeline is named\n  Name one, or give --all. There are: summaries, extract, triage."
    )
    with pytest.raises(UsageError, match="--all cannot be combined with 'triage'"):
        find_pipelines(("triage",), root, all=True)


def test_a_project_without_pipelines(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        find_pipelines((), tmp_path, all=True)
    assert raised.value.what == "there is no pipeline"
    assert "batchpipe new NAME" in str(raised.value)
    for arguments in ((), ("triage",)):
        with pytest.raises(UsageError, match=r"no folder pipelines here\. Go to the folder of your project"):
            find_pipelines(arguments, tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="there is no pipeline"):
        find_pipelines(("empty",), tmp_path)


def test_two_files_of_one_name_are_refused(root: Path) -> None:
    text = """
    name = "triage"
    input = { query = "SELECT 1 AS id", key = "id" }
    prompt = { user_text = "x" }
    output = { fields = { label = { type = "string" } } }
    models = [{ model = "m", max_tokens = 1 }]
    """
    for name in ("triage", "summaries"):
        (root / f"pipelines/{name}.toml").write_text(text)
    files = [load(root / f"pipelines/{name}.toml", root) for name in ("triage", "summaries")]
    refuse_same_names(files[:1])
    with pytest.raises(PipelineError) as raised:
        refuse_same_names(files)
    assert str(raised.value) == (
        'pipelines/summaries.toml:2 name: the pipeline name "triage" is also that of pipelines/triage.toml\n'
        "  Give one of them another name."
    )
