-- Rungs that ask a row more than once: what each member has answered, the vote, and what follows from it.

-- name: parts
-- work.parts: One row is one request of a row on a rung that asks more than once.
CREATE OR REPLACE TABLE work.parts
    (rung SMALLINT, seat SMALLINT, place SMALLINT, part VARCHAR, model VARCHAR, settings VARCHAR)

-- name: part_standings
-- work.part_standings: One row is a member of a panel that has a result for a row which goes on there.
CREATE OR REPLACE TABLE work.part_standings AS
WITH found AS (
    SELECT c.key_id, p.rung, p.place, d.custom_id, d.fingerprint, d.state, d.attempts, d.transients, d.max_tokens,
        d.not_before, d.error, d.seq
    FROM work.candidates c
    JOIN work.parts p ON p.rung = c.rung
    JOIN ledger.part_decisions d ON d.key_id = c.key_id AND d.started = c.started AND d.settings = p.settings
        AND d.part = p.part AND (d.rung = p.rung OR d.state = 'valid')
    WHERE d.pipeline IN ({pipelines}) AND c.state IN ('retry', 'escalated') AND c.redo IS NULL
    QUALIFY row_number() OVER (PARTITION BY c.key_id, p.place ORDER BY d.seq DESC) = 1
)
SELECT f.* EXCLUDE (error), r.answer, CASE WHEN r.answer IS NOT NULL THEN f.error END AS error
FROM found f
LEFT JOIN (
    SELECT custom_id, arg_max(answer, seq) AS answer FROM ledger.results
    WHERE outcome = 'answered' AND NOT judged_again
        AND custom_id IN (SELECT custom_id FROM found WHERE state = 'retry' AND transients = 0)
    GROUP BY custom_id
) r USING (custom_id)

-- name: panel_rows
-- work.panel_rows: One row is a due row whose next rung asks more than once.
CREATE OR REPLACE TABLE work.panel_rows AS
SELECT
    d.key_id, d.position, d.key, d.input_hash, d.fingerprint, d.reason, d.redo, d.continues, d.resumes,
    CASE WHEN d.same_input AND (d.same_version OR d.same_visible) THEN d.own_fingerprint END AS own_fingerprint,
    f.next_rung AS rung, d.rungs,
    CASE
        WHEN d.goes_up THEN d.match_custom_id
        WHEN d.resumes THEN d.earlier_answer
    END AS earlier_answer,
    CASE WHEN d.resumes THEN d.started END AS started
FROM (
    SELECT *, reason IN ('retry', 'escalated') AND coalesce(may_continue, false) AS continues,
        continues AND NOT goes_up AS resumes
    FROM work.plan
    WHERE reason IN ({due_reasons})
) d
JOIN work.rendered f ON f.key_id = d.key_id AND f.continues = d.continues
WHERE f.next_rung IN (SELECT rung FROM work.parts)

-- name: forget_other_standings
-- A row that begins anew has no standing members.
DELETE FROM work.part_standings s WHERE NOT EXISTS (
    SELECT 1 FROM work.panel_rows r
    WHERE r.key_id = s.key_id AND r.resumes AND r.rung = s.rung AND r.fingerprint = s.fingerprint
)

-- name: found_parts
-- What a member has answered already: as a part of this row, for a lower rung, for `try`, or for a row that asks the same.
-- A member that is to be asked again has its answer where the same question was answered since.
-- work.found_parts: One row is a member of a panel with a stored answer of it to a row.
CREATE OR REPLACE TABLE work.found_parts AS
WITH stored AS (
    SELECT q.fingerprint, q.settings, coalesce(nullif(q.part, ''), '1') AS part, q.custom_id, q.seq
    FROM ledger.requests q
    WHERE q.leads AND {stored_by}
    UNION ALL
    SELECT fingerprint, settings, part, custom_id, 0 FROM ledger.part_decisions
    WHERE state = 'valid' AND pipeline IN ({pipelines})
),
asked AS (
    SELECT d.key_id, p.rung, p.place, q.custom_id, q.seq, coalesce(s.seq, 0) AS standing_seq
    FROM (
        -- A renamed field makes another fingerprint of the same question.
        SELECT key_id, rung, redo, resumes, started, fingerprint FROM work.panel_rows
        UNION
        SELECT key_id, rung, redo, resumes, started, own_fingerprint FROM work.panel_rows WHERE own_fingerprint IS NOT NULL
    ) d
    JOIN work.parts p ON p.rung = d.rung
    JOIN stored q ON q.fingerprint = d.fingerprint AND q.settings = p.settings AND q.part = p.part
    LEFT JOIN work.part_standings s ON s.key_id = d.key_id AND s.place = p.place
    WHERE coalesce(s.state = 'retry', true)
        AND q.seq > CASE WHEN d.redo = 'fresh' OR (d.resumes AND d.started >= $redo_seq) THEN $redo_seq ELSE -1 END
)
SELECT key_id, rung, place, custom_id, true AS stands, seq FROM work.part_standings WHERE state = 'valid'
UNION ALL
SELECT a.key_id, a.rung, a.place, a.custom_id, false, max(a.seq)
FROM asked a
JOIN (
    SELECT custom_id, max(seq) AS seq FROM ledger.results
    WHERE outcome = 'answered' AND answer IS NOT NULL AND custom_id IN (SELECT custom_id FROM asked)
    GROUP BY custom_id
) r ON r.custom_id = a.custom_id AND r.seq > a.standing_seq
GROUP BY a.key_id, a.rung, a.place, a.custom_id

