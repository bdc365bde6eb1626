-- Files that were uploaded once for many requests. Events say which chunks name them (`files_named`), that one is not named
-- any more (`file_given_up`) and that it is deleted (`file_discarded`).

CREATE TABLE IF NOT EXISTS ledger.uploads (
    upload_id UUID NOT NULL,
    file_id VARCHAR NOT NULL,             -- the provider's
    name VARCHAR NOT NULL,                -- what requests call it: the id, or an address
    sha256 VARCHAR NOT NULL,              -- of its bytes
    media_type VARCHAR NOT NULL,
    bytes BIGINT NOT NULL,
    protocol VARCHAR NOT NULL,
    base_url VARCHAR NOT NULL,
    key_hash VARCHAR NOT NULL,            -- the first 8 hex digits of the key's SHA-256; with the URL it names the account
    expires_at TIMESTAMP NOT NULL,        -- when the provider deletes it by itself, UTC
    run_id UUID NOT NULL,
    recorded_at TIMESTAMP NOT NULL,
    seq BIGINT NOT NULL
);
