-- The plan: each row of the input compared, as sets, with the decisions that stand.

-- name: generation
-- The first commit of the prompt version that made the newest decisions, called the generation. Most keys were decided in
-- it, and only once.
SELECT coalesce(min(seq), 0) FROM ledger.decisions
WHERE pipeline IN ({pipelines}) AND prompt_version IN (
    SELECT prompt_version FROM ledger.decisions
    WHERE pipeline IN ({pipelines})
        AND seq = (SELECT max(seq) FROM ledger.decisions WHERE pipeline IN ({pipelines}))
)

-- name: any_decided_again
SELECT count(*) > count(DISTINCT key_id) FROM ledger.decisions WHERE pipeline IN ({pipelines}) AND seq >= {generation}

-- name: decided_again
-- work.decided_again: One row is a key that was decided more than once in the generation, with its newest commit.
CREATE OR REPLACE TABLE work.decided_again AS
SELECT key_id, max(seq) AS seq FROM ledger.decisions
WHERE pipeline IN ({pipelines}) AND seq >= {generation}
GROUP BY key_id HAVING count(*) > 1

-- name: superseded
-- Earlier prompt versions that decided exactly the keys of that generation, as after an edit of the prompt over the same
-- rows. Two sets of keys are taken as the same if their number and the exclusive or of their hashes are.
-- work.superseded: One row is an earlier prompt version that the generation superseded for all of its keys.
CREATE OR REPLACE TABLE work.superseded AS
WITH ended AS (
    SELECT CASE WHEN seq < {generation} THEN prompt_version END AS earlier, count(*) AS rows, bit_xor(hash(key_id)) AS keys
    FROM ledger.decisions
    WHERE pipeline IN ({pipelines}) AND state NOT IN ('retry', 'escalated')
    GROUP BY earlier
)
SELECT e.earlier AS prompt_version
FROM ended e JOIN ended g USING (rows, keys)
WHERE e.earlier IS NOT NULL AND g.earlier IS NULL

-- name: decided_before
-- Keys that were decided only before that generation. No superseded version has one of them.
-- work.decided_before: One row is a key that was decided only before the generation, with its newest commit.
CREATE OR REPLACE TABLE work.decided_before AS
SELECT key_id, max(seq) AS seq
FROM (
    SELECT key_id, seq FROM ledger.decisions
    WHERE pipeline IN ({pipelines}) AND seq < {generation} AND (
        state IN ('retry', 'escalated') OR prompt_version NOT IN (SELECT prompt_version FROM work.superseded)
    )
)
ANTI JOIN (
    SELECT key_id FROM ledger.decisions WHERE pipeline IN ({pipelines}) AND seq >= {generation}
) USING (key_id)
GROUP BY key_id

-- name: standing
-- The newest decision of each key as of this commit. It is a view, since a copy would take as much memory again.
-- work.standing: One row is a key that was ever decided, with its newest decision.
CREATE OR REPLACE VIEW work.standing AS
SELECT
    key_id, input_hash, prompt_version, policy_hash, state, review, not_before, started,
    custom_id IS NULL AS never_sent, seq
FROM (
    SELECT d.* FROM store.ledger.decisions d {newest}
    WHERE d.pipeline IN ({pipelines}) AND d.seq >= {generation} AND d.seq <= {seq} {only_newest}
    UNION ALL
    SELECT d.* FROM store.ledger.decisions d JOIN work.decided_before b USING (key_id, seq)
    WHERE d.pipeline IN ({pipelines}) AND d.seq < {generation}
)

-- name: standing_policies
-- work.standing_policies: One row is a prompt version and a policy under which decisions stand, with their number.
CREATE OR REPLACE TABLE work.standing_policies AS
SELECT prompt_version, policy_hash, count(*) AS rows, count(*) FILTER (state IN ('accepted', 'kept')) AS answered
FROM work.standing
GROUP BY prompt_version, policy_hash

-- name: past_columns
SELECT DISTINCT p.columns, p.types, p.recipe
FROM (SELECT DISTINCT policy_hash FROM work.standing_policies) s
JOIN ledger.policies p USING (policy_hash)
WHERE p.pipeline IN ({pipelines})

-- name: input
-- `unhex` makes the cast to UUID cheap: it is done for every row.
-- work.input: One row is a row of the input, with its key and the hashes of its input.
CREATE OR REPLACE TABLE work.input AS
SELECT position, key, unhex(md5(key))::UUID AS key_id, {hashes}, true AS selected
FROM {snapshot}

-- name: pending
-- work.pending: One row is a key with a request in flight; `by_call`: only `try` asks it now.
CREATE OR REPLACE TABLE work.pending AS
SELECT key_id, any_value(r.started) AS started, bool_and(c.by_call) AS by_call
FROM ledger.requests r
JOIN (
    SELECT chunk_id, false AS by_call FROM ledger.batches WHERE is_open AND pipeline IN ({pipelines})
    UNION ALL
    SELECT DISTINCT chunk_id, true FROM ledger.events
    WHERE kind = 'call_prepared' AND recorded_at > $calls_since AND chunk_id NOT IN (
        SELECT chunk_id FROM ledger.events WHERE kind = 'call_ended' AND chunk_id IS NOT NULL
    )
) c USING (chunk_id)
WHERE r.pipeline IN ({pipelines})
GROUP BY key_id

-- name: nothing_pending
CREATE OR REPLACE TABLE work.pending (key_id UUID, started BIGINT, by_call BOOLEAN)

-- name: identities
-- work.identities: One row is a prompt version and a policy that decisions stand under, compared with those of today.
CREATE OR REPLACE TABLE work.identities AS
SELECT DISTINCT ON (s.prompt_version, s.policy_hash)
    s.prompt_version,
    s.policy_hash,
    list_contains($prompt_versions::UUID[], s.prompt_version) AS same_version,
    coalesce(list_contains($visible_hashes::UUID[], v.visible_hash), false) AS same_visible,
    coalesce(list_contains($schema_hashes::UUID[], v.schema_hash), false) AS same_schema,
    coalesce(list_contains($judge_hashes::UUID[], p.judge_hash), false) AS same_rules,
    {present_hash} AS present_hash,
    {recorded_hash} AS recorded_hash
