-- The local rung: what its model learns from, which rows it answers, and what it said.

-- name: local_knowledge
-- The newest answer of each key that the model may learn from: accepted from a rung above it, or said by a person. Rows
-- that the truth is measured on are marked: drawn for review, bought to compare with a model, and (later) gold.
-- work.local_knowledge: One row is a key with the answer that the local model may learn from, and what it was sent with.
CREATE OR REPLACE TABLE work.local_knowledge AS
WITH accepted AS (
    SELECT key_id, arg_max(custom_id, seq) AS custom_id, arg_max(rung, seq) AS rung, max(seq) AS seq
    FROM ledger.decisions
    WHERE pipeline IN ({pipelines}) AND state = 'accepted'
    GROUP BY key_id
),
{doubts}drawn AS (
    SELECT key_id FROM ({draws}) d {with_doubts}
    WHERE d.draw / 1000000.0 < {probability}
    UNION
    SELECT key_id FROM ledger.reviews WHERE pipeline IN ({pipelines}) AND list_contains(chosen, 'sample')
    UNION
    SELECT key_id FROM ledger.requests WHERE {bought}
),
asked AS (
    SELECT q.key_id, arg_max(q.input_values, q.seq) AS input_values, arg_max(p.columns, q.seq) AS columns
    FROM ledger.requests q
    JOIN (SELECT DISTINCT pipeline, policy_hash, columns FROM ledger.policies) p
        ON p.policy_hash = q.policy_hash AND p.pipeline = q.pipeline
    WHERE q.pipeline IN ({pipelines}) AND q.key_id IN (SELECT key_id FROM accepted)
    GROUP BY q.key_id
),
answered AS (
    SELECT custom_id, arg_max(output, seq) AS output FROM ledger.results
    WHERE output IS NOT NULL AND custom_id IN (SELECT custom_id FROM accepted WHERE rung > 0)
    GROUP BY custom_id
),
audited AS (
    SELECT key_id, arg_max(probability, seq) AS probability, max(seq) AS seq FROM ledger.local_answers
    WHERE pipeline IN ({pipelines}) AND custom_id IS NULL
    GROUP BY key_id
)
SELECT
    a.key_id, {texts} AS text, {embedding} AS embedding, coalesce(h.after, r.output) AS output, d.key_id IS NOT NULL AS measured,
    d.key_id IS NULL AND (a.rung > 0 OR h.key_id IS NOT NULL) AS may_teach,
    least(1 / coalesce(u.probability, 1), {most_weight}) AS weight
FROM accepted a
JOIN asked q USING (key_id)
LEFT JOIN answered r USING (custom_id)
LEFT JOIN ({reviewed}) h ON h.key_id = a.key_id
LEFT JOIN drawn d ON d.key_id = a.key_id
LEFT JOIN audited u ON u.key_id = a.key_id AND u.seq <= a.seq

-- name: no_local_gold
-- work.local_gold: One row is a gold row, with its text where gold has the columns that the local model reads.
CREATE OR REPLACE TABLE work.local_gold (key_id UUID, text VARCHAR)

-- name: local_gold
CREATE OR REPLACE TABLE work.local_gold AS
SELECT key_id, {text} AS text FROM work.true_values WHERE _chosen IS NULL OR list_contains(_chosen, 'sample')

-- name: local_gold_texts
SELECT text FROM work.local_gold
UNION ALL
SELECT text FROM work.local_knowledge WHERE key_id IN (SELECT key_id FROM work.local_gold)
UNION ALL
SELECT {text} FROM {snapshot} WHERE md5(key)::UUID IN (SELECT key_id FROM work.local_gold)

-- name: local_compared
-- The rows of an evaluation measure the truth like gold.
INSERT INTO work.local_gold SELECT md5(key)::UUID, {text} FROM {snapshot}

-- name: local_left_out
-- work.local_left_out: One row is a text that never teaches the local model: the truth is measured on a row that has it.
CREATE OR REPLACE TABLE work.local_left_out AS
SELECT DISTINCT {same} AS text
FROM (SELECT text FROM work.local_knowledge WHERE measured UNION ALL {gold})
WHERE text IS NOT NULL

-- name: local_lessons
-- work.local_lessons: One row is an answer that the local model learns from, with its text and its weight.
CREATE OR REPLACE TABLE work.local_lessons AS
SELECT key_id, text, {embedding} AS embedding, {values}, weight
FROM work.local_knowledge
WHERE may_teach AND output IS NOT NULL AND text IS NOT NULL AND {readable}
    AND {same} NOT IN (SELECT text FROM work.local_left_out)
    AND key_id NOT IN (SELECT key_id FROM work.local_gold)
    AND {known}

