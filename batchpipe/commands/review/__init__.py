"""`batchpipe review`: the rows that a person should see, and what the person says of them.

Input: the rows that `engine.quality.review` chooses; keys pressed at a terminal, or a spreadsheet.
Output: the person's reviews, handed to `engine.quality.review`, which writes `ledger.reviews`.
It writes no table itself.
"""
