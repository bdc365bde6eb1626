-- The results of batches: compared with what was sent, validated, priced and recorded.

-- name: ended
-- work.ended: One row is a batch that has ended, with the file of its results.
CREATE OR REPLACE TABLE work.ended (chunk_id UUID, batch_id VARCHAR, completed_at TIMESTAMP, filename VARCHAR)

-- name: sent
-- work.sent: One row is a row whose request was sent with a batch that has ended.
CREATE OR REPLACE TABLE work.sent AS
SELECT
    chunk_id, key_id, key, custom_id, leads, prompt_version, policy_hash, input_hash, fingerprint, reason, rung, attempt,
    transients, max_tokens, rungs, earlier_answer, started, provider, part{included}
FROM ledger.requests
WHERE chunk_id IN (SELECT chunk_id FROM work.ended)

-- name: sent_values
-- The input values that conditions read; made only if there are such conditions.
-- work.sent_values: One row is a row that was sent, with the input values that conditions read.
CREATE OR REPLACE TABLE work.sent_values AS
SELECT key_id, custom_id, input_values FROM ledger.requests WHERE chunk_id IN (SELECT chunk_id FROM work.ended)

-- name: lines
-- An error that comes without a message is told by its type, or by its status.
-- work.lines: One row is a line of a result file.
CREATE OR REPLACE TABLE work.lines AS
SELECT e.chunk_id, l.* EXCLUDE (filename) REPLACE (
    CASE WHEN outcome = 'answered' THEN error_message ELSE coalesce(
        nullif(trim(error_message, E' \t\r\n'), ''),
        CASE WHEN outcome IN ('permanent', 'transient', 'account', 'unknown')
            THEN concat('an error without a message (', left(coalesce(error_type, 'null'), 100), ')') END
    ) END AS error_message
)
FROM ({lines}) l
JOIN work.ended e USING (filename)

-- name: words_of_lines
-- The distinct texts of lines that are shown: what the provider says, and no answer.
SELECT error_message FROM work.lines WHERE error_message IS NOT NULL
UNION SELECT error_type FROM work.lines WHERE error_type IS NOT NULL
UNION SELECT stop_reason FROM work.lines WHERE stop_reason IS NOT NULL
UNION SELECT oddity FROM work.lines WHERE oddity IS NOT NULL

-- name: redact_words
UPDATE work.lines SET {column} = c.shown FROM (SELECT unnest($said) AS said, unnest($shown) AS shown) c
WHERE work.lines.{column} = c.said

-- name: clear_lines
-- The number of lines where every one is understood, else NULL.
SELECT CASE WHEN bool_and(outcome NOT IN ('unknown', 'unfinished') AND cost_known) THEN count(*) END FROM work.lines

-- name: read_from_copy
UPDATE work.ended SET filename = $copy WHERE filename = $path

-- name: ids_of_damaged_lines
-- The id of a request of ours that stands in the text of a damaged line, where it is the only one.
UPDATE work.lines SET custom_id = f.custom_id
FROM (
    SELECT d.place, min(s.custom_id) AS custom_id
    FROM (
        SELECT rowid AS place, chunk_id, unnest(regexp_extract_all(raw, '[A-Za-z0-9_-]+')) AS word
        FROM work.lines WHERE custom_id IS NULL
    ) d
    JOIN work.sent s ON s.chunk_id = d.chunk_id AND s.custom_id = d.word AND s.leads
    GROUP BY d.place
    HAVING count(DISTINCT s.custom_id) = 1
) f
WHERE work.lines.rowid = f.place

-- name: line_faults
SELECT
    count(*) FILTER (line_id IS NULL OR damaged) AS malformed,
    count(*) FILTER (line_id IS NOT NULL AND sent_id IS NULL) AS strange,
    count(sent_id) - count(DISTINCT sent_id) AS doubled,
    (SELECT count(*) FROM work.sent WHERE leads) - count(DISTINCT sent_id) AS missing,
    count(sent_id) AS ours
