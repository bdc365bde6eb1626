"""`python -m tests.benchmarks [ROWS...]`: CPU, time, memory and disk per program, as a table in Markdown.

A first run, an unchanged one, one with 1% changed and one that only collects, for each number of rows (default 20,000
and 200,000; `--full`: 10,000 to 2 million), beside the floor and, up to 20,000 rows, a loop over the SDK. Then what one
more row takes, and how memory grows. `--repeat N` takes each program N times and keeps the least CPU: what else the
machine does only ever adds to it. `--profile ROWS`: where the CPU of a first run goes. `--save` keeps the results in
`results.jsonl`, `--draw` makes the tables of the page of benchmarks and the picture from there.

Take it on a machine that does nothing else. Its files are in `TMPDIR`: up to 3 kB for each row of 200 bytes.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from .measure import ROOT, Bench, ProgramError, Size, bench
from .picture import picture
from .results import CHANGED, COLLECT, FIRST, FLOOR, LOOP, UNCHANGED, Cost, Profile, Result, read, taken_now, write
from .tables import COST_HEAD, PAGE, PICTURE, cost_line, growth_lines, profile_lines, redrawn

USUAL_ROWS = (20_000, 200_000)
FULL_ROWS = (10_000, 20_000, 100_000, 200_000, 1_000_000, 2_000_000)
LOOP_ROWS = 20_000
RESULTS = Path(__file__).with_name("results.jsonl")

Program = Callable[[Bench, Size], Iterator[Cost]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notebook:
    """The results of this call. With a path each is written to the file as soon as it is known, after those `kept`."""

    command: str
    path: Path | None
    kept: Sequence[Result]
    results: list[Result] = field(default_factory=list)

    def add(self, what: Cost | Profile) -> None:
        taken = self.results[0].taken if self.results else taken_now(self.command)
        self.results.append(Result(taken=taken, what=what))
        if self.path is not None:
            write(self.path, [*self.kept, *self.results])

    @property
    def costs(self) -> list[Cost]:
        return [each.what for each in self.results if isinstance(each.what, Cost)]


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    command = shlex.join(["python", "-m", "tests.benchmarks", *arguments])
    measures = bool(options.rows or options.full or not (options.profile or options.draw))
    notebook = Notebook(
        command=command,
        path=options.results if options.save else None,
        kept=kept(options.results, costs=not measures or options.add, profiles=not options.profile or options.add),
    )
    good = _measure(notebook, options) if measures else True
    if options.profile:
        good = _profile(notebook, options) and good
    if options.draw:
        draw(options.results)
    return 0 if good else 1


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    found.add_argument("rows", nargs="*", type=positive, help="numbers of rows to measure")
    found.add_argument("--full", action="store_true", help="10 thousand to 2 million rows")
    found.add_argument("--row-bytes", action="append", type=positive, help="size of a row; may be given again (200)")
    found.add_argument("--chunk", type=positive, default=10_000, help="requests per batch (10,000)")
    found.add_argument("--repeat", type=positive, default=1, help="take each program so often, keep the least CPU (1)")
    found.add_argument("--no-sdk-loop", action="store_true", help="leave the loop over the SDK out")
    found.add_argument("--profile", type=positive, metavar="ROWS", help="where the CPU of a first run goes")
    found.add_argument("--save", action="store_true", help="keep the results, in place of earlier ones")
    found.add_argument("--add", action="store_true", help="with --save: beside earlier ones")
    found.add_argument("--draw", action="store_true", help="the page's tables and the picture, of what is kept")
    found.add_argument("--results", type=Path, default=RESULTS, metavar="FILE", help="where results are kept")
    return found


def positive(text: str) -> int:
    """Return the whole number above 0 that `text` is. Raises ValueError for any other text."""
    if (number := int(text)) <= 0:
        raise ValueError(text)
    return number


def kept(path: Path, *, costs: bool, profiles: bool) -> list[Result]:
    """Return the costs, the profiles, or both, of the results in the file."""
    return [each for each in read(path) if (costs if isinstance(each.what, Cost) else profiles)]


def _measure(notebook: Notebook, options: argparse.Namespace) -> bool:
    """Print each program's line as soon as it is known. Returns whether all programs succeeded."""
    _say(COST_HEAD)
    good = True
    for size in sizes(options):
        scripts = (_floor,) if options.no_sdk_loop or size.rows > LOOP_ROWS else (_floor, _loop)
        for programs in (scripts, (_runs,), (_collect,)):
            together = partial(_together, notebook, size, programs, options.repeat)
            good = tried(f"{size.rows:,} rows", together) and good
    if grown := growth_lines(notebook.costs):
        _say("\n" + "\n".join(grown))
    return good


