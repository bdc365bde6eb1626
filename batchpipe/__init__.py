"""batchpipe: a declarative runner for LLM batch APIs over DuckDB tables.

Input: a pipeline file, prompts and an input query. Output: a typed table, and a ledger of every batch and result.
Values and rules: common, decide, sql, evaluation. The file: pipeline, project, schema, template, lint.
The outside world: providers, store, emulator. The steps of a run: engine. What people and programs call: scaffold,
commands, library, cli. Importing it loads none of them and writes nothing.
"""

from importlib import import_module

__version__ = "0.1.0"

# What a Python program finds here, and the module that has it: it is loaded when the name is used for the first time.
_PLACES = {
    "Project": "batchpipe.library.project",
    "Pipeline": "batchpipe.library.pipeline",
    "Plan": "batchpipe.library.values",
    "Result": "batchpipe.library.values",
    "label": "batchpipe.library.label",
    "BatchpipeError": "batchpipe.common.errors",
    "CredentialsError": "batchpipe.common.errors",
    "DatabaseError": "batchpipe.common.errors",
    "GateError": "batchpipe.common.errors",
    "InputError": "batchpipe.common.errors",
    "InternalError": "batchpipe.common.errors",
    "LockedError": "batchpipe.common.errors",
    "PipelineError": "batchpipe.common.errors",
    "ProviderError": "batchpipe.common.errors",
    "UsageError": "batchpipe.common.errors",
}
__all__ = ["__version__", *_PLACES]  # noqa: PLE0604 - the names of the table


def __getattr__(name: str) -> object:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'batchpipe' has no attribute {name!r}")
    found: object = getattr(import_module(place), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
