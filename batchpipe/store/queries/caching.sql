-- Prompt caching: the chunks with cache marks, the tokens they read and wrote, and what that saved.

-- name: cache_hits
-- Tokens that the newest batches read and wrote, by model and lifetime, if the cache held their prefix when they were
-- sent.
SELECT m.ttl, coalesce(sum(r.cache_read_tokens), 0)::BIGINT,
    sum(coalesce(r.cache_write_5m_tokens, 0) + coalesce(r.cache_write_1h_tokens, 0))::BIGINT, count(*)
FROM (
    SELECT chunk_id, data ->> 'cache' AS ttl
    FROM ledger.events
    WHERE kind = 'chunk_prepared' AND (data ->> 'cache_step') = 'warm' AND (data ->> 'model') = $model
        AND recorded_at > $since
    ORDER BY seq DESC
    LIMIT 50
) m
JOIN ledger.results r USING (chunk_id)
WHERE coalesce(r.cache_read_tokens, 0) + coalesce(r.cache_write_5m_tokens, 0) + coalesce(r.cache_write_1h_tokens, 0) > 0
GROUP BY m.ttl

-- name: cache_seen
-- The state of one prefix: when a priming request in flight was sent, until when the cache may hold it, the number of
-- priming requests since any other request, and whether a marked request was answered without a use of the cache.
WITH chunks AS (
    SELECT chunk_id, pipeline, recorded_at, data ->> 'cache_step' AS step, data ->> 'cache' AS ttl, seq
    FROM ledger.events
    WHERE kind = 'chunk_prepared' AND (data ->> 'cache_prefix') = $prefix AND recorded_at > $since
    ORDER BY seq DESC
    LIMIT 50
),
known AS (
    SELECT c.*, b.state, b.is_open, b.ended_at
    FROM chunks c JOIN ledger.batches b USING (chunk_id)
    WHERE b.is_open OR b.state = 'collected'
),
used AS (
    SELECT
        k.chunk_id, any_value(k.ended_at) AS ended_at, any_value(k.ttl) AS ttl,
        sum(coalesce(r.cache_read_tokens, 0) + coalesce(r.cache_write_5m_tokens, 0) + coalesce(r.cache_write_1h_tokens, 0))
            AS tokens,
        coalesce(sum(r.input_tokens), 0) AS uncached_tokens
    FROM known k JOIN ledger.results r USING (chunk_id)
    WHERE k.ttl IS NOT NULL
    GROUP BY k.chunk_id
)
SELECT
    (SELECT max(recorded_at) FROM known WHERE step = 'prime' AND is_open AND pipeline IN ({pipelines})
        AND state IN ('in_flight', 'ended', 'canceling')),
    (SELECT max(ended_at + CASE ttl WHEN '5m' THEN INTERVAL 5 MINUTE ELSE INTERVAL 1 HOUR END) FROM used WHERE tokens > 0),
    (SELECT count(*) FROM known WHERE step = 'prime'
        AND seq > coalesce((SELECT max(seq) FROM known WHERE step <> 'prime'), 0)),
    (SELECT coalesce(bool_or(tokens = 0 AND uncached_tokens > 0), false) FROM used)

-- name: due_on_rungs
SELECT rung, count(*), sum(expected_input_tokens)::BIGINT FROM work.to_send GROUP BY rung

-- name: price_with_cache
UPDATE work.ladder SET
    input_usd = $input_usd,
    realtime_input_usd = coalesce(realtime_input_usd * $input_usd / nullif(input_usd, 0), realtime_input_usd)
WHERE rung = $rung

-- name: cache_came_to
-- What the cache did in batches, by model: what reads saved, and what writes cost above the price of uncached input.
WITH used AS (
    SELECT * REPLACE (
        coalesce(input_tokens, 0) AS input_tokens, coalesce(cache_read_tokens, 0) AS cache_read_tokens,
        coalesce(cache_write_5m_tokens, 0) AS cache_write_5m_tokens,
        coalesce(cache_write_1h_tokens, 0) AS cache_write_1h_tokens
    )
    FROM ledger.results
    WHERE pipeline IN ({pipelines}) AND NOT judged_again AND batch_id IS NOT NULL
        AND coalesce(cache_read_tokens, 0) + coalesce(cache_write_5m_tokens, 0) + coalesce(cache_write_1h_tokens, 0) > 0
),
priced AS (
    SELECT
        coalesce(u.provider, 'anthropic') AS provider, u.model, u.cache_read_tokens AS read, u.cache_write_5m_tokens + u.cache_write_1h_tokens AS written,
        u.cache_read_tokens::DECIMAL(18, 0) * (p.input_usd - p.cache_read_usd)
            - u.cache_write_5m_tokens::DECIMAL(18, 0) * (p.cache_write_5m_usd - p.input_usd)
            - u.cache_write_1h_tokens::DECIMAL(18, 0) * (p.cache_write_1h_usd - p.input_usd) AS saved_usd
    FROM used u
    LEFT JOIN ledger.prices p ON p.model = u.model AND p.processing = 'batch' AND p.from_day <= u.recorded_at::DATE
        AND p.above_input_tokens
            < u.input_tokens + u.cache_write_5m_tokens + u.cache_write_1h_tokens + u.cache_read_tokens
    QUALIFY row_number() OVER (
        PARTITION BY u.custom_id, u.chunk_id
        ORDER BY p.provider = coalesce(u.provider, 'anthropic') DESC, p.above_input_tokens DESC, p.from_day DESC, p.seq DESC
    ) = 1
)
SELECT
    provider, model, count(*) AS requests, count(*) FILTER (read > 0) AS hits, sum(read)::BIGINT AS read_tokens,
    sum(written)::BIGINT AS written_tokens, coalesce(sum(saved_usd), 0)::DECIMAL(38, 15) AS saved_usd
FROM priced
GROUP BY provider, model
ORDER BY provider, model
