"""Say how many bytes a token is assumed to have, until results show it."""

from __future__ import annotations

# Of a request: English text has about 4 characters a token, other text has fewer.
BYTES_PER_TOKEN = 3.5
# Of a prefix that may be cached: about 4 characters a token
# (https://docs.anthropic.com/en/docs/about-claude/glossary#tokens); newer models need more tokens for the same text.
CACHED_BYTES_PER_TOKEN = 4
