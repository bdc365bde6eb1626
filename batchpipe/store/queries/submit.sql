-- Intents to submit a chunk, and their outcomes.

-- name: chunk
-- The requests of chunks that are submitted together. A custom id has 96 bits of a hash: among ten billion ids two are the
-- same with a chance of one in a billion. The chunk is part of it, since a restored database can use a `send` again.
-- work.chunk: One row is a row that goes up with a chosen chunk, with the identifier of its request.
CREATE OR REPLACE TABLE work.chunk AS
WITH parts AS (
    SELECT
        unnest($chunk_ids::VARCHAR[])::UUID AS chunk_id, unnest($starts::BIGINT[]) AS start,
        unnest($stops::BIGINT[]) AS stop
),
picked AS (
    SELECT q.key_id{q_place}, p.chunk_id
    FROM work.to_send q
    JOIN parts p ON q.number >= p.start AND q.number < p.stop
    WHERE q.number >= list_min($starts::BIGINT[]) AND q.number < list_max($stops::BIGINT[])
)
SELECT
    p.chunk_id, d.* EXCLUDE (request_group), true AS leads, coalesce(n.sends, 0) + 1 AS send,
    concat($database, '-', left(md5(concat(
        d.fingerprint, ' ', d.rung, ' ', coalesce(n.sends, 0) + 1, ' ', p.chunk_id, ' ', $pipeline, ' ', d.key{id_place}
    )), 24)) AS custom_id
FROM picked p
JOIN work.due d USING (key_id{place})
LEFT JOIN work.sends n USING (key_id)

-- name: add_followers
-- The rows that share the request of a leading row.
INSERT INTO work.chunk BY NAME
SELECT
    l.chunk_id, d.* EXCLUDE (request_group) REPLACE (l.request_hash AS request_hash, l.max_tokens AS max_tokens),
    false AS leads, coalesce(n.sends, 0) + 1 AS send, l.custom_id
FROM work.shared s
JOIN work.chunk l ON l.key_id = s.leader_key_id{leader}
JOIN work.due d ON d.key_id = s.key_id{own}
LEFT JOIN work.sends n ON n.key_id = s.key_id
WHERE NOT s.leads AND s.in_flight_custom_id IS NULL

-- name: insert_requests
INSERT INTO ledger.requests BY NAME
SELECT
    $pipeline AS pipeline, c.key_id, c.key, {part} AS part, c.custom_id, c.leads, c.chunk_id,
    $run_id::UUID AS run_id, $prompt_version::UUID AS prompt_version, $policy_hash::UUID AS policy_hash,
    c.input_hash, c.fingerprint, c.request_hash, c.reason, {rung} AS rung, l.provider, l.model, l.settings, c.send, c.attempt, c.transients,
    c.max_tokens, c.rungs, c.earlier_answer, coalesce(c.started, $seq) AS started, c.bytes,
    {values} AS input_values, {include} AS include_values, {include_names} AS include_columns,
    $now AS recorded_at, $seq AS seq
FROM work.chunk c
JOIN {snapshot} s ON s.position = c.position
JOIN work.ladder l USING (rung)
WHERE s.position BETWEEN (SELECT min(position) FROM work.chunk) AND (SELECT max(position) FROM work.chunk)

-- name: chunk_params
SELECT c.custom_id, f.params
FROM work.chunk c
JOIN {rendered} f ON f.position = c.position AND f.continues = c.continues{own}
WHERE c.leads AND c.chunk_id = {chunk_id}::UUID
    AND f.position BETWEEN (SELECT min(position) FROM work.chunk WHERE leads AND chunk_id = {chunk_id}::UUID)
    AND (SELECT max(position) FROM work.chunk WHERE leads AND chunk_id = {chunk_id}::UUID)

-- name: chunk_params_in_order
-- The same in the order of the custom ids, by which the line that a provider names tells the request.
SELECT custom_id, params FROM ({params}) ORDER BY custom_id

-- name: request_of_line
SELECT custom_id FROM ledger.requests WHERE chunk_id = $chunk_id::UUID AND leads ORDER BY custom_id LIMIT 1 OFFSET $before

