-- Rungs that ask a row more than once: how each member stands, and the votes that were cast.

CREATE TABLE ledger.part_decisions (
    pipeline VARCHAR NOT NULL,
    key_id UUID NOT NULL,
    part VARCHAR NOT NULL,                -- tells the samples of one model and its settings apart: 1, 2, ...
    settings VARCHAR NOT NULL,            -- JSON of the model and its settings, less max_tokens
    model VARCHAR NOT NULL,
    rung SMALLINT NOT NULL,
    fingerprint UUID NOT NULL,
    custom_id VARCHAR NOT NULL,           -- the request that answered, or the last that did not
    state VARCHAR NOT NULL,               -- valid, retry, failed
    attempts SMALLINT NOT NULL,
    transients SMALLINT NOT NULL,         -- in a row
    max_tokens INTEGER,                   -- room of the next request
    not_before TIMESTAMP,
    error VARCHAR,                        -- why it is not valid
    started BIGINT NOT NULL,
    run_id UUID NOT NULL,
    recorded_at TIMESTAMP NOT NULL,
    seq BIGINT NOT NULL
);

CREATE TABLE ledger.votes (
    pipeline VARCHAR NOT NULL,
    key_id UUID NOT NULL,
    rung SMALLINT NOT NULL,
    custom_id VARCHAR,                    -- the request whose answer most agree with; NULL without a quorum
    agreement DOUBLE,                     -- share of the valid answers that agree with it
    votes STRUCT(model VARCHAR, part VARCHAR, valid BOOLEAN, document JSON)[] NOT NULL,
    custom_ids VARCHAR[] NOT NULL,        -- the requests of all members, in the same order
    run_id UUID NOT NULL,
    recorded_at TIMESTAMP NOT NULL,
    seq BIGINT NOT NULL
);
