"""What was measured at several seeds: `notebooks/baselines/PROFILE.json`, for lessons, site and command line alike.

`labkit baseline` derives these files; nobody writes them by hand. The format is in docs/records.md.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import labkit

SCHEMA_VERSION = 2
FOLDER = Path(labkit.__file__).parent.parent / "notebooks" / "baselines"


@dataclass(frozen=True)
class Spread:
    """How one metric came out over the seeds of a baseline."""

    unit: str
    n: int  # seeds
    mean: float
    sd: float  # standard deviation over seeds
    low: float  # the smallest value seen
    high: float  # the largest value seen


def spread(metric: Mapping[str, Any]) -> Spread:
    """The spread of a stored metric: from its values, or as it is stored where only that was kept."""
    if "values" not in metric:
        return Spread(**metric)
    values = metric["values"]
    mean, sd = statistics.fmean(values), statistics.stdev(values)
    return Spread(metric["unit"], len(values), mean, sd, min(values), max(values))


def load(profile: str, folder: Path | None = None) -> dict[str, Any] | None:
    """The baseline of `profile`, or None where there is none.

    Raises ValueError, in one sentence, for a file that cannot be read, holds NaN or an infinity, is of another
    version, or of another profile.
    """
    path = (folder or FOLDER) / f"{profile}.json"
    again = "derive it again with `labkit baseline`"
    try:
        baseline = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read ({type(error).__name__}: {error}): {again}.") from error
    found = baseline if isinstance(baseline, dict) else {}
    if found.get("schema_version") == 1:
        raise ValueError(f"{path} is of version 1, which kept bands instead of the value at each seed: {again}.")
    if found.get("schema_version") != SCHEMA_VERSION or found.get("profile") != profile:
        raise ValueError(f"{path} is no baseline of version {SCHEMA_VERSION} for the profile {profile!r}: {again}.")
    return baseline


def _refuse(constant: str) -> NoReturn:
    """NaN and infinities are no JSON, though Python reads them; with one of them every later comparison would fail."""
    raise ValueError(f"{constant} is no number")


def of_lesson(profile: str, lesson: str, folder: Path | None = None) -> dict[str, Any]:
    """What the baseline of `profile` holds about one lesson; empty where it was never measured."""
    return (load(profile, folder) or {"lessons": {}})["lessons"].get(lesson, {})
