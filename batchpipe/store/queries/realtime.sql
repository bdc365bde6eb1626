-- Chunks that are asked by realtime calls.

-- name: asked
-- work.asked: One row is the custom id of a request whose realtime call began, and did not end at no cost.
CREATE OR REPLACE TABLE work.asked AS SELECT unnest($custom_ids::VARCHAR[]) AS custom_id

-- name: journal_is_damaged
-- Every answer comes after the start of its call: one without a start shows that the journal has lost lines. A start of
-- another chunk's request is no line that was written so.
SELECT
    EXISTS (
        FROM work.lines
        WHERE custom_id IN (SELECT custom_id FROM work.sent) AND custom_id NOT IN (SELECT custom_id FROM work.asked)
    )
    OR EXISTS (FROM work.asked WHERE custom_id NOT IN (SELECT custom_id FROM work.sent))

-- name: leave_out_not_asked
-- Requests that were not asked, or refused, are not results of the chunk: they are due as before.
DELETE FROM work.sent
WHERE custom_id NOT IN (SELECT custom_id FROM work.asked)
    AND custom_id NOT IN (SELECT custom_id FROM work.lines WHERE custom_id IS NOT NULL)

-- name: all_are_asked
SELECT count(DISTINCT custom_id) = $requests FROM work.sent

-- name: calls_of_chunk
-- The requests of a chunk in the order in which they are asked.
SELECT c.custom_id, q.number, f.params
FROM work.chunk c
JOIN work.to_send q USING (key_id{place})
JOIN {rendered} f ON f.position = c.position AND f.continues = c.continues{own}
WHERE c.leads AND c.chunk_id = {chunk_id}::UUID
    AND f.position BETWEEN (SELECT min(position) FROM work.chunk WHERE leads AND chunk_id = {chunk_id}::UUID)
    AND (SELECT max(position) FROM work.chunk WHERE leads AND chunk_id = {chunk_id}::UUID)
ORDER BY q.number

-- name: batch_times
-- The seconds within which 90% of the newest ended batches of a model were back, and how many these are.
SELECT quantile_cont(seconds, 0.9), count(*)
FROM (
    SELECT greatest(epoch(ended_at) - epoch(coalesce(created_at, submitted_at)), 0) AS seconds
    FROM ledger.batches
    WHERE coalesce(provider, 'anthropic') = $provider AND model = $model AND submitted_at IS NOT NULL
        AND ended_at IS NOT NULL AND cancel_requested_at IS NULL
    ORDER BY submitted_at DESC
    LIMIT 50
)
