"""`batchpipe diff`: what two prompt versions or two models answered to the same rows.

Input: the diff that `engine.quality` makes from the ledger.
Output: text, JSON, Markdown for a pull request, or a page of HTML.
It writes no table.
"""
