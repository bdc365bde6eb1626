"""The rules of the house: who may import whom, how long things may be, where SQL, errors and print belong."""

from __future__ import annotations

import ast
import json
import os
import re
import resource
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest
from checkout import PACKAGE, ROOT, batchpipe, copy_examples, module_files, python, tracked_files
from turns import read_long_tests

from batchpipe.common import errors
from batchpipe.pipeline.files import pipeline_files
from batchpipe.pipeline.load import load
from batchpipe.store.queries import names as query_names

LONGEST_MODULE = 400
LONGEST_FUNCTION = 60
MOST_MODULES = 15
WHOLE_FLOORS = ("engine.*", "commands.*")
HELP_CPU_SECONDS = 0.3
BUSY_HELP_CPU_SECONDS = 0.5

# Which module may import which others of the package. `x.*` is the package x with all that is in it; what
# stands first counts for a module that fits several. Modules of one line may import one another.
PURE = (
    *(
        "common.errors",
        "common.given",
        "common.secrets",
        "decide.*",
        "evaluation.*",
        "lint.*",
        "media.*",
        "schema.*",
        "sql.*",
    ),
    "template.*",
)
SPEC = (
    "pipeline.evaluations",
    "pipeline.files",
    "pipeline.load",
    "pipeline.model",
    "pipeline.value_types",
    "pipeline.review_table",
    "pipeline.sending",
)
STEPS = (*PURE, *SPEC, "", "common.*", "project.settings_place", "providers", "providers.known", "store.*")
SHELL = (
    *PURE,
    "",
    "common.durable",
    "common.hints",
    "common.likeness",
    "common.logs",
    "common.progress",
    "common.machine",
    "common.modes",
    "engine.context",
    "pipeline.*",
    "project.*",
    "providers",
    "providers.known",
    "store.*",
)
SAID = ("commands.call.*", "commands.printing.*")
DRAWN = ("charts.*", "html.*")
MAY_IMPORT: Mapping[str, tuple[str, ...]] = {
    # values and rules that everything stands on
    "": (),
    "common.*": (),
    "sql.*": ("common.errors", "common.given", "common.likeness", "common.secrets"),
    "decide.*": ("sql.canonical",),
    "media.*": (),
    "evaluation.*": ("common.errors",),
    "local_model.*": ("common.errors", "evaluation.claims"),
    "charts.*": ("evaluation.*",),
    # the pipeline file, the settings, and which files are meant
    "pipeline.*": ("common.errors", "common.given", "common.likeness", "common.secrets", "sql.types"),
    "project.settings_place": (),
    "project.*": (
        "common.errors",
        "common.given",
        "common.likeness",
        "pipeline.files",
        "pipeline.model",
        "pipeline.variables",
    ),
    # schema and prompt
    "schema.reduce": (),
    "providers.values": (),
    "providers.interface": ("providers.values", "sql.quoting"),
    "providers": ("common.errors", "common.likeness", "providers.interface", "providers.values"),
    "providers.shared.*": (
        "common.durable",
        "common.errors",
        "common.likeness",
        "common.modes",
        "common.secrets",
        "providers",
    ),
    "providers.gemini.*": ("common.likeness", "media.places", "providers", "providers.shared.*", "sql.quoting"),
    "providers.openai.*": (
        "common.errors",
        "common.likeness",
        "media.places",
        "providers",
        "providers.shared.*",
        "sql.quoting",
    ),
    "providers.anthropic.*": (
        "common.likeness",
        "common.secrets",
        "media.places",
        "providers",
        "providers.shared.*",
        "schema.reduce",
        "sql.quoting",
    ),
    "providers.known": (
        "common.errors",
        "common.likeness",
        "project.settings_place",
        "providers",
        "providers.interface",
        "providers.values",
    ),
    "schema.*": ("common.errors", "pipeline.model", "pipeline.value_types", "sql.*"),
    "template.*": ("common.errors", "common.likeness", "media.content", "pipeline.model", "providers"),
    "lint.*": ("common.given", "decide.tokens", "pipeline.codes", "template.texts"),
    # the outside world
    "store.*": (
        "common.errors",
        "common.machine",
        "common.modes",
        "project.settings_place",
        "sql.connection",
        "sql.quoting",
    ),
    "emulator.service.*": (),
    "emulator.answering.*": ("emulator.service.*",),
    "emulator.gemini.*": ("emulator.answering.*", "emulator.service.*"),
    "emulator.anthropic.*": ("emulator.answering.*", "emulator.service.*"),
    "emulator.openai.*": ("emulator.answering.*", "emulator.service.*"),
    "emulator.*": (),
    # pipelines that read each other
    "chain.*": ("common.errors", "common.likeness", "pipeline.*", "sql.*"),
    # the steps of a run, each standing on those above it
    "engine": (),
    "engine.source.*": (*STEPS, "chain.*"),
    "engine.ledger.*": (*STEPS, "engine.source.*"),
    "engine.answers.*": STEPS,
    "engine.resolved.*": (*STEPS, "engine.answers.*", "engine.source.*", "local_model.library"),
    "engine.cost.*": (*STEPS, "engine.ledger.*", "engine.resolved.*"),
    "engine.media.*": (*STEPS, "engine.resolved.*", "engine.source.*"),
    "engine.votes.*": (
        *STEPS,
        "engine.answers.*",
        "engine.cost.*",
        "engine.ledger.*",
        "engine.resolved.*",
        "engine.source.*",
    ),
    "engine.output.*": (
        *STEPS,
        "engine.answers.*",
        "engine.ledger.*",
        "engine.resolved.*",
        "engine.source.*",
        "engine.votes.*",
    ),
    "engine.access.*": (
        *STEPS,
        "engine.cost.*",
        "engine.ledger.*",
        "pipeline.variables",
        "project.*",
        "providers.shared.credentials",
    ),
    "engine.context": (
        *STEPS,
        "chain.*",
        "emulator",
        "engine.access.*",
        "engine.cost.*",
        "engine.resolved.*",
        "engine.source.*",
        "project.*",
    ),
    "engine.gold.*": (*STEPS, "engine.context", "engine.ledger.*", "engine.resolved.*", "engine.source.*"),
    "engine.waits.*": (
        *STEPS,
        "engine.answers.*",
        "engine.context",
        "engine.ledger.*",
        "engine.output.*",
        "engine.resolved.*",
    ),
    "engine.local.*": (
        *STEPS,
        "engine.answers.*",
        "engine.context",
        "engine.cost.*",
        "engine.gold.*",
        "engine.ledger.*",
        "engine.resolved.*",
        "engine.source.*",
        "local_model.*",
    ),
    "engine.exchange.*": (
        *STEPS,
        "engine.access.*",
        "engine.cost.*",
        "engine.ledger.*",
        "engine.media.*",
        "engine.resolved.*",
        "engine.source.*",
        "engine.votes.slots",
    ),
    "engine.plan.*": (
        *STEPS,
        "engine.answers.*",
        "engine.cost.*",
        "engine.gold.*",
        "engine.ledger.*",
        "engine.local.*",
        "engine.media.*",
        "engine.output.*",
        "engine.resolved.*",
        "engine.source.*",
        "engine.votes.*",
    ),
    "engine.quality.*": (
        *STEPS,
        "engine.answers.*",
        "engine.context",
        "engine.cost.*",
        "engine.gold.*",
        "engine.ledger.*",
        "engine.local.*",
        "engine.output.*",
        "engine.resolved.*",
        "engine.source.*",
        "engine.votes.*",
        "local_model.saved",
    ),
    "engine.batches.*": (
        *STEPS,
        "engine.access.*",
        "engine.answers.*",
        "engine.context",
        "engine.cost.*",
        "engine.exchange.*",
        "engine.ledger.*",
        "engine.output.*",
        "engine.plan.*",
        "engine.resolved.*",
        "engine.source.*",
        "engine.waits.*",
        "engine.votes.*",
    ),
    "engine.calls.*": (
        *STEPS,
        "engine.batches.*",
        "engine.context",
        "engine.cost.*",
        "engine.exchange.*",
        "engine.ledger.*",
        "engine.resolved.*",
        "engine.source.*",
    ),
    "engine.realtime.*": (
        *STEPS,
        "engine.batches.*",
        "engine.context",
        "engine.exchange.*",
        "engine.ledger.*",
        "engine.local.*",
        "engine.output.*",
        "engine.plan.*",
        "engine.resolved.*",
        "engine.source.*",
        "engine.votes.*",
    ),
    "engine.replay.*": (
        *STEPS,
        "engine.access.*",
        "engine.realtime.*",
        "engine.batches.*",
        "engine.calls.recorded",
        "engine.context",
        "engine.exchange.*",
        "engine.ledger.*",
        "engine.output.*",
        "engine.resolved.*",
    ),
    "engine.upstream.*": (
        *STEPS,
        "chain.*",
        "engine.context",
        "engine.ledger.*",
        "engine.output.*",
        "engine.plan.*",
        "engine.resolved.*",
        "engine.source.*",
    ),
    "engine.run.*": (
        *STEPS,
        "engine.access.*",
        "engine.answers.*",
        "engine.batches.*",
        "engine.calls.*",
        "engine.context",
        "engine.cost.*",
        "engine.exchange.*",
        "engine.gold.*",
        "engine.ledger.*",
        "engine.local.*",
        "engine.output.*",
        "engine.plan.*",
        "engine.realtime.*",
        "engine.replay.*",
        "engine.resolved.*",
        "engine.source.*",
        "engine.upstream.*",
        "engine.waits.*",
        "engine.votes.*",
    ),
    "engine.notices.*": (
        *STEPS,
        "engine.context",
        "engine.cost.*",
        "engine.ledger.*",
        "project.*",
        "providers.shared.wire",
    ),
    # files to start from
    "scaffold.*": (
        "common.errors",
        "common.likeness",
        "engine.cost.estimate",
        "engine.cost.most",
        "engine.cost.pricing",
        "pipeline.model",
        "pipeline.reference",
        "pipeline.sending",
        "pipeline.value_types",
        "providers",
        "sql.connection",
        "sql.messages",
        "sql.quoting",
    ),
    # a command is a query, then a printer
    "commands": (),
    "commands.printing.*": (
        *PURE,
        "common.money",
        "engine.cost.*",
        "engine.gold.*",
        "engine.ledger.*",
        "pipeline.model",
        "pipeline.sending",
        "store.*",
        "engine.local.plan_part",
        "engine.local.hint_costs",
        "engine.media.figures",
        "engine.resolved.*",
        "providers",
    ),
    "html.*": ("", "charts.*", "commands.printing.text", "common.durable", "common.errors"),
    "commands.call.*": (*SHELL, "commands.printing.*"),
    "commands.check.*": (
        *SHELL,
        *SAID,
        "engine.cost.budget",
        "engine.cost.pricing",
        "engine.gold.*",
        "engine.media.*",
        "engine.plan.*",
        "engine.quality.*",
        "engine.resolved.*",
        "engine.source.*",
    ),
    "commands.results.*": (*SHELL, *SAID, "engine.source.snapshot"),
    "commands.review.*": (*SHELL, *SAID, "engine.gold.*", "engine.ledger.renames", "engine.quality.*"),
    "commands.status.*": (
        *SHELL,
        *SAID,
        *DRAWN,
        "engine.ledger.*",
        "engine.notices.*",
        "engine.plan.*",
        "engine.replay.*",
        "engine.upstream.*",
        "engine.waits.*",
    ),
    "commands.plan.*": (
        *SHELL,
        *SAID,
        "engine.cost.*",
        "engine.ledger.*",
        "engine.plan.*",
        "engine.resolved.*",
        "engine.run.*",
        "engine.upstream.*",
    ),
    "commands.show.*": (
        *SHELL,
        *SAID,
        *DRAWN,
        "commands.results.*",
        "engine.ledger.*",
        "engine.plan.*",
        "engine.resolved.*",
        "engine.run.*",
        "engine.source.*",
        "engine.upstream.*",
    ),
    "commands.diff.*": (
        *SHELL,
        *SAID,
        *DRAWN,
        "commands.plan.*",
        "engine.gold.*",
        "engine.ledger.renames",
        "engine.quality.*",
        "engine.resolved.*",
    ),
    "commands.run.*": (
        *SHELL,
        *SAID,
        "commands.plan.*",
        "commands.status.*",
        "engine.cost.*",
        "engine.ledger.*",
        "engine.notices.*",
        "engine.plan.*",
        "engine.resolved.*",
        "engine.run.*",
    ),
    "commands.eval.*": (
        *SHELL,
        *SAID,
        *DRAWN,
        "commands.run.*",
        "commands.show.*",
        "engine.batches.*",
        "engine.gold.*",
        "engine.ledger.*",
        "engine.plan.history_gate",
        "engine.quality.*",
        "engine.resolved.*",
        "engine.run.*",
        "engine.source.*",
    ),
    "commands.report.*": (
        *SHELL,
        *SAID,
        *DRAWN,
        "commands.eval.*",
        "commands.results.*",
        "commands.status.*",
        "engine.gold.*",
        "engine.ledger.*",
        "engine.resolved.*",
        "engine.source.snapshot",
    ),
    "commands.docs.*": ("commands.call.*", "common.durable", "common.errors", "common.given", "common.likeness"),
    "commands.emulator": (*SAID, "common.errors", "emulator"),
    "commands.graph": (*SHELL, *SAID, "charts.*"),
    "commands.init": (*SAID, "common.errors", "common.given", "project.settings", "scaffold"),
    "commands.new": (*SAID, "common.errors", "project.trust", "scaffold"),
    "commands.schema": (*SAID, "pipeline.reference"),
    "commands.cancel": (*SHELL, *SAID, "engine.ledger.*", "engine.replay.*"),
    "commands.recover": (*SHELL, *SAID, "engine.batches.*", "engine.ledger.*", "engine.output.*", "engine.replay.*"),
    "commands.try_rows": (
        *SHELL,
        *SAID,
        "commands.show.*",
        "engine.calls.tried",
        "engine.ledger.renames",
        "engine.replay.*",
        "engine.resolved.*",
        "engine.run.*",
    ),
    # what a Python program calls
    "library.*": (
        *SHELL,
        *SAID,
        "commands.plan.*",
        "commands.results.*",
        "commands.run.*",
        "engine.ledger.*",
        "engine.notices.*",
        "engine.output.*",
        "engine.plan.*",
        "engine.resolved.*",
        "engine.run.*",
        "scaffold.layout",
    ),
    # pages that are served
    "pages.*": (
        "",
        *DRAWN,
        "commands.call.*",
        "commands.cancel",
        "commands.check.*",
        "commands.diff.*",
        "commands.eval.*",
        "commands.graph",
        "commands.plan.*",
        "commands.printing.*",
        "commands.report.*",
        "commands.results.*",
        "commands.review.*",
        "commands.show.*",
        "commands.status.*",
        "common.errors",
        "common.given",
        "common.modes",
        "engine.context",
        "engine.gold.*",
        "engine.ledger.*",
        "engine.plan.*",
        "engine.quality.*",
        "engine.resolved.*",
        "engine.run.*",
        "engine.source.*",
        "media.*",
        "engine.upstream.*",
        "pipeline.files",
        "pipeline.model",
        "schema.exact_json",
        "schema.typed",
        "sql.quoting",
        "store.*",
    ),
    "commands.ui": (*SHELL, *SAID, "pages.*"),
    # what is typed, and the one handler
    "cli.*": (
        "",
        "commands.call.*",
        "commands.cancel",
        "commands.check.*",
        "commands.diff.*",
        "commands.docs.*",
        "commands.emulator",
        "commands.eval.*",
        "commands.graph",
        "commands.init",
        "commands.new",
        "commands.plan.*",
        "commands.printing.text",
        "commands.recover",
        "commands.report.*",
        "commands.results.*",
        "commands.review.*",
        "commands.run.*",
        "commands.schema",
        "commands.show.*",
        "commands.status.*",
        "commands.try_rows",
        "commands.ui",
        "common.errors",
        "common.hints",
        "common.likeness",
        "common.logs",
        "common.machine",
        "common.modes",
        "common.secrets",
        "pipeline.files",
    ),
    "__main__": ("cli.main",),
}

