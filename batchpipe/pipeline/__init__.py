"""The pipeline file: its keys, its rules, and how a TOML text becomes frozen values.

Input: the text of a pipeline file.
Output: `PipelineFile`, or every problem of the file at once; the reference of the keys.
It writes no table.
"""