FROM (
    SELECT l.custom_id AS line_id, s.custom_id AS sent_id, l.damaged
    FROM work.lines l
    LEFT JOIN (SELECT chunk_id, custom_id FROM work.sent WHERE leads) s
        ON s.custom_id = l.custom_id AND s.chunk_id = l.chunk_id
)

-- name: answers_in_lines
SELECT count(DISTINCT custom_id) FROM work.lines WHERE billed AND custom_id IN (SELECT custom_id FROM work.sent)

-- name: special
-- The batches that have to be collected one by one: those with failures that may concern the account or the whole batch,
-- with unknown lines, or with a key that was sent in another of the batches too.
SELECT
    EXISTS (SELECT 1 FROM work.lines WHERE outcome IN ('account', 'permanent', 'unknown', 'unfinished') OR NOT cost_known)
    OR (SELECT count(DISTINCT key_id) < count(*) FROM work.sent)

-- name: received
-- work.received: One row is a line of results that counts for a request.
CREATE OR REPLACE VIEW work.received AS SELECT * FROM work.lines

-- name: chosen_lines
-- Of several lines for one request an answer counts first, then what was paid for, then what is understood.
-- work.chosen_lines: One row is a request that leads, with the line that counts for it, or the
-- outcome of a request without a line.
CREATE OR REPLACE TABLE work.chosen_lines AS
SELECT * EXCLUDE (line_number)
FROM (
    SELECT *, row_number() OVER (
        PARTITION BY custom_id ORDER BY outcome <> 'answered', NOT billed, outcome = 'unknown', line_number
    ) AS place
    FROM (SELECT *, row_number() OVER () AS line_number FROM work.lines)
    WHERE custom_id IN (SELECT custom_id FROM work.sent)
)
WHERE place = 1
UNION ALL BY NAME
SELECT DISTINCT chunk_id, custom_id, $outcome AS outcome, $billed AS billed, $cost_known AS cost_known,
    $error_message AS error_message
FROM work.sent
WHERE leads AND custom_id NOT IN (SELECT custom_id FROM work.lines WHERE custom_id IS NOT NULL)

-- name: received_chosen
CREATE OR REPLACE VIEW work.received AS SELECT * EXCLUDE (place) FROM work.chosen_lines

-- name: uniform_error
SELECT any_value(error_message), count(*)
FROM work.received
HAVING count(*) >= 20 AND bool_and(outcome = 'permanent') AND count(DISTINCT error_message) = 1

-- name: none_understood
-- The number of results of a whole batch of which none is understood.
SELECT count(DISTINCT custom_id)
FROM work.outcomes
HAVING count(DISTINCT custom_id) >= 20 AND bool_and(checked_outcome IN ('unknown', 'missing'))
    AND count(DISTINCT custom_id) = (SELECT count(*) FROM work.received)

-- name: account_error
SELECT any_value(error_message), count(*) FROM work.received WHERE outcome = 'account' HAVING count(*) > 0

-- name: answers_received
SELECT custom_id, answer FROM work.received
WHERE outcome IN ({outcomes}) AND ({all} OR custom_id IN (SELECT custom_id FROM work.sent WHERE policy_hash = {policy_hash}))

-- name: sent_under_policy
SELECT key_id, custom_id, rung{part} FROM work.sent WHERE {all} OR policy_hash = {policy_hash}

-- name: sent_with_values
SELECT s.*, v.input_values FROM ({sent}) s JOIN work.sent_values v USING (key_id, custom_id)

-- name: validity_by_policy
-- work.validity_by_policy: One row is a row and its answer, validated under the policy that the request was sent under.
CREATE OR REPLACE TABLE work.validity_by_policy
    (key_id UUID, custom_id VARCHAR, valid BOOLEAN, accepts BOOLEAN, error VARCHAR);
-- work.documents_by_policy: One row is an answer, validated under the policy that the request was sent under.
CREATE OR REPLACE TABLE work.documents_by_policy (custom_id VARCHAR, output JSON, error VARCHAR)

-- name: add_validity
INSERT INTO work.validity_by_policy SELECT * FROM work.validity

