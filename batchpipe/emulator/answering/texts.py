"""The texts of one request, by which rules and answers find it."""

from dataclasses import dataclass

from batchpipe.emulator.answering.files import File


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of one request.

    `last`: the last user message. `other`: the system prompt and the user messages before it. `own`: the text that
    tells the row from others, and that stays the same when a retry adds turns or text blocks: the first text of the
    last user message without a cache mark at its end. `cached`: everything before the last cache mark. `cache_ttl`: the
    lifetime of that mark, or None. `files`: the pictures and documents; in the texts each stands by its hash.
    """

    last: str
    other: str
    own: str
    cached: str = ""
    cache_ttl: str | None = None
    files: tuple[File, ...] = ()
