-- Identities are UUIDs: a number of 128 bits turns into a DOUBLE in Parquet, and other databases have none.
--
-- SQL made key_id, input_hash, fingerprint and request_hash by md5_number, which reads the bytes of the md5 from the last
-- to the first; now they are md5(x)::UUID, so their bytes are turned round. Python made the hashes of prompt versions and
-- policies, whose bytes are in order already. No identity is another one than before: nothing is due because of it.
-- The rows keep their order and their seq, and custom ids stay uncompressed.
--
-- Made room for: `provider` in requests and results (NULL reads as anthropic, at the base URL of the chunk), `recipe` in
-- prompt versions and policies, the types of the key's columns, and numbers of tokens that are not known.

DROP VIEW ledger.spend;
DROP VIEW ledger.row_state;
DROP VIEW ledger.runs;
DROP VIEW ledger.batches;

CREATE MACRO ledger.straight(number) AS lpad(to_hex(number), 32, '0')::UUID;

CREATE MACRO ledger.turned(number) AS concat(
    substr(lpad(to_hex(number), 32, '0'), 31, 2), substr(lpad(to_hex(number), 32, '0'), 29, 2),
    substr(lpad(to_hex(number), 32, '0'), 27, 2), substr(lpad(to_hex(number), 32, '0'), 25, 2),
    substr(lpad(to_hex(number), 32, '0'), 23, 2), substr(lpad(to_hex(number), 32, '0'), 21, 2),
    substr(lpad(to_hex(number), 32, '0'), 19, 2), substr(lpad(to_hex(number), 32, '0'), 17, 2),
    substr(lpad(to_hex(number), 32, '0'), 15, 2), substr(lpad(to_hex(number), 32, '0'), 13, 2),
    substr(lpad(to_hex(number), 32, '0'), 11, 2), substr(lpad(to_hex(number), 32, '0'), 9, 2),
    substr(lpad(to_hex(number), 32, '0'), 7, 2), substr(lpad(to_hex(number), 32, '0'), 5, 2),
    substr(lpad(to_hex(number), 32, '0'), 3, 2), substr(lpad(to_hex(number), 32, '0'), 1, 2)
)::UUID;

ALTER TABLE ledger.prompt_versions RENAME TO prompt_versions_before;

CREATE TABLE ledger.prompt_versions (
    pipeline VARCHAR NOT NULL,
    prompt_version UUID NOT NULL,
    recipe SMALLINT NOT NULL,             -- of these hashes and of its requests' fingerprints
    version VARCHAR NOT NULL,             -- v1, v2, ... of this pipeline
    prompt_hash UUID NOT NULL,        -- templates, vars and queries
    schema_hash UUID NOT NULL,        -- full output schema and format
    visible_hash UUID NOT NULL,       -- what the model can see of both
    format VARCHAR NOT NULL,
    sources JSON NOT NULL,                -- [{"name", "text"}]
    vars JSON NOT NULL,
    queries JSON NOT NULL,
    full_schema JSON NOT NULL,
    pipeline_toml VARCHAR NOT NULL,       -- the pipeline as it was resolved
    git_commit VARCHAR,
    run_id UUID NOT NULL,
    recorded_at TIMESTAMP NOT NULL,
    seq BIGINT NOT NULL
);

INSERT INTO ledger.prompt_versions BY NAME
SELECT * REPLACE (
    ledger.straight(prompt_version) AS prompt_version,
    ledger.straight(prompt_hash) AS prompt_hash,
    ledger.straight(schema_hash) AS schema_hash,
    ledger.straight(visible_hash) AS visible_hash
), 1 AS recipe
FROM ledger.prompt_versions_before;

DROP TABLE ledger.prompt_versions_before;

ALTER TABLE ledger.policies RENAME TO policies_before;

CREATE TABLE ledger.policies (
    pipeline VARCHAR NOT NULL,
    policy_hash UUID NOT NULL,
    recipe SMALLINT NOT NULL,             -- of the input hashes and the keys
    key_types VARCHAR[],                  -- of the key's columns, in its order; NULL: not recorded
    columns VARCHAR[] NOT NULL,           -- of the input hash, in its order
    types VARCHAR[] NOT NULL,
    judge_hash UUID NOT NULL,         -- of full schema and checks: answers are judged again when it changes
    policy JSON NOT NULL,                 -- what the judge needs: format, full schema, fields, checks, accept
    recorded_at TIMESTAMP NOT NULL,
    seq BIGINT NOT NULL
);

INSERT INTO ledger.policies BY NAME
SELECT * REPLACE (
    ledger.straight(policy_hash) AS policy_hash,
    ledger.straight(judge_hash) AS judge_hash
), 1 AS recipe
FROM ledger.policies_before;

DROP TABLE ledger.policies_before;

ALTER TABLE ledger.requests RENAME TO requests_before;

