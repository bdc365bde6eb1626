"""How good answers are: evaluations, models that judge, two versions side by side, review by people.

Input: gold rows, answers of the ledger, the reviews of people.
Output: evaluations, comparisons, and the rows that a person should see.
It writes `ledger.reviews`; an evaluation sends its requests through `engine.run` and `engine.batches`.
"""
