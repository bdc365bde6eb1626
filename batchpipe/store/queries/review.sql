-- Reviews: those that stand, the answers that a person should see, and the agreement of people and models.

-- name: any_reviews
SELECT count(*) > 0 FROM ledger.reviews WHERE pipeline IN ({pipelines})

-- name: no_reviews
SELECT * FROM ledger.reviews WHERE false

-- name: not_withdrawn
-- True for a review `h` that nobody has taken back, and that is not a withdrawal itself.
h.verdict <> 'withdrawn' AND NOT EXISTS (
    SELECT 1 FROM ledger.reviews t
    WHERE t.key_id = h.key_id AND t.withdraws = h.seq AND t.pipeline IN ({pipelines})
)

-- name: reviewed_values
-- One row per key: the newest review that was made of the same input as the standing answer, compared over the columns
-- that both used, and that was not taken back. Few rows are reviewed, and only these are looked up.
SELECT DISTINCT ON (h.key_id) h.*
FROM ledger.reviews h
JOIN (
    SELECT q.key_id, arg_max(q.input_values, q.seq) AS input_values, arg_max(q.policy_hash, q.seq) AS policy_hash
    FROM ledger.requests q
    JOIN (
        SELECT key_id, arg_max(custom_id, seq) AS custom_id
        FROM ledger.decisions
        WHERE pipeline IN ({pipelines}) AND state = 'accepted' {among}
            AND key_id IN (SELECT key_id FROM ledger.reviews WHERE pipeline IN ({pipelines}))
        GROUP BY key_id
    ) a ON a.key_id = q.key_id AND a.custom_id = q.custom_id
    WHERE q.pipeline IN ({pipelines})
    GROUP BY q.key_id
) n ON n.key_id = h.key_id
JOIN (SELECT DISTINCT policy_hash, columns FROM ledger.policies WHERE pipeline IN ({pipelines})) p
    ON p.policy_hash = n.policy_hash
WHERE h.pipeline IN ({pipelines}) AND {not_withdrawn} AND len(list_filter(
    h.input_columns,
    lambda name: list_contains(p.columns, name)
        AND n.input_values[list_position(p.columns, name)]
            IS DISTINCT FROM h.input_values[list_position(h.input_columns, name)]
)) = 0
ORDER BY h.key_id, h.seq DESC