-- name: add_documents
INSERT INTO work.documents_by_policy SELECT * FROM work.documents
WHERE custom_id NOT IN (SELECT custom_id FROM work.documents_by_policy)

-- name: all_validity
-- work.all_validity: One row is a row and its answer of the collected batches, with the verdict on them.
CREATE OR REPLACE VIEW work.all_validity AS SELECT * FROM {validity}

-- name: all_documents
-- work.all_documents: One row is an answer of the collected batches, with its document or its error.
CREATE OR REPLACE VIEW work.all_documents AS SELECT * FROM {documents}

-- name: outcomes
-- work.outcomes: One row is a row of the collected batches, with the outcome of its request.
CREATE OR REPLACE TABLE work.outcomes AS
SELECT
    s.chunk_id, s.key_id, s.custom_id, s.prompt_version, s.policy_hash, s.input_hash, s.fingerprint, s.reason, s.rung,
    s.attempt, s.transients, s.max_tokens, s.rungs, s.earlier_answer, s.started, s.part, r.error_message,
    CASE WHEN r.outcome = 'answered' OR j.valid THEN j.error END AS validation_error,
    CASE
        WHEN r.outcome = 'unfinished' AND NOT coalesce(j.valid, false) THEN 'unknown'
        WHEN r.outcome NOT IN ('answered', 'unfinished') THEN r.outcome
        WHEN NOT coalesce(j.valid, false) THEN 'invalid'
        WHEN j.accepts THEN 'accepted'
        ELSE 'unaccepted'
    END AS checked_outcome
FROM work.sent s
JOIN work.received r USING (chunk_id, custom_id)
LEFT JOIN work.all_validity j ON j.custom_id = s.custom_id AND j.key_id = s.key_id
WHERE r.outcome NOT IN ('canceled', 'account') AND NOT ($uniform AND r.outcome = 'permanent')

-- name: standings
SELECT checked_outcome, rung, attempt, transients, max_tokens, rungs, earlier_answer IS NOT NULL, chunk_id::VARCHAR, count(*)
FROM work.outcomes
GROUP BY ALL

-- name: insert_results
INSERT INTO ledger.results BY NAME
WITH priced AS (
    SELECT r.*, e.batch_id, e.completed_at,
        coalesce(r.input_tokens, 0) AS uncached, coalesce(r.cache_write_5m_tokens, 0) AS write_5m,
        coalesce(r.cache_write_1h_tokens, 0) AS write_1h, coalesce(r.cache_read_tokens, 0) AS reads,
        coalesce(r.output_tokens, 0) AS written, coalesce(r.web_searches, 0) AS searches,
        CASE WHEN coalesce(r.processing IN ('batch', 'flex'), e.batch_id IS NOT NULL) THEN 'batch' ELSE 'realtime' END
            AS tier
    FROM work.received r
    JOIN work.ended e USING (chunk_id)
),
stepped AS (SELECT p.*, {step} AS step FROM priced p)
SELECT
    -- Results that are collected together are of one provider.
    $pipeline AS pipeline, s.custom_id, s.chunk_id, s.batch_id, (SELECT any_value(provider) FROM work.sent) AS provider,
    $run_id::UUID AS run_id,
    CASE WHEN s.outcome <> 'unfinished' THEN s.outcome WHEN d.output IS NULL THEN 'unknown' ELSE 'answered' END AS outcome,
    s.model, s.stop_reason, s.answer, d.output,
    CASE WHEN s.outcome = 'answered' OR d.output IS NOT NULL THEN d.error ELSE s.error_message END AS error, s.error_type,
    CASE WHEN s.cost_known THEN s.uncached ELSE s.input_tokens END AS input_tokens,
    CASE WHEN s.cost_known THEN s.write_5m ELSE s.cache_write_5m_tokens END AS cache_write_5m_tokens,
    CASE WHEN s.cost_known THEN s.write_1h ELSE s.cache_write_1h_tokens END AS cache_write_1h_tokens,
    CASE WHEN s.cost_known THEN s.reads ELSE s.cache_read_tokens END AS cache_read_tokens,
    CASE WHEN s.cost_known THEN s.written ELSE s.output_tokens END AS output_tokens,
    CASE WHEN s.cost_known THEN coalesce(s.thinking_tokens, 0) ELSE s.thinking_tokens END AS thinking_tokens,
    CASE WHEN s.cost_known THEN s.searches ELSE s.web_searches END AS web_searches, s.service_tier,
    CASE WHEN s.model IN {free} OR s.cost_known AND NOT s.billed THEN 0 WHEN s.cost_known THEN {cost} END AS cost_usd,
    CASE WHEN s.model IN {free} OR s.cost_known AND NOT s.billed THEN 0 WHEN s.cost_known THEN {realtime} END
        AS realtime_usd,
    s.reported_usd,
    false AS judged_again, s.completed_at, $now AS recorded_at, $seq AS seq
