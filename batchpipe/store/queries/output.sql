-- The output table, made from decisions, requests and results.

-- name: output_source
WITH accepted AS ({accepted}),
request AS ({requests}),
answered AS ({answered}),
told AS (
    SELECT a.*, coalesce(h.after, r.output) AS output, h.reviewed_by, r.* EXCLUDE (custom_id, output)
    FROM accepted a
    JOIN answered r USING (custom_id)
    LEFT JOIN ({reviewed}) h USING (key_id)
)
SELECT
    {columns},
    r.model AS _model,
    r.rung AS _rung,
    v.version AS _prompt_version,
    r.custom_id AS _custom_id,
    r.batch_id AS _batch_id,
    r.completed_at AS _completed_at,
    CASE WHEN q.leads THEN r.cost_usd ELSE 0 END AS _cost_usd,
    r.review AND r.reviewed_by IS NULL AS _review,
    r.reviewed_by AS _reviewed_by,
    true AS _current
FROM told r
JOIN request q USING (key_id)
LEFT JOIN ledger.prompt_versions v ON v.prompt_version = r.prompt_version AND v.pipeline IN ({pipelines})

-- name: newest_accepted
SELECT key_id, arg_max(custom_id, seq) AS custom_id, arg_max(rung, seq) AS rung, arg_max(review, seq) AS review,
    arg_max(prompt_version, seq) AS prompt_version
FROM ledger.decisions
WHERE pipeline IN ({pipelines}) AND state = 'accepted' {among}
GROUP BY key_id

-- name: newest_requests
SELECT key_id, arg_max(q.key, q.seq) AS key, arg_max(q.include_values, q.seq) AS include_values,
    arg_max(q.include_columns, q.seq) AS include_columns,
    bool_or(q.leads AND q.custom_id = a.custom_id) AS leads
FROM ledger.requests q
JOIN accepted a USING (key_id)
WHERE q.pipeline IN ({pipelines})
GROUP BY key_id

-- name: stored_outputs
SELECT custom_id, arg_max(output, seq) AS output, any_value(model) AS model, any_value(batch_id) AS batch_id,
    max(completed_at) AS completed_at, sum(cost_usd) AS cost_usd
FROM ledger.results
WHERE pipeline IN ({pipelines}) AND output IS NOT NULL AND custom_id IN (SELECT custom_id FROM accepted)
GROUP BY custom_id

-- name: accepted_now
SELECT key_id, custom_id, rung, review, prompt_version FROM ledger.decisions WHERE seq = {seq} AND state = 'accepted'

-- name: requests_now
-- A row whose accepted answer is older has none of these results, and is added afterwards.
SELECT * FROM work.sent

-- name: outputs_now
SELECT custom_id, output, model, batch_id, completed_at, cost_usd FROM ledger.results WHERE seq = {seq} AND output IS NOT NULL

-- name: refresh_current
UPDATE {table} AS t SET _current = w.is_current
FROM (
    WITH accepted AS (
        SELECT key_id, arg_max(input_hash, seq) AS input_hash, arg_max(prompt_version, seq) AS prompt_version
        FROM ledger.decisions
        WHERE pipeline IN ({pipelines}) AND state = 'accepted'
            AND key_id IN (SELECT key_id FROM work.compared)
        GROUP BY key_id
    ),
    -- Only rows that are not unchanged are joined. Of the others, which may be many, only the keys are held.
    compared AS MATERIALIZED (
        SELECT c.key_id, c.reason,
            coalesce(a.input_hash = c.input_hash AND a.prompt_version = $prompt_version::UUID, false) AS is_current
        FROM work.compared c LEFT JOIN accepted a USING (key_id)
    )
    SELECT row_number, is_current
    FROM (
        SELECT t.row_number, t._current AS was_current,
            coalesce(c.is_current, t.key_id IN (SELECT key_id FROM work.input)) AS is_current
        FROM (SELECT row_number, _current, md5({stored_key})::UUID AS key_id FROM {keyed}) t
        LEFT JOIN compared c USING (key_id)
        WHERE c.reason IS DISTINCT FROM 'not_selected'
    )
    WHERE is_current IS DISTINCT FROM was_current
) w
WHERE t.rowid = w.row_number

-- name: rows_with_keys
(SELECT rowid AS row_number, _current, {key} AS key FROM {table})

-- name: rows_with_stored_keys_of_input
-- Rows whose key the ledger has in another way than the columns write it.
(
    SELECT o.*, k.stored FROM {rows} o
    LEFT JOIN (SELECT key AS stored, {key} AS written FROM {input}) k ON k.written = o.key
)

-- name: stale_rows
SELECT count(*) FROM {table} WHERE NOT _current

-- name: output_made
SELECT count(*) > 0 FROM ledger.events
WHERE kind = 'output_made' AND (data ->> 'table') = $table AND pipeline IN ({pipelines})

-- name: output_comment
-- The comment of a table, and the id of this database.
SELECT
    (SELECT comment FROM duckdb_tables()
        WHERE database_name = current_catalog() AND schema_name = $schema AND table_name = $table) AS comment,
    (SELECT max(value) FROM ledger.meta WHERE name = 'database') AS database

-- name: output_keys_are_known
-- Whether most of the keys in a table were sent by this pipeline.
SELECT count(*) FILTER (NOT is_known) * 2 <= count(*)
FROM (SELECT {key} IN (SELECT key FROM ledger.requests WHERE pipeline IN ({pipelines})) AS is_known FROM {table})

-- name: output_tables_made
-- For each table that a pipeline has made and that has the columns of an output table: the pipeline that made it last.
SELECT t.schema_name, t.table_name, arg_max(e.pipeline, e.seq) AS pipeline, any_value(t.comment) AS comment
FROM ledger.events e
JOIN duckdb_tables() t
    ON t.database_name = current_catalog() AND t.schema_name || '.' || t.table_name = (e.data ->> 'table')
JOIN (
    SELECT schema_name, table_name, list(column_name) AS columns FROM duckdb_columns()
    WHERE database_name = current_catalog() GROUP BY schema_name, table_name
) c ON c.schema_name = t.schema_name AND c.table_name = t.table_name
WHERE e.kind = 'output_made' AND list_has_all(c.columns, {columns})
GROUP BY t.schema_name, t.table_name
ORDER BY ALL

-- name: accepted_in_commit
SELECT key_id FROM ledger.decisions WHERE seq = {seq} AND state = 'accepted'

-- name: any_accepted_earlier
SELECT EXISTS (SELECT 1 FROM work.verdicts WHERE answer = 'earlier' AND state = 'accepted')

-- name: accepted_earlier_answers
SELECT key_id FROM ledger.decisions
WHERE seq = {seq} AND state = 'accepted'
    AND custom_id NOT IN (SELECT custom_id FROM ledger.results WHERE seq = {seq} AND output IS NOT NULL)