-- name: parts_to_validate
CREATE OR REPLACE TABLE work.to_validate AS
SELECT f.key_id, f.custom_id, f.rung, {values} AS input_values
FROM work.found_parts f
JOIN work.panel_rows r USING (key_id)
JOIN {snapshot} s USING (position)

-- name: planned_ballots
-- work.ballots: One row is a member of a panel whose answer to a row is valid, or that has failed in the end.
CREATE OR REPLACE TABLE work.ballots AS
SELECT f.key_id, f.rung, f.place, f.custom_id, 'valid' AS state, d.output, f.stands
FROM work.found_parts f
JOIN work.validity v ON v.key_id = f.key_id AND v.custom_id = f.custom_id
JOIN work.documents d ON d.custom_id = f.custom_id
WHERE v.valid
QUALIFY row_number() OVER (PARTITION BY f.key_id, f.place ORDER BY f.stands DESC, f.seq DESC) = 1
UNION ALL
SELECT key_id, rung, place, custom_id, 'failed', NULL, true FROM work.part_standings WHERE state = 'failed'

-- name: planned_voters
-- work.voters: One row is a row of the input whose members have all answered or failed, so that its vote is cast.
CREATE OR REPLACE TABLE work.voters AS
SELECT
    r.key_id, r.rung, r.rungs, r.input_hash, r.fingerprint, r.reason, r.earlier_answer, coalesce(r.started, $started) AS started,
    $prompt_version::UUID AS prompt_version, $policy_hash::UUID AS policy_hash, {values} AS input_values
FROM work.panel_rows r
JOIN (SELECT key_id, count(*) AS ballots FROM work.ballots GROUP BY key_id) b USING (key_id)
JOIN {snapshot} s USING (position)
WHERE r.redo = 'vote' OR b.ballots = (SELECT count(*) FROM work.parts p WHERE p.rung = r.rung)

-- name: reasons_of_voters
UPDATE work.plan p SET
    reason = CASE v.state WHEN 'accepted' THEN 'carried_over' ELSE v.state END
FROM work.voted v
WHERE v.key_id = p.key_id

-- name: unchanged_votes
-- A vote that is asked for again, and of which no member's answer is stored, stays as it is.
UPDATE work.plan SET reason = 'unchanged' WHERE redo = 'vote' AND reason = 'redo' AND key_id NOT IN (SELECT key_id FROM work.voters)

-- name: pauses_of_parts
-- A row pauses while each member that is still to answer does.
UPDATE work.plan p SET not_before = w.not_before
FROM (
    SELECT r.key_id, min(coalesce(s.not_before, $now)) AS not_before
    FROM work.panel_rows r
    JOIN work.parts q ON q.rung = r.rung
    LEFT JOIN work.part_standings s ON s.key_id = r.key_id AND s.place = q.place
    WHERE (r.key_id, q.place) NOT IN (SELECT (key_id, place) FROM work.ballots)
    GROUP BY r.key_id
) w
WHERE w.key_id = p.key_id AND w.not_before > $now

