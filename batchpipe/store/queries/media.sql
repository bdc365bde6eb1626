-- Files of rows: what is known of their bytes.

-- name: known_files
-- The newest look at each file whose hash was taken when it had not changed for a while.
SELECT
    path, size, mtime_ns, sha256, media_type, width, height, pages, epoch_us(hashed_at) * 1000 AS hashed_ns
FROM ledger.media
QUALIFY row_number() OVER (PARTITION BY path ORDER BY hashed_at DESC) = 1

-- name: record_files
INSERT INTO ledger.media BY NAME
SELECT * EXCLUDE (hashed_ns), make_timestamp(hashed_ns // 1000) AS hashed_at FROM {hashed}

-- name: positions_of_chunk
SELECT position FROM work.chunk WHERE leads AND chunk_id = {chunk_id}::UUID

-- name: positions_to_send
SELECT position FROM work.to_send

-- name: positions_of_key
SELECT position FROM {rows} WHERE key = {key}