-- name: count_lessons
-- How many answers there are to learn from, and how many teach nothing because their embedding cannot be read.
SELECT (SELECT count(*) FROM work.local_lessons), count(*)
FROM work.local_knowledge WHERE may_teach AND output IS NOT NULL AND text IS NOT NULL AND NOT {readable}

-- name: embedding_width
-- How many numbers most of these rows have that the local model can read.
SELECT width
FROM (SELECT numbers, len(TRY_CAST(numbers AS DOUBLE[])) AS width FROM ({rows}))
WHERE width > 0 AND {usable}
GROUP BY width
ORDER BY count(*) DESC, width DESC
LIMIT 1

-- name: local_lesson_keys
SELECT key_id::VARCHAR FROM work.local_lessons

-- name: local_examples
-- Answered rows, with the values of the fields as JSON texts.
SELECT key_id::VARCHAR, text, [{values}] FROM work.local_lessons WHERE key_id::VARCHAR IN (SELECT unnest($keys::VARCHAR[]))

-- name: local_seen
-- How many of these rows that a version was trained on measure the truth by now.
SELECT count(*) FROM work.local_knowledge
WHERE key_id::VARCHAR IN (SELECT unnest($keys::VARCHAR[]))
    AND (key_id IN (SELECT key_id FROM work.local_gold) OR {same} IN (SELECT text FROM work.local_left_out))

-- name: local_models
SELECT version, shape::VARCHAR AS shape, answers, trained_on, accuracy, recorded_at, seq
FROM ledger.local_models WHERE pipeline IN ({pipelines}) ORDER BY seq

-- name: local_model
SELECT document::VARCHAR, arrays FROM ledger.local_models
WHERE pipeline IN ({pipelines}) AND version = $version ORDER BY seq DESC LIMIT 1

-- name: local_versions_used
-- The highest version that is known of, by the models or, where those are lost, by what they answered.
SELECT coalesce(max(version), 0) FROM (
    SELECT version FROM ledger.local_models WHERE pipeline IN ({pipelines})
    UNION ALL
    SELECT version FROM ledger.local_answers WHERE pipeline IN ({pipelines})
)

-- name: local_versions
-- Every version that is known of, by the models or, where those are lost, by what they answered.
SELECT version FROM ledger.local_models WHERE pipeline IN ({pipelines})
UNION
SELECT version FROM ledger.local_answers WHERE pipeline IN ({pipelines})
ORDER BY version

-- name: local_set_aside
SELECT DISTINCT (data ->> 'version')::INTEGER FROM ledger.events
WHERE kind = 'local_set_aside' AND pipeline IN ({pipelines})

-- name: local_contradicted
-- Whether a person has contradicted an answer of the local model since that commit.
SELECT count(*) > 0
FROM ({reviewed}) h
JOIN ledger.local_answers a ON a.pipeline IN ({pipelines}) AND a.custom_id = h.custom_id
WHERE h.seq > $seq AND h.verdict = 'corrected'

-- name: insert_local_model
INSERT INTO ledger.local_models BY NAME
SELECT $pipeline AS pipeline, $version AS version, $shape::UUID AS shape, $answers AS answers, $trained_on AS trained_on,
    $accuracy AS accuracy, $document::JSON AS document, $arrays AS arrays,
    $run_id::UUID AS run_id, $now AS recorded_at, $seq AS seq

-- name: local_asked
-- The due rows that the local model is asked about: those that come in new or changed. A row that is due for another
-- reason was answered in another way on purpose.
SELECT DISTINCT ON (d.key_id) d.key_id, {text} AS text, {embedding} AS embedding
FROM work.due d
JOIN {snapshot} s USING (position)
WHERE d.reason IN ('new', 'input_changed') AND NOT d.continues AND {when}

-- name: local_unread
-- How many rows have an embedding that the local model cannot read.
SELECT count(*) FROM ({asked}) WHERE NOT {read}

-- name: no_local_predictions
-- work.local_predictions: One row is a due row with what the local model says of it.
CREATE OR REPLACE TABLE work.local_predictions (key_id UUID, output VARCHAR, confidence DOUBLE)

