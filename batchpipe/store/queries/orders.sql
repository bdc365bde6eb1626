-- Orders that people gave (`--redo`, `--keep`, `--retry-failed`), and which of them are still open.

-- name: open_orders
-- `number` is the place of the order among all orders ever given, so that it never changes.
SELECT kind, argument, selection, seq, order_id, number, recorded_at
FROM (
    SELECT *, row_number() OVER (ORDER BY seq, order_id) AS number FROM ledger.orders WHERE pipeline IN ({pipelines})
)
WHERE order_id::VARCHAR NOT IN (
    SELECT data ->> 'order_id' FROM ledger.events
    WHERE kind IN ('order_done', 'order_withdrawn') AND pipeline IN ({pipelines})
)
ORDER BY seq, order_id

-- name: redo_model
SELECT s.key_id, 'fresh'
FROM work.standing s
JOIN ledger.decisions d ON d.key_id = s.key_id AND d.seq = s.seq AND d.pipeline IN ({pipelines})
JOIN (SELECT DISTINCT custom_id, settings FROM ledger.requests WHERE pipeline IN ({pipelines})) r USING (custom_id)
WHERE s.state = 'accepted' AND s.started < $seq AND r.settings NOT IN ({present})

-- name: answered_since
-- The keys that stand by an answer to a request that was sent after the order: nobody has seen it who gave the order.
SELECT s.key_id
FROM work.standing s
JOIN ledger.decisions d ON d.key_id = s.key_id AND d.seq = s.seq AND d.pipeline IN ({pipelines})
WHERE s.started < $seq
    AND d.custom_id IN (SELECT custom_id FROM ledger.requests WHERE pipeline IN ({pipelines}) AND seq > $seq)

-- name: standing_accepts
-- The `accept` of each rung, as a JSON list, of the policies under which rows stand.
SELECT DISTINCT (p.policy -> 'accept')::VARCHAR
FROM work.standing_policies s
JOIN ledger.policies p USING (policy_hash)
WHERE p.pipeline IN ({pipelines}) AND s.answered > 0
ORDER BY ALL

-- name: any_settings_off_the_ladder
SELECT EXISTS (
    SELECT 1 FROM ledger.requests WHERE pipeline IN ({pipelines}) AND reason <> 'try' AND settings NOT IN ({present})
)

-- name: models_off_the_ladder
SELECT CASE WHEN r.provider = 'local' THEN 'local' ELSE r.model END AS name, count(*)
FROM work.standing s
JOIN ledger.decisions d ON d.key_id = s.key_id AND d.seq = s.seq AND d.pipeline IN ({pipelines})
JOIN (
    SELECT DISTINCT custom_id, settings, model, provider FROM ledger.requests WHERE pipeline IN ({pipelines})
) r USING (custom_id)
WHERE s.state = 'accepted' AND r.settings NOT IN ({present})
GROUP BY name ORDER BY name

-- name: insert_order
INSERT INTO ledger.orders VALUES ($pipeline, $order_id, $kind, $argument, $selection, $run_id, $now, $seq)
