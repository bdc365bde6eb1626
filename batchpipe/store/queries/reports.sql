-- Reports about the ledger: the states of rows, the history of one row, the cost.

-- name: known_pipelines
-- Names without those of evaluations (NAME:eval:MODEL:HASH) and judges (NAME:judge:FIELD:HASH), which are no pipelines.
SELECT DISTINCT pipeline FROM ledger.events WHERE NOT contains(pipeline, ':') ORDER BY pipeline

-- name: rows_by_state
-- As `ledger.row_state` has it, without its details: a row is pending while a request of it is open, and is else what the
-- newest decision says. A renamed pipeline may have a key under both names; the newest decision counts.
WITH sent AS (
    SELECT r.key_id
    FROM ledger.requests r
    JOIN ledger.batches b USING (chunk_id)
    WHERE b.is_open AND r.pipeline IN ({pipelines}) AND r.reason <> 'try'
)
SELECT state, review AND state = 'accepted' AND key_id NOT IN (SELECT key_id FROM ({reviewed})), count(*)
FROM (
    SELECT key_id, arg_max(state, seq) AS state, arg_max(review, seq) AS review
    FROM ledger.decisions
    WHERE pipeline IN ({pipelines})
    GROUP BY key_id
)
ANTI JOIN sent USING (key_id)
GROUP BY ALL
UNION ALL
SELECT 'pending', false, count(DISTINCT key_id) FROM sent
UNION ALL
SELECT 'new', false, count(DISTINCT key_id)
FROM ledger.requests
ANTI JOIN (SELECT key_id FROM ledger.decisions WHERE pipeline IN ({pipelines})) d USING (key_id)
ANTI JOIN sent USING (key_id)
WHERE pipeline IN ({pipelines}) AND reason <> 'try'

-- name: last_runs
SELECT
    r.run_id::VARCHAR AS run_id, r.started_at, r.ended_at, r.status, r.message, r.submitted,
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
WHERE r.pipeline IN ({pipelines})
ORDER BY r.started_at DESC, r.run_id DESC
LIMIT $count

-- name: budget_awaited
-- The requests that wait for room in a budget or a queue, and its name. They no longer do once a chunk was sent, or a run
-- began.
SELECT (data ->> 'requests')::BIGINT, data ->> 'limit'
FROM ledger.events
WHERE kind IN ('budget_awaited', 'queue_awaited') AND pipeline IN ({pipelines}) AND seq > (
    SELECT coalesce(max(seq), 0) FROM ledger.events
    WHERE kind IN ('chunk_prepared', 'run_started') AND pipeline IN ({pipelines})
)
ORDER BY seq DESC
LIMIT 1

-- name: budget_passed
-- The limits that were reported as passed, with what was spent then.
SELECT data ->> 'limit', (data ->> 'spent_usd')::DECIMAL(38, 15)
FROM ledger.events
WHERE kind = 'budget_passed' AND pipeline IN ({pipelines})

-- name: chunk_ids
SELECT chunk_id::VARCHAR FROM ledger.batches WHERE pipeline IN ({pipelines})

-- name: total_cost
-- The sum of what is known of the cost, which is NULL where the cost of no result is, and the results without a cost.
SELECT CASE WHEN count(cost_usd) > 0 OR count(*) = 0 THEN coalesce(sum(cost_usd), 0) END::DECIMAL(38, 15), count(*) FILTER (cost_usd IS NULL)
FROM ledger.results
WHERE pipeline IN ({pipelines}) AND NOT judged_again

-- name: evaluations_cost
-- What the answers of evaluations and judges have cost, as far as it is known; NULL where no cost of theirs is known.
SELECT CASE WHEN count(cost_usd) > 0 OR count(*) = 0 THEN coalesce(sum(cost_usd), 0) END::DECIMAL(38, 15)
FROM ledger.results
WHERE contains(pipeline, ':') AND split_part(pipeline, ':', 1) IN ({pipelines}) AND NOT judged_again

-- name: cancel_answered
SELECT DISTINCT chunk_id::VARCHAR FROM ledger.events WHERE kind = 'cancel_answered' AND pipeline IN ({pipelines})

-- name: key_text
SELECT to_json($texts::VARCHAR[])::VARCHAR

-- name: key_is_known
SELECT count(*) > 0 FROM (
    SELECT 1 FROM ledger.requests WHERE key_id = md5($key)::UUID AND pipeline IN ({pipelines})
    UNION ALL
    SELECT 1 FROM ledger.decisions WHERE key_id = md5($key)::UUID AND pipeline IN ({pipelines})
)

