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

-- name: files_by_size
-- The files of the requests to send, of those alike: what their tokens follow from. A text goes by its bytes.
SELECT
    t.rung, l.kind, split_part(l.line, ' ', 1) AS content,
    CASE WHEN split_part(l.line, ' ', 1) NOT LIKE 'image/%' THEN coalesce(TRY_CAST(f[1] AS BIGINT), 0) ELSE 0 END AS size,
    coalesce(TRY_CAST(f[2] AS INTEGER), 0) AS width,
    coalesce(TRY_CAST(f[3] AS INTEGER), 0) AS height,
    coalesce(TRY_CAST(f[4] AS INTEGER), 0) AS pages,
    count(*) AS blocks
FROM (
    SELECT *, CASE WHEN line NOT LIKE 'url %' THEN string_split(split_part(line, chr(9), 2), ' ') END AS f FROM ({lines})
) l
JOIN {sends} t USING (position)
WHERE l.line <> '' AND NOT starts_with(l.line, '!')
GROUP BY ALL

-- name: files_of_rungs
-- The distinct files of the requests to each rung, their bytes, and how many of them are uploaded once.
SELECT rung, count(sha256), coalesce(sum(size), 0)::BIGINT, count(*) FILTER (shared)
FROM (
    SELECT DISTINCT t.rung, l.sha256, l.size, f.sha256 IS NOT NULL AS shared
    FROM (
        SELECT position, nullif(regexp_extract(line, '^\S+ ([0-9a-f]{{64}})\t', 1), '') AS sha256,
            CASE WHEN line NOT LIKE 'url %'
                THEN TRY_CAST(split_part(split_part(line, chr(9), 2), ' ', 1) AS BIGINT) END AS size
        FROM ({lines})
        WHERE line <> '' AND NOT starts_with(line, '!')
    ) l
    JOIN {sends} t USING (position)
    LEFT JOIN {shared} f ON f.rung = t.rung AND f.sha256 = l.sha256
)
GROUP BY rung

-- name: unfit_rows
-- The rows that no rung takes because of their files, and why.
SELECT s.key, {why} AS why
FROM {unfit} p
JOIN {rows} s USING (position)
LEFT JOIN (SELECT NULL::VARCHAR AS error) d ON true
WHERE concat_ws('', {lines}) <> ''
ORDER BY s.key

-- name: shared_files
-- work.shared_files: One row is a content that several of the requests to a rung send, and that is uploaded once for them.
CREATE OR REPLACE TABLE work.shared_files AS
SELECT rung, sha256, any_value(media_type) AS media_type, any_value(size) AS size, count(*) AS requests
FROM (
    SELECT DISTINCT t.rung, t.number, l.sha256, l.media_type, l.size
    FROM ({lines}) l
    JOIN work.to_send t USING (position)
    WHERE t.rung IN ({rungs})
)
GROUP BY rung, sha256
HAVING (count(*) - 1) * any_value(size) >= {least}

-- name: no_shared_files
CREATE OR REPLACE TABLE work.shared_files AS
SELECT 0 AS rung, '' AS sha256, '' AS media_type, 0::BIGINT AS size, 0::BIGINT AS requests WHERE false

