"""Prompt templates: compiled once with everything they include, then rendered row by row.

Input: template files under `prompts/` or texts of the pipeline file, constants, small tables, one row.
Output: the messages of a request, the same for the same row; every problem of a template before any is raised.
It writes no table.
"""

from batchpipe.template.compile import PROMPTS, compile_templates
from batchpipe.template.render import Templates

__all__ = ["PROMPTS", "Templates", "compile_templates"]
