-- Shares of the values of a field in an output table.

-- name: share_rows
-- work.share_rows: One row is a current row of an output table: what the model says, and what a person says of the sample.
CREATE OR REPLACE TABLE work.share_rows AS
WITH present AS (
    SELECT by_value, _rung = 0 AS by_local, unnest(list_distinct([{keys}])) AS key
    FROM (SELECT *, {by} AS by_value FROM {table}) WHERE _current
),
accepted AS (
    SELECT key_id, arg_max(custom_id, seq) AS custom_id
    FROM ledger.decisions
    WHERE pipeline IN ({pipelines}) AND state = 'accepted' AND key_id IN (SELECT md5(key)::UUID FROM present)
    GROUP BY key_id
),
{doubts}drawn AS (
    SELECT key_id, d.draw / 1000000.0 AS draw, {probability} AS probability FROM ({draws}) d {with_doubts}
),
answered AS (
    SELECT custom_id, arg_max(output, seq) AS output
    FROM ledger.results
    WHERE pipeline IN ({pipelines}) AND output IS NOT NULL AND custom_id IN (SELECT custom_id FROM accepted)
    GROUP BY custom_id
)
SELECT
    p.by_value, coalesce(p.by_local, false) AS by_local, {predicted} AS predicted, d.draw,
    d.probability::DOUBLE AS probability,
    h.key_id IS NOT NULL AS reviewed, {truth} AS truth, h.reviewed_by
FROM present p
JOIN accepted a ON a.key_id = md5(p.key)::UUID
JOIN answered r USING (custom_id)
LEFT JOIN drawn d ON d.key_id = a.key_id
LEFT JOIN (SELECT * FROM ({reviewed}) WHERE list_contains(chosen, 'sample')) h ON h.key_id = a.key_id
