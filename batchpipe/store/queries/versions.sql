-- Prompt versions in the ledger, found by any of their names.

-- name: known_versions
SELECT version, prompt_version::VARCHAR AS prompt_version, recorded_at, git_commit
FROM (
    SELECT DISTINCT ON (prompt_version) * FROM ledger.prompt_versions
    WHERE pipeline IN ({pipelines})
    ORDER BY prompt_version, seq
)
ORDER BY seq

-- name: recorded_version
SELECT
    version, recipe, prompt_version::VARCHAR AS prompt_version, prompt_hash::VARCHAR AS prompt_hash,
    schema_hash::VARCHAR AS schema_hash, visible_hash::VARCHAR AS visible_hash, format, sources::VARCHAR AS sources,
    vars::VARCHAR AS vars, queries::VARCHAR AS queries, full_schema::VARCHAR AS full_schema, pipeline_toml, git_commit,
    recorded_at
FROM ledger.prompt_versions
WHERE prompt_version = $prompt_version::UUID AND pipeline IN ({pipelines})
ORDER BY seq
LIMIT 1

-- name: past_input_columns
-- Every input column that a template or a condition ever read, with its newest type.
SELECT name, arg_max(type, seq)
FROM (SELECT unnest(columns) AS name, unnest(types) AS type, seq FROM ledger.policies WHERE pipeline IN ({pipelines}))
GROUP BY name

-- name: answering_version
-- The version that answered most of the rows which an edit of the prompt makes due; if there are none, most of all rows.
SELECT a.prompt_version::VARCHAR
FROM (
    SELECT prompt_version, count(*) FILTER (state = 'accepted') AS accepted, max(seq) AS seq
    FROM work.standing GROUP BY prompt_version
) a
LEFT JOIN (
    SELECT s.prompt_version, count(*) AS changed
    FROM work.plan p JOIN work.standing s USING (key_id)
    WHERE p.reason IN ('prompt_changed', 'schema_changed')
    GROUP BY s.prompt_version
) c USING (prompt_version)
ORDER BY coalesce(c.changed, 0) DESC, a.accepted DESC, a.seq DESC
LIMIT 1

-- name: sampled
-- A few rows of each reason, first those that would be sent.
-- work.sampled: One row is a due row whose request `plan` shows in full as an example of its reason.
CREATE OR REPLACE TABLE work.sampled AS
WITH chosen AS (
    SELECT p.key_id, p.position, p.key, p.reason, p.custom_id, p.may_continue
    FROM work.plan p
    LEFT JOIN (SELECT DISTINCT key_id FROM work.due) d USING (key_id)
    WHERE p.reason IN ({due_reasons})
    QUALIFY row_number() OVER (PARTITION BY p.reason ORDER BY d.key_id IS NULL, work.draw_order(p.key_id)) <= $each
)
SELECT p.key_id, p.position, p.key, p.reason, p.custom_id, f.feedback_answer, f.feedback_error
FROM chosen p
-- The members of a panel are asked the same.
LEFT JOIN (
    SELECT DISTINCT ON (key_id, continues) key_id, continues, feedback_answer, feedback_error FROM work.rendered
    WHERE key_id IN (SELECT key_id FROM chosen)
) f ON f.key_id = p.key_id AND f.continues = (p.reason IN ('retry', 'escalated') AND coalesce(p.may_continue, false))

-- name: sampled_requests
-- The sampled rows, with the input that was sent with the request of their standing answer.
SELECT m.position, m.key, m.reason, m.feedback_answer, m.feedback_error, v.version, q.input_values, p.columns, p.types
FROM work.sampled m
LEFT JOIN (
    SELECT key_id, prompt_version FROM work.standing WHERE key_id IN (SELECT key_id FROM work.sampled)
) s USING (key_id)
LEFT JOIN (
    SELECT DISTINCT ON (prompt_version) prompt_version, version FROM ledger.prompt_versions
    WHERE pipeline IN ({pipelines}) ORDER BY prompt_version, seq
) v ON v.prompt_version = s.prompt_version
LEFT JOIN (
    SELECT DISTINCT ON (r.key_id) r.key_id, r.input_values, r.policy_hash
    FROM ledger.requests r
    JOIN work.sampled m ON m.key_id = r.key_id AND m.custom_id = r.custom_id
    WHERE r.pipeline IN ({pipelines})
    ORDER BY r.key_id, r.seq DESC
) q ON q.key_id = m.key_id
LEFT JOIN (
    SELECT DISTINCT ON (policy_hash) policy_hash, columns, types FROM ledger.policies
    WHERE pipeline IN ({pipelines}) ORDER BY policy_hash, seq
) p ON p.policy_hash = q.policy_hash
ORDER BY m.reason, m.key

-- name: tables_of_database
SELECT schema_name, table_name, comment, NULL AS statement FROM duckdb_tables() WHERE database_name = $database
UNION ALL
SELECT schema_name, view_name, NULL, CASE WHEN schema_name <> 'ledger' THEN sql END
FROM duckdb_views() WHERE database_name = $database AND NOT internal
