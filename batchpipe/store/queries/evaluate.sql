-- Gold rows and the answers of models to them.

-- name: gold_truth
-- work.truth: One row is a gold row, with its true values.
CREATE OR REPLACE TABLE work.truth AS
SELECT md5(s.key)::UUID AS key_id, s.key{values}
FROM {gold} g
JOIN (SELECT key, {row_key} AS same_key FROM {rows}) s ON s.same_key = {gold_key}

-- name: gold_reviews
-- work.gold_reviews: One row is a key that a person reviewed, with its values and the input that they hold for.
CREATE OR REPLACE TABLE work.gold_reviews AS
SELECT h.key_id, h.key, h.chosen AS _chosen, h.input_columns AS _columns, h.input_values AS _texts{values}
FROM ({reviewed}) h
WHERE {whole}

-- name: gold_and_reviewed
SELECT row_number() OVER () - 1 AS position, *
FROM (
    SELECT * EXCLUDE (position) FROM {gold}
    UNION ALL BY NAME
    SELECT r.key{values} FROM work.gold_reviews r WHERE r.key NOT IN (SELECT key FROM {gold}) AND {covered}
)

-- name: reviewed_beside_gold
SELECT count(*) FROM work.gold_reviews r WHERE r.key NOT IN (SELECT key FROM {gold}) AND NOT {covered}

-- name: empty_truth
CREATE OR REPLACE TABLE work.truth AS SELECT * EXCLUDE (_chosen, _columns, _texts) FROM work.gold_reviews WHERE false

-- name: reviewed_truth
-- Reviews of the same input that the row has now, compared over the columns that both have.
-- work.reviewed_truth: One row is a gold row whose true values come from a review of the very same input.
CREATE OR REPLACE TABLE work.reviewed_truth AS
SELECT r.* EXCLUDE (_columns, _texts)
FROM work.gold_reviews r
JOIN (SELECT key, {texts} AS _given FROM {rows}) s USING (key)
WHERE {same}

-- name: count_reviewed
SELECT
    count(*) FILTER (list_contains(_chosen, 'sample')),
    count(*) FILTER (list_contains(_chosen, 'ladder') AND NOT list_contains(_chosen, 'sample')),
    count(*) FILTER (list_has_any(_chosen, ['where', 'target']) AND NOT list_has_any(_chosen, ['sample', 'ladder'])),
    count(*) FILTER (len(_chosen) = 0)
FROM work.reviewed_truth
WHERE key_id IN (SELECT key_id FROM work.truth)

-- name: true_values_from_review
-- work.true_values: One row is a key with true values, and the input that they hold for.
CREATE OR REPLACE TABLE work.true_values AS
SELECT key_id, _chosen, true AS _reviewed, _columns, _texts{values} FROM work.gold_reviews

-- name: true_values_from_gold
INSERT INTO work.true_values BY NAME
SELECT md5(g.key)::UUID AS key_id, false AS _reviewed, {names} AS _columns, {texts} AS _texts{values} FROM {gold} g

-- name: keys_with_gold
-- work.keys_with_gold: One row is a key of the input whose true values are known for the input that it has.
CREATE OR REPLACE TABLE work.keys_with_gold AS
SELECT DISTINCT g.key_id
FROM work.true_values g
JOIN (SELECT md5(key)::UUID AS key_id, {texts} AS _given FROM {rows}) s USING (key_id)
WHERE {same}

-- name: graded_answers
-- Answers beside the true values of the input that was sent with their request.
WITH asked AS (
    SELECT q.key_id, q.custom_id, arg_max(q.key, q.seq) AS key, arg_max(q.input_values, q.seq) AS texts,
        arg_max(q.policy_hash, q.seq) AS policy_hash
    FROM ledger.requests q
    JOIN {answers} a ON a.key_id = q.key_id AND a.custom_id = q.custom_id
    WHERE q.pipeline IN ({pipelines}) AND q.key_id IN (SELECT key_id FROM work.true_values)
    GROUP BY q.key_id, q.custom_id
)
SELECT DISTINCT ON (a.key_id) q.key, a.valid, g._chosen, p.columns, q.texts{extra}{true}{given}
FROM {answers} a
JOIN asked q ON q.key_id = a.key_id AND q.custom_id = a.custom_id
JOIN (SELECT DISTINCT policy_hash, columns FROM ledger.policies WHERE pipeline IN ({pipelines})) p
    ON p.policy_hash = q.policy_hash