-- name: due_parts
CREATE OR REPLACE TABLE work.due AS
SELECT d.*, '' AS part, 0::SMALLINT AS place, d.rung AS of_rung
FROM work.due d
WHERE d.rung NOT IN (SELECT rung FROM work.parts)
UNION ALL BY NAME
SELECT
    d.* REPLACE (
        p.seat AS rung, coalesce(s.attempts, 0) + 1 AS attempt, coalesce(s.transients, 0) AS transients,
        coalesce(f.max_tokens, l.max_tokens) AS max_tokens, coalesce(d.started, $started) AS started, f.bytes AS bytes,
        f.line_bytes AS line_bytes, NULL AS too_long_for,
        CASE WHEN f.bytes + $overhead_bytes <= l.small_until
            THEN (f.bytes + $overhead_bytes)::DECIMAL(18, 0) * l.small_most_input_usd
                + coalesce(f.max_tokens, l.max_tokens)::DECIMAL(18, 0) * l.small_most_output_usd
            ELSE (f.bytes + $overhead_bytes)::DECIMAL(18, 0) * l.most_input_usd
                + coalesce(f.max_tokens, l.max_tokens)::DECIMAL(18, 0) * l.most_output_usd END AS max_usd,
        s.key_id IS NULL AS is_first,
        greatest(round(l.input_fixed + l.input_per_byte * f.bytes), 1)::BIGINT AS expected_input_tokens,
        greatest(least(round(l.output_fixed + l.output_per_byte * f.bytes), coalesce(f.max_tokens, l.max_tokens)), 1)::BIGINT
            AS expected_output_tokens,
        f.asked AS asked,
        md5(concat(d.fingerprint, ' ', f.asked))::UUID AS request_hash
    ),
    p.part, p.place, d.rung AS of_rung
FROM work.due d
JOIN work.parts p ON p.rung = d.rung
JOIN work.ladder l ON l.rung = p.seat
LEFT JOIN work.part_standings s ON s.key_id = d.key_id AND s.place = p.place
JOIN (
    -- What tells the samples of one model apart: the second is another request than the first.
    SELECT f.key_id, f.continues, f.place, f.max_tokens, f.bytes, f.line_bytes,
        md5(to_json([
            l.settings, coalesce(f.max_tokens, l.max_tokens)::VARCHAR, s.answer, s.error, f.request_group
        ])::VARCHAR)::UUID AS once,
        CASE WHEN p.part = '1' THEN once ELSE md5(concat(once, ' ', p.part))::UUID END AS asked
    FROM work.rendered_parts f
    JOIN work.parts p ON p.rung = f.rung AND p.place = f.place
    JOIN work.ladder l ON l.rung = p.seat
    LEFT JOIN work.part_standings s ON s.key_id = f.key_id AND s.place = f.place AND f.continues
) f ON f.key_id = d.key_id AND f.continues = d.continues AND f.place = p.place
WHERE (d.key_id, p.place) NOT IN (SELECT (key_id, place) FROM work.ballots)
    AND (s.not_before IS NULL OR s.not_before <= $now)

-- name: cast_votes
-- Answers that have the same value in each voted field are one group. The largest group stands; of several the surer one,
-- then the one that was named first.
-- work.votes: One row is a row of the input with the answer that most of its members agree with.
CREATE OR REPLACE TABLE work.votes AS
WITH chosen AS (
    SELECT b.*, {choice} AS choice, coalesce(TRY(({confidence})::DOUBLE), 0) AS confidence
    FROM (SELECT b.*{fields} FROM work.ballots b) b
    WHERE b.state = 'valid' AND b.key_id IN (SELECT key_id FROM work.voters)
),
counted AS (
    SELECT key_id, choice, count(*) AS votes, min(place) AS place
    FROM chosen
    GROUP BY key_id, choice
    QUALIFY row_number() OVER (PARTITION BY key_id ORDER BY count(*) DESC, sum(confidence) DESC, min(place)) = 1
),
listed AS (
    SELECT b.key_id, any_value(b.rung) AS rung, count(*) AS ballots, count(*) FILTER (b.state = 'valid') AS valid,
        list({{'model': p.model, 'part': p.part, 'valid': b.state = 'valid', 'document': b.output}} ORDER BY b.place) AS votes,
        list(b.custom_id ORDER BY b.place) AS custom_ids
    FROM work.ballots b
    JOIN work.parts p ON p.rung = b.rung AND p.place = b.place
    WHERE b.key_id IN (SELECT key_id FROM work.voters)
    GROUP BY b.key_id
),
enough AS (SELECT *, {least_valid} AS least_valid, valid >= {least_valid} AS is_enough FROM listed l)
SELECT
    l.* EXCLUDE (is_enough), CASE WHEN l.is_enough THEN w.custom_id END AS custom_id,
    CASE WHEN l.is_enough THEN c.votes / l.valid END AS agreement, CASE WHEN l.is_enough THEN w.output END AS output
