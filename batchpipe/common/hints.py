"""Give the commands in hints the program's options of the present call, so that they can be typed as they are."""

from __future__ import annotations

import re

# Commands that work on a project. The other commands do not need these options.
_COMMANDS = "cancel|check|diff|eval|new|plan|recover|report|results|review|run|show|status|try"
# A word as a shell reads it: quoted and plain pieces without a blank between them.
_WORD = r"""(?: (?:'[^']*'|"[^"]*"|[^\s`;,()'"])*(?:'[^']*'|"[^"]*"|[^\s`;,()'".:]))"""
_COMMAND = re.compile(rf"\bbatchpipe (?:{_COMMANDS})\b{_WORD}*")

_options = ""


def use_options(options: str) -> None:
    """Let hints name `options` from now on, as `-C folder --emulator`; "" for none."""
    global _options
    _options = options


def typed_again(hint: str) -> str:
    """Return `hint` with the options of the present call at the end of each command that lacks them."""

    def completed(found: re.Match[str]) -> str:
        return found[0] if _options in found[0] else f"{found[0]} {_options}"

    return _COMMAND.sub(completed, hint) if _options else hint