FROM work.standing_policies s
LEFT JOIN ledger.prompt_versions v ON v.prompt_version = s.prompt_version AND v.pipeline IN ({pipelines})
LEFT JOIN ledger.policies p ON p.policy_hash = s.policy_hash AND p.pipeline IN ({pipelines})

-- name: changed_otherwise
-- A hash over a column that has left the input compares with nothing. What is left of the input is compared with the
-- values that were asked about.
-- work.changed_otherwise: One row is a key of which a column has left the input, and another column has another value.
CREATE OR REPLACE TABLE work.changed_otherwise AS
SELECT DISTINCT s.key_id
FROM work.standing s
JOIN work.identities v USING (prompt_version, policy_hash)
JOIN ledger.decisions d ON d.key_id = s.key_id AND d.seq = s.seq AND d.pipeline IN ({pipelines})
JOIN ledger.requests q ON q.key_id = s.key_id AND q.custom_id = d.custom_id AND q.pipeline IN ({pipelines})
JOIN ledger.policies p ON p.policy_hash = q.policy_hash AND p.pipeline IN ({pipelines})
JOIN work.input i ON i.key_id = s.key_id
JOIN (SELECT position, {names} AS names, [{types}]::VARCHAR[] AS types, {texts} AS texts FROM {snapshot}) n USING (position)
WHERE v.present_hash IS NULL AND len(list_filter(
    p.columns,
    lambda name: p.types[list_position(p.columns, name)] = n.types[list_position(n.names, name)]
        AND q.input_values[list_position(p.columns, name)] IS DISTINCT FROM n.texts[list_position(n.names, name)]
)) > 0

-- name: compared
-- Every row of the input that is not unchanged. These are few, as a rule, so that unchanged rows are left out first.
-- work.compared: One row is a row of the input that is not unchanged, with what its standing decision says of it.
CREATE OR REPLACE TABLE work.compared AS
WITH settled AS (
    SELECT s.key_id, s.input_hash
    FROM work.standing s
    JOIN work.identities v USING (prompt_version, policy_hash)
    WHERE v.present_hash = 0 AND v.same_version AND v.same_rules AND s.state = 'accepted'
        AND s.key_id NOT IN (SELECT key_id FROM work.pending WHERE NOT by_call)
        AND s.key_id NOT IN (SELECT key_id FROM work.redo)
        AND s.key_id NOT IN (SELECT key_id FROM work.input WHERE NOT selected)
),
others AS MATERIALIZED (SELECT * FROM work.input ANTI JOIN settled USING (key_id, input_hash))
SELECT
    key_id, position, key, input_hash, state, review, not_before, started, standing_seq, never_sent, known,
    coalesce(state IN ('accepted', 'kept'), false) AS answered,
    same_input, same_version, same_visible, same_schema, same_rules,
    -- What is done again with an answer that is there is not done with a row that asks something else by now.
    CASE WHEN ordered IN ('fresh', 'again') OR (same_input AND (same_version OR same_visible)) THEN ordered END AS redo,
    CASE
        WHEN NOT selected THEN 'not_selected'
        WHEN is_pending AND NOT by_call THEN 'pending'
        WHEN redo IS NULL AND same_input AND same_version AND same_rules AND state = 'accepted' THEN 'unchanged'
        WHEN is_pending THEN 'pending'
        WHEN redo IS NOT NULL OR NOT known THEN 'candidate'
        WHEN same_input AND same_version AND state = 'kept' THEN 'kept'
        WHEN same_input AND same_version AND same_rules AND state = 'failed' AND NOT never_sent THEN 'failed'
        ELSE 'candidate'
    END AS reason
FROM (
    SELECT
        i.key_id, i.position, i.key, i.input_hash, i.selected, s.state, s.review, s.not_before, s.started,
        s.seq AS standing_seq, coalesce(s.never_sent, false) AS never_sent,
        s.key_id IS NOT NULL AS known,
        p.key_id IS NOT NULL AS is_pending, coalesce(p.by_call, false) AS by_call,
        {same_input} AS same_input,
        coalesce(v.same_version, false) AS same_version,
        coalesce(v.same_visible, false) AS same_visible,
        coalesce(v.same_schema, false) AS same_schema,
        coalesce(v.same_rules, false) AS same_rules,
        r.kind AS ordered
    FROM others i
    LEFT JOIN (SELECT * FROM work.standing WHERE key_id IN (SELECT key_id FROM others)) s USING (key_id)
    LEFT JOIN work.pending p USING (key_id)
    LEFT JOIN work.identities v USING (prompt_version, policy_hash)
    LEFT JOIN work.redo r USING (key_id)
)
WHERE reason <> 'unchanged'

-- name: one_candidate
SELECT 1 FROM work.compared WHERE reason = 'candidate' LIMIT 1

-- name: candidates
-- work.candidates: One row is a row of the input that may be due, with its standing decision and its usable rungs.
CREATE OR REPLACE TABLE work.candidates AS
WITH chosen AS (SELECT * FROM work.compared WHERE reason = 'candidate')
SELECT
    c.*, d.rung, d.attempts, d.transients, d.max_tokens, d.fingerprint AS own_fingerprint, d.custom_id, d.earlier_answer,
    f.answer AS feedback_answer, f.error AS feedback_error,
    {rungs}::UINTEGER AS rungs