FROM stepped s
LEFT JOIN work.all_documents d USING (custom_id)
LEFT JOIN work.prices b ON b.model = s.model AND b.tier = s.tier AND b.above_input_tokens = s.step
LEFT JOIN work.prices n ON n.model = s.model AND n.tier = 'realtime' AND n.above_input_tokens = s.step

-- name: price_step
-- The step of a model's prices that applies to a line: the one with the highest lower bound that its input exceeds.
(SELECT max(above_input_tokens) FROM work.prices b WHERE b.model = p.model
    AND b.above_input_tokens < p.uncached + p.write_5m + p.write_1h + p.reads)

-- name: free_models
-- The models that cost nothing, however much a result used.
(SELECT model FROM work.prices GROUP BY model
    HAVING bool_and(input_usd + cache_write_5m_usd + cache_write_1h_usd + cache_read_usd + output_usd + web_search_usd = 0))

-- name: insert_decisions
INSERT INTO ledger.decisions BY NAME
SELECT
    $pipeline AS pipeline, o.key_id, o.input_hash, o.prompt_version, o.policy_hash, o.fingerprint,
    CASE v.answer WHEN 'earlier' THEN CASE WHEN v.state = 'accepted' THEN o.earlier_answer ELSE o.custom_id END
        ELSE o.custom_id END AS custom_id,
    v.state, v.review, o.reason,
    CASE WHEN v.answer = 'earlier' AND v.state = 'accepted' THEN coalesce(e.rung, v.rung) ELSE v.rung END AS rung,
    v.attempts, v.transients, v.next_max_tokens AS max_tokens,
    CASE WHEN v.pause_doublings IS NOT NULL
        THEN $now + to_seconds(($poll_interval * power(2, v.pause_doublings))::DOUBLE) END AS not_before,
    CASE v.answer WHEN 'this' THEN CASE WHEN v.state = 'escalated' THEN o.custom_id END
        WHEN 'earlier' THEN o.earlier_answer ELSE o.earlier_answer END AS earlier_answer,
    CASE WHEN v.state = 'accepted' AND NOT v.review THEN NULL
        ELSE concat(
            coalesce(o.validation_error, o.error_message, {outcome_words}),
            CASE WHEN v.state = 'failed' AND o.checked_outcome = 'context_window' THEN {too_long_hint} END
        ) END AS error,
    o.started, $run_id::UUID AS run_id, $now AS recorded_at, $seq AS seq
FROM work.outcomes o
JOIN work.verdicts v ON v.checked_outcome = o.checked_outcome AND v.of_rung = o.rung AND v.of_attempt = o.attempt
    AND v.of_transients = o.transients AND v.of_max_tokens = o.max_tokens AND v.rungs = o.rungs
    AND v.has_earlier = (o.earlier_answer IS NOT NULL)
LEFT JOIN (SELECT custom_id, any_value(rung) AS rung FROM ledger.requests WHERE pipeline IN ({pipelines})
    AND custom_id IN (SELECT earlier_answer FROM work.outcomes) GROUP BY custom_id) e ON e.custom_id = o.earlier_answer
{single}

