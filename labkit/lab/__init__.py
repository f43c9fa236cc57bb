"""What surrounds the method inside a notebook: session, exercises, training, figures, widgets."""

from __future__ import annotations

from labkit.flags import is_on


def nobody_watches() -> bool:
    """Whether LABKIT_BATCH is on: then no progress bars, and no reading or writing of progress."""
    return is_on("LABKIT_BATCH")
