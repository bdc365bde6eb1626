"""The recipes that the ledger has recorded: what an older one identified keeps that identity, and its name."""

from __future__ import annotations

from dataclasses import replace

from batchpipe.decide.fingerprint import RECIPES, other_recipes
from batchpipe.engine.resolved.resolve import Resolved
from batchpipe.sql.quoting import quote_list
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
        resolved = replace(resolved, version=resolved.version_under(found[0][0]))
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
