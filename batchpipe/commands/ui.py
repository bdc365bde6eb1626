"""Run `batchpipe ui` and `batchpipe serve`: the pages of a project, for oneself or behind a proxy."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from urllib.parse import quote, urlsplit

from batchpipe.commands.call.call import Call
from batchpipe.common.errors import UsageError

EXTRA = "pip install 'batchpipe[ui]'"
SECRET_VARIABLE = "BATCHPIPE_PROXY_SECRET"
DEFAULT_PORT = 8473
LEAST_SECRET = 16
USUAL_PORTS = {"http": 80, "https": 443}
HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def ui(call: Call, pipeline: str | None, *, port: int | None, no_open: bool, read_only: bool) -> int:
    """Serve the pages on loopback to who has the printed URL, until an interrupt.

    Raises UsageError without the extra `ui`, for a pipeline that there is not, and for a port that is in use.
    """
    require_extra("ui")
    from batchpipe.pages.app import make_app
    from batchpipe.pages.guard import Door
    from batchpipe.pages.serving import HOST, kept_secret, listening_or_free, serve, show_in_browser
    from batchpipe.pages.site import Site

    name = call.one_pipeline(pipeline, "ui NAME").pipeline.name if pipeline is not None else None
    with call.context() as context:
        secret = kept_secret(context.database.make_folder())
    sockets = listening_or_free(port, DEFAULT_PORT)
    door = Door(secret=secret, read_only=read_only)
    site = Site(call=call, door=door)
    path = f"/p/{quote(name, safe='')}" if name is not None else "/"
    url = f"http://{HOST}:{sockets.getsockname()[1]}{path}?token={door.token}"

    def started() -> None:
        call.out({"url": url} if call.json else url)
        call.say("To end it: Ctrl-C")
        if not no_open and call.talks_to_person:
            show_in_browser(url)

    try:
        serve(make_app(site), sockets, started)
    finally:
        site.close()
    return 0


def serve_pages(
    call: Call, *, public_url: str, person_header: str, port: int | None, uds: str | None, read_only: bool
) -> int:
    """Serve the pages to several people behind a proxy that has logged them in, until an interrupt.

    Raises UsageError without the extra `ui`, without the secret of the proxy, and for a URL that cannot be served.
    """
    require_extra("serve")
    from batchpipe.pages.app import make_app
    from batchpipe.pages.guard import SECRET_HEADER, Door
    from batchpipe.pages.serving import HOST, listening_at, listening_or_free, serve
    from batchpipe.pages.site import Site

    if port is not None and uds is not None:
        raise UsageError("--port and --uds exclude each other", where="serve", hint="Give one of them.")
    secret = call.environment.get(SECRET_VARIABLE, "")
    if len(secret) < LEAST_SECRET:
        what = f"{SECRET_VARIABLE} is not set, or has fewer than {LEAST_SECRET} characters"
        hint = f"Make one, give it to the proxy too: export {SECRET_VARIABLE}=$(openssl rand -hex 24)"
        raise UsageError(what, where="serve", hint=hint)
    public_url = origin_of(public_url)
    if not HEADER.fullmatch(person_header) or person_header.lower() == SECRET_HEADER:
        what, hint = f"{person_header!r} cannot name the person", "Such as: --person-header X-Forwarded-User"
        raise UsageError(what, where="--person-header", hint=hint)
    sockets = listening_at(call.path(uds)) if uds is not None else listening_or_free(port, DEFAULT_PORT)
    door = Door(
        secret=secret,
        read_only=read_only,
        public_url=public_url,
        person_header=person_header,
        proxy_secret=secret,
    )
    site = Site(call=call, door=door)
    where = f"unix:{call.path(uds)}" if uds is not None else f"http://{HOST}:{sockets.getsockname()[1]}/"

    def started() -> None:
        call.out({"url": where, "public_url": public_url} if call.json else where)
        call.say(f"The proxy shows it as {public_url}, with {person_header} and the secret of {SECRET_VARIABLE}.")

    try:
        serve(make_app(site), sockets, started)
    finally:
        site.close()
        if uds is not None:
            Path(call.path(uds)).unlink(missing_ok=True)
    return 0


def require_extra(command: str) -> None:
    """Raise UsageError where the packages of the extra `ui` are not installed."""
    missing = [each for each in ("starlette", "uvicorn") if importlib.util.find_spec(each) is None]
    if missing:
        what = f"{command} needs {' and '.join(missing)}"
        raise UsageError(what, where=command, hint=f"Install it: {EXTRA}")


def origin_of(url: str) -> str:
    """Return a public URL as browsers name its origin: in small letters, ASCII, and without the usual port.

    Raises UsageError for a URL that is no place of pages at the root of a host.
    """
    hint = f"Such as: --public-url {shlex.quote('https://batchpipe.example.org')}; the pages take a whole host."
    wrong = UsageError(f"{url} is not the URL of a host", where="--public-url", hint=hint)
    try:
        found = urlsplit(url)
        port, name = found.port, (found.hostname or "").encode("idna").decode("ascii").lower()
    except ValueError as error:
        raise wrong from error
    beside = found.path.strip("/") or found.query or found.fragment or found.username is not None
    if found.scheme not in USUAL_PORTS or not name or beside:
        raise wrong
    host = f"[{name}]" if ":" in name else name
    return f"{found.scheme}://{host}" + (f":{port}" if port not in (None, USUAL_PORTS[found.scheme]) else "")