-- name: sample_draws
-- Each key with a number from 0 to 999,999, by which it is in a sample or not.
-- A row is in the sample by the md5 of `review ` and its key's hash as a decimal number. DuckDB takes 75 microseconds to
-- write one number of 128 bits as text, so that its digits are worked out here: h and l are the upper and the lower 64
-- bits, 18, 446744073 and 709551616 the digits of 2 ** 64, s0 to s3 nine digits each with what they carry over, and n0 to
-- n2 eighteen digits each. The bytes of both hashes are read from the last to the first, as schema version 1 had them:
-- md5_number does so, and in a key's hash neighbours of one byte change places, then of two bytes, of four and of eight.
WITH stored AS (
    SELECT key_id, (number >> 64)::UBIGINT AS h, (number & 18446744073709551615)::UBIGINT AS l
    FROM (SELECT key_id, key_id::BLOB::BIT::UHUGEINT AS number FROM {keys})
),
swapped1 AS (
    SELECT key_id, ((h & 71777214294589695) << 8) | ((h >> 8) & 71777214294589695) AS h,
        ((l & 71777214294589695) << 8) | ((l >> 8) & 71777214294589695) AS l
    FROM stored
),
swapped2 AS (
    SELECT key_id, ((h & 281470681808895) << 16) | ((h >> 16) & 281470681808895) AS h,
        ((l & 281470681808895) << 16) | ((l >> 16) & 281470681808895) AS l
    FROM swapped1
),
halves AS (
    SELECT key_id, ((l & 4294967295) << 32) | (l >> 32) AS h, ((h & 4294967295) << 32) | (h >> 32) AS l FROM swapped2
),
digits AS (
    SELECT key_id, h // 1000000000000000000 AS h2, h // 1000000000 % 1000000000 AS h1, h % 1000000000 AS h0,
        l // 1000000000000000000 AS l2, l // 1000000000 % 1000000000 AS l1, l % 1000000000 AS l0
    FROM halves
),
sum0 AS (SELECT *, h0 * 709551616 + l0 AS s0 FROM digits),
sum1 AS (SELECT *, s0 // 1000000000 + h0 * 446744073 + h1 * 709551616 + l1 AS s1 FROM sum0),
sum2 AS (SELECT *, s1 // 1000000000 + h0 * 18 + h1 * 446744073 + h2 * 709551616 + l2 AS s2 FROM sum1),
sum3 AS (SELECT *, s2 // 1000000000 + h1 * 18 + h2 * 446744073 AS s3 FROM sum2),
numbers AS (
    SELECT key_id, s3 // 1000000000 + h2 * 18 AS n2, s3 % 1000000000 * 1000000000 + s2 % 1000000000 AS n1,
        s1 % 1000000000 * 1000000000 + s0 % 1000000000 AS n0
    FROM sum3
),
texts AS (
    SELECT key_id, CASE
        WHEN n2 > 0 THEN concat(
            'review ', n2, substr((1000000000000000000 + n1)::VARCHAR, 2), substr((1000000000000000000 + n0)::VARCHAR, 2)
        )
        WHEN n1 > 0 THEN concat('review ', n1, substr((1000000000000000000 + n0)::VARCHAR, 2))
        ELSE concat('review ', n0)
    END AS text
    FROM numbers
),
hashed AS (
    SELECT key_id, (number >> 64)::UBIGINT AS h, (number & 18446744073709551615)::UBIGINT AS l
    FROM (SELECT key_id, md5_number(text) AS number FROM texts)
)
-- The last six decimal digits: 2 ** 64 leaves 551616 of a million.
SELECT key_id, (h % 1000000 * 551616 + l % 1000000) % 1000000 AS draw FROM hashed

-- name: doubts
-- The weight of each answer in a sample by doubt: the less sure the answer, the more often it is drawn.
doubts AS (
    SELECT a.key_id, CASE
        WHEN r.confidence BETWEEN 0 AND 1 THEN 0.25 + 2.5 * sqrt(r.confidence * (1 - r.confidence))
        ELSE 1.5
    END AS weight
    FROM accepted a
    LEFT JOIN (
        SELECT custom_id, TRY_CAST(json_extract_string(arg_max(output, seq), {confidence}) AS DOUBLE) AS confidence
        FROM ledger.results
        WHERE pipeline IN ({pipelines}) AND output IS NOT NULL GROUP BY custom_id
    ) r USING (custom_id)
),

-- name: review_answers
-- The newest accepted answer of each key, with its request and with the values that stand.
-- work.review_answers: One row is the newest accepted answer of a key, as it was asked for and as it stands.
CREATE OR REPLACE TABLE work.review_answers AS
WITH accepted AS (
    SELECT key_id, max(seq) AS seq, arg_max(review, seq) AS review{weighed}
    FROM ledger.decisions
    WHERE pipeline IN ({pipelines}) AND state = 'accepted'
    GROUP BY key_id
),
{doubts}sampled AS (
    SELECT key_id, d.draw / 1000000.0 AS draw, {probability} AS probability
    FROM ({draws}) d {with_doubts}
    WHERE d.draw / 1000000.0 < {probability}
),
few AS (
    SELECT *
    FROM (
        SELECT a.key_id, a.seq, a.review, s.key_id IS NOT NULL AS sampled, s.draw, s.probability
        FROM accepted a LEFT JOIN sampled s USING (key_id)
    )
    WHERE {among}
),
-- The columns of a decision are read for the chosen keys alone.
chosen AS (
    SELECT key_id, arg_max(d.custom_id, d.seq) AS custom_id, arg_max(d.rung, d.seq) AS rung, any_value(f.review) AS review,
        arg_max(d.input_hash, d.seq) AS input_hash, arg_max(d.prompt_version, d.seq) AS prompt_version,
        any_value(f.sampled) AS sampled, any_value(f.draw) AS draw, any_value(f.probability) AS probability
    FROM ledger.decisions d JOIN few f USING (key_id, seq)
    WHERE d.pipeline IN ({pipelines}) AND d.state = 'accepted'
    GROUP BY key_id
),
asked AS (
    SELECT q.key_id, any_value(q.key) AS key, arg_max(q.input_values, q.seq) AS input_values,
        arg_max(q.policy_hash, q.seq) AS policy_hash
    FROM ledger.requests q
    JOIN chosen c ON c.key_id = q.key_id AND c.custom_id = q.custom_id
    WHERE q.pipeline IN ({pipelines})
    GROUP BY q.key_id
),
answered AS (
    SELECT custom_id, arg_max(output, seq) AS output, any_value(provider) AS provider, any_value(model) AS model
    FROM ledger.results
    WHERE pipeline IN ({pipelines}) AND output IS NOT NULL AND custom_id IN (SELECT custom_id FROM chosen)
    GROUP BY custom_id
)
SELECT
    c.*, q.key,
    p.columns AS input_columns, q.input_values, r.provider, r.model, v.version,
    r.output AS answer, coalesce(h.after, r.output) AS document, h.reviewed_by, coalesce(n.seq, 0) AS reviewed_seq
FROM chosen c
JOIN asked q USING (key_id)
JOIN (SELECT DISTINCT policy_hash, columns FROM ledger.policies WHERE pipeline IN ({pipelines})) p USING (policy_hash)
JOIN answered r USING (custom_id)
LEFT JOIN (SELECT DISTINCT prompt_version, version FROM ledger.prompt_versions WHERE pipeline IN ({pipelines})) v
    USING (prompt_version)
LEFT JOIN ({reviewed}) h ON h.key_id = c.key_id
LEFT JOIN (SELECT key_id, max(seq) AS seq FROM ledger.reviews WHERE pipeline IN ({pipelines}) GROUP BY key_id) n
    ON n.key_id = c.key_id

-- name: count_reviews
SELECT count(*) FROM ledger.reviews WHERE pipeline IN ({pipelines})

-- name: doubts_by_confidence
INSERT INTO work.review_doubts
SELECT key_id, 1 - TRY_CAST(json_extract_string(answer, {confidence}) AS DOUBLE) FROM work.review_answers

-- name: review_features
-- What is known of each answer under review, and of each answer that was reviewed, with what the person said of it.
WITH reviewed AS (
    SELECT key_id, custom_id, before AS output, after, chosen, input_columns, input_values FROM ({reviewed})
),
answers AS (
    SELECT key_id, custom_id, answer AS output, rung::INTEGER AS rung, input_columns, input_values FROM work.review_answers
    UNION ALL
    SELECT r.key_id, r.custom_id, r.output, q.rung::INTEGER, r.input_columns, r.input_values
    FROM reviewed r
    JOIN (SELECT custom_id, any_value(rung) AS rung FROM ledger.requests GROUP BY custom_id) q USING (custom_id)
    WHERE r.key_id NOT IN (SELECT key_id FROM work.review_answers)
),
said AS (SELECT *, {values} AS said FROM answers),
others AS (
    SELECT q.key_id, q.custom_id, {values} AS other
    FROM (
        SELECT DISTINCT key_id, custom_id FROM ledger.requests
        WHERE split_part(pipeline, ':', 1) IN ({families}) AND split_part(pipeline, ':', 2) IN ('', 'eval', 'bought')
            AND key_id IN (SELECT key_id FROM answers)
    ) q
    JOIN (
        SELECT custom_id, arg_max(output, seq) AS output FROM ledger.results WHERE output IS NOT NULL GROUP BY custom_id
    ) r USING (custom_id)
),
agreed AS (
    SELECT s.key_id, avg((o.other = s.said)::INTEGER) AS agreement
    FROM said s JOIN others o ON o.key_id = s.key_id AND o.custom_id <> s.custom_id
    GROUP BY s.key_id
)
SELECT
    s.key_id, TRY_CAST(json_extract_string(s.output, {confidence}) AS DOUBLE) AS confidence, s.rung, s.said, a.agreement,
    CASE WHEN r.key_id IS NOT NULL THEN {after} END AS truth, coalesce(r.chosen, []) AS chosen,
    {text} AS text, {embedding} AS embedding, [{fields}] AS fields
FROM said s
LEFT JOIN agreed a ON a.key_id = s.key_id
LEFT JOIN (SELECT key_id, custom_id, after, chosen FROM reviewed) r ON r.key_id = s.key_id AND r.custom_id = s.custom_id

-- name: review_rows
-- The rows of the sample come first, in the order in which they are drawn, so that those reviewed first are a sample too.
-- Answers whose row is in the input, with the reason why a person should see them, and whether their input is the same.
-- work.review: One row is an answer that a person is to see, with its number on the screen.
CREATE OR REPLACE TABLE work.review AS
SELECT row_number() OVER (ORDER BY sampled DESC, CASE WHEN sampled THEN draw / probability END, doubt DESC NULLS LAST, position) - 1 AS number, *
FROM (
    SELECT
        a.*, s.position, w.doubt, {values_as_now} AS values_as_now,
        len(list_filter(
            a.input_columns,
            lambda name: list_contains({names}, name) AND ({texts})[list_position({names}, name)]
                IS DISTINCT FROM a.input_values[list_position(a.input_columns, name)]
        )) = 0 AS same_input,
        list_filter(
            [
                CASE WHEN a.review AND NOT {by_target} THEN 'ladder' END,
                CASE WHEN {by_target} AND a.key_id NOT IN (SELECT key_id FROM ({sure})) THEN 'target' END,
                CASE WHEN a.key_id IN (SELECT key_id FROM ({where})) THEN 'where' END,
                CASE WHEN a.sampled THEN 'sample' END
            ],
            lambda word: word IS NOT NULL
        ) AS chosen,
        left(md5(concat(a.key_id, ' ', a.custom_id, ' ', a.document, ' ', a.reviewed_seq)), 16) AS token
    FROM work.review_answers a
    JOIN {snapshot} s USING (key)
    LEFT JOIN work.review_doubts w USING (key_id)
)
WHERE {wanted}

-- name: review_row
SELECT
    w.number, w.key, w.custom_id, w.rung, w.provider, w.model, w.version, w.chosen, w.answer::VARCHAR AS answer,
    w.document::VARCHAR AS document, w.reviewed_by, w.same_input, w.token, {texts} AS input
FROM work.review w
JOIN {snapshot} s USING (position)
WHERE {chosen}
ORDER BY w.number

-- name: overtaken
SELECT v.number
FROM work.new_reviews v
JOIN work.review w USING (number)
LEFT JOIN (
    SELECT key_id, arg_max(custom_id, seq) AS custom_id
    FROM ledger.decisions
    WHERE pipeline IN ({pipelines}) AND state = 'accepted' AND key_id IN (
        SELECT key_id FROM work.review WHERE number IN (SELECT number FROM work.new_reviews)
    )
    GROUP BY key_id
) a USING (key_id)
WHERE a.custom_id IS DISTINCT FROM w.custom_id
ORDER BY v.number

-- name: reviewed_meanwhile
-- The newest review of each row that was recorded after the rows were chosen.
SELECT v.number, h.seq, h.reviewed_by, h.verdict, h.after::VARCHAR AS document
FROM work.new_reviews v
JOIN work.review w USING (number)
JOIN ledger.reviews h ON h.key_id = w.key_id AND h.seq > w.reviewed_seq
WHERE h.pipeline IN ({pipelines})
QUALIFY row_number() OVER (PARTITION BY v.number ORDER BY h.seq DESC) = 1
ORDER BY v.number

-- name: insert_reviews
INSERT INTO ledger.reviews BY NAME
SELECT
    $pipeline AS pipeline, w.key_id, w.key, w.input_hash, w.prompt_version, w.custom_id, w.input_columns, w.input_values,
    v.verdict, w.answer AS before, v.after::JSON AS after, w.chosen,
    CASE WHEN w.sampled THEN w.probability END AS sample_probability,
    coalesce(v.reviewed_by, $reviewed_by) AS reviewed_by, NULL::UUID AS run_id, $now AS recorded_at, $seq AS seq
FROM work.new_reviews v
JOIN work.review w USING (number)

-- name: newest_reviews
-- The newest review of each of these keys that was not taken back.
SELECT DISTINCT ON (h.key_id)
    h.key, h.seq, h.reviewed_by, h.custom_id, h.verdict, h.before::VARCHAR AS before, h.after::VARCHAR AS document
FROM ledger.reviews h
WHERE h.pipeline IN ({pipelines}) AND h.key_id IN (SELECT md5(unnest($keys::VARCHAR[]))::UUID) AND {not_withdrawn}
ORDER BY h.key_id, h.seq DESC

-- name: insert_withdrawals
INSERT INTO ledger.reviews BY NAME
SELECT
    $pipeline AS pipeline, h.key_id, h.key, h.input_hash, h.prompt_version, h.custom_id, h.input_columns, h.input_values,
    'withdrawn' AS verdict, h.before, h.before AS after, h.chosen, h.reviewed_by, NULL::UUID AS run_id,
    $now AS recorded_at, $seq AS seq, h.seq AS withdraws
FROM ledger.reviews h
JOIN (SELECT unnest($keys::VARCHAR[]) AS key, unnest($seqs::BIGINT[]) AS seq) d ON d.key = h.key AND d.seq = h.seq
WHERE h.pipeline IN ({pipelines})

-- name: row_reviews
SELECT
    h.recorded_at, h.reviewed_by, h.verdict, h.before::VARCHAR AS before, h.after::VARCHAR AS after, h.chosen, h.custom_id,
    h.seq IN (SELECT seq FROM ({reviewed})) AS stands
FROM ledger.reviews h
WHERE h.key_id = md5($key)::UUID AND h.pipeline IN ({pipelines})
ORDER BY h.seq

-- name: agreement
-- The newest review of each answer that was not taken back; each field and each reason of an answer counts once.
WITH said AS (
    SELECT DISTINCT ON (key_id, custom_id) verdict = 'accepted' AS agreed, before, after, chosen, reviewed_by
    FROM ledger.reviews h
    WHERE pipeline IN ({pipelines}) AND {not_withdrawn}
    ORDER BY key_id, custom_id, seq DESC
),
fields AS (
    SELECT name, json_extract(before, '/' || replace(replace(name, '~', '~0'), '/', '~1'))
        IS NOT DISTINCT FROM json_extract(after, '/' || replace(replace(name, '~', '~0'), '/', '~1')) AS agreed
    FROM (SELECT before, after, unnest(list_distinct(list_concat(json_keys(before), json_keys(after)))) AS name FROM said)
)
SELECT 'all' AS kind, '' AS name, count(*) AS n, count(*) FILTER (agreed) AS agreed FROM said
UNION ALL
SELECT 'chosen', word, count(*), count(*) FILTER (agreed)
FROM (SELECT agreed, unnest(chosen) AS word FROM said) GROUP BY word
UNION ALL
SELECT 'field', name, count(*), count(*) FILTER (agreed) FROM fields GROUP BY name
UNION ALL
SELECT 'person', reviewed_by, count(*), count(*) FILTER (agreed) FROM said GROUP BY reviewed_by
ORDER BY ALL