FROM chosen c
LEFT JOIN (
    SELECT key_id, seq, rung, attempts, transients, max_tokens, fingerprint, custom_id, earlier_answer
    FROM ledger.decisions
    WHERE pipeline IN ({pipelines}) AND key_id IN (SELECT key_id FROM chosen)
) d ON d.key_id = c.key_id AND d.seq = c.standing_seq
LEFT JOIN (
    SELECT d.key_id, d.started, d.rung, arg_max(r.answer, d.seq) AS answer,
        arg_max(coalesce(d.error, r.error), d.seq) AS error
    FROM ledger.decisions d
    JOIN ledger.results r ON r.custom_id = d.custom_id AND r.outcome = 'answered' AND NOT r.judged_again
    WHERE d.state = 'retry' AND d.transients = 0 AND d.pipeline IN ({pipelines})
        AND d.key_id IN (SELECT key_id FROM chosen WHERE state = 'retry')
    GROUP BY d.key_id, d.started, d.rung
) f ON f.key_id = c.key_id AND f.started = c.started AND f.rung = d.rung AND c.state = 'retry' AND d.attempts > 0
{snapshot_join}

-- name: keep_no_other_answer
-- A row that is under way, or has failed, keeps no answer to what its input was before. Its last decision says nothing of
-- that: the answer that would be kept is older.
DELETE FROM work.to_keep
WHERE change <> 'input_changed'
    AND key_id NOT IN (SELECT key_id FROM work.to_keep WHERE change = 'input_changed')
    AND key_id IN (
        WITH unanswered AS (SELECT key_id, standing_seq FROM work.candidates WHERE NOT answered),
        last_answers AS (
            SELECT key_id, arg_max(input_hash, seq) AS input_hash, arg_max(policy_hash, seq) AS policy_hash
            FROM ledger.decisions
            WHERE pipeline IN ({pipelines}) AND state IN ('accepted', 'kept')
                AND key_id IN (SELECT key_id FROM unanswered)
            GROUP BY key_id
        ),
        policies AS (
            SELECT policy_hash, any_value([columns, types, [recipe::VARCHAR]]) AS hashed
            FROM ledger.policies WHERE pipeline IN ({pipelines}) GROUP BY policy_hash
        )
        SELECT l.key_id
        FROM unanswered u
        JOIN last_answers l USING (key_id)
        JOIN ledger.decisions d ON d.key_id = u.key_id AND d.seq = u.standing_seq AND d.pipeline IN ({pipelines})
        LEFT JOIN policies p ON p.policy_hash = l.policy_hash
        LEFT JOIN policies q ON q.policy_hash = d.policy_hash
        WHERE NOT coalesce(l.input_hash = d.input_hash AND p.hashed = q.hashed, false)
    )

-- name: tries
-- Answers that `batchpipe try` has paid for, if their model with its settings is a rung of the ladder.
-- work.tries: One row is an answer that `try` bought for a request that may be due, with the commit that has it since.
-- Other answers that are stored for the same request come to them.
CREATE OR REPLACE TABLE work.tries AS
{answers}

-- name: other_answers
-- What is stored counts, whoever asked it: another row that went up since or was answered while this one waited, this row
-- under an earlier prompt, or a row of a database that was restored.
INSERT INTO work.tries
{answers}

-- name: answers_of_rungs
-- The requests of `which` whose model with its settings is a rung, with the commit that has their answer since.
WITH asked AS (
    SELECT q.key_id, q.fingerprint, q.custom_id, l.rung
    FROM {requests} q
    JOIN work.rung_settings l USING (settings)
    WHERE {which}
)
SELECT key_id, fingerprint, custom_id, r.seq, rung, {of_other_row} AS of_other_row
FROM asked
JOIN (
    SELECT custom_id, min(seq) AS seq FROM ledger.results
    WHERE custom_id IN (SELECT custom_id FROM asked) AND outcome = 'answered' AND answer IS NOT NULL
    GROUP BY custom_id
) r USING (custom_id)

-- name: requests_by_todays_recipe
SELECT q.* REPLACE (p.fingerprint AS fingerprint)
FROM ledger.requests q
JOIN (SELECT DISTINCT fingerprint, recorded FROM work.prints) p ON p.recorded = q.fingerprint

-- name: longest_stored
-- The tokens of the longest results, as many as asked for, and of the longest of them. Where nobody said how many tokens
-- an answer has, its text is measured; all texts would take too long.
SELECT coalesce(sum(tokens), 0)::BIGINT, coalesce(max(tokens), 0)::BIGINT
FROM (
    SELECT output_tokens AS tokens FROM ledger.results WHERE output_tokens IS NOT NULL AND ({among})
    UNION ALL
    SELECT strlen(answer) // {token_bytes} FROM ledger.results
    WHERE output_tokens IS NULL AND answer IS NOT NULL AND ({among})
    ORDER BY tokens DESC LIMIT {rows}
)

-- name: longest_answers
-- The bytes of the longest answers, as many as asked for, and of the longest of them.
SELECT coalesce(sum(bytes), 0)::BIGINT, coalesce(max(bytes), 0)::BIGINT
FROM (SELECT strlen(answer) AS bytes FROM {answers} ORDER BY bytes DESC LIMIT {rows})

-- name: stored_answers
-- The newest answers are found without reading the texts, which would all be in memory at once.
-- work.answers: One row is a request with the newest answer that is stored for it.
CREATE OR REPLACE TABLE work.answers AS
SELECT custom_id, answer
FROM ledger.results
JOIN (
    SELECT custom_id, max(seq) AS seq FROM ledger.results
    WHERE custom_id IN (SELECT custom_id FROM {wanted}) AND outcome = 'answered' AND answer IS NOT NULL
    GROUP BY custom_id
) USING (custom_id, seq)
WHERE outcome = 'answered' AND answer IS NOT NULL

-- name: present_outputs
-- `output` is the document that stands, `answer` the one that the model gave.
-- work.present: One row is a key with the answer that stands for it now.
CREATE OR REPLACE TABLE work.present AS
SELECT a.key_id, a.custom_id, a.rung, coalesce(h.after, r.output) AS output, r.output AS answer
FROM (
    SELECT key_id, arg_max(custom_id, seq) AS custom_id, arg_max(rung, seq) AS rung
    FROM ledger.decisions
    WHERE pipeline IN ({pipelines}) AND state = 'accepted'
    GROUP BY key_id
) a
JOIN (
    SELECT custom_id, arg_max(output, seq) AS output FROM ledger.results
    WHERE pipeline IN ({pipelines}) AND output IS NOT NULL GROUP BY custom_id
) r USING (custom_id)
LEFT JOIN ({reviewed}) h ON h.key_id = a.key_id

