"""Make HTML of blocks by the templates: a report of one file, or parts of a served page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from batchpipe import __version__
from batchpipe.charts.chart import Chart, style_sheet, swatches
from batchpipe.commands.printing.text import safe
from batchpipe.common.durable import written_whole
from batchpipe.common.errors import UsageError
from batchpipe.html.blocks import Section

ENDINGS = (".html", ".htm")


@cache
def templates() -> jinja2.Environment:
    """Return the templates. They escape every text, show no control character, and refuse a name that is not there."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("batchpipe.html"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, **values: Any) -> str:
    """Return the HTML of one template."""
    made = templates()
    made.globals["svg"] = _svg
    return made.get_template(template).render(**values)


def one_file(title: str, parts: Sequence[tuple[str, Sequence[Section]]], notes: Sequence[str], stamp: str) -> str:
    """Return a report as one file without script. `parts` have their names, `notes` say what it leaves out.

    `stamp` says when it was made.
    """
    made = f"{stamp}, batchpipe {__version__}"
    return render("report.html", title=title, parts=parts, notes=notes, stamp=made, style=Markup(style()))


def sections_html(found: Sequence[Section]) -> str:
    """Return the HTML of sections alone."""
    return render("sections.html", found=found)


@cache
def style() -> str:
    """Return the style sheet of all pages, with that of the charts and of the names of their colours."""
    return asset("style.css").decode("utf-8") + style_sheet() + swatches()


@cache
def asset(name: str) -> bytes:
    """Return a file that pages need."""
    return resources.files(__package__).joinpath("static", name).read_bytes()


def report_path(path: Path, given: str, option: str = "--html") -> Path:
    """Return the path of a report.

    Raises UsageError for another ending, and for a folder that does not exist.
    """
    if path.suffix.lower() not in ENDINGS:
        hint = f"Such as: {option} {shlex.quote(path.stem or 'report')}.html"
        raise UsageError("the page needs a name that ends in .html", where=f"{option} {given}", hint=hint)
    if not path.parent.is_dir():
        hint = f"Make it: mkdir -p {shlex.quote(str(path.parent))}"
        raise UsageError("there is no such folder", where=f"{option} {given}", hint=hint)
    return path


def write_report(path: Path, text: str) -> None:
    """Write a report whole, or leave what is there. Raises UsageError where the file cannot be written."""
    try:
        with written_whole(path) as beside:
            beside.write_text(text, encoding="utf-8")
    except OSError as error:
        what = f"the page cannot be written: {error.strerror}"
        hint = "See that the folder can be written and has room, or name another file."
        raise UsageError(what, where=str(path), hint=hint) from error


def _shown(value: Any) -> Any:
    """Return what a template prints for a value: Markup as it is, every text so that nothing in it is acted on."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return safe(value, lines=True)


def _svg(chart: Chart) -> Markup:
    return Markup(chart.svg)
