-- What pages show of the whole project and of one run: spend by day and model, failed rows by error, batches, runs.

-- name: spend_by_day
SELECT r.recorded_at::DATE AS day, coalesce(r.provider, b.provider) AS provider,
    coalesce(b.model, r.model, 'unknown') AS model, count(*) AS requests,
    sum(r.cost_usd)::DECIMAL(38, 15) AS cost_usd, coalesce(sum(r.realtime_usd), 0)::DECIMAL(38, 15) AS realtime_usd,
    count(*) FILTER (r.cost_usd IS NULL) AS unpriced
FROM ledger.results r
LEFT JOIN ledger.batches b USING (chunk_id)
WHERE NOT r.judged_again AND r.recorded_at >= $since AND {chosen}
GROUP BY ALL
ORDER BY day, provider, model

-- name: failures
-- work.failures: One row is a row whose newest decision is that it failed, and of which no request is on its way.
-- Few rows fail: failed decisions are looked for first, and other decisions and open requests only of their keys. A
-- renamed pipeline may have a key under both names: the newest decision counts.
CREATE OR REPLACE TABLE work.failures AS
SELECT f.key_id, f.seq
FROM (
    SELECT key_id, max(seq) AS seq FROM ledger.decisions
    WHERE pipeline IN ({pipelines}) AND state = 'failed'
    GROUP BY key_id
) f
ANTI JOIN (SELECT key_id, seq FROM ledger.decisions WHERE pipeline IN ({pipelines}) AND state <> 'failed') d
    ON d.key_id = f.key_id AND d.seq > f.seq
ANTI JOIN (
    SELECT r.key_id
    FROM ledger.requests r
    JOIN ledger.batches b USING (chunk_id)
    WHERE b.is_open AND r.pipeline IN ({pipelines}) AND r.reason <> 'try'
) o ON o.key_id = f.key_id

-- name: failed_by_error
-- The first line of the error: what follows it differs from row to row.
SELECT {error} AS error, count(*) AS rows
FROM ledger.decisions d
SEMI JOIN work.failures f ON f.key_id = d.key_id AND f.seq = d.seq
WHERE d.pipeline IN ({pipelines}) AND d.state = 'failed'
GROUP BY ALL
ORDER BY rows DESC, error
LIMIT $count

-- name: failures_of_error
DELETE FROM work.failures WHERE key_id NOT IN (
    SELECT d.key_id
    FROM ledger.decisions d
    SEMI JOIN work.failures f ON f.key_id = d.key_id AND f.seq = d.seq
    WHERE d.pipeline IN ({pipelines}) AND d.state = 'failed' AND {error} = $error
)

-- name: failure_reasons
-- Errors of one kind differ in numbers and in quoted values alone. A row that was never sent has its key in the input.
WITH failed AS (
    SELECT d.key_id, arg_max({error}, d.seq) AS error
    FROM ledger.decisions d
    WHERE d.pipeline IN ({pipelines}) AND d.state = 'failed'
        AND d.key_id IN (SELECT key_id FROM work.standings WHERE state = 'failed')
    GROUP BY d.key_id
),
reasons AS (
    SELECT count(*) AS rows, min(key_id) AS key_id, arg_min(error, key_id) AS error
    FROM failed
    GROUP BY regexp_replace(error, '"[^"]*"|[0-9]+', '#', 'g')
    ORDER BY rows DESC, key_id
    LIMIT $count
),
sent AS (
    SELECT key_id, any_value(key) AS key FROM ledger.requests
    WHERE pipeline IN ({pipelines}) AND key_id IN (SELECT key_id FROM reasons)
    GROUP BY key_id
),
present AS (
    SELECT unhex(md5(key))::UUID AS key_id, key FROM {snapshot}
    WHERE unhex(md5(key))::UUID IN (SELECT key_id FROM reasons ANTI JOIN sent USING (key_id))
)
SELECT r.error, r.rows, coalesce(s.key, p.key) AS key
FROM reasons r
LEFT JOIN sent s USING (key_id)
LEFT JOIN present p USING (key_id)
WHERE coalesce(s.key, p.key) IS NOT NULL
ORDER BY r.rows DESC, r.key_id

-- name: failed_page
-- work.failed_page: One row is a failed row of the page that is shown.
-- The key of every failed row is needed to order them, all else only of those that are shown.
CREATE OR REPLACE TABLE work.failed_page AS
SELECT DISTINCT r.key, r.key_id
FROM ledger.requests r
SEMI JOIN work.failures f USING (key_id)
WHERE r.pipeline IN ({pipelines})
ORDER BY r.key
LIMIT $count OFFSET $offset

