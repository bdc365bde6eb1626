"""Compiling of templates: they are read with all that they include, and all mistakes are reported in one error."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes

from batchpipe.common.errors import PipelineError, Problem
from batchpipe.media.content import content_name
from batchpipe.pipeline.model import Prompt
from batchpipe.providers import Turn
from batchpipe.template.environment import CANONICAL_RECIPE, Environment, KeysFirst
from batchpipe.template.hints import listed_values
from batchpipe.template.media import MediaUse
from batchpipe.template.names import FIELDS, ROW, KnownNames, Usage, Walker
from batchpipe.template.references import near
from batchpipe.template.render import Place, Templates
from batchpipe.template.syntax import syntax_hint
from batchpipe.template.turns import SOURCE as TURNS_SOURCE
from batchpipe.template.turns import turn_problems, turns_of

PROMPTS = "prompts"


class _Sources:
    """The texts of the templates. Each file is read once, so that an edit during a run has no effect on the run."""

    def __init__(self, root: Path) -> None:
        self.folder = root / PROMPTS
        self.texts: dict[str, str] = {}
        self.places: dict[str, Place] = {}

    def add_inline(self, name: str, text: str, shown: str) -> None:
        self.texts[name] = text.replace("\r\n", "\n")
        self.places[name] = Place(shown, inline=True)

    def add_file(self, name: str) -> tuple[str, str] | None:
        """Read `prompts/<name>`. Returns (what is wrong, hint) if it cannot be read, else None."""
        if name in self.texts:
            return None
        path = self.folder / name
        try:
            resolved = path.resolve()
            if not resolved.is_relative_to(self.folder.resolve()):
                return f"`{name}` is outside {PROMPTS}/", f"Copy the file into {PROMPTS}/."
            text = resolved.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError:
            return f"{PROMPTS}/{name} is not UTF-8 text", "Save the file as UTF-8."
        except PermissionError:
            return f"{PROMPTS}/{name} cannot be read: permission denied", "Let this user read the file and its folder."
        except (OSError, ValueError, RuntimeError):
            return f"there is no template {PROMPTS}/{name}", near(name, self.files())
        self.texts[name] = text.replace("\r\n", "\n")
        self.places[name] = Place(f"{PROMPTS}/{name}", inline=False)
        return None

    def add_all(self) -> None:
        """Read every file: an include with a computed name may read any of them."""
        for name in self.files():
            self.add_file(name)

    def files(self) -> list[str]:
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.folder).as_posix() for path in found)


def _rename(name: str, first: str, second: str) -> str:
    """Return the edit that gives one of two things called `name` another name."""
    if first == "an input column":
        return f"Rename the column in the query: SELECT {name} AS {name}_column."
    return f"Rename {second if second.startswith('a ') else first} `{name}`: {name}_2 = ..."


class _Compiler:
    """The reader of a pipeline's templates; it collects all mistakes before it raises an error."""

    def __init__(self, root: Path, where: Callable[[str], str], recipe: int) -> None:
        self.problems: list[Problem] = []
        self.sources = _Sources(root)
        self.environment = Environment(self.sources.texts, recipe)
        self.where = where
        self._trees: dict[str, nodes.Template | None] = {}

    def problem(self, what: str, where: str, hint: str) -> None:
        self.problems.append(Problem(what=what, where=where, hint=hint))

    def clashes(self, columns: Collection[str], vars: Collection[str], queries: Collection[str]) -> None:
        """Add a mistake for each name that two things have."""
        kinds = (
            ("an input column", "[input] query", {*columns}),
            ("a var", "[prompt.vars]", {*vars}),
            ("a query", "[prompt.queries]", {*queries}),
            ("batchpipe's name for the whole row or for the output fields", "[prompt]", {ROW, FIELDS}),
        )
        for index, (first, first_place, names) in enumerate(kinds):
            for second, second_place, others in kinds[index + 1 :]:
                place = first_place if second_place == "[prompt]" else second_place
                for name in sorted(names & others):
                    what = f"`{name}` is {first} and {second}: a template could not tell them apart"
                    self.problem(what, self.where(f"{place} {name}"), _rename(name, first, second))

    def part(self, kind: str, file: str | None, text: str | None) -> str | None:
        """Read the template of `system` or `user`, from a file or inline. Returns its name; None if there is none."""
        if file is not None and text is not None:
            where = self.where(f"[prompt] {kind}_text")
            self.problem(f"`{kind}` and `{kind}_text` are both given", where, "Remove one of the two.")
        if file is not None:
            trouble = self.sources.add_file(file)
            if trouble:
                self.problem(trouble[0], self.where(f"[prompt] {kind}"), trouble[1])
            return None if trouble else file
        if text is None:
            return None
        name = f"<{kind}_text>"
        self.sources.add_inline(name, text, self.where(f"[prompt] {kind}_text"))
        return name

    def turns(self, name: str | None, queries: Mapping[str, list[dict[str, Any]]]) -> tuple[Turn, ...]:
        """Return the turns that the rows of the query `name` are; nothing after adding a mistake."""
        rows = queries.get(name, []) if name is not None else []
        problems = list(turn_problems(name or "", rows))
        for what, hint in problems:
            self.problem(what, self.where("[prompt] turns"), hint)
        return () if problems else turns_of(rows)

    def load(self, name: str, template: str, line: int, optional: bool) -> nodes.Template | None:
        """Return the parsed template `name`, to which `template` refers on `line`; None after adding a mistake."""
        trouble = self.sources.add_file(name)
        if trouble is None:
            return self.parse(name)
        if not optional:
            self.problem(trouble[0], self.sources.places[template].at(line), trouble[1])
        return None

    def parse(self, name: str) -> nodes.Template | None:
        if name not in self._trees:
            try:
                self._trees[name] = self.environment.parse(self.sources.texts[name], name)
            except jinja2.TemplateSyntaxError as error:
                self._trees[name] = None
                self._syntax(error, name)
        return self._trees[name]

    def compiled(self, name: str) -> None:
        """Compile a template, to find what Jinja refuses only then: a block that is defined twice, and the like."""
        try:
            self.environment.get_template(name)
        except jinja2.TemplateSyntaxError as error:
            self._syntax(error, name)

    def _syntax(self, error: jinja2.TemplateSyntaxError, name: str) -> None:
        place = self.sources.places[error.name or name].at(error.lineno)
        self.problem(f"the template has a syntax error: {error.message}", place, syntax_hint(str(error.message)))

    def usage(self, name: str, names: KnownNames) -> Usage:
        walker = Walker(self.environment, names, self.load)
        tree = self.parse(name)
        if tree is not None:
            walker.walk(name, tree)
        return walker.usage

    def media(self, parts: Mapping[str, Usage], system: str | None) -> None:
        """Add a mistake for files in the system prompt, and for a column that is sent in two ways."""
        kinds: dict[str, set[MediaUse]] = {}
        for name, usage in parts.items():
            for use in usage.media:
                kinds.setdefault(use.column, set()).add(use)
                if name == system:
                    what = f"{use.kind}() stands in the system prompt, which has texts only"
                    self.problem(what, self.where("[prompt] system"), "Write it in the user template.")
        for column, uses in kinds.items():
            if len(uses) > 1:
                what = f"`{column}` is sent in two ways"
                self.problem(what, self.where("[prompt] user"), "Send a column by one function, with one version.")

    def report(self, usages: Collection[Usage]) -> None:
        """Add the mistakes of all templates. An unknown name that its template tests for (`x is defined`) is one only
        if no template sets it.
        """
        stored: set[str] = set().union(*(usage.stored for usage in usages))
        for usage in usages:
            doubtful = [finding for finding, name in usage.doubtful.items() if name not in stored]
            for finding in [*usage.problems, *doubtful]:
                place = self.sources.places[finding.template].at(finding.line)
                self.problem(finding.what, place, finding.hint)

    def check(self) -> None:
        if self.problems:
            raise PipelineError.from_problems(list(dict.fromkeys(self.problems)))


