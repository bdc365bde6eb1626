"""`batchpipe diff`: what two prompt versions or two models answered to the same rows.

Input: the comparison that `engine.quality` makes out of the ledger.
Output: text, JSON, Markdown for a pull request, or a page of HTML.
It writes no table.
"""
