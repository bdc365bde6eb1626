-- What a person decides about chunks, and the ledger out of the raw folder.

-- name: save_requests
-- Parquet has no UHUGEINT, so hashes travel in halves: as text they cost more than all the rest.
COPY (SELECT * REPLACE ({hashes}) FROM ledger.requests WHERE chunk_id = {chunk_id}::UUID)
TO {path} (FORMAT parquet, COMPRESSION lz4, DICTIONARY_SIZE_LIMIT 1, ROW_GROUP_SIZE {group_rows})

-- name: hash_in_halves
struct_pack(high := ({hash} >> 64)::UBIGINT, low := ({hash} & 18446744073709551615::UHUGEINT)::UBIGINT) AS {hash}

-- name: hash_of_halves
({hash}.high::UHUGEINT << 64) | {hash}.low::UHUGEINT AS {hash}

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
WHERE prompt_version = $prompt_version::UHUGEINT
ORDER BY pipeline = $pipeline DESC, seq LIMIT 1

-- name: policy_row
SELECT * FROM ledger.policies WHERE policy_hash = $policy_hash::UHUGEINT
ORDER BY pipeline = $pipeline DESC, seq LIMIT 1

-- name: chunk_is_known
SELECT
    EXISTS (SELECT 1 FROM ledger.requests WHERE chunk_id = $chunk_id::UUID AND leads),
    EXISTS (SELECT 1 FROM ledger.events WHERE chunk_id = $chunk_id::UUID AND kind = 'batch_collected')

-- name: restore_requests
INSERT INTO ledger.requests BY NAME
SELECT * REPLACE ({hashes}, $seq AS seq) FROM read_parquet($path)

-- name: newest_commit_of_requests
SELECT greatest(max(seq), max(started)) FROM read_parquet($path)

-- name: raise_commit
INSERT INTO ledger.commits VALUES ($seq, NULL, $now)

-- name: restore_version
INSERT INTO ledger.prompt_versions BY NAME
SELECT
    $pipeline AS pipeline, $prompt_version::UHUGEINT AS prompt_version,
    CASE
        WHEN $version IN (SELECT version FROM ledger.prompt_versions WHERE pipeline IN ({pipelines})) THEN
            'v' || (SELECT count(DISTINCT prompt_version) + 1 FROM ledger.prompt_versions WHERE pipeline IN ({pipelines}))
        ELSE $version
    END AS version,
    $prompt_hash::UHUGEINT AS prompt_hash, $schema_hash::UHUGEINT AS schema_hash, $visible_hash::UHUGEINT AS visible_hash,
    $format AS format, $sources AS sources, $vars AS vars, $queries AS queries, $full_schema AS full_schema,
    $pipeline_toml AS pipeline_toml, $git_commit AS git_commit, $run_id::UUID AS run_id,
    $recorded_at::TIMESTAMP AS recorded_at, $seq AS seq
WHERE NOT EXISTS (
    SELECT 1 FROM ledger.prompt_versions WHERE prompt_version = $prompt_version::UHUGEINT AND pipeline IN ({pipelines})
)

-- name: forget_judged_since
DELETE FROM work.outcomes WHERE key_id IN (
    SELECT key_id FROM ledger.decisions WHERE pipeline IN ({pipelines}) AND recorded_at > $moment
)

-- name: collected_chunks
SELECT DISTINCT chunk_id::VARCHAR FROM ledger.events
WHERE kind = 'batch_collected' AND chunk_id::VARCHAR IN (SELECT unnest($chunk_ids))

-- name: known_runs
SELECT DISTINCT run_id::VARCHAR FROM ledger.events WHERE kind = 'run_started'

-- name: database_id
SELECT max(value) FROM ledger.meta WHERE name = 'database'