FROM enough l
LEFT JOIN counted c ON c.key_id = l.key_id
LEFT JOIN chosen w ON w.key_id = c.key_id AND w.place = c.place

-- name: documents_of_votes
CREATE OR REPLACE TABLE work.documents AS
SELECT custom_id, any_value(output) AS output, NULL::VARCHAR AS error FROM work.votes WHERE custom_id IS NOT NULL GROUP BY custom_id

-- name: answers_of_votes
SELECT v.key_id, v.custom_id, v.rung, r.input_values, v.agreement AS _agreement, v.votes AS _votes
FROM work.votes v JOIN work.voters r USING (key_id)
WHERE v.custom_id IS NOT NULL

-- name: vote_outcomes
-- work.vote_outcomes: One row is a row of the input whose vote was cast, with what it comes to.
CREATE OR REPLACE TABLE work.vote_outcomes AS
SELECT
    r.key_id, r.rung, r.rungs, r.earlier_answer IS NOT NULL AS has_earlier,
    CASE
        WHEN v.custom_id IS NULL OR NOT coalesce(j.valid, false) THEN 'no_answer'
        WHEN j.accepts THEN 'accepted'
        ELSE 'unaccepted'
    END AS checked_outcome,
    CASE WHEN v.custom_id IS NULL
        THEN concat(v.valid, ' of ', v.ballots, ' answers are valid, and the quorum is ', v.least_valid)
        ELSE coalesce(j.error, 'the vote is valid, but `accept` does not hold') END AS error
FROM work.voters r
JOIN work.votes v USING (key_id)
LEFT JOIN work.validity j ON j.key_id = r.key_id AND j.custom_id = v.custom_id

-- name: vote_standings
SELECT checked_outcome, rung, rungs, has_earlier FROM work.vote_outcomes GROUP BY ALL

-- name: vote_verdicts
-- work.vote_verdicts: One row is a distinct outcome of a vote, with the ladder's verdict on it.
CREATE OR REPLACE TABLE work.vote_verdicts (
    checked_outcome VARCHAR, of_rung SMALLINT, rungs UINTEGER, has_earlier BOOLEAN, state VARCHAR, rung SMALLINT,
    attempts SMALLINT, answer VARCHAR, review BOOLEAN
)

-- name: voted
-- work.voted: One row is a row of the input whose vote was cast, with the verdict on it.
CREATE OR REPLACE TABLE work.voted AS
SELECT o.key_id, o.error, x.* EXCLUDE (checked_outcome, of_rung, rungs, has_earlier)
FROM work.vote_outcomes o
JOIN work.vote_verdicts x ON x.checked_outcome = o.checked_outcome AND x.of_rung = o.rung AND x.rungs = o.rungs
    AND x.has_earlier = o.has_earlier

-- name: insert_vote_decisions
INSERT INTO ledger.decisions BY NAME
SELECT
    $pipeline AS pipeline, r.key_id, r.input_hash, r.prompt_version, r.policy_hash, r.fingerprint,
    CASE
        WHEN x.answer = 'this' THEN v.custom_id
        WHEN x.answer = 'earlier' AND x.state = 'accepted' THEN r.earlier_answer
        ELSE v.custom_ids[1]
    END AS custom_id,
    x.state, x.review, {reason} AS reason,
    CASE WHEN x.answer = 'earlier' AND x.state = 'accepted' THEN coalesce(e.rung, x.rung) ELSE x.rung END AS rung,
    x.attempts, 0 AS transients, NULL::INTEGER AS max_tokens, NULL::TIMESTAMP AS not_before,
    CASE WHEN x.answer = 'this' THEN CASE WHEN x.state = 'escalated' THEN v.custom_id END ELSE r.earlier_answer END
        AS earlier_answer,
    CASE WHEN x.state = 'accepted' AND NOT x.review THEN NULL ELSE x.error END AS error,
    r.started, $run_id::UUID AS run_id, $now AS recorded_at, $seq AS seq
FROM work.voters r
JOIN work.voted x USING (key_id)
JOIN work.votes v ON v.key_id = r.key_id
LEFT JOIN (SELECT custom_id, any_value(rung) AS rung FROM ledger.requests WHERE pipeline IN ({pipelines})
    AND custom_id IN (SELECT earlier_answer FROM work.voters) GROUP BY custom_id) e ON e.custom_id = r.earlier_answer