-- name: matches
-- work.matches: One row is a key that may be due, with a stored answer to what it asks. A key has several answers alone
-- where they were `tried`.
CREATE OR REPLACE TABLE work.matches AS
WITH wanted AS (
    SELECT DISTINCT c.key_id, f.fingerprint, c.known AND f.fingerprint = c.own_fingerprint AND NOT c.never_sent AS own,
        c.custom_id AS own_custom_id, c.rung AS own_rung, c.review AS own_review, c.state, c.redo, c.rungs,
        coalesce(c.started, 0) AS started,
        coalesce(c.standing_seq, 0) AS standing_seq
    FROM work.candidates c JOIN work.rendered f USING (key_id)
),
library AS (
    SELECT fingerprint, arg_max(custom_id, seq) AS custom_id, arg_max(rung, seq) AS rung,
        arg_max(review, seq) AS review, max(started) AS started
    FROM {recorded}
    WHERE pipeline IN ({pipelines}) AND state = 'accepted'
        AND fingerprint IN (SELECT fingerprint FROM work.rendered)
    GROUP BY fingerprint
),
answered AS (
    SELECT key_id, own_custom_id AS custom_id, own_rung AS rung, own_review AS review, true AS own, false AS tried
    FROM wanted
    WHERE own AND redo IS NULL AND state IN ('accepted', 'failed') AND own_custom_id IS NOT NULL
    UNION ALL
    SELECT w.key_id, l.custom_id, l.rung, l.review, false, false
    FROM wanted w
    JOIN library l USING (fingerprint)
    WHERE (w.redo IS NULL AND (NOT w.own OR w.state = 'kept'))
        OR ((w.redo = 'again' OR (w.redo = 'fresh' AND l.started > $redo_seq)) AND l.custom_id IS DISTINCT FROM w.own_custom_id)
),
-- A row may wait for a rung that the ladder has no more: its valid answer from a lower rung is judged by today's ladder.
waits_in_vain AS (
    SELECT earlier_answer FROM work.candidates
    WHERE state = 'escalated' AND earlier_answer IS NOT NULL AND (rungs >> (greatest(rung, 1) - 1)::UINTEGER) & 1 = 0
),
tried AS (
    SELECT fingerprint, custom_id, seq, rung, of_other_row, false AS left_behind FROM work.tries
    UNION ALL
    SELECT q.fingerprint, q.custom_id, q.seq, l.rung, false, true
    FROM ledger.requests q
    JOIN work.rung_settings l USING (settings)
    WHERE q.custom_id IN (SELECT earlier_answer FROM waits_in_vain)
)
SELECT *, NULL::BIGINT AS seq FROM answered
UNION ALL
-- If `accept` does not hold for an answer and no rung is above, it is kept for review.
SELECT w.key_id, t.custom_id, max(t.rung), max(t.rung) >= max(length(bin(w.rungs))), false, true, max(t.seq)
FROM wanted w
JOIN tried t USING (fingerprint)
WHERE w.redo IS DISTINCT FROM 'escalate'
    AND (NOT w.own OR t.left_behind OR CASE
        -- A row that is under way is not taken down again, nor is what was asked before it began taken.
        WHEN t.of_other_row AND w.redo = 'again' THEN true
        WHEN t.of_other_row THEN t.seq > w.started AND w.state IN ('retry', 'escalated') AND t.rung >= w.own_rung
        ELSE t.seq > w.standing_seq OR (w.state = 'escalated' AND t.rung >= w.own_rung)
    END)
    AND (NOT t.of_other_row OR w.redo IS NULL OR w.redo = 'again' OR (w.redo = 'fresh' AND t.seq > $redo_seq))
    AND w.key_id NOT IN (SELECT key_id FROM answered)
GROUP BY w.key_id, t.custom_id

-- name: has_several_matches
SELECT EXISTS (SELECT 1 FROM work.matches WHERE tried GROUP BY key_id HAVING count(*) > 1)

-- name: choose_matches
-- Of several answers to a key the valid one from the highest rung counts: one that is not valid hides no other.
CREATE OR REPLACE TEMP TABLE chosen_matches AS
SELECT m.key_id, arg_max(m.custom_id, (coalesce(v.valid, false), m.rung, m.seq)) AS custom_id
FROM work.matches m
LEFT JOIN work.validity v ON v.key_id = m.key_id AND v.custom_id = m.custom_id
WHERE m.tried
GROUP BY m.key_id;
DELETE FROM work.validity v USING temp.chosen_matches c WHERE c.key_id = v.key_id AND c.custom_id <> v.custom_id;
DELETE FROM work.matches m USING temp.chosen_matches c WHERE c.key_id = m.key_id AND c.custom_id <> m.custom_id;
DROP TABLE temp.chosen_matches;
DELETE FROM work.documents_of_validity WHERE custom_id NOT IN (SELECT custom_id FROM work.validity)

-- name: prints_of_recipes
-- Each rendered request with its fingerprint by today's recipe, and by every recipe that its pipeline has recorded.
-- work.prints: One row is a row of the input with one of these fingerprints.
CREATE OR REPLACE TABLE work.prints AS
SELECT DISTINCT r.key_id, r.fingerprint, md5(unnest(string_split(f.older, ' ')))::UUID AS recorded
FROM {rendered} f
JOIN work.rendered r USING (position, continues)
UNION
SELECT key_id, fingerprint, fingerprint FROM work.rendered

-- name: prints_by_todays_recipe
UPDATE work.candidates SET own_fingerprint = p.fingerprint
FROM work.prints p
WHERE p.key_id = candidates.key_id AND p.recorded = candidates.own_fingerprint AND p.recorded <> p.fingerprint;
INSERT INTO work.tries
SELECT t.* REPLACE (p.fingerprint AS fingerprint)
FROM work.tries t
JOIN (SELECT DISTINCT fingerprint, recorded FROM work.prints WHERE recorded <> fingerprint) p ON p.recorded = t.fingerprint

