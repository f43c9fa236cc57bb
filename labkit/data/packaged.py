"""Files that come with a package, found without importing it: scikit-learn takes a second to import."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from labkit.data.fetch import DataError


def packaged(package: str, *parts: str) -> Path:
    """The path of a file of an installed package. Raises DataError where the package or the file is missing."""
    found = find_spec(package)
    folders = (found.submodule_search_locations if found else None) or []
    for folder in folders:
        if (path := Path(folder, *parts)).is_file():
            return path
    raise DataError(f"{'/'.join(parts)}, which comes with {package}, is missing: install {package} again.")