-- name: insert_votes
INSERT INTO ledger.votes BY NAME
SELECT $pipeline AS pipeline, key_id, rung, custom_id, agreement, votes, custom_ids, $run_id::UUID AS run_id,
    $now AS recorded_at, $seq AS seq
FROM work.votes

-- name: insert_stored_parts
-- Stored answers that count as votes of rows which are voted on now, or whose other members are asked.
INSERT INTO ledger.part_decisions BY NAME
SELECT
    $pipeline AS pipeline, r.key_id, p.part, p.settings, p.model, p.rung, r.fingerprint, b.custom_id, 'valid' AS state,
    0 AS attempts, 0 AS transients, NULL::INTEGER AS max_tokens, NULL::TIMESTAMP AS not_before, NULL::VARCHAR AS error,
    coalesce(r.started, $started) AS started, $run_id::UUID AS run_id, $now AS recorded_at, $seq AS seq
FROM work.ballots b
JOIN work.panel_rows r USING (key_id)
JOIN work.parts p ON p.rung = b.rung AND p.place = b.place
WHERE NOT b.stands

-- name: follow_stored_parts
-- A row that has asked none of the requests whose answers count for it follows the row that did.
INSERT INTO ledger.requests BY NAME
WITH followed AS (
    SELECT r.*, b.custom_id, p.part
    FROM work.ballots b
    JOIN work.panel_rows r USING (key_id)
    JOIN work.parts p ON p.rung = b.rung AND p.place = b.place
    WHERE NOT b.stands AND (r.key_id, b.custom_id) NOT IN (
        SELECT (key_id, custom_id) FROM ledger.requests WHERE pipeline IN ({pipelines}) AND custom_id IN (SELECT custom_id FROM work.ballots)
    )
)
SELECT
    $pipeline AS pipeline, f.key_id, f.key, f.part, f.custom_id, false AS leads, q.chunk_id, $run_id::UUID AS run_id,
    $prompt_version::UUID AS prompt_version, $policy_hash::UUID AS policy_hash, f.input_hash, f.fingerprint,
    q.request_hash, f.reason, f.rung, q.provider, q.model, q.settings, 0 AS send, 1 AS attempt, 0 AS transients, q.max_tokens,
    f.rungs, f.earlier_answer, coalesce(f.started, $started) AS started, 0 AS bytes,
    {values} AS input_values, {include} AS include_values, {include_names} AS include_columns,
    $now AS recorded_at, $seq AS seq
FROM followed f
JOIN (
    SELECT DISTINCT ON (custom_id) custom_id, chunk_id, request_hash, provider, model, settings, max_tokens
    FROM ledger.requests
    WHERE leads AND custom_id IN (SELECT custom_id FROM followed)
) q USING (custom_id)
JOIN {snapshot} s ON s.position = f.position

-- name: outcomes_of_parts
-- A member has no rung above: its answer is a vote, or it fails.
UPDATE work.outcomes o SET
    rung = p.seat, rungs = 0, earlier_answer = NULL,
    checked_outcome = CASE o.checked_outcome WHEN 'unaccepted' THEN 'accepted' ELSE o.checked_outcome END
FROM work.sent_parts p
WHERE p.key_id = o.key_id AND p.custom_id = o.custom_id

-- name: sent_parts
-- work.sent_parts: One row is a collected request of a member of a panel. A member that has left the panel has no place.
CREATE OR REPLACE TABLE work.sent_parts AS
SELECT s.key_id, s.custom_id, s.rung, s.part, q.settings, q.model, p.place, coalesce(p.seat, s.rung) AS seat
FROM work.sent s
JOIN (SELECT custom_id, any_value(settings) AS settings, any_value(model) AS model FROM ledger.requests
    WHERE leads AND custom_id IN (SELECT custom_id FROM work.sent) GROUP BY custom_id) q USING (custom_id)
LEFT JOIN work.parts p ON p.rung = s.rung AND p.settings = q.settings AND p.part = s.part
WHERE s.part <> '' AND s.rung IN (SELECT rung FROM work.parts)

-- name: any_part
SELECT EXISTS (SELECT 1 FROM work.sent WHERE part <> '')

