-- What a plan itself decides: rows that are carried over, kept, failed or validated again at no cost.

-- name: record_decisions
INSERT INTO ledger.decisions BY NAME
SELECT
    $pipeline AS pipeline, p.key_id, p.input_hash, $prompt_version::UUID AS prompt_version,
    $policy_hash::UUID AS policy_hash,
    CASE WHEN p.reason = 'kept' THEN p.own_fingerprint ELSE coalesce(p.fingerprint, p.own_fingerprint, '00000000-0000-0000-0000-000000000000'::UUID)
    END AS fingerprint,
    CASE WHEN p.match_passes AND NOT p.stays THEN p.match_custom_id ELSE p.custom_id END AS custom_id,
    CASE
        WHEN p.reason = 'carried_over' OR p.reason = 'unchanged' THEN 'accepted'
        ELSE p.reason
    END AS state,
    CASE
        WHEN p.redo = 'escalate' THEN true
        WHEN p.match_passes AND NOT p.stays THEN p.match_review
        ELSE coalesce(p.review, false)
    END AS review,
    p.reason,
    CASE WHEN p.match_passes AND NOT p.stays THEN p.match_rung ELSE coalesce(p.rung, 1) END AS rung,
    coalesce(p.attempts, 0) AS attempts,
    0 AS transients,
    NULL::INTEGER AS max_tokens,
    NULL::TIMESTAMP AS not_before,
    p.earlier_answer,
    CASE WHEN p.reason = 'failed' THEN {why_failed} END AS error,
    CASE WHEN p.redo IS NOT NULL OR p.started IS NULL THEN $seq ELSE p.started END AS started,
    $run_id::UUID AS run_id, $now AS recorded_at, $seq AS seq
FROM work.plan p
LEFT JOIN ledger.decisions d ON d.key_id = p.key_id AND d.seq = p.standing_seq AND d.pipeline IN ({pipelines})
WHERE p.reason IN ('carried_over', 'unchanged', 'kept', 'failed')
    AND NOT (p.reason = 'failed' AND p.never_sent AND p.same_version AND p.same_input) {unvoted}

-- name: record_validated_again
-- An answer that was bought under another name stands under the pipeline's own from now on.
INSERT INTO ledger.results BY NAME
WITH documents AS (
    SELECT custom_id, output FROM work.documents_of_revalidated
    UNION
    SELECT custom_id, output FROM work.documents_of_validity
    {voted}
)
SELECT
    r.* REPLACE (
        CASE WHEN {bought} THEN $pipeline ELSE r.pipeline END AS pipeline,
        {answer} AS answer, d.output AS output, NULL AS error, 0 AS input_tokens, 0 AS cache_write_5m_tokens, 0 AS cache_write_1h_tokens,
        0 AS cache_read_tokens, 0 AS output_tokens, 0 AS thinking_tokens, 0 AS web_searches, 0 AS cost_usd,
        0 AS realtime_usd, NULL AS reported_usd, true AS judged_again, $run_id::UUID AS run_id, $now AS recorded_at, $seq AS seq)
FROM (
    SELECT DISTINCT ON (custom_id) * FROM ledger.results
    WHERE custom_id IN (SELECT custom_id FROM documents)
    ORDER BY custom_id, seq DESC
) r
JOIN documents d USING (custom_id)
WHERE d.output IS DISTINCT FROM r.output OR {bought}