-- name: drop_collected
-- Drops what is recorded now; with the next batches it would take twice the memory.
DROP TABLE work.lines; DROP TABLE work.sent; DROP TABLE work.outcomes;
DROP TABLE IF EXISTS work.sent_values; DROP TABLE IF EXISTS work.chosen_lines; DROP TABLE IF EXISTS work.validity_by_policy;
DROP TABLE IF EXISTS work.documents_by_policy; DROP TABLE IF EXISTS work.validity; DROP TABLE IF EXISTS work.documents

-- name: insert_prices
INSERT INTO ledger.prices BY NAME
SELECT provider, p.model, tier AS processing, from_day, above_input_tokens, input_usd, cache_write_5m_usd,
    cache_write_1h_usd, cache_read_usd, output_usd, web_search_usd, source, $now AS recorded_at, $seq AS seq
FROM work.prices p
WHERE NOT EXISTS (
    SELECT 1 FROM ledger.prices k WHERE k.provider = p.provider AND k.model = p.model AND k.processing = p.tier
        AND k.from_day = p.from_day AND k.above_input_tokens = p.above_input_tokens AND k.input_usd = p.input_usd
        AND k.output_usd = p.output_usd AND k.source = p.source
)

-- name: unpriced
SELECT DISTINCT model FROM work.received WHERE model IS NOT NULL AND billed AND model NOT IN (SELECT model FROM work.prices)

-- name: full_price
-- The models of results that are priced as in batches, though only the full price of the model is known.
SELECT DISTINCT p.model
FROM work.prices p
JOIN work.received r ON r.model = p.model
JOIN work.ended e ON e.chunk_id = r.chunk_id
WHERE p.tier = 'batch' AND NOT p.exact AND coalesce(r.processing IN ('batch', 'flex'), e.batch_id IS NOT NULL)
ORDER BY p.model

-- name: not_batch_tier
SELECT count(*) FROM work.received JOIN work.ended USING (chunk_id)
WHERE processing <> 'batch' AND batch_id IS NOT NULL

-- name: odd_results
-- What is not understood of results, with how many of them have it, and the first of them. What a result used that costs
-- nothing is of no account.
SELECT oddity, cost_known, count(*), min(custom_id), arg_min(raw, custom_id)
FROM (
    SELECT oddity, cost_known OR is_free AS cost_known, custom_id, raw
    FROM (SELECT *, coalesce(model IN {free}, false) AS is_free FROM work.received WHERE oddity IS NOT NULL)
    WHERE NOT (is_free AND starts_with(oddity, 'the usage'))
)
GROUP BY oddity, cost_known
ORDER BY count(*) DESC, oddity

-- name: recorded_policy
SELECT policy FROM ledger.policies WHERE policy_hash = $policy_hash::UUID

-- name: any_collected
SELECT count(*) > 0 FROM ledger.events
WHERE kind = 'batch_collected' AND chunk_id IN (SELECT chunk_id FROM work.ended)

-- name: canceled
SELECT chunk_id::VARCHAR, count(*) FROM work.received WHERE outcome = 'canceled' GROUP BY chunk_id

-- name: cost_of_commit
-- Chunk, what its results cost as far as it is known, and of how many results it is not.
SELECT chunk_id::VARCHAR, coalesce(sum(cost_usd), 0)::DECIMAL(38, 15), count(*) FILTER (cost_usd IS NULL)
FROM ledger.results
WHERE seq = $seq
GROUP BY chunk_id

-- name: requests_of_unknown_cost
SELECT q.chunk_id::VARCHAR AS chunk_id, q.provider, q.model, q.settings, r.batch_id IS NULL AS realtime, count(*) AS requests,
    sum(q.bytes)::BIGINT AS bytes, sum(q.max_tokens)::BIGINT AS max_tokens
FROM ledger.results r
JOIN ledger.requests q ON q.chunk_id = r.chunk_id AND q.custom_id = r.custom_id AND q.leads
WHERE r.seq = $seq AND r.cost_usd IS NULL
GROUP BY ALL
ORDER BY ALL
