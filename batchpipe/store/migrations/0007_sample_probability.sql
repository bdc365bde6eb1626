-- A row of the sample may have been drawn with a probability of its own: the less sure its answer, the more often.

ALTER TABLE ledger.reviews ADD COLUMN sample_probability DOUBLE; -- with which the row was drawn; NULL: not of the sample
