"""The recipes that the ledger has recorded: what an older one identified keeps that identity, and its name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import duckdb

from batchpipe.decide.fingerprint import RECIPES, newest_recipe, other_recipes
from batchpipe.engine.resolved.resolve import PromptVersion, Resolved
from batchpipe.engine.source.snapshot import (
    InputColumn,
    Snapshot,
    canonical_text,
    input_column,
    key_sql,
    present_key_sql,
)
from batchpipe.pipeline.evaluations import evaluated_pipeline
from batchpipe.sql.quoting import Sql, joined, number_sql, quote_list, quote_literal, sql, type_sql
from batchpipe.store.database import Session
from batchpipe.store.queries import query


def under_recorded_recipes(session: Session, resolved: Resolved) -> Resolved:
    """Return `resolved` with its prompt version, policy and key's types as the ledger knows them.

    A new version and a new policy stay as they are. Reads `ledger.prompt_versions`, `ledger.policies`.
    """
    if session.blank:
        return resolved
    width = len(resolved.key_columns)
    resolved = replace(resolved, key_types=tuple(recorded_key_types(session, resolved.names, width)))
    pipelines = quote_list(resolved.names)
    hashes = [resolved.version_under(recipe).prompt_version for recipe in RECIPES]
    found = session.rows(query("recorded_version_recipe", pipelines=pipelines), {"hashes": hashes})
    if found and found[0][0] in RECIPES:
        version = resolved.version_under(found[0][0])
        resolved = replace(resolved, version=version, templates=resolved.templates.under(version.recipe))
    hashes = [resolved.policy_under(recipe)[0] for recipe in RECIPES]
    found = session.rows(query("recorded_policy_recipe", pipelines=pipelines), {"hashes": hashes})
    if not found or found[0][0] not in RECIPES:
        return resolved
    recipe = found[0][0]
    policy_hash, judge_hash = resolved.policy_under(recipe)
    return replace(resolved, policy_recipe=recipe, policy_hash=policy_hash, judge_hash=judge_hash)


def versions_by_every_recipe(resolved: Resolved) -> list[PromptVersion]:
    """Return today's prompt version as every recipe identifies it, the recorded one first."""
    return [resolved.version, *(resolved.version_under(each) for each in other_recipes(resolved.version.recipe))]


def judge_hashes_by_every_recipe(resolved: Resolved) -> list[str]:
    """Return the hash of today's judge as every recipe makes it, the recorded one first."""
    return [resolved.judge_hash, *(resolved.policy_under(each)[1] for each in other_recipes(resolved.policy_recipe))]


def older_recipes(session: Session, resolved: Resolved) -> tuple[int, ...]:
    """Return the other recipes whose fingerprints the pipeline and its evaluations have in the ledger.

    Reads `ledger.prompt_versions`.
    """
    if not other_recipes(resolved.version.recipe):
        return ()
    families = quote_list(dict.fromkeys(evaluated_pipeline(each) for each in resolved.names))
    statement = query("recorded_recipes", families=families)
    rows = session.rows(statement, {"recipe": resolved.version.recipe})
    return tuple(recipe for (recipe,) in rows if recipe in RECIPES)


def recorded_keys(session: Session, resolved: Resolved) -> list[Sql]:
    """Return SQL, over the snapshot, for the keys as earlier types and recipes wrote them; none where all agree.

    The first is how a new row's key is written. Reads `ledger.policies`.
    """
    return _keys(session, resolved.names, resolved.key_columns, resolved.policy_recipe)


def _keys(session: Session, names: Sequence[str], columns: Sequence[InputColumn], recipe: int) -> list[Sql]:
    """Return SQL for the ways in which the key of `columns` may be written in the ledger; none where all agree.

    A whole number is the same key in every numeric type, so that each recipe's own way is one of them.
    Reads `ledger.policies`.
    """
    keys = [key_sql(each.canonical(recipe) for each in columns)]
    for types, recorded in recorded_key_types(session, names, len(columns)):
        present = types or [each.type for each in columns]
        keys.append(key_sql(each.recorded_as(kind, recorded) for each, kind in zip(columns, present, strict=True)))
        keys.append(key_sql(each.canonical(recorded) for each in columns))
        if types and list(types) != [each.type for each in columns]:
            keys.append(key_sql(each.canonical(newest_recipe().number) for each in columns))
    keys = list(dict.fromkeys(keys))
    return [] if keys == [present_key_sql(columns)] else keys