-- name: near_keys
SELECT key, jaro_winkler_similarity(left(key, 200), left($key, 200)) AS likeness
FROM ({keys})
ORDER BY likeness DESC, key
LIMIT 3

-- name: sent_keys
SELECT DISTINCT key FROM ledger.requests WHERE pipeline IN ({pipelines})

-- name: row_now
-- A renamed pipeline may have a row under several names: what is open or was decided last stands.
SELECT
    arg_max(state, place) AS state, arg_max(reason, place) AS reason, arg_max(model, place) AS model,
    arg_max(rung, place) AS rung, arg_max(attempts, place) AS attempts, arg_max(review, place) AS review,
    arg_max_null(error, place) AS error, arg_max_null(custom_id, place) AS custom_id,
    arg_max_null(decided_at, place) AS decided_at
FROM (
    SELECT *, (state = 'pending', coalesce(decided_at, '0001-01-01'::TIMESTAMP), pipeline = $pipeline) AS place
    FROM ledger.row_state
    WHERE key_id = md5($key)::UUID AND pipeline IN ({pipelines})
)
GROUP BY key_id

-- name: row_attempts
-- A decision is in the same commit as the result that it was made on.
WITH mine AS (
    SELECT * FROM ledger.requests WHERE key_id = md5($key)::UUID AND pipeline IN ({pipelines})
),
leaders AS (
    SELECT
        custom_id,
        any_value(key) FILTER (leads) AS leader_key,
        count(DISTINCT key_id) FILTER (NOT leads) AS followers
    FROM ledger.requests
    WHERE custom_id IN (SELECT custom_id FROM mine)
    GROUP BY custom_id
)
SELECT
    q.custom_id, q.leads, l.leader_key, l.followers, q.reason, q.rung, q.part, q.provider, q.model, q.attempt, q.transients, q.send,
    q.max_tokens, v.version AS prompt_version, q.recorded_at AS prepared_at, q.input_values, p.columns AS input_columns, p.types AS input_types,
    b.state AS batch_state, b.is_open, b.batch_id, b.submitted_at,
    r.outcome, r.model AS answered_by, r.stop_reason, r.answer, r.error, r.error_type,
    r.input_tokens, r.cache_write_5m_tokens, r.cache_write_1h_tokens, r.cache_read_tokens, r.output_tokens,
    r.thinking_tokens, CASE WHEN q.leads THEN r.cost_usd WHEN r.outcome IS NOT NULL THEN 0 END AS cost_usd,
    CASE WHEN q.leads THEN r.reported_usd END AS reported_usd,
    r.completed_at, r.recorded_at AS collected_at,
    CASE WHEN q.part = '' THEN d.state ELSE m.state END AS verdict, CASE WHEN q.part = '' THEN d.review END AS review,
    CASE WHEN q.part = '' THEN d.error ELSE m.error END AS verdict_error
FROM mine q
LEFT JOIN leaders l ON l.custom_id = q.custom_id
LEFT JOIN ledger.batches b ON b.chunk_id = q.chunk_id
LEFT JOIN (SELECT DISTINCT ON (prompt_version) prompt_version, version FROM ledger.prompt_versions
    WHERE pipeline IN ({pipelines}) ORDER BY prompt_version, seq) v ON v.prompt_version = q.prompt_version
LEFT JOIN (SELECT DISTINCT ON (policy_hash) policy_hash, columns, types FROM ledger.policies
    WHERE pipeline IN ({pipelines}) ORDER BY policy_hash, seq) p ON p.policy_hash = q.policy_hash
LEFT JOIN ledger.results r ON r.custom_id = q.custom_id AND r.chunk_id = q.chunk_id AND NOT r.judged_again
LEFT JOIN ledger.decisions d ON d.key_id = q.key_id AND d.seq = r.seq AND d.pipeline IN ({pipelines})
LEFT JOIN (SELECT custom_id, arg_max(state, seq) AS state, arg_max(error, seq) AS error FROM ledger.part_decisions
    WHERE key_id = md5($key)::UUID AND pipeline IN ({pipelines}) GROUP BY custom_id) m ON m.custom_id = q.custom_id
ORDER BY q.seq, q.send

-- name: row_decisions
SELECT d.recorded_at, d.state, d.reason, d.review, d.rung, d.attempts, d.custom_id, v.version AS prompt_version,
    d.not_before, d.error, d.run_id::VARCHAR AS run_id
