"""What `init` and `new` write: files to start from.

Input: a name, the rows of a data file, labels.
Output: a project with a pipeline, a prompt, data and a test in CI, or one more pipeline; an existing file stays.
It writes no table.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from batchpipe.common.errors import UsageError
from batchpipe.pipeline.reference import json_schema
from batchpipe.pipeline.sending import MOST_VOTES
from batchpipe.pipeline.value_types import NAME_PATTERN
from batchpipe.scaffold import project, rows
from batchpipe.scaffold.drafts import SCHEMA
from batchpipe.scaffold.files import write_files
from batchpipe.scaffold.sources import RowsPlace
from batchpipe.scaffold.summaries import summary_files

__all__ = ["NewPipeline", "RowsPlace", "init", "new", "new_pipeline", "next_steps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPipeline:
    """The files that were written, the key that was chosen, the columns in the prompt, and those left out of it, each
    with the reason.
    """

    paths: Sequence[Path]
    key: Sequence[str]
    shown: Sequence[str]
    left_out: Mapping[str, str]
    notes: Sequence[str]


def init(directory: Path) -> list[Path]:
    """Write a project to start from into `directory` and return the paths. Raises UsageError if a file exists."""
    return write_files(
        directory,
        {**project.files(), SCHEMA: schema_text()},
        hint="Choose a new folder: `batchpipe init DIR`; or add to this one: `batchpipe new NAME`.",
    )


def next_steps(directory: Path) -> str:
    """Return a text that says what to do after `init`."""
    return project.next_steps(directory)


def new(name: str, *, root: Path, source: Path | None = None, labels: Sequence[str] = ()) -> list[Path]:
    """Write a pipeline called `name` into the project at `root` and return the paths. Raises what `new_pipeline`
    raises.
    """
    return list(new_pipeline(name, root=root, source=source, labels=labels).paths)


def new_pipeline(
    name: str,
    *,
    root: Path,
    source: Path | None = None,
    labels: Sequence[str] = (),
    place: RowsPlace | None = None,
    summarize: bool = False,
    text: str | None = None,
    panel: Sequence[str] = (),
    samples: int = 1,
) -> NewPipeline:
    """Write a pipeline called `name` into the project at `root`, and return what was written and chosen.

    Its rows are those of the file `source` (a relative path starts at the working folder), or a few made-up ones;
    `place` says how the file was named. With `labels` the pipeline classifies; without, it writes a sentence about each
    row. With `summarize` two pipelines sum up the column `text`, however long it is. With labels the models of `panel`,
    or so many `samples` of one model, vote on the label of a row.
    Raises UsageError, before anything is written, for a wrong name, label, panel or source, or if a file exists.
    """
    _check_name(name, source)
    wanted = _checked_labels(labels)
    _check_votes(wanted, panel, samples)
    if summarize:
        if source is None or wanted:
            what = "--summarize needs --input" if source is None else "--summarize and --labels exclude each other"
            raise UsageError(what, where="--summarize", hint="Write it like --input docs.csv --text body --summarize.")
        drafted = summary_files(name, root, source, text, place)
    elif source is None:
        drafted = rows.made_up_files(name, wanted, panel, samples)
    else:
        drafted = rows.source_files(name, root, source, wanted, place, panel, samples)
    files = drafted.files if (root / SCHEMA).exists() else {**drafted.files, SCHEMA: schema_text()}
    paths = write_files(root, files, hint=f"Choose another name than {name!r}, or move the old files away.")
    return NewPipeline(
        paths=paths, key=drafted.key, shown=drafted.shown, left_out=drafted.left_out, notes=drafted.notes
    )


def schema_text() -> str:
    """Return the JSON Schema of the pipeline file, as `batchpipe schema` prints it."""
    return json.dumps(json_schema(), indent=2) + "\n"


def _check_name(name: str, source: Path | None) -> None:
    if re.fullmatch(NAME_PATTERN, name):
        return
    if source is None and Path(name).suffix and Path(name).stem:
        near = _near(Path(name).stem) or "my_rows"
        hint = f"For a pipeline on this file: {shlex.join(['batchpipe', 'new', near, '--input', name])}"
        raise UsageError(f"{name!r} is a file's name, and a pipeline needs a name of its own", hint=hint)
    near = _near(name)
    rule = "A name has lower-case letters, digits and `_`, and begins with a letter"
    hint = f"{rule}: `batchpipe new {near or 'my_rows'}`."
    raise UsageError(f"{name!r} cannot be the name of a pipeline", hint=hint)


def _check_votes(labels: Sequence[str], panel: Sequence[str], samples: int) -> None:
    """Raise UsageError where the answers of a panel or of samples could not vote."""
    option = "--panel" if panel else "--samples"
    hint = "Write it like `--labels a,b,c --panel claude-haiku-4-5 --panel openai:gpt-6-luna`, or `--samples 3`."
    if panel and samples > 1:
        raise UsageError("--panel and --samples exclude each other", where=option, hint=hint)
    if (panel or samples > 1) and not labels:
        raise UsageError(f"{option} needs --labels: the answers vote on a label", where=option, hint=hint)
    unnamed = [each for each in panel if not each.strip() or each.startswith(":") or each.endswith(":")]
    if unnamed:
        raise UsageError(f'"{unnamed[0]}" names no model', where=option, hint=hint)
    if len(panel) == 1 or max(len(panel), samples) > MOST_VOTES:
        what = f"a rung that votes asks 2 to {MOST_VOTES} times, and not {max(len(panel), samples)}"
        raise UsageError(what, where=option, hint=hint)


def _near(name: str) -> str:
    """Return `name` with what a pipeline's name may have of it."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_0123456789")


def _checked_labels(labels: Sequence[str]) -> tuple[str, ...]:
    trimmed = tuple(label.strip() for label in labels)
    hint = "Write labels like `--labels billing,bug,other`: at least two, each once."
    if any(not label for label in trimmed):
        raise UsageError("one of the labels is empty", hint=hint)
    if len(trimmed) == 1:
        raise UsageError(f"{trimmed[0]!r} is the only label", hint=hint)
    # An answer in another case is set to the label's spelling, so that two labels may not differ only in case.
    folded = [label.casefold() for label in trimmed]
    doubled = sorted({label for label in trimmed if folded.count(label.casefold()) > 1})
    if len({label.casefold() for label in doubled}) == len(doubled) > 0:
        raise UsageError(f"these labels stand twice: {', '.join(doubled)}", hint=hint)
    if doubled:
        raise UsageError(f"these labels differ only in case: {', '.join(doubled)}", hint=hint)
    return trimmed
