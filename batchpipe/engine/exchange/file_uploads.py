"""Files that many requests send: uploaded once for each account, named by them, deleted when their batches have ended.

An upload costs nothing and may be repeated. It is recorded before a request names it, together with the chunks that
will: what no open chunk names is deleted later. One that was never recorded is deleted by the provider, after its time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from batchpipe.common.errors import CredentialsError, NoProviderError
from batchpipe.engine.exchange.run_parts import RunParts
from batchpipe.engine.exchange.sent_to import SentTo
from batchpipe.engine.exchange.uploads import FAILURES, UPLOAD_SECONDS, UPLOADS_AT_ONCE, not_made
from batchpipe.engine.ledger.events import OpenBatch, batches_with
from batchpipe.engine.media.shared import shared_contents
from batchpipe.engine.source.request_files import ChangedFileError
from batchpipe.engine.source.snapshot import Snapshot
from batchpipe.providers import NotSentError, RefusedError, UnavailableError, UploadedFile
from batchpipe.sql.quoting import Sql
from batchpipe.store.database import Session
from batchpipe.store.queries import query

# How long a batch may run that names an upload, and what it takes to make it.
NAMED_FOR = timedelta(hours=25)
# How many uploads are recorded together, and how many bytes of theirs are in memory.
RECORDED_TOGETHER, BYTES_AT_ONCE = 32, 64_000_000
Failed = NotSentError | RefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """A content that the requests of `chunks` share, to be named at one account."""

    sha256: str
    media_type: str
    bytes: int
    sent_to: SentTo
    chunks: list[str] = field(default_factory=list)

    @property
    def account(self) -> tuple[str, str]:
        """Return the URL and the key that name the account."""
        return self.sent_to.url, self.sent_to.provider.key_hash

    @property
    def identity(self) -> tuple[str, str, str]:
        """Return what tells the content from others, also from the same one at another account."""
        return (*self.account, self.sha256)


@dataclass(slots=True, kw_only=True)
class NamedFiles:
    """Holds what the requests of each chunk call files, by hash, and the chunks for which an upload failed."""

    names: dict[str, dict[str, str]] = field(default_factory=dict)
    failed: dict[str, Failed] = field(default_factory=dict)

    def add(self, content: _Content, name: str) -> None:
        """Let the requests of a content's chunks call it by `name`."""
        for chunk_id in content.chunks:
            self.names.setdefault(chunk_id, {})[content.sha256] = name

    def fail(self, content: _Content, error: Failed) -> None:
        """Let no batch be made of a content's chunks."""
        for chunk_id in content.chunks:
            self.failed.setdefault(chunk_id, error)


def name_files(parts: RunParts, snapshot: Snapshot, chunks: Mapping[str, SentTo]) -> NamedFiles:
    """Return what the requests of `chunks` call the files that they share with others; what is not there is uploaded.

    Reads `work.shared_files`, `work.chunk`, the snapshot, `ledger.uploads`. Writes `ledger.uploads`, `ledger.events`.
    """
    found = NamedFiles()
    contents = _contents(parts, snapshot, chunks)
    if not contents:
        return found
    left = _name_known(parts, contents, found)
    for group in _groups(left):
        _upload(parts, snapshot, group, found)
    return found


def _contents(parts: RunParts, snapshot: Snapshot, chunks: Mapping[str, SentTo]) -> list[_Content]:
    """Return the shared contents of chunks by account. Reads `work.shared_files`, `work.chunk`, the snapshot."""
    connection = parts.work.connection
    if parts.files is None or connection.execute(Sql("SELECT count(*) FROM work.shared_files")).fetchall() == [(0,)]:
        return []
    lines = shared_contents(parts.files.columns, snapshot)
    found: dict[tuple[str, str, str], _Content] = {}
    for chunk_id, sha256, media_type, size in connection.execute(query("shared_of_chunks", lines=lines)).fetchall():
        if chunk_id not in chunks:
            continue
        sent_to = chunks[chunk_id]
        content = _Content(sha256=sha256, media_type=media_type, bytes=size, sent_to=sent_to)
        found.setdefault(content.identity, content).chunks.append(chunk_id)
    return list(found.values())


def _name_known(parts: RunParts, contents: Sequence[_Content], found: NamedFiles) -> list[_Content]:
    """Name the contents whose uploads are there; return the others.

    That a chunk names an upload is committed before the upload is asked for: nobody gives it up then.
    """
    with parts.reading() as session:
        known = any(_live(session, contents))
    if not known:
        return [*contents]
    with parts.writing() as session:
        live = {each.identity: upload for each, upload in _live(session, contents)}
        named = [each for each in contents if each.identity in live]
        _record_use(parts, session, [(each, live[each.identity][0]) for each in named])
    calls = [partial(each.sent_to.provider.has_file, live[each.identity][1]) for each in named]
    answers = parts.pool(calls, UPLOADS_AT_ONCE, FAILURES)
    gone = {each.identity for each, answer in zip(named, answers, strict=True) if answer is False}
    if gone:
        with parts.writing() as session:
            for identity in gone:
                parts.add_event(session, "file_discarded", {"upload_id": live[identity][0]}, chunk_id=None)
    for each in named:
        if each.identity not in gone:
            found.add(each, live[each.identity][2])
    return [each for each in contents if each.identity not in live or each.identity in gone]


def _live(session: Session, contents: Sequence[_Content]) -> Iterator[tuple[_Content, tuple[str, str, str]]]:
    """Yield the contents with an upload that lives long enough: its id, the provider's id, and its name.

    Reads `ledger.uploads`, `ledger.events`.
    """
    for url, key_hash in sorted({each.account for each in contents}):
        here = [each for each in contents if each.account == (url, key_hash)]
        values = {"base_url": url, "key_hash": key_hash, "until": session.now + NAMED_FOR}
        hashes = {"hashes": [each.sha256 for each in here]}
        uploads = {sha256: rest for sha256, *rest in session.rows(query("live_uploads"), values | hashes)}
        for each in here:
            if each.sha256 in uploads:
                upload_id, file_id, name = uploads[each.sha256]
                yield each, (upload_id, file_id, name)