FROM ledger.decisions d
LEFT JOIN (SELECT DISTINCT ON (prompt_version) prompt_version, version FROM ledger.prompt_versions
    WHERE pipeline IN ({pipelines}) ORDER BY prompt_version, seq) v USING (prompt_version)
WHERE d.key_id = md5($key)::UUID AND d.pipeline IN ({pipelines})
ORDER BY d.seq

-- name: columns_of_table
SELECT column_name, data_type
FROM duckdb_columns()
WHERE database_name = current_catalog() AND {schema} = $schema AND {table} = $table
ORDER BY column_index

-- name: longest_rows
-- The bytes that as many output rows as asked for have at most, by the answers and the requests that they came from.
SELECT
    (SELECT coalesce(sum(tokens), 0)::BIGINT FROM (
        SELECT output_tokens AS tokens FROM ledger.results
        WHERE split_part(pipeline, ':', 1) IN ({pipelines}) AND output_tokens IS NOT NULL
        ORDER BY tokens DESC LIMIT {rows}
    )) * {token_bytes}
    + (SELECT coalesce(sum(bytes), 0)::BIGINT FROM (
        SELECT bytes FROM ledger.requests WHERE leads AND split_part(pipeline, ':', 1) IN ({pipelines})
        ORDER BY bytes DESC LIMIT {rows}
    ))

-- name: take_rows
-- work.taken: One row is a row of the output table that a command was asked to show.
CREATE OR REPLACE TABLE work.taken AS
SELECT {columns} FROM {table} WHERE {condition} ORDER BY {order} {limit}

-- name: count_rows
SELECT count(*) FROM {table} WHERE {condition}

-- name: row_of_output
-- The key may be written by any recipe.
SELECT {values} FROM {table} WHERE $key IN ({keys})

-- name: paid
-- One row per result that was, or may have been, paid for, with the decision for the row that led its request. The answer
-- of a member stands for what its vote came to.
-- work.paid: One row is a result that was paid for or might have been, with what the decision on it was.
CREATE OR REPLACE TABLE work.paid AS
WITH members AS (
    SELECT key_id, custom_id, arg_max(state, seq) AS state
    FROM ledger.part_decisions WHERE pipeline IN ({pipelines})
    GROUP BY key_id, custom_id
),
cast_votes AS (
    SELECT key_id, seq, unnest(custom_ids) AS custom_id FROM ledger.votes WHERE pipeline IN ({pipelines})
),
voted AS (
    SELECT v.key_id, v.custom_id, arg_max(d.state, d.seq) AS state, arg_max(d.review, d.seq) AS review
    FROM cast_votes v
    JOIN ledger.decisions d ON d.key_id = v.key_id AND d.seq = v.seq AND d.pipeline IN ({pipelines})
    GROUP BY v.key_id, v.custom_id
)
SELECT
    r.run_id, r.recorded_at, r.outcome, r.input_tokens, r.cache_write_5m_tokens, r.cache_write_1h_tokens,
    r.cache_read_tokens, r.output_tokens, r.thinking_tokens, r.cost_usd, r.realtime_usd,
    q.provider, q.model, q.rung, q.prompt_version, 
    CASE WHEN q.part = '' THEN q.reason = 'retry' ELSE q.attempt > 1 OR q.transients > 0 END AS is_retry,
    CASE WHEN coalesce(q.part, '') = '' THEN d.state WHEN m.state = 'valid' THEN v.state ELSE m.state END AS state,
    coalesce(CASE WHEN q.part <> '' THEN v.review ELSE d.review END, false) AS review,
    CASE WHEN q.part <> '' THEN coalesce(m.state = 'valid', false)
        ELSE coalesce((d.state = 'accepted' AND d.custom_id = r.custom_id)
            OR (d.state = 'escalated' AND d.earlier_answer = r.custom_id), false) END AS valid
FROM ledger.results r
LEFT JOIN ledger.requests q ON q.custom_id = r.custom_id AND q.chunk_id = r.chunk_id AND q.leads
LEFT JOIN ledger.decisions d ON d.key_id = q.key_id AND d.seq = r.seq AND d.pipeline IN ({pipelines})
LEFT JOIN members m ON q.part <> '' AND m.key_id = q.key_id AND m.custom_id = q.custom_id
LEFT JOIN voted v ON q.part <> '' AND v.key_id = q.key_id AND v.custom_id = q.custom_id
WHERE r.pipeline IN ({pipelines}) AND NOT r.judged_again

