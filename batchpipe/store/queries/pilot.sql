-- The pilot of a prompt version: the rows that were sent, their outcomes, and the approval.

-- name: any_pilot
-- Whether the pipelines ever had a pilot: most have none, and to look at its chunks takes ten times as long.
SELECT EXISTS (
    SELECT 1 FROM ledger.events WHERE pipeline IN ({pipelines})
        AND (kind = 'pilot_approved' OR kind = 'chunk_prepared' AND (data ->> 'pilot')::BOOLEAN)
)

-- name: pilot_standing
WITH chunks AS (
    SELECT chunk_id, is_open FROM ledger.batches
    WHERE pipeline IN ({pipelines}) AND prompt_version = $prompt_version::UUID AND pilot
        AND state NOT IN ('refused', 'not_sent', 'not_found', 'abandoned')
),
sent AS (
    SELECT key_id, bool_or(is_open) AS is_open
    FROM ledger.requests JOIN chunks USING (chunk_id)
    WHERE pipeline IN ({pipelines}) AND send > 0
    GROUP BY key_id
)
SELECT
    (SELECT count(*) > 0 FROM ledger.events WHERE kind = 'pilot_approved' AND pipeline IN ({pipelines})
        AND (data ->> 'prompt_version')::UUID = $prompt_version::UUID) AS approved,
    (SELECT count(*) FROM sent) AS sent,
    (SELECT count(*) FILTER (is_open) FROM sent) AS in_flight

-- name: rows_in_use
-- Rows that were sent under a prompt version without a pilot.
SELECT count(DISTINCT key_id)
FROM ledger.requests
WHERE pipeline IN ({pipelines}) AND prompt_version = $prompt_version::UUID AND send > 0 AND reason <> 'try'
    AND chunk_id NOT IN (SELECT chunk_id FROM ledger.batches WHERE pilot AND pipeline IN ({pipelines}))

-- name: previous_version
-- The newest other version that was approved, or that answered rows without a pilot.
SELECT v.prompt_version::VARCHAR
FROM ledger.prompt_versions v
LEFT JOIN (
    SELECT (data ->> 'prompt_version')::UUID AS prompt_version, max(seq) AS seq
    FROM ledger.events WHERE kind = 'pilot_approved' AND pipeline IN ({pipelines}) GROUP BY ALL
) a USING (prompt_version)
LEFT JOIN (
    SELECT prompt_version, max(seq) AS seq FROM ledger.requests
    WHERE pipeline IN ({pipelines}) AND send > 0
        AND chunk_id NOT IN (SELECT chunk_id FROM ledger.batches WHERE pilot AND pipeline IN ({pipelines}))
    GROUP BY prompt_version
) f USING (prompt_version)
WHERE v.pipeline IN ({pipelines}) AND v.prompt_version <> $prompt_version::UUID
    AND (a.seq IS NOT NULL OR f.seq IS NOT NULL)
ORDER BY greatest(coalesce(a.seq, 0), coalesce(f.seq, 0)) DESC
LIMIT 1

-- name: pilot_sample
-- Rows are drawn by the hash of the key, so that every call draws the same sample: first rows with true values, then rows
-- with each value of a column in turn.
-- work.sample: One row is a key that was drawn for a pilot.
CREATE OR REPLACE TABLE work.sample AS
SELECT key_id
FROM (
    SELECT p.key_id, p.draw, k.key_id IS NOT NULL AS is_known,
        row_number() OVER (PARTITION BY {stratum}, k.key_id IS NOT NULL ORDER BY p.draw) AS turn
    FROM (SELECT *, work.draw_order(key_id) AS draw FROM work.plan) p
    JOIN {snapshot} s USING (position)
    LEFT JOIN work.keys_with_gold k ON k.key_id = p.key_id
    WHERE p.reason IN ({fresh_reasons})
)
ORDER BY is_known DESC, turn, draw
LIMIT $rows

-- name: pilot_rows
-- work.pilot_rows: One row is a row whose request was sent with a pilot, with its outcome and what it cost.
CREATE OR REPLACE TABLE work.pilot_rows AS
WITH sent AS (
    SELECT q.* FROM ledger.requests q
    JOIN ledger.batches b USING (chunk_id)
    WHERE b.pilot AND q.pipeline IN ({pipelines}) AND q.prompt_version = $prompt_version::UUID AND q.send > 0
        AND b.state NOT IN ('refused', 'not_sent', 'not_found', 'abandoned')
),
verdicts AS (
    SELECT key_id, custom_id, arg_min(state, seq) AS state, min(seq) AS seq
    FROM ledger.decisions
    WHERE pipeline IN ({pipelines}) AND custom_id IN (SELECT custom_id FROM sent)
    GROUP BY key_id, custom_id
)
SELECT
    s.key_id, s.key, s.custom_id, s.leads, s.input_values, r.outcome, r.output,
    coalesce(r.input_tokens, 0) + coalesce(r.cache_read_tokens, 0) + coalesce(r.cache_write_5m_tokens, 0) + coalesce(r.cache_write_1h_tokens, 0) AS input_tokens,
    r.output_tokens, r.cost_usd, d.error,
    coalesce(d.state = 'accepted' OR (d.state = 'escalated' AND d.earlier_answer = d.custom_id), false) AS valid,
    coalesce(d.state = 'escalated', false) AS climbs
FROM sent s
LEFT JOIN (SELECT * FROM ledger.results WHERE pipeline IN ({pipelines}) AND NOT judged_again) r USING (custom_id)
LEFT JOIN verdicts v USING (key_id, custom_id)
LEFT JOIN ledger.decisions d ON d.key_id = v.key_id AND d.custom_id = v.custom_id AND d.seq = v.seq
    AND d.pipeline IN ({pipelines})

-- name: pilot_totals
SELECT
    count(*) AS rows,
    count(*) FILTER (leads) AS requests,
    count(*) FILTER (valid) AS valid,
    coalesce(sum(input_tokens) FILTER (leads), 0)::BIGINT AS input_tokens,
    coalesce(sum(output_tokens) FILTER (leads), 0)::BIGINT AS output_tokens,
    CASE WHEN bool_and(cost_usd IS NOT NULL OR outcome IS NULL) FILTER (leads)
        THEN coalesce(sum(cost_usd) FILTER (leads), 0)::DECIMAL(38, 15) END AS cost_usd
FROM work.pilot_rows

-- name: pilot_reasons
SELECT coalesce(outcome, 'no result') AS outcome, coalesce(error, '') AS error, count(*) AS rows
FROM work.pilot_rows
WHERE NOT valid
GROUP BY ALL
ORDER BY rows DESC, outcome, error

-- name: pilot_values
SELECT {value}::VARCHAR AS value, count(*) AS rows FROM work.pilot_rows WHERE valid GROUP BY ALL ORDER BY rows DESC, value

-- name: pilot_histogram
SELECT least(9, floor(({value} - $low) / ($high - $low) * 10))::INTEGER AS bin, count(*) AS rows
FROM work.pilot_rows
WHERE valid AND {value} BETWEEN $low AND $high
GROUP BY ALL

-- name: pilot_examples
SELECT key, input_values, output::VARCHAR AS output, error, valid FROM work.pilot_rows ORDER BY work.draw_order(key_id), custom_id LIMIT $rows

-- name: fresh_and_due
SELECT count(*) FILTER (reason IN ({fresh_reasons})), count(*) FROM work.due