def _groups(contents: Sequence[_Content]) -> Iterator[list[_Content]]:
    """Yield `contents` in groups that are uploaded and recorded together."""
    group: list[_Content] = []
    for each in contents:
        if group and (len(group) == RECORDED_TOGETHER or sum(one.bytes for one in group) + each.bytes > BYTES_AT_ONCE):
            yield group
            group = []
        group.append(each)
    if group:
        yield group


def _upload(parts: RunParts, snapshot: Snapshot, group: Sequence[_Content], found: NamedFiles) -> None:
    """Upload the contents of a group, and record them with the chunks that name them.

    A file that has changed is left out: its chunk is not sent.
    """
    assert parts.files is not None
    with parts.reading() as session:
        ids = {each.identity: session.new_id() for each in group}
    firsts = dict.fromkeys(each.chunks[0] for each in group)
    readers = {each: parts.files.of_chunk(parts.work.connection, snapshot, each) for each in firsts}
    data: dict[str, bytes] = {}
    for each in group:
        with suppress(ChangedFileError):
            data[each.sha256] = readers[each.chunks[0]](each.sha256)
    there = [each for each in group if each.sha256 in data and not set(each.chunks) <= found.failed.keys()]
    calls = [
        partial(
            each.sent_to.provider.upload_file,
            data[each.sha256],
            each.media_type,
            f"bp-{ids[each.identity].replace('-', '')}",
            timeout_seconds=UPLOAD_SECONDS,
        )
        for each in there
    ]
    answers = list(zip(there, parts.pool(calls, UPLOADS_AT_ONCE, FAILURES), strict=True))
    made = [(each, answer) for each, answer in answers if isinstance(answer, UploadedFile)]
    if made:
        with parts.writing() as session:
            for each, upload in made:
                _record(parts, session, each, ids[each.identity], upload)
            _record_use(parts, session, [(each, ids[each.identity]) for each, _ in made])
    for each, answer in answers:
        if isinstance(answer, UploadedFile):
            found.add(each, answer.name)
        else:
            found.fail(each, not_made(answer) if isinstance(answer, UnavailableError) else answer)


def _record(parts: RunParts, session: Session, content: _Content, upload_id: str, made: UploadedFile) -> None:
    """Record an upload. Writes `ledger.uploads`."""
    sent_to = content.sent_to
    life = timedelta(seconds=sent_to.known.rules.media.upload_seconds)
    session.execute(
        query("insert_upload"),
        {
            "upload_id": upload_id,
            "file_id": made.file_id,
            "name": made.name,
            "sha256": content.sha256,
            "media_type": content.media_type,
            "bytes": content.bytes,
            "protocol": sent_to.known.protocol,
            "base_url": sent_to.url,
            "key_hash": sent_to.provider.key_hash,
            "expires_at": made.expires_at or session.now + life,
            "run_id": parts.run_id,
            "now": session.now,
            "seq": session.seq,
        },
    )


def _record_use(parts: RunParts, session: Session, uses: Sequence[tuple[_Content, str]]) -> None:
    """Record which uploads each chunk names. Writes `ledger.events`."""
    by_chunk: dict[str, list[str]] = {}
    for content, upload_id in uses:
        for chunk_id in content.chunks:
            by_chunk.setdefault(chunk_id, []).append(upload_id)
    for chunk_id, ids in by_chunk.items():
        parts.add_event(session, "files_named", {"upload_ids": ids}, chunk_id=chunk_id)


def discard_uploads(parts: RunParts, looked_at: Sequence[OpenBatch]) -> int:
    """Delete the uploads that no open chunk names. Return how many; what cannot be deleted now is left to a later look.

    `looked_at` are the chunks that were open: where no protocol of theirs has uploads, nothing is looked up.
    Reads `ledger.uploads`, `ledger.events`, `ledger.batches`. Writes `ledger.events`.
    """
    if not any(parts.providers.known_of(each).rules.media.uploads for each in looked_at):
        return 0
    left = _given_up(parts)
    gone = []
    for batch, upload_id, file_id in left:
        with suppress(NotSentError, UnavailableError, NoProviderError, CredentialsError):
            try:
                parts.providers.of(batch).discard(file_id)
            except RefusedError as error:
                if error.kind != "not_found" and error.status != 403:
                    continue
            gone.append(upload_id)
    if gone:
        with parts.writing() as session:
            for upload_id in gone:
                parts.add_event(session, "file_discarded", {"upload_id": upload_id}, chunk_id=None)
    return len(gone)


def _given_up(parts: RunParts) -> list[tuple[OpenBatch, str, str]]:
    """Give up the uploads that no open chunk names, so that none names them from now on; return those to be deleted.

    Reads `ledger.uploads`, `ledger.events`, `ledger.batches`. Writes `ledger.events`.
    """
    with parts.reading() as session:
        if not session.one(query("any_uploads_left"), {"now": session.now})[0]:
            return []
        if not _left(session):
            return []
    with parts.writing() as session:
        left = _left(session)
        for _, row in left:
            if not row["given_up"]:
                parts.add_event(session, "file_given_up", {"upload_id": row["upload_id"]}, chunk_id=None)
    return [(batch, row["upload_id"], row["file_id"]) for batch, row in left]


def _left(session: Session) -> list[tuple[OpenBatch, dict[str, Any]]]:
    return batches_with(session, query("uploads_left"), {"now": session.now})
