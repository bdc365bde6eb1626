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
SELECT * EXCLUDE (_as_today), _as_today AND {complete} AS _current
FROM (
    SELECT
        {columns},
        r.model AS _model,
        r.rung AS _rung,
        v.version AS _prompt_version,
        r.custom_id AS _custom_id,
        r.batch_id AS _batch_id,
        r.completed_at AS _completed_at,
        {cost} AS _cost_usd,{voted}
        r.review AND r.reviewed_by IS NULL AS _review,
        r.reviewed_by AS _reviewed_by,
        list_contains([{prompt_versions}]::UUID[], r.prompt_version) AS _as_today
    FROM told r
    JOIN request q USING (key_id)
    LEFT JOIN (
        SELECT prompt_version, arg_min(version, seq) AS version FROM ledger.prompt_versions
        WHERE pipeline IN ({pipelines}) GROUP BY prompt_version
    ) v ON v.prompt_version = r.prompt_version
    {votes}
    {beside}
)

-- name: beside_local
-- How sure the local model is of its answers.
LEFT JOIN (
    SELECT custom_id, any_value(confidence) AS confidence FROM ledger.local_answers
    WHERE custom_id IS NOT NULL AND custom_id IN (SELECT custom_id FROM accepted) GROUP BY custom_id
) l ON l.custom_id = r.custom_id

-- name: newest_accepted
SELECT key_id, arg_max(custom_id, seq) AS custom_id, arg_max(rung, seq) AS rung, arg_max(review, seq) AS review,
    arg_max(prompt_version, seq) AS prompt_version
FROM ledger.decisions
WHERE pipeline IN ({pipelines}) AND state = 'accepted' {among}
GROUP BY key_id

-- name: newest_requests
-- A key that the present types of its columns cannot hold has no place in the table.
SELECT key_id, arg_max(q.key, q.seq) AS key, arg_max(q.include_values, q.seq) AS include_values,
    arg_max(q.include_columns, q.seq) AS include_columns,
    bool_or(q.leads AND q.custom_id = a.custom_id) AS leads
FROM ledger.requests q
JOIN accepted a USING (key_id)
WHERE q.pipeline IN ({pipelines}) AND ({fits})
GROUP BY key_id

-- name: stored_outputs
SELECT custom_id, arg_max(output, seq) AS output, any_value(model) AS model, any_value(batch_id) AS batch_id,
    max(completed_at) AS completed_at, CASE WHEN bool_and(cost_usd IS NOT NULL) THEN sum(cost_usd) END AS cost_usd
FROM ledger.results
WHERE pipeline IN ({pipelines}) AND output IS NOT NULL AND custom_id IN (SELECT custom_id FROM accepted)
GROUP BY custom_id

-- name: accepted_now
SELECT key_id, custom_id, rung, review, prompt_version FROM ledger.decisions WHERE seq = {seq} AND state = 'accepted'

-- name: requests_now
-- A row whose accepted answer is older has none of these results, and is added afterwards.
SELECT * FROM work.sent q WHERE ({fits})

-- name: outputs_now
SELECT custom_id, output, model, batch_id, completed_at, cost_usd FROM ledger.results WHERE seq = {seq} AND output IS NOT NULL

-- name: kept_documents
-- work.kept: One row is a kept row whose answer is to be judged by today's checks and types, with its shown document.
CREATE OR REPLACE TABLE work.kept AS
WITH kept AS (
    SELECT key_id, position, false AS was_kept FROM work.plan WHERE reason = 'kept'
    UNION ALL
    SELECT key_id, position, true FROM work.compared WHERE reason = 'kept'
),
shown AS (
    SELECT key_id, arg_max(custom_id, seq) AS custom_id, arg_max(rung, seq) AS rung
    FROM ledger.decisions
    WHERE pipeline IN ({pipelines}) AND state = 'accepted' AND key_id IN (SELECT key_id FROM kept WHERE {unsure})
    GROUP BY key_id
),
answered AS (
    SELECT custom_id, arg_max(output, seq) AS output FROM ledger.results
    WHERE pipeline IN ({pipelines}) AND output IS NOT NULL AND custom_id IN (SELECT custom_id FROM shown)
    GROUP BY custom_id
)
SELECT a.key_id, a.key_id::VARCHAR AS custom_id, a.rung, {values} AS input_values, coalesce(h.after, r.output) AS output
FROM shown a
JOIN answered r ON r.custom_id = a.custom_id
JOIN kept k ON k.key_id = a.key_id
JOIN {snapshot} s ON s.position = k.position
LEFT JOIN ({reviewed}) h ON h.key_id = a.key_id

-- name: no_kept
CREATE OR REPLACE TABLE work.kept_judged (key_id UUID, valid BOOLEAN)

-- name: documents_of_kept
CREATE OR REPLACE TABLE work.documents AS SELECT custom_id, output, NULL::VARCHAR AS error FROM work.kept