-- name: uploaded_input
-- The newest input that was uploaded for each of the chunks.
SELECT chunk_id::VARCHAR, arg_max(data ->> 'input_id', seq) FROM ledger.events
WHERE kind = 'chunk_uploaded' AND chunk_id::VARCHAR IN (SELECT unnest($chunk_ids))
GROUP BY chunk_id

-- name: inputs_left
-- The uploaded inputs of closed chunks that are not deleted yet.
SELECT b.*, u.data ->> 'input_id' AS input_id
FROM ledger.events u
JOIN ledger.batches b USING (chunk_id)
WHERE u.kind = 'chunk_uploaded' AND u.pipeline IN ({pipelines}) AND NOT b.is_open
    AND NOT EXISTS (
        SELECT 1 FROM ledger.events d
        WHERE d.kind = 'input_discarded' AND d.chunk_id = u.chunk_id AND (d.data ->> 'input_id') = (u.data ->> 'input_id')
    )

-- name: refused_late
-- The chunks that were refused late and held a due request last: how many requests they had, the number of the request
-- that the refusal names, and how often one of their rows was refused so.
WITH asked AS (
    SELECT s.number, q.key_id, q.chunk_id, q.custom_id, q.seq,
        row_number() OVER (PARTITION BY q.key_id ORDER BY q.seq DESC) AS place
    FROM work.to_send s
    JOIN ledger.requests q USING (key_id)
    WHERE q.pipeline IN ({pipelines})
),
refused AS (
    SELECT a.*, (e.data ->> 'requests')::INTEGER AS requests, e.data ->> 'custom_id' AS named
    FROM asked a
    JOIN ledger.events e USING (chunk_id)
    WHERE e.kind = 'chunk_refused' AND (e.data ->> 'smaller') = 'true'
)
SELECT any_value(requests) AS requests, any_value(named) AS named, max(number) FILTER (custom_id = named) AS number,
    max((SELECT count(*) FROM refused o WHERE o.key_id = r.key_id)) AS times
FROM refused r
WHERE place = 1
GROUP BY chunk_id

-- name: recorded_modes
-- What was found out last about each address: that it takes batches, or that it has no endpoint for them.
SELECT base_url, arg_max(mode, moment)
FROM (
    SELECT base_url, 'batch' AS mode, submitted_at AS moment FROM ledger.batches WHERE submitted_at IS NOT NULL
    UNION ALL
    SELECT data ->> 'base_url', 'realtime', recorded_at FROM ledger.events WHERE kind = 'no_batch_endpoint'
)
WHERE list_contains($urls::VARCHAR[], base_url)
GROUP BY base_url

-- name: queued_at
-- The batches that wait at a provider, their requests, and the bytes of those that ask one model.
SELECT count(*), coalesce(sum(requests), 0)::BIGINT, coalesce(sum(bytes) FILTER (model = $model), 0)::BIGINT
FROM ledger.batches WHERE is_open AND provider = $provider AND state <> 'asking'

-- name: open_by_pipeline
SELECT pipeline, count(*), sum(requests)::BIGINT FROM ledger.batches
WHERE is_open AND state <> 'asking'
GROUP BY pipeline ORDER BY pipeline

-- name: was_full
SELECT count(*) > 0 FROM ledger.events
WHERE kind = 'chunk_refused' AND (data ->> 'kind') = 'queue_full' AND recorded_at > $since

-- name: full_queues
-- What waited at each provider when it said last that its queue is full: requests of all models, and bytes of the model.
WITH full_at AS (
    SELECT b.provider, b.model, max(e.recorded_at) AS at
    FROM ledger.events e
    JOIN ledger.batches b USING (chunk_id)
    WHERE e.kind = 'chunk_refused' AND (e.data ->> 'kind') = 'queue_full' AND e.recorded_at > $since
    GROUP BY ALL
)
SELECT f.provider, f.model, sum(b.requests)::BIGINT AS requests,
    coalesce(sum(b.bytes) FILTER (b.model = f.model), 0)::BIGINT AS bytes
FROM full_at f
JOIN ledger.batches b ON b.provider = f.provider AND b.submitted_at <= f.at
    AND (b.is_open OR b.collected_at > f.at) AND b.state <> 'refused'