-- name: decisions_by_todays_recipe
SELECT d.* REPLACE (p.fingerprint AS fingerprint)
FROM ledger.decisions d
JOIN (SELECT DISTINCT fingerprint, recorded FROM work.prints) p ON p.recorded = d.fingerprint

-- name: recorded_keys
-- The types that a pipeline's key had and the recipes that wrote it, the newest first.
SELECT key_types, recipe FROM ledger.policies WHERE pipeline IN ({pipelines})
GROUP BY key_types, recipe ORDER BY max(seq) DESC

-- name: stored_keys
-- Of a key that may be written in several ways the one that the ledger knows. Two rows never get one key.
-- work.stored_keys: One row is a row of the input with its key as its columns write it and as the ledger has it.
CREATE OR REPLACE TABLE work.stored_keys AS
WITH known AS (SELECT key FROM ledger.requests WHERE pipeline IN ({pipelines})),
written AS (SELECT position, key, {keys} FROM {relation}),
found AS (SELECT position, key, coalesce({known}, key_0) AS stored FROM written)
SELECT position, key, CASE WHEN count(*) OVER (PARTITION BY stored) = 1 THEN stored ELSE key END AS stored FROM found

-- name: rows_with_stored_keys
SELECT k.stored AS key, s.* FROM {file} s JOIN work.stored_keys k USING (position) ORDER BY position

-- name: recorded_recipes
SELECT DISTINCT recipe FROM ledger.prompt_versions
WHERE split_part(pipeline, ':', 1) IN ({families}) AND recipe <> $recipe
ORDER BY recipe

-- name: recorded_version_recipe
SELECT recipe FROM ledger.prompt_versions
WHERE list_contains($hashes::UUID[], prompt_version)
ORDER BY pipeline IN ({pipelines}) DESC, seq
LIMIT 1

-- name: recorded_policy_recipe
SELECT recipe FROM ledger.policies
WHERE list_contains($hashes::UUID[], policy_hash)
ORDER BY pipeline IN ({pipelines}) DESC, seq
LIMIT 1

-- name: to_validate
-- work.to_validate: One row is a row and an answer that are to be validated by the policy of today.
CREATE OR REPLACE TABLE work.to_validate AS
SELECT c.key_id, c.custom_id, c.rung, {values} AS input_values
FROM (
    SELECT c.* REPLACE (CASE WHEN c.state IN ('retry', 'escalated') THEN c.earlier_answer ELSE c.custom_id END AS custom_id)
    FROM work.candidates c
    WHERE NOT c.same_rules AND (
        ({stays} AND c.state IN ('accepted', 'failed'))
        -- What a row that is under way falls back on.
        OR c.state IN ('retry', 'escalated') OR c.redo = 'escalate'
    )
) c
JOIN {snapshot} s USING (position)
WHERE c.custom_id IS NOT NULL

-- name: matches_to_validate
CREATE OR REPLACE TABLE work.to_validate AS
SELECT m.key_id, m.custom_id, m.rung, {values} AS input_values
FROM work.matches m
JOIN work.candidates c USING (key_id)
JOIN {snapshot} s USING (position)
WHERE NOT (m.own AND c.same_input AND c.same_rules AND c.state = 'accepted')

-- name: revalidated
-- work.revalidated: One row is a standing answer that was validated again by the policy of today.
CREATE OR REPLACE TABLE work.revalidated AS SELECT * FROM work.validity;
-- work.documents_of_revalidated: One row is the valid document of an answer that was validated again.
CREATE OR REPLACE TABLE work.documents_of_revalidated AS SELECT * FROM work.documents WHERE output IS NOT NULL

-- name: documents_of_validity
-- work.documents_of_validity: One row is the valid document of a stored answer that was validated for a row that may be due.
CREATE OR REPLACE TABLE work.documents_of_validity AS SELECT * FROM work.documents WHERE output IS NOT NULL

-- name: to_render
-- work.to_render: One row is a row and a way to ask it (afresh or as a continuation) for which a request is rendered.
CREATE OR REPLACE TABLE work.to_render AS
WITH wanted AS (
    SELECT
        c.*, {continues} AS continues, c.same_input AND (c.same_version OR c.same_visible) AS certain,
        u.rung AS up_from, coalesce(u.certain, false) AS goes_up
    FROM work.candidates c
    LEFT JOIN work.revalidated j USING (key_id)
    LEFT JOIN ({up}) u ON u.key_id = c.key_id AND c.redo IS DISTINCT FROM 'escalate'
    WHERE NOT ({stays}) OR (c.state = 'accepted' AND NOT coalesce(j.valid, true))
),
variants AS (
    SELECT *, CASE WHEN continues THEN rung - 1 WHEN redo = 'escalate' THEN rung WHEN redo IN ('vote', 'fill') THEN rung - 1 ELSE 0 END AS above
    FROM wanted WHERE NOT (continues AND goes_up)
    UNION ALL
    SELECT * REPLACE (false AS continues), 0 AS above FROM wanted WHERE continues AND NOT certain
    UNION ALL
    SELECT wanted.* REPLACE (
        true AS continues, NULL::INTEGER AS max_tokens, NULL::VARCHAR AS feedback_answer, NULL::VARCHAR AS feedback_error
    ), up_from AS above
    FROM wanted WHERE up_from IS NOT NULL AND (goes_up OR NOT continues)
)
SELECT
    v.key_id, v.position, v.continues, v.rungs, n.next_rung,
    CASE WHEN v.continues AND v.state = 'retry' THEN v.max_tokens END AS max_tokens,
    CASE WHEN v.continues THEN v.feedback_answer END AS feedback_answer,
    CASE WHEN v.continues THEN v.feedback_error END AS feedback_error
FROM variants v
JOIN work.next_rungs n ON n.rungs = v.rungs AND n.rung = v.above
WHERE n.next_rung IS NOT NULL

