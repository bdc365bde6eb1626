"""The surroundings of every test: no network but loopback, no keys, and projects in temporary folders."""

from __future__ import annotations

import gc
import os
import random
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from crash.parts import RECORDED, Part, Sweep, parts_of, summary
from desks import Desk
from projects import Project
from turns import cpu_seconds, function_of, long_tests_of, of_the_day, read_long_tests, write_long_tests

from batchpipe.common.hints import use_options
from batchpipe.common.secrets import forget

# pytest rewrites the assertions in all modules of its plugins. Those of Hypothesis keep a core busy for two seconds in
# every process, and at the end of a call as well, where its plugin sums up: they are loaded without the rewriting.
finders = sys.meta_path[:]
sys.meta_path[:] = [finder for finder in finders if type(finder).__module__ != "_pytest.assertion.rewrite"]
import hypothesis  # noqa: E402, F401

sys.meta_path[:] = finders

MEMORY = Path("/dev/shm")
LEAST_FREE_BYTES = 4_000_000_000
# What is chosen once, for all processes that share the work.
MEASURED = ".measured_tests"
CHOSEN = ("day", "all_kinds", "all_proofs", "all_turns")


class ThisTestTriedToReachTheNetworkError(Exception):
    """A test tried to connect to another machine."""


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection except to loopback and to local sockets."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in (
            "127.0.0.1",
            "::1",
            "localhost",
        ):
            raise ThisTestTriedToReachTheNetworkError(address)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the machine's own keys, settings and colours from the environment of a test."""
    for name in list(os.environ):
        if name.startswith(("ANTHROPIC_", "BATCHPIPE_", "GEMINI_", "GOOGLE_", "OPENAI_")) or name in (
            "FORCE_COLOR",
            "NO_COLOR",
        ):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def no_secrets() -> None:
    """Forget the values and the options that other tests of this process have used."""
    forget()
    use_options("")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full-sweep", action="store_true", help="every point and every pair, not the share of a day")
    parser.addoption("--part", help="with --full-sweep: one part of each sweep over points, as 1/8; default: all parts")
    parser.addoption("--day", help="the day whose share of the sweeps is tried, as 2026-11-28; default: today (UTC)")
    parser.addoption("--turns", action="store_true", help="long tests of files that are named take turns as well")
    parser.addoption("--measure", action="store_true", help="run all tests, and write which of them take long")
    parser.addoption(
        "--proofs",
        action="store_true",
        help="only the slow proofs, which a call that names no file leaves out: a quarter of them a day, all of a file",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose the day once, for all processes that share the work, and put the tests' folders into memory.

    Tests commit to many small databases, and an fsync costs nothing in memory.
    """
    if config.option.part is not None:
        _check_part(config)
    given = getattr(config, "workerinput", None)
    if given is not None:
        for name in CHOSEN:
            setattr(config.option, name, given[name])
    else:
        config.option.day = config.option.day or datetime.now(UTC).date().isoformat()
        named = config.args_source is not pytest.Config.ArgsSource.TESTPATHS
        config.option.all_proofs = config.option.full_sweep or named
        config.option.all_kinds = config.option.all_proofs and not config.option.proofs
        all_turns = config.option.all_kinds or config.option.measure or config.option.proofs
        config.option.all_turns = all_turns and not config.option.turns
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > LEAST_FREE_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    config.addinivalue_line("markers", "share(n): of a sweep's cases so many are tried a day, chosen by the day")
    config.addinivalue_line("markers", "proof: a slow proof that `--proofs` runs, a step of its own in `.ci/run`")


def _check_part(config: pytest.Config) -> None:
    if not config.option.full_sweep:
        raise pytest.UsageError("--part goes with --full-sweep")
    try:
        Part.read(config.option.part)
    except ValueError:
        raise pytest.UsageError(f"--part {config.option.part} is no part, as 1/8 is") from None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Divide each sweep over points into parts, which several processes may share."""
    if "sweep" in metafunc.fixturenames:
        option = metafunc.config.option
        metafunc.parametrize("sweep", parts_of(option.full_sweep, option.part), ids=str, indirect=True)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give a process that shares the work what was chosen here."""
    for name in CHOSEN:
        node.workerinput[name] = getattr(node.config.option, name)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return one process more than there are cores for `-n auto`: a test that waits for a poll leaves its core free."""
    return (os.cpu_count() or 1) + 1


def pytest_report_header(config: pytest.Config) -> str:
    """Say how to try the same cases again."""
    day = config.option.day
    return f"sweeps and long tests: the share of {day}; again with --day {day}, all with --full-sweep"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not of the day's share; where no file is named, the slow proofs, or all but them."""
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    sweeps: dict[str, list[pytest.Item]] = {}
    long = {} if config.option.all_turns else read_long_tests()
    resting = set(long) - long_tests_of(long, config.option.day)
    proofs = [item.nodeid for item in items if item.get_closest_marker("proof") is not None]
    waiting = set() if config.option.all_proofs else set(proofs) - set(of_the_day(proofs, config.option.day))
    for item in items:
        is_proof = item.nodeid in proofs
        name = function_of(item.nodeid)
        wanted = (config.option.all_kinds or is_proof == config.option.proofs) and item.nodeid not in waiting
        wanted = wanted and name not in resting
        (kept if wanted else left).append(item)
        if wanted and item.get_closest_marker("share") is not None:
            sweeps.setdefault(name, []).append(item)
    if not config.option.full_sweep:
        for name, cases in sweeps.items():
            marker = cases[0].get_closest_marker("share")
            assert marker is not None
            tried = random.Random(f"{config.option.day} {name}").sample(cases, min(marker.args[0], len(cases)))
            left += [each for each in cases if each not in tried]
    config.hook.pytest_deselected(items=left)
    items[:] = [each for each in kept if each not in left]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Measure the CPU time of a test with its fixtures, where that is asked for."""
    began = cpu_seconds()
    yield
    if item.config.option.measure:
        seconds = cpu_seconds() - began
        with (Path(item.config.rootpath) / MEASURED).open("a", encoding="utf-8") as file:
            file.write(f"{seconds:.3f} {item.nodeid}\n")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write which tests take long, where they were measured; the processes that share the work only add to the file."""
    measured = Path(session.config.rootpath) / MEASURED
    if hasattr(session.config, "workerinput") or not session.config.option.measure or not measured.is_file():
        return
    lines = [line.split(" ", 1) for line in measured.read_text(encoding="utf-8").splitlines()]
    measured.unlink()
    write_long_tests((name, float(seconds)) for seconds, name in lines)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print what the sweeps tried, all parts of each together."""
    if config.option.full_sweep:
        reports = [each for status in ("passed", "failed") for each in terminalreporter.getreports(status)]
        recorded = [(function_of(each.nodeid), dict(each.user_properties).get(RECORDED)) for each in reports]
        for line in summary((name, counts) for name, counts in recorded if counts is not None):
            terminalreporter.write_line(line)


def pytest_collection_finish() -> None:
    """Let the garbage collector pass by what the collected tests hold."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Chance that is the same for this test all day long, and for `--full-sweep` on every day."""
    day = "" if request.config.option.full_sweep else request.config.option.day
    return random.Random(f"{day} {request.node.nodeid}")


@pytest.fixture
def full_sweep(request: pytest.FixtureRequest) -> bool:
    """Whether the sweeps are to try everything."""
    return bool(request.config.getoption("--full-sweep"))


@pytest.fixture
def sweep(
    request: pytest.FixtureRequest,
    full_sweep: bool,
    chance: random.Random,
    record_property: Callable[[str, object], None],
) -> Sweep:
    """What a sweep over points is to try; the test is divided into parts."""
    return Sweep(part=request.param, full=full_sweep, chance=chance, record=record_property)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A project whose emulator answers by a table, for rungs that vote."""
    found = Desk(tmp_path)
    yield found
    found.close()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """Return an empty project in the working folder, whose runs go to an emulator of its own."""
    monkeypatch.chdir(tmp_path)
    made = Project(tmp_path)
    yield made
    made.close()


@pytest.fixture
def project_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], Project]]:
    """Return a function that makes projects in given folders."""
    made: list[Project] = []

    def make(folder: Path) -> Project:
        monkeypatch.chdir(folder)
        made.append(Project(folder))
        return made[-1]

    yield make
    for each in made:
        each.close()