JOIN work.true_values g ON g.key_id = a.key_id
WHERE {same}
ORDER BY work.draw_order(a.key_id), g._reviewed DESC

-- name: gold_missing
SELECT count(*) FROM {gold} WHERE {gold_key} NOT IN (SELECT {row_key} FROM {rows})

-- name: rows_without_truth
CREATE OR REPLACE TABLE work.truth AS SELECT md5(key)::UUID AS key_id, key{values} FROM {rows}

-- name: truth_of_model
CREATE OR REPLACE TABLE work.truth AS
SELECT t.key_id, t.key{values}
FROM work.truth t LEFT JOIN (SELECT * FROM work.answered WHERE number = $number AND valid) a USING (key_id)

-- name: not_answered_by_model
SELECT key FROM work.truth WHERE key_id NOT IN (SELECT key_id FROM work.answered WHERE number = $number AND valid)

-- name: keys_of_truth
SELECT key_id::VARCHAR FROM work.truth

-- name: bought_keys
-- The keys of rows that were bought to compare the ladder with a model.
SELECT DISTINCT unnest((data->'$.keys')::VARCHAR[]) FROM ledger.events
WHERE kind = 'rows_bought' AND pipeline IN ({pipelines})

-- name: gold_keys
SELECT {gold_key} FROM {gold}

-- name: picked_keys
SELECT s.key
FROM (SELECT key, {row_key} AS same_key FROM {rows}) s
JOIN work.truth t ON t.key = s.key
JOIN work.reviewed_truth r ON r.key_id = t.key_id
WHERE NOT list_contains(r._chosen, 'sample') AND s.same_key NOT IN ({known})

-- name: reviewed_and_gold
-- Of the gold rows that people reviewed, how many they gave the gold values to.
SELECT count(*), count(*) FILTER ({same}) FROM work.truth t JOIN work.gold_reviews r USING (key_id)

-- name: seen_twice
-- The rows that two people reviewed, by the first review of each, and how many of them got the same values from both.
WITH said AS (
    SELECT key_id, custom_id, reviewed_by, arg_min(after, seq) AS after
    FROM ledger.reviews
    WHERE pipeline IN ({pipelines}) AND verdict <> 'withdrawn'
    GROUP BY key_id, custom_id, reviewed_by
)
SELECT count(*), count(*) FILTER ({same})
FROM said a JOIN said b ON a.key_id = b.key_id AND a.custom_id = b.custom_id AND a.reviewed_by < b.reviewed_by

-- name: pace_of_review
-- The median of the seconds between two reviews of a person that followed each other within ten minutes.
SELECT median(seconds)
FROM (
    SELECT date_diff('millisecond', lag(recorded_at) OVER (PARTITION BY reviewed_by ORDER BY seq), recorded_at) / 1000.0
        AS seconds
    FROM ledger.reviews WHERE pipeline IN ({pipelines})
)
WHERE seconds BETWEEN 0.5 AND 600

-- name: tuned
-- The thresholds of tuned ladders whose last rung is a person, the newest first.
SELECT data FROM ledger.events WHERE kind = 'tuned' AND pipeline IN ({pipelines}) ORDER BY seq DESC

-- name: gold_leave_out
DELETE FROM work.truth
WHERE key IN (
    SELECT r.key FROM {rows} r
    WHERE EXISTS (SELECT 1 FROM (SELECT unnest($examples::VARCHAR[])::JSON AS example) e WHERE {same})
)
RETURNING key

-- name: gold_sample
DELETE FROM work.truth WHERE key_id NOT IN (SELECT key_id FROM work.truth ORDER BY work.draw_order(key_id) LIMIT $rows)

-- name: gold_rows
SELECT * REPLACE (row_number() OVER (ORDER BY position) - 1 AS position)
FROM {rows}
WHERE md5(key)::UUID IN ({keys})