-- name: may_go_up
-- A row that `try` has answered may go up from that rung.
SELECT key_id, max(rung) AS rung, false AS certain FROM work.tries GROUP BY key_id

-- name: going_up
-- Known once the requests are rendered and stored answers are validated: rows with a valid answer that `accept` does not
-- hold for, whichever row it was given to. A row that is under way with the same question is not taken down again.
-- work.going_up: One row is a row that goes up from `rung`, whose answer it has.
CREATE OR REPLACE TABLE work.going_up AS
SELECT m.key_id, m.rung, n.next_rung
FROM work.matches m
JOIN work.validity j USING (key_id)
JOIN work.candidates c USING (key_id)
JOIN work.next_rungs n ON n.rungs = c.rungs AND n.rung = m.rung
WHERE m.tried AND j.valid AND NOT coalesce(j.accepts OR m.review, false) AND n.next_rung IS NOT NULL
    AND (NOT ({continues}) OR m.rung >= c.rung OR NOT EXISTS (
        SELECT 1 FROM work.rendered r WHERE r.key_id = c.key_id AND r.fingerprint = c.own_fingerprint
    ))

-- name: asked_otherwise
-- Whether the request with which a row goes up is not rendered.
SELECT EXISTS (
    SELECT 1 FROM work.going_up g
    LEFT JOIN work.rendered u ON u.key_id = g.key_id AND u.continues AND coalesce(u.too_long_for, u.next_rung) = g.next_rung
    WHERE u.key_id IS NULL
)

-- name: windows_to_render
SELECT min(position), max(position), count(*)
FROM (
    SELECT position, (row_number() OVER (ORDER BY position) - 1) // $rows AS part
    FROM (SELECT DISTINCT position FROM work.to_render)
)
GROUP BY part ORDER BY part

-- name: values_to_render
SELECT t.position, t.continues, t.rungs, t.next_rung, t.max_tokens, t.feedback_answer, {values}
FROM work.to_render t JOIN {snapshot} s USING (position) {parts}
WHERE position BETWEEN $first AND $last

-- name: rendered
-- work.rendered: One row is a request that was rendered, with its fingerprint and its bytes.
CREATE OR REPLACE TABLE work.rendered AS
SELECT
    t.key_id, position, t.continues, f.next_rung, t.max_tokens, t.feedback_answer, t.feedback_error,
    CASE WHEN f.next_rung <> t.next_rung THEN t.next_rung END AS too_long_for,
    unhex(md5(f.fingerprint))::UUID AS fingerprint, f.bytes, f.line_bytes, {request_group} AS request_group
FROM {rendered} f
JOIN work.to_render t USING (position, continues) {join}

-- name: plan
-- work.plan: One row is a row of the input that may be due, with the reason why it is due or not.
CREATE OR REPLACE TABLE work.plan AS
SELECT
    p.* EXCLUDE (
        reason, known, answered, same_schema, same_rules, max_tokens, feedback_answer, feedback_error,
        f_continues, own_continues, rung_above, valid_try, own, revalidated_valid, changed, kept_after
    ),
    CASE
        WHEN stays AND revalidated_valid THEN
            CASE WHEN same_version AND state = 'accepted' THEN 'unchanged' ELSE 'carried_over' END
        WHEN stays AND state = 'accepted' AND same_rules THEN 'carried_over'
        WHEN stays AND state = 'accepted' THEN
            CASE WHEN list_contains(kept_after, 'check_failed') THEN 'kept' ELSE 'check_failed' END
        WHEN stays THEN state
        WHEN redo = 'escalate' AND fingerprint IS NULL THEN 'unchanged'
        WHEN match_passes THEN 'carried_over'
        WHEN goes_up AND NOT (redo IS NULL AND coalesce(list_contains(kept_after, changed), false)) THEN 'escalated'
        WHEN fingerprint IS NULL THEN 'failed'
        WHEN redo IS NOT NULL THEN 'redo'
        WHEN NOT known OR never_sent THEN 'new'
        WHEN own AND state = 'accepted' AND same_input THEN
            CASE WHEN list_contains(kept_after, 'check_failed') THEN 'kept' ELSE 'check_failed' END
        WHEN own AND state = 'failed' AND same_input THEN 'failed'
        WHEN own AND state IN ('retry', 'escalated') THEN state
        WHEN list_contains(kept_after, changed) THEN 'kept'
        ELSE changed
    END AS reason
FROM (
    SELECT *,
        valid_try AND NOT match_passes AND coalesce(rung_above > match_rung, false)
            AND (NOT (own_continues AND own) OR match_rung >= rung) AS goes_up,
        coalesce(f_continues, false) OR goes_up AS may_continue
    FROM (
        SELECT
            c.* REPLACE (
                CASE WHEN coalesce(b.valid, true) THEN
                    CASE WHEN c.redo = 'escalate' THEN c.custom_id ELSE c.earlier_answer END
                END AS earlier_answer
            ),
            f.fingerprint, f.continues AS f_continues,
            coalesce({continues}, false) AS own_continues,
            u.next_rung AS rung_above,
            coalesce(m.tried AND j.valid, false) AS valid_try,
            {stays} AS stays,
            coalesce(f.fingerprint = c.own_fingerprint AND c.known AND NOT c.never_sent, false) AS own,
            b.valid AS revalidated_valid,
            CASE
                WHEN NOT c.same_input THEN 'input_changed'
                WHEN NOT c.same_version AND NOT c.same_schema THEN 'schema_changed'
                ELSE 'prompt_changed'
            END AS changed,
            k.changes AS kept_after,
            m.custom_id AS match_custom_id,
            m.rung AS match_rung,
            coalesce(m.own, false) AS match_own,
            CASE WHEN m.own AND c.same_input THEN m.review ELSE NOT coalesce(j.accepts, false) END AS match_review,
            coalesce(
                (m.own AND c.same_input AND c.same_rules AND c.state = 'accepted')
                OR (j.valid AND ((m.own AND c.same_input) OR j.accepts OR m.review)),
                false
            ) AS match_passes
        FROM work.candidates c
        LEFT JOIN work.rendered f ON f.key_id = c.key_id AND f.continues = ({continues})
        LEFT JOIN work.rendered u ON u.key_id = c.key_id AND u.continues
        LEFT JOIN work.matches m ON m.key_id = c.key_id
        LEFT JOIN work.validity j ON j.key_id = c.key_id
        LEFT JOIN work.revalidated b ON b.key_id = c.key_id
        LEFT JOIN (SELECT key_id, list(change) AS changes FROM work.to_keep GROUP BY key_id) k ON k.key_id = c.key_id
    )
) p

