-- Shorter statements for a plan of which it is known beforehand what the usual statements would find.

-- name: knows_decisions
SELECT EXISTS (SELECT 1 FROM ledger.decisions WHERE pipeline IN ({names}))

-- name: knows_families
-- Whether the ledger has anything of these families of pipelines, beside the beginnings of their runs.
SELECT
    EXISTS (SELECT 1 FROM ledger.requests WHERE split_part(pipeline, ':', 1) IN ({families}))
    OR EXISTS (SELECT 1 FROM ledger.decisions WHERE split_part(pipeline, ':', 1) IN ({families}))
    OR EXISTS (SELECT 1 FROM ledger.results WHERE split_part(pipeline, ':', 1) IN ({families}))
    OR EXISTS (SELECT 1 FROM ledger.policies WHERE split_part(pipeline, ':', 1) IN ({families}))
    OR EXISTS (SELECT 1 FROM ledger.prompt_versions WHERE split_part(pipeline, ':', 1) IN ({families}))
    OR EXISTS (SELECT 1 FROM ledger.orders WHERE split_part(pipeline, ':', 1) IN ({families}))
    OR EXISTS (SELECT 1 FROM ledger.reviews WHERE split_part(pipeline, ':', 1) IN ({families}))
    OR EXISTS (SELECT 1 FROM ledger.events WHERE split_part(pipeline, ':', 1) IN ({families}) AND kind <> 'run_started')

-- name: nothing_stands
-- The tables of the standing decisions of a pipeline that the ledger does not know.
CREATE OR REPLACE VIEW work.standing AS
SELECT
    NULL::UUID AS key_id, NULL::UUID AS input_hash, NULL::UUID AS prompt_version, NULL::UUID AS policy_hash,
    NULL::VARCHAR AS state, NULL::BOOLEAN AS review, NULL::TIMESTAMP AS not_before, NULL::BIGINT AS started,
    NULL::BOOLEAN AS never_sent, NULL::BIGINT AS seq
WHERE false;
CREATE OR REPLACE TABLE work.standing_policies (prompt_version UUID, policy_hash UUID, rows BIGINT, answered BIGINT);
CREATE OR REPLACE TABLE work.pending (key_id UUID, started BIGINT, by_call BOOLEAN);
CREATE OR REPLACE TABLE work.redo (key_id UUID, kind VARCHAR)

-- name: candidates_of_new
-- Every row of the input of a pipeline that the ledger does not know.
CREATE OR REPLACE TABLE work.compared AS
SELECT
    key_id, position, key, input_hash, NULL::VARCHAR AS state, NULL::BOOLEAN AS review, NULL::TIMESTAMP AS not_before,
    NULL::BIGINT AS started, NULL::BIGINT AS standing_seq, false AS never_sent, false AS known, false AS answered,
    true AS same_input, false AS same_version, false AS same_visible, false AS same_schema, false AS same_rules,
    NULL::VARCHAR AS redo, 'candidate' AS reason
FROM work.input;
CREATE OR REPLACE TABLE work.candidates AS
SELECT
    c.*, NULL::SMALLINT AS rung, NULL::SMALLINT AS attempts, NULL::SMALLINT AS transients, NULL::INTEGER AS max_tokens,
    NULL::UUID AS own_fingerprint, NULL::VARCHAR AS custom_id, NULL::VARCHAR AS earlier_answer,
    NULL::VARCHAR AS feedback_answer, NULL::VARCHAR AS feedback_error, {rungs}::UINTEGER AS rungs
FROM work.compared c
{snapshot_join}

-- name: to_render_of_new
CREATE OR REPLACE TABLE work.to_render AS
SELECT
    c.key_id, c.position, false AS continues, c.rungs, n.next_rung, NULL::INTEGER AS max_tokens,
    NULL::VARCHAR AS feedback_answer, NULL::VARCHAR AS feedback_error
FROM work.candidates c
JOIN work.next_rungs n ON n.rungs = c.rungs AND n.rung = 0
WHERE n.next_rung IS NOT NULL

