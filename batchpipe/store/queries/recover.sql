-- Decisions of a person about chunks, and the rebuild of the ledger from the raw folder.

-- name: save_requests
COPY (SELECT * FROM ledger.requests WHERE chunk_id = {chunk_id}::UUID)
TO {path} (FORMAT parquet, COMPRESSION lz4, DICTIONARY_SIZE_LIMIT 1, ROW_GROUP_SIZE {group_rows})

-- name: saved_in_halves
-- Whether a file of requests is one of schema version 1, which kept a hash as two halves of a number.
SELECT count(*) > 0 FROM (DESCRIBE SELECT key_id FROM read_parquet($path)) WHERE starts_with(column_type, 'STRUCT')

-- name: hash_of_halves
concat(lpad(to_hex({hash}.high), 16, '0'), lpad(to_hex({hash}.low), 16, '0'))::UUID AS {hash}

-- name: turned_hash_of_halves
-- A hash that SQL had made, as a number with its bytes from the last to the first.
work.draw_order(concat(lpad(to_hex({hash}.high), 16, '0'), lpad(to_hex({hash}.low), 16, '0'))::UUID)::UUID AS {hash}

-- name: chunk_events
SELECT kind, data, recorded_at FROM ledger.events WHERE chunk_id = $chunk_id::UUID ORDER BY seq

-- name: chunk_identity
SELECT
    (SELECT value FROM ledger.meta WHERE name = 'database') AS database, pipeline, chunk_id::VARCHAR AS chunk_id,
    run_id::VARCHAR AS run_id, prompt_version::VARCHAR AS prompt_version, policy_hash::VARCHAR AS policy_hash
FROM ledger.requests
WHERE chunk_id = $chunk_id::UUID AND leads
LIMIT 1

-- name: version_row
SELECT * REPLACE (run_id::VARCHAR AS run_id) FROM ledger.prompt_versions
WHERE prompt_version = $prompt_version::UUID
ORDER BY pipeline = $pipeline DESC, seq LIMIT 1

-- name: policy_row
SELECT * FROM ledger.policies WHERE policy_hash = $policy_hash::UUID
ORDER BY pipeline = $pipeline DESC, seq LIMIT 1

-- name: chunk_is_known
SELECT
    EXISTS (SELECT 1 FROM ledger.requests WHERE chunk_id = $chunk_id::UUID AND leads),
    EXISTS (SELECT 1 FROM ledger.events WHERE chunk_id = $chunk_id::UUID AND kind = 'batch_collected')

-- name: restore_requests
INSERT INTO ledger.requests BY NAME
SELECT * REPLACE ({hashes}$seq AS seq) FROM read_parquet($path)

-- name: newest_commit_of_requests
-- The hash reads every value: a file that is damaged within is found before anything of it is recorded, and so is one of
-- another chunk.
SELECT greatest(max(seq), max(started)), max(hash(q)), bool_and(chunk_id::VARCHAR = $chunk_id) FROM read_parquet($path) q

-- name: owner_of_requests
SELECT max(pipeline), max(provider) FROM read_parquet($path)

-- name: room_of_chunk
-- The most tokens that an answer of a chunk may have, and whether its requests are votes of one panel.
SELECT coalesce(max(max_tokens), 1), coalesce(bool_or(part <> ''), false)
FROM ledger.requests WHERE chunk_id = $chunk_id::UUID AND leads

-- name: raise_commit
INSERT INTO ledger.commits VALUES ($seq, NULL, $now)

-- name: restore_version
INSERT INTO ledger.prompt_versions BY NAME
SELECT
    $pipeline AS pipeline, $prompt_version::UUID AS prompt_version, $recipe AS recipe,
    CASE
        WHEN $version IN (SELECT version FROM ledger.prompt_versions WHERE pipeline IN ({pipelines})) THEN
            'v' || (SELECT count(DISTINCT prompt_version) + 1 FROM ledger.prompt_versions WHERE pipeline IN ({pipelines}))
        ELSE $version
    END AS version,
    $prompt_hash::UUID AS prompt_hash, $schema_hash::UUID AS schema_hash, $visible_hash::UUID AS visible_hash,
    $format AS format, $sources AS sources, $vars AS vars, $queries AS queries, $full_schema AS full_schema,
    $pipeline_toml AS pipeline_toml, $git_commit AS git_commit, $run_id::UUID AS run_id,
    $recorded_at::TIMESTAMP AS recorded_at, $seq AS seq
WHERE NOT EXISTS (
    SELECT 1 FROM ledger.prompt_versions WHERE prompt_version = $prompt_version::UUID AND pipeline IN ({pipelines})
)

-- name: forget_validated_since
DELETE FROM work.outcomes WHERE key_id IN (
    SELECT key_id FROM ledger.decisions WHERE pipeline IN ({pipelines}) AND recorded_at > $moment
)

-- name: collected_chunks
SELECT DISTINCT chunk_id::VARCHAR FROM ledger.events
WHERE kind = 'batch_collected' AND chunk_id::VARCHAR IN (SELECT unnest($chunk_ids))

-- name: unknown_chunk_ids
-- Of the chunks in the raw folders those that the ledger does not know.
SELECT chunk_id FROM (SELECT unnest($chunk_ids::VARCHAR[]) AS chunk_id)
WHERE TRY_CAST(chunk_id AS UUID) NOT IN (
    SELECT chunk_id FROM ledger.events WHERE kind IN ('chunk_prepared', 'call_prepared') AND chunk_id IS NOT NULL
)

-- name: holds_pipeline
-- Whether the ledger has requests of a pipeline, the id of the database, and what a person said of other databases' chunks.
SELECT
    EXISTS (SELECT 1 FROM ledger.requests WHERE split_part(pipeline, ':', 1) IN ({families})),
    (SELECT max(value) FROM ledger.meta WHERE name = 'database'),
    (SELECT arg_max(kind, seq) FROM ledger.events WHERE kind IN ('raw_taken', 'raw_left') AND pipeline IN ({families}))

-- name: unreadable_chunks_left
-- Chunks of the raw folders that cannot be read, and that a person gave up.
SELECT unnest(from_json(data -> 'chunk_ids', '["VARCHAR"]')) FROM ledger.events WHERE kind = 'unreadable_left'

-- name: run_is_known
SELECT EXISTS (SELECT 1 FROM ledger.events WHERE kind = 'run_started' AND run_id = $run_id::UUID)

-- name: database_id
SELECT max(value) FROM ledger.meta WHERE name = 'database'
