"""SQL as values: quoted names and texts, conditions of the pipeline file, DuckDB's types.

Input: names, texts and expressions that users wrote.
Output: SQL that may stand in a statement, and conditions with the columns that they read.
It writes no table.
"""
