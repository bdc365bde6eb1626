"""The service's rules on `tools` and `tool_choice`."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from batchpipe.emulator.anthropic.schemas import MAX_STRICT_TOOLS, SchemaCount, SchemaRefusedError, check_schema
from batchpipe.emulator.service.jsontypes import JsonObject, is_list, is_object, word_set

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_CUSTOM_KEYS = word_set(
    "type name description input_schema strict cache_control allowed_callers defer_loading "
    "eager_input_streaming input_examples"
)


@dataclass(frozen=True, slots=True)
class ForcedTool:
    """The tool that the model has to call, with the schema of its input."""

    name: str
    schema: JsonObject


def check_tools(
    params: JsonObject, thinking: str | None, count: SchemaCount, error: Callable[[str], Exception]
) -> ForcedTool | None:
    """Return the tool that the request forces; None if there is none. Raises `error` with the provider's own
    message.
    """
    checker = _Checker(error)
    tools = checker.tools(params.get("tools"), count)
    choice = params.get("tool_choice")
    if choice is None:
        return None
    if not is_object(choice) or choice.get("type") not in ("auto", "any", "tool", "none"):
        checker.fail("tool_choice: Input tag does not match any of: 'auto', 'any', 'tool', 'none'")
    for name in choice:
        if name not in ("type", "name", "disable_parallel_tool_use"):
            checker.fail(f"tool_choice.{choice['type']}.{name}: Extra inputs are not permitted")
    if not tools:
        checker.fail("tool_choice: may only be specified while providing tools")
    if choice["type"] in ("auto", "none"):
        return None
    if thinking == "enabled":
        checker.fail("Thinking may not be enabled when tool_choice forces tool use.")
    forced = choice.get("name") if choice["type"] == "tool" else next(iter(tools))
    if not isinstance(forced, str):
        checker.fail("tool_choice.tool.name: Field required")
    if forced not in tools:
        checker.fail(f"Tool '{forced}' not found in provided tools")
    return ForcedTool(forced, tools[forced])


class _Checker:
    def __init__(self, error: Callable[[str], Exception]) -> None:
        self.error = error

    def fail(self, message: str) -> NoReturn:
        raise self.error(message)

    def tools(self, tools: object, count: SchemaCount) -> dict[str, JsonObject]:
        if tools is None:
            return {}
        if not is_list(tools):
            self.fail("tools: Input should be a valid list")
        found: dict[str, JsonObject] = {}
        strict = 0
        for place, tool in enumerate(tools):
            if not is_object(tool):
                self.fail(f"tools.{place}: Input should be a valid dictionary")
            name = tool.get("name")
            if not isinstance(name, str):
                self.fail(f"tools.{place}.name: Field required")
            if name in found:
                self.fail("tools: Tool names must be unique.")
            found[name] = {"type": "object", "properties": {}}
            if tool.get("type") in (None, "custom"):
                found[name] = self.custom(place, tool, count)
                strict += tool.get("strict") is True
        if strict > MAX_STRICT_TOOLS:
            self.fail(f"tools: Too many strict tools ({strict}). The limit is {MAX_STRICT_TOOLS}.")
        return found

    def custom(self, place: int, tool: JsonObject, count: SchemaCount) -> JsonObject:
        here = f"tools.{place}.custom"
        for name in tool:
            if name not in _CUSTOM_KEYS:
                self.fail(f"{here}.{name}: Extra inputs are not permitted")
        if not _NAME.fullmatch(tool["name"]):
            self.fail(f"{here}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
        schema = tool.get("input_schema")
        if not is_object(schema):
            self.fail(f"{here}.input_schema: Field required")
        if schema.get("type") != "object":
            self.fail(f"{here}.input_schema.type: Input should be 'object'")
        if not isinstance(tool.get("description", ""), str):
            self.fail(f"{here}.description: Input should be a valid string")
        if tool.get("strict") is True:
            try:
                check_schema(schema, count)
            except SchemaRefusedError as problem:
                self.fail(f"{here}.input_schema: {problem}")
        else:
            self.valid(here, schema)
        return schema

    def valid(self, here: str, schema: JsonObject) -> None:
        import jsonschema_rs

        if not jsonschema_rs.meta.is_valid(schema):
            self.fail(
                f"{here}.input_schema: JSON schema is invalid. It must match JSON Schema draft 2020-12 "
                "(https://json-schema.org/draft/2020-12)."
            )