-- name: record_followers
INSERT INTO ledger.requests BY NAME
WITH followers AS (
    SELECT key_id, key, position, match_custom_id AS custom_id, input_hash, fingerprint, reason, 1 AS attempt,
        0 AS transients, rungs, NULL::VARCHAR AS earlier_answer, started{carried}
    FROM work.plan WHERE reason = 'carried_over' AND match_passes AND NOT stays AND NOT (match_own AND same_input)
    UNION ALL
    SELECT key_id, key, position, in_flight_custom_id, input_hash, fingerprint, reason, attempt, transients, rungs,
        earlier_answer, started{followed}
    FROM work.leading WHERE in_flight_custom_id IS NOT NULL
)
SELECT
    $pipeline AS pipeline, f.key_id, f.key, {part} AS part, f.custom_id, false AS leads, q.chunk_id, $run_id::UUID AS run_id,
    $prompt_version::UUID AS prompt_version, $policy_hash::UUID AS policy_hash, f.input_hash, f.fingerprint,
    q.request_hash, f.reason, {rung} AS rung, q.provider, q.model, q.settings, 0 AS send, f.attempt, f.transients, q.max_tokens, f.rungs,
    f.earlier_answer, coalesce(f.started, $seq) AS started, 0 AS bytes,
    {values} AS input_values, {include} AS include_values, {include_names} AS include_columns,
    $now AS recorded_at, $seq AS seq
FROM followers f
JOIN (
    SELECT DISTINCT ON (custom_id) custom_id, chunk_id, request_hash, rung, provider, model, settings, max_tokens
    FROM ledger.requests
    WHERE leads AND custom_id IN (SELECT custom_id FROM followers)
) q USING (custom_id)
JOIN {snapshot} s ON s.position = f.position

-- name: insert_version
INSERT INTO ledger.prompt_versions BY NAME
SELECT
    $pipeline AS pipeline, $prompt_version::UUID AS prompt_version, $recipe AS recipe,
    'v' || (SELECT count(DISTINCT prompt_version) + 1 FROM ledger.prompt_versions WHERE pipeline IN ({pipelines})) AS version,
    $prompt_hash::UUID AS prompt_hash, $schema_hash::UUID AS schema_hash, $visible_hash::UUID AS visible_hash,
    $format AS format, $sources AS sources, $vars AS vars, $queries AS queries, $full_schema AS full_schema,
    $pipeline_toml AS pipeline_toml, $git_commit AS git_commit, $run_id::UUID AS run_id, $now AS recorded_at, $seq AS seq
WHERE NOT EXISTS (
    SELECT 1 FROM ledger.prompt_versions WHERE prompt_version = $prompt_version::UUID AND pipeline IN ({pipelines})
)

-- name: insert_policy
INSERT INTO ledger.policies BY NAME
SELECT
    $pipeline AS pipeline, $policy_hash::UUID AS policy_hash, $recipe AS recipe, $key_types::VARCHAR[] AS key_types,
    $columns AS columns, $types AS types,
    $judge_hash::UUID AS judge_hash, $policy AS policy, $now AS recorded_at, $seq AS seq
WHERE NOT EXISTS (
    SELECT 1 FROM ledger.policies WHERE policy_hash = $policy_hash::UUID AND pipeline IN ({pipelines})
)

-- name: version_number
SELECT version FROM ledger.prompt_versions WHERE prompt_version = $prompt_version::UUID AND pipeline IN ({pipelines})
ORDER BY seq LIMIT 1

-- name: next_version_number
SELECT 'v' || (count(DISTINCT prompt_version) + 1) FROM ledger.prompt_versions WHERE pipeline IN ({pipelines})

-- name: redo_left
SELECT count(*) FROM work.redo r WHERE r.key_id IN (SELECT key_id FROM work.all_keys)

-- name: pending_before
SELECT count(*) FROM work.pending WHERE started < $seq