# Which modules may import a library.
MAY_USE: Mapping[str, tuple[str, ...]] = {
    "anthropic": ("providers.anthropic.*",),
    "dotenv": ("project.dotenv_file",),
    "duckdb": (
        "sql.*",
        "chain.*",
        "store.*",
        "engine.*",
        "scaffold.*",
        "commands.*",
        "library.*",
        "pages.rows",
        "pages.site",
    ),
    "filelock": ("engine.ledger.locks",),
    "genai_prices": ("engine.cost.pricing",),
    "httpx2": (
        "engine.notices.deliver",
        "common.machine",
        "engine.access.making",
        "providers.interface",
        "providers.shared.*",
        "providers.anthropic.*",
        "providers.gemini.*",
        "providers.openai.*",
    ),
    "jinja2": ("template.*", "scaffold.drafts", "html.render"),
    "jsonschema_rs": ("schema.validate", "emulator.*"),
    "markupsafe": ("html.render", "pages.app"),
    "markdown_it": ("commands.docs.html",),
    "numpy": ("evaluation.library", "local_model.library"),
    "opentelemetry": ("common.telemetry",),
    "orjson": (
        "decide.fingerprint",
        "schema.exact_json",
        "schema.validate",
        "schema.visible",
        "providers.shared.*",
        "providers.anthropic.*",
        "providers.gemini.*",
        "providers.openai.*",
        "emulator.*",
    ),
    "pyarrow": ("engine.*", "store.arrow"),
    "pydantic": (
        "pipeline.*",
        "engine.cost.pricing",
        "project.dotenv_file",
        "project.notify",
        "project.provider_tables",
        "project.settings",
    ),
    "pydantic_settings": ("project.settings",),
    "rich": ("commands.*",),
    "scipy": ("evaluation.library", "local_model.library"),
    "sklearn": ("evaluation.error_model", "local_model.library"),
    "starlette": ("pages.*",),
    "tomli_w": ("pipeline.load", "scaffold.layout", "commands.eval.to_paste"),
    "typer": ("cli.*",),
    "uvicorn": ("pages.serving",),
}

