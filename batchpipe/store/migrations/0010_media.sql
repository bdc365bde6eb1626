-- Files of rows, as a look at them found them: a file that has its size and its time still is not read again.

CREATE TABLE IF NOT EXISTS ledger.media (
    path VARCHAR, -- the file's real path
    size BIGINT, -- in bytes
    mtime_ns BIGINT, -- when it was changed last, in ns since 1970 (UTC)
    sha256 VARCHAR, -- of its bytes
    media_type VARCHAR, -- by its content; empty where that tells none
    width INTEGER, -- in pixels; 0 where it is not known
    height INTEGER, -- in pixels; 0 where it is not known
    pages INTEGER, -- of a PDF; 0 where it is not known
    hashed_at TIMESTAMP -- when the hash was taken, UTC
);