-- name: paid_sums
SELECT
    {groups}
    count(*) AS requests,
    count(*) FILTER (outcome = 'answered') AS answered,
    count(*) FILTER (valid) AS valid,
    count(*) FILTER (valid AND state = 'accepted' AND NOT review) AS accepted,
    count(*) FILTER (valid AND state = 'accepted' AND review) AS review,
    count(*) FILTER (state = 'escalated') AS escalated,
    count(*) FILTER (state = 'failed') AS failed,
    count(*) FILTER (is_retry) AS retries,
    count(*) FILTER (cost_usd IS NULL) AS unpriced,
    coalesce(sum(input_tokens), 0)::BIGINT AS input_tokens,
    coalesce(sum(cache_write_5m_tokens), 0)::BIGINT AS cache_write_5m_tokens,
    coalesce(sum(cache_write_1h_tokens), 0)::BIGINT AS cache_write_1h_tokens,
    coalesce(sum(cache_read_tokens), 0)::BIGINT AS cache_read_tokens,
    coalesce(sum(output_tokens), 0)::BIGINT AS output_tokens,
    coalesce(sum(thinking_tokens), 0)::BIGINT AS thinking_tokens,
    CASE WHEN count(cost_usd) > 0 OR count(*) = 0 THEN coalesce(sum(cost_usd), 0) END::DECIMAL(38, 15) AS cost_usd,
    coalesce(sum(realtime_usd), 0)::DECIMAL(38, 15) AS realtime_usd
FROM work.paid
{grouped}

-- name: paid_versions
-- work.versions: One row is a prompt version of the pipeline, with its name and git commit.
CREATE OR REPLACE TABLE work.versions AS
SELECT DISTINCT ON (prompt_version) prompt_version, version, git_commit, seq
FROM ledger.prompt_versions
WHERE pipeline IN ({pipelines})
ORDER BY prompt_version, seq

-- name: in_flight
SELECT count(*), coalesce(sum(requests), 0)::BIGINT, sum(max_usd)::DECIMAL(38, 15)
FROM ledger.batches
WHERE pipeline IN ({pipelines}) AND is_open

-- name: estimated
-- Collected batches that nobody canceled and whose results all have a price, with what was expected of them when they were
-- prepared.
-- work.estimated: One row is a collected batch with a price for all of its results, with what was expected of it.
CREATE OR REPLACE TABLE work.estimated AS
SELECT b.run_id, b.prompt_version, b.prepared_at, b.requests, b.expected_usd, b.low_usd, b.high_usd, c.actual_usd
FROM ledger.batches b
JOIN (
    SELECT chunk_id, sum(cost_usd) AS actual_usd
    FROM ledger.results
    WHERE pipeline IN ({pipelines}) AND NOT judged_again
    GROUP BY chunk_id
    HAVING bool_and(cost_usd IS NOT NULL)
) c ON c.chunk_id = b.chunk_id
WHERE b.pipeline IN ({pipelines}) AND b.state = 'collected' AND b.expected_usd IS NOT NULL
    AND b.cancel_requested_at IS NULL

-- name: estimated_sums
-- The ends of the intervals are added up, because the estimates of one pipeline's batches tend to be wrong in the same
-- direction.
SELECT
    {groups}
    count(*) AS batches,
    sum(requests)::BIGINT AS requests,
    sum(expected_usd)::DECIMAL(38, 15) AS expected_usd,
    CASE WHEN bool_and(low_usd IS NOT NULL) THEN sum(low_usd)::DECIMAL(38, 15) END AS low_usd,
    CASE WHEN bool_and(high_usd IS NOT NULL) THEN sum(high_usd)::DECIMAL(38, 15) END AS high_usd,
    sum(actual_usd)::DECIMAL(38, 15) AS actual_usd
FROM work.estimated
{grouped}

-- name: answers_that_stand
-- The accepted answer of each key whose row stands accepted or kept, with the rung, provider and model that it was asked of.
-- work.answers_that_stand: One row is a key whose answer stands, with the rung, provider and model that gave it.
CREATE OR REPLACE TABLE work.answers_that_stand AS
SELECT s.key_id, s.custom_id, q.rung, q.provider, q.model
FROM (
    SELECT key_id, arg_max(custom_id, seq) FILTER (state = 'accepted') AS custom_id, arg_max(state, seq) AS state
    FROM ledger.decisions
    WHERE pipeline IN ({pipelines})
    GROUP BY key_id
) s
JOIN (
    SELECT custom_id, arg_max(rung, seq) AS rung, arg_max(coalesce(provider, 'anthropic'), seq) AS provider,
        arg_max(model, seq) AS model
    FROM ledger.requests WHERE pipeline IN ({pipelines}) AND leads GROUP BY custom_id
) q USING (custom_id)
WHERE s.state IN ('accepted', 'kept')

