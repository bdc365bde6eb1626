"""The report of a project."""

from __future__ import annotations

from typing import Any

from calls import ask
from projects import Project

from batchpipe.commands.report.report import report


def reported(project: Project) -> dict[str, Any]:
    found: dict[str, Any] = ask(project, report, ["demo"], as_json=True).value
    return found