def compile_templates(
    prompt: Prompt,
    *,
    root: Path,
    where: Callable[[str], str],
    columns: Collection[str],
    vars: Mapping[str, Any],
    queries: Mapping[str, list[dict[str, Any]]],
    fields: Mapping[str, Any],
    recipe: int = CANONICAL_RECIPE,
) -> Templates:
    """Compile the templates of `prompt` with all that they include under `root`/prompts/.

    `columns` are the names of the input columns, `where` returns the place of a TOML path for a message. Raises
    PipelineError with every mistake found: syntax errors, unknown names, missing files, a name that two things have.
    """
    compiler = _Compiler(root, where, recipe)
    compiler.clashes(columns, vars, queries)
    system = compiler.part("system", prompt.system, prompt.system_text)
    user = compiler.part("user", prompt.user, prompt.user_text)
    if prompt.user is None and prompt.user_text is None:
        compiler.problem("there is no user prompt", where("[prompt]"), "Write `user` or `user_text`.")
    turns = compiler.turns(prompt.turns, queries)
    compiler.environment.listed |= listed_values(fields)
    names = KnownNames(
        columns=frozenset(columns),
        constants=frozenset(vars) | frozenset(queries),
        fields=frozenset(fields),
        listed=frozenset(compiler.environment.listed),
        globals=frozenset(compiler.environment.globals),
    )
    parts = {name: compiler.usage(name, names) for name in (system, user) if name is not None}
    compiler.report(parts.values())
    compiler.media(parts, system)
    if any(usage.dynamic for usage in parts.values()):
        compiler.sources.add_all()
    compiler.check()
    constants = {**vars, **queries, FIELDS: KeysFirst(fields)}
    compiler.environment.globals.update(constants)
    for name in parts:
        compiler.compiled(name)
    compiler.check()
    assert user is not None
    total = _merged(parts.values())
    total.constants |= {prompt.turns} if prompt.turns is not None else set()
    sources = compiler.sources.texts | ({TURNS_SOURCE: prompt.turns} if prompt.turns is not None else {})
    compiler.environment.fresh_modules = total.stateful_imports
    system_usage = parts[system] if system is not None else Usage()
    return Templates(
        compiler.environment,
        user=user,
        system=system,
        usage=total,
        columns=_columns(total, names),
        sources=tuple(sorted(sources.items())),
        turns=turns,
        places=compiler.sources.places,
        system_is_static=_is_static(system_usage),
        constants=constants,
    )


def _is_static(usage: Usage) -> bool:
    """Return whether a template gives every row the same text."""
    return not (usage.columns or usage.row or usage.dynamic or usage.hints)


def _columns(usage: Usage, names: KnownNames) -> frozenset[str]:
    """Return the columns that templates read, with those of the contents of files."""
    read = names.columns if usage.all_columns else frozenset(usage.columns)
    files = (name for use in usage.media for name in (use.column, content_name(use.column)))
    return read.union(files)


def _merged(usages: Collection[Usage]) -> Usage:
    total = Usage()
    for usage in usages:
        total.columns |= usage.columns
        total.constants |= usage.constants
        total.media |= usage.media
        total.hints |= usage.hints
        total.all_columns |= usage.all_columns
        total.row |= usage.row
        total.dynamic |= usage.dynamic
        total.stateful_imports |= usage.stateful_imports
    return total