GROUP BY ALL

-- name: open_sizes
SELECT requests, batch_id FROM ledger.batches WHERE is_open AND list_contains($base_urls::VARCHAR[], base_url)

-- name: committed_since
-- Whether another run or command has committed anything since a plan.
SELECT count(*) > 0 FROM ledger.commits WHERE seq > $since AND run_id IS DISTINCT FROM $run_id::UUID

-- name: newer_facts
-- What others have asked, got answered, decided and reviewed since a plan.
SELECT pipeline, key_id, fingerprint, rung, false AS reviewed FROM ledger.requests
WHERE seq > $since AND run_id IS DISTINCT FROM $run_id::UUID AND pipeline IN ({pipelines})
UNION ALL
SELECT pipeline, key_id, NULL, NULL, false FROM ledger.decisions
WHERE seq > $since AND run_id IS DISTINCT FROM $run_id::UUID AND pipeline IN ({pipelines})
UNION ALL
SELECT pipeline, key_id, NULL, NULL, true FROM ledger.reviews
WHERE seq > $since AND run_id IS DISTINCT FROM $run_id::UUID AND pipeline IN ({pipelines})
UNION ALL
-- An evaluation and its pipeline have other keys and rungs, but the same requests.
SELECT pipeline, NULL, fingerprint, NULL, false FROM ledger.requests
WHERE seq > $since AND run_id IS DISTINCT FROM $run_id::UUID AND pipeline NOT IN ({pipelines})
    AND split_part(pipeline, ':', 1) IN ({families})
UNION ALL
-- What was in flight when a plan looked for answers may have been answered before it looked at what is in flight.
SELECT q.pipeline, NULL, q.fingerprint, NULL, false
FROM ledger.results r
JOIN ledger.requests q USING (chunk_id, custom_id)
WHERE r.seq > $since AND r.run_id IS DISTINCT FROM $run_id::UUID AND split_part(q.pipeline, ':', 1) IN ({families})

-- name: asked_since
-- Whether a row that goes up has a newer request, decision or review, or its request was asked by somebody else.
WITH newer AS ({newer})
SELECT count(*) > 0 FROM work.chunk
WHERE key_id IN (SELECT key_id FROM newer)
    OR (fingerprint, rung) IN (SELECT (fingerprint, rung) FROM newer WHERE fingerprint IS NOT NULL)
    OR fingerprint IN (SELECT fingerprint FROM newer WHERE fingerprint IS NOT NULL AND rung IS NULL)

-- name: leave_out
-- work.left_out: One row is a key that this run leaves out: a linked pipeline has asked for it, or a person reviewed it.
INSERT INTO work.left_out
WITH newer AS ({newer})
SELECT key_id FROM work.due
WHERE key_id IN (SELECT key_id FROM newer WHERE reviewed OR pipeline NOT IN ({own}))

-- name: fill_asked_since
-- work.asked_since: One row is a key that others have asked for, decided or reviewed since the plan.
CREATE OR REPLACE TABLE work.asked_since AS
WITH newer AS ({newer})
SELECT DISTINCT key_id FROM newer WHERE key_id IS NOT NULL

-- name: drop_overtaken_decisions
DELETE FROM work.plan
WHERE reason IN ('carried_over', 'unchanged', 'kept', 'failed') AND key_id IN (SELECT key_id FROM work.asked_since)

-- name: drop_overtaken_followers
DELETE FROM work.due
WHERE key_id IN (SELECT key_id FROM work.asked_since)
    AND key_id IN (SELECT key_id FROM work.shared WHERE in_flight_custom_id IS NOT NULL)

-- name: drop_overtaken_ballots
DELETE FROM work.ballots WHERE key_id IN (SELECT key_id FROM work.asked_since)

-- name: drop_overtaken_voters
DELETE FROM work.voters WHERE key_id IN (SELECT key_id FROM work.asked_since)

-- name: drop_overtaken_votes
DELETE FROM work.votes WHERE key_id IN (SELECT key_id FROM work.asked_since)