-- name: add_local_predictions
INSERT INTO work.local_predictions SELECT key_id::UUID, output, confidence FROM local_block

-- name: local_answered
SELECT key_id::VARCHAR AS custom_id, output AS answer FROM work.local_predictions

-- name: local_rows
SELECT p.key_id, p.key_id::VARCHAR AS custom_id, 0 AS rung, p.confidence, {values} AS input_values
FROM work.local_predictions p
JOIN (SELECT DISTINCT key_id, position FROM work.due) d USING (key_id)
JOIN {snapshot} s USING (position)

-- name: local_evaluated
SELECT md5(key)::UUID AS key_id, {text} AS text, {embedding} AS embedding FROM {rows} WHERE {when}

-- name: local_evaluated_rows
SELECT p.key_id, p.key_id::VARCHAR AS custom_id, 0 AS rung, p.confidence, {values} AS input_values
FROM work.local_predictions p
JOIN (SELECT *, md5(key)::UUID AS key_id FROM {rows}) s USING (key_id)

-- name: local_said
-- What the local model says of each row that it was asked about, and whether its answer is valid and would stand.
SELECT p.key_id::VARCHAR AS key_id, coalesce(v.valid, false) AS valid, s.key_id IS NOT NULL AS accepts, p.confidence,
    d.output::VARCHAR AS output
FROM work.local_predictions p
LEFT JOIN work.validity v USING (key_id)
LEFT JOIN work.documents d ON d.custom_id = p.key_id::VARCHAR
LEFT JOIN work.local_sure s USING (key_id)

-- name: local_answered_rows
INSERT INTO work.answered
SELECT 0, d.key_id::UUID, d.valid, d.accepts, false, 0, d.confidence{values}
FROM local_said d

-- name: local_sure
-- work.local_sure: One row is a due row whose local answer is valid and passes `accept`, with whether it is audited.
CREATE OR REPLACE TABLE work.local_sure AS
SELECT key_id, output, confidence,
    ('0x' || left(md5(concat(key_id::VARCHAR, ' local ', $version::VARCHAR)), 8))::UBIGINT < $audit * 4294967296 AS audited
FROM (
    SELECT r.key_id, c.output, r.confidence, r.confidence AS "o:_confidence", {columns}
    FROM ({rows}) r
    JOIN work.documents c USING (custom_id)
    JOIN work.validity v ON v.key_id = r.key_id AND v.valid
)
WHERE {truth}

-- name: local_due
-- The rows that the local model answers leave the due ones.
-- work.local_due: One row is a due row that the local model answers, with its answer.
CREATE OR REPLACE TABLE work.local_due AS
SELECT DISTINCT ON (d.key_id) d.*, s.output, s.confidence
FROM work.due d JOIN work.local_sure s USING (key_id) WHERE NOT s.audited;
DELETE FROM work.due WHERE key_id IN (SELECT key_id FROM work.local_due)

-- name: no_local_due
-- While a pilot holds rows back, its rows are asked of the other rungs.
DROP TABLE IF EXISTS work.local_due; DROP TABLE IF EXISTS work.local_sure

-- name: local_requests
-- The requests of the rows that the local model answers. Nothing is sent: they are what stands for a row in the ledger.
-- work.local_requests: One row is a row that the local model answers, as it is recorded.
CREATE OR REPLACE TABLE work.local_requests AS
SELECT
    $pipeline AS pipeline, d.key_id, d.key, '' AS part,
    concat($database, '-', left(md5(concat(
        d.fingerprint, ' 0 ', coalesce(n.sends, 0) + 1, ' ', $chunk_id, ' ', $pipeline, ' ', d.key
    )), 24)) AS custom_id,
    true AS leads, $chunk_id::UUID AS chunk_id, $run_id::UUID AS run_id, $prompt_version::UUID AS prompt_version,
    $policy_hash::UUID AS policy_hash, d.input_hash, d.fingerprint, d.request_hash, d.reason, 0 AS rung,
    'local' AS provider, $model AS model, $settings AS settings, coalesce(n.sends, 0) + 1 AS send, 1 AS attempt,
    0 AS transients, 0 AS max_tokens, d.rungs, NULL::VARCHAR AS earlier_answer, d.started, 0 AS bytes,
    {values} AS input_values, {include} AS include_values, {include_names} AS include_columns,
    d.output AS answer, d.confidence
