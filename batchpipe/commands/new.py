"""Run `batchpipe new`: add a pipeline to this project."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from batchpipe.commands.call.call import Call
from batchpipe.commands.printing.text import count, safe, shown_path
from batchpipe.common.errors import UsageError
from batchpipe.project.trust import is_ignored
from batchpipe.scaffold import RowsPlace, new_pipeline


def new(
    call: Call,
    name: str,
    source: str | None,
    labels: str | None,
    table: str | None = None,
    *,
    summarize: bool = False,
    text: str | None = None,
    panel: Sequence[str] = (),
    samples: int = 1,
) -> int:
    """Write the pipeline `name`. Its rows come from the file `source`, of a database from its `table`; `labels` is a
    list with commas. With `summarize` two pipelines sum up the column `text`. The models of `panel`, or so
    many `samples` of one model, vote on the label. Say which key was chosen and which columns the prompt shows.
    """
    if text is not None and not summarize:
        raise UsageError("--text without --summarize", where="--text", hint="Add --summarize, or leave --text out.")
    if table is not None and source is None:
        raise UsageError("--table without --input", where="--table", hint="Name the database file: --input FILE.")
    own = call.settings.database_path(call.root, call.environment)
    made = new_pipeline(
        name,
        root=call.root,
        source=call.path(source) if source is not None else None,
        labels=labels.split(",") if labels is not None else (),
        summarize=summarize,
        text=text,
        panel=panel,
        samples=samples,
        place=RowsPlace(typed=source, start=call.start, table=table, own=own),
    )
    paths = [str(path.relative_to(call.root)) for path in made.paths]
    if call.json:
        chosen = {"key": list(made.key), "prompt_columns": list(made.shown), "left_out": dict(made.left_out)}
        call.out({"pipeline": name, "files": paths, **chosen})
        return 0
    call.say(f"wrote {count(len(paths), 'file')} to {call.root}")
    for path in paths:
        call.say(f"  {path}")
    if source is not None:
        call.say(
            f"key: {_named(made.key)}, guessed because it is never NULL and never twice; to choose another: [input] key"
        )
        for note in made.notes:
            call.say(safe(note))
        call.say(f"in the prompt: {_named(made.shown)}")
        for column, reason in made.left_out.items():
            call.say(f"not in the prompt: {safe(column)}, {reason}; to show it, write it into {paths[2]}")
        if is_ignored(call.root, call.path(source)):
            shown = shlex.quote(shown_path(call.path(source), call.start))
            commit = "" if call.path(source).resolve() == own.resolve() else f"; to commit it: git add -f {shown}"
            call.say(f"git ignores {shown}, so that a checkout, as in CI, lacks these rows{commit}")
    run = f"run {name}" + (" --with-upstream" if summarize else "")
    call.out(f"To try it: {call.suggest(run + ('' if call.settings.emulator else ' --emulator'))}")
    return 0


def _named(columns: Sequence[str]) -> str:
    """Return the names of columns; one that holds a comma is in quotes."""
    return safe(", ".join(f'"{column}"' if "," in column else column for column in columns))
