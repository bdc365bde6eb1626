"""`batchpipe results`: the output table of a pipeline.

Input: the output table, a condition, a limit.
Output: rows on the screen, or a csv, json, parquet or xlsx file.
It writes no table.
"""
