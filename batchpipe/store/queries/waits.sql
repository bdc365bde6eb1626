-- What open chunks wait for, whose account they were sent with, and what is booked for results that are gone.

-- name: chunk_troubles
-- What stands in the way of chunks: since when without a break, and at how many looks.
SELECT chunk_id::VARCHAR, trouble, arg_max(message, seq), count(*), min(recorded_at)
FROM (
    SELECT
        chunk_id, kind, data ->> 'trouble' AS trouble, data ->> 'message' AS message, recorded_at, seq,
        max(seq) FILTER (kind = 'chunk_relieved') OVER (PARTITION BY chunk_id, data ->> 'trouble') AS relieved
    FROM ledger.events
    WHERE kind IN ('chunk_trouble', 'chunk_relieved') AND pipeline IN ({pipelines})
)
WHERE kind = 'chunk_trouble' AND seq > coalesce(relieved, -1)
GROUP BY chunk_id, trouble
ORDER BY min(recorded_at)

-- name: intents
SELECT chunk_id::VARCHAR AS chunk_id, data FROM ledger.events
WHERE kind = 'chunk_prepared' AND chunk_id::VARCHAR IN (SELECT unnest($chunk_ids))

-- name: named_accounts
-- The account that the newest reply to a key, at a base URL, named.
SELECT base_url, key_hash, arg_max(organization, named_at) AS organization,
    arg_max(workspace, named_at) AS workspace
FROM (
    SELECT base_url, key_hash, organization, workspace, submitted_at AS named_at
    FROM ledger.batches
    UNION ALL
    SELECT data ->> 'base_url', data ->> 'key_hash', data ->> 'organization', data ->> 'workspace', recorded_at
    FROM ledger.events
    WHERE kind = 'chunk_prepared'
)
WHERE organization IS NOT NULL OR workspace IS NOT NULL
GROUP BY base_url, key_hash

-- name: young_gone_before
-- Whether results of a batch were gone too early before, and a person has answered.
SELECT count(*) > 0 FROM ledger.events
WHERE kind IN ('batch_gone', 'chunk_abandoned') AND pipeline IN ({pipelines}) AND (data ->> 'young') = 'true'

-- name: open_evaluations
SELECT DISTINCT pipeline FROM ledger.batches
WHERE is_open AND pipeline NOT IN ({pipelines}) AND split_part(pipeline, ':', 1) IN ({pipelines})
ORDER BY pipeline

-- name: lost_in_a_row
-- How many submits since the last one that was answered have turned out to have made no batch.
SELECT count(*) FROM ledger.events
WHERE kind = 'chunk_not_found' AND pipeline IN ({pipelines}) AND seq > coalesce((
    SELECT max(seq) FROM ledger.events
    WHERE kind IN ('chunk_submitted', 'chunk_adopted') AND pipeline IN ({pipelines})
), -1)

-- name: standings_of_chunk
SELECT DISTINCT rung, attempt, transients, max_tokens, rungs, earlier_answer IS NOT NULL, part <> ''
FROM ledger.requests WHERE chunk_id = $chunk_id::UUID

-- name: nothing_since
-- True for a request `q` whose row was neither asked nor decided again since then.
NOT EXISTS (
    SELECT 1 FROM ledger.decisions d
    WHERE d.pipeline IN ({pipelines}) AND d.key_id = q.key_id AND d.seq > q.seq
)
AND NOT EXISTS (
    SELECT 1 FROM ledger.requests l
    WHERE l.pipeline IN ({pipelines}) AND l.key_id = q.key_id AND l.seq > q.seq AND l.reason <> 'try'
)

-- name: decide_gone
-- What came later stands.
INSERT INTO ledger.decisions BY NAME
SELECT
    q.pipeline, q.key_id, q.input_hash, q.prompt_version, q.policy_hash, q.fingerprint,
    CASE WHEN $state = 'accepted' THEN q.earlier_answer ELSE q.custom_id END AS custom_id, $state AS state, $review AS review,
    q.reason,
    CASE WHEN $state = 'accepted' THEN coalesce((
        SELECT any_value(e.rung) FROM ledger.requests e WHERE e.pipeline IN ({pipelines}) AND e.custom_id = q.earlier_answer
    ), $next_rung) ELSE $next_rung END AS rung,
    $attempts AS attempts, 0 AS transients, $next_max_tokens::INTEGER AS max_tokens,
    NULL::TIMESTAMP AS not_before, q.earlier_answer, $error AS error, q.started, $run_id::UUID AS run_id,
    $now AS recorded_at, $seq AS seq
