"""Define the arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

EPILOG = "--emulator and the other options of batchpipe itself may stand here too; they are in batchpipe --help."
BEGIN, WORK, LOOK = "Begin", "Work", "Look"

Json: TypeAlias = Annotated[bool, typer.Option("--json", help="One JSON value on stdout, nothing else there.")]
Pipelines: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(metavar="PIPELINE", help="Files, folders or names under pipelines/."),
]
Pipeline: TypeAlias = Annotated[str, typer.Argument(metavar="PIPELINE", help="A file, or a name under pipelines/.")]
All: TypeAlias = Annotated[bool, typer.Option("--all", help="Every pipeline of the project.")]
Params: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="NAME=VALUE", help="A value for $NAME in the input query."),
]
NoNew: TypeAlias = Annotated[bool, typer.Option("--no-new", help="Only collect, retry and escalate what is under way.")]
Limit: TypeAlias = Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="Only the next N due rows.")]
Where: TypeAlias = Annotated[
    str | None,
    typer.Option("--where", metavar="SQL", help="Only rows that this condition holds for."),
]
Redo: TypeAlias = Annotated[
    str | None,
    typer.Option("--redo", metavar="WHAT", help="Answer again: all, model, accept or an SQL condition."),
]
Keep: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--keep", metavar="WHAT", help="Keep results though input or prompt changed: all or an SQL condition."
    ),
]
Withdraw: TypeAlias = Annotated[
    list[int] | None,
    typer.Option("--withdraw", metavar="N", help="Order N of `batchpipe status` holds no more."),
]
RetryFailed: TypeAlias = Annotated[bool, typer.Option("--retry-failed", help="Rows that ended failed are due again.")]
NoWait: TypeAlias = Annotated[bool, typer.Option("--no-wait", help="Submit and collect what is ready, then leave.")]
Wait: TypeAlias = Annotated[str | None, typer.Option("--wait", metavar="TIME", help="Leave after 45m, 2h or 90s.")]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
EvalModels: TypeAlias = Annotated[
    str | None, typer.Option("--models", metavar="all", help="Every rung answers every gold row.")
]
FailUnder: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--fail-under", metavar="X", help="Exit 1 below 0.9, or for one field label=0.9."),
]
Against: TypeAlias = Annotated[
    str | None, typer.Option("--against", metavar="V", help="Exit 1 if worse than v3, a hash or a git ref.")
]
Tune: TypeAlias = Annotated[
    bool, typer.Option("--tune", help="Find the accept of each rung that reaches --target at the least cost.")
]
