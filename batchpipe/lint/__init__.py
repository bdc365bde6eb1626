"""The linter for prompts: pure rules over what a pipeline says, one table of them in `rules`."""
