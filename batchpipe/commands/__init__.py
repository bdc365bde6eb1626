"""The commands: one module or one folder for each, a query over the engine and then a printer.

Input: a `Call` (root, settings, where data and talk go) and the options that were typed.
Output: an exit code; data goes to stdout, talk to stderr.
The commands write no table themselves, but the events of `cancel`; what they call in the engine does.
"""
