"""The application: which page answers which URL, its JSON beside it, and errors as pages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from markupsafe import Markup
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from batchpipe import __version__
from batchpipe.commands.call.failure import failure
from batchpipe.commands.printing.text import duration, json_text
from batchpipe.common.errors import BatchpipeError, LockedError, UsageError
from batchpipe.html.blocks import Block, Section, Sentences
from batchpipe.html.render import asset, render, style
from batchpipe.pages.chains import chains_sections, chains_value
from batchpipe.pages.desk.routes import desk_routes
from batchpipe.pages.files import file_routes
from batchpipe.pages.guard import Guard, person_of
from batchpipe.pages.home import home_sections, home_value
from batchpipe.pages.ledger import (
    batches_sections,
    batches_value,
    run_sections,
    run_value,
    runs_sections,
    spend_sections,
    spend_value,
)
from batchpipe.pages.page import Page, Query, crumbs, query_of, tabs
from batchpipe.pages.pipeline import (
    overview_sections,
    overview_value,
    versions_sections,
    versions_value,
)
from batchpipe.pages.plan import (
    checks_sections,
    checks_value,
    pilot_sections,
    pilot_value,
    plan_sections,
    plan_value,
)
from batchpipe.pages.quality import QUALITY_PARTS, quality_sections, quality_value
from batchpipe.pages.rows import row_sections, row_value, rows_sections, rows_value
from batchpipe.pages.site import KnownValue, Site, tried
from batchpipe.pages.writes import write_routes

STATIC = {
    "style.css": "text/css",
    "htmx.min.js": "text/javascript",
    "pages.js": "text/javascript",
    "desk.js": "text/javascript",
}
OLD_SECONDS = 10.0
LATER_SECONDS = 60.0
JSON = "application/json"
JSON_TRIES = 10  # a program that asks looks once, where a page asks again by itself
LIVE, PARTIAL = "every 3s", "every 1s"  # how often a page asks for itself, in the words of htmx
PAGES = (
    Page(path="/", title="Home", sections=home_sections, value=home_value, of_pipeline=False, live=True),
    Page(
        path="/batches", title="Batches", sections=batches_sections, value=batches_value, of_pipeline=False, live=True
    ),
    Page(path="/spend", title="Spend", sections=spend_sections, value=spend_value, of_pipeline=False),
    Page(path="/chains", title="Chains", sections=chains_sections, value=chains_value, of_pipeline=False, live=True),
    Page(path="/checks", title="Checks", sections=checks_sections, value=checks_value, of_pipeline=False, fresh=True),
    Page(path="", title="Overview", sections=overview_sections, value=overview_value, live=True),
    Page(path="/rows", title="Rows", sections=rows_sections, value=rows_value),
    Page(path="/row/{key:path}", title="Row", sections=row_sections, value=row_value, tab="rows", fresh=True),
    Page(path="/quality", title="Quality", sections=quality_sections, value=quality_value, parts=QUALITY_PARTS),
    Page(path="/versions", title="Versions", sections=versions_sections, value=versions_value, fresh=True),
    Page(path="/plan", title="Plan", sections=plan_sections, value=plan_value, fresh=True),
    Page(path="/pilot", title="Pilot", sections=pilot_sections, value=pilot_value, fresh=True),
    Page(path="/runs", title="Runs", sections=runs_sections, live=True),
    Page(path="/runs/{run}", title="Run", sections=run_sections, value=run_value, tab="runs", live=True),
)


def make_app(site: Site) -> Starlette:
    """Return the application for one project, behind its guard."""
    routes = [Route("/static/{name}", _static)]
    for page in PAGES:
        prefix = "/p/{pipeline}" if page.of_pipeline else ""
        if page.value is not None:
            path = "/.json" if page.path == "/" else f"{prefix}{page.path}.json"
            routes.append(Route(path, _json_route(site, page, page.value)))
    routes += desk_routes(site) + write_routes(site) + file_routes(site)
    for page in sorted(PAGES, key=lambda each: each.path.count("{")):
        prefix = "/p/{pipeline}" if page.of_pipeline else ""
        routes.append(Route(f"{prefix}{page.path}", _page_route(site, page)))
    handlers = {BatchpipeError: _failed(site), 404: _not_found}
    return Starlette(routes=routes, middleware=[Middleware(Guard, door=site.door)], exception_handlers=handlers)


def _page_route(site: Site, page: Page) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        return await run_in_threadpool(_page, site, page, request)

    return answer


def _json_route(site: Site, page: Page, value: Callable[[Site, Query], Any]) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        query = query_of(request, "")
        try:
            found = await run_in_threadpool(tried, lambda: value(site, query), JSON_TRIES)
        except BatchpipeError as error:
            return Response(json_text({"error": failure(error)}) + "\n", _status(error), media_type=JSON)
        return Response(json_text(found) + "\n", media_type=JSON)

    return answer


def _page(site: Site, page: Page, request: Request) -> Response:
    """Return a page, or only its body where the page itself asks for it; 204 where that has not changed."""
    query = query_of(request, person_of(request.headers, site.door) or site.person)
    inside = "hx-request" in request.headers
    if inside and query.values.get("part") in page.parts:
        return _part(site, page, query)
    seen = query.values.pop("seen", "")
    key = (page.path, query.pipeline, *sorted(query.path.items()), *sorted(query.values.items()))
    try:
        known = _known(site, page, query, key, LATER_SECONDS if inside else None)
    except BatchpipeError as error:
        if inside:
            return _body(site, page, request, _problem(error), seen)
        raise
    except TimeoutError:
        known = None  # it is read on, and the page asks for it again
    if inside:
        return _body(site, page, request, known.value if known else None, seen, known)
    body = _body(site, page, request, known.value if known else None, "", known).body
    return _whole(site, page, query, bytes(body).decode("utf-8"))


def _part(site: Site, page: Page, query: Query) -> Response:
    """Return a part of a page that the page fetches once it is shown."""
    read = page.parts[query.values["part"]]
    try:
        found = site.read(("part", page.path, query.pipeline, *sorted(query.values.items())), lambda: read(site, query))
    except BatchpipeError as error:
        return HTMLResponse(render("parts.html", found=_problem(error)))
    return HTMLResponse(render("parts.html", found=found.value))


def _known(
    site: Site, page: Page, query: Query, key: Any, wait_seconds: float | None
) -> KnownValue[Sequence[Section]] | None:
    def read() -> Sequence[Section]:
        return page.sections(site, query)

    if wait_seconds is None:
        return site.soon(key, read, fresh=page.fresh or page.live)
    if page.live:
        return site.live(key, read, wait_seconds=wait_seconds)
    return site.read(key, read, wait_seconds=wait_seconds, fresh=page.fresh)


def _body(
    site: Site,
    page: Page,
    request: Request,
    found: Sequence[Section] | None,
    seen: str,
    known: KnownValue[Any] | None = None,
) -> Response:
    """Return the body of a page. It asks for itself again: at once where it is being read, later where it is live."""
    late = found is None
    if found is None:
        found = [Section(blocks=[Sentences(found=["It is being read …"], tone="soft")])]
    inner = render("sections.html", found=found)
    digest = hashlib.sha256(inner.encode("utf-8")).hexdigest()[:16]
    if seen == digest:
        return Response(status_code=204)
    values = [(name, value) for name, value in request.query_params.multi_items() if name != "seen"]
    values.append(("seen", digest))
    path = quote(request.url.path, safe="/%:@")
    url = request.scope["raw_path"].decode("ascii") if request.scope.get("raw_path") else path
    again = f"{url.partition('?')[0]}?" + "&".join(f"{quote(name)}={quote(value)}" for name, value in values)
    trigger = LIVE if page.live else ""
    if known is not None and known.partial:
        trigger = PARTIAL
    if late:
        trigger = PARTIAL if "hx-request" in request.headers else "load"
    age = ""
    if known is not None and known.age_seconds > OLD_SECONDS and known.stamp != site.stamp():
        age = f"as it was {duration(known.age_seconds)} ago"
    return HTMLResponse(render("body.html", found=found, again=again, trigger=trigger, age=age))


def _whole(site: Site, page: Page, query: Query, body: str) -> Response:
    title = page.title if not query.pipeline else f"{query.pipeline}: {page.title}"
    if "key" in query.path:
        title = f"Row {query.path['key']}"
    return HTMLResponse(
        render(
            "page.html",
            title=title,
            crumbs=crumbs(site, page, query),
            tabs=tabs(page, query),
            heading=query.path.get("key", query.pipeline) or (site.name if page.path == "/" else page.title),
            body=Markup(body),
            project=site.name,
            version=__version__,
            emulator=site.call.settings.emulator,
            read_only=site.door.read_only,
            person=query.person,
            scripts=["htmx.min.js", "pages.js"],
        )
    )


def _failed(site: Site) -> Callable[[Request, Exception], Any]:
    """Return the handler of errors: what is wrong, where, and what mends it, as a page."""

    def answer(request: Request, error: Exception) -> Response:
        assert isinstance(error, BatchpipeError)
        page = Page(path="/error", title="Error", sections=lambda site, query: [], of_pipeline=False)
        body = render("body.html", found=_problem(error), again="", trigger="", age="")
        made = _whole(site, page, query_of(request, ""), body)
        made.status_code = _status(error)
        return made

    return answer


def _problem(error: BatchpipeError) -> list[Section]:
    said = failure(error)
    place = f"{said['where']}: " if said["where"] else ""
    blocks: list[Block] = [Sentences(found=[f"{place}{said['message']}"], tone="error")]
    blocks += [Sentences(found=[said["hint"]])] if said["hint"] else []
    return [Section(title="It cannot be shown", blocks=blocks)]


def _status(error: BatchpipeError) -> int:
    if isinstance(error, LockedError):
        return 503
    return 404 if isinstance(error, UsageError) else 400


def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in STATIC:
        return PlainTextResponse("There is no such file.\n", 404)
    content = style().encode("utf-8") if name == "style.css" else asset(name)
    return Response(content, media_type=STATIC[name], headers={"cache-control": "private, max-age=60"})


def _not_found(request: Request, error: Exception) -> Response:
    if request.url.path.endswith(".json"):
        return JSONResponse({"error": {"code": "not_found", "message": "there is no such page"}}, 404)
    return PlainTextResponse("There is no such page. To begin again: /\n", 404)
