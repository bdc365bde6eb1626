"""`batchpipe status`: where the rows of each pipeline stand, and what is at the provider.

Input: the ledger's views of rows, batches and runs, and open orders.
Output: text or JSON, a part for each pipeline.
It writes no table, but the event that withdraws an order.
"""