-- name: is_asked_elsewhere
-- Whether an evaluation of the pipeline, the pipeline that is evaluated, or a `try` has anything in flight.
SELECT
    EXISTS (
        SELECT 1 FROM ledger.batches
        WHERE is_open AND split_part(pipeline, ':', 1) IN ({families}) AND pipeline NOT IN ({own})
            AND (state <> 'asking' OR prepared_at > $calls_since)
    )
    OR EXISTS (
        SELECT 1 FROM ledger.events WHERE kind = 'call_prepared' AND recorded_at > $calls_since
    )

-- name: own_prints_of_due
SELECT DISTINCT fingerprint, fingerprint AS recorded FROM work.due

-- name: every_print_of_due
SELECT DISTINCT fingerprint, recorded FROM work.prints WHERE fingerprint IN (SELECT fingerprint FROM work.due)

-- name: asked_elsewhere
-- A request is not sent where a pipeline that a rename links to this one has sent the same, or has its answer; nor where
-- an evaluation, the pipeline that is evaluated, or a `try` of another row has the same in flight. Who asked in realtime
-- and died is not waited for.
-- work.asked_elsewhere: One row is a due request that another pipeline has asked, with that pipeline.
CREATE OR REPLACE TABLE work.asked_elsewhere AS
WITH calls AS (
    SELECT chunk_id FROM ledger.events WHERE kind = 'call_prepared' AND recorded_at > $calls_since AND chunk_id NOT IN (
        SELECT chunk_id FROM ledger.events WHERE kind = 'call_ended' AND chunk_id IS NOT NULL
    )
),
in_flight AS (
    SELECT chunk_id FROM ledger.batches WHERE is_open AND (state <> 'asking' OR prepared_at > $calls_since)
    UNION
    SELECT chunk_id FROM calls
),
asked AS (
    SELECT DISTINCT d.fingerprint, d.rung, q.pipeline, q.chunk_id, q.custom_id
    FROM (SELECT DISTINCT fingerprint, rung FROM work.due) d
    JOIN ({prints}) p USING (fingerprint)
    JOIN work.ladder l USING (rung)
    JOIN ledger.requests q ON q.fingerprint = p.recorded
    WHERE q.leads AND split_part(q.pipeline, ':', 1) IN ({families})
        AND (q.pipeline NOT IN ({own}) OR q.chunk_id IN (SELECT chunk_id FROM calls))
        AND (q.settings = l.settings OR (q.pipeline IN ({elsewhere}) AND q.rung = d.rung))
)
SELECT fingerprint, rung, any_value(pipeline) AS pipeline, true AS in_flight
FROM asked WHERE chunk_id IN (SELECT chunk_id FROM in_flight)
GROUP BY fingerprint, rung
UNION ALL
SELECT fingerprint, rung, any_value(pipeline), false
FROM asked
WHERE pipeline IN ({elsewhere}) AND (chunk_id, custom_id) IN (
    SELECT (chunk_id, custom_id) FROM ledger.results WHERE outcome = 'answered'
)
GROUP BY fingerprint, rung

-- name: drop_asked_elsewhere
DELETE FROM work.due WHERE (fingerprint, rung) IN (SELECT (fingerprint, rung) FROM work.asked_elsewhere)

-- name: left_elsewhere
SELECT pipeline, in_flight, count(*) FROM (
    SELECT fingerprint, rung, max_by(pipeline, in_flight) AS pipeline, bool_or(in_flight) AS in_flight
    FROM work.asked_elsewhere GROUP BY fingerprint, rung
)
GROUP BY pipeline, in_flight ORDER BY in_flight DESC, pipeline

-- name: any_open
-- Whether any chunk or call has no recorded end: far cheaper than `ledger.batches`, and nothing is open most of the time.
SELECT EXISTS (
    SELECT 1 FROM ledger.events WHERE chunk_id IS NOT NULL
    GROUP BY chunk_id
    HAVING bool_or(kind IN ('chunk_prepared', 'call_prepared')) AND NOT bool_or(kind IN (
        'batch_collected', 'batch_gone', 'chunk_refused', 'chunk_not_sent', 'chunk_not_found', 'chunk_abandoned',
        'call_ended'
    ))
)