CREATE TABLE ledger.requests (
    pipeline VARCHAR NOT NULL,
    key_id UUID NOT NULL,
    key VARCHAR NOT NULL,                 -- JSON list of the key columns as text
    part VARCHAR NOT NULL,
    custom_id VARCHAR USING COMPRESSION uncompressed NOT NULL,
    leads BOOLEAN NOT NULL,               -- bears the id and the cost; others share its answer
    chunk_id UUID NOT NULL,
    run_id UUID NOT NULL,
    prompt_version UUID NOT NULL,
    policy_hash UUID NOT NULL,
    input_hash UUID NOT NULL,
    fingerprint UUID NOT NULL,
    request_hash UUID NOT NULL,       -- fingerprint and what is asked beside it: settings, room, feedback
    reason VARCHAR NOT NULL,
    rung SMALLINT NOT NULL,
    provider VARCHAR,                     -- NULL: anthropic, at the base URL of the chunk
    model VARCHAR NOT NULL,
    settings VARCHAR NOT NULL,            -- JSON of the model and its settings, less max_tokens
    send INTEGER NOT NULL,                -- requests ever prepared for this key, this one included
    attempt SMALLINT NOT NULL,            -- tries on this rung, this one included
    transients SMALLINT NOT NULL,         -- expired or provider's errors in a row before it
    max_tokens INTEGER NOT NULL,
    rungs UINTEGER NOT NULL,              -- bit r - 1: the row may use rung r
    earlier_answer VARCHAR,               -- custom id of the newest valid answer from a lower rung
    started BIGINT NOT NULL,              -- commit in which this row last began at its first rung
    bytes INTEGER NOT NULL,
    input_values VARCHAR[] NOT NULL,      -- columns of the policy, as text
    include_values VARCHAR[] NOT NULL,    -- columns of [output] include, as text
    include_columns VARCHAR[] NOT NULL,
    recorded_at TIMESTAMP NOT NULL,
    seq BIGINT NOT NULL
);

INSERT INTO ledger.requests BY NAME
SELECT * REPLACE (
    ledger.turned(key_id) AS key_id,
    ledger.straight(prompt_version) AS prompt_version,
    ledger.straight(policy_hash) AS policy_hash,
    ledger.turned(input_hash) AS input_hash,
    ledger.turned(fingerprint) AS fingerprint,
    ledger.turned(request_hash) AS request_hash
)
FROM ledger.requests_before;

DROP TABLE ledger.requests_before;

ALTER TABLE ledger.decisions RENAME TO decisions_before;

CREATE TABLE ledger.decisions (
    pipeline VARCHAR NOT NULL,
    key_id UUID NOT NULL,
    input_hash UUID NOT NULL,
    prompt_version UUID NOT NULL,
    policy_hash UUID NOT NULL,
    fingerprint UUID NOT NULL,
    custom_id VARCHAR USING COMPRESSION uncompressed, -- the request that answered, or the last that did not
    state VARCHAR NOT NULL,               -- accepted, kept, failed, retry, escalated
    review BOOLEAN NOT NULL,
    reason VARCHAR NOT NULL,
    rung SMALLINT NOT NULL,               -- that answered, or that is next
    attempts SMALLINT NOT NULL,           -- on that rung so far
    transients SMALLINT NOT NULL,         -- in a row
    max_tokens INTEGER,                   -- room of the next request; NULL: as the rung says
    not_before TIMESTAMP,
    earlier_answer VARCHAR,
    error VARCHAR,                        -- why it is not accepted
    started BIGINT NOT NULL,
    run_id UUID NOT NULL,
    recorded_at TIMESTAMP NOT NULL,
    seq BIGINT NOT NULL
);

INSERT INTO ledger.decisions BY NAME
SELECT * REPLACE (
    ledger.turned(key_id) AS key_id,
    ledger.turned(input_hash) AS input_hash,
    ledger.straight(prompt_version) AS prompt_version,
    ledger.straight(policy_hash) AS policy_hash,
    ledger.turned(fingerprint) AS fingerprint
)
FROM ledger.decisions_before;

DROP TABLE ledger.decisions_before;

ALTER TABLE ledger.reviews RENAME TO reviews_before;

CREATE TABLE ledger.reviews (
    pipeline VARCHAR NOT NULL,
    key_id UUID NOT NULL,
    key VARCHAR NOT NULL,                 -- JSON list of the key columns as text
    input_hash UUID NOT NULL,         -- as in the decision that was reviewed
    prompt_version UUID NOT NULL,
    custom_id VARCHAR NOT NULL,           -- the request whose answer was reviewed
    input_columns VARCHAR[] NOT NULL,     -- that the answering request used
    input_values VARCHAR[] NOT NULL,      -- of those columns, as text
    verdict VARCHAR NOT NULL,             -- accepted, corrected
    before JSON NOT NULL,                 -- the model's document
    after JSON NOT NULL,                  -- the person's
    chosen VARCHAR[] NOT NULL,            -- why a person saw it: ladder, where, sample
    reviewed_by VARCHAR NOT NULL,
    run_id UUID,
    recorded_at TIMESTAMP NOT NULL,
    seq BIGINT NOT NULL
);

