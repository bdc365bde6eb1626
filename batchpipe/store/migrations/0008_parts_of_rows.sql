-- A row may have several requests in one commit: how it stands is one row all the same.

CREATE OR REPLACE VIEW ledger.row_state AS
WITH newest AS (
    SELECT d.*
    FROM ledger.decisions d
    JOIN (SELECT pipeline, key_id, max(seq) AS seq FROM ledger.decisions GROUP BY ALL) USING (pipeline, key_id, seq)
),
newest_request AS (
    SELECT r.pipeline, r.key_id, r.key, r.model, r.rung, r.attempt, r.reason, r.chunk_id, r.part
    FROM ledger.requests r
    JOIN (
        SELECT pipeline, key_id, max(seq) AS seq FROM ledger.requests WHERE reason <> 'try' GROUP BY ALL
    ) USING (pipeline, key_id, seq)
),
open_parts AS (
    SELECT DISTINCT r.pipeline, r.key_id
    FROM ledger.requests r
    JOIN ledger.batches b USING (chunk_id)
    WHERE r.part <> '' AND b.is_open
),
last_request AS (
    SELECT r.* EXCLUDE (chunk_id, part), b.is_open
    FROM newest_request r
    LEFT JOIN ledger.batches b USING (chunk_id)
    WHERE r.part = ''
    UNION ALL
    SELECT pipeline, key_id, any_value(key), any_value(model), max(rung), max(attempt), any_value(reason),
        (pipeline, key_id) IN (SELECT (pipeline, key_id) FROM open_parts)
    FROM newest_request
    WHERE part <> ''
    GROUP BY pipeline, key_id
)
SELECT
    coalesce(r.pipeline, n.pipeline) AS pipeline,
    coalesce(r.key_id, n.key_id) AS key_id,
    r.key,
    CASE WHEN r.is_open THEN 'pending' ELSE coalesce(n.state, 'new') END AS state,
    CASE WHEN r.is_open THEN r.reason ELSE coalesce(n.reason, r.reason) END AS reason,
    r.model,
    CASE WHEN r.is_open THEN r.rung ELSE coalesce(n.rung, r.rung) END AS rung,
    CASE WHEN r.is_open THEN r.attempt ELSE coalesce(n.attempts, 0) END AS attempts,
    coalesce(n.review, false) AS review,
    n.error,
    n.custom_id,
    n.recorded_at AS decided_at
FROM last_request r
FULL JOIN newest n ON n.pipeline = r.pipeline AND n.key_id = r.key_id;
