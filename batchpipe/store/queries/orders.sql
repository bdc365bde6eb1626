-- Orders of people, and when they are done.

-- name: open_orders
SELECT kind, argument, selection, seq, order_id
FROM ledger.orders o
WHERE pipeline IN ({pipelines})
    AND order_id::VARCHAR NOT IN (
        SELECT data ->> 'order_id' FROM ledger.events WHERE kind = 'order_done' AND pipeline IN ({pipelines})
    )
ORDER BY seq

-- name: redo_model
SELECT s.key_id, 'fresh'
FROM work.standing s
JOIN ledger.decisions d ON d.key_id = s.key_id AND d.seq = s.seq AND d.pipeline IN ({pipelines})
JOIN (SELECT DISTINCT custom_id, settings FROM ledger.requests WHERE pipeline IN ({pipelines})) r USING (custom_id)
WHERE s.state = 'accepted' AND s.started < $seq AND r.settings NOT IN ({present})

-- name: insert_order
INSERT INTO ledger.orders VALUES ($pipeline, uuidv7(), $kind, $argument, $selection, $run_id, $now, $seq)