FROM work.local_due d
JOIN {snapshot} s ON s.position = d.position
LEFT JOIN (
    SELECT key_id, count(*) AS sends FROM ledger.requests
    WHERE pipeline IN ({pipelines}) AND key_id IN (SELECT key_id FROM work.local_due)
    GROUP BY key_id
) n USING (key_id)
WHERE d.key_id NOT IN (SELECT key_id FROM ({newer}) WHERE key_id IS NOT NULL)

-- name: insert_local_requests
INSERT INTO ledger.requests BY NAME
SELECT * EXCLUDE (answer, confidence) REPLACE (coalesce(started, $seq) AS started), $now AS recorded_at, $seq AS seq
FROM work.local_requests

-- name: local_lines
-- The lines of the raw file of what the local model answered.
SELECT to_json({'custom_id': custom_id, 'model': model, 'answer': answer, 'confidence': confidence})::VARCHAR
FROM work.local_requests ORDER BY custom_id

-- name: read_local_lines
-- work.local_lines: One row is a line of the raw file of what the local model answered.
CREATE OR REPLACE TABLE work.local_lines AS
SELECT custom_id, model, answer, confidence,
    TRY_CAST(regexp_extract(model, '^local:v([0-9]+)$', 1) AS INTEGER) AS version
FROM read_json($path, format = 'newline_delimited', ignore_errors = true,
    columns = {'custom_id': 'VARCHAR', 'model': 'VARCHAR', 'answer': 'VARCHAR', 'confidence': 'DOUBLE'})

-- name: insert_local_results
INSERT INTO ledger.results BY NAME
SELECT
    q.pipeline, q.custom_id, q.chunk_id, NULL AS batch_id, q.provider, $run_id::UUID AS run_id, 'answered' AS outcome, l.model,
    NULL AS stop_reason, l.answer, l.answer::JSON AS output, NULL AS error, NULL AS error_type, 0 AS input_tokens,
    0 AS cache_write_5m_tokens, 0 AS cache_write_1h_tokens, 0 AS cache_read_tokens, 0 AS output_tokens,
    0 AS thinking_tokens, 0 AS web_searches, NULL AS service_tier, 0 AS cost_usd, 0 AS realtime_usd,
    false AS judged_again, $now AS completed_at, $now AS recorded_at, $seq AS seq
FROM ledger.requests q
JOIN work.local_lines l USING (custom_id)
WHERE q.chunk_id = $chunk_id::UUID AND l.version IS NOT NULL AND json_valid(l.answer)

-- name: insert_local_decisions
INSERT INTO ledger.decisions BY NAME
SELECT
    q.pipeline, q.key_id, q.input_hash, q.prompt_version, q.policy_hash, q.fingerprint, q.custom_id, 'accepted' AS state,
    false AS review, q.reason, q.rung, 1 AS attempts, 0 AS transients, NULL AS max_tokens, NULL AS not_before,
    NULL AS earlier_answer, NULL AS error, q.started, $run_id::UUID AS run_id, $now AS recorded_at, $seq AS seq
FROM ledger.requests q
WHERE q.chunk_id = $chunk_id::UUID
    AND q.custom_id IN (SELECT custom_id FROM ledger.results WHERE chunk_id = $chunk_id::UUID)
    AND q.key_id NOT IN (SELECT key_id FROM ledger.decisions WHERE pipeline IN ({pipelines}) AND started > q.started)

-- name: insert_local_answers
INSERT INTO ledger.local_answers BY NAME
SELECT
    q.pipeline, q.key_id, l.version, q.custom_id, l.answer::JSON AS output, l.confidence, NULL AS expected,
    0 AS probability, $run_id::UUID AS run_id, $now AS recorded_at, $seq AS seq
FROM ledger.requests q
JOIN work.local_lines l USING (custom_id)
WHERE q.chunk_id = $chunk_id::UUID AND l.version IS NOT NULL AND json_valid(l.answer)

-- name: insert_local_audits
-- A row is audited once by each version, however often it is planned.
INSERT INTO ledger.local_answers BY NAME
SELECT
    $pipeline AS pipeline, key_id, $version AS version, NULL AS custom_id, output::JSON AS output, confidence,
    $expected AS expected, $audit AS probability, $run_id::UUID AS run_id, $now AS recorded_at, $seq AS seq
FROM work.local_sure
WHERE audited AND key_id NOT IN (
    SELECT key_id FROM ledger.local_answers WHERE pipeline IN ({pipelines}) AND version = $version AND custom_id IS NULL
)