-- name: evaluated_standings
-- Rows that one model, or a judge, has answered or failed with the input that they have now.
-- work.evaluated: One row is a gold row that a model, or a model that judges, has come to an end with.
CREATE OR REPLACE TABLE work.evaluated AS
SELECT n.key_id, n.custom_id, n.state, n.error
FROM (
    SELECT key_id, arg_max_null(custom_id, seq) AS custom_id, arg_max(state, seq) AS state,
        arg_max(input_hash, seq) AS input_hash, arg_max_null(error, seq) AS error
    FROM ledger.decisions
    WHERE pipeline = $pipeline AND key_id IN (SELECT md5(key)::UUID FROM {rows})
    GROUP BY key_id
) n
JOIN (SELECT md5(s.key)::UUID AS key_id, unnest([{input_hashes}]) AS input_hash FROM {rows} s) i USING (key_id, input_hash)
WHERE n.state IN ('accepted', 'failed')

-- name: evaluated_to_validate
CREATE OR REPLACE TABLE work.to_validate AS
SELECT e.key_id, e.custom_id, $number AS rung, {values} AS input_values
FROM work.evaluated e
JOIN {rows} s ON md5(s.key)::UUID = e.key_id
WHERE e.state = 'accepted'

-- name: evaluated_costs
-- All attempts that led to an answer, at the batch price; those of `try`, which cost more, too. Of rows that share a
-- request the first has its cost. The answer of a member of a panel has its own attempts, and not those of the others.
-- work.evaluated_costs: One row is an answer to a gold row, with what all its attempts cost.
CREATE OR REPLACE TABLE work.evaluated_costs AS
WITH asked AS (
    SELECT DISTINCT a.custom_id, q.pipeline, q.key_id, q.started, q.rung, q.part,
        CASE WHEN q.part <> '' THEN q.settings ELSE '' END AS member
    FROM ledger.requests q
    JOIN (SELECT DISTINCT custom_id FROM work.evaluated) a USING (custom_id)
    WHERE q.leads
),
results AS (
    SELECT * FROM ledger.results WHERE NOT judged_again AND custom_id IN (
        SELECT q.custom_id FROM ledger.requests q JOIN asked a USING (pipeline, key_id, started, rung, part) WHERE q.leads
    )
),
tried AS (
    SELECT DISTINCT ON (r.custom_id)
        r.custom_id,
        (p.input_usd * r.input_tokens::DECIMAL(18, 0) + p.cache_write_5m_usd * r.cache_write_5m_tokens::DECIMAL(18, 0)
            + p.cache_write_1h_usd * r.cache_write_1h_tokens::DECIMAL(18, 0)
            + p.cache_read_usd * r.cache_read_tokens::DECIMAL(18, 0) + p.output_usd * r.output_tokens::DECIMAL(18, 0)
            + p.web_search_usd * r.web_searches::DECIMAL(18, 0))::DECIMAL(38, 15) AS cost_usd
    FROM results r
    JOIN ledger.prices p ON p.model = r.model AND p.processing = 'batch' AND p.from_day <= r.recorded_at::DATE
        AND p.above_input_tokens
            < r.input_tokens + r.cache_write_5m_tokens + r.cache_write_1h_tokens + r.cache_read_tokens
    WHERE r.batch_id IS NULL
    ORDER BY r.custom_id, p.provider = coalesce(r.provider, 'anthropic') DESC, p.above_input_tokens DESC,
        p.from_day DESC, p.seq DESC
),
charged AS (
    SELECT r.custom_id, CASE WHEN r.batch_id IS NULL AND r.cost_usd IS NOT NULL THEN t.cost_usd ELSE r.cost_usd END AS cost_usd
    FROM results r
    LEFT JOIN tried t USING (custom_id)
),
priced AS (
    SELECT a.custom_id, sum(r.cost_usd)::DECIMAL(38, 15) AS cost_usd, bool_or(r.cost_usd IS NULL) AS unpriced
    FROM asked a
    JOIN ledger.requests q ON q.pipeline = a.pipeline AND q.key_id = a.key_id AND q.started = a.started
        AND q.rung = a.rung AND q.part = a.part AND a.member IN ('', q.settings) AND q.leads
    JOIN charged r ON r.custom_id = q.custom_id
    GROUP BY a.custom_id
)
SELECT
    e.key_id,
    CASE
        WHEN row_number() OVER (PARTITION BY e.custom_id ORDER BY work.draw_order(e.key_id)) > 1 THEN 0
        WHEN NOT p.unpriced THEN p.cost_usd
    END AS cost_usd