INSERT INTO ledger.reviews BY NAME
SELECT * REPLACE (
    ledger.turned(key_id) AS key_id,
    ledger.turned(input_hash) AS input_hash,
    ledger.straight(prompt_version) AS prompt_version
)
FROM ledger.reviews_before;

DROP TABLE ledger.reviews_before;

-- NULL: not known.
ALTER TABLE ledger.results ALTER COLUMN input_tokens DROP NOT NULL;
ALTER TABLE ledger.results ALTER COLUMN cache_write_5m_tokens DROP NOT NULL;
ALTER TABLE ledger.results ALTER COLUMN cache_write_1h_tokens DROP NOT NULL;
ALTER TABLE ledger.results ALTER COLUMN cache_read_tokens DROP NOT NULL;
ALTER TABLE ledger.results ALTER COLUMN output_tokens DROP NOT NULL;
ALTER TABLE ledger.results ALTER COLUMN thinking_tokens DROP NOT NULL;
ALTER TABLE ledger.results ALTER COLUMN web_searches DROP NOT NULL;

-- NULL: anthropic, at the base URL of the chunk.
ALTER TABLE ledger.results ADD COLUMN provider VARCHAR;

DROP MACRO ledger.turned;
DROP MACRO ledger.straight;

-- Hashes in events were decimal numbers.
UPDATE ledger.events
SET data = json_merge_patch(data, json_object(
    'prompt_version', lpad(to_hex((data ->> 'prompt_version')::UHUGEINT), 32, '0')::UUID::VARCHAR
))
WHERE regexp_full_match(coalesce(data ->> 'prompt_version', ''), '[0-9]{1,39}')
    AND TRY_CAST((data ->> 'prompt_version') AS UHUGEINT) IS NOT NULL;

UPDATE ledger.events
SET data = json_merge_patch(data, json_object(
    'cache_prefix', lpad(to_hex((data ->> 'cache_prefix')::UHUGEINT), 32, '0')::UUID::VARCHAR
))
WHERE regexp_full_match(coalesce(data ->> 'cache_prefix', ''), '[0-9]{1,39}')
    AND TRY_CAST((data ->> 'cache_prefix') AS UHUGEINT) IS NOT NULL;

CREATE VIEW ledger.batches AS
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
    collected_at
FROM believed
WHERE prepared IS NOT NULL;

CREATE VIEW ledger.runs AS
SELECT
    run_id,
    pipeline,
    min(recorded_at) FILTER (kind = 'run_started') AS started_at,
    max(recorded_at) FILTER (kind = 'run_ended') AS ended_at,
    max(data ->> 'version') FILTER (kind = 'run_started') AS version,
    coalesce(max(data ->> 'status') FILTER (kind = 'run_ended'), 'open') AS status,
    max(data ->> 'message') FILTER (kind = 'run_ended') AS message,
    coalesce((max(data ->> 'submitted') FILTER (kind = 'run_ended'))::BIGINT, 0) AS submitted
FROM ledger.events
WHERE run_id IS NOT NULL
GROUP BY run_id, pipeline
HAVING min(recorded_at) FILTER (kind = 'run_started') IS NOT NULL;

CREATE VIEW ledger.row_state AS
WITH newest AS (
    SELECT d.*
    FROM ledger.decisions d
    JOIN (SELECT pipeline, key_id, max(seq) AS seq FROM ledger.decisions GROUP BY ALL) USING (pipeline, key_id, seq)
),
last_request AS (
    SELECT r.pipeline, r.key_id, r.key, r.model, r.rung, r.attempt, r.reason, b.is_open
    FROM ledger.requests r
    JOIN (
        SELECT pipeline, key_id, max(seq) AS seq FROM ledger.requests WHERE reason <> 'try' GROUP BY ALL
    ) USING (pipeline, key_id, seq)
    LEFT JOIN ledger.batches b USING (chunk_id)
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

CREATE VIEW ledger.spend AS
SELECT
    r.pipeline,
    r.run_id,
    coalesce(r.provider, b.provider, 'anthropic') AS provider,
    coalesce(b.model, r.model) AS model,
    count(*) AS requests,
    coalesce(sum(r.input_tokens), 0)::BIGINT AS input_tokens,
    coalesce(sum(r.cache_write_5m_tokens), 0)::BIGINT AS cache_write_5m_tokens,
    coalesce(sum(r.cache_write_1h_tokens), 0)::BIGINT AS cache_write_1h_tokens,
    coalesce(sum(r.cache_read_tokens), 0)::BIGINT AS cache_read_tokens,
    coalesce(sum(r.output_tokens), 0)::BIGINT AS output_tokens,
    coalesce(sum(r.thinking_tokens), 0)::BIGINT AS thinking_tokens,
    coalesce(sum(r.cost_usd), 0)::DECIMAL(38, 15) AS cost_usd,
    coalesce(sum(r.realtime_usd), 0)::DECIMAL(38, 15) AS realtime_usd
FROM ledger.results r
LEFT JOIN ledger.batches b USING (chunk_id)
WHERE NOT r.judged_again
GROUP BY r.pipeline, r.run_id, coalesce(r.provider, b.provider, 'anthropic'), coalesce(b.model, r.model);