-- name: parts_without_panel
-- Where the rung asks only once by now, one of a row's answers is taken as the rung's: a valid one where there is one, and
-- none after a row was answered. The row of an evaluation is not decided by it.
DELETE FROM work.outcomes o WHERE o.part <> '' {apart} AND (
    {evaluated}
    OR (o.key_id, o.custom_id) NOT IN (
        SELECT (key_id, custom_id) FROM work.outcomes o WHERE o.part <> '' {apart}
        QUALIFY row_number() OVER (
            PARTITION BY key_id
            ORDER BY CASE checked_outcome WHEN 'accepted' THEN 0 WHEN 'unaccepted' THEN 1 ELSE 2 END, part, custom_id
        ) = 1
    )
    OR EXISTS (
        SELECT 1 FROM ledger.decisions d
        WHERE d.pipeline IN ({pipelines}) AND d.key_id = o.key_id AND d.started = o.started
            AND d.state IN ('accepted', 'kept')
    )
)

-- name: collected_ballots
-- The newest standing of each member of the rows that were collected.
-- work.member_standings: One row is a member of a panel with its newest standing, for a row that was collected.
CREATE OR REPLACE TABLE work.member_standings AS
WITH rows AS (SELECT DISTINCT o.key_id, s.rung, o.started FROM work.outcomes o JOIN work.sent_parts s USING (key_id, custom_id)),
now AS (
    SELECT o.key_id, s.rung, s.place, o.custom_id,
        CASE v.state WHEN 'accepted' THEN 'valid' ELSE v.state END AS state, d.output
    FROM work.outcomes o
    JOIN work.sent_parts s USING (key_id, custom_id)
    JOIN work.verdicts v ON v.checked_outcome = o.checked_outcome AND v.of_rung = o.rung AND v.of_attempt = o.attempt
        AND v.of_transients = o.transients AND v.of_max_tokens = o.max_tokens AND v.rungs = o.rungs
        AND v.has_earlier = (o.earlier_answer IS NOT NULL)
    LEFT JOIN work.all_documents d ON d.custom_id = o.custom_id
    WHERE s.place IS NOT NULL
),
before AS (
    SELECT r.key_id, r.rung, p.place, d.custom_id, d.state
    FROM rows r
    JOIN work.parts p ON p.rung = r.rung
    JOIN ledger.part_decisions d ON d.key_id = r.key_id AND d.started = r.started AND d.settings = p.settings
        AND d.part = p.part AND (d.rung = p.rung OR d.state = 'valid')
    WHERE d.pipeline IN ({pipelines})
    QUALIFY row_number() OVER (PARTITION BY r.key_id, p.place ORDER BY d.seq DESC) = 1
)
SELECT * FROM now
UNION ALL
SELECT b.key_id, b.rung, b.place, b.custom_id, b.state, r.output
FROM before b
LEFT JOIN (SELECT custom_id, arg_max(output, seq) AS output FROM ledger.results
    WHERE output IS NOT NULL AND custom_id IN (SELECT custom_id FROM before) GROUP BY custom_id) r USING (custom_id)
WHERE (b.key_id, b.place) NOT IN (SELECT (key_id, place) FROM now)

-- name: final_ballots
CREATE OR REPLACE TABLE work.ballots AS
SELECT key_id, rung, place, custom_id, state, output, true AS stands FROM work.member_standings WHERE state IN ('valid', 'failed')

-- name: collected_voters
CREATE OR REPLACE TABLE work.voters AS
SELECT DISTINCT ON (s.key_id)
    s.key_id, s.rung, s.rungs, s.input_hash, s.fingerprint, s.reason, s.earlier_answer, s.started, s.prompt_version,
    s.policy_hash, {input_values} AS input_values
FROM work.sent s
JOIN work.sent_parts p USING (key_id, custom_id)
{values}
WHERE (s.key_id, s.custom_id) IN (SELECT (key_id, custom_id) FROM work.outcomes)
    AND (SELECT count(*) FROM work.ballots b WHERE b.key_id = s.key_id) = (SELECT count(*) FROM work.parts q WHERE q.rung = s.rung)

-- name: values_of_voters
LEFT JOIN work.sent_values v ON v.key_id = s.key_id AND v.custom_id = s.custom_id

