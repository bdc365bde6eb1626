"""What every command is given, and how a command ends.

Input: the command line's options and the settings.
Output: the `Call` with the project's root, its settings and its streams; exit codes; the text of an error.
It writes no table.
"""
