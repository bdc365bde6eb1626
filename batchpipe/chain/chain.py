"""Read out of the SQL of pipeline files which pipelines read the output tables of which others."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from batchpipe.common.errors import PipelineError, Problem
from batchpipe.common.likeness import nearest
from batchpipe.pipeline.files import FOLDER, Declared, declared, pipeline_files
from batchpipe.pipeline.load import load
from batchpipe.pipeline.model import Budget, PipelineFile, Prompt
from batchpipe.pipeline.value_types import EnumQuery, OutputField
from batchpipe.sql.quoting import folded, table_parts
from batchpipe.sql.tables_read import TableName, TablesRead, tables_read

# The texts that a TOML file may give to a pipeline or to a table as a name. A file without a match needs no parser.
_NAMED = re.compile(r"""=\s*["']+([^"'\n]+)""")
_HIDING = re.compile(
    r"\b(?:un)?pivot\b|\bpivot_(?:wider|longer)\b|\bquery(?:_table)?\s*\(|\ball_rows\s*\(", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A pipeline whose tables another one reads. `file` is None where its file has mistakes: `problems`.

    `children` are the tables of its list fields.
    """

    name: str
    table: str
    older_names: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    path: Path = Path()
    file: PipelineFile | None = None
    problems: Sequence[Problem] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownTable:
    """A table of the database, `schema.name`: a view that somebody made, with its SELECT, or an output table, with the
    pipeline that wrote it.
    """

    name: str
    select: str | None = None
    pipeline: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """What a pipeline reads of the others. `hides` are the places whose statements may read more tables, with the
    reason. `views` are the pipelines of whose tables SQL sees only the current rows: those that are read, and those
    that a statement with hidden tables may read.
    `only_upstream`: its input query reads nothing but output tables of other pipelines. `places` are where the file
    says so, by the paths of the files that are read.
    """

    upstream: tuple[Upstream, ...] = ()
    places: Mapping[Path, str] = field(default_factory=dict)
    views: tuple[Upstream, ...] = ()
    hides: tuple[tuple[str, str], ...] = ()
    only_upstream: bool = False


NOTHING = Reads()


@dataclass(slots=True, kw_only=True)
class Chain:
    """Knows the pipelines of the project at `root`. `catalogs` are the names that SQL may call its databases by.

    `budget` is what all pipelines of the project may spend together. `known_tables` reads the views and output tables
    of the databases, at most once, where a statement names a table that no pipeline writes: what a view reads counts as
    read by the statement.
    """

    root: Path
    catalogs: Collection[str]
    budget: Budget
    known_tables: Callable[[], Sequence[KnownTable]] = tuple
    _known: Sequence[KnownTable] | None = field(default=None, init=False)
    _paths: list[Path] | None = field(default=None, init=False)
    _declared: dict[Path, Declared] = field(default_factory=dict, init=False)
    _names_in: dict[Path, list[str]] = field(default_factory=dict, init=False)
    _upstream: dict[Path, Upstream] = field(default_factory=dict, init=False)
    _reads: dict[tuple[Any, ...], Reads] = field(default_factory=dict, init=False)
    _parser: duckdb.DuckDBPyConnection | None = field(default=None, init=False)
    _tables_in: dict[str, TablesRead] = field(default_factory=dict, init=False)

    def know(self, files: Iterable[PipelineFile]) -> None:
        """Take files that are loaded already, so that they are not read again."""
        for file in files:
            pipeline = file.pipeline
            self._upstream[file.path] = Upstream(
                name=pipeline.name,
                table=pipeline.table,
                older_names=pipeline.older_names,
                children=tuple(pipeline.output.rows.values()),
                path=file.path,
                file=file,
            )

    def reads(self, file: PipelineFile) -> Reads:
        """Return which other pipelines of the project `file` reads.

        Raises PipelineError where `after_pipelines` names a pipeline that there is not.
        """
        texts = _statements(file)
        key = (file.path, file.pipeline.input.after_pipelines, tuple(texts))
        if key not in self._reads:
            self._reads[key] = self._read(file, texts)
        return self._reads[key]

    def ordered(self, files: Sequence[PipelineFile]) -> list[PipelineFile]:
        """Return `files` in an order in which each comes after those that it reads, directly or through others.

        Raises PipelineError for pipelines that read each other in a circle.
        """
        given = {file.path: file for file in files}
        self.know(files)
        done: dict[Path, PipelineFile] = {}
        for file in files:
            self._visit(file, (), done)
        return [file for path, file in done.items() if path in given]

    def with_upstream(self, files: Sequence[PipelineFile]) -> list[PipelineFile]:
        """Return `files` and all that they read, directly or through others, in order.

        Raises PipelineError for a circle, and with the mistakes of a file that is read.
        """
        self.know(files)
        done: dict[Path, PipelineFile] = {}
        for file in files:
            self._visit(file, (), done)
        broken = [each for each in self._upstream.values() if each.problems]
        if broken:
            raise PipelineError.from_problems([one for each in broken for one in each.problems])
        return list(done.values())

    def _visit(self, file: PipelineFile, above: tuple[PipelineFile, ...], done: dict[Path, PipelineFile]) -> None:
        """Put `file` into `done` after all that it reads; `above` are the pipelines that lead to it."""
        if file.path in done:
            return
        if any(each.path == file.path for each in above):
            raise self._circle([*above[[each.path for each in above].index(file.path) :], file])
        for each in self.reads(file).upstream:
            if each.file is not None:
                self._visit(each.file, (*above, file), done)
        done[file.path] = file

    def _read(self, file: PipelineFile, texts: Mapping[str, str]) -> Reads:
        others = [path for path in self._files() if path != file.path]
        after = file.pipeline.input.after_pipelines or ()
        if not others and not after:
            return NOTHING
        statements = [*texts.items(), *self._views_read(file, others, texts)]
        joined = folded("\n".join(text for _, text in statements))
        hiding = _HIDING.search(joined) is not None
        named = others if after else [path for path in others if hiding or self._may_be_named(path, joined)]
        candidates = [each for each in map(self._one_declared, named) if each.name not in file.pipeline.names]
        if not after and not hiding:  # most files are ruled out here, without a look at any syntax tree
            candidates = [each for each in candidates if any(_is_in(table, joined) for table in each.tables)]
        if not candidates and not after:
            return NOTHING
        return self._found(file, statements, candidates, after)

    def _views_read(
        self, file: PipelineFile, others: Sequence[Path], texts: Mapping[str, str]
    ) -> list[tuple[str, str]]:
        """Return the SELECTs of the views that the statements `texts` read, directly or through other views, each with
        the place of its statement.

        Raises PipelineError where a table is read into which its pipeline writes nothing any more.
        """
        found: dict[tuple[str, str], None] = {}
        left = list(texts.items())
        while left:
            place, text = left.pop(0)
            for name in _names(self._tables(text)):
                known = self._known_table(name) if not self._is_output(others, name) else None
                if known is None:
                    continue
                if known.pipeline is not None and known.pipeline not in file.pipeline.names:
                    self._refuse_older_table(known.pipeline, name, others, file.where(place))
                if known.select is not None and (place, known.select) not in found:
                    found[place, known.select] = None
                    left.append((place, known.select))
        return list(found)

    def _refuse_older_table(self, writer: str, name: TableName, others: Sequence[Path], where: str) -> None:
        """Raise PipelineError where the pipeline `writer` wrote the table `name` before it had another name or another
        table: the rows would stay as they were.
        """
        declared_ones = map(self._one_declared, others)
        now = next((each for each in declared_ones if writer in (each.name, *each.older_names)), None)
        if now is not None:
            what = f"nothing is written any more into the table {'.'.join(name.parts)} that it reads"
            hint = f"The pipeline {now.name} writes {' and '.join(now.tables)} now: name that in its place."
            raise PipelineError(what, where=where, hint=hint)

    def _tables(self, statement: str) -> TablesRead:
        if self._parser is None:
            self._parser = duckdb.connect(":memory:")
        if statement not in self._tables_in:
            self._tables_in[statement] = tables_read(self._parser, statement)
        return self._tables_in[statement]

    def _is_output(self, others: Sequence[Path], name: TableName) -> bool:
        """Return whether `name` is an output table of one of the files `others`."""
        text = folded(name.parts[-1])
        declared_ones = (self._one_declared(path) for path in others if self._may_be_named(path, text))
        return any(self._is(name, table) for each in declared_ones for table in each.tables)

    def _known_table(self, name: TableName) -> KnownTable | None:
        """Return what the database has under `name`. A name with a dot or a slash is that of a file."""
        if "." in name.parts[-1] or "/" in name.parts[-1]:
            return None
        if self._known is None:
            self._known = self.known_tables()
        return next((each for each in self._known if self._is(name, each.name)), None)

    def _found(
        self,
        file: PipelineFile,
        statements: Sequence[tuple[str, str]],
        candidates: Sequence[Declared],
        after: Sequence[str],
    ) -> Reads:
        """Return those of `candidates` whose tables the statements read, or that `after_pipelines` names."""
        read = [(place, text, self._tables(text)) for place, text in statements]
        upstream: dict[Path, str] = {}
        for place, _, found in read:
            for each in candidates:
                if any(self._is(name, table) for name in _names(found) for table in each.tables):
                    upstream.setdefault(each.path, place)
        for name in after:
            upstream.setdefault(self._by_name(file, candidates, name).path, "[input] after_pipelines")
        meant = dict.fromkeys(upstream)
        for each in candidates:
            named = "|".join(re.escape(folded(table_parts(table)[1])) for table in each.tables)
            word = re.compile(rf"\b(?:{named})\b")
            if any(found.hides and word.search(folded(text)) for _, text, found in read):
                meant[each.path] = None
        hides = [(file.where(place), found.hides) for place, _, found in read if found.hides]
        query = read[0][2]
        known = [table for each in candidates if each.path in upstream for table in each.tables]
        return Reads(
            upstream=tuple(self._loaded(path) for path in upstream),
            places=upstream,
            views=tuple(self._loaded(path) for path in meant),
            hides=tuple(hides) if file.pipeline.input.after_pipelines is None else (),
            only_upstream=query.only_tables
            and all(any(self._is(name, table) for table in known) for name in query.tables),
        )

    def _is(self, name: TableName, table: str) -> bool:
        """Return whether `name`, as SQL writes it, is the output table `table`."""
        schema, own = (folded(each) for each in table_parts(table))
        *before, written = (folded(each) for each in name.parts)
        catalogs = {folded(each) for each in self.catalogs}
        if written != own:
            return False
        if len(before) == 2:
            return before[0] in catalogs and before[1] == schema
        if len(before) == 1:
            return before[0] == schema or (before[0] in catalogs and schema == "main")
        return schema == "main"

    def _circle(self, files: Sequence[PipelineFile]) -> PipelineError:
        """Return the error for a circle, which begins and ends with one file. It is told from the first name on."""
        around = list(files[:-1])
        begin = around.index(min(around, key=lambda file: file.pipeline.name))
        around = [*around[begin:], *around[:begin]]
        names = " -> ".join(file.pipeline.name for file in (*around, around[0]))
        steps = [
            (file, self.reads(file).places.get(read.path, "[input] query"), read.pipeline.name)
            for file, read in zip(around, [*around[1:], around[0]], strict=True)
        ]
        said = "; ".join(f"{file.pipeline.name} reads {name} in {place}" for file, place, name in steps)
        return PipelineError(
            f"these pipelines read each other in a circle: {names}",
            where=around[0].where(steps[0][1]),
            hint=f"Each needs the answers of the next one first: let one of them read another table. {said}.",
        )

    def _by_name(self, file: PipelineFile, candidates: Sequence[Declared], name: str) -> Declared:
        found = next((each for each in candidates if each.name == name), None)
        if found is not None:
            return found
        known = [each.name for each in candidates]
        near = nearest(name, known)
        hint = f"Did you mean {near!r}?" if near else f"The other pipelines are: {', '.join(known) or 'none'}."
        what = (
            "a pipeline cannot come after itself" if name in file.pipeline.names else f"there is no pipeline {name!r}"
        )
        raise PipelineError(what, where=file.where("[input] after_pipelines"), hint=hint)

    def _files(self) -> list[Path]:
        if self._paths is None:
            folder = self.root / FOLDER
            self._paths = [path.absolute() for path in pipeline_files(folder)] if folder.is_dir() else []
        return list(dict.fromkeys([*self._paths, *self._upstream]))

    def _may_be_named(self, path: Path, statements: str) -> bool:
        """Return whether the file at `path` may be of a pipeline whose table `statements`, in lower case, names."""
        known = self._upstream.get(path)
        if known is not None:
            return any(_is_in(each, statements) for each in (known.table, *known.children))
        if folded(path.stem) in statements:
            return True
        if path not in self._names_in:
            try:
                self._names_in[path] = _NAMED.findall(path.read_text(encoding="utf-8-sig"))
            except (OSError, ValueError):
                self._names_in[path] = []
        return any(_is_in(each, statements) for each in self._names_in[path])

    def _one_declared(self, path: Path) -> Declared:
        if path not in self._declared:
            known = self._upstream.get(path)
            self._declared[path] = (
                Declared(
                    path=path,
                    name=known.name,
                    table=known.table,
                    older_names=known.older_names,
                    children=known.children,
                )
                if known is not None
                else declared(path)
            )
        return self._declared[path]

    def _loaded(self, path: Path) -> Upstream:
        if path not in self._upstream:
            said = self._one_declared(path)
            try:
                file = load(path, self.root, self.budget)
            except PipelineError as error:
                self._upstream[path] = Upstream(
                    name=said.name,
                    table=said.table,
                    children=said.children,
                    path=path,
                    file=None,
                    problems=error.problems,
                )
            else:
                self.know([file])
        return self._upstream[path]


def _is_in(table: str, statements: str) -> bool:
    """Return whether a table's name is somewhere in `statements`, which are in lower case."""
    return folded(table_parts(table)[1]) in statements


def _names(read: TablesRead) -> list[TableName]:
    """Return the tables that a statement reads; all_rows() takes a name with quotes too."""
    return [*read.tables, *(TableName(tuple(each.replace('"', "").split("."))) for each in read.all_rows)]


def _statements(file: PipelineFile) -> dict[str, str]:
    """Return the SELECT statements of a file by their TOML path, the input query first."""
    pipeline = file.pipeline
    found = {"[input] query": file.query}
    prompts: list[Prompt] = [pipeline.prompt]
    if pipeline.eval is not None:
        if pipeline.eval.gold is not None and re.search(r"\s", pipeline.eval.gold.strip()):
            found["[eval] gold"] = pipeline.eval.gold
        prompts += [each.prompt for each in pipeline.eval.fields.values() if each.prompt is not None]
    for prompt in prompts:
        found |= {f"[prompt.queries] {name}": text for name, text in prompt.queries.items()}
    for name, each in pipeline.output.fields.items():
        found |= {f"[output.fields.{name}] enum": text for text in _enum_queries(each)}
    return found


def _enum_queries(each: OutputField) -> list[str]:
    found = [each.enum.query] if isinstance(each.enum, EnumQuery) else []
    below = [*(each.fields or {}).values(), *([each.items] if each.items is not None else [])]
    return [*found, *(text for one in below for text in _enum_queries(one))]
