"""Prompt templates: compiled once with everything they include, then rendered row by row."""

from batchpipe.template.compile import PROMPTS, compile_templates
from batchpipe.template.render import Templates

__all__ = ["PROMPTS", "Templates", "compile_templates"]