-- name: run_standings
-- The state of each selected row of the input now, without the rows that were unchanged and still are.
-- work.standings: One row is a selected row of the input that the run touched, with its state at the end.
CREATE OR REPLACE TABLE work.standings AS
WITH later AS (
    SELECT key_id, arg_max(state, seq) AS state, arg_max(review, seq) AS review, max(seq) AS seq
    FROM ledger.decisions
    WHERE pipeline IN ({pipelines}) AND seq > $seq
    GROUP BY key_id
),
chosen AS (
    SELECT key_id FROM work.touched
    UNION
    SELECT key_id FROM later WHERE key_id IN (SELECT key_id FROM work.all_keys WHERE selected)
),
newest AS (
    SELECT * FROM later
    UNION ALL
    SELECT key_id, state, review, seq FROM work.standing
    WHERE key_id IN (SELECT key_id FROM work.touched) AND key_id NOT IN (SELECT key_id FROM later)
),
pending AS (
    SELECT DISTINCT key_id FROM ledger.requests
    WHERE pipeline IN ({pipelines})
        AND chunk_id IN (SELECT chunk_id FROM ledger.batches WHERE is_open AND pipeline IN ({pipelines}))
    UNION
    SELECT key_id FROM work.pending WHERE by_call AND key_id NOT IN (SELECT key_id FROM later)
)
SELECT
    k.key_id,
    coalesce(n.review, false) AS review,
    CASE
        WHEN p.key_id IS NOT NULL THEN 'pending'
        WHEN n.key_id IS NULL OR n.state IN ('retry', 'escalated') THEN 'due'
        WHEN w.key_id IS NOT NULL AND n.seq <= $seq THEN 'due'
        ELSE n.state
    END AS state
FROM chosen k
LEFT JOIN newest n USING (key_id)
LEFT JOIN pending p USING (key_id)
LEFT JOIN work.due_keys w USING (key_id)

-- name: standing_states
SELECT state, sum(rows)::BIGINT FROM (
    SELECT state, count(*) AS rows FROM work.standings GROUP BY state
    UNION ALL
    SELECT 'accepted', (SELECT count(*) FROM work.all_keys WHERE selected) - (SELECT count(*) FROM work.standings)
) GROUP BY state

-- name: standing_review
SELECT count(*) FROM (
    SELECT key_id FROM work.standings WHERE state = 'accepted' AND review
    UNION ALL
    SELECT key_id FROM work.standing
    WHERE state = 'accepted' AND review AND key_id NOT IN (SELECT key_id FROM work.standings)
        AND key_id IN (SELECT key_id FROM work.all_keys WHERE selected)
)
WHERE key_id NOT IN (SELECT key_id FROM ({reviewed}))

-- name: decided_by_run
WITH mine AS (
    SELECT key_id, max(seq) AS seq
    FROM ledger.decisions
    WHERE pipeline IN ({pipelines}) AND run_id = $run_id::UUID AND seq >= $since
    GROUP BY key_id
)
SELECT count(*) FILTER (d.state = 'failed'), count(*)
FROM ledger.decisions d
JOIN mine USING (key_id, seq)
WHERE d.pipeline IN ({pipelines}) AND d.seq >= $since AND d.state IN ('accepted', 'failed') AND (d.reason <> 'failed' OR d.custom_id IS NULL)
    AND d.key_id IN (SELECT key_id FROM work.all_keys WHERE selected)

-- name: run_totals
SELECT
    count(*)::BIGINT AS attempts,
    coalesce(sum(input_tokens), 0)::BIGINT AS input,
    coalesce(sum(output_tokens), 0)::BIGINT AS output,
    coalesce(sum(cache_read_tokens), 0)::BIGINT AS cache_read,
    coalesce(sum(coalesce(cache_write_5m_tokens, 0) + coalesce(cache_write_1h_tokens, 0)), 0)::BIGINT AS cache_write,
    count(*) FILTER (cost_usd IS NULL)::BIGINT AS unpriced,
    coalesce(sum(cost_usd), 0)::DECIMAL(38, 15) AS cost_usd,
    coalesce(sum(realtime_usd), 0)::DECIMAL(38, 15) AS realtime_usd
FROM ledger.results
WHERE run_id = $run_id::UUID AND pipeline IN ({pipelines}) AND NOT judged_again AND provider IS DISTINCT FROM 'local'

-- name: history
-- Whether the pipelines have a history, and whether they ever used one of the prompts.
WITH facts AS (
    SELECT prompt_version FROM ledger.requests WHERE {of} IN ({pipelines}) AND {counts}
    UNION ALL
    SELECT prompt_version FROM ledger.decisions WHERE {of} IN ({pipelines})
)
SELECT EXISTS (FROM facts) AS known, EXISTS (
    FROM facts WHERE prompt_version IN (
        SELECT prompt_version FROM ledger.prompt_versions
        WHERE {of} IN ({pipelines}) AND list_contains($prompt_hashes::UUID[], prompt_hash)
    )
) AS used

