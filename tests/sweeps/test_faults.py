"""Tests of every fault of the network, alone and in pairs: nothing is lost, and nothing is paid twice."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest
from crash.faults import FAULTS, LIST_LAG, SUBMIT_TIMEOUT, Fault, fault
from crash.scenario import LABELS, MODELS, PIPELINE, VOTING, of_protocol, rows_csv, rules_of
from crash.sweep import answered
from projects import Project

from batchpipe.engine.batches import submit

PAIRS_IN_SHORT, PAIRS_IN_FULL = 3, 300
FEW = 6  # two chunks, none of a single request: that would fail where a fault refuses it for its size


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """The requests of a run without faults."""
    return undisturbed(tmp_path_factory.mktemp("undisturbed"), len(LABELS))


@pytest.fixture(scope="module")
def usual_of_few(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Counter[str]]:
    """The requests that a run without faults sends in a protocol, on the first few rows."""

    @cache
    def usual(protocol: str) -> Counter[str]:
        return undisturbed(tmp_path_factory.mktemp("few"), FEW, protocol)

    return usual


@pytest.fixture(scope="module")
def usual_of_votes(tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """The requests of samples and of a panel over three providers without faults, on the first few rows."""
    return undisturbed(tmp_path_factory.mktemp("votes"), FEW, text=VOTING)


def undisturbed(folder: Path, rows: int, protocol: str = "anthropic", text: str = PIPELINE) -> Counter[str]:
    project = Project(folder)
    try:
        prepare(project, [], text, rows=rows, protocol=protocol)
        assert project.run().status == "done"
        return answered(project)
    finally:
        project.close()


@pytest.fixture
def disturbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Project]]:
    """Return a function that makes a project in a folder of its own."""
    monkeypatch.setattr(submit, "SUBMIT_TIMEOUT_SECONDS", SUBMIT_TIMEOUT)
    made: list[Project] = []

    def make(name: str) -> Project:
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        made.append(Project(folder))
        return made[-1]

    yield make
    for each in made:
        each.close()


def prepare(
    project: Project,
    calls: Sequence[Fault],
    text: str = PIPELINE,
    *,
    rows: int = len(LABELS),
    protocol: str = "anthropic",
) -> None:
    project.settings = {"poll_interval": 0.02, "reconcile_wait": 4 * LIST_LAG}
    project.pipeline(of_protocol(text, protocol))
    (project.root / "rows.csv").write_text(rows_csv(rows), encoding="utf-8")
    project.faults({**rules_of(protocol), "calls": list(calls)})


def survives(project: Project, usual: Counter[str], *, rows: int = len(LABELS)) -> None:
    """Check that the run ends with every answer, that it sent nothing twice, and that a second run sends nothing."""
    result = project.run()
    assert (result.status, result.rows["accepted"], result.rows["failed"]) == ("done", rows, 0)
    labels = {number: label for number, label in LABELS.items() if number <= rows}
    assert dict(project.sql("SELECT id, label FROM demo WHERE _current AND NOT _review")) == labels
    sent = answered(project)
    assert sent - usual == Counter(), "paid twice"
    assert usual - sent == Counter(), "never sent"
    assert project.run().submitted == 0
    folder = project.root / ".batchpipe" / "raw"
    for (chunk_id,) in project.sql("SELECT chunk_id::VARCHAR FROM ledger.batches WHERE state = 'collected'"):
        assert list(folder.glob(f"{chunk_id}.jsonl*"))


@pytest.mark.share(10)
@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("protocol", MODELS)
def test_a_fault_alone(
    disturbed: Callable[[str], Project],
    usual_of_few: Callable[[str], Counter[str]],
    protocol: str,
    name: str,
) -> None:
    project = disturbed("alone")
    prepare(project, FAULTS[name], rows=FEW, protocol=protocol)
    survives(project, usual_of_few(protocol), rows=FEW)


@pytest.mark.share(10)
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_while_answers_vote(
    disturbed: Callable[[str], Project], usual_of_votes: Counter[str], chance: random.Random, name: str
) -> None:
    """Test a fault at any of the calls to the three providers that a row's members are asked of."""
    later = 0 if name == "413" else chance.randint(0, 3)
    calls = [{**each, "after": each.get("after", 0) + later} for each in FAULTS[name]]
    project = disturbed("votes")
    prepare(project, calls, VOTING, rows=FEW)
    survives(project, usual_of_votes, rows=FEW)
    # Every member of a vote is there once, in its order.
    assert project.sql("SELECT count(*) FROM ledger.votes WHERE len(votes) <> len(list_distinct(custom_ids))") == [(0,)]


def test_faults_in_pairs(
    disturbed: Callable[[str], Project], usual: Counter[str], full_sweep: bool, chance: random.Random
) -> None:
    pairs = list(itertools.combinations(FAULTS, 2))
    for number, pair in enumerate(chance.sample(pairs, PAIRS_IN_FULL if full_sweep else PAIRS_IN_SHORT)):
        # A single request that is refused for its size has failed: that refusal stays with the first chunk.
        calls = [
            {**each, "after": each.get("after", 0) + (0 if name == "413" else chance.randint(0, 3))}
            for name in pair
            for each in FAULTS[name]
        ]
        project = disturbed(f"pair-{number}")
        prepare(project, calls)
        if chance.random() < 0.3:
            project.control("stranger", {"requests": chance.randint(1, 4)})
        try:
            survives(project, usual)
        except AssertionError as error:
            raise AssertionError(f"{pair} as {calls}: {error}") from error
        project.close()


@pytest.mark.parametrize("strangers", [0, 2])
def test_several_equal_orphans(disturbed: Callable[[str], Project], usual: Counter[str], strangers: int) -> None:
    """Test batches of one request, which share their size: only the ids in the results tell which chunk a batch
    belongs to.
    """
    project = disturbed("equal")
    lost = [fault("create", name, after=number) for number, name in enumerate(
        ("accepted_then_reset", "reset", "accepted_then_empty", "status:500", "accepted_then_html"))]  # fmt: skip
    text = PIPELINE.replace("max_requests = 4", "max_requests = 1").replace("max_in_flight = 3", "max_in_flight = 8")
    prepare(project, lost, text)
    for _ in range(strangers):
        project.control("stranger", {"requests": 1})
    survives(project, usual)


def test_equal_orphans_of_two_pipelines(disturbed: Callable[[str], Project]) -> None:
    project = disturbed("two")
    single = PIPELINE.replace("max_requests = 4", "max_requests = 1").replace("{{ body }}", "{{ body }} PLACE")
    prepare(project, [fault("create", "accepted_then_reset", times=3), fault("create", "reset", after=3, times=3),
                      fault("create", "accepted_then_empty", after=6, times=2)])  # fmt: skip
    for name in ("alpha", "omega"):
        project.pipeline(single.replace("PLACE", name), name)
    outcomes = project.outcomes(["omega", "alpha"])
    assert [(each.error, each.result.status) for each in outcomes] == [(None, "done")] * 2
    for name in ("alpha", "omega"):
        assert dict(project.sql(f"SELECT id, label FROM {name} WHERE _current AND NOT _review")) == LABELS
    by_content = answered(project)
    # The one request with a transient error is sent once more; nothing else is.
    assert [count for count in by_content.values() if count > 1] == [2]
