"""A prompt that differs from the basic one."""

from __future__ import annotations

from projects import BASIC

SAY = BASIC.replace("{{ body }}", "Say: {{ body }}")
