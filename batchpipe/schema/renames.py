"""Fields that were renamed: the schema as it was before, and the documents of answers that have the older names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from batchpipe.pipeline.model import Output

# With at most so many renamed fields, any subset may have been renamed before. With more, all at once or one after
# another.
MOST_COMBINED = 5


def field_renames(output: Output) -> dict[str, str]:
    """Return the older name of each field that gives one, by its name now."""
    return {name: field.renamed_from for name, field in output.fields.items() if field.renamed_from is not None}


def schemas_before(full: Mapping[str, Any], renames: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the full schema as it was before each part of the renames, the whole first."""
    names = list(renames)
    sizes = range(len(names), 0, -1) if len(names) <= MOST_COMBINED else (len(names), 1)
    for size in sizes:
        for chosen in combinations(names, size):
            yield _before(full, {name: renames[name] for name in chosen})


def renamed_document(document: Any, renames: Mapping[str, str]) -> Any:
    """Return the document with the names that its fields have now."""
    if not isinstance(document, dict):
        return document
    found = {older: name for name, older in renames.items() if older in document and name not in document}
    return {found.get(key, key): value for key, value in document.items()} if found else document


def _before(full: Mapping[str, Any], renames: Mapping[str, str]) -> dict[str, Any]:
    return {
        **full,
        "properties": {renames.get(name, name): node for name, node in full["properties"].items()},
        "required": [renames.get(name, name) for name in full.get("required", ())],
    }