-- name: insert_part_decisions
INSERT INTO ledger.part_decisions BY NAME
SELECT
    $pipeline AS pipeline, o.key_id, s.part, s.settings, s.model, s.rung, o.fingerprint, o.custom_id,
    CASE v.state WHEN 'accepted' THEN 'valid' ELSE v.state END AS state, v.attempts, v.transients,
    v.next_max_tokens AS max_tokens,
    CASE WHEN v.pause_doublings IS NOT NULL
        THEN $now + to_seconds(($poll_interval * power(2, v.pause_doublings))::DOUBLE) END AS not_before,
    CASE WHEN v.state <> 'accepted' THEN coalesce(o.validation_error, o.error_message, {outcome_words}) END AS error,
    o.started, $run_id::UUID AS run_id, $now AS recorded_at, $seq AS seq
FROM work.outcomes o
JOIN work.sent_parts s USING (key_id, custom_id)
JOIN work.verdicts v ON v.checked_outcome = o.checked_outcome AND v.of_rung = o.rung AND v.of_attempt = o.attempt
    AND v.of_transients = o.transients AND v.of_max_tokens = o.max_tokens AND v.rungs = o.rungs
    AND v.has_earlier = (o.earlier_answer IS NOT NULL)

-- name: insert_waiting_rows
-- A row whose members have not all answered or failed goes on with the others.
INSERT INTO ledger.decisions BY NAME
SELECT DISTINCT ON (s.key_id)
    $pipeline AS pipeline, s.key_id, s.input_hash, s.prompt_version, s.policy_hash, s.fingerprint, s.custom_id,
    'retry' AS state, false AS review, s.reason, s.rung, 0 AS attempts, 0 AS transients, NULL::INTEGER AS max_tokens,
    NULL::TIMESTAMP AS not_before, s.earlier_answer, NULL::VARCHAR AS error, s.started, $run_id::UUID AS run_id,
    $now AS recorded_at, $seq AS seq
FROM work.sent s
JOIN work.sent_parts p USING (key_id, custom_id)
WHERE (s.key_id, s.custom_id) IN (SELECT (key_id, custom_id) FROM work.outcomes)
    AND s.key_id NOT IN (SELECT key_id FROM work.voters)

-- name: vote_states
-- What became of the rows with members in the collected chunks. A row with members in several chunks counts once.
SELECT chunk_id::VARCHAR, state, count(*)
FROM (
    SELECT s.key_id, any_value(o.chunk_id) AS chunk_id,
        coalesce(any_value(x.state), CASE WHEN bool_or(m.state = 'retry') THEN 'retry' ELSE 'waiting' END) AS state
    FROM work.outcomes o
    JOIN work.sent_parts s USING (key_id, custom_id)
    LEFT JOIN work.voted x ON x.key_id = s.key_id
    LEFT JOIN work.member_standings m ON m.key_id = s.key_id
    GROUP BY s.key_id
)
GROUP BY ALL

-- name: standing_votes
-- The newest vote of each answer that is looked at.
SELECT custom_id, arg_max(agreement, seq) AS agreement, arg_max(votes, seq) AS votes
FROM ledger.votes
WHERE pipeline IN ({pipelines}) AND custom_id IN (SELECT custom_id FROM {wanted})
GROUP BY custom_id

-- name: no_votes
SELECT NULL::VARCHAR AS custom_id, NULL::DOUBLE AS agreement,
    NULL::STRUCT(model VARCHAR, part VARCHAR, valid BOOLEAN, document JSON)[] AS votes
WHERE false

-- name: redo_votes
SELECT s.key_id, 'vote'
FROM work.standing s
JOIN ledger.decisions d ON d.key_id = s.key_id AND d.seq = s.seq AND d.pipeline IN ({pipelines})
WHERE s.state = 'accepted' AND s.started < $seq AND d.rung IN ({panels})

-- name: redo_missing_parts
SELECT DISTINCT s.key_id, 'fill'
FROM work.standing s
JOIN ledger.decisions d ON d.key_id = s.key_id AND d.seq = s.seq AND d.pipeline IN ({pipelines})
JOIN work.parts p ON p.rung = d.rung
WHERE s.state = 'accepted' AND s.started < $seq AND NOT EXISTS (
    SELECT 1 FROM ledger.requests q
    WHERE q.pipeline IN ({pipelines}) AND q.key_id = s.key_id AND q.fingerprint = d.fingerprint AND q.settings = p.settings
        AND coalesce(nullif(q.part, ''), '1') = p.part
) AND NOT EXISTS (
    SELECT 1 FROM ledger.part_decisions m
    WHERE m.pipeline IN ({pipelines}) AND m.key_id = s.key_id AND m.fingerprint = d.fingerprint AND m.settings = p.settings
        AND m.part = p.part
)