-- name: answers_to_grade
-- The answers as the models gave them, without the changes of a review.
-- work.answers_to_grade: One row is a standing answer to a key with true values, with its document.
CREATE OR REPLACE TABLE work.answers_to_grade AS
SELECT a.*, r.output, true AS valid
FROM work.answers_that_stand a
JOIN (
    SELECT custom_id, arg_max(output, seq) AS output
    FROM ledger.results
    WHERE pipeline IN ({pipelines}) AND output IS NOT NULL
    GROUP BY custom_id
) r USING (custom_id)
WHERE a.key_id IN (SELECT key_id FROM work.true_values)

-- name: standing_by_rung
SELECT rung, provider, model, count(*) AS rows FROM work.answers_that_stand GROUP BY ALL ORDER BY rung, model, provider

-- name: last_look_of_run
-- The newest beginning or end of a run.
SELECT kind, data::VARCHAR, seq FROM ledger.events
WHERE kind IN ('run_started', 'run_ended') AND pipeline IN ({pipelines})
ORDER BY seq DESC, kind LIMIT 1

-- name: undone_since
-- The keys that were decided to be asked again after the end of the last run, as `recover` does.
SELECT count(*) FROM (
    SELECT key_id, arg_max(state, seq) AS state, max(seq) AS seq
    FROM ledger.decisions WHERE pipeline IN ({pipelines}) GROUP BY key_id
)
WHERE state IN ('retry', 'escalated') AND seq > $seq

-- name: decided_since_run
-- Whether rows of the pipelines that are read were decided after the newest run of the others began.
SELECT coalesce(max(seq), 0) > (
    SELECT coalesce(max(seq), 0) FROM ledger.events WHERE kind = 'run_started' AND pipeline IN ({own})
)
FROM ledger.decisions WHERE pipeline IN ({read})

-- name: failed_keys
SELECT any_value(key) FROM ledger.row_state
WHERE pipeline IN ({pipelines})
GROUP BY key_id
HAVING arg_max(state, (state = 'pending', coalesce(decided_at, '0001-01-01'::TIMESTAMP))) = 'failed'
ORDER BY 1 LIMIT $count

-- name: rows_to_review
SELECT count(*) FROM (
    SELECT key_id, arg_max(state, seq) AS state, arg_max(review, seq) AS review
    FROM ledger.decisions WHERE pipeline IN ({pipelines}) GROUP BY key_id
)
WHERE review AND state = 'accepted' AND key_id NOT IN (SELECT key_id FROM ({reviewed}))

-- name: told_of
-- The notices that were sent, or could not be sent, the newest first.
SELECT run_id::VARCHAR AS run_id, chunk_id::VARCHAR AS chunk_id, data ->> 'text' AS text
FROM ledger.events
WHERE kind IN ('notified', 'notify_failed') AND pipeline IN ({pipelines})
ORDER BY seq DESC

-- name: reported_costs
-- What gateways said that results cost, beside what is computed for the same results; NULL where that is not known.
SELECT coalesce(provider, 'anthropic') AS provider, count(*) AS results, sum(reported_usd)::DECIMAL(38, 15) AS reported_usd,
    CASE WHEN count(cost_usd) = count(*) THEN sum(cost_usd) END::DECIMAL(38, 15) AS computed_usd
FROM ledger.results
WHERE reported_usd IS NOT NULL AND NOT judged_again AND pipeline IN ({pipelines})
GROUP BY ALL
ORDER BY ALL

