"""The recipes that the ledger has recorded: what an older one identified keeps that identity, and its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb

from batchpipe.decide.fingerprint import RECIPES, other_recipes
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.engine.source.snapshot import Snapshot, key_sql
from batchpipe.sql.quoting import Sql, joined, number_sql, quote_list, sql
from batchpipe.store.database import Session
from batchpipe.store.queries import query


def under_recorded_recipes(session: Session, resolved: Resolved) -> Resolved:
    """Return `resolved` with its prompt version and policy as the ledger knows them; new ones stay as they are.

    Reads `ledger.prompt_versions`, `ledger.policies`.
    """
    if len(RECIPES) == 1:
        return resolved
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


def older_recipes(session: Session, resolved: Resolved) -> tuple[int, ...]:
    """Return the other recipes whose fingerprints the pipeline and its evaluations have in the ledger.

    Reads `ledger.prompt_versions`.
    """
    if not other_recipes(resolved.version.recipe):
        return ()
    families = quote_list(dict.fromkeys(each.partition(":")[0] for each in resolved.names))
    statement = query("recorded_recipes", families=families)
    rows = session.rows(statement, {"recipe": resolved.version.recipe})
    return tuple(recipe for (recipe,) in rows if recipe in RECIPES)


def recorded_keys(session: Session, resolved: Resolved) -> list[Sql]:
    """Return SQL, over the snapshot, for the keys as earlier types and recipes wrote them; none where all agree.

    The first is how a new row's key is written. Reads `ledger.policies`.
    """
    columns = resolved.key_columns
    keys = [key_sql(each.canonical(resolved.policy_recipe) for each in columns)]
    for recorded, recipe in session.rows(query("recorded_keys", pipelines=quote_list(resolved.names))):
        types = recorded or [each.type for each in columns]
        if recipe in RECIPES and len(types) == len(columns):
            keys.append(key_sql(each.recorded_as(kind, recipe) for each, kind in zip(columns, types, strict=True)))
    keys = list(dict.fromkeys(keys))
    return [] if keys == [key_sql(each.text for each in columns)] else keys


def with_stored_keys(session: Session, resolved: Resolved, snapshot: Snapshot, path: Path) -> Snapshot:
    """Return `snapshot`, or one at `path` whose keys are written as the ledger has them.

    A key is matched by its canonical text under the type and the recipe that it was recorded with.
    Reads `ledger.policies`, `ledger.requests`. Writes `work.stored_keys`, where a key may be written in another way.
    """
    keys = recorded_keys(session, resolved)
    if not keys or not snapshot.key_columns:
        return snapshot
    names = [sql("key_{number}", number=number_sql(number)) for number in range(len(keys))]
    listed = joined(", ", (sql("{key} AS {name}", key=key, name=name) for key, name in zip(keys, names, strict=True)))
    known = (sql("CASE WHEN {name} IN (SELECT key FROM known) THEN {name} END", name=name) for name in names)
    try:
        session.execute(
            query(
                "stored_keys",
                keys=listed,
                known=joined(", ", known),
                relation=snapshot.relation,
                pipelines=quote_list(resolved.names),
            )
        )
    except (duckdb.BinderException, duckdb.ConversionException):
        return snapshot  # a type that the key once had cannot be made of what it is now
    statement = query("rows_with_stored_keys", file=snapshot.file)
    return replace(snapshot, key_columns=()).of_rows(session.connection, statement, path)
