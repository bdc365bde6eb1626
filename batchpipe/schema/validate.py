"""Validation of a model's answer: it becomes the output document, or the error that the model is shown on a retry."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import orjson

from batchpipe.schema import exact_json
from batchpipe.schema.describe import MAX_LENGTH, branches, brief, describe_errors, kind_name, path_text
from batchpipe.schema.renames import renamed_document

Format = Literal["json_schema", "tool", "json", "text"]

_FENCE = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
TOO_DEEP = "the answer is nested too deeply"
EMPTY = "the answer is empty: it has no text"

# What a strict reader of JSON refuses in a text, and the escapes among which halves of surrogate pairs are found.
_REFUSED = re.compile(r"[\x00-\x1f]|\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(
    r"(?P<kept>\\[^u]|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F][0-9a-fA-F]{2}",
    re.DOTALL,
)
# A string, which may lack its end, or a character outside of strings that JSON may not have there.
_OUTSIDE_ASCII = re.compile(r'"(?:[^"\\]|\\.)*+"?|[^!-~]', re.DOTALL)
_UNSEEN = {"Zs", "Zl", "Zp", "Cc", "Cf"}
_MAX_OBJECTS = 50
_REPAIR_ROUNDS = 3


class AnswerValidator:
    """The validator of all answers with one full schema; made once, used for every answer."""

    def __init__(
        self, full_schema: Mapping[str, Any], format: Format, renames: Mapping[str, str] | None = None
    ) -> None:
        """Compile the schema. `renames` has the older names of fields.

        Raises ValueError if the schema is not valid JSON Schema or refers to another file.
        """
        self._validator = compiled(full_schema)
        self._is_valid: Callable[[Any], bool] = self._validator.is_valid
        self._format = format
        self._renames = renames or {}
        self._text_field = next(iter(full_schema.get("properties", {})), "text")

    def validate(self, answer: str) -> tuple[str | None, str | None]:
        """Validate an answer. Returns (document as JSON text, None), or (None, the error as the model is told it).

        In the formats json_schema and tool `answer` is one JSON object, in json it contains one, in text it is the
        value of the only field. A string that differs only in case from exactly one allowed value is replaced by it.
        Null for an optional field that may not be null is left out.
        """
        if self._format == "text":
            if is_blank(answer):
                return None, EMPTY
            document: Any = {self._text_field: answer}
        else:
            try:
                document = _parse(answer) if self._format != "json" else _parse_within(answer)
            except ValueError as error:
                return None, str(error)[:MAX_LENGTH]
        try:
            return self._judged(document)
        except RecursionError:
            return None, TOO_DEEP

    def _judged(self, document: Any) -> tuple[str | None, str | None]:
        """Return what `validate` does, for a document. Raises RecursionError where it is nested too deeply."""
        if self._renames:
            document = renamed_document(document, self._renames)
        if not self._is_valid(document):
            self._leave_out_nulls(document)
            self._respell(document)
            if not self._is_valid(document):
                return None, describe_errors(self._errors(document))
        return _written(document)

    def _errors(self, document: Any) -> Iterator[Any]:
        """Yield the errors of a document. Raises RecursionError where it is nested too deeply to describe them."""
        try:
            yield from self._validator.iter_errors(document)
        except ValueError as error:  # so jsonschema_rs says it, for what its `is_valid` still takes
            raise RecursionError(TOO_DEEP) from error

    def _leave_out_nulls(self, document: Any) -> None:
        """Leave out optional fields that are null and may not be, in place."""
        for _ in range(_REPAIR_ROUNDS):
            left_out = _without_nulls(document, self._errors(document))
            if not left_out:
                break
            required = {
                (*error.instance_path, error.kind.property)
                for error in _flattened(self._errors(document))
                if kind_name(error) == "Required"
            }
            for path in left_out & required:
                _set(document, path, None)
            if left_out <= required:
                break

    def _respell(self, document: Any) -> None:
        """Give enum and const values the spelling of the schema, in place.

        A round can uncover further errors, within a branch that did not fit before.
        """
        for _ in range(_REPAIR_ROUNDS):
            spellings = _spellings(self._errors(document))
            if not spellings:
                break
            for path, spelling in spellings:
                _set(document, path, spelling)


def compiled(full_schema: Mapping[str, Any]) -> Any:
    """Return the jsonschema_rs validator of a schema. Raises ValueError("path: what") if the schema is not valid."""
    import jsonschema_rs  # takes 25 ms, which a run without due rows need not spend

    def refuse(uri: str) -> Any:
        raise ValueError(uri)

    try:
        return jsonschema_rs.validator_for(dict(full_schema), validate_formats=True, retriever=refuse)
    except jsonschema_rs.ValidationError as error:
        if kind_name(error) == "Referencing":
            what = f"a $ref refers to another file, or to a definition that is not there ({error.message})"
            raise ValueError(f"the schema: {what}") from error
        place = path_text(list(error.instance_path)).replace("the answer", "the schema")
        raise ValueError(f"{place}: {brief(error.instance)} is not valid JSON Schema") from error


def schema_errors(full_schema: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (path, what, hint) if the schema is not valid JSON Schema: a bad pattern, a type that does not exist."""
    try:
        compiled(full_schema)
    except ValueError as error:
        path, _, what = str(error).partition(": ")
        return [
            (
                path,
                what,
                "Correct it; every keyword is explained on json-schema.org/understanding-json-schema.",
            )
        ]
    return []