-- name: failed_rows
SELECT p.key, d.error, m.provider, m.model, d.rung, d.attempts, d.recorded_at AS decided_at
FROM work.failed_page p
JOIN work.failures f USING (key_id)
JOIN ledger.decisions d ON d.key_id = f.key_id AND d.seq = f.seq
LEFT JOIN (
    SELECT key_id, arg_max(provider, seq) AS provider, arg_max(model, seq) AS model
    FROM ledger.requests
    WHERE pipeline IN ({pipelines}) AND key_id IN (SELECT key_id FROM work.failed_page) AND reason <> 'try'
    GROUP BY key_id
) m ON m.key_id = p.key_id
WHERE d.pipeline IN ({pipelines})
ORDER BY p.key

-- name: newest_batches
SELECT
    pipeline, chunk_id::VARCHAR AS chunk_id, batch_id, state, is_open, rung, provider, model, requests, expected_usd, max_usd,
    prepared_at, submitted_at, created_at, expires_at, ended_at, collected_at
FROM ledger.batches
WHERE {chosen}
ORDER BY is_open DESC, prepared_at DESC, chunk_id
LIMIT $count

-- name: one_run
SELECT
    r.run_id::VARCHAR AS run_id, r.pipeline, r.started_at, r.ended_at, r.version, r.status, r.message, r.submitted,
    coalesce(s.requests, 0)::BIGINT AS results,
    CASE WHEN s.cost_usd IS NOT NULL OR s.run_id IS NULL THEN coalesce(s.cost_usd, 0) END::DECIMAL(38, 15) AS cost_usd,
    coalesce(s.realtime_usd, 0)::DECIMAL(38, 15) AS realtime_usd
FROM ledger.runs r
LEFT JOIN (
    SELECT run_id, sum(requests) AS requests, sum(cost_usd) AS cost_usd, sum(realtime_usd) AS realtime_usd
    FROM ledger.spend
    WHERE pipeline IN ({pipelines})
    GROUP BY run_id
) s USING (run_id)
WHERE r.pipeline IN ({pipelines}) AND r.run_id = TRY_CAST($run_id AS UUID)

-- name: run_by_model
SELECT provider, model, requests, unpriced, input_tokens, output_tokens, cost_usd, realtime_usd
FROM ledger.spend
WHERE pipeline IN ({pipelines}) AND run_id = TRY_CAST($run_id AS UUID)
ORDER BY model, provider

-- name: run_events
SELECT kind, count(*) AS number, min(recorded_at) AS first_at, max(recorded_at) AS last_at
FROM ledger.events
WHERE pipeline IN ({pipelines}) AND run_id = TRY_CAST($run_id AS UUID)
GROUP BY kind
ORDER BY first_at, kind

-- name: newest_runs
SELECT
    r.pipeline, r.run_id::VARCHAR AS run_id, r.started_at, r.ended_at, r.status, r.message, r.submitted,
    coalesce(s.requests, 0)::BIGINT AS results,
    CASE WHEN s.cost_usd IS NOT NULL OR s.run_id IS NULL THEN coalesce(s.cost_usd, 0) END::DECIMAL(38, 15) AS cost_usd,
    coalesce(s.realtime_usd, 0)::DECIMAL(38, 15) AS realtime_usd
FROM (
    SELECT * FROM ledger.runs WHERE {chosen} ORDER BY started_at DESC, run_id DESC LIMIT $count
) r
LEFT JOIN (
    SELECT run_id, pipeline, sum(requests) AS requests, sum(cost_usd) AS cost_usd, sum(realtime_usd) AS realtime_usd
    FROM ledger.spend
    GROUP BY run_id, pipeline
) s ON s.run_id = r.run_id AND s.pipeline = r.pipeline
ORDER BY r.started_at DESC, r.run_id DESC

-- name: rung_answers
-- What each rung answered to these rows, the newest answer of each rung that is valid.
SELECT q.key, q.rung, r.model, r.output::VARCHAR AS output
FROM (
    SELECT key, rung, custom_id, seq FROM ledger.requests
    WHERE pipeline IN ({pipelines}) AND key_id IN (SELECT md5(unnest($keys::VARCHAR[]))::UUID) AND reason <> 'try'
) q
JOIN (
    SELECT custom_id, arg_max(output, seq) AS output, any_value(model) AS model
    FROM ledger.results
    WHERE pipeline IN ({pipelines}) AND output IS NOT NULL AND custom_id IN (
        SELECT custom_id FROM ledger.requests
        WHERE pipeline IN ({pipelines}) AND key_id IN (SELECT md5(unnest($keys::VARCHAR[]))::UUID)
    )
    GROUP BY custom_id
) r USING (custom_id)
QUALIFY row_number() OVER (PARTITION BY q.key, q.rung ORDER BY q.seq DESC) = 1
ORDER BY q.key, q.rung DESC
