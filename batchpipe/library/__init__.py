"""What a Python program calls: `batchpipe.Project`, its pipelines, and `batchpipe.label`.

Input: a project's folder and settings, a table of pandas, Polars or Arrow.
Output: plans, results of runs and relations as values; errors of `common.errors`, and never the end of the process.
It writes no table itself, but the engine does; `label` writes a pipeline file and its rows under `.batchpipe/labels`.
"""