-- name: local_audits
-- Each audited row of a version that another rung has answered since: whether the two agree, and what was expected.
SELECT {agree}, a.expected
FROM (
    SELECT key_id, any_value(output) AS output, min(expected) AS expected, min(seq) AS seq FROM ledger.local_answers
    WHERE pipeline IN ({pipelines}) AND version = $version AND custom_id IS NULL
    GROUP BY key_id
) a
JOIN (
    SELECT d.key_id, min_by(d.custom_id, d.seq) AS custom_id
    FROM ledger.decisions d
    JOIN (
        SELECT key_id, min(seq) AS seq FROM ledger.local_answers
        WHERE pipeline IN ({pipelines}) AND version = $version AND custom_id IS NULL
        GROUP BY key_id
    ) a ON a.key_id = d.key_id AND d.seq > a.seq
    WHERE d.pipeline IN ({pipelines}) AND d.state = 'accepted' AND d.rung > 0
    GROUP BY d.key_id
) d USING (key_id)
JOIN (
    SELECT custom_id, arg_max(output, seq) AS output FROM ledger.results WHERE output IS NOT NULL GROUP BY custom_id
) r USING (custom_id)

-- name: least_confidence
SELECT min(confidence) FROM (SELECT {values} FROM (SELECT unnest(range(10001)) AS step)) WHERE {truth}

-- name: local_chunk_rows
SELECT count(*) FROM ledger.results WHERE chunk_id = $chunk_id::UUID

-- name: redo_local
-- The rows that stand as a version of the local model answered them, or as any version did.
SELECT s.key_id, 'fresh'
FROM work.standing s
JOIN ledger.decisions d ON d.key_id = s.key_id AND d.seq = s.seq AND d.pipeline IN ({pipelines})
JOIN (
    SELECT DISTINCT custom_id, model FROM ledger.requests WHERE pipeline IN ({pipelines}) AND provider = 'local'
) r USING (custom_id)
WHERE s.state = 'accepted' AND s.started < $seq AND {version} IN ('local', r.model)

-- name: local_confidence
o.rung, (SELECT any_value(a.confidence) FROM ledger.local_answers a WHERE a.custom_id = o.custom_id) AS {column}

-- name: redo_local_accept
SELECT key_id, 'escalate' FROM ({relation}) WHERE rung = 0 AND NOT {truth} AND key_id IN (
    SELECT key_id FROM work.standing WHERE state = 'accepted' AND started < $seq
)

-- name: local_tests
SELECT data::VARCHAR FROM ledger.events WHERE kind = 'local_tested' AND pipeline IN ({pipelines}) ORDER BY seq

-- name: local_gold_identity
-- How many gold rows there are, and what tells this gold from another.
SELECT count(*), coalesce(md5(string_agg(row, chr(10) ORDER BY row)), '') FROM (
    SELECT json_array(g.key_id::VARCHAR{values})::VARCHAR AS row FROM work.true_values g
    WHERE g._chosen IS NULL OR list_contains(g._chosen, 'sample')
)

-- name: local_gold_rows
-- work.local_gold_rows: One row is a gold row, with what the local model and `accept` read of it.
CREATE OR REPLACE TABLE work.local_gold_rows AS
SELECT g.key_id, coalesce({own_text}, s.text) AS text, coalesce({own_embedding}, s.embedding) AS embedding,
    CASE WHEN {own_text} IS NOT NULL THEN {own_values} ELSE s.input_values END AS input_values
FROM work.true_values g
LEFT JOIN (
    SELECT md5(key)::UUID AS key_id, {text} AS text, {embedding} AS embedding, {values} AS input_values FROM {snapshot}
) s USING (key_id)
WHERE g._chosen IS NULL OR list_contains(g._chosen, 'sample')

-- name: local_gold_asked
SELECT key_id, text, embedding FROM work.local_gold_rows WHERE text IS NOT NULL

-- name: local_gold_predicted
SELECT p.key_id, p.key_id::VARCHAR AS custom_id, 0 AS rung, p.confidence, g.input_values
FROM work.local_predictions p JOIN work.local_gold_rows g USING (key_id)

