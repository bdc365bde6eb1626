-- A cost that is not known is no longer counted as 0: the sum of a group without any known cost is NULL.

DROP VIEW ledger.spend;

CREATE VIEW ledger.spend AS
SELECT
    r.pipeline,
    r.run_id,
    coalesce(r.provider, b.provider, 'anthropic') AS provider,
    coalesce(b.model, r.model) AS model,
    count(*) AS requests,
    count(*) FILTER (r.cost_usd IS NULL) AS unpriced,
    coalesce(sum(r.input_tokens), 0)::BIGINT AS input_tokens,
    coalesce(sum(r.cache_write_5m_tokens), 0)::BIGINT AS cache_write_5m_tokens,
    coalesce(sum(r.cache_write_1h_tokens), 0)::BIGINT AS cache_write_1h_tokens,
    coalesce(sum(r.cache_read_tokens), 0)::BIGINT AS cache_read_tokens,
    coalesce(sum(r.output_tokens), 0)::BIGINT AS output_tokens,
    coalesce(sum(r.thinking_tokens), 0)::BIGINT AS thinking_tokens,
    sum(r.cost_usd)::DECIMAL(38, 15) AS cost_usd,
    coalesce(sum(r.realtime_usd), 0)::DECIMAL(38, 15) AS realtime_usd
FROM ledger.results r
LEFT JOIN ledger.batches b USING (chunk_id)
WHERE NOT r.judged_again
GROUP BY r.pipeline, r.run_id, coalesce(r.provider, b.provider, 'anthropic'), coalesce(b.model, r.model);