-- name: kept_judged
-- work.kept_judged: One row is a kept row whose answer was judged by today's checks and types, with the verdict.
CREATE OR REPLACE TABLE work.kept_judged AS SELECT key_id, valid FROM work.validity

-- name: refresh_current
-- The newest final decision for today's input and prompt says of a row that is not unchanged whether it is current. What
-- was accepted has to have been judged by today's checks and types; what was kept is judged apart, or stays as it is. Rows
-- that are not selected are not judged: those with an answer to today's input and prompt stay as they are.
UPDATE {table} AS t SET _current = w.is_current
FROM (
    WITH newest AS (
        SELECT d.key_id, arg_max(d.state, d.seq) AS state, arg_max(d.policy_hash, d.seq) AS policy_hash
        FROM ledger.decisions d
        JOIN work.compared c USING (key_id)
        WHERE d.pipeline IN ({pipelines}) AND d.state IN ('accepted', 'kept', 'failed') AND (
            (d.input_hash = c.input_hash AND list_contains($prompt_versions::UUID[], d.prompt_version))
            OR (d.seq = c.standing_seq AND c.same_input AND c.same_version)
        )
        GROUP BY d.key_id
    ),
    -- Only rows that are not unchanged are joined. Of the others, which may be many, only the keys are held.
    compared AS MATERIALIZED (
        SELECT c.key_id, c.reason, n.state,
            CASE
                WHEN n.state = 'accepted' THEN n.policy_hash IN (
                    SELECT policy_hash FROM ledger.policies WHERE list_contains($judge_hashes::UUID[], judge_hash)
                )
                WHEN n.state = 'kept' THEN k.valid
                ELSE false
            END AS holds
        FROM work.compared c
        LEFT JOIN newest n USING (key_id)
        LEFT JOIN work.kept_judged k USING (key_id)
    )
    SELECT row_number, is_current
    FROM (
        SELECT t.row_number, t._current AS was_current,
            CASE
                WHEN c.key_id IS NULL THEN t.key_id IN (SELECT key_id FROM work.input)
                WHEN c.reason = 'not_selected' AND c.state IN ('accepted', 'kept') THEN t._current OR coalesce(c.holds, false)
                ELSE coalesce(c.holds, {unjudged})
            END AS is_current
        FROM {keyed} t
        LEFT JOIN compared c USING (key_id)
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

-- name: current_rows
SELECT count(*) FILTER (_current) FROM {table}

-- name: stale_rows
SELECT EXISTS (SELECT 1 FROM {table} WHERE NOT _current)

-- name: last_written
-- The table is behind where the pipeline, under this or an older name, has written another table since, or where it has
-- been linked with an older name since, whose rows the table lacks.
SELECT e.run_id::VARCHAR, e.data, (SELECT count(*) FROM {table}) AS rows, coalesce(e.behind, false)
FROM (SELECT 1) LEFT JOIN (
    SELECT arg_max(run_id, seq) FILTER (is_this) AS run_id, (arg_max(data, seq) FILTER (is_this))::VARCHAR AS data,
        max(seq) FILTER (NOT is_this) > max(seq) FILTER (is_this) AS behind
    FROM (
        SELECT run_id, seq, data, coalesce((data ->> 'table') = $table, false) AS is_this FROM ledger.events
        WHERE kind IN ('output_written', 'renamed') AND pipeline IN ({pipelines})
    )
) e ON true

-- name: output_checksum
SELECT count(*) AS rows, coalesce(bit_xor(hash({columns})), 0)::VARCHAR AS checksum FROM {table}

-- name: without_key
SELECT EXISTS (SELECT 1 FROM {table} WHERE {missing})

-- name: flags_before
-- The rows that the output table had before it was written again, with their `_current`.
CREATE OR REPLACE TEMP TABLE output_flags_before AS
SELECT {keys} AS keys, t._custom_id, bool_and(t._current) AS was_current FROM {table} t GROUP BY ALL

-- name: flags_as_before
UPDATE {table} AS t SET _current = false
FROM temp.output_flags_before f
WHERE f._custom_id = t._custom_id AND f.keys = {keys} AND NOT f.was_current

-- name: rows_as_written
SELECT {keys} AS keys, hash({columns}) AS hashed FROM {table} t

-- name: no_table
(SELECT 1 WHERE false)

-- name: no_rows_before
SELECT NULL::VARCHAR[] AS keys, NULL::UBIGINT AS hashed WHERE false

-- name: rows_before
CREATE OR REPLACE TEMP TABLE output_rows_before AS {rows}

-- name: rows_that_differed
SELECT
    count(*) FILTER (b.keys IS NULL) AS missing, count(*) FILTER (a.keys IS NULL) AS added,
    count(*) FILTER (a.hashed <> b.hashed) AS changed
FROM ({rows}) a FULL JOIN temp.output_rows_before b ON b.keys = a.keys

-- name: failed_now
UPDATE {table} AS t SET _current = false
FROM (
    SELECT {values} FROM ledger.decisions d JOIN work.sent q USING (key_id, custom_id)
    WHERE d.seq = {seq} AND d.state = 'failed' AND list_contains($prompt_versions::UUID[], d.prompt_version)
        AND ({fits})
) s
WHERE {same_key}

-- name: output_made
SELECT count(*) > 0 FROM ledger.events
WHERE kind = 'output_made' AND (data ->> 'table') = $table AND pipeline IN ({pipelines})

-- name: output_place
-- The id of this database, and what stands where the output table belongs, a table or a view, with its comment, and with
-- the indexes and constraints that somebody gave it, each with whether it can refuse a row.
WITH place AS (
    SELECT schema_name, table_name, list({{'name': column_name, 'kind': data_type}} ORDER BY column_index) AS columns
    FROM duckdb_columns()
    WHERE database_name = current_catalog() AND {schema} = $schema AND {table} = $table
    GROUP BY ALL
)
SELECT
    (SELECT max(value) FROM ledger.meta WHERE name = 'database') AS database,
    (SELECT [schema_name, table_name] FROM place) AS written,
    (SELECT comment FROM duckdb_tables() t SEMI JOIN place USING (schema_name, table_name)
        WHERE t.database_name = current_catalog()) AS comment,
    (SELECT columns FROM place) AS columns,
    (SELECT list({{'words': words, 'refuses': refuses}} ORDER BY words) FROM (
        SELECT schema_name, table_name, 'the index ' || index_name AS words, is_unique AS refuses
        FROM duckdb_indexes() WHERE database_name = current_catalog()
        UNION
        SELECT schema_name, table_name,
            'the constraint ' || constraint_text || ' on ' || array_to_string(constraint_column_names, ', '), true
        FROM duckdb_constraints() WHERE database_name = current_catalog()
    ) SEMI JOIN place USING (schema_name, table_name)) AS added,
    (SELECT list({{'schema': schema_name, 'name': view_name, 'comment': comment}}) FROM duckdb_views()
        WHERE database_name = current_catalog() AND NOT internal AND contains(comment, '[batchpipe: database ')) AS views

-- name: stands_there
-- Whether a table or a view of this name stands in the database.
SELECT count(*) > 0 FROM duckdb_columns()
WHERE database_name = current_catalog() AND lower(schema_name) = $schema AND lower(table_name) = $name

-- name: output_tables_made
-- For each table that a pipeline has made and that has the columns of an output table: the pipeline that made it last.
SELECT t.schema_name, t.table_name, arg_max(e.pipeline, e.seq) AS pipeline, any_value(t.comment) AS comment
FROM ledger.events e
JOIN duckdb_tables() t
    ON t.database_name = current_catalog() AND {written} = {made}
JOIN (
    SELECT schema_name, table_name, list(column_name) AS columns FROM duckdb_columns()
    WHERE database_name = current_catalog() GROUP BY schema_name, table_name
) c ON c.schema_name = t.schema_name AND c.table_name = t.table_name
WHERE e.kind = 'output_made' AND list_has_all(c.columns, {columns})
GROUP BY t.schema_name, t.table_name
ORDER BY ALL

-- name: accepted_in_commit
SELECT key_id FROM ledger.decisions WHERE seq = {seq} AND state = 'accepted'

-- name: earlier_and_failed
SELECT coalesce(bool_or(answer = 'earlier' AND state = 'accepted'), false), coalesce(bool_or(state = 'failed'), false)
FROM work.verdicts

-- name: accepted_earlier_answers
SELECT key_id FROM ledger.decisions
WHERE seq = {seq} AND state = 'accepted'
    AND custom_id NOT IN (SELECT custom_id FROM ledger.results WHERE seq = {seq} AND output IS NOT NULL)

-- name: unfit_keys
-- Answered keys that the present types of the key do not write, and one of them.
SELECT count(DISTINCT q.key), min(q.key)
FROM ledger.requests q
WHERE q.pipeline IN ({pipelines}) AND NOT ({fits})
    AND q.key_id IN (SELECT key_id FROM ledger.decisions WHERE pipeline IN ({pipelines}) AND state IN ('accepted', 'kept'))

-- name: labelled_rows
-- work.labelled: One row is a row of a program's table, with its fields and why it failed.
CREATE OR REPLACE TABLE work.labelled AS
SELECT r.position, {fields},
    CASE WHEN s.state = 'failed' THEN coalesce(s.error, 'no valid answer') END AS {error}
FROM {rows} r
LEFT JOIN (
    SELECT key, arg_max(state, decided_at) AS state, arg_max_null(error, decided_at) AS error
    FROM ledger.row_state WHERE pipeline IN ({pipelines}) GROUP BY key
) s ON s.key = r.key
LEFT JOIN (SELECT *, {table_key} AS row_key FROM {table} WHERE _current) t
    ON t.row_key = r.key AND s.state IS DISTINCT FROM 'failed'
