"""What surrounds the method inside a notebook: session, exercises, training, figures, widgets."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from labkit.flags import is_on

if TYPE_CHECKING:
    from tqdm import tqdm


def nobody_watches() -> bool:
    """Whether LABKIT_BATCH is on: then no progress bars, and no reading or writing of progress."""
    return is_on("LABKIT_BATCH")


def bar(epochs: int, label: str, *, initial: int = 0) -> tqdm:
    """A progress bar over epochs, unless nobody watches: as text, which stays in a notebook that is opened again.

    Of a bar that is a widget, a saved notebook keeps an error message alone.
    """
    from tqdm import tqdm

    disable = nobody_watches()
    return tqdm(total=epochs, initial=initial, desc=label, unit="epoch", disable=disable, file=sys.stdout)
