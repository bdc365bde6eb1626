"""The output table of a pipeline: derived from stored answers, never a fact.

Input: decisions, results and reviews of the ledger, and the present columns of the pipeline.
Output: the user's table, changed by MERGE or rebuilt in one transaction.
It writes the output table and the event `output_made`.
"""