def recorded_key_types(session: Session, names: Sequence[str], width: int) -> list[tuple[tuple[str, ...] | None, int]]:
    """Return the types that the key of `width` columns had, with the recipe that wrote it, the newest first.

    The types are None where they were not recorded. Reads `ledger.policies`.
    """
    found = session.rows(query("recorded_keys", pipelines=quote_list(names))) if session.knows(names) else []
    return [
        (tuple(types) if types else None, recipe)
        for types, recipe in found
        if recipe in RECIPES and (not types or len(types) == width)
    ]


def with_stored_keys(session: Session, resolved: Resolved, snapshot: Snapshot, path: Path) -> Snapshot:
    """Return `snapshot`, or one at `path` whose keys are written as the ledger has them.

    Reads `ledger.policies`, `ledger.requests`. Writes `work.stored_keys`, where a key may be written in another way.
    """
    return with_keys_of(session, resolved.names, resolved.key_columns, snapshot, path, recipe=resolved.policy_recipe)


def with_keys_of(
    session: Session,
    names: Sequence[str],
    columns: Sequence[InputColumn],
    snapshot: Snapshot,
    path: Path,
    *,
    recipe: int,
) -> Snapshot:
    """Return `snapshot`, or one at `path` whose keys are written as the ledger has them for the pipelines `names`.

    A key is matched by its canonical text under the type and the recipe that it was recorded with. `columns` are those
    of the key; `recipe` writes a key that the ledger does not have.
    Reads `ledger.policies`, `ledger.requests`. Writes `work.stored_keys`, where a key may be written in another way.
    """
    if not snapshot.key_columns:
        return snapshot
    keys = _keys(session, names, columns, recipe)
    if not keys:
        return snapshot
    written = [sql("key_{number}", number=number_sql(number)) for number in range(len(keys))]
    listed = joined(", ", (sql("{key} AS {name}", key=key, name=name) for key, name in zip(keys, written, strict=True)))
    known = (sql("CASE WHEN {name} IN (SELECT key FROM known) THEN {name} END", name=name) for name in written)
    try:
        session.execute(
            query(
                "stored_keys",
                keys=listed,
                known=joined(", ", known),
                relation=snapshot.relation,
                pipelines=quote_list(names),
            )
        )
    except (duckdb.BinderException, duckdb.ConversionException):
        return snapshot  # a type that the key once had cannot be made of what it is now
    statement = query("rows_with_stored_keys", file=snapshot.file)
    return replace(snapshot, key_columns=()).of_rows(session.connection, statement, path)


def written_keys(
    session: Session, names: Sequence[str], key: Sequence[str], columns: Sequence[InputColumn] = ()
) -> list[str]:
    """Return how the key that a person gives as texts may be written: `10.0` is 10, a time may have a `T`.

    It may have the types that it was recorded with, and those of `columns`. Reads `ledger.policies`.
    """
    found: list[str] = []
    present = [(tuple(each.type for each in columns), newest_recipe().number)]
    for types, recipe in (*present, *recorded_key_types(session, names, len(key))):
        if types is None or len(types) != len(key):
            continue
        casts = [
            sql("TRY_CAST({text} AS {type})", text=quote_literal(text), type=type_sql(kind))
            for text, kind in zip(key, types, strict=True)
        ]
        columns = [input_column("given", kind) for kind in types]
        for number in dict.fromkeys((recipe, *RECIPES)):
            texts = (
                canonical_text(column.held(cast), column.type, number)
                for column, cast in zip(columns, casts, strict=True)
            )
            try:
                found += [row[0] for row in session.rows(sql("SELECT {key}", key=key_sql(texts)))]
            except (duckdb.BinderException, duckdb.ConversionException):
                continue
    # What cannot have one of the types is NULL there, and no key is.
    return [each for each in dict.fromkeys(found) if None not in json.loads(each)]


def keys_of_input(session: Session, resolved: Resolved, relation: Sql, keys: Sequence[str]) -> dict[str, str | None]:
    """Return, for each of `keys` (JSON lists of texts, as a person gave them), the key that the input has; else None.

    `relation` has the input's rows with their keys. Reads `ledger.policies`.
    """
    meant = {key: [key, *written_keys(session, resolved.names, json.loads(key), resolved.key_columns)] for key in keys}
    every = [each for written in meant.values() for each in written]
    statement = sql("SELECT key FROM {relation} WHERE key IN (SELECT unnest($1::VARCHAR[]))", relation=relation)
    known = {key for (key,) in session.rows(statement, [every])}
    return {key: next((each for each in written if each in known), None) for key, written in meant.items()}