-- name: members_of_vote
-- The members of the newest vote on each rung that led to the newest vote over a row. A row that shares an answer does not
-- pay for it.
WITH cast_votes AS (
    SELECT * FROM ledger.votes WHERE key_id = md5($key)::UUID AND pipeline IN ({pipelines})
),
begun AS (
    SELECT arg_max(started, seq) AS started FROM ledger.decisions
    WHERE key_id = md5($key)::UUID AND pipeline IN ({pipelines}) AND seq <= (SELECT max(seq) FROM cast_votes)
),
newest AS (
    SELECT v.*, b.started
    FROM cast_votes v, begun b
    WHERE v.seq >= b.started
    QUALIFY row_number() OVER (PARTITION BY v.rung ORDER BY v.seq DESC) = 1
),
members AS (
    SELECT rung, agreement, recorded_at, seq, started, custom_id AS standing, unnest(votes) AS vote,
        unnest(custom_ids) AS custom_id, generate_subscripts(custom_ids, 1) AS place
    FROM newest
),
asked AS (
    SELECT DISTINCT ON (custom_id) custom_id, provider, leads
    FROM ledger.requests
    WHERE key_id = md5($key)::UUID AND pipeline IN ({pipelines}) AND custom_id IN (SELECT custom_id FROM members)
    ORDER BY custom_id, leads DESC
),
costs AS (
    SELECT custom_id, any_value(cost_usd) AS cost_usd FROM ledger.results
    WHERE NOT judged_again AND custom_id IN (SELECT custom_id FROM members)
    GROUP BY custom_id
),
errors AS (
    SELECT custom_id, arg_max(error, seq) AS error FROM ledger.part_decisions
    WHERE key_id = md5($key)::UUID AND pipeline IN ({pipelines}) AND custom_id IN (SELECT custom_id FROM members)
    GROUP BY custom_id
)
SELECT m.rung, m.agreement, m.recorded_at AS cast_at, m.seq, m.started, m.vote.model AS model, q.provider, m.vote.part AS part,
    CASE WHEN m.vote.valid THEN 'valid' ELSE 'failed' END AS state, m.vote.valid AS valid,
    coalesce(m.custom_id = m.standing, false) AS winner, m.vote.document::VARCHAR AS document,
    CASE WHEN q.leads THEN c.cost_usd ELSE 0 END AS cost_usd, m.custom_id, e.error
FROM members m
LEFT JOIN asked q ON q.custom_id = m.custom_id
LEFT JOIN costs c ON c.custom_id = m.custom_id
LEFT JOIN errors e ON e.custom_id = m.custom_id
ORDER BY m.seq, m.rung, m.place

-- name: members_without_vote
-- How the members of a row stand whose vote is not cast yet.
WITH newest AS (
    SELECT * FROM ledger.part_decisions
    WHERE key_id = md5($key)::UUID AND pipeline IN ({pipelines}) AND seq > $seq
    QUALIFY started = max(started) OVER () AND rung = max(rung) OVER (PARTITION BY started)
        AND row_number() OVER (PARTITION BY started, rung, settings, part ORDER BY seq DESC) = 1
),
decided AS (
    SELECT arg_max(state, seq) AS state FROM ledger.decisions
    WHERE key_id = md5($key)::UUID AND pipeline IN ({pipelines})
),
asked AS (
    SELECT DISTINCT ON (custom_id) custom_id, provider, leads
    FROM ledger.requests
    WHERE key_id = md5($key)::UUID AND pipeline IN ({pipelines}) AND custom_id IN (SELECT custom_id FROM newest)
    ORDER BY custom_id, leads DESC
),
results AS (
    SELECT custom_id, any_value(cost_usd) FILTER (NOT judged_again) AS cost_usd, arg_max(output, seq) AS output
    FROM ledger.results
    WHERE custom_id IN (SELECT custom_id FROM newest)
    GROUP BY custom_id
)
SELECT n.rung, NULL::DOUBLE AS agreement, NULL::TIMESTAMP AS cast_at, n.started, n.model, q.provider, n.part, n.state,
    n.state = 'valid' AS valid, false AS winner, CASE WHEN n.state = 'valid' THEN r.output::VARCHAR END AS document,
    CASE WHEN q.leads THEN r.cost_usd ELSE 0 END AS cost_usd, n.custom_id, n.error
FROM newest n
LEFT JOIN asked q ON q.custom_id = n.custom_id
LEFT JOIN results r ON r.custom_id = n.custom_id
WHERE (SELECT state FROM decided) = 'retry'
ORDER BY n.model, n.part

-- name: due_of_row
SELECT d.rung, d.rung, NULL::SMALLINT, l.model, d.attempt, d.max_tokens, d.in_flight_custom_id, '', l.provider
FROM work.leading d
JOIN work.ladder l USING (rung)

-- name: due_of_members
SELECT d.of_rung, d.rung, nullif(d.place, 0), l.model, d.attempt, d.max_tokens, d.in_flight_custom_id, d.part, l.provider
FROM work.leading d
JOIN work.ladder l USING (rung)
ORDER BY d.place