-- name: bounded_chunks
SELECT count(*) FROM ledger.events
WHERE kind = 'chunk_prepared' AND split_part(pipeline, ':', 1) IN ({families})
    AND (data ->> 'reserve_usd')::DECIMAL(38, 15) < (data ->> 'max_usd')::DECIMAL(38, 15)

-- name: open_load
-- What was reserved for a chunk is in the event of its intent; where nothing was, the most is held.
WITH reserves AS (
    SELECT chunk_id, split_part(pipeline, ':', 1) AS family, (data ->> 'reserve_usd')::DECIMAL(38, 15) AS reserve_usd,
        (data ->> 'max_usd')::DECIMAL(38, 15) AS most_usd
    FROM ledger.events WHERE kind = 'chunk_prepared' AND chunk_id IS NOT NULL
),
busy AS (
    SELECT b.*, coalesce(r.reserve_usd, b.max_usd) AS reserve_usd, r.family IN ({families}) AS is_family,
        b.pipeline IN ({pipelines}) AS is_own, b.pipeline IN ({pipelines}) AND b.run_id = $run_id::UUID AS is_of_run
    FROM ledger.batches b JOIN reserves r USING (chunk_id)
    WHERE b.is_open
)
SELECT
    count(*) FILTER (is_own) AS batches,
    coalesce(sum(requests), 0)::BIGINT AS requests,
    coalesce(sum(max_usd) FILTER (is_family), 0)::DECIMAL(38, 15) AS max_usd,
    coalesce(sum(max_usd) FILTER (is_of_run), 0)::DECIMAL(38, 15) AS max_usd_of_run,
    coalesce(sum(coalesce(expected_usd, max_usd)) FILTER (is_family), 0)::DECIMAL(38, 15) AS expected_usd,
    coalesce(sum(reserve_usd) FILTER (is_family), 0)::DECIMAL(38, 15) AS reserved_usd,
    coalesce(sum(reserve_usd) FILTER (is_of_run), 0)::DECIMAL(38, 15) AS reserved_usd_of_run,
    (SELECT count(*) FROM reserves WHERE family IN ({families}) AND reserve_usd < most_usd) AS bounded
FROM busy

-- name: every_pipeline
SELECT DISTINCT pipeline FROM ledger.events

-- name: every_family
SELECT DISTINCT split_part(pipeline, ':', 1) FROM ledger.events

-- name: spent
-- What results cost, a result of unknown cost and a batch whose results are gone at the most that they can have cost.
SELECT
    coalesce(sum(r.cost_usd), 0)::DECIMAL(38, 15),
    coalesce(sum(r.cost_usd) FILTER (b.run_id = $run_id::UUID), 0)::DECIMAL(38, 15),
    coalesce(sum(r.cost_usd) FILTER (r.recorded_at >= $day), 0)::DECIMAL(38, 15),
    coalesce(sum(r.cost_usd) FILTER (r.recorded_at >= $month), 0)::DECIMAL(38, 15)
FROM (
    SELECT chunk_id, cost_usd, recorded_at FROM ledger.results
    WHERE split_part(pipeline, ':', 1) IN ({families}) AND NOT judged_again
    UNION ALL
    SELECT chunk_id, (data ->> 'held_usd')::DECIMAL(38, 15), recorded_at FROM ledger.events
    WHERE kind = 'cost_unknown' AND split_part(pipeline, ':', 1) IN ({families})
    UNION ALL
    SELECT chunk_id, max_usd, recorded_at FROM ({booked}) WHERE split_part(pipeline, ':', 1) IN ({families})
) r
LEFT JOIN ledger.batches b USING (chunk_id)

-- name: insert_event
INSERT INTO ledger.events VALUES ($pipeline, $run_id, $chunk_id, $kind, $data, $now, $seq)

-- name: open_batches
SELECT * FROM ledger.batches WHERE is_open AND pipeline IN ({pipelines}) ORDER BY prepared_at, chunk_id

-- name: every_open
SELECT * FROM ledger.batches WHERE is_open ORDER BY prepared_at, chunk_id

-- name: open_of_families
SELECT * FROM ledger.batches WHERE is_open AND split_part(pipeline, ':', 1) IN ({families}) ORDER BY prepared_at, chunk_id

