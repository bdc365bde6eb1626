"""Columns of the input whose values are pictures or documents: the snapshot keeps their hashes, and no picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchpipe.engine.source.snapshot import InputColumn, input_column
from batchpipe.media.content import SUFFIX, WRONG, content_name
from batchpipe.media.formats import BEGINNINGS, HEAD_BYTES
from batchpipe.sql.quoting import Sql, joined, number_sql, quote_identifier, quote_literal, sql, type_sql

_TEXTS, _BYTES = ("VARCHAR", "VARCHAR[]"), ("BLOB", "BLOB[]")
TYPES = (*_TEXTS, *_BYTES)
ADDRESS = Sql("'(?i)^https?://'")
# What a kind may be, as the beginning of a media type.
TAKES = {"image": "image/", "pdf": "application/pdf", "file": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class BytesColumn(InputColumn):
    """A column of bytes that are only sent: the snapshot has NULL in their place."""

    def held(self, value: Sql) -> Sql:
        """Return SQL for what the snapshot holds."""
        return sql("CAST(NULL AS {type})", type=type_sql(self.type))


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentColumn(InputColumn):
    """A column that the snapshot has beside the column `of`: what is known of the content of its values, as text.

    `of_type` is the type of that column, `kind` what it is sent as. `version` is the column that tells versions of an
    address apart. Paths are looked at once the snapshot is there: until then their contents are NULL.
    """

    of: str
    of_type: str
    kind: str
    version: str | None = None

    @property
    def is_bytes(self) -> bool:
        """Return whether the values are the contents themselves, and no paths or addresses."""
        return self.of_type in _BYTES

    @property
    def is_list(self) -> bool:
        """Return whether a value holds several contents."""
        return self.of_type.endswith("[]")

    @property
    def known(self) -> Sql:
        """Return SQL for the part of the contents that an input hash is over: without what follows from their bytes."""
        return sql("regexp_replace({stored}, {sizes}, '', 'g')", stored=self.stored, sizes=quote_literal("\t[^\n]*"))

    @property
    def text(self) -> Sql:
        """Return SQL for the contents as they are recorded."""
        return self.known

    def canonical(self, recipe: int) -> Sql:
        """Return SQL for the contents as they are hashed."""
        return self.known

    def stored_as(self, value: Sql) -> Sql:
        """Return SQL, over the input query, for the contents of bytes; NULL for paths."""
        column = quote_identifier(self.of)
        if not self.is_bytes:
            return sql("CAST(NULL AS VARCHAR) AS {stored}", stored=self.stored)
        made = _line_of_bytes(column, self.kind)
        if self.is_list:
            each = _line_of_bytes(Sql("x"), self.kind)
            made = sql("array_to_string(list_transform({column}, lambda x: {each}), chr(10))", column=column, each=each)
        return sql("{made} AS {stored}", made=made, stored=self.stored)


def holds_unsendable(row: Mapping[str, Any]) -> bool:
    """Return whether a row, by column, has a content that cannot be sent."""
    lines = (value for name, value in row.items() if name.endswith(SUFFIX) and isinstance(value, str))
    return any(each.startswith(WRONG) for value in lines for each in value.split("\n"))


def content_lines(columns: Iterable[ContentColumn], file: Sql) -> Sql:
    """Return a SELECT of `position`, `kind` and `line` of each content of the columns, from the snapshot's `file`."""
    found = (
        sql(
            "SELECT position, {kind} AS kind, unnest(string_split({lines}, chr(10))) AS line FROM {file} "
            "WHERE {lines} IS NOT NULL",
            kind=quote_literal(each.kind),
            lines=each.stored,
            file=file,
        )
        for each in columns
    )
    return joined(" UNION ALL ", found)


