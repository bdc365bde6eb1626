"""The plan: which rows are due and why, what would be sent for them, and in which chunks.

Input: the snapshot of the input, the standing decisions of the ledger, orders, the resolved pipeline.
Output: rows by reason, rendered requests in a Parquet file, chunks and their estimate.
It writes working tables only: `work.compared`, `work.plan`, `work.due`, `work.leading`, `work.to_send` and more.
"""