FROM ledger.requests q
WHERE q.chunk_id = $chunk_id::UUID AND q.rung = $rung AND q.attempt = $attempt AND q.transients = $transients
    AND q.max_tokens = $max_tokens AND q.rungs = $rungs AND (q.earlier_answer IS NOT NULL) = $has_earlier
    AND q.reason <> 'try' AND q.part = ''
    AND {nothing_since}

-- name: decide_gone_parts
-- A member of a panel has one attempt less. One that was asked or decided again since then is left out.
INSERT INTO ledger.part_decisions BY NAME
SELECT
    q.pipeline, q.key_id, q.part, q.settings, q.model, q.rung, q.fingerprint, q.custom_id,
    CASE WHEN $state = 'retry' THEN 'retry' ELSE 'failed' END AS state, $attempts AS attempts, 0 AS transients,
    $next_max_tokens::INTEGER AS max_tokens, NULL::TIMESTAMP AS not_before, $error AS error, q.started,
    $run_id::UUID AS run_id, $now AS recorded_at, $seq AS seq
FROM ledger.requests q
WHERE q.chunk_id = $chunk_id::UUID AND q.rung = $rung AND q.attempt = $attempt AND q.transients = $transients
    AND q.max_tokens = $max_tokens AND q.rungs = $rungs AND (q.earlier_answer IS NOT NULL) = $has_earlier
    AND q.reason <> 'try' AND q.part <> ''
    AND NOT EXISTS (
        SELECT 1 FROM ledger.part_decisions d
        WHERE d.pipeline IN ({pipelines}) AND d.key_id = q.key_id AND d.part = q.part AND d.settings = q.settings
            AND d.seq > q.seq
    )
    AND NOT EXISTS (
        SELECT 1 FROM ledger.requests l
        WHERE l.pipeline IN ({pipelines}) AND l.key_id = q.key_id AND l.part = q.part AND l.settings = q.settings
            AND l.seq > q.seq AND l.reason <> 'try'
    )

-- name: wait_for_members
-- The rows of these members go on with the others.
INSERT INTO ledger.decisions BY NAME
SELECT DISTINCT ON (q.key_id)
    q.pipeline, q.key_id, q.input_hash, q.prompt_version, q.policy_hash, q.fingerprint, q.custom_id, 'retry' AS state,
    false AS review, q.reason, q.rung, 0 AS attempts, 0 AS transients, NULL::INTEGER AS max_tokens,
    NULL::TIMESTAMP AS not_before, q.earlier_answer, $error AS error, q.started, $run_id::UUID AS run_id,
    $now AS recorded_at, $seq AS seq
FROM ledger.requests q
WHERE q.chunk_id = $chunk_id::UUID AND q.reason <> 'try' AND q.part <> ''
    AND {nothing_since}

-- name: booked
-- The most that batches can have cost whose results are gone, and realtime calls without an answer: they were paid for.
SELECT b.chunk_id, b.pipeline, b.run_id, b.max_usd, e.recorded_at
FROM ledger.events e
JOIN ledger.batches b USING (chunk_id)
WHERE e.kind = 'batch_gone' OR (e.kind = 'chunk_abandoned' AND (e.data ->> 'batch_id') IS NOT NULL)
UNION ALL
SELECT chunk_id, pipeline, run_id, (data ->> 'max_usd')::DECIMAL(38, 15), recorded_at
FROM ledger.events
WHERE kind = 'call_prepared' AND chunk_id NOT IN (
    SELECT chunk_id FROM ledger.events WHERE kind = 'call_ended' AND (data ->> 'outcome') <> 'lost' AND chunk_id IS NOT NULL
)

-- name: total_booked
SELECT coalesce(sum(max_usd), 0)::DECIMAL(38, 15) FROM ({booked}) WHERE pipeline IN ({pipelines})

-- name: asked_to_wait
-- The newest submit, where the provider answered it with a request to wait.
SELECT recorded_at, data ->> 'message', (data ->> 'retry_after_seconds')::DOUBLE
FROM (
    SELECT recorded_at, kind, data FROM ledger.events
    WHERE kind IN ('chunk_submitted', 'chunk_refused', 'chunk_unknown', 'chunk_not_sent') AND pipeline IN ({pipelines})
    ORDER BY seq DESC LIMIT 1
)
WHERE kind = 'chunk_refused' AND (data ->> 'kind') IN ('rate_limit', 'queue_full')
