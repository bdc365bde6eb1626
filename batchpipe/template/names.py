"""The names that a template uses, found without rendering it: columns, constants, other templates, unknown names.

The search follows Jinja's own scoping: loops, macros, `set`, `with`, blocks, imports and includes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from jinja2 import Environment, nodes

from batchpipe.template import hints
from batchpipe.template.media import FILTERS, MediaUse, use_of
from batchpipe.template.references import Reference, aliases, exports, listing, near, tested_names

ROW = "row"
FIELDS = "fields"
# What templates call by its name alone.
_CALLED = {each.removesuffix("()") for each in (*FILTERS, hints.NEAR)}
_MAPPING_METHODS = frozenset({"get", "items", "keys", "values"})
_MACRO_NAMES = ("caller", "varargs", "kwargs")
_CHANGING = frozenset({"now", "utcnow", "today", "random", "randint", "uuid", "uuid4", "time", "lipsum", "shuffle"})
_CHANGING_HINT = (
    "A row must always give the same prompt: select the value in the input query, or write it in [prompt.vars]."
)
# Filters that leave what image(), pdf() and file() give as it is.
_KEEPING = frozenset({"d", "default", "safe", "string", "trim"})
_STATEFUL = frozenset({"cycler", "joiner", "namespace"})


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownNames:
    """The names that templates may use."""

    columns: frozenset[str]
    constants: frozenset[str]  # vars and queries
    fields: frozenset[str]
    listed: frozenset[str]  # of the fields those whose values are listed
    globals: frozenset[str]  # Jinja's own


@dataclass(frozen=True, slots=True)
class TemplateProblem:
    """A mistake at a line of a template."""

    template: str
    line: int
    what: str
    hint: str


@dataclass(slots=True)
class Usage:
    """What templates use.

    `columns`, `constants`: the names they use. `media`: columns whose values are sent as files. `hints`: what they ask
    the local model for. `all_columns`: any column may be used. `row`: `row` is used. `dynamic`: an include has a
    computed name. `stateful_imports`: an imported template makes a counter or the like. `stored`: the names they set.
    `problems`: their mistakes. `doubtful`: mistakes unless some template sets the name.
    """

    columns: set[str] = field(default_factory=set)
    all_columns: bool = False
    row: bool = False
    constants: set[str] = field(default_factory=set)
    media: dict[MediaUse, None] = field(default_factory=dict)
    hints: dict[hints.HintUse, None] = field(default_factory=dict)
    dynamic: bool = False
    stateful_imports: bool = False
    stored: set[str] = field(default_factory=set)
    problems: dict[TemplateProblem, None] = field(default_factory=dict)
    doubtful: dict[TemplateProblem, str] = field(default_factory=dict)


class _Scope:
    """The names that are set at one level of nesting in a template; `parent` is the level around it."""

    def __init__(self, names: Collection[str] = (), parent: _Scope | None = None) -> None:
        self.names = set(names)
        self.parent = parent

    def __contains__(self, name: str) -> bool:
        return name in self.names or (self.parent is not None and name in self.parent)

    def child(self, *names: str) -> _Scope:
        return _Scope(names, self)

    def flat(self) -> frozenset[str]:
        return frozenset(self.names) | (self.parent.flat() if self.parent else frozenset())


LoadTemplate = Callable[[str, str, int, bool], nodes.Template | None]


class Walker:
    """A walk through templates and all that they include, which fills `usage`.

    `load(name, from_template, line, optional)` returns a parsed template, or None after it has reported a mistake.
    """

    def __init__(self, environment: Environment, names: KnownNames, load: LoadTemplate) -> None:
        self.usage = Usage()
        self.environment = environment
        self.names = names
        self._load = load
        self._seen: set[tuple[str, frozenset[str], bool]] = set()

    def walk(self, name: str, tree: nodes.Template) -> None:
        """Add to `usage` what the template `name` uses."""
        self._template(name, tree, _Scope(), context=True, imported=False)

    def _template(
        self, name: str, tree: nodes.Template, scope: _Scope, *, context: bool, imported: bool
    ) -> frozenset[str]:
        """Walk a template under the names of `scope`. Returns the names that it sets itself."""
        outside = scope.flat()
        key = (name, outside, context)
        if key not in self._seen:
            self._seen.add(key)
            root = scope.child("self", "super")
            _TemplateWalk(self, name, tree, root, context=context, imported=imported).run()
        return exports(tree)

    def follow(
        self, found: Reference, scope: _Scope, *, template: str, context: bool, imported: bool
    ) -> frozenset[str] | None:
        """Walk the templates of a reference. Returns the names that they set; None if these are not known."""
        if found.dynamic:
            self.usage.dynamic = self.usage.all_columns = True
            self.usage.constants |= self.names.constants
        exported: set[str] = set()
        known = not found.dynamic
        for name in found.names:
            tree = self._load(name, template, found.line, found.optional)
            if tree is None:
                known = False
            else:
                exported |= self._template(name, tree, scope, context=context, imported=imported)
        return frozenset(exported) if known else None

    def find(self, template: str, line: int, what: str, hint: str) -> None:
        """Add a mistake, once for each line."""
        self.usage.problems[TemplateProblem(template, line, what, hint)] = None


class _TemplateWalk:
    """The walk through one template, under one set of outer names."""

    def __init__(
        self, walker: Walker, name: str, tree: nodes.Template, root: _Scope, *, context: bool, imported: bool
    ) -> None:
        self._walker = walker
        self._usage = walker.usage
        self._names = walker.names
        self._environment = walker.environment
        self._name = name
        self._tree = tree
        self._root = root
        self._context = context
        self._imported = imported
        self._later: list[tuple[list[nodes.Node], _Scope]] = []
        self._tested = tested_names(tree)

    def run(self) -> None:
        self._all(self._tree.body, self._root)
        # Macros and blocks run after everything at the top is set.
        while self._later:
            self._all(*self._later.pop(0))

    def _all(self, several: Collection[nodes.Node], scope: _Scope) -> None:
        for node in several:
            self._visit(node, scope)

    def _visit(self, node: nodes.Node, scope: _Scope) -> None:
        method = getattr(self, f"_visit_{type(node).__name__.lower()}", None)
        if method is None:
            self._all(list(node.iter_child_nodes()), scope)
        else:
            method(node, scope)

    def _visit_name(self, node: nodes.Name, scope: _Scope) -> None:
        if node.ctx == "load":
            self._read(node.name, node.lineno, scope)
        else:
            self._store(scope, node.name)

    def _store(self, scope: _Scope, *names: str) -> None:
        scope.names.update(names)
        self._usage.stored.update(names)

    def _visit_nsref(self, node: nodes.NSRef, scope: _Scope) -> None:
        self._read(node.name, node.lineno, scope)

    def _visit_for(self, node: nodes.For, scope: _Scope) -> None:
        self._visit(node.iter, scope)
        # Jinja defines `loop` only if the body of the loop itself names it; an included template does not count.
        named = any(each.name == "loop" for part in node.body for each in part.find_all(nodes.Name))
        inner = scope.child(*(["loop"] if named or node.recursive else []))
        self._visit(node.target, inner)
        if node.test is not None:
            self._visit(node.test, inner)
        self._all(node.body, inner)
        self._all(node.else_, scope.child())

    def _visit_with(self, node: nodes.With, scope: _Scope) -> None:
        self._all(node.values, scope)
        inner = scope.child()
        self._all(node.targets, inner)
        self._all(node.body, inner)

    def _visit_assign(self, node: nodes.Assign, scope: _Scope) -> None:
        self._visit(node.node, scope)
        self._visit(node.target, scope)

    def _visit_assignblock(self, node: nodes.AssignBlock, scope: _Scope) -> None:
        if node.filter is not None:
            self._visit(node.filter, scope)
        self._all(node.body, scope.child())
        self._visit(node.target, scope)

    def _visit_filterblock(self, node: nodes.FilterBlock, scope: _Scope) -> None:
        self._visit(node.filter, scope)
        self._all(node.body, scope.child())

    def _visit_macro(self, node: nodes.Macro, scope: _Scope) -> None:
        self._store(scope, node.name)
        inner = scope.child(*_MACRO_NAMES)
        self._all(node.args, inner)
        self._all(node.defaults, inner)
        self._later.append((node.body, inner))

    def _visit_callblock(self, node: nodes.CallBlock, scope: _Scope) -> None:
        self._visit(node.call, scope)
        inner = scope.child(*_MACRO_NAMES)
        self._all(node.args, inner)
        self._all(node.defaults, inner)
        self._all(node.body, inner)

    def _visit_block(self, node: nodes.Block, scope: _Scope) -> None:
        self._later.append((node.body, (scope if node.scoped else self._root).child()))

    def _visit_include(self, node: nodes.Include, scope: _Scope) -> None:
        self._visit(node.template, scope)
        self._follow(node, scope, with_context=node.with_context, imported=self._imported)

    def _visit_extends(self, node: nodes.Extends, scope: _Scope) -> None:
        self._visit(node.template, scope)
        self._root.names |= exports(self._tree)
        self._follow(node, self._root, with_context=True, imported=self._imported)

    def _visit_import(self, node: nodes.Import, scope: _Scope) -> None:
        self._visit(node.template, scope)
        self._follow(node, scope, with_context=node.with_context, imported=True)
        self._store(scope, node.target)

    def _visit_fromimport(self, node: nodes.FromImport, scope: _Scope) -> None:
        self._visit(node.template, scope)
        exported = self._follow(node, scope, with_context=node.with_context, imported=True)
        for each in node.names:
            wanted = each[0] if isinstance(each, tuple) else each
            if exported is not None and wanted not in exported:
                self._find(node.lineno, f"the imported template has no `{wanted}`", near(wanted, exported))
        self._store(scope, *aliases(node))

    def _follow(
        self,
        node: nodes.Include | nodes.Import | nodes.FromImport | nodes.Extends,
        scope: _Scope,
        *,
        with_context: bool,
        imported: bool,
    ) -> frozenset[str] | None:
        return self._walker.follow(
            Reference.of(node),
            _Scope(scope.flat()) if with_context else _Scope(),
            template=self._name,
            context=self._context and with_context,
            imported=imported,
        )

    def _visit_filter(self, node: nodes.Filter, scope: _Scope) -> None:
        if node.name in FILTERS:
            self._media(node, scope)
            return
        if node.name in hints.FILTERS:
            self._hint(node)
            return
        self._known("filter", node.name, self._environment.filters, node.lineno)
        inner = node.node
        if isinstance(inner, nodes.Filter) and inner.name in FILTERS and node.name not in _KEEPING:
            shown = f"{inner.name.removesuffix('()')}({use_of(inner).column})"
            what = f"the filter `{node.name}` changes what {shown} gives, which then is no file any more"
            self._find(node.lineno, what, f"Remove it: {{{{ {shown} }}}}.")
        self._all(list(node.iter_child_nodes()), scope)

    def _media(self, node: nodes.Filter, scope: _Scope) -> None:
        """Add the column of a call of image(), pdf() or file() to what is used."""
        use = use_of(node)
        if use.column not in self._names.columns or use.column in scope or not self._context:
            what = f"{node.name} takes the name of an input column, and `{use.column}` is none here"
            hint = near(use.column, self._names.columns, "Select the path in the input query.")
            self._find(node.lineno, what, hint)
            return
        self._usage.media[use] = None
        self._all([*node.args, *node.kwargs], scope)

    def _hint(self, node: nodes.Filter) -> None:
        """Add a call of likely() or near() to what is used."""
        use = hints.use_of(node)
        if not self._context:
            what = f"{use.shown} is about the row, which a template that is imported without context does not see"
            self._find(node.lineno, what, "Pass what it gives to the macro, or import the template `with context`.")
        elif use.field is None or use.field in self._names.listed:
            self._usage.hints[use] = None
        elif use.field in self._names.fields:
            what = f"{use.shown}: the values of `{use.field}` are not listed"
            self._find(node.lineno, what, "Ask for a field with an enum, or a boolean.")
        else:
            known = self._names.listed
            self._find(node.lineno, f"there is no output field `{use.field}`", near(use.field, known, listing(known)))

    def _visit_test(self, node: nodes.Test, scope: _Scope) -> None:
        self._known("test", node.name, self._environment.tests, node.lineno)
        self._all(list(node.iter_child_nodes()), scope)

    def _known(self, kind: str, name: str, known: Collection[str], line: int) -> None:
        if name in known:
            return
        if name in _CHANGING:
            self._find(line, f"the {kind} `{name}` returns another result each time", _CHANGING_HINT)
        else:
            self._find(line, f"there is no {kind} `{name}`", near(name, known, f"See Jinja's list of {kind}s."))

    def _visit_getattr(self, node: nodes.Getattr, scope: _Scope) -> None:
        self._member(node, node.attr, scope)

    def _visit_getitem(self, node: nodes.Getitem, scope: _Scope) -> None:
        constant = node.arg.value if isinstance(node.arg, nodes.Const) else None
        self._member(node, constant if isinstance(constant, str) else None, scope)

    def _member(self, node: nodes.Getattr | nodes.Getitem, member: str | None, scope: _Scope) -> None:
        """Check a member of `row` or `fields`: `row.x`, `row["x"]`, `fields.x`. `member` is None if it is computed."""
        owner = node.node.name if isinstance(node.node, nodes.Name) and node.node.name not in scope else None
        known = {ROW: self._names.columns, FIELDS: self._names.fields}.get(owner or "")
        called_on = isinstance(node, nodes.Getattr) and member in _MAPPING_METHODS
        if owner is None or known is None or member is None or (member not in known and called_on):
            self._all(list(node.iter_child_nodes()), scope)
        elif owner == ROW and not self._context:
            self._read(ROW, node.lineno, scope)
        elif member in known:
            if owner == ROW:
                self._usage.row = True
                self._usage.columns.add(member)
        elif f"{owner}.{member}" not in self._tested:
            kind = "input column" if owner == ROW else "output field"
            self._find(node.lineno, f"there is no {kind} `{member}`", near(member, known, listing(known)))

    def _read(self, name: str, line: int, scope: _Scope) -> None:
        """Look a name up: in the template's own scopes, the row, the constants, and Jinja's globals."""
        names = self._names
        if name in scope:
            return
        if name in names.columns or name == ROW:
            if not self._context:
                what = f"`{name}` belongs to the row, which a template that is imported without context does not see"
                self._find(line, what, "Pass it to the macro, or import the template `with context`.")
            elif name == ROW:
                self._usage.row = self._usage.all_columns = True
            else:
                self._usage.columns.add(name)
        elif name in names.constants:
            self._usage.constants.add(name)
        elif name in names.globals or name == FIELDS:
            self._usage.stateful_imports |= self._imported and name in _STATEFUL
        elif name in _CHANGING:
            self._find(line, f"`{name}` would have another value each time", _CHANGING_HINT)
        else:
            known = names.columns | names.constants | scope.flat() | {ROW, FIELDS} | _CALLED
            hint = near(name, known, listing(names.columns | names.constants))
            if name == "loop":
                hint = (
                    "There is no `loop` outside a loop, or in a template that a loop includes: set a name of your own."
                )
            what = f"there is no input column, var or query `{name}`"
            if name in self._tested:
                self._usage.doubtful[TemplateProblem(self._name, line, what, hint)] = name
            else:
                self._find(line, what, hint)

    def _find(self, line: int, what: str, hint: str) -> None:
        self._walker.find(self._name, line, what, hint)
