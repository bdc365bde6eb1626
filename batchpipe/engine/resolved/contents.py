"""Find the columns that a pipeline sends as files, and the rungs that take the files of a row."""

from __future__ import annotations

from collections.abc import Sequence

from batchpipe.common.errors import Problem
from batchpipe.engine.resolved.rungs import Ladder
from batchpipe.engine.source.contents import TYPES, ContentColumn, content_column, content_columns
from batchpipe.engine.source.snapshot import InputColumn
from batchpipe.pipeline.model import PipelineFile
from batchpipe.providers import MediaLimits
from batchpipe.sql.conditions import Condition, parse_condition
from batchpipe.sql.connection import Connection
from batchpipe.sql.quoting import Sql, joined, number_sql, quote_identifier, quote_literal, sql
from batchpipe.template import Templates

NO_RUNG = Sql("'no rung of the ladder takes this row'")


def contents_of(
    file: PipelineFile, templates: Templates, columns: Sequence[InputColumn], problems: list[Problem]
) -> list[ContentColumn]:
    """Return the columns of contents that the templates use, and add to `problems` what cannot be sent."""
    by_name, found = {each.name: each for each in columns}, []
    for use in templates.media:
        column = by_name[use.column]
        made = content_column(column, use.kind, use.version)
        where = file.where("[prompt] user")
        if column.type not in TYPES:
            hint = "Select a path or an address as VARCHAR, or bytes as BLOB; or a list of them."
            problems.append(Problem(what=f"{use.kind}({use.column}) cannot send {column.type}", where=where, hint=hint))
        if made.name in by_name:
            problems.append(Problem(what=f"the column `{made.name}` is in the way", where=where, hint="Rename it."))
        if use.kind == "file" and not made.is_bytes and not file.pipeline.prompt.media_roots:
            hint = 'Name the folder whose files may be sent: media_roots = ["pipelines/data/letters"] under [prompt].'
            problems.append(Problem(what="file() sends only files below media_roots", where=where, hint=hint))
        found.append(made)
    return found


def whens_with_contents(
    connection: Connection,
    ladder: Ladder,
    whens: Sequence[Condition | None],
    contents: Sequence[ContentColumn],
) -> tuple[Condition | None, ...]:
    """Return the conditions of the rungs: a row whose files a rung's provider does not take may not use the rung."""
    if not contents:
        return tuple(whens)
    found = []
    for number, when in enumerate(whens, start=1):
        # Of a panel each member has to take the files.
        seats = [each.seat for each in ladder.parts.get(number, ())] or [number]
        names = dict.fromkeys(ladder.rungs[seat - 1].provider for seat in seats)
        taken = [ladder.providers.of(name).rules.media for name in names]
        fits = joined(" AND ", (_fits(each, limits) for each in contents for limits in taken))
        made = parse_condition(
            connection, fits, fields={}, columns=[each.name for each in contents], where="[prompt] user"
        )
        if when is not None:
            both = sql("({when}) AND ({fits})", when=when.sql, fits=made.sql)
            made = Condition(text=when.text, sql=both, inputs=when.inputs | made.inputs, outputs=when.outputs)
        found.append(made)
    return tuple(found)


def _fits(column: ContentColumn, limits: MediaLimits) -> Sql:
    """Return SQL for whether a provider with `limits` takes the contents of a row."""
    lines = sql("string_split({name}, chr(10))", name=quote_identifier(column.name))
    kind, size = Sql("split_part(x, ' ', 1)"), Sql("CAST(split_part(split_part(x, chr(9), 2), ' ', 1) AS BIGINT)")
    images = joined(", ", map(quote_literal, limits.images))
    image = sql("({kind} IN ({images}) AND {size} <= {most})", kind=kind, images=images, size=size,
                most=number_sql(limits.image_bytes))  # fmt: skip
    begins = [sql("starts_with({kind}, {each})", kind=kind, each=quote_literal(each)) for each in limits.files]
    if column.kind == "file":
        begins.append(sql("{kind} = 'application/octet-stream'", kind=kind))
    files = sql("(({begins}) AND {size} <= {most})", begins=joined(" OR ", begins), size=size,
                most=number_sql(limits.file_bytes))  # fmt: skip
    addresses = Sql("false") if column.kind == "pdf" and not limits.document_addresses else Sql("true")
    takes = {"image": image, "pdf": files}.get(column.kind, sql("({image} OR {files})", image=image, files=files))
    return sql(
        "({name} IS NULL OR (len({lines}) <= {most} AND len(list_filter({lines}, lambda x: NOT CASE "
        "WHEN x = '' THEN true WHEN starts_with(x, '!') THEN false WHEN starts_with(x, 'url ') THEN {addresses} "
        "ELSE {takes} END)) = 0))",
        name=quote_identifier(column.name),
        lines=lines,
        most=number_sql(limits.blocks),
        addresses=addresses,
        takes=takes,
    )


def why_no_rung(columns: Sequence[InputColumn], file: Sql) -> Sql:
    """Return SQL for why no rung takes the row `p` of a plan: what is wrong with its files, where they are the cause.

    `file` is SQL for the rows of the snapshot.
    """
    contents = content_columns(columns)
    if not contents:
        return sql("coalesce(d.error, {no_rung})", no_rung=NO_RUNG)
    lines = joined(", ", (each.stored for each in contents))
    return sql(
        "coalesce((SELECT any_value(nullif(regexp_extract(concat_ws(chr(10), {lines}), '(?m)^!(.*)$', 1), '')) "
        "FROM {file} s WHERE s.position = p.position), {no_rung} || '; its files are too large, too many, or of a type "
        "that no model of the ladder takes')",
        lines=lines,
        file=file,
        no_rung=NO_RUNG,
    )
