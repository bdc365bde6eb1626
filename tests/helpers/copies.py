"""Answers by the million."""

from __future__ import annotations

# What was recorded of row 1 is recorded of every other row, under each prompt version, 10,000 rows a chunk and commit.
COPIES = """
CREATE TEMP TABLE others AS
SELECT
    n, n // 10000 AS later, lpad(to_hex(n // 10000), 12, '0') AS chunk, key, md5(key)::UUID AS key_id, input_values,
    md5(to_json(input_values)::VARCHAR)::UUID AS input_hash
FROM (SELECT n, '["' || n || '"]' AS key, ['text number ' || n, 'en'] AS input_values FROM range({first}, {last}) t(n));
INSERT INTO ledger.decisions SELECT d.* REPLACE (
    o.key_id AS key_id, d.custom_id || '-' || o.n AS custom_id, o.input_hash AS input_hash,
    md5(d.fingerprint || ' ' || o.n)::UUID AS fingerprint, d.seq + o.later AS seq
) FROM ledger.decisions d, others o WHERE d.key_id = md5('["1"]')::UUID ORDER BY seq, n;
INSERT INTO ledger.requests SELECT r.* REPLACE (
    o.key_id AS key_id, o.key AS key, r.custom_id || '-' || o.n AS custom_id, o.input_hash AS input_hash,
    md5(r.fingerprint || ' ' || o.n)::UUID AS fingerprint, o.input_values AS input_values, r.seq + o.later AS seq,
    (left(r.chunk_id::VARCHAR, 24) || o.chunk)::UUID AS chunk_id
) FROM ledger.requests r, others o WHERE r.key = '["1"]' ORDER BY seq, n;
INSERT INTO ledger.results SELECT r.* REPLACE (
    r.custom_id || '-' || o.n AS custom_id, r.seq + o.later AS seq,
    (left(r.chunk_id::VARCHAR, 24) || o.chunk)::UUID AS chunk_id
)
FROM ledger.results r, others o
WHERE r.custom_id IN (SELECT custom_id FROM ledger.requests WHERE key = '["1"]') ORDER BY seq, n;
INSERT INTO ledger.commits SELECT max(seq), NULL, now()::TIMESTAMP FROM ledger.results;
"""