-- name: count_shared_bytes
-- A request that names an upload has its name in the place of its bytes.
UPDATE work.to_send t
SET line_bytes = greatest(t.line_bytes - s.saved, {name_bytes})::INTEGER
FROM (
    SELECT t.number, sum((l.size + 2) // 3 * 4 + 2 - {name_bytes}) AS saved
    FROM ({lines}) l
    JOIN work.to_send t USING (position)
    JOIN work.shared_files f ON f.rung = t.rung AND f.sha256 = l.sha256
    GROUP BY t.number
) s
WHERE t.number = s.number

-- name: shared_of_chunks
-- The contents that the requests of chunks share with others.
SELECT DISTINCT c.chunk_id::VARCHAR AS chunk_id, l.sha256, f.media_type, f.size
FROM ({lines}) l
JOIN work.chunk c USING (position)
JOIN work.shared_files f ON f.rung = c.rung AND f.sha256 = l.sha256
WHERE c.leads
ORDER BY l.sha256, c.chunk_id

-- name: live_uploads
-- The uploads of an account that further requests may name: nobody has given them up, and they live long enough.
SELECT sha256, arg_max(upload_id, seq)::VARCHAR, arg_max(file_id, seq), arg_max(name, seq)
FROM ledger.uploads u
WHERE base_url = $base_url AND key_hash = $key_hash AND expires_at > $until
    AND list_contains($hashes::VARCHAR[], sha256)
    AND NOT EXISTS (
        SELECT 1 FROM ledger.events e
        WHERE e.kind IN ('file_given_up', 'file_discarded') AND (e.data ->> 'upload_id') = u.upload_id::VARCHAR
    )
GROUP BY sha256

-- name: insert_upload
INSERT INTO ledger.uploads BY NAME
SELECT
    $upload_id::UUID AS upload_id, $file_id AS file_id, $name AS name, $sha256 AS sha256, $media_type AS media_type,
    $bytes AS bytes, $protocol AS protocol, $base_url AS base_url, $key_hash AS key_hash, $expires_at AS expires_at,
    $run_id::UUID AS run_id, $now AS recorded_at, $seq AS seq

-- name: any_uploads_left
-- Whether the provider may have uploads of ours that are not deleted.
SELECT count(*) > 0 FROM ledger.uploads u
WHERE expires_at > $now AND NOT EXISTS (
    SELECT 1 FROM ledger.events e
    WHERE e.kind = 'file_discarded' AND (e.data ->> 'upload_id') = u.upload_id::VARCHAR
)

-- name: uploads_left
-- The uploads that no open chunk names and that are not deleted, each with a chunk that named it.
WITH named AS (
    SELECT unnest((data -> 'upload_ids')::VARCHAR[]) AS upload_id, chunk_id FROM ledger.events WHERE kind = 'files_named'
),
told AS (
    SELECT data ->> 'upload_id' AS upload_id, bool_or(kind = 'file_given_up') AS given_up, bool_or(kind = 'file_discarded') AS gone
    FROM ledger.events WHERE kind IN ('file_given_up', 'file_discarded')
    GROUP BY ALL
),
uses AS (
    SELECT n.upload_id, max(n.chunk_id) AS chunk_id, bool_or(b.is_open) AS is_open
    FROM named n JOIN ledger.batches b USING (chunk_id)
    GROUP BY ALL
)
SELECT b.*, u.upload_id::VARCHAR AS upload_id, u.file_id, coalesce(t.given_up, false) AS given_up
FROM ledger.uploads u
JOIN uses n ON n.upload_id = u.upload_id::VARCHAR
JOIN ledger.batches b ON b.chunk_id = n.chunk_id
LEFT JOIN told t ON t.upload_id = u.upload_id::VARCHAR
WHERE NOT n.is_open AND NOT coalesce(t.gone, false) AND u.expires_at > $now

-- name: results_kept
-- The batches of an account whose results are saved and taken in, and that the provider keeps still, the oldest first.
SELECT b.*
FROM ledger.batches b
WHERE b.state = 'collected' AND b.batch_id IS NOT NULL AND b.base_url = $base_url AND b.key_hash = $key_hash
    AND b.submitted_at > $since
    AND NOT EXISTS (SELECT 1 FROM ledger.events e WHERE e.kind = 'results_discarded' AND e.chunk_id = b.chunk_id)
ORDER BY b.submitted_at, b.chunk_id

-- name: batch_of_chunk
SELECT * FROM ledger.batches WHERE chunk_id = $chunk_id::UUID

-- name: file_seen
-- Where a content was seen, the newest first.
SELECT path, size, width, height, pages FROM ledger.media WHERE sha256 = $sha256
GROUP BY ALL ORDER BY max(hashed_at) DESC, path LIMIT 10

-- name: row_names_file
-- Whether a request of the row has named this content.
SELECT count(*) > 0 FROM ledger.requests
WHERE pipeline IN ({pipelines}) AND list_contains($keys::VARCHAR[], key)
    AND len($sha256) = 64 AND contains(input_values::VARCHAR, ' ' || $sha256)
