"""`batchpipe report`: what was spent, what came of it, and what a right row costs.

Input: results, prices and decisions of the ledger, and gold rows where there are some.
Output: text and JSON by pipeline: spend, tokens, rungs, quality, estimates compared with what was paid.
It writes no table of the ledger; what it sums up stands in working tables.
"""
