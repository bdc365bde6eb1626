"""The choice of requests that a rule makes go wrong, and the answers that break their schema."""

from collections.abc import Collection, Iterable
from hashlib import md5
from typing import Any

from batchpipe.emulator.answering.texts import Texts
from batchpipe.emulator.service.faults import RequestRule
from batchpipe.emulator.service.jsontypes import JsonObject, is_list, is_number, is_object

_BROKEN_SCHEMAS = ("wrong_enum", "enum_case", "out_of_range", "extra_field", "missing_field")


class Outcomes:
    """The request rules in force. `counters` has how often each applied before, `changed` the counts since then."""

    def __init__(self, rules: tuple[RequestRule, ...], counters: dict[str, int]) -> None:
        self.rules = rules
        self.counters = counters
        self.changed: dict[str, int] = {}

    def choose(self, names: Collection[str], texts: Texts) -> RequestRule | None:
        """Return the first rule that applies to a request for the model of these names.

        Every rule whose conditions hold counts it.
        """
        if not self.rules:
            return None
        chosen: RequestRule | None = None
        content = md5(texts.own.encode()).hexdigest()
        for place, rule in enumerate(self.rules):
            if not _applies(rule, names, texts) or not _in_share(rule, place, content):
                continue
            if rule.times is not None:
                name = f"request:{place}" + (f":{content}" if rule.per == "content" else "")
                seen = self.changed.get(name, self.counters.get(name, 0))
                self.changed[name] = seen + 1
                if seen >= rule.times:
                    continue
            chosen = chosen or rule
        return chosen


def _applies(rule: RequestRule, names: Collection[str], texts: Texts) -> bool:
    if rule.model is not None and rule.model not in names:
        return False
    return rule.match is None or rule.match in texts.last or rule.match in texts.other


def _in_share(rule: RequestRule, place: int, content: str) -> bool:
    if rule.share >= 1:
        return True
    return int(md5(f"{place}:{content}".encode()).hexdigest()[:8], 16) / 0x100000000 < rule.share


def break_schema(outcome: str | None, value: Any, schema: JsonObject | None) -> Any:
    """Return a JSON answer changed so that it breaks its schema in the way that `outcome` says."""
    if outcome not in _BROKEN_SCHEMAS or not is_object(value):
        return value
    schema = schema or {}
    if outcome == "extra_field":
        return {**value, "unexpected_field": "unasked"}
    if outcome == "missing_field":
        required = schema.get("required") or list(value)
        return {name: part for name, part in value.items() if not required or name != required[0]}
    changed = _changed_field(outcome, value, schema, schema)
    if changed is None:
        return value if outcome == "enum_case" else break_schema("missing_field", value, schema)
    return changed


def _changed_field(outcome: str, value: JsonObject, schema: JsonObject, root: JsonObject) -> JsonObject | None:
    properties = schema.get("properties")
    for name, part in value.items():
        field = _resolved(properties.get(name) if is_object(properties) else None, root)
        changed = _changed_value(outcome, part, field)
        if changed is not None:
            return {**value, name: changed}
        if is_object(part) and (inner := _changed_field(outcome, part, field, root)) is not None:
            return {**value, name: inner}
        if is_list(part):
            items = _resolved(field.get("items"), root)
            for place, item in enumerate(part):
                changed = _changed_value(outcome, item, items)
                if changed is None and is_object(item):
                    changed = _changed_field(outcome, item, items, root)
                if changed is not None:
                    return {**value, name: [*part[:place], changed, *part[place + 1 :]]}
    return None


def _changed_value(outcome: str, value: object, field: JsonObject) -> Any:
    if outcome == "out_of_range":
        return value + 1_000_000_000 if is_number(value) and not _options(field) else None
    if not isinstance(value, str) or not _options(field):
        return None
    if outcome == "wrong_enum":
        return f"not_{value}"
    return value.upper() if value.upper() != value else value.lower()


def _options(field: JsonObject) -> list[Any]:
    for branch in (field, *_objects(field.get("anyOf"))):
        if is_list(options := branch.get("enum")):
            return options
        if "const" in branch:
            return [branch["const"]]
    return []


def _objects(branches: object) -> Iterable[JsonObject]:
    return [branch for branch in branches if is_object(branch)] if is_list(branches) else []


def _resolved(schema: object, root: JsonObject) -> JsonObject:
    if not is_object(schema):
        return {}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        place: object = root
        for part in reference[2:].split("/"):
            place = place.get(part) if is_object(place) else None
        return place if is_object(place) else {}
    return schema
