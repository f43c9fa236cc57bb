"""What surrounds the method inside a notebook: session, exercises, training, figures, widgets."""

from __future__ import annotations

import os


def nobody_watches() -> bool:
    """Whether LABKIT_BATCH is set (and not "0"): then no progress bars, and no reading or writing of progress."""
    return os.environ.get("LABKIT_BATCH", "") not in ("", "0")