-- name: pipelines_with_history
-- What was bought for an evaluation belongs to the pipeline that is evaluated.
SELECT DISTINCT {of} AS name FROM (
    SELECT pipeline FROM ledger.requests UNION SELECT pipeline FROM ledger.decisions
    UNION SELECT pipeline FROM ledger.reviews
    UNION SELECT pipeline FROM ledger.events WHERE kind IN ('renamed', 'paused')
)
ORDER BY name

-- name: shared_keys
WITH known AS (SELECT DISTINCT key_id FROM ledger.requests WHERE {of} IN ({pipelines}))
SELECT count(*), count(*) FILTER (md5(key)::UUID IN (SELECT key_id FROM known)), (SELECT count(*) FROM known)
FROM {relation}

-- name: rename_links
SELECT DISTINCT pipeline, data ->> 'renamed_from' FROM ledger.events WHERE kind = 'renamed'

-- name: paused
SELECT coalesce(arg_max(kind, seq) = 'paused', false) FROM ledger.events
WHERE kind IN ('paused', 'resumed') AND pipeline IN ({pipelines})

-- name: stopped_by_batch
WITH stopped AS (
    SELECT max(seq) AS seq FROM ledger.events
    WHERE kind = 'batch_collected' AND pipeline IN ({pipelines}) AND (data ->> 'stop') IS NOT NULL
)
SELECT count(*) > 0
FROM stopped
WHERE stopped.seq IS NOT NULL AND NOT EXISTS (
    SELECT 1
    FROM ledger.events prepared
    JOIN ledger.events collected ON collected.chunk_id = prepared.chunk_id AND collected.kind = 'batch_collected'
    WHERE prepared.kind = 'chunk_prepared' AND prepared.seq > stopped.seq AND prepared.pipeline IN ({pipelines})
        AND (collected.data ->> 'stop') IS NULL
)

-- name: after_is_due
-- What the statements of `after` have not seen: the newest commit of results, the commit that all statements have seen,
-- and the commit that each single one has seen.
SELECT
    greatest(
        coalesce((
            SELECT max(seq) FROM ledger.decisions WHERE pipeline IN ({pipelines}) AND state IN ('accepted', 'kept')
        ), 0),
        coalesce((SELECT max(seq) FROM ledger.reviews WHERE pipeline IN ({pipelines})), 0)
    ) AS newest,
    coalesce((SELECT max((data ->> 'up_to')::BIGINT) FROM ledger.events
        WHERE kind = 'after_done' AND pipeline IN ({pipelines})), 0) AS all_up_to,
    coalesce((
        SELECT map_from_entries(list((statement, up_to)))
        FROM (
            SELECT data ->> 'statement' AS statement, max((data ->> 'up_to')::BIGINT) AS up_to
            FROM ledger.events
            WHERE kind = 'after_statement_done' AND pipeline IN ({pipelines})
            GROUP BY ALL
        )
    ), MAP {{}}) AS up_to

-- name: last_commit
-- The last commit, the bytes of the longest request that was stored after the commit that was seen before, and which
-- database this is, of which schema version.
SELECT coalesce(max(seq), 0), (SELECT coalesce(max(bytes), 0) FROM ledger.requests WHERE seq > $seen),
    (SELECT max(value) FROM ledger.meta WHERE name = 'database'),
    (SELECT max(value::INTEGER)::VARCHAR FROM ledger.meta WHERE name = 'schema_version')
FROM ledger.commits

-- name: longest_requests
-- The bytes of the longest requests that lie together, as many as DuckDB reads at once.
SELECT coalesce(max(bytes), 0)::BIGINT FROM (SELECT sum(bytes) AS bytes FROM ledger.requests GROUP BY rowid // {rows})
