"""The review desk of the pages: it hands rows out to people, and takes their reviews in groups.

Input: the rows that a person should see (`engine.quality`), and reviews that name the key and the token of a row.
Output: reviews and withdrawals, recorded by `engine.quality`; who else has spoken is told.
The leases of rows are kept in this process alone. It writes `ledger.reviews` and the output table.
"""
