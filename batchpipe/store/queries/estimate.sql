-- What requests are expected to use and to cost.

-- name: shown_by_results
SELECT
    sum(q.bytes) / nullif(sum(r.input_tokens + r.cache_write_5m_tokens + r.cache_write_1h_tokens + r.cache_read_tokens), 0),
    coalesce(avg(r.output_tokens), 0),
    count(*)
FROM ledger.results r
JOIN ledger.requests q ON q.custom_id = r.custom_id AND q.leads
WHERE r.pipeline IN ({pipelines}) AND r.outcome IN ('answered', 'truncated') AND NOT r.judged_again
    AND q.settings = $settings

-- name: estimate
SELECT
    coalesce(sum(q.expected_input_tokens), 0)::BIGINT,
    coalesce(sum(q.expected_output_tokens), 0)::BIGINT,
    CASE WHEN bool_and(l.input_usd IS NOT NULL) IS NOT false THEN coalesce(sum(
        q.expected_input_tokens::DECIMAL(18, 0) * l.input_usd
        + q.expected_output_tokens::DECIMAL(18, 0) * l.output_usd), 0) END,
    CASE WHEN bool_and(c.climb_usd IS NOT NULL AND q.max_usd IS NOT NULL) IS NOT false THEN coalesce(sum(q.max_usd + c.climb_usd), 0) END,
    CASE WHEN bool_and(l.realtime_input_usd IS NOT NULL) IS NOT false THEN coalesce(sum(
        q.expected_input_tokens::DECIMAL(18, 0) * l.realtime_input_usd
        + q.expected_output_tokens::DECIMAL(18, 0) * l.realtime_output_usd), 0) END
FROM work.queue q
JOIN work.ladder l USING (rung)
JOIN (
    SELECT q.number,
        CASE WHEN bool_and(u.rung IS NULL OR u.most_input_usd IS NOT NULL) THEN coalesce(sum(
            (q.bytes + $overhead_bytes)::DECIMAL(18, 0) * u.most_input_usd
            + u.max_tokens::DECIMAL(18, 0) * u.most_output_usd), 0) END AS climb_usd
    FROM work.queue q
    LEFT JOIN work.ladder u ON u.rung > q.rung AND (q.rungs >> (u.rung - 1)::UINTEGER) & 1 = 1
    GROUP BY q.number
) c USING (number)