def _parse(answer: str) -> dict[str, Any]:
    """Return the JSON object that `answer` is. Raises ValueError; its message is for the model."""
    try:
        parsed = orjson.loads(answer)
    except orjson.JSONDecodeError as error:
        if (seen := _OUTSIDE_ASCII.sub(_blank_if_unseen, answer)) != answer:
            return _parse(seen)
        if (parsed := _read_all_the_same(answer)) is None:
            what = f"{error.msg} (line {error.lineno}, column {error.colno})"
            raise ValueError(f"the answer is not JSON: {what}") from error
        return parsed
    if not isinstance(parsed, dict):
        raise ValueError(f"the answer is {brief(parsed)}, not one JSON object")
    if not exact_json.has_long_number(answer):
        return parsed
    # orjson reads a number of many digits as a double and so loses digits.
    try:
        exact: dict[str, Any] = exact_json.loads(answer)
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error
    return exact


def _blank_if_unseen(found: re.Match[str]) -> str:
    """Return a blank for a character that nobody sees, as a byte order mark; what else is `found` as it is."""
    text = found[0]
    return " " if len(text) == 1 and text not in "\t\r\n" and unicodedata.category(text) in _UNSEEN else text


def _read_all_the_same(answer: str) -> dict[str, Any] | None:
    """Return the JSON object in an answer with raw control characters or with halves of surrogate pairs, else None.

    A half of a pair becomes U+FFFD.
    """
    if _REFUSED.search(answer) is None:
        return None
    whole = _ESCAPE.sub(lambda found: found[0] if found["kept"] else "\\ufffd", answer)
    try:
        parsed = exact_json.loads(whole, strict=False, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _no_constant(word: str) -> Any:
    raise ValueError(word)


def _written(document: Any) -> tuple[str | None, str | None]:
    """Return (the document as JSON text, None), or (None, the error) where it is nested too deeply."""
    try:
        return exact_json.dumps(document), None
    except orjson.JSONEncodeError:
        return None, TOO_DEEP


def _parse_within(answer: str) -> dict[str, Any]:
    """Return the JSON object in `answer`: the whole text, else the only fenced block, else the only outermost object.

    Raises ValueError; its message is for the model.
    """
    text = answer.strip()
    try:
        return _parse(text)
    except ValueError:
        if text.startswith("{") and text.endswith("}"):
            raise
    for found in (_objects(_FENCE.findall(text)), _outermost(text)):
        if len(found) == 1:
            return found[0]
        if found:
            raise ValueError(f"the answer holds {len(found)} JSON objects; give one and nothing else")
    raise ValueError("the answer holds no JSON object; give one JSON object and nothing else")


def _objects(texts: Iterable[str]) -> list[dict[str, Any]]:
    objects = []
    for text in texts:
        try:
            objects.append(_parse(text))
        except ValueError:
            continue
    return objects


def _outermost(text: str) -> list[dict[str, Any]]:
    """Return the JSON objects in `text` that are in no other object; a brace that begins no JSON is passed over."""
    decoder = json.JSONDecoder()
    spans: list[str] = []
    start = text.find("{")
    for _ in range(_MAX_OBJECTS):
        if start < 0:
            break
        try:
            _, end = decoder.raw_decode(text, start)
            spans.append(text[start:end])
        except (ValueError, RecursionError):
            end = start + 1
        start = text.find("{", end)
    return _objects(spans)


def _spellings(errors: Iterable[Any]) -> list[tuple[list[str | int], str]]:
    """Return (path, allowed value) for each string that differs only in case from exactly one allowed value."""
    choices: dict[tuple[str | int, ...], set[str]] = {}
    for error in _flattened(errors):
        kind = kind_name(error)
        if kind not in ("Enum", "Constant") or not isinstance(error.instance, str):
            continue
        allowed = error.kind.options if kind == "Enum" else [error.kind.expected_value]
        folded = error.instance.casefold()
        same = {each for each in allowed if isinstance(each, str) and each.casefold() == folded}
        choices.setdefault(tuple(error.instance_path), set()).update(same)
    return [(list(path), same.pop()) for path, same in choices.items() if len(same) == 1]


def _flattened(errors: Iterable[Any]) -> Iterator[Any]:
    """Yield the errors, and those within the alternatives of a union."""
    for error in errors:
        yield error
        for branch in branches(error):
            yield from _flattened(branch)


def _without_nulls(document: Any, errors: Iterable[Any]) -> set[tuple[str | int, ...]]:
    """Remove each field of an object that is null and has an error; return the paths of the removed fields."""
    found = {
        tuple(error.instance_path)
        for error in _flattened(errors)
        if error.instance is None and error.instance_path and isinstance(error.instance_path[-1], str)
    }
    for *parents, last in found:
        holder = document
        for part in parents:
            holder = holder[part]
        del holder[last]
    return found


def is_blank(text: str) -> bool:
    """Return whether nothing of `text` can be seen: it has blanks, control and format characters only."""
    return all(unicodedata.category(each) in _UNSEEN for each in text)


def _set(document: Any, path: Sequence[str | int], value: str | None) -> None:
    *parents, last = path
    for part in parents:
        document = document[part]
    document[last] = value
