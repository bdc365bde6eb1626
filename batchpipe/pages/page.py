"""A page: its place, its sections, and the values of its JSON. The routes make answers of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from batchpipe.html.blocks import Section
from batchpipe.html.links import SERVED
from batchpipe.pages.site import Site

TABS = (
    ("", "Overview"),
    ("rows", "Rows"),
    ("review", "Review"),
    ("quality", "Quality"),
    ("versions", "Versions"),
    ("plan", "Plan"),
    ("pilot", "Pilot"),
    ("runs", "Runs"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is asked for: the pipeline, the other parts of the path, the query string, and who asks."""

    pipeline: str
    path: dict[str, str]
    values: dict[str, str]
    person: str

    def number(self, name: str, default: int = 0, most: int = 1_000_000_000) -> int:
        """Return a whole number of the query string, from 0 to `most`; `default` where there is none."""
        text = self.values.get(name, "")
        return min(int(text), most) if text.isdecimal() and len(text) < 12 else default


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A kind of page. `sections` reads what it shows, `value` what its JSON says; `live` ones look again and again.
    `fresh` ones depend on more than the database and the pipeline files.

    `parts` are fetched by the page once it is shown, as `?part=NAME`.

    `path` is that below the pipeline, or the whole one of a page of the project. `tab` is the tab that it belongs to.
    """

    path: str
    title: str
    sections: Callable[[Site, Query], Sequence[Section]]
    value: Callable[[Site, Query], Any] | None = None
    of_pipeline: bool = True
    live: bool = False
    fresh: bool = False
    tab: str | None = None
    parts: Mapping[str, Callable[[Site, Query], Sequence[Section]]] = field(default_factory=dict)


def crumbs(site: Site, page: Page, query: Query) -> list[tuple[str, str | None]]:
    """Return the way to a page: names with their links, the last one without."""
    if not page.of_pipeline:
        return [(site.name, "/" if page.path != "/" else None), *([(page.title, None)] if page.path != "/" else [])]
    way: list[tuple[str, str | None]] = [(site.name, "/")]
    way.append((query.pipeline, SERVED.page(query.pipeline) if page.path else None))
    return way + ([(page.title, None)] if page.path else [])


def tabs(page: Page, query: Query) -> list[tuple[str, str, bool]]:
    """Return the tabs of a pipeline: name, link, and whether it is the page's own."""
    if not page.of_pipeline:
        return []
    own = page.tab if page.tab is not None else page.path.strip("/").partition("/")[0]
    return [(name, SERVED.page(query.pipeline, path) or "", path == own) for path, name in TABS]


def query_of(request: Request, person: str) -> Query:
    """Return what a request asks for."""
    path = {name: str(value) for name, value in request.path_params.items()}
    return Query(pipeline=path.pop("pipeline", ""), path=path, values=dict(request.query_params), person=person)
