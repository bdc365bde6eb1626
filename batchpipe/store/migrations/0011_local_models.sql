-- The local rung: a small model that a pipeline trains on the answers of its other rungs.

CREATE TABLE IF NOT EXISTS ledger.local_models (
    pipeline VARCHAR NOT NULL,
    version INTEGER NOT NULL,             -- 1, 2, ... of this pipeline; `_model` is local:v1, local:v2, ...
    shape UUID NOT NULL,                  -- of the fields, their values and the columns: another shape retires it
    answers BIGINT NOT NULL,              -- that could be learnt from when it was trained
    trained_on BIGINT NOT NULL,           -- of them, those that it was trained on
    accuracy DOUBLE NOT NULL,             -- out of fold: on answers that were left out of training in turn
    document JSON NOT NULL,               -- the model, but for its arrays
    arrays BLOB NOT NULL,                 -- its arrays, in numpy's format npz without pickled objects
    run_id UUID NOT NULL,
    recorded_at TIMESTAMP NOT NULL,
    seq BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS ledger.local_answers (
    pipeline VARCHAR NOT NULL,
    key_id UUID NOT NULL,
    version INTEGER NOT NULL,             -- of the model
    custom_id VARCHAR,                    -- of the answer in results; NULL for an audited row, which another rung answers
    output JSON NOT NULL,                 -- what the model says
    confidence DOUBLE NOT NULL,           -- calibrated out of fold
    expected DOUBLE,                      -- of an audited row: the share of such answers that agreed out of fold
    probability DOUBLE NOT NULL,          -- with which such a row goes up a rung all the same
    run_id UUID NOT NULL,
    recorded_at TIMESTAMP NOT NULL,
    seq BIGINT NOT NULL
);
