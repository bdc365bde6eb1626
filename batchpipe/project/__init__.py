"""The project: its root, its pipeline files, and the settings of a machine or a team.

Input: the working folder, the environment, `pyproject.toml` or `batchpipe.toml`, and `.env`.
Output: paths and frozen settings; secrets stay out of their text.
It writes no table.
"""