def sizes(options: argparse.Namespace) -> list[Size]:
    counts = [*options.rows, *(FULL_ROWS if options.full else ())] or list(USUAL_ROWS)
    return [
        Size(rows=count, row_bytes=row_bytes, chunk=options.chunk)
        for row_bytes in options.row_bytes or [200]
        for count in sorted(set(counts))
    ]


def _together(notebook: Notebook, size: Size, programs: Sequence[Program], times: int) -> bool:
    """Run programs one after the other, with an emulator of their own."""
    with tempfile.TemporaryDirectory() as folder, bench(Path(folder)) as place:
        taken = [least(times, partial(each, place, size)) for each in programs]
        good = [tried(f"{size.rows:,} rows", partial(noted, notebook, each)) for each in taken]
    return all(good)


def least(times: int, program: Callable[[], Iterator[Cost]]) -> Iterator[Cost]:
    """Measure `program` several times. Returns the cost with the least CPU, and with the highest peak memory of all."""
    if times == 1:  # each is known at once, also where a later one fails
        yield from program()
        return
    for same in zip(*[list(program()) for _ in range(times)], strict=True):
        best = min(same, key=lambda each: each.cpu_seconds)
        yield replace(best, memory_bytes=max(each.memory_bytes for each in same))


def noted(notebook: Notebook, costs: Iterator[Cost]) -> bool:
    """Keep and print each cost as soon as it is known."""
    for cost in costs:
        notebook.add(cost)
        _say(cost_line(cost, notebook.costs))
    return True


def tried(what: str, act: Callable[[], bool]) -> bool:
    """Return whether a program succeeded. One that fails loses its own results and those that depend on it, and
    no others.
    """
    try:
        return act()
    except ProgramError as error:
        sys.stderr.write(f"{what}: {error}\n")
        sys.stderr.flush()
        return False


def _floor(place: Bench, size: Size) -> Iterator[Cost]:
    place.rows(size)
    yield place.script("floor", FLOOR, size)


def _loop(place: Bench, size: Size) -> Iterator[Cost]:
    place.rows(size)
    yield place.script("sdk_loop", LOOP, size)


def _runs(place: Bench, size: Size) -> Iterator[Cost]:
    place.rows(size)
    place.project(size)
    yield place.batchpipe(FIRST, size)
    yield place.batchpipe(UNCHANGED, size)
    place.rows(size, changed=max(size.rows // 100, 1))
    yield place.batchpipe(CHANGED, size)


def _collect(place: Bench, size: Size) -> Iterator[Cost]:
    """Measure the collecting alone: all batches are in flight and have ended before it begins."""
    place.rows(size)
    place.project(size, at_once=True)
    place.batchpipe("submit only", size, "--no-wait", codes=(5,), answered=0)
    time.sleep(1)
    yield place.batchpipe(COLLECT, size, "--no-new")


def _profile(notebook: Notebook, options: argparse.Namespace) -> bool:
    good = True
    for row_bytes in options.row_bytes or [200]:
        size = Size(rows=options.profile, row_bytes=row_bytes, chunk=options.chunk)
        good = tried(f"profile of {size.rows:,} rows", partial(_profiled, notebook, size)) and good
    return good


def _profiled(notebook: Notebook, size: Size) -> bool:
    with tempfile.TemporaryDirectory() as folder, bench(Path(folder)) as place:
        place.rows(size)
        profile = place.profile(size)
    notebook.add(profile)
    _say(f"\nA first run of {size.rows:,} rows of {size.row_bytes:,} bytes:")
    for line in profile_lines(profile):
        _say(line)
    return True


def draw(path: Path) -> None:
    """Write the tables and the picture of the docs from the results in the file."""
    results = read(path)
    page = ROOT / PAGE
    text = redrawn(page.read_text(encoding="utf-8"), results)
    (ROOT / PICTURE).write_text(picture(results), encoding="utf-8")
    page.write_text(text, encoding="utf-8")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
