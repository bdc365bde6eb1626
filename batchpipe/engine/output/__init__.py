"""The output table of a pipeline: made from stored answers and reviews, and made again at any time.

Input: decisions, results and reviews of the ledger, and the present columns of the pipeline.
Output: the user's table, changed by MERGE or rebuilt in one transaction.
It writes the output table and the event `output_made`.
"""