FROM work.evaluated e
JOIN priced p USING (custom_id)

-- name: evaluated_vote_costs
-- What all members cost whose answers were voted on. Of rows that share a request the first has its cost.
CREATE OR REPLACE TABLE work.evaluated_costs AS
WITH members AS (
    SELECT DISTINCT e.key_id, unnest(v.custom_ids) AS custom_id
    FROM work.evaluated e
    JOIN ledger.votes v ON v.key_id = e.key_id AND v.pipeline = $pipeline
    QUALIFY v.seq = max(v.seq) OVER (PARTITION BY e.key_id)
),
asked AS (
    SELECT DISTINCT m.custom_id, q.pipeline, q.key_id, q.started, q.settings, q.part
    FROM ledger.requests q JOIN (SELECT DISTINCT custom_id FROM members) m USING (custom_id) WHERE q.leads
),
priced AS (
    SELECT a.custom_id, sum(r.cost_usd)::DECIMAL(38, 15) AS cost_usd, bool_or(r.cost_usd IS NULL) AS unpriced
    FROM asked a
    JOIN ledger.requests q ON q.pipeline = a.pipeline AND q.key_id = a.key_id AND q.started = a.started
        AND q.settings = a.settings AND q.part = a.part AND q.leads
    JOIN ledger.results r ON r.custom_id = q.custom_id AND NOT r.judged_again
    GROUP BY a.custom_id
),
charged AS (
    SELECT m.key_id, p.unpriced,
        CASE WHEN row_number() OVER (PARTITION BY m.custom_id ORDER BY work.draw_order(m.key_id)) = 1 THEN p.cost_usd ELSE 0 END
            AS cost_usd
    FROM members m
    JOIN priced p USING (custom_id)
)
SELECT key_id, CASE WHEN NOT bool_or(unpriced) THEN sum(cost_usd) END AS cost_usd FROM charged GROUP BY key_id

-- name: evaluated_rows
INSERT INTO work.answered
SELECT number, key_id, valid, accepts, unpriced, cost_usd, TRY({confidence})::DOUBLE{values}
FROM (
    SELECT
        $number AS number, e.key_id, coalesce(j.valid, false) AS valid, coalesce(j.accepts, false) AS accepts,
        c.key_id IS NOT NULL AND c.cost_usd IS NULL AS unpriced, coalesce(c.cost_usd, 0) AS cost_usd{columns}
    FROM work.evaluated e
    LEFT JOIN work.validity j USING (key_id)
    LEFT JOIN work.documents d ON d.custom_id = e.custom_id AND j.valid
    LEFT JOIN work.evaluated_costs c ON c.key_id = e.key_id
    {votes}
    JOIN (SELECT position, md5(key)::UUID AS key_id FROM {rows}) r ON r.key_id = e.key_id
    JOIN {typed} s ON s.position = r.position
)

-- name: climbers
-- Rows that come to a rung: they may use it, and no rung below has an accepted answer.
SELECT m.key_id FROM work.masks m
WHERE (m.mask >> ($number - 1)) & 1 = 1 AND NOT EXISTS (
    SELECT 1 FROM work.answered a
    WHERE a.key_id = m.key_id AND a.number < $number AND a.accepts AND (m.mask >> (a.number - 1)) & 1 = 1
)

-- name: gold_masks
-- work.masks: One row is a gold row, with the bits of the rungs that may be used for it.
CREATE OR REPLACE TABLE work.masks AS
SELECT r.key_id, {mask}::UINTEGER AS mask
FROM (SELECT position, md5(key)::UUID AS key_id FROM {rows}) r
JOIN {typed} s ON s.position = r.position

-- name: answered_rows
SELECT a.number, t.key, a.valid, a.accepts, a.unpriced, a.cost_usd, a.confidence, {gold}, {given}
FROM work.answered a
JOIN work.truth t USING (key_id)
ORDER BY a.number, work.draw_order(t.key_id)

-- name: answered_masks
SELECT t.key, m.mask FROM work.masks m JOIN work.truth t USING (key_id) ORDER BY work.draw_order(t.key_id)

