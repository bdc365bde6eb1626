"""batchpipe: a declarative runner for LLM batch APIs over DuckDB tables.

Input: a pipeline file, prompts and an input query. Output: a typed table, and a ledger of every batch and result.
Values and rules: common, decide, sql, evaluation. The file: pipeline, project, schema, template, lint.
The outside world: providers, store, emulator. The steps of a run: engine. What people call: scaffold, commands, cli.
Importing it loads none of them and writes nothing.
"""

__version__ = "0.1.0"