def _line_of_bytes(value: Sql, kind: str) -> Sql:
    """Return SQL for the line of the content `value`, a BLOB; NULL for NULL."""
    head = sql("hex(array_slice({value}, 1, {count}))", value=value, count=number_sql(HEAD_BYTES))
    width = sql("('0x' || substr({head}, 33, 8))::BIGINT", head=head)
    height = sql("('0x' || substr({head}, 41, 8))::BIGINT", head=head)
    told = _type_of(head)
    other = quote_literal("application/octet-stream" if kind == "file" else "")
    takes = quote_literal(TAKES[kind])
    return sql(
        "CASE WHEN {value} IS NULL THEN NULL WHEN octet_length({value}) = 0 THEN '!it is empty' "
        "WHEN NOT starts_with(coalesce({told}, {other}), {takes}) OR coalesce({told}, {other}) = '' "
        "THEN '!its content is ' || coalesce({told}, 'of an unknown type') || ', and no ' || {kind} "
        "ELSE coalesce({told}, {other}) || ' ' || sha256({value}) || chr(9) || octet_length({value}) || "
        "CASE WHEN {told} = 'image/png' AND octet_length({value}) >= 24 "
        "THEN ' ' || {width} || ' ' || {height} || ' 0' ELSE ' 0 0 0' END END",
        value=value,
        told=told,
        other=other,
        takes=takes,
        kind=quote_literal(kind),
        width=width,
        height=height,
    )


def _type_of(digits: Sql) -> Sql:
    """Return SQL for the media type of bytes that begin with these hex digits; NULL where it is not known."""
    cases = (
        sql(
            "WHEN {digits} LIKE {begins} THEN {kind}",
            digits=digits,
            begins=quote_literal(f"{each}%"),
            kind=quote_literal(kind),
        )
        for kind, each in BEGINNINGS
    )
    return sql("CASE {cases} END", cases=joined(" ", cases))


def content_column(of: InputColumn, kind: str, version: str | None) -> ContentColumn:
    """Return the column of the contents of `of`."""
    return ContentColumn(
        name=content_name(of.name),
        type="VARCHAR",
        as_text=False,
        of=of.name,
        of_type=of.type,
        kind=kind,
        version=version,
    )


def source_column(column: ContentColumn) -> Sql:
    """Return SQL, over the snapshot, for the values whose contents `column` has."""
    return input_column(column.of, column.of_type).stored


def version_text(column: ContentColumn) -> Sql:
    """Return SQL, over the snapshot, for what tells versions of an address apart; NULL where nothing does."""
    if column.version is None:
        return Sql("NULL::VARCHAR")
    return sql("CAST({stored} AS VARCHAR)", stored=input_column(column.version, "VARCHAR").stored)


def with_contents(
    columns: Sequence[InputColumn], contents: Sequence[ContentColumn], kept: frozenset[str]
) -> tuple[InputColumn, ...]:
    """Return the columns of the snapshot: those of the input and `contents`; of bytes only those `kept`."""
    sent = {each.of for each in contents if each.is_bytes} - kept
    bare = (
        BytesColumn(name=each.name, type=each.type, as_text=False) if each.name in sent else each for each in columns
    )
    return (*bare, *contents)


def content_columns(columns: Sequence[InputColumn]) -> list[ContentColumn]:
    """Return the columns of contents among `columns`."""
    return [each for each in columns if isinstance(each, ContentColumn)]


def bare_columns(columns: Sequence[InputColumn]) -> tuple[InputColumn, ...]:
    """Return the columns of the input among those of a snapshot: without their contents."""
    return tuple(each for each in columns if not isinstance(each, ContentColumn))


def joint_columns(columns: Sequence[InputColumn], read: Iterable[Sequence[InputColumn]]) -> tuple[InputColumn, ...]:
    """Return the columns of a snapshot that several pipelines over the same `columns` read, each as it is in `read`."""
    everyone = [{each.name: each for each in found} for found in read]
    contents = {each.name: each for found in everyone for each in content_columns([*found.values()])}
    bare = (
        next((found[each.name] for found in everyone if not isinstance(found[each.name], BytesColumn)), None)
        or everyone[0][each.name]
        for each in columns
    )
    return (*bare, *contents.values()) if contents else tuple(columns)