# Decisions read no clock and no environment, draw nothing and touch no file or socket.
DECIDING = (
    "decide.caching",
    "decide.chunking",
    "sql.conditions",
    "engine.cost.budget",
    "engine.cost.forecast",
    "common.errors",
    "evaluation.*",
    "local_model.*",
    "decide.fingerprint",
    "decide.verdict",
    "lint.*",
    "pipeline.model",
    "pipeline.field_rules",
    "pipeline.rules",
    "pipeline.places",
    "providers",
    "providers.anthropic.encoding",
    "providers.anthropic.lint",
    "providers.anthropic.rules",
    "providers.gemini.encoding",
    "providers.gemini.lint",
    "providers.gemini.rules",
    "providers.gemini.schema",
    "providers.openai.encoding",
    "providers.openai.lint",
    "providers.openai.rules",
    "providers.openai.schema",
    "providers.shared.settings",
    "schema.*",
    "sql.quoting",
    "template.head",
    "template.names",
    "template.references",
    "template.render",
    "template.texts",
)
IMPURE_LIBRARIES = {"os", "random", "socket", "subprocess", "tempfile", "threading", "time", "urllib", "http"}
IMPURE_CALLS = {
    "open",
    "read_text",
    "read_bytes",
    "write_text",
    "write_bytes",
    "now",
    "today",
    "utcnow",
    "mkdir",
}