-- name: drop_compared_parts
-- Drops what `plan` was made from, which would take as much memory again.
DROP TABLE work.candidates; DROP TABLE work.matches

-- name: drop_plan
-- Drops what a plan was made from. The due rows, and what is needed to record the end of a run, stay.
DROP TABLE work.plan; DROP TABLE work.rendered; DROP TABLE work.compared; DROP TABLE work.input

-- name: due
-- work.due: One row is a row of the input whose request may be sent now, with its bytes and its expected tokens.
CREATE OR REPLACE TABLE work.due AS
SELECT
    d.key_id, d.position, d.key, d.input_hash, d.fingerprint, d.reason, d.continues, f.next_rung AS rung,
    CASE WHEN d.resumes AND d.state = 'retry' THEN d.attempts ELSE 0 END + 1 AS attempt,
    CASE WHEN d.resumes THEN d.transients ELSE 0 END AS transients,
    coalesce(f.max_tokens, l.max_tokens) AS max_tokens,
    d.rungs,
    f.too_long_for,
    CASE
        WHEN d.goes_up THEN d.match_custom_id
        WHEN d.resumes OR d.redo = 'escalate' THEN d.earlier_answer
    END AS earlier_answer,
    CASE WHEN d.resumes THEN d.started END AS started,
    f.bytes,
    f.line_bytes,
    f.request_group,
    CASE WHEN f.bytes + $overhead_bytes <= l.small_until
        THEN (f.bytes + $overhead_bytes)::DECIMAL(18, 0) * l.small_most_input_usd
            + coalesce(f.max_tokens, l.max_tokens)::DECIMAL(18, 0) * l.small_most_output_usd
        ELSE (f.bytes + $overhead_bytes)::DECIMAL(18, 0) * l.most_input_usd
            + coalesce(f.max_tokens, l.max_tokens)::DECIMAL(18, 0) * l.most_output_usd END AS max_usd,
    d.reason <> 'retry' OR (attempt = 1 AND f.max_tokens IS NOT DISTINCT FROM l.max_tokens) AS is_first,
    greatest(round(l.input_fixed + l.input_per_byte * f.bytes), 1)::BIGINT AS expected_input_tokens,
    greatest(least(round(l.output_fixed + l.output_per_byte * f.bytes), coalesce(f.max_tokens, l.max_tokens)), 1)::BIGINT
        AS expected_output_tokens,
    -- The bytes around the message are the same for most rows of a rung.
    CASE
        WHEN f.max_tokens IS NULL AND f.feedback_error IS NULL AND f.request_group = '' THEN l.usually_asked
        ELSE md5(to_json([
            l.settings, coalesce(f.max_tokens, l.max_tokens)::VARCHAR, f.feedback_answer, f.feedback_error, f.request_group
        ])::VARCHAR)::UUID
    END AS asked,
    unhex(md5(concat(d.fingerprint, ' ', asked)))::UUID AS request_hash
FROM (
    SELECT *, reason IN ('retry', 'escalated') AND coalesce(may_continue, false) AS continues, continues AND NOT goes_up AS resumes
    FROM work.plan
    WHERE reason IN ({due_reasons}) AND (not_before IS NULL OR reason <> 'retry' OR not_before <= $now)
    {chosen} {limit}
) d
JOIN work.rendered f ON f.key_id = d.key_id AND f.continues = d.continues
JOIN (
    SELECT *, md5(to_json([settings, max_tokens::VARCHAR, NULL, NULL, ''])::VARCHAR)::UUID AS usually_asked FROM work.ladder
) l ON l.rung = f.next_rung

-- name: shared_requests
-- Due rows that ask a model the same as another due row, or as a request in flight: few, as a rule. What a retry adds
-- makes no other question of it. Of several rows the one that has made more attempts asks, since its request says more.
-- work.shared: One row is a due row that asks what another due row or a request in flight asks.
CREATE OR REPLACE TABLE work.shared AS
WITH models AS (SELECT rung, settings, min(rung) OVER (PARTITION BY settings) AS model FROM work.ladder),
questions AS (
    SELECT d.key_id{place}, d.position, d.attempt, d.fingerprint, m.model, {part} AS part
    FROM work.due d
    JOIN models m USING (rung)
),
in_flight AS (
    SELECT p.fingerprint, m.model, CASE WHEN q.part = '1' THEN '' ELSE q.part END AS part,
        any_value(q.custom_id) AS custom_id, any_value(q.chunk_id) AS chunk_id
    FROM ledger.requests q
    JOIN ({prints}) p ON p.recorded = q.fingerprint
    JOIN models m ON m.settings = q.settings AND m.rung = m.model
    WHERE q.leads AND q.pipeline IN ({pipelines})
        AND q.chunk_id IN (SELECT chunk_id FROM ledger.batches WHERE is_open AND pipeline IN ({pipelines}))
    GROUP BY ALL
),
same AS (
    SELECT fingerprint, model, part FROM questions GROUP BY ALL HAVING count(*) > 1
    UNION
    SELECT fingerprint, model, part FROM in_flight
)
SELECT
    d.key_id{place},
    first_value(d.key_id) OVER same AS leader_key_id{leader_place},
    row_number() OVER same = 1 AND q.custom_id IS NULL AS leads,
    q.custom_id AS in_flight_custom_id,
    q.chunk_id AS in_flight_chunk_id