-- name: decided_batch_ids
-- Batches whose chunk is known, or that are known to belong to no chunk of ours. A batch that is only presumed to be of a
-- chunk is not among them: it may be another chunk's.
SELECT DISTINCT data ->> 'batch_id' FROM ledger.events
WHERE kind IN ('chunk_submitted', 'chunk_adopted', 'batch_foreign', 'batch_ended') AND (data ->> 'batch_id') IS NOT NULL

-- name: may_lose_batch
-- Whether a chunk still has this batch by a search of the list, and not by the reply to its own submit, which is certain.
SELECT
    EXISTS (SELECT 1 FROM ledger.batches WHERE chunk_id = $chunk_id::UUID AND batch_id = $batch_id)
    AND NOT EXISTS (SELECT 1 FROM ledger.events WHERE chunk_id = $chunk_id::UUID AND kind = 'chunk_submitted'
        AND (data ->> 'batch_id') = $batch_id)

-- name: is_by_reply
-- Whether this batch is the chunk's because the reply to its own submit said so.
SELECT
    EXISTS (SELECT 1 FROM ledger.batches WHERE chunk_id = $chunk_id::UUID AND batch_id = $batch_id)
    AND EXISTS (SELECT 1 FROM ledger.events WHERE chunk_id = $chunk_id::UUID AND kind = 'chunk_submitted'
        AND (data ->> 'batch_id') = $batch_id)

-- name: owners_of_lines
-- The open chunks whose requests the lines are of, and that do not have this batch yet.
SELECT DISTINCT q.pipeline, q.chunk_id::VARCHAR
FROM ledger.requests q
JOIN ledger.batches b USING (chunk_id)
WHERE q.leads AND q.custom_id IN (SELECT custom_id FROM work.lines) AND b.is_open AND b.batch_id IS DISTINCT FROM $batch_id

-- name: presumed_batches
SELECT batch_id, requests FROM ledger.batches WHERE state = 'presumed'

-- name: fail_chunk
INSERT INTO ledger.decisions BY NAME
SELECT
    pipeline, key_id, input_hash, prompt_version, policy_hash, fingerprint, custom_id,
    CASE WHEN part = '' THEN 'failed' ELSE 'retry' END AS state, false AS review,
    reason, rung, CASE WHEN part = '' THEN attempt ELSE 0 END AS attempts, transients, NULL::INTEGER AS max_tokens, NULL::TIMESTAMP AS not_before,
    earlier_answer, $error AS error, started, $run_id::UUID AS run_id, $now AS recorded_at, $seq AS seq
FROM ledger.requests
WHERE chunk_id = $chunk_id::UUID

-- name: chunk_event_data
-- The data of each chunk's event, with the interval that holds 90% of what such a chunk costs (a log-normal sum; see
-- forecast.py). It covers the spread of its requests and the error of their mean.
SELECT * EXCLUDE (variance) REPLACE (chunk_id::VARCHAR AS chunk_id),
    (expected_usd::DOUBLE / exp($deviations * sqrt(ln(1 + variance))))::DECIMAL(38, 15)::VARCHAR AS low_usd,
    (expected_usd::DOUBLE * exp($deviations * sqrt(ln(1 + variance))))::DECIMAL(38, 15)::VARCHAR AS high_usd
FROM (
    SELECT
        chunk_id,
        count(*) AS requests,
        sum(bytes)::BIGINT AS bytes,
        any_value(rung) AS rung,
        any_value(model) AS model,
        sum(max_usd)::VARCHAR AS max_usd,
        sum(usd)::VARCHAR AS expected_usd,
        coalesce(sum((usd::DOUBLE * spread) ** 2) / nullif(sum(usd)::DOUBLE ** 2, 0), 0) + any_value(error) ** 2 AS variance
    FROM (
        SELECT c.chunk_id, c.bytes, c.rung, l.model, c.max_usd, l.spread, l.error,
            c.expected_input_tokens::DECIMAL(18, 0) * l.input_usd
            + c.expected_output_tokens::DECIMAL(18, 0) * l.output_usd AS usd
        FROM work.chunk c
        JOIN work.ladder l USING (rung)
        WHERE c.leads
    )
    GROUP BY chunk_id
)
ORDER BY chunk_id