# The process's surroundings are arguments everywhere but at its edge.
SURROUNDINGS = {
    "environ": ("cli.main", "library.surroundings"),
    "argv": ("cli.main",),
    "stdin": ("cli.main", "commands.call.begin", "commands.call.call", "commands.review.terminal"),
    "stdout": ("cli.main", "commands.call.begin", "commands.call.call", "commands.call.failure"),
    "stderr": ("cli.main", "commands.call.begin", "commands.call.call", "commands.call.failure", "library.progress"),
}

BROAD_HANDLER = ("cli.main", "main")
PRINTERS = ("cli.main", "commands.*")

HEAVY = ("anthropic", "duckdb", "pyarrow", "jsonschema_rs", "genai_prices", "pydantic", "scipy", "numpy")
SDKS = ("anthropic", "httpx2", "openai")
# What a run that finds nothing due does not load: it takes a tenth of the CPU of its start.
WHERE_SOMETHING_HAPPENS = (
    "batchpipe.commands.status.read",
    "batchpipe.engine.gold.answered_gold",
    "batchpipe.engine.replay.rebuild",
    "batchpipe.engine.resolved.versions",
    "batchpipe.providers.anthropic.calls",
)

TOP_LEVEL = {"pyproject.toml", "README.md", "batchpipe", "pipelines", "prompts", "tests"}

