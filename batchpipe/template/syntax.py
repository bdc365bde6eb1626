"""Say how to mend a mistake in the syntax of a template."""

from __future__ import annotations

import re

from batchpipe.common.likeness import nearest

# Each block with the word that ends it.
ENDS = {
    "if": "endif",
    "for": "endfor",
    "set": "endset",
    "filter": "endfilter",
    "macro": "endmacro",
    "call": "endcall",
    "block": "endblock",
    "with": "endwith",
    "raw": "endraw",
}
TAGS = (*ENDS, *ENDS.values(), "else", "elif", "include", "import", "from", "extends")
LITERAL = "For braces that are plain text write {{ '{{' }}, or put them between {% raw %} and {% endraw %}."


def syntax_hint(message: str) -> str:
    """Return the edit that most likely mends the mistake that Jinja describes by `message`."""
    if "() takes " in message:
        return "Write it so, with nothing computed in the brackets."
    unclosed = re.search(r"innermost block that needs to be closed is '(\w+)'", message)
    if unclosed:
        end = ENDS.get(unclosed[1], f"end{unclosed[1]}")
        return f"Add {{% {end} %}} where the {unclosed[1]} ends."
    unknown = re.search(r"unknown tag '(\w+)'", message)
    if unknown:
        near = nearest(unknown[1], TAGS)
        if near and near != unknown[1]:
            return f"Write {{% {near} %}}. {LITERAL}"
        if unknown[1] in ENDS.values():
            return f"Remove {{% {unknown[1]} %}}, or write the tag that it ends before it."
        return f"Remove it. {LITERAL}"
    if "unexpected end of template" in message.lower() or "Missing end of" in message:
        return "Close what is open there: }} ends {{, %} ends {%, #} ends {#."
    if "Expected an expression" in message or "unexpected 'end of statement block'" in message:
        return "Write a value there: {% if x %}, {% include 'x.md.j2' %}, {{ x }}."
    if "expected token 'end of print statement'" in message:
        return f"Write one expression between {{{{ and }}}}, as {{{{ name }}}} or {{{{ name | upper }}}}. {LITERAL}"
    if "expected token 'end of statement block'" in message:
        return "Write a tag as {% if x == 1 %}, {% for x in items %} or {% set x = 1 %}, and nothing after it."
    expected = re.search(r"expected token '([^']+)', got '([^']+)'", message)
    if expected is not None:
        return f"Write {expected[1]} where {expected[2]} stands. {LITERAL}"
    bracket = re.search(r"unexpected '([^']+)', expected '([^']+)'", message)
    if bracket is not None:
        return f"Write {bracket[2]} where {bracket[1]} stands. {LITERAL}"
    return f"Write expressions as {{{{ name }}}} and tags as {{% if name %}}...{{% endif %}}. {LITERAL}"
