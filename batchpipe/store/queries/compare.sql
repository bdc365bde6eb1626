-- Two prompt versions or models side by side: the newest answer to each key on either side.

-- name: answered_versions
SELECT prompt_version::VARCHAR FROM ledger.decisions
WHERE pipeline IN ({pipelines}) AND state = 'accepted'
GROUP BY prompt_version

-- name: answering_models
SELECT coalesce(provider, 'anthropic') AS provider, model FROM ledger.requests WHERE pipeline IN ({pipelines}) AND leads
UNION
SELECT coalesce(provider, 'anthropic'), model FROM ledger.results WHERE pipeline IN ({pipelines}) AND model IS NOT NULL
ORDER BY provider, model

-- name: answers_of_model
SELECT custom_id FROM ledger.requests
WHERE pipeline IN ({pipelines}) AND leads AND model = {model} AND coalesce(provider, 'anthropic') = {provider}
UNION
SELECT custom_id FROM ledger.results
WHERE pipeline IN ({pipelines}) AND model = {model} AND coalesce(provider, 'anthropic') = {provider}

-- name: newest_answers
-- The newest accepted answer to each key.
WITH newest AS (
    SELECT key_id, max(seq) AS seq FROM ledger.decisions
    WHERE pipeline IN ({pipelines}) AND prompt_version = $prompt_version::UUID AND state = 'accepted'
    GROUP BY key_id
)
SELECT d.key_id, d.custom_id, d.input_hash, d.policy_hash, d.started
FROM newest n
JOIN ledger.decisions d ON d.key_id = n.key_id AND d.seq = n.seq AND d.pipeline IN ({pipelines})

-- name: newest_answers_of_model
-- The newest valid answer of one model to each key, whatever became of it: a comparison of models depends on no `accept`
-- and on no vote. Of several samples the first counts.
WITH of_model AS ({among}),
given AS (
    SELECT key_id, custom_id, input_hash, policy_hash, started, seq, 0 AS place FROM ledger.decisions
    WHERE pipeline IN ({pipelines}) AND prompt_version = $prompt_version::UUID
        AND (state = 'accepted' OR (state = 'escalated' AND earlier_answer = custom_id))
        AND custom_id IN (SELECT custom_id FROM of_model)
    UNION ALL
    SELECT d.key_id, v.custom_id, d.input_hash, d.policy_hash, d.started, d.seq, v.place
    FROM (
        SELECT key_id, seq, unnest(custom_ids) AS custom_id, unnest(votes).valid AS valid,
            generate_subscripts(custom_ids, 1) AS place
        FROM ledger.votes WHERE pipeline IN ({pipelines})
    ) v
    JOIN ledger.decisions d ON d.key_id = v.key_id AND d.seq = v.seq AND d.pipeline IN ({pipelines})
    WHERE v.valid AND d.prompt_version = $prompt_version::UUID AND v.custom_id IN (SELECT custom_id FROM of_model)
    UNION ALL
    -- Members whose row has not been voted on yet.
    SELECT p.key_id, p.custom_id, q.input_hash, q.policy_hash, p.started, p.seq, coalesce(TRY_CAST(p.part AS INTEGER), 1)
    FROM ledger.part_decisions p
    JOIN ledger.requests q ON q.key_id = p.key_id AND q.custom_id = p.custom_id AND q.pipeline IN ({pipelines})
    WHERE p.pipeline IN ({pipelines}) AND p.state = 'valid' AND q.prompt_version = $prompt_version::UUID
        AND p.custom_id IN (SELECT custom_id FROM of_model)
)
SELECT key_id, custom_id, input_hash, policy_hash, started
FROM given
QUALIFY row_number() OVER (PARTITION BY key_id ORDER BY seq DESC, place) = 1

-- name: side
-- work.side_before: One row is a key with its newest answer on the first side of a comparison.
-- work.side_after: One row is a key with its newest answer on the second side of a comparison.
CREATE OR REPLACE TABLE {side} AS
WITH answered AS ({answered})
SELECT d.key_id, d.custom_id, d.input_hash, d.policy_hash, d.started, r.provider, r.model, r.output
FROM answered d
JOIN (
    SELECT custom_id, arg_max(output, seq) AS output, any_value(provider) AS provider, any_value(model) AS model
    FROM ledger.results
    WHERE pipeline IN ({pipelines}) AND output IS NOT NULL AND custom_id IN (SELECT custom_id FROM answered)
    GROUP BY custom_id
) r ON r.custom_id = d.custom_id