-- name: plan_of_new
CREATE OR REPLACE TABLE work.plan AS
SELECT
    c.* EXCLUDE (
        reason, known, answered, same_schema, same_rules, max_tokens, feedback_answer, feedback_error
    ),
    f.fingerprint, false AS stays, NULL::VARCHAR AS match_custom_id, NULL::SMALLINT AS match_rung, false AS match_own,
    true AS match_review, false AS match_passes, false AS goes_up, false AS may_continue,
    CASE WHEN f.fingerprint IS NULL THEN 'failed' ELSE 'new' END AS reason
FROM work.candidates c
LEFT JOIN work.rendered f USING (key_id);
DROP TABLE work.candidates

-- name: shared_among_due
-- Of a pipeline that has nothing in flight.
CREATE OR REPLACE TABLE work.shared AS
SELECT
    key_id, first_value(key_id) OVER same AS leader_key_id, row_number() OVER same = 1 AS leads,
    NULL::VARCHAR AS in_flight_custom_id, NULL::UUID AS in_flight_chunk_id
FROM work.due
WINDOW same AS (PARTITION BY request_hash ORDER BY position)
QUALIFY count(*) OVER (PARTITION BY request_hash) > 1

-- name: nothing_validated
-- No stored answer is to be validated.
CREATE OR REPLACE TABLE work.documents_of_revalidated (custom_id VARCHAR, output JSON, error VARCHAR);
CREATE OR REPLACE TABLE work.documents_of_validity (custom_id VARCHAR, output JSON, error VARCHAR)

-- name: nothing_due
-- The tables of a plan for which no row is a candidate.
CREATE OR REPLACE TABLE work.rendered (
    key_id UUID, position BIGINT, continues BOOLEAN, next_rung SMALLINT, max_tokens INTEGER, feedback_answer VARCHAR,
    feedback_error VARCHAR, too_long_for SMALLINT, fingerprint UUID, bytes INTEGER, line_bytes INTEGER, request_group VARCHAR
);
CREATE OR REPLACE TABLE work.plan (
    key_id UUID, position BIGINT, key VARCHAR, input_hash UUID, state VARCHAR, review BOOLEAN, not_before TIMESTAMP,
    started BIGINT, standing_seq BIGINT, never_sent BOOLEAN, same_input BOOLEAN, same_version BOOLEAN,
    same_visible BOOLEAN, redo VARCHAR, rung SMALLINT, attempts SMALLINT, transients SMALLINT, own_fingerprint UUID,
    custom_id VARCHAR, earlier_answer VARCHAR, rungs UINTEGER, fingerprint UUID, stays BOOLEAN, match_custom_id VARCHAR, match_rung SMALLINT, match_own BOOLEAN,
    match_review BOOLEAN, match_passes BOOLEAN, goes_up BOOLEAN, may_continue BOOLEAN, reason VARCHAR
);
CREATE OR REPLACE TABLE work.due (
    key_id UUID, position BIGINT, key VARCHAR, input_hash UUID, fingerprint UUID, reason VARCHAR, continues BOOLEAN,
    rung SMALLINT, attempt SMALLINT, transients SMALLINT, max_tokens INTEGER, rungs UINTEGER, too_long_for SMALLINT,
    earlier_answer VARCHAR, started BIGINT, bytes INTEGER, line_bytes INTEGER, request_group VARCHAR,
    max_usd DECIMAL(38, 15), is_first BOOLEAN, expected_input_tokens BIGINT, expected_output_tokens BIGINT, asked UUID,
    request_hash UUID
);
CREATE OR REPLACE TABLE work.shared (
    key_id UUID, leader_key_id UUID, leads BOOLEAN, in_flight_custom_id VARCHAR, in_flight_chunk_id UUID
);
CREATE OR REPLACE TABLE work.to_send (
    key_id UUID, position BIGINT, rung SMALLINT, rungs UINTEGER, bytes INTEGER, line_bytes INTEGER, max_usd DECIMAL(38, 15),
    is_first BOOLEAN, too_long_for SMALLINT, expected_input_tokens BIGINT, expected_output_tokens BIGINT, is_dear BOOLEAN,
    number BIGINT, grouping BIGINT
)

-- name: no_recent_batches
CREATE OR REPLACE TABLE work.recent_batches (requests INTEGER, seconds DOUBLE)

-- name: reason_counts_of_new
SELECT reason, count(*) FROM work.plan GROUP BY reason
