"""`batchpipe check`: everything that can be known about a pipeline without spending.

Input: pipeline files, templates, schemas and the columns of the source.
Output: problems (exit 2) and warnings of the linter (exit 0), for people or as JSON.
It writes no table.
"""
