"""Do what a page allows besides reviews: approve a pilot, or pause a pipeline and cancel its batches."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from batchpipe.commands.call.failure import failure
from batchpipe.commands.cancel import cancel_pipeline
from batchpipe.commands.printing.text import count
from batchpipe.common.errors import BatchpipeError
from batchpipe.pages.guard import person_of
from batchpipe.pages.page import Query, query_of
from batchpipe.pages.plan import approve
from batchpipe.pages.site import Site


def write_routes(site: Site) -> list[Route]:
    """Return the routes of approvals and cancels."""

    def approved(query: Query) -> str:
        return approve(site, query, query.number("rows"))

    def canceled(query: Query) -> str:
        return _cancel(site, query)

    return [
        Route("/p/{pipeline}/approve", _route(site, approved), methods=["POST"]),
        Route("/p/{pipeline}/cancel", _route(site, canceled), methods=["POST"]),
    ]


def _route(site: Site, act: Callable[[Query], str]) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        named = person_of(request.headers, site.door)
        return await run_in_threadpool(_acted, site, act, query_of(request, named or site.person))

    return answer


def _acted(site: Site, act: Callable[[Query], str], query: Query) -> Response:
    """Do what a person asked for, and return its words; an error is told as it is on the command line."""
    try:
        said = act(query)
    except BatchpipeError as error:
        found = failure(error)
        return JSONResponse({"error": found, "said": f"{found['message']}. {found['hint'] or ''}"}, 409)
    site.forget()
    return JSONResponse({"said": said})


def _cancel(site: Site, query: Query) -> str:
    file = site.file(query.pipeline)
    with site.context() as context, closing(context.work()) as work:
        found = cancel_pipeline(context, work, file, lambda text: None)
    if found.error is not None:
        raise found.error
    again = site.call.suggest(f"run {query.pipeline} --resume")
    asked = count(len(found.batches), "batch was", "batches were")
    return f"Paused; {asked} asked to end. What is finished is kept. To go on: {again}"
