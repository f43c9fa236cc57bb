"""Paper Lab's helper package: what a lesson needs around its paper, and what runs and checks the lessons.

Importing it is cheap (no torch, no network, no seeding) and caps the instruction set that torch will compute with, see
`labkit.caps`; a lesson begins with `lab = labkit.start(...)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.caps import set_caps

set_caps()

__version__ = "0.1.0"

RECORD_MIME = "application/vnd.labkit.record+json"
"""MIME type under which a notebook stores what it records; see docs/records.md."""

PROFILES = ("quick", "full", "paper")

if TYPE_CHECKING:
    from labkit.lab.session import Lab


def start(lesson: str, *, profile: str = "quick", seed: int = 0) -> Lab:
    """Open the lab for one lesson: seed, device, threads, records.

    Raises ValueError for an unknown profile or a seed that is not a non-negative integer.
    """
    from labkit.lab.session import start as start_session  # torch is imported here, not by `import labkit`

    return start_session(lesson, profile=profile, seed=seed)
