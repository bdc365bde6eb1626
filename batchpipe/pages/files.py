"""Files of rows on the pages: what is known of each, and its picture. Only what a request of the row has named is sent.

A page names a file by its hash and never by where it lies. A picture is looked for where it was seen with that hash,
has to lie where the pipeline may send files from, and is hashed again: another content is not shown. A picture that is
a value of the input (BLOB) is looked for in the input's row, which is read for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from batchpipe.common.errors import BatchpipeError
from batchpipe.engine.context import Context
from batchpipe.engine.source.contents import content_columns
from batchpipe.engine.source.request_files import bytes_of_row
from batchpipe.html.blocks import File
from batchpipe.html.links import SERVED, key_part
from batchpipe.media.content import SUFFIX, URL, Content, read_line
from batchpipe.media.formats import type_of
from batchpipe.pages.page import Query, query_of
from batchpipe.pages.site import Site
from batchpipe.pipeline.model import PipelineFile
from batchpipe.sql.quoting import quote_list
from batchpipe.store.database import Session, Work
from batchpipe.store.queries import query

# Types that a browser shows as a picture, without running anything in it.
SHOWN = ("image/png", "image/jpeg", "image/gif", "image/webp")
MOST_BYTES = 20_000_000
HEADERS = {
    "content-security-policy": "default-src 'none'; sandbox",
    "content-disposition": "inline",
    "cache-control": "private, no-store",
}


def file_routes(site: Site) -> list[Route]:
    """Return the route of the pictures of rows."""

    async def picture(request: Request) -> Response:
        return await run_in_threadpool(_picture, site, query_of(request, ""))

    return [Route("/p/{pipeline}/file/{sha256}/{key:path}", picture)]


def row_files(session: Session, pipeline: str, key: Sequence[str], values: Mapping[str, str | None]) -> list[File]:
    """Return the files that a row has sent, as a page shows them. `values` are its input as it was sent, by column.

    Reads `ledger.media`.
    """
    found: list[File] = []
    for column, text in values.items():
        if not column.endswith(SUFFIX) or not text:
            continue
        shown = values.get(column.removesuffix(SUFFIX)) or ""
        for content in map(_content, text.split("\n")):
            if content is not None:
                found.append(_file(session, pipeline, key, content, "" if shown.startswith("[") else shown))
    return found


def _content(line: str) -> Content | None:
    """Return the content that a recorded line says, without sizes; None for an address, or where something is wrong."""
    if not line or line.startswith((URL, "!")):
        return None
    return read_line(line if "\t" in line else f"{line}\t0 0 0 0")


def _file(session: Session, pipeline: str, key: Sequence[str], content: Content, shown: str) -> File:
    seen = session.rows(query("file_seen"), {"sha256": content.sha256})
    name = PurePosixPath(shown).name
    words = [name] if name else []
    words.append(content.type)
    if seen:
        size, width, height, pages = seen[0][1:]
        words.append(f"{size:,} bytes")
        words += [f"{width} x {height} pixels"] if width else [f"{pages} pages"] if pages else []
    # Bytes of the input have no place, and the row keeps none of them.
    picture = content.type in SHOWN and (seen or not shown)
    source = SERVED.page(pipeline, f"file/{content.sha256}/{key_part(key)}") if picture else None
    return File(words=", ".join(words), sha256=content.sha256, source=source)


def _picture(site: Site, asked: Query) -> Response:
    """Return a picture that a request of the row has named; 404 for anything else.

    Reads `ledger.requests`, `ledger.media`.
    """
    missing = PlainTextResponse("There is no such picture, or it has changed.\n", 404)
    sha256 = asked.path["sha256"]
    try:
        file = site.file(asked.pipeline)
        with site.context() as context, closing(context.work()) as work:
            with context.database.reading(work) as session:
                named = query("row_names_file", pipelines=quote_list(file.pipeline.names))
                keys = [json.dumps([asked.path["key"]], ensure_ascii=False), asked.path["key"]]
                if not session.one(named, {"keys": keys, "sha256": sha256})[0]:
                    return missing
                paths = [path for path, *_ in session.rows(query("file_seen"), {"sha256": sha256})]
            roots = context.media_roots(file)
            if not paths:
                data = _of_input(context, work, file, keys, sha256)
                kind = type_of(data or b"")
                return Response(data, media_type=kind, headers=HEADERS) if kind in SHOWN else missing
    except BatchpipeError:
        return missing
    for path in paths:
        seen = roots.look(path)
        if seen.problem is not None:
            continue
        try:
            data = Path(seen.real).read_bytes()
        except OSError:
            continue
        kind = type_of(data)
        if kind in SHOWN and hashlib.sha256(data).hexdigest() == sha256:
            return Response(data, media_type=kind, headers=HEADERS)
    return missing


def _of_input(context: Context, work: Work, file: PipelineFile, keys: Sequence[str], sha256: str) -> bytes | None:
    """Return the bytes with this hash of the input's row that `keys` name; None where there are none."""
    with context.temporary_folder("picture-") as folder, context.source(file, {}, reads_only=True) as source:
        columns = content_columns(context.resolve(file, source).input_columns)
        return bytes_of_row(work.connection, source, columns, keys, sha256, MOST_BYTES, folder / "picture.parquet")
