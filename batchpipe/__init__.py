"""batchpipe: a declarative runner for LLM batch APIs over DuckDB tables."""

__version__ = "0.1.0"