LEDGER_STATEMENT = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE|TABLE|VIEW)\s+ledger\.", re.IGNORECASE)
# Written so that this file does not hold what it forbids.
FORBIDDEN = {
    "an absolute path of a machine": re.compile(r"(?<![\w.])/(?:home|root|Users|work|opt|mnt)/[\w.-]+"),
    "the host of a package registry": re.compile(r"py" + r"pi\.org|python" + r"hosted\.org|index" + r"-url"),
    "a note to do something later": re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b"),
}


@cache
def trees() -> dict[str, ast.Module]:
    return {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in module_files().items()}


def fits(module: str, pattern: str) -> bool:
    if pattern.endswith(".*"):
        return module == pattern[:-2] or module.startswith(pattern[:-1])
    return module == pattern


def in_room(module: str, patterns: tuple[str, ...]) -> bool:
    return any(fits(module, each) for each in patterns)


def imports(tree: ast.Module, *, typing: bool = True) -> Iterator[str]:
    """The full names that a module imports, anywhere in it; without `typing` not those that types need."""
    hidden = set() if typing else set(_typing_only(tree))
    for node in ast.walk(tree):
        if node in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import: {ast.unparse(node)}"
            yield from (f"{node.module}.{each.name}" for each in node.names)


def _typing_only(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from ast.walk(node)


def own(names: Iterator[str]) -> set[str]:
    """Those of our modules that the names mean, less `batchpipe.`"""
    found = set()
    for name in names:
        if name == "batchpipe" or name.startswith("batchpipe."):
            short = name.removeprefix("batchpipe").removeprefix(".")
            while short not in trees():
                short = short.rpartition(".")[0]
            found.add(short)
    return found


def room_of(module: str) -> str:
    """The first line of the table that the module fits."""
    found = next((pattern for pattern in MAY_IMPORT if fits(module, pattern)), None)
    assert found is not None, f"{module} has no line in MAY_IMPORT: give it one"
    return found


def test_modules_import_only_what_the_table_allows() -> None:
    wrong = []
    for module, tree in trees().items():
        room = room_of(module)
        for target in sorted(own(imports(tree))):
            inside = target == module or (room.endswith(".*") and fits(target, room))
            if not inside and not in_room(target, MAY_IMPORT[room]):
                wrong.append(f"{module} imports {target}")
    assert wrong == []


def test_every_line_of_the_table_is_of_modules_that_there_are() -> None:
    rooms = {room_of(module) for module in trees()}
    assert [pattern for pattern in MAY_IMPORT if pattern not in rooms] == []
    named = {each for allowed in MAY_IMPORT.values() for each in allowed}
    assert [each for each in named if not any(fits(module, each) for module in trees())] == []


def test_each_line_of_the_table_names_only_lines_above_it() -> None:
    wrong = []
    lines = list(MAY_IMPORT)
    for number, room in enumerate(lines):
        below = lines[number + 1 :]
        for allowed in MAY_IMPORT[room]:
            named = {room_of(module) for module in trees() if fits(module, allowed)} - {room}
            wrong += [f"{room} names {each}, which stands below it" for each in sorted(named) if each in below]
    assert wrong == []


def test_no_module_may_import_a_whole_floor() -> None:
    wide = [room for room, allowed in MAY_IMPORT.items() if set(allowed) & set(WHOLE_FLOORS)]
    assert wide == []
    assert [floor for floor in WHOLE_FLOORS if floor in MAY_IMPORT] == []


def test_no_folder_holds_too_many_modules() -> None:
    """`__init__` and `__main__` do not count."""
    held: dict[str, int] = {}
    for folder in (PACKAGE, ROOT / "tests"):
        for path in folder.rglob("*.py"):
            if path.name not in ("__init__.py", "__main__.py"):
                name = str(path.parent.relative_to(ROOT))
                held[name] = held.get(name, 0) + 1
    assert len(held) > 40
    assert {name: number for name, number in held.items() if number > MOST_MODULES} == {}


def test_every_room_says_what_it_is_for() -> None:
    """Three to six lines: what the room is for, what comes in, what goes out, which tables it writes."""
    silent = []
    for path in PACKAGE.rglob("__init__.py"):
        said = [line for line in (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").splitlines() if line]
        if not 3 <= len(said) <= 6 or not any(re.search(r"\bwrites?\b", line) for line in said[1:]):
            silent.append(str(path.relative_to(PACKAGE)))
    assert silent == []


def test_libraries_are_used_where_the_table_allows() -> None:
    wrong, used = [], set()
    for module, tree in trees().items():
        for name in sorted({name.partition(".")[0] for name in imports(tree)}):
            if name == "batchpipe" or name in sys.stdlib_module_names:
                continue
            used.add(name)
            if not in_room(module, MAY_USE.get(name, ())):
                wrong.append(f"{module} uses {name}")
    assert wrong == []
    assert used == set(MAY_USE)


def test_every_library_is_declared_and_every_declared_one_is_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = (*project["dependencies"], *extras["eval"], *extras["local"], *extras["ui"])
    names = {"scikit_learn": "sklearn"}
    found = [re.split(r"[<>=~ \[]", each)[0].replace("-", "_") for each in wanted]
    declared = {names.get(each, each) for each in found}
    # the SDK and scipy choose their versions
    brought_by_others = {"dotenv", "httpx2", "markdown_it", "markupsafe", "numpy", "opentelemetry"}
    assert declared == set(MAY_USE) - brought_by_others


def test_no_import_cycles() -> None:
    graph = {module: own(imports(tree, typing=False)) - {module} for module, tree in trees().items()}
    left = dict(graph)
    while leaves := [module for module, targets in left.items() if not targets & left.keys()]:
        for module in leaves:
            del left[module]
    assert left == {}


def test_no_module_is_too_long() -> None:
    long = {
        module: lines
        for module, path in module_files().items()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST_MODULE
    }
    assert long == {}


def test_no_function_is_too_long() -> None:
    long = {
        f"{module}.{node.name}": lines
        for module, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION
    }
    assert long == {}


def test_only_the_top_level_handler_catches_everything() -> None:
    found = []
    for module, tree in trees().items():
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            for handler in (node for node in ast.walk(function) if isinstance(node, ast.ExceptHandler)):
                caught = "" if handler.type is None else ast.unparse(handler.type)
                broad = caught in ("", "Exception", "BaseException")
                again = any(isinstance(node, ast.Raise) and node.exc is None for node in ast.walk(handler))
                if broad and not again:
                    found.append((module, function.name))
    assert found == [BROAD_HANDLER]


def test_nothing_but_a_printer_prints() -> None:
    found = [
        f"{module}:{node.lineno}"
        for module, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print" and not in_room(module, PRINTERS)
    ]
    assert found == []


def test_decisions_do_no_io_and_read_no_clock() -> None:
    found = []
    for module, tree in trees().items():
        if not in_room(module, DECIDING):
            continue
        libraries = {name.partition(".")[0] for name in imports(tree)} & IMPURE_LIBRARIES
        found += [f"{module} imports {each}" for each in sorted(libraries)]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                packaged = called.startswith("resources.files(")
                if called.rpartition(".")[2] in IMPURE_CALLS and not packaged:
                    found.append(f"{module}:{node.lineno} calls {called}")
    assert found == []


def test_the_surroundings_of_the_process_are_read_at_its_edge_only() -> None:
    found = []
    for module, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("os", "sys"):
                allowed = SURROUNDINGS.get(node.attr)
                if allowed is not None and not in_room(module, allowed):
                    found.append(f"{module}:{node.lineno} reads {ast.unparse(node)}")
    assert found == []


def test_a_providers_name_is_said_in_its_own_folder_and_in_the_registry() -> None:
    """The emulator speaks the protocol of that name, so it says it too; comments and docstrings may."""
    found = []
    for module, tree in trees().items():
        if in_room(module, ("providers.anthropic.*", "emulator.*")):
            continue
        documentation = set(_docstrings(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in documentation:
                words = {node.value} if re.search("anthropic", node.value, re.IGNORECASE) else set()
            elif isinstance(node, ast.Name | ast.Attribute):
                name = node.id if isinstance(node, ast.Name) else node.attr
                words = {name} if "anthropic" in name.lower() else set()
            else:
                continue
            found += [f"{module}: {each[:60]}" for each in words]
    assert set(found) == {"providers: anthropic", "providers: batchpipe.providers.anthropic"}


def _docstrings(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value


def test_statements_on_the_ledger_live_with_the_store() -> None:
    found = []
    for module, tree in trees().items():
        if in_room(module, ("store.*",)):
            continue
        documentation = set(_docstrings(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in documentation:
                found += [f"{module}:{node.lineno}" for _ in LEDGER_STATEMENT.finditer(node.value)]
    assert found == []


def test_every_named_statement_is_used_and_every_used_one_is_named() -> None:
    texts = {
        node.value
        for module, tree in trees().items()
        if module != "store.queries"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert sorted(query_names() - texts) == []
    called = {
        node.args[0].value
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "query"
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    }
    assert sorted(called - query_names()) == []


def test_a_statement_has_one_name() -> None:
    written = [
        name
        for path in (PACKAGE / "store" / "queries").glob("*.sql")
        for name in re.findall(r"^-- name: (\w+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert len(written) == len(set(written))


def test_json_arrows_are_in_parentheses_where_they_are_compared() -> None:
    """`a ->> 'b' = c` is `a ->> ('b' = c)` for the oldest DuckDB that we take."""
    operator = re.compile(r"(?<!\()\b\w+ ->>? '\w+' (?:=|<>|IS|IN|NOT|<|>|LIKE)")
    texts = {path.name: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.sql")}
    texts |= {module: path.read_text(encoding="utf-8") for module, path in module_files().items()}
    found = [f"{name}: {match[0]}" for name, text in texts.items() for match in operator.finditer(text)]
    assert found == []


def error_classes() -> list[type[errors.BatchpipeError]]:
    return [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.BatchpipeError)
    ]


def test_every_error_class_has_an_exit_code_and_a_code() -> None:
    assert {each.exit_code for each in error_classes()} <= {2, 3, 4, 6, 70}
    for each in error_classes():
        assert "code" in vars(each), each.__name__
        assert each.__doc__


def test_every_error_is_defined_in_one_file() -> None:
    known = {each.__name__ for each in error_classes()}
    elsewhere = [
        f"{module}.{node.name}"
        for module, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and module != "common.errors"
        and any(ast.unparse(base).rpartition(".")[2] in known for base in node.bases)
    ]
    assert elsewhere == []


def test_every_error_says_what_to_do() -> None:
    known = {each.__name__ for each in error_classes()}
    silent = [
        f"{module}:{node.lineno} {ast.unparse(node)[:60]}"
        for module, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] in known
        and not any(keyword.arg in ("hint", None) for keyword in node.keywords)
    ]
    assert silent == []


def loaded_by(code: str, names: tuple[str, ...], cwd: Path) -> list[str]:
    """Which of the modules `names` are loaded once `code` has run in a new process."""
    found_then = f"[name for name in {names!r} if name in sys.modules]"
    ending = f"\nimport json, sys\nsys.stderr.write('\\n' + json.dumps({found_then}))"
    ended = python(["-c", code + ending], cwd=cwd)
    found: list[str] = json.loads(ended.stderr.rpartition("\n")[2])
    return found


def test_importing_loads_nothing_heavy(tmp_path: Path) -> None:
    assert loaded_by("import batchpipe", tuple({*HEAVY, *SDKS, "typer", "rich"}), tmp_path) == []


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    code = "from batchpipe.cli.main import main\nassert main(['--help']) == 0"
    assert loaded_by(code, HEAVY, tmp_path) == []


def test_each_test_that_takes_turns_is_there() -> None:
    """A line names a test function: one that names a case of it would leave nothing out."""
    for name in read_long_tests():
        file, function = name.split("::", 1)
        assert f"def {function.rpartition('::')[2]}(" in (ROOT / file).read_text(encoding="utf-8"), name


def test_help_is_quick(tmp_path: Path, full_sweep: bool) -> None:
    """The short form's bound leaves room for a busy machine."""

    def cpu_seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ended = python(["-m", "batchpipe", "--help"], cwd=tmp_path)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert ended.returncode == 0, ended.stderr
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(cpu_seconds() for _ in range(3)) < (HELP_CPU_SECONDS if full_sweep else BUSY_HELP_CPU_SECONDS)


def test_a_run_that_finds_nothing_due_loads_no_sdk(tmp_path: Path) -> None:
    root = copy_examples(tmp_path)
    first = batchpipe("run", "ticket_triage", "--emulator", cwd=root)
    assert first.returncode == 0, first.stderr
    code = "from batchpipe.cli.main import main\nassert main(['run', 'ticket_triage', '--emulator']) == 0"
    assert loaded_by(code, (*SDKS, *WHERE_SOMETHING_HAPPENS), root) == []


def test_no_test_module_imports_another() -> None:
    """Check that what tests share stands in modules of helpers."""
    imports = re.compile(r"^(?:from|import) test_\w+", re.MULTILINE)
    found = {path.name: imports.findall(path.read_text(encoding="utf-8")) for path in (ROOT / "tests").rglob("*.py")}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_the_top_level_holds_only_what_it_should() -> None:
    tops = {path.relative_to(ROOT).parts[0] for path in tracked_files()}
    assert {each for each in tops if not each.startswith(".")} == TOP_LEVEL


def test_every_pipeline_file_parses() -> None:
    files = pipeline_files(ROOT / "pipelines")
    assert files
    for path in files:
        load(path, ROOT)


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_tracked_file_holds(what: str) -> None:
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if match := FORBIDDEN[what].search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {match[0]}")
    assert found == []


def test_the_package_ships_its_data_files(tmp_path: Path) -> None:
    """The build takes every file of the package that git does not ignore."""
    shipped = {path.suffix for path in tracked_files() if path.is_relative_to(PACKAGE)}
    assert {".py", ".sql", ".toml", ".typed"} <= shipped
    ignored = subprocess.run(
        ["git", "check-ignore", *(os.fspath(path) for path in PACKAGE.rglob("*.sql"))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ignored.stdout == ""