-- name: local_upper
-- The newest answer of each rung above to each gold row, bought by a run or by an evaluation.
-- work.local_upper: One row is a gold row and a rung above the local one, with the request that the rung answered.
CREATE OR REPLACE TABLE work.local_upper AS
SELECT q.key_id, arg_max(q.custom_id, q.seq) AS custom_id, l.rung, arg_max(g.input_values, q.seq) AS input_values
FROM ledger.requests q
JOIN (VALUES {rungs}) l(rung, settings) USING (settings)
JOIN work.local_gold_rows g ON g.key_id = q.key_id
WHERE split_part(q.pipeline, ':', 1) IN ({families})
    AND q.custom_id IN (SELECT custom_id FROM ledger.results WHERE outcome = 'answered' AND answer IS NOT NULL)
GROUP BY q.key_id, l.rung

-- name: local_climbed
-- work.local_climbed: One row is a gold row with the answer that the rungs above the local one come to.
CREATE OR REPLACE TABLE work.local_climbed AS
SELECT u.key_id, coalesce(
    arg_min(d.output, u.rung) FILTER (v.valid AND v.accepts), arg_max(d.output, u.rung) FILTER (v.valid)
) AS output
FROM work.local_upper u
JOIN work.validity v ON v.key_id = u.key_id AND v.custom_id = u.custom_id
JOIN work.documents d ON d.custom_id = u.custom_id
GROUP BY u.key_id

-- name: local_gold_answers
-- Each gold row with its true values, and with the answer that the whole ladder comes to.
SELECT a.output IS NOT NULL{true}{given}
FROM work.true_values g
LEFT JOIN (
    SELECT r.key_id, coalesce(s.output::JSON, c.output) AS output
    FROM work.local_gold_rows r
    LEFT JOIN work.local_sure s USING (key_id)
    LEFT JOIN work.local_climbed c USING (key_id)
) a USING (key_id)
WHERE g._chosen IS NULL OR list_contains(g._chosen, 'sample')

-- name: local_status
-- The versions of the local model, with the rows that stand as they answered.
WITH standing AS (
    SELECT key_id, arg_max(custom_id, seq) AS custom_id FROM ledger.decisions
    WHERE pipeline IN ({pipelines}) AND state IN ('accepted', 'kept')
    GROUP BY key_id
),
said AS (
    SELECT version, count(*) FILTER (custom_id IN (SELECT custom_id FROM standing)) AS rows,
        count(*) FILTER (custom_id IS NULL) AS audited
    FROM ledger.local_answers WHERE pipeline IN ({pipelines}) GROUP BY version
),
trained AS (
    SELECT version, any_value(trained_on) AS trained_on, any_value(accuracy) AS accuracy, min(recorded_at) AS trained_at
    FROM ledger.local_models WHERE pipeline IN ({pipelines}) GROUP BY version
),
aside AS (
    SELECT (data ->> 'version')::INTEGER AS version, any_value(data ->> 'why') AS why FROM ledger.events
    WHERE kind = 'local_set_aside' AND pipeline IN ({pipelines}) GROUP BY ALL
)
SELECT version, coalesce(s.rows, 0) AS rows, coalesce(s.audited, 0) AS audited, t.trained_on, t.accuracy, t.trained_at, a.why
FROM trained t FULL JOIN said s USING (version) LEFT JOIN aside a USING (version)
ORDER BY version

-- name: local_weeks
-- By week: the rows that were answered then, each once, by the rung that gave the last answer of the week, and the cost.
WITH last_answers AS (
    SELECT date_trunc('week', recorded_at)::DATE AS week, arg_max(rung, seq) AS rung
    FROM ledger.decisions
    WHERE pipeline IN ({pipelines}) AND state = 'accepted' AND reason NOT IN ('carried_over', 'unchanged')
    GROUP BY week, key_id, input_hash
),
answered AS (
    SELECT week, count(*) AS rows, count(*) FILTER (rung = 0) AS local_rows, histogram(rung::INTEGER) AS by_rung
    FROM last_answers
    GROUP BY week
),
paid AS (
    SELECT date_trunc('week', recorded_at)::DATE AS week, sum(cost_usd)::DECIMAL(38, 15) AS cost_usd
    FROM ledger.results WHERE pipeline IN ({pipelines}) AND NOT judged_again
    GROUP BY week
)
SELECT week, coalesce(a.rows, 0) AS rows, coalesce(a.local_rows, 0) AS local_rows, a.by_rung, p.cost_usd,
    (CASE WHEN a.rows > 0 THEN p.cost_usd::DECIMAL(24, 15) * 1000 / a.rows END)::DECIMAL(38, 15) AS usd_per_1000_rows
FROM answered a FULL JOIN paid p USING (week)
ORDER BY week DESC LIMIT 12
