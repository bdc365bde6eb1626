"""A public name of the package stands for one thing: the same name in two rooms misleads who searches for it."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from checkout import module_files

# Folders that mirror one another, module by module: the protocols.
PROTOCOLS = ("providers.anthropic", "providers.gemini", "providers.openai")
# Names that stand in several rooms and mean the same there, or are public as they are.
SAME: Mapping[str, str] = {
    "Pipeline": "a pipeline: its file, and what a Python program holds of it",
    "Plan": "a plan: of the engine, and what a Python program is given of it",
    "dollars": "an amount that a person typed, as US dollars",
    "filters": "calls in templates, by files and by hints",
    "init": "a new project",
    "main": "the command line",
    "new": "a new pipeline",
    "next_steps": "the words after `init`",
    "numpy": "the module, or the error that names its extra",
    "room_of": "what a reply says of the limits",
    "schema_problems": "what a provider's schemas cannot express",
    "sent_schema": "the schema that a provider is sent",
    "serve": "the pages, served",
    "table": "a table for people: as text, and as Markdown",
    "use_of": "calls in templates, by files and by hints",
    "with_filters": "calls in templates, by files and by hints",
}


def rooms_by_name() -> dict[str, set[str]]:
    """Return each public class and function of the package with its modules; the protocols count as one.

    The emulator imports nothing of the rest and is not counted. The options of a command bear the name of what does
    it, so that `cli` is not counted beside `commands`.
    """
    found: dict[str, set[str]] = {}
    for module, path in module_files().items():
        if module.startswith("emulator."):
            continue
        room = "providers.*" if module.startswith(PROTOCOLS) else module
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_":
                found.setdefault(node.name, set()).add(room)
    for rooms in found.values():
        if any(room.startswith("commands.") for room in rooms):
            rooms -= {room for room in rooms if room.startswith("cli.")}
    return found


def test_a_public_name_stands_in_one_room() -> None:
    twins = {name: sorted(rooms) for name, rooms in rooms_by_name().items() if len(rooms) > 1}
    assert {name: rooms for name, rooms in twins.items() if name not in SAME} == {}, "give one of them its own name"
    assert [name for name in SAME if name not in twins] == [], "SAME lists names that stand in one room only"