-- name: answered_pairs
-- work.pairs: One row is a key that was answered on both sides of a comparison, with both documents.
CREATE OR REPLACE TABLE work.pairs AS
WITH policies AS (
    SELECT DISTINCT ON (policy_hash) policy_hash, columns FROM ledger.policies
    WHERE pipeline IN ({pipelines}) ORDER BY policy_hash, seq
)
SELECT
    b.key_id, b.custom_id = a.custom_id AS same_answer, b.output AS before, a.output AS after,
    coalesce(p.columns = q.columns AND b.input_hash <> a.input_hash, false) AS input_changed
FROM work.side_before b
JOIN work.side_after a USING (key_id)
LEFT JOIN policies p ON p.policy_hash = b.policy_hash
LEFT JOIN policies q ON q.policy_hash = a.policy_hash

-- name: pair_counts
SELECT
    (SELECT count(*) FROM work.pairs) AS compared,
    (SELECT count(DISTINCT key_id) FROM work.cells) AS changed,
    (SELECT count(*) FROM work.pairs WHERE same_answer) AS carried_over,
    (SELECT count(*) FROM work.pairs WHERE input_changed) AS input_changed,
    (SELECT count(*) FROM work.side_before) - (SELECT count(*) FROM work.pairs) AS only_from,
    (SELECT count(*) FROM work.side_after) - (SELECT count(*) FROM work.pairs) AS only_to

-- name: changed_values
SELECT before, after, count(*) AS number
FROM work.cells
WHERE field = $field
GROUP BY ALL
ORDER BY number DESC, before, after
LIMIT {limit}

-- name: changed_field
SELECT
    count(*) AS changed,
    count(DISTINCT (coalesce(before, ''), coalesce(after, ''), before IS NULL, after IS NULL)) AS pairs,
    coalesce(max(greatest(length(coalesce(before, '')), length(coalesce(after, '')))), 0) AS longest
FROM work.cells
WHERE field = $field

-- name: changed_rows
SELECT
    c.key_id::VARCHAR AS key_id, q.key, q.input_values, p.columns, p.types,
    b.provider AS from_provider, b.model AS from_model, a.provider AS to_provider, a.model AS to_model
FROM (SELECT key_id FROM work.cells GROUP BY key_id ORDER BY work.draw_order(key_id) LIMIT $count) c
JOIN work.side_before b USING (key_id)
JOIN work.side_after a USING (key_id)
LEFT JOIN (
    SELECT key_id, arg_max(key, seq) AS key, arg_max(input_values, seq) FILTER (custom_id = wanted) AS input_values,
        arg_max(policy_hash, seq) FILTER (custom_id = wanted) AS policy_hash
    FROM (
        SELECT r.*, a.custom_id AS wanted FROM ledger.requests r JOIN work.side_after a USING (key_id)
        WHERE r.pipeline IN ({pipelines})
            AND key_id IN (SELECT key_id FROM work.cells GROUP BY key_id ORDER BY work.draw_order(key_id) LIMIT $count)
    )
    GROUP BY key_id
) q USING (key_id)
LEFT JOIN (
    SELECT DISTINCT ON (policy_hash) policy_hash, columns, types FROM ledger.policies
    WHERE pipeline IN ({pipelines}) ORDER BY policy_hash, seq
) p ON p.policy_hash = q.policy_hash
ORDER BY work.draw_order(c.key_id)

-- name: changed_cells
SELECT key_id::VARCHAR AS key_id, field, before, after
FROM work.cells
WHERE key_id IN (SELECT key_id FROM work.cells GROUP BY key_id ORDER BY work.draw_order(key_id) LIMIT $count)

-- name: side_cost
-- The cost of the rows that were answered on both sides, with their retries and lower rungs.
SELECT
    coalesce(sum(r.cost_usd), 0)::DECIMAL(38, 15) AS cost_usd,
    count(*) FILTER (r.cost_usd IS NULL) AS unpriced
FROM {side} s
JOIN work.pairs p ON p.key_id = s.key_id AND NOT p.same_answer
JOIN ledger.requests q ON q.key_id = s.key_id AND q.started = s.started AND q.leads AND q.pipeline IN ({pipelines})
JOIN ledger.results r ON r.custom_id = q.custom_id AND r.chunk_id = q.chunk_id AND NOT r.judged_again
WHERE {of_model}

-- name: asked_of_model
{model} IN (q.model, r.model) AND coalesce(q.provider, 'anthropic') = {provider}