-- name: fail_parts
INSERT INTO ledger.part_decisions BY NAME
SELECT
    pipeline, key_id, part, settings, model, rung, fingerprint, custom_id, 'failed' AS state, attempt AS attempts,
    transients, NULL::INTEGER AS max_tokens, NULL::TIMESTAMP AS not_before, $error AS error, started,
    $run_id::UUID AS run_id, $now AS recorded_at, $seq AS seq
FROM ledger.requests
WHERE chunk_id = $chunk_id::UUID AND part <> ''

-- name: standings_to_render
LEFT JOIN (
    SELECT key_id, rung, list({'place': place, 'state': state, 'max_tokens': max_tokens, 'answer': answer, 'error': error}) AS parts
    FROM work.part_standings GROUP BY key_id, rung
) p ON p.key_id = t.key_id AND p.rung = t.next_rung AND t.continues

-- name: states_of_members
SELECT o.chunk_id::VARCHAR, v.state, count(*)
FROM work.outcomes o
JOIN work.sent_parts s USING (key_id, custom_id)
JOIN work.verdicts v ON v.checked_outcome = o.checked_outcome AND v.of_rung = o.rung AND v.of_attempt = o.attempt
    AND v.of_transients = o.transients AND v.of_max_tokens = o.max_tokens AND v.rungs = o.rungs
    AND v.has_earlier = (o.earlier_answer IS NOT NULL)
GROUP BY ALL

-- name: fill_standing_votes
-- The vote that a row's answer won, else the newest that the same answer won for another row. A row bears the cost of the
-- requests that it leads.
CREATE OR REPLACE TEMP TABLE standing_votes AS
WITH accepted AS ({accepted}),
newest AS (
    SELECT a.key_id, a.custom_id, v.agreement, v.votes, v.custom_ids
    FROM accepted a
    JOIN ledger.votes v ON v.custom_id = a.custom_id AND v.pipeline IN ({pipelines})
    QUALIFY row_number() OVER (PARTITION BY a.key_id, a.custom_id ORDER BY v.key_id = a.key_id DESC, v.seq DESC) = 1
),
asked AS (SELECT DISTINCT key_id, unnest(custom_ids) AS custom_id FROM newest),
costs AS (
    SELECT a.key_id, CASE WHEN bool_and(r.cost_usd IS NOT NULL) THEN sum(r.cost_usd) ELSE NULL END AS cost_usd
    FROM asked a
    JOIN ledger.results r ON r.custom_id = a.custom_id
    WHERE (a.key_id, a.custom_id) IN (
        SELECT (key_id, custom_id) FROM ledger.requests
        WHERE leads AND pipeline IN ({pipelines}) AND custom_id IN (SELECT custom_id FROM asked)
    )
    GROUP BY a.key_id
)
SELECT n.key_id, n.custom_id, n.agreement, n.votes, n.custom_ids,
    CASE WHEN c.key_id IS NULL THEN 0 ELSE c.cost_usd END AS cost_usd
FROM newest n
LEFT JOIN costs c USING (key_id)

-- name: standing_on_panels
SELECT d.key_id FROM ledger.decisions d JOIN work.standing s ON s.key_id = d.key_id AND s.seq = d.seq
WHERE d.pipeline IN ({pipelines}) AND d.rung IN ({panels})

-- name: any_vote_went_up
SELECT EXISTS (SELECT 1 FROM work.voted WHERE state = 'escalated')

-- name: went_up
-- work.went_up: One row is a row of the input that a vote sends up, for the next plan.
CREATE OR REPLACE TABLE work.went_up AS SELECT key_id FROM work.voted WHERE state = 'escalated'

-- name: reasons_of_went_up
SELECT p.reason, count(*) FROM work.plan p SEMI JOIN work.went_up USING (key_id) GROUP BY p.reason

-- name: tables_of_ledger
-- The tables of the ledger, and whether a row belongs to a pipeline.
SELECT t.table_name, count(*) FILTER (c.column_name = 'pipeline') > 0
FROM duckdb_tables() t
JOIN duckdb_columns() c USING (database_name, schema_name, table_name)
WHERE t.database_name = current_catalog() AND t.schema_name = 'ledger'
GROUP BY t.table_name
ORDER BY t.table_name

-- name: ladder_of_members
(SELECT l.* REPLACE (coalesce(p.rung, l.rung) AS rung) FROM work.ladder l LEFT JOIN work.parts p ON p.seat = l.rung)
