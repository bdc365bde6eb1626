"""The local rung: a small model that a pipeline trains on the answers of its other rungs, and the rows it answers.

Input: accepted answers and reviews of the ledger, gold, the due rows of a plan.
Output: a version of the model and whether it may answer, the due rows that it answers, those of them that are audited.
It writes `ledger.local_models`, `ledger.local_answers`, `ledger.events`, and the working tables `work.local_*`.
"""
