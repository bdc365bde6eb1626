"""The routes of the review desk: its page, the rows for a person, and the reviews that come back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from batchpipe import __version__
from batchpipe.commands.call.failure import failure
from batchpipe.commands.printing.agreement import agreement_object
from batchpipe.commands.printing.text import json_text
from batchpipe.common.errors import BatchpipeError, LockedError, UsageError
from batchpipe.engine.gold.agreement import read_agreement
from batchpipe.html.links import SERVED
from batchpipe.html.render import render
from batchpipe.pages.desk.counter import Counter, Said
from batchpipe.pages.guard import person_of
from batchpipe.pages.page import Page, Query, crumbs, query_of, tabs
from batchpipe.pages.pipeline import named_pipeline
from batchpipe.pages.site import Site, readable
from batchpipe.schema import exact_json

AHEAD = 60
MOST_AHEAD = 200
MOST_WORDS = 500
MOST_BYTES = 4_000_000
PAGE = Page(path="/review", title="Review", sections=lambda site, query: [])


@dataclass(slots=True, kw_only=True)
class Counters:
    """The counters of all pipelines of this process, each made when somebody first asks for it."""

    site: Site
    _found: dict[str, Counter] = field(default_factory=dict, init=False)
    _guard: threading.Lock = field(default_factory=threading.Lock, init=False)

    def of(self, name: str) -> Counter:
        """Return the counter of a pipeline. Raises UsageError where there is none."""
        file = self.site.file(name)
        with self._guard:
            known = self._found.get(name)
            if known is None or known.file != file:
                if known is not None:
                    known.close()
                known = self._found[name] = Counter(site=self.site, file=file)
            return known

    def close(self) -> None:
        """Close every desk."""
        for each in self._found.values():
            each.close()


def desk_routes(site: Site) -> list[Route]:
    """Return the routes of the desk."""
    counters = Counters(site=site)
    site.at_end.append(counters.close)

    def taken(query: Query, body: Mapping[str, Any]) -> Any:
        number = max(min(int(body.get("number", AHEAD)), MOST_AHEAD), 0)
        return counters.of(query.pipeline).take(query.person, number, _texts(body.get("have")))

    def said(query: Query, body: Mapping[str, Any]) -> Any:
        return counters.of(query.pipeline).say(query.person, _words(body))

    async def page(request: Request) -> Response:
        return await run_in_threadpool(_page, site, query_of(request, _person(site, request)))

    async def value(request: Request) -> Response:
        return await run_in_threadpool(_value, site, query_of(request, ""))

    return [
        Route("/p/{pipeline}/review", page),
        Route("/p/{pipeline}/review.json", value),
        Route("/p/{pipeline}/review/take", _route(site, taken), methods=["POST"]),
        Route("/p/{pipeline}/review/words", _route(site, said), methods=["POST"]),
    ]


def _route(site: Site, act: Callable[[Query, Mapping[str, Any]], Any]) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MOST_BYTES:
                return _json({"error": {"message": "that is too much at once"}}, 413)
        return await run_in_threadpool(_acted, act, query_of(request, _person(site, request)), body)

    return answer


def _acted(act: Callable[[Query, Mapping[str, Any]], Any], query: Query, body: bytes) -> Response:
    try:
        found = exact_json.loads(body.decode("utf-8"))
        exact_json.dumps(found).encode("utf-8")  # half of a character is no text
        if not isinstance(found, dict):
            return _json({"error": {"message": "an object is wanted"}}, 400)
        with readable():
            return _json(act(query, found), 200)
    except LockedError as error:
        return _json({"error": failure(error)}, 503)
    except BatchpipeError as error:
        return _json({"error": failure(error)}, 404 if isinstance(error, UsageError) else 400)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        return _json({"error": {"message": f"the reviews cannot be read: {error}"}}, 400)


def _page(site: Site, query: Query) -> Response:
    name = query.pipeline
    site.file(name)
    base = SERVED.page(name, "review") or ""
    return HTMLResponse(
        render(
            "desk.html",
            title=f"{name}: Review",
            crumbs=crumbs(site, PAGE, query),
            tabs=tabs(PAGE, query),
            heading=name,
            project=site.name,
            version=__version__,
            emulator=site.call.settings.emulator,
            read_only=site.door.read_only,
            person=query.person,
            scripts=["desk.js"],
            take=f"{base}/take",
            words=f"{base}/words",
            name=name,
        )
    )


def _value(site: Site, query: Query) -> Response:
    """Return what `review NAME --report --json` prints."""
    try:
        named = named_pipeline(site, query.pipeline)
        with site.context() as context, closing(context.work()) as work, context.database.reading(work) as session:
            found = read_agreement(session, named.names)
    except BatchpipeError as error:
        return _json({"error": failure(error)}, 404)
    return _json({"pipeline": named.name, **agreement_object(found)}, 200)


def _person(site: Site, request: Request) -> str:
    return person_of(request.headers, site.door) or site.person


def _words(body: Mapping[str, Any]) -> list[Said]:
    listed = body["words"]
    if not isinstance(listed, list) or len(listed) > MOST_WORDS:
        raise ValueError(f"a list of at most {MOST_WORDS} reviews is wanted")
    found = []
    for each in listed:
        if not isinstance(each, dict):
            raise TypeError("a review is an object")
        changes = None if each.get("undo") else each.get("changes", {})
        if changes is not None and not isinstance(changes, dict):
            raise ValueError("the changes of a review are an object")
        found.append(
            Said(
                id=str(each["id"])[:100],
                key=str(each["key"]),
                token=str(each.get("token", "")),
                changes={str(name): str(text) for name, text in changes.items()} if changes is not None else None,
                seen=int(each.get("seen", 0)),
            )
        )
    return found


def _texts(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []


def _json(value: Any, status: int) -> Response:
    return Response(json_text(value) + "\n", status, media_type="application/json")
