-- A person may take back what he said of an answer. That is a word of its own, with the verdict "withdrawn".

ALTER TABLE ledger.reviews ADD COLUMN withdraws BIGINT; -- the seq of the word about the same row that is taken back
