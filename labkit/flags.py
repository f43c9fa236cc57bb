"""Variables of the environment that are on or off, such as LABKIT_BATCH and LABKIT_OFFLINE."""

from __future__ import annotations

import os

OFF = ("", "0", "false", "no", "off")
"""What switches a variable off, in capital letters or not; anything else switches it on."""


def is_on(variable: str) -> bool:
    """Whether the variable is set, to anything but one of OFF."""
    return os.environ.get(variable, "").strip().lower() not in OFF