-- name: evaluations
-- The results of evaluations: the newest one of each prompt version, in the order of the versions.
SELECT data, recorded_at
FROM (
    SELECT *, row_number() OVER (PARTITION BY data ->> 'prompt_version' ORDER BY seq DESC) AS place
    FROM ledger.events WHERE kind = 'evaluated' AND pipeline IN ({pipelines})
)
WHERE place = 1
ORDER BY recorded_at, seq

-- name: newest_evaluation
SELECT data, recorded_at FROM ledger.events
WHERE kind = 'evaluated' AND pipeline IN ({pipelines}) ORDER BY seq DESC LIMIT 1

-- name: judged_pairs
-- The pairs that a judge has to decide on: answers that differ from the true value, each once for a gold row.
INSERT INTO {pairs}
SELECT DISTINCT t.key_id, {key} AS key, {answer} AS answer, {expected} AS expected
FROM work.answered a
JOIN work.truth t USING (key_id)
WHERE a.valid AND {answer} <> {expected} AND {key} NOT IN (SELECT key FROM {pairs})

-- name: judged_input
SELECT
    row_number() OVER (ORDER BY r.position, p.key) - 1 AS position, p.key, r.* EXCLUDE ({taken}),
    {answer} AS {answer_column}, {expected} AS {expected_column}
FROM {pairs} p
JOIN {rows} r ON md5(r.key)::UUID = p.key_id

-- name: verdicts
-- The verdict of a judge on each pair that it has decided on; a pair on which it failed has none.
-- work.verdicts_N: One row is a pair of answer and true value, with the verdict of the model that judges field N.
CREATE OR REPLACE TABLE {verdicts} AS
SELECT
    p.key, p.key_id, e.state, (d.output ->> 'correct')::BOOLEAN AS correct, d.output ->> 'reason' AS reason,
    e.error
FROM {pairs} p
LEFT JOIN work.evaluated e ON e.key_id = md5(p.key)::UUID
LEFT JOIN work.documents d ON d.custom_id = e.custom_id AND e.state = 'accepted'

-- name: judge_cost
-- The cost of all requests to a judge, each once, on all rungs, with or without a verdict, those of an earlier judge too.
WITH used AS (
    SELECT custom_id FROM work.evaluated
    UNION
    SELECT earlier_answer FROM ledger.requests
    WHERE custom_id IN (SELECT custom_id FROM work.evaluated) AND earlier_answer IS NOT NULL
),
asked AS (
    SELECT DISTINCT q.pipeline, q.key_id, q.started
    FROM ledger.requests q
    JOIN used USING (custom_id)
    WHERE q.leads
)
SELECT coalesce(sum(cost_usd), 0)::DECIMAL(38, 15), count(*) FILTER (cost_usd IS NULL) > 0
FROM ledger.results
WHERE NOT judged_again AND custom_id IN (
    SELECT q.custom_id FROM ledger.requests q JOIN asked USING (pipeline, key_id, started) WHERE q.leads
)

-- name: judged_counts
SELECT count(*), count(*) FILTER (correct IS NOT NULL), count(*) FILTER (state = 'failed') FROM {verdicts}

-- name: judge_failures
SELECT t.key, any_value(v.error)
FROM {verdicts} v
JOIN work.truth t USING (key_id)
WHERE v.state = 'failed'
GROUP BY t.key
ORDER BY t.key
LIMIT $rows

-- name: judged_answers
-- Each valid answer of a model and whether it is right: equal to the true value, or else right by the judge's verdict. An
-- answer is wrong where only one of the two is NULL.
SELECT
    a.number, t.key,
    CASE
        WHEN {answer} IS NULL OR {expected} IS NULL THEN {answer} IS NULL AND {expected} IS NULL
        WHEN {answer} = {expected} THEN true
        ELSE v.correct
    END,
    v.reason
FROM work.answered a
JOIN work.truth t USING (key_id)
LEFT JOIN {verdicts} v ON v.key = {key}
WHERE a.valid

-- name: evaluated_models
SELECT DISTINCT provider, model FROM ledger.batches WHERE starts_with(pipeline, {prefix}) ORDER BY ALL
