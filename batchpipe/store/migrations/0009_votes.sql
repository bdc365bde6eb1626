-- Rungs that ask a row more than once: how each member stands, and the votes that were cast.

CREATE TABLE IF NOT EXISTS ledger.part_decisions (
    pipeline VARCHAR NOT NULL,
    key_id UUID NOT NULL,
    part VARCHAR NOT NULL,                -- tells the samples of one model and its settings apart: 1, 2, ...
    settings VARCHAR NOT NULL,            -- JSON of the model and its settings, less max_tokens
    model VARCHAR NOT NULL,
    rung SMALLINT NOT NULL,
    fingerprint UUID NOT NULL,
    custom_id VARCHAR NOT NULL,           -- the request that answered, or the last that did not
    state VARCHAR NOT NULL,               -- valid, retry, failed
    attempts SMALLINT NOT NULL,
    transients SMALLINT NOT NULL,         -- in a row
    max_tokens INTEGER,                   -- room of the next request
    not_before TIMESTAMP,
    error VARCHAR,                        -- why it is not valid
    started BIGINT NOT NULL,
    run_id UUID NOT NULL,
    recorded_at TIMESTAMP NOT NULL,
    seq BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS ledger.votes (
    pipeline VARCHAR NOT NULL,
    key_id UUID NOT NULL,
    rung SMALLINT NOT NULL,
    custom_id VARCHAR,                    -- the request whose answer most agree with; NULL without a quorum
    agreement DOUBLE,                     -- share of the valid answers that agree with it
    votes STRUCT(model VARCHAR, part VARCHAR, valid BOOLEAN, document JSON)[] NOT NULL,
    custom_ids VARCHAR[] NOT NULL,        -- the requests of all members, in the same order
    run_id UUID NOT NULL,
    recorded_at TIMESTAMP NOT NULL,
    seq BIGINT NOT NULL
);

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
