-- The tokens, cost and time that requests are expected to take.

-- name: recent_window
-- The commit from which on there are 20,000 results, and the number n of which every n-th is read: enough for an estimate,
-- without a scan of all results.
SELECT
    coalesce(max(seq) FILTER (newer >= 20_000), 0)::BIGINT,
    greatest(coalesce(min(newer) FILTER (newer >= 20_000), 0) // 20_000, 1)::BIGINT
FROM (
    SELECT seq, sum(count(*)) OVER (ORDER BY seq DESC) AS newer
    FROM ledger.results WHERE pipeline IN ({pipelines}) GROUP BY seq
)

-- name: recent_results
-- work.seen: One row is a recent result that the estimate learns from, with its tokens and its state.
CREATE OR REPLACE TABLE work.seen AS
WITH recent AS (
    SELECT * FROM ledger.results
    WHERE seq >= $seq AND pipeline IN ({pipelines}) AND NOT judged_again AND hash(custom_id) % $every::UBIGINT = 0
)
SELECT
    q.settings, q.bytes, q.attempt, q.max_tokens, q.prompt_version, r.seq, coalesce(m.state, d.state) AS state,
    q.part = '' AND (q.rungs >> q.rung::UINTEGER) > 0 AS may_climb,
    q.prompt_version = $prompt_version::UUID AND q.policy_hash = $policy_hash::UUID AS present,
    r.output_tokens, r.input_tokens, r.cache_write_5m_tokens, r.cache_write_1h_tokens, r.cache_read_tokens,
    r.input_tokens + r.cache_write_5m_tokens + r.cache_write_1h_tokens + r.cache_read_tokens AS all_input,
    all_input + r.output_tokens > 0 AND r.cost_usd IS DISTINCT FROM 0 AS billed,
    r.cost_usd IS NULL AND all_input + r.output_tokens IS NULL AS unknown
FROM recent r
JOIN ledger.requests q ON q.custom_id = r.custom_id AND q.chunk_id = r.chunk_id AND q.leads
JOIN ledger.decisions d ON d.key_id = q.key_id AND d.seq = r.seq AND d.pipeline IN ({pipelines}) AND d.seq >= $seq
LEFT JOIN (
    SELECT key_id, custom_id, seq, state FROM ledger.part_decisions WHERE pipeline IN ({pipelines}) AND seq >= $seq
) m ON m.key_id = q.key_id AND m.custom_id = q.custom_id AND m.seq = r.seq

-- name: past_votes
-- How often the votes of each rung sent a row up, of the present prompt and policy alone if there are enough.
WITH cast_votes AS (
    SELECT v.rung, d.state, d.prompt_version = $prompt_version::UUID AND d.policy_hash = $policy_hash::UUID AS present
    FROM ledger.votes v
    JOIN ledger.decisions d ON d.key_id = v.key_id AND d.seq = v.seq AND d.pipeline IN ({pipelines})
    WHERE v.pipeline IN ({pipelines}) AND v.seq >= $seq
),
used AS (
    SELECT *, count(*) FILTER (present) OVER (PARTITION BY rung) >= $enough AS of_present
    FROM cast_votes
    QUALIFY present OR NOT of_present
)
SELECT rung, count(*) AS climbable, count(*) FILTER (state = 'escalated') AS climbed FROM used GROUP BY rung

-- name: past_results
-- Means by the settings of a rung, and over all settings (NULL), from results of the present prompt alone if there are
-- enough.
WITH used AS (
    SELECT *, count(*) FILTER (present AND billed) OVER (PARTITION BY settings) >= $enough AS of_present
    FROM work.seen
    QUALIFY present OR NOT of_present
)
SELECT
    settings,
    count(*) FILTER (billed) AS billed,
    count(*) FILTER (state <> 'retry') AS ended,
    count(*) FILTER (state = 'retry' AND billed) AS retried,
    count(*) FILTER (state <> 'retry' AND may_climb) AS climbable,
    count(*) FILTER (state = 'escalated') AS climbed,
    coalesce(sum(all_input) FILTER (state <> 'retry' AND may_climb), 0)::DOUBLE AS climbable_tokens,
    coalesce(sum(all_input) FILTER (state = 'escalated'), 0)::DOUBLE AS climbed_tokens,
    bool_and(present) AS present,
    coalesce(avg(bytes) FILTER (billed), 0) AS bytes,
    coalesce(avg(all_input) FILTER (billed AND attempt = 1), 0) AS first_input,
    coalesce(avg(all_input) FILTER (billed), 0) AS input,
    coalesce(var_samp(all_input) FILTER (billed), 0) AS input_variance,
    coalesce(regr_slope(all_input, bytes) FILTER (billed), 0) AS input_slope,
    coalesce(regr_r2(all_input, bytes) FILTER (billed), 0) AS input_fit,
    coalesce(avg(output_tokens) FILTER (billed), 0) AS output,
    coalesce(var_samp(output_tokens) FILTER (billed), 0) AS output_variance,
    coalesce(regr_slope(output_tokens, bytes) FILTER (billed), 0) AS output_slope,
    coalesce(regr_r2(output_tokens, bytes) FILTER (billed), 0) AS output_fit,
    coalesce(sum(input_tokens) FILTER (billed), 0)::BIGINT AS uncached_tokens,
    coalesce(sum(cache_write_5m_tokens) FILTER (billed), 0)::BIGINT AS cache_write_5m_tokens,
    coalesce(sum(cache_write_1h_tokens) FILTER (billed), 0)::BIGINT AS cache_write_1h_tokens,
    coalesce(sum(cache_read_tokens) FILTER (billed), 0)::BIGINT AS cache_read_tokens
FROM used
GROUP BY GROUPING SETS ((settings), ())

-- name: seen_shares
-- What first requests used, by rung and prompt version, the newest version first: how many used which share of the tokens
-- that their bytes could be, and of the room of an answer. A share is a power of the width of a class. An answer that
-- filled its room might have gone on. A result whose tokens are not known counts as the most.
WITH used AS (
    SELECT
        r.rung, s.prompt_version, s.seq, s.bytes, s.all_input / s.bytes AS tokens_per_byte,
        CASE WHEN s.unknown THEN (1 + $overhead_bytes / s.bytes) * greatest(r.write_5m_rate, r.write_1h_rate)
            ELSE greatest(s.input_tokens + s.cache_write_5m_tokens * r.write_5m_rate
                + s.cache_write_1h_tokens * r.write_1h_rate + s.cache_read_tokens * r.read_rate, 1) / s.bytes
            END AS input_share,
        CASE WHEN s.unknown OR s.output_tokens >= s.max_tokens THEN 1
            ELSE least(greatest(s.output_tokens, 1) / r.max_tokens, 1) END AS output_share
    FROM work.seen s
    JOIN work.ladder r USING (settings)
    WHERE (s.billed OR s.unknown) AND s.attempt = 1 AND s.bytes > 0
)
SELECT
    rung, prompt_version = $prompt_version::UUID AS present, count(*) AS results, min(bytes) AS least_bytes,
    max(tokens_per_byte) AS tokens_per_byte,
    histogram(ceil(ln(input_share) / ln($width))::INTEGER) AS input,
    histogram(ceil(ln(output_share) / ln($width))::INTEGER) AS output
FROM used
GROUP BY rung, prompt_version
ORDER BY max(seq) DESC

-- name: sums_of_requests
-- The sums from which the highest possible cost of a stretch of `work.to_send` is computed.
SELECT
    count(*) AS requests,
    count(*) FILTER (is_first) AS firsts,
    coalesce(sum(bytes) FILTER (is_first), 0)::BIGINT AS bytes,
    coalesce(min(bytes) FILTER (is_first), 0)::BIGINT AS least_bytes,
    coalesce(max(bytes) FILTER (is_first), 0)::BIGINT AS most_bytes,
    coalesce(sum(max_usd), 0)::DECIMAL(38, 15) AS max_usd,
    coalesce(sum(max_usd) FILTER (NOT is_first), 0)::DECIMAL(38, 15) AS again_usd,
    count(*) FILTER (max_usd IS NULL) AS unpriced,
    sum(expected_input_tokens)::BIGINT AS input_tokens,
    sum(expected_output_tokens)::BIGINT AS output_tokens
FROM work.to_send
WHERE number >= $start AND number < $stop

-- name: next_that_fits
SELECT min(number) FROM work.to_send WHERE number >= $start AND max_usd <= $left_usd::DECIMAL(38, 15)

-- name: rungs_of_numbers
SELECT number, rung FROM work.to_send WHERE number IN (SELECT unnest($numbers::BIGINT[]))

-- name: too_long
-- Due requests that went to a higher rung because the model of a lower one does not take them, and those that are
-- expected to be too long.
SELECT
    coalesce(too_long_for, rung) AS from_rung, rung, rungs, too_long_for IS NOT NULL AS certain, count(*) AS requests,
    len(list_filter($contexts::BIGINT[], lambda context: context < expected_input_tokens)) AS rungs_below,
    sum(expected_input_tokens)::BIGINT AS input_tokens, sum(expected_output_tokens)::BIGINT AS output_tokens
FROM work.to_send
WHERE too_long_for IS NOT NULL OR expected_input_tokens > ($contexts::BIGINT[])[rung]
GROUP BY ALL
ORDER BY ALL

-- name: recent_batches
-- The newest batches of any pipeline that ended without being canceled, timed by the provider's clock if it is known.
-- work.recent_batches: One row is one of the newest batches that the provider finished, with its seconds.
CREATE OR REPLACE TABLE work.recent_batches AS
SELECT requests, greatest(epoch(ended_at) - epoch(coalesce(created_at, submitted_at)), 0) AS seconds
FROM ledger.batches
WHERE list_contains($providers::VARCHAR[], provider) AND ended_at IS NOT NULL AND submitted_at IS NOT NULL AND cancel_requested_at IS NULL
ORDER BY submitted_at DESC
LIMIT 200

-- name: batch_seconds
-- The seconds of batches of about this size; if there are none, of all batches.
WITH like_this AS (
    SELECT *, requests BETWEEN $requests / 4 AND $requests * 4 AS is_alike FROM work.recent_batches
)
SELECT median(seconds), quantile_cont(seconds, 0.9), count(*)
FROM like_this
WHERE is_alike OR (SELECT count(*) FROM like_this WHERE is_alike) < 5

-- name: due_by_rung
-- The tokens of one attempt on each rung that a due row is on or may come to. A request that is expected to be too long
-- for its rung is refused there, which costs nothing: it begins on the first rung that takes it, if there is one.
WITH sent AS (
    SELECT q.rung AS start, {of_rung} AS of_rung, q.rungs, q.bytes, q.expected_input_tokens, q.expected_output_tokens
    FROM work.to_send q
    WHERE (q.expected_input_tokens > ($contexts::BIGINT[])[q.rung]) IS NOT true
    UNION ALL
    SELECT min(u.rung), min(u.rung), any_value(q.rungs), any_value(q.bytes), NULL, NULL
    FROM work.to_send q
    JOIN work.ladder u ON u.rung > {of_rung} AND (q.rungs >> (u.rung - 1)::UINTEGER) & 1 = 1
        AND (u.input_fixed + u.input_per_byte * q.bytes > ($contexts::BIGINT[])[u.rung]) IS NOT true
    WHERE q.expected_input_tokens > ($contexts::BIGINT[])[q.rung]
    GROUP BY q.number
)
SELECT * FROM (
    SELECT
        q.start, q.rungs, u.rung AS rung, count(*) AS requests,
        sum(CASE WHEN u.rung = q.start AND q.expected_input_tokens IS NOT NULL THEN q.expected_input_tokens
            ELSE greatest(u.input_fixed + u.input_per_byte * q.bytes, 1) END)::DOUBLE AS input_tokens,
        sum(CASE WHEN u.rung = q.start AND q.expected_output_tokens IS NOT NULL THEN q.expected_output_tokens
            ELSE greatest(least(u.output_fixed + u.output_per_byte * q.bytes, u.max_tokens), 1) END)::DOUBLE AS output_tokens
    FROM sent q
    JOIN work.ladder u ON u.rung = q.start OR (u.rung > q.of_rung AND (q.rungs >> (u.rung - 1)::UINTEGER) & 1 = 1)
    GROUP BY ALL
)
ORDER BY start, rungs, rung <> start, rung

-- name: most
SELECT CASE WHEN bool_and(c.climb_usd IS NOT NULL AND q.max_usd IS NOT NULL) IS NOT false
    THEN coalesce(sum(q.max_usd + c.climb_usd), 0)::DECIMAL(38, 15) END
FROM work.to_send q
JOIN (
    SELECT q.number,
        CASE WHEN bool_and(u.rung IS NULL OR u.most_input_usd IS NOT NULL) THEN coalesce(sum(
            CASE WHEN q.bytes + $overhead_bytes <= u.small_until
                THEN (q.bytes + $overhead_bytes)::DECIMAL(18, 0) * u.small_most_input_usd
                    + u.max_tokens::DECIMAL(18, 0) * u.small_most_output_usd
                ELSE (q.bytes + $overhead_bytes)::DECIMAL(18, 0) * u.most_input_usd
                    + u.max_tokens::DECIMAL(18, 0) * u.most_output_usd END), 0) END AS climb_usd
    FROM work.to_send q
    LEFT JOIN {ladder} u ON $climbs AND u.rung > {of_rung} AND (q.rungs >> (u.rung - 1)::UINTEGER) & 1 = 1
    GROUP BY q.number
) c USING (number)
