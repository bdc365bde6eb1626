"""Values that satisfy a JSON schema, drawn from a seed: the same seed gives the same value."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from batchpipe.emulator.answering.patterns import string_matching
from batchpipe.emulator.service.jsontypes import JsonObject, is_integer, is_list, is_number, is_object, word_set

_MASK = (1 << 64) - 1
_DEEPEST = 12
_WORDS = tuple(
    sorted(
        word_set(
            "account access amount answer budget button change charge customer delivery detail discount "
            "export document feature invoice issue item label login message module note number option order "
            "page plan payment policy price product question refund release report request result review "
            "sample screen service session setting shipment status summary support table team ticket topic "
            "update user value version warranty website window"
        )
    )
)
_FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)


class Draw:
    """A stream of whole numbers from one seed. `depth` limits the values of schemas that contain themselves."""

    __slots__ = ("depth", "state")

    def __init__(self, seed: int) -> None:
        self.state = seed & _MASK
        self.depth = 0

    def below(self, limit: int) -> int:
        """Return the next number, from 0 to limit - 1."""
        self.state = state = (self.state * 6364136223846793005 + 1442695040888963407) & _MASK
        return (state >> 33) % limit


MakeValue = Callable[[Draw], Any]


def compile_schema(schema: JsonObject) -> MakeValue:
    """Return a function from a draw to a value that satisfies the schema; it is made once and called per request."""
    return _Compiler(schema).compile(schema)


class _Compiler:
    def __init__(self, root: JsonObject) -> None:
        self.root = root
        self.references: dict[str, MakeValue | None] = {}

    def compile(self, schema: object) -> MakeValue:
        if not is_object(schema):
            return _word
        if "const" in schema:
            constant = schema["const"]
            return lambda draw: constant
        if is_list(options := schema.get("enum")) and options:
            count = len(options)
            return lambda draw: options[draw.below(count)]
        if isinstance(reference := schema.get("$ref"), str):
            return self.reference(reference)
        for word in ("anyOf", "oneOf"):
            if is_list(branches := schema.get(word)) and branches:
                return self.choice([self.compile(_merged(schema, branch, word)) for branch in branches])
        if is_list(parts := schema.get("allOf")) and parts:
            whole = schema
            for part in parts:
                whole = _merged(whole, self.resolved(part), "allOf")
            return self.compile(whole)
        return self.typed(schema)

    def typed(self, schema: JsonObject) -> MakeValue:
        kind = schema.get("type")
        if is_list(kind) and kind:
            return self.choice([self.compile({**schema, "type": one}) for one in kind])
        if kind == "object" or (kind is None and "properties" in schema):
            return self.object(schema)
        if kind == "array" or (kind is None and "items" in schema):
            return self.array(schema)
        if kind == "integer":
            return _integer(schema)
        if kind == "number":
            return _number(schema)
        if kind == "boolean":
            return lambda draw: draw.below(2) == 1
        if kind == "null":
            return lambda draw: None
        return _string(schema)

    def resolved(self, schema: object) -> object:
        if is_object(schema) and isinstance(reference := schema.get("$ref"), str):
            return _pointed_at(self.root, reference)
        return schema

    def reference(self, reference: str) -> MakeValue:
        if reference not in self.references:
            self.references[reference] = None
            self.references[reference] = self.compile(_pointed_at(self.root, reference))
        references = self.references

        def make(draw: Draw) -> Any:
            target = references[reference]
            if target is None or draw.depth > 4 * _DEEPEST:
                return None
            draw.depth += 1
            made = target(draw)
            draw.depth -= 1
            return made

        return make

    def choice(self, options: list[MakeValue]) -> MakeValue:
        count = len(options)

        def make(draw: Draw) -> Any:
            # In a schema that contains itself the last branch is usually the one that ends the recursion.
            return options[-1 if draw.depth > _DEEPEST else draw.below(count)](draw)

        return make

    def object(self, schema: JsonObject) -> MakeValue:
        found = schema.get("properties")
        properties = found if is_object(found) else {}
        named = schema.get("required")
        required = {str(name) for name in named} if is_list(named) else set[str]()
        fields = [(name, self.compile(part)) for name, part in properties.items() if name in required]
        optional = [(name, self.compile(part)) for name, part in properties.items() if name not in required]
        fields.extend((name, _word) for name in sorted(required - set(properties)))

        def make(draw: Draw) -> Any:
            made = {name: part(draw) for name, part in fields}
            for name, part in optional:
                if draw.below(3) and draw.depth <= _DEEPEST:
                    made[name] = part(draw)
            return made

        return make

    def array(self, schema: JsonObject) -> MakeValue:
        least = _whole(schema.get("minItems"), 0)
        most = _whole(schema.get("maxItems"), max(least, 3))
        low = min(max(least, 1), most)
        high = max(low, min(most, max(least, 3)))
        unique = schema.get("uniqueItems") is True
        item = self.compile(schema.get("items", {"type": "string"}))

        def make(draw: Draw) -> Any:
            count = least if draw.depth > _DEEPEST else low + draw.below(high - low + 1)
            made = [item(draw) for _ in range(count)]
            if unique:
                made = [value for place, value in enumerate(made) if value not in made[:place]]
                for _ in range(50):
                    if len(made) >= least:
                        break
                    extra = item(draw)
                    made += [] if extra in made else [extra]
            return made

        return make


def _merged(schema: JsonObject, branch: object, word: str) -> JsonObject:
    outer = {name: value for name, value in schema.items() if name != word}
    if not is_object(branch):
        return outer
    merged = {**outer, **branch}
    for name in ("properties", "$defs", "definitions"):
        left, right = outer.get(name), branch.get(name)
        if is_object(left) and is_object(right):
            merged[name] = {**left, **right}
    left, right = outer.get("required"), branch.get("required")
    if is_list(left) and is_list(right):
        merged["required"] = [*left, *right]
    return merged


def _pointed_at(root: JsonObject, reference: str) -> object:
    if not reference.startswith("#"):
        return {"type": "string"}
    place: object = root
    for part in reference[1:].split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        place = place.get(name) if is_object(place) else None
    return place


def _whole(value: object, default: int) -> int:
    return value if is_integer(value) else default


def _bounds(schema: JsonObject, step: float) -> tuple[float | None, float | None]:
    low, high = schema.get("minimum"), schema.get("maximum")
    above, under = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    lows = [value for value in (low, above + step if is_number(above) else None) if is_number(value)]
    highs = [value for value in (high, under - step if is_number(under) else None) if is_number(value)]
    return max(lows) if lows else None, min(highs) if highs else None


def _integer(schema: JsonObject) -> MakeValue:
    low, high = _bounds(schema, 1)
    first = 1 if low is None and high is None else -(-low // 1) if low is not None else (high or 0) - 4
    last = high if high is not None else first + 4
    least, most = int(first), int(last // 1)
    factor = schema.get("multipleOf")
    if is_integer(factor) and factor > 0:
        start = -(-least // factor)
        places = max(1, (most if high is not None else least + 4 * factor) // factor - start + 1)
        return lambda draw: (start + draw.below(places)) * factor
    places = max(1, most - least + 1)
    return lambda draw: least + draw.below(places)


def _number(schema: JsonObject) -> MakeValue:
    factor = schema.get("multipleOf")
    if is_integer(factor):
        return _integer(schema)
    low, high = _bounds(schema, 0)
    if low is None:
        low = 0.0 if high is None or high > 0 else high - 1
    if high is None:
        high = low + 1
    if is_number(factor) and factor > 0:
        start, step = -(-low // factor), factor
        places = max(1, int(high // factor - start) + 1)
        return lambda draw: round((start + draw.below(places)) * step, 10)
    least, wide = low, high - low
    open_ends = "exclusiveMinimum" in schema or "exclusiveMaximum" in schema
    digits = 2 if wide >= 0.5 else 8

    def make(draw: Draw) -> Any:
        share = (1 + draw.below(99)) / 100 if open_ends else draw.below(101) / 100
        return min(high, max(least, round(least + wide * share, digits)))

    return make


def _word(draw: Draw) -> Any:
    return _WORDS[draw.below(len(_WORDS))]


def _phrase(draw: Draw) -> Any:
    state = draw.below(1 << 30)
    count = len(_WORDS)
    first = _WORDS[state % count]
    if state & 0x10000000:
        return first
    return f"{first} {_WORDS[state // count % count]}"


def _hexadecimal(draw: Draw, length: int) -> str:
    return "".join("0123456789abcdef"[draw.below(16)] for _ in range(length))


_FORMATS: dict[str, MakeValue] = {
    "date": lambda draw: (_FIRST_DAY + timedelta(days=draw.below(1000))).date().isoformat(),
    "date-time": lambda draw: (_FIRST_DAY + timedelta(seconds=draw.below(86_400_000))).strftime("%Y-%m-%dT%H:%M:%SZ"),
    "time": lambda draw: f"{draw.below(24):02}:{draw.below(60):02}:{draw.below(60):02}Z",
    "duration": lambda draw: f"P{1 + draw.below(30)}D",
    "email": lambda draw: f"{_word(draw)}.{_word(draw)}@example.com",
    "hostname": lambda draw: f"{_word(draw)}.example.com",
    "uri": lambda draw: f"https://example.com/{_word(draw)}/{draw.below(1000)}",
    "ipv4": lambda draw: f"192.0.2.{draw.below(256)}",
    "ipv6": lambda draw: f"2001:db8::{1 + draw.below(65535):x}",
    "uuid": lambda draw: (
        f"{_hexadecimal(draw, 8)}-{_hexadecimal(draw, 4)}-4{_hexadecimal(draw, 3)}"
        f"-a{_hexadecimal(draw, 3)}-{_hexadecimal(draw, 12)}"
    ),
}


def _string(schema: JsonObject) -> MakeValue:
    form = _FORMATS.get(str(schema.get("format")))
    if form is not None:
        return form
    least, most = _whole(schema.get("minLength"), 0), schema.get("maxLength")
    pattern = schema.get("pattern")
    if isinstance(pattern, str):
        return _patterned(pattern, least, most)
    if least == 0 and most is None:
        return _phrase

    def make(draw: Draw) -> Any:
        text = _phrase(draw)
        while len(text) < least:
            text += " " + _word(draw)
        return text[: max(least, most)].strip().ljust(least, "x") if is_integer(most) else text

    return make


def _patterned(pattern: str, least: int, most: object) -> MakeValue:
    def make(draw: Draw) -> Any:
        for _ in range(20):
            text = string_matching(pattern, draw.below)
            if text is not None and len(text) >= least and (not is_integer(most) or len(text) <= most):
                return text
        word = _word(draw)
        return word if re.search(pattern, word) else (string_matching(pattern, draw.below) or word)

    return make
