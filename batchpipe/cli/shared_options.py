"""Define arguments and options: those that several commands share, and some of commands with many."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

EPILOG = "You can also add --emulator and the other general options here. They are listed by: batchpipe --help"
BEGIN, WORK, LOOK = "Begin", "Work", "Look"


# DuckDB's largest number of rows.
MOST_ROWS = 2**63 - 1


def at_most(value: int | None) -> int | None:
    """Return a number of rows as DuckDB can take it: there are never more."""
    return None if value is None else min(value, MOST_ROWS)


def pipeline_names(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of pipelines that begin with `incomplete`, for shell completion.

    They are the files in the nearest folder `pipelines` upward of the working folder (or of `-C`), and below it;
    nothing is read. Names that stand on the command line already are left out.
    """
    from batchpipe.pipeline.files import FOLDER, pipeline_files

    here = Path(context.find_root().params.get("directory") or ".").absolute()
    given = context.params.get("pipelines") or ()
    for folder in (here, *here.parents):
        if (folder / FOLDER).is_dir():
            found = {path.stem for path in pipeline_files(folder / FOLDER)}
            return sorted(name for name in found.difference(given) if name.startswith(incomplete))
    return []


def page_names(incomplete: str) -> list[str]:
    """Return the pages that `incomplete` begins, for shell completion: `guides/review`, or `review` alone."""
    from batchpipe.commands.docs.pages import read_pages

    names = {page.topic for page in read_pages()}
    names |= {page.name for page in read_pages()} if incomplete else set()
    return sorted(name for name in names if name.startswith(incomplete))


Html: TypeAlias = Annotated[
    str | None, typer.Option("--html", metavar="FILE", help="Write an HTML page that needs no other file.")
]
WithRows: TypeAlias = Annotated[
    bool, typer.Option("--with-rows", help="Put the texts of the rows into the HTML page, too.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON value on stdout, and nothing else.")]
