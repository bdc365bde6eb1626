"""The linter for prompts: pure rules over what a pipeline says, one table of them in `rules`.

Input: the texts of templates, the fields, the models and their sizes.
Output: findings with a code, a place and a way to mend it.
It writes no table.
"""
