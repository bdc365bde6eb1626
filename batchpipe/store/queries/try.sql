-- Rows that `try` sends as realtime calls: how they are chosen, their requests and their answers.

-- name: keys_by_hash
SELECT key FROM {relation} ORDER BY work.draw_order(md5(key)::UUID) LIMIT $rows

-- name: insert_try
INSERT INTO ledger.requests BY NAME
SELECT
    $pipeline AS pipeline, md5(s.key)::UUID AS key_id, s.key, $part AS part, $custom_id AS custom_id, true AS leads,
    $chunk_id::UUID AS chunk_id, $run_id::UUID AS run_id, $prompt_version::UUID AS prompt_version,
    $policy_hash::UUID AS policy_hash, {input_hash} AS input_hash,
    md5($fingerprint)::UUID AS fingerprint, md5($custom_id)::UUID AS request_hash, 'try' AS reason, $rung AS rung,
    $provider AS provider, $model AS model, $settings AS settings, 0 AS send, 1 AS attempt, 0 AS transients, $max_tokens AS max_tokens,
    0 AS rungs, NULL::VARCHAR AS earlier_answer, $seq AS started, $bytes AS bytes,
    {values} AS input_values, {include} AS include_values, {include_names} AS include_columns,
    $now AS recorded_at, $seq AS seq
FROM {snapshot} s
WHERE s.key = $key

-- name: answered_before
-- The newest answer of this pipeline or an evaluation to the same request, from the same model with the same settings. A
-- request that is asked once takes that of any sample.
SELECT r.custom_id
FROM ledger.requests q
JOIN ledger.results r USING (chunk_id, custom_id)
WHERE split_part(q.pipeline, ':', 1) IN ({families}) AND list_contains([{fingerprints}], q.fingerprint)
    AND q.settings = $settings AND q.leads AND ($part = '' OR coalesce(nullif(q.part, ''), '1') = $part)
    AND r.outcome = 'answered' AND r.answer IS NOT NULL
ORDER BY r.seq DESC
LIMIT 1

-- name: same_request
-- The requests that ask the same from the same model with the same settings, those with an answer first.
SELECT
    q.custom_id, q.chunk_id::VARCHAR AS chunk_id, coalesce(a.answered, false) AS answered,
    b.batch_id, coalesce(b.is_open, false) AS in_batch,
    CASE WHEN NOT coalesce(a.answered, false) THEN c.called_at END AS called_at
FROM ledger.requests q
LEFT JOIN (
    SELECT DISTINCT chunk_id, custom_id, true AS answered FROM ledger.results
    WHERE outcome = 'answered' AND answer IS NOT NULL
) a USING (chunk_id, custom_id)
LEFT JOIN ledger.batches b USING (chunk_id)
LEFT JOIN (
    SELECT chunk_id, max(recorded_at) AS called_at FROM ledger.events
    WHERE kind = 'call_prepared'
        AND chunk_id NOT IN (SELECT chunk_id FROM ledger.events WHERE kind = 'call_ended' AND chunk_id IS NOT NULL)
    GROUP BY chunk_id
) c USING (chunk_id)
WHERE q.leads AND split_part(q.pipeline, ':', 1) IN ({families}) AND list_contains([{fingerprints}], q.fingerprint)
    AND q.settings = $settings AND ($part = '' OR coalesce(nullif(q.part, ''), '1') = $part)
ORDER BY answered DESC, q.seq DESC

-- name: call_is_ended
SELECT count(*) > 0 FROM ledger.events WHERE kind = 'call_ended' AND chunk_id = $chunk_id::UUID

-- name: calls_of_families
SELECT pipeline, chunk_id::VARCHAR AS chunk_id, run_id::VARCHAR AS run_id, data ->> 'model' AS model,
    coalesce(data ->> 'key_hash', '') AS key_hash, coalesce(data ->> 'base_url', '') AS base_url,
    coalesce(data ->> 'provider', 'anthropic') AS provider,
    coalesce(data ->> 'protocol', data ->> 'provider', 'anthropic') AS protocol, data ->> 'endpoint' AS endpoint, recorded_at
FROM ledger.events
WHERE kind = 'call_prepared' AND split_part(pipeline, ':', 1) IN ({families}) AND chunk_id NOT IN (
    SELECT chunk_id FROM ledger.events WHERE kind = 'call_ended' AND chunk_id IS NOT NULL
)
ORDER BY seq

-- name: tried_answer
CREATE OR REPLACE TABLE work.answers AS
SELECT custom_id, arg_max(answer, seq) AS answer FROM ledger.results WHERE custom_id = $custom_id GROUP BY custom_id

-- name: tried_row
CREATE OR REPLACE TABLE work.to_validate AS
SELECT md5(s.key)::UUID AS key_id, $custom_id AS custom_id, $rung AS rung, {values} AS input_values
FROM {snapshot} s
WHERE s.key = $key

-- name: tried_result
SELECT
    outcome, coalesce(error, '') AS error, answer, model, stop_reason,
    input_tokens + cache_write_5m_tokens + cache_write_1h_tokens + cache_read_tokens AS input_tokens,
    output_tokens, cost_usd
FROM ledger.results
WHERE custom_id = $custom_id AND NOT judged_again

-- name: tried_verdict
SELECT j.valid, j.accepts, j.error, d.output::VARCHAR
FROM work.validity j
JOIN work.documents d USING (custom_id)

-- name: no_ballots
CREATE OR REPLACE TABLE work.ballots
    (key_id UUID, rung SMALLINT, place SMALLINT, custom_id VARCHAR, state VARCHAR, output JSON, stands BOOLEAN)

-- name: add_ballot
INSERT INTO work.ballots VALUES (md5($key)::UUID, $rung, $place, $custom_id, $state, $output, false)

-- name: tried_voter
CREATE OR REPLACE TABLE work.voters AS
SELECT md5(s.key)::UUID AS key_id, $rung AS rung, 0::UINTEGER AS rungs, NULL::VARCHAR AS earlier_answer,
    {values} AS input_values
FROM {snapshot} s
WHERE s.key = $key

-- name: tried_vote
SELECT o.checked_outcome, o.error, b.place, v.agreement
FROM work.vote_outcomes o
JOIN work.votes v USING (key_id)
LEFT JOIN work.ballots b ON b.key_id = v.key_id AND b.custom_id = v.custom_id
