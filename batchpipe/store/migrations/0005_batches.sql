-- A batch knows how it is spoken to: its provider is a label, and the protocol says how its lines are read. A chunk may be
-- asked by realtime calls: it has no batch, and it is `asking` until its answers are recorded.

CREATE OR REPLACE VIEW ledger.batches AS
WITH facts AS (
    SELECT
        chunk_id,
        max(pipeline) AS pipeline,
        max(run_id::VARCHAR) FILTER (kind = 'chunk_prepared')::UUID AS run_id,
        max(data) FILTER (kind = 'chunk_prepared') AS prepared,
        max(recorded_at) FILTER (kind = 'chunk_prepared') AS prepared_at,
        max(recorded_at) FILTER (kind = 'chunk_unknown') AS unknown_at,
        arg_max(data, seq) FILTER (kind IN ('chunk_submitted', 'chunk_adopted')) AS submitted,
        max(recorded_at) FILTER (kind IN ('chunk_submitted', 'chunk_adopted')) AS submitted_at,
        max(seq) FILTER (kind IN ('chunk_submitted', 'chunk_adopted')) AS submitted_seq,
        arg_max(data, seq) FILTER (kind = 'chunk_presumed') AS presumed,
        max(seq) FILTER (kind = 'chunk_presumed') AS presumed_seq,
        max(seq) FILTER (kind = 'batch_foreign') AS foreign_seq,
        arg_max(data, seq) FILTER (kind = 'batch_ended') AS ended,
        max(recorded_at) FILTER (kind = 'batch_collected') AS collected_at,
        CASE WHEN max(seq) FILTER (kind IN ('cancel_requested', 'cancel_answered'))
            > coalesce(max(seq) FILTER (kind = 'cancel_failed'), 0)
            THEN max(recorded_at) FILTER (kind IN ('cancel_requested', 'cancel_answered')) END AS cancel_requested_at,
        max(recorded_at) FILTER (kind = 'batch_gone') AS gone_at,
        CASE WHEN max(seq) FILTER (kind = 'batch_missing') > coalesce(max(seq) FILTER (kind = 'batch_found'), 0)
            THEN max(recorded_at) FILTER (kind = 'batch_missing') END AS missing_since,
        max(kind) FILTER (kind IN ('chunk_refused', 'chunk_not_sent', 'chunk_not_found', 'chunk_abandoned')) AS dropped,
        max(seq) AS seq
    FROM ledger.events
    WHERE chunk_id IS NOT NULL
    GROUP BY chunk_id
),
-- A batch that a person took for the chunk's, and that turned out to be somebody else's, is not its batch.
believed AS (
    SELECT * REPLACE (
        CASE WHEN submitted_seq > coalesce(foreign_seq, 0) THEN submitted END AS submitted,
        CASE WHEN submitted_seq > coalesce(foreign_seq, 0) THEN submitted_at END AS submitted_at
    )
    FROM facts
)
SELECT
    pipeline,
    chunk_id,
    coalesce(submitted ->> 'batch_id', CASE WHEN presumed_seq > coalesce(foreign_seq, 0) THEN presumed ->> 'batch_id' END)
        AS batch_id,
    CASE
        WHEN collected_at IS NOT NULL THEN 'collected'
        WHEN gone_at IS NOT NULL THEN 'gone'
        WHEN dropped IS NOT NULL THEN substr(dropped, 7)
        WHEN (prepared ->> 'mode') = 'realtime' THEN 'asking'
        WHEN submitted IS NOT NULL AND ended IS NOT NULL THEN 'ended'
        WHEN submitted IS NOT NULL AND cancel_requested_at IS NOT NULL THEN 'canceling'
        WHEN submitted IS NOT NULL THEN 'in_flight'
        WHEN presumed_seq > coalesce(foreign_seq, 0) THEN 'presumed'
        WHEN unknown_at IS NOT NULL THEN 'held'
        ELSE 'prepared'
    END AS state,
    collected_at IS NULL AND gone_at IS NULL AND dropped IS NULL AS is_open,
    run_id,
    (prepared ->> 'prompt_version')::UUID AS prompt_version,
    (prepared ->> 'rung')::SMALLINT AS rung,
    prepared ->> 'model' AS model,
    (prepared ->> 'requests')::INTEGER AS requests,
    (prepared ->> 'bytes')::BIGINT AS bytes,
    (prepared ->> 'max_usd')::DECIMAL(38, 15) AS max_usd,
    (prepared ->> 'expected_usd')::DECIMAL(38, 15) AS expected_usd,
    (prepared ->> 'low_usd')::DECIMAL(38, 15) AS low_usd,
    (prepared ->> 'high_usd')::DECIMAL(38, 15) AS high_usd,
    coalesce((prepared ->> 'pilot')::BOOLEAN, false) AS pilot,
    prepared ->> 'provider' AS provider,
    coalesce(prepared ->> 'protocol', prepared ->> 'provider') AS protocol,
    prepared ->> 'endpoint' AS endpoint,
    prepared ->> 'base_url' AS base_url,
    prepared ->> 'key_hash' AS key_hash,
    submitted ->> 'organization' AS organization,
    submitted ->> 'workspace' AS workspace,
    prepared_at,
    unknown_at,
    submitted_at,
    (submitted ->> 'created_at')::TIMESTAMP AS created_at,
    (submitted ->> 'expires_at')::TIMESTAMP AS expires_at,
    (ended ->> 'ended_at')::TIMESTAMP AS ended_at,
    ended -> 'counts' AS counts,
    cancel_requested_at,
    missing_since,
    collected_at,
    coalesce(prepared ->> 'mode', 'batch') AS mode
FROM believed
WHERE prepared IS NOT NULL;
