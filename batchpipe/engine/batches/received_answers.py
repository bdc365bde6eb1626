"""Validate the answers of collected batches, each under the policy that its request was sent under."""

from __future__ import annotations

import json
from dataclasses import replace

from batchpipe.engine.answers.validation import ALONE, AnswerRules, validate_answers, validate_documents
from batchpipe.engine.exchange.run_parts import RunParts
from batchpipe.engine.resolved.policy import answer_rules_of
from batchpipe.engine.votes.slots import slots
from batchpipe.sql.quoting import Sql, quote_list, quote_literal, sql
from batchpipe.store.queries import query

# Outcomes with a text that may be the answer. Where any text is one, an unfinished answer is not told from a whole one.
ANSWERED = ("answered",)


def validate_received(parts: RunParts) -> None:
    """Validate each answer under the policy that its request was sent under.

    Reads `work.received`, `work.sent`, `work.ended`.
    Writes `work.sent_values` and the views `work.all_validity` and `work.all_documents`. Behind the views stand
    `work.validity` and `work.documents`; where there are several policies, `work.validity_by_policy` and
    `work.documents_by_policy`.
    """
    connection = parts.work.connection
    policies = connection.execute(
        Sql("SELECT policy_hash::VARCHAR, any_value(prompt_version)::VARCHAR FROM work.sent GROUP BY policy_hash")
    ).fetchall()
    voting = bool(parts.resolved.panels)
    one = len(policies) == 1 and not voting
    if not one:
        connection.execute(query("validity_by_policy"))
    for policy_hash, prompt_version in policies:
        rules = _rules_for(parts, policy_hash, prompt_version)
        policy = sql("{policy_hash}::UUID", policy_hash=quote_literal(policy_hash))
        among = {"all": Sql("true") if one else Sql("false"), "policy_hash": policy}
        outcomes = ANSWERED if rules.output_format == "text" else (*ANSWERED, "unfinished")
        answers = query("answers_received", outcomes=quote_list(outcomes), **among)
        validate_documents(parts.work, rules, sql("({answers})", answers=answers))
        sent = query("sent_under_policy", **among, **slots(parts.resolved, "sent_under_policy"))
        if rules.inputs:
            with parts.reading() as session:
                session.execute(query("sent_values"))
            sent = query("sent_with_values", sent=sent)
        validate_answers(
            parts.work, rules, sql("({sent})", sent=sent), members=Sql("r.part <> ''") if voting else ALONE
        )
        if not one:
            connection.execute(query("add_validity"))
            connection.execute(query("add_documents"))
    connection.execute(query("all_validity", validity=Sql("work.validity") if one else Sql("work.validity_by_policy")))
    documents = Sql("work.documents") if one else Sql("work.documents_by_policy")
    connection.execute(query("all_documents", documents=documents))


def _rules_for(parts: RunParts, policy_hash: str, prompt_version: str) -> AnswerRules:
    """Return the rules for answers to requests of `policy_hash`: the present ones, or those that were recorded.

    Requests of the present prompt version are validated by the present checks, wherever the inputs that these read
    are at hand.
    Reads `ledger.policies`.
    """
    if policy_hash == parts.resolved.policy_hash:
        return parts.resolved.answer_rules
    with parts.reading() as session:
        found = session.rows(query("recorded_policy"), {"policy_hash": policy_hash})
    policy = json.loads(found[0][0])
    recorded = answer_rules_of(policy, parts.work.connection)
    today = parts.resolved.answer_rules
    at_hand = {name for name, _ in recorded.input_columns}
    if prompt_version == parts.resolved.version.prompt_version and today.inputs <= at_hand:
        return replace(today, input_columns=recorded.input_columns)
    return recorded
