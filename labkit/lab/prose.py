"""A sentence to the learner, as it is displayed."""

from __future__ import annotations

import html
import re

from labkit.lab import nobody_watches

_CODE = re.compile(r"`([^`]+)`|(lab\.\w+\(\"\w+\"\))")  # what is to be typed


def prose(text: str, bold: str = "") -> dict[str, str]:
    """`text` by MIME type: plain and, for somebody who watches, as HTML with its first `bold` set in bold.

    JupyterLab breaks a long line of plain text in the middle of a word.
    """
    if nobody_watches():
        return {"text/plain": text}
    shown = _CODE.sub(lambda found: f"<code>{found[1] or found[2]}</code>", html.escape(text, quote=False))
    shown = shown.replace("$", "<span>$</span>")  # two of them would be taken for a formula
    if bold:
        shown = shown.replace(bold, f"<b>{bold}</b>", 1)
    return {"text/plain": text, "text/html": "<br>".join(shown.split("\n"))}