FROM questions d
SEMI JOIN same USING (fingerprint, model, part)
LEFT JOIN in_flight q USING (fingerprint, model, part)
WINDOW same AS (PARTITION BY d.fingerprint, d.model, d.part ORDER BY d.attempt DESC, d.position)

-- name: leading
-- work.leading: One row is a due row, with the row whose request it shares.
CREATE OR REPLACE VIEW work.leading AS
SELECT
    d.*, coalesce(s.leader_key_id, d.key_id) AS leader_key_id, coalesce(s.leads, true) AS leads, s.in_flight_custom_id,
    s.in_flight_chunk_id
FROM work.due d
LEFT JOIN work.shared s USING (key_id{place})

-- name: sends
SELECT key_id, count(*) AS sends FROM ledger.requests
WHERE pipeline IN ({pipelines}) AND key_id IN (SELECT key_id FROM work.leading)
GROUP BY key_id

-- name: reason_counts
SELECT reason, sum(rows)::BIGINT FROM (
    SELECT reason, count(*) AS rows FROM work.compared WHERE reason NOT IN ('candidate', 'not_selected') GROUP BY reason
    UNION ALL
    SELECT reason, count(*) FROM work.plan GROUP BY reason
    UNION ALL
    SELECT 'unchanged', (SELECT count(*) FROM work.input) - (SELECT count(*) FROM work.compared)
) GROUP BY reason

-- name: expected_rows
-- The rows of the output table once all that is due is answered. A row of the input that is in neither table is unchanged.
WITH reasons AS (
    SELECT position, reason FROM work.compared WHERE reason <> 'candidate'
    UNION ALL
    SELECT position, reason FROM work.plan
),
standing AS (
    SELECT s.*, coalesce(r.reason, 'unchanged') AS reason, coalesce(r.reason IN ({due}), false) AS is_due
    FROM {snapshot} s LEFT JOIN reasons r USING (position)
)
SELECT {columns}
FROM standing s {table}
WHERE s.reason <> 'failed'

-- name: count_leading
SELECT count(*) FILTER (leads), count(*) FILTER (in_flight_custom_id IS NOT NULL) FROM work.leading

-- name: vanished
-- Every key of the input that is not unchanged is in `compared` once; the unchanged keys are known and have answers.
SELECT
    s.known, s.known - u.unchanged - c.met AS vanished, c.appeared, s.answered - u.unchanged - c.answered AS removed
FROM (SELECT coalesce(sum(rows), 0) AS known, coalesce(sum(answered), 0) AS answered FROM work.standing_policies) s,
(
    SELECT count(*) FILTER (known) AS met, count(*) FILTER (NOT known AND reason <> 'pending') AS appeared,
        count(*) FILTER (answered) AS answered
    FROM work.compared
) c,
(SELECT (SELECT count(*) FROM work.input) - (SELECT count(*) FROM work.compared) AS unchanged) u

-- name: number_requests
-- work.to_send: One row is a due request that leads, with its number in the order of sending.
CREATE OR REPLACE TABLE work.to_send AS
SELECT
    key_id, position, rung, {rungs}, bytes, line_bytes, max_usd, is_first, too_long_for, expected_input_tokens,
    expected_output_tokens{place},
    coalesce(max_usd > $room_usd::DECIMAL(38, 15), false) AS is_dear,
    row_number() OVER (ORDER BY rung, request_group, is_dear, position) - 1 AS number,
    dense_rank() OVER (ORDER BY rung, request_group, is_dear) AS grouping
FROM work.leading
WHERE leads

-- name: stretch
SELECT count(*), sum(line_bytes)::BIGINT, sum(bytes)::BIGINT, min(grouping) = max(grouping) FROM work.to_send
WHERE number >= $start AND number < $stop

-- name: fitting
-- The requests of a stretch that are in the group of its first request and fit into a chunk; the first one always does.
SELECT count(*), sum(line_bytes)::BIGINT
FROM (
    SELECT number, line_bytes, grouping = first_value(grouping) OVER in_order AS alike,
        sum(line_bytes + $overhead_bytes) OVER in_order AS so_far, sum(bytes) OVER in_order AS token_bytes
    FROM work.to_send
    WHERE number >= $start AND number < $stop
    WINDOW in_order AS (ORDER BY number)
)
WHERE number = $start OR (alike AND so_far <= $params_bytes AND token_bytes <= $token_bytes)

-- name: deferred_until
SELECT min(not_before) FROM work.plan WHERE reason = 'retry' AND not_before > $now

-- name: past_types
-- The types that columns had for the standing answers, and whether the newest policy has them so.
WITH known AS (
    SELECT columns, types, key_types, is_newest
    FROM (SELECT *, seq = max(seq) OVER () AS is_newest FROM ledger.policies WHERE pipeline IN ({pipelines}))
    WHERE policy_hash IN (SELECT policy_hash FROM work.standing_policies)
),
typed AS (
    SELECT unnest(columns) AS name, unnest(types) AS type, is_newest FROM known
    UNION ALL
    SELECT unnest($key::VARCHAR[]), unnest(key_types), is_newest FROM known WHERE len(key_types) = len($key::VARCHAR[])
)
SELECT name, type, bool_or(is_newest) FROM typed GROUP BY name, type ORDER BY name, type

-- name: due_by_type
-- For each column and each type that it had: how many rows are due because their input is another one.
SELECT c.name, c.type, count(DISTINCT s.key_id)
FROM work.standing s
JOIN (SELECT policy_hash, unnest(columns) AS name, unnest(types) AS type FROM ledger.policies WHERE pipeline IN ({pipelines})) c
    USING (policy_hash)
WHERE s.key_id IN (SELECT key_id FROM work.plan WHERE reason = 'input_changed')
GROUP BY c.name, c.type

-- name: token_bytes
-- The bytes that stand for the tokens of a stretch of requests.
SELECT coalesce(sum(bytes), 0)::BIGINT FROM work.to_send WHERE number >= $start AND number < $stop