Pipelines: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PIPELINE", help="Pipelines: files, folders, or names under pipelines/.", autocompletion=pipeline_names
    ),
]
Pipeline: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="PIPELINE", help="The pipeline: a file, or a name under pipelines/.", autocompletion=pipeline_names
    ),
]
All: TypeAlias = Annotated[bool, typer.Option("--all", help="Take every pipeline of the project.")]
WithUpstream: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--with-upstream",
        help="Take also the pipelines whose tables these ones read. Other options hold for the named ones only.",
    ),
]
Params: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="NAME=VALUE", help="Give the value of $NAME in the input query."),
]
NoNew: TypeAlias = Annotated[
    bool, typer.Option("--no-new", help="Send no new rows; only collect, retry and escalate what was begun.")
]
Limit: TypeAlias = Annotated[
    int | None, typer.Option("--limit", min=1, callback=at_most, metavar="N", help="Send only the next N due rows.")
]
Where: TypeAlias = Annotated[
    str | None,
    typer.Option("--where", metavar="SQL", help="Take only rows for which this condition is true."),
]
Redo: TypeAlias = Annotated[
    str | None,
    typer.Option("--redo", metavar="WHAT", help="Ask again: all, model, accept, or an SQL condition."),
]
Keep: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--keep",
        metavar="WHAT",
        help="Keep results although the input or the prompt changed: all, or an SQL condition.",
    ),
]
Withdraw: TypeAlias = Annotated[
    list[int] | None,
    typer.Option("--withdraw", metavar="N", help="Withdraw order N, as numbered by `batchpipe status`."),
]
RetryFailed: TypeAlias = Annotated[bool, typer.Option("--retry-failed", help="Try failed rows again.")]
NoWait: TypeAlias = Annotated[
    bool, typer.Option("--no-wait", help="Submit what is due, collect what has ended, and do not wait.")
]
Wait: TypeAlias = Annotated[
    str | None, typer.Option("--wait", metavar="TIME", help="Wait at most this long: 45m, 2h or 90s.")
]
PendingOk: TypeAlias = Annotated[
    bool, typer.Option("--pending-ok", help="Exit 0 instead of 5 while batches are in flight.")
]
MaxUsd: TypeAlias = Annotated[
    str | None, typer.Option("--max-usd", metavar="X", help="Spend at most this many US dollars in this call.")
]
By: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--by",
        metavar="TIME",
        help="Ask in realtime what batches do not answer by this time: 07:00, or ISO with an offset.",
    ),
]
Realtime: TypeAlias = Annotated[
    bool,
    typer.Option("--realtime", help="Ask each request by a realtime call, not in batches: full price."),
]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before sending.")]
OtherModels: TypeAlias = Annotated[
    list[str] | None, typer.Option("--model", metavar="X", help="Let this model answer too, on the ladder or not.")
]
GoldSample: TypeAlias = Annotated[
    int | None, typer.Option("--sample", min=1, callback=at_most, metavar="N", help="Take only N of the gold rows.")
]
Target: TypeAlias = Annotated[
    float | None, typer.Option("--target", metavar="X", help="The accuracy that --tune must reach. Default: 0.9.")
]
Plot: TypeAlias = Annotated[
    str | None, typer.Option("--plot", metavar="FILE", help="Draw cost and accuracy into this SVG file.")
]
EvalModels: TypeAlias = Annotated[
    str | None, typer.Option("--models", metavar="all", help="Let every rung answer every gold row.")
]
FailUnder: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-under", metavar="X", help="Exit 1 if the accuracy is below X: 0.9, or label=0.9 for one field."
    ),
]
Against: TypeAlias = Annotated[
    str | None, typer.Option("--against", metavar="V", help="Exit 1 if worse than version V: v3, a hash or a git ref.")
]
Shares: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--shares",
        metavar="FIELD",
        help="Report the share of each value of this field, with an interval by the reviewed sample.",
    ),
]
SharesBy: TypeAlias = Annotated[
    str | None, typer.Option("--by", metavar="COLUMN", help="With --shares: separately for each value of this column.")
]
AsGoodAs: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--as-good-as",
        metavar="MODEL",
        help="With --tune: promise agreement with this model, on rows that it and every rung answer; needs no gold.",
    ),
]
Labels: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--labels",
        callback=at_most,
        metavar="N",
        help="With --as-good-as: how many rows are answered for it. Default: 400.",
    ),
]
ReviewerUsd: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--reviewer-usd",
        metavar="X",
        help="With --tune: a person is the last rung, for this many US dollars a row.",
    ),
]
ReviewerAccuracy: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--reviewer-accuracy",
        min=0,
        max=1,
        metavar="X",
        help="The share of rows that a person gets right. Default: from rows that people reviewed, else 1.",
    ),
]
Precision: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--precision",
        metavar="FIELD=VALUE:X",
        help="With --tune: at least the share X of the answers with this value must be right.",
    ),
]
Recall: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--recall",
        metavar="FIELD=VALUE:X",
        help="With --tune: at least the share X of the rows with this true value must be found.",
    ),
]
Risk: TypeAlias = Annotated[
    float | None,
    typer.Option("--risk", metavar="X", help="The share of promises by --tune that may be broken. Default: 0.05."),
]
HeldOut: TypeAlias = Annotated[
    bool, typer.Option("--held-out", help="Promise for the rest of this table, with half of the gold rows.")
]
Tune: TypeAlias = Annotated[
    bool, typer.Option("--tune", help="Find the accept of each rung that reaches --target at the lowest cost.")
]
MaxDrop: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--max-drop",
        min=0,
        max=1,
        metavar="X",
        help="Exit 1 if the accuracy is lower than with --against by more than X.",
    ),
]
EvalMaxUsd: TypeAlias = Annotated[
    str | None,
    typer.Option("--max-usd", metavar="X", help="Spend at most this many US dollars for each model and judge."),
]
History: TypeAlias = Annotated[
    bool, typer.Option("--history", help="Print the results of earlier evaluations, by prompt version.")
]
Pilot: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--pilot",
        min=1,
        callback=at_most,
        metavar="N",
        help="Send N rows of a new prompt version, then stop for approval.",
    ),
]
