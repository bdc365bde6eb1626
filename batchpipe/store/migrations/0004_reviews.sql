-- A person may take back what he said of an answer. That is a word of its own, with the verdict "withdrawn".

ALTER TABLE ledger.reviews ADD COLUMN withdraws BIGINT; -- the seq of the word about the same row that is taken back

-- A row of the sample may have been drawn with a probability of its own: the less sure its answer, the more often.

ALTER TABLE ledger.reviews ADD COLUMN sample_probability DOUBLE; -- with which the row was drawn; NULL: not of the sample
