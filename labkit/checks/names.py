"""Which exercise a learner means by a function or a name that is not quite right."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from itertools import chain
from typing import Any

from labkit.checks.exercise import Exercise


def meant(given: Any, exercises: Mapping[str, Exercise], notebook: Mapping[str, Any]) -> str:
    """The exercise of a name or function: by its own name, by the name it has in the notebook, or as a reference.

    Where there is none, the name that it has itself, "" for what has no name.
    """
    if isinstance(given, str):
        return given
    name = _own_name(given)
    if name in exercises:
        return name
    by_notebook = (known for known in exercises if notebook.get(known, exercises) is given)
    by_reference = (known for known, one in exercises.items() if given is not None and given is one.reference)
    return next(chain(by_notebook, by_reference), name)


def guess(name: str, exercises: Mapping[str, Exercise], function: Any = None) -> str | None:
    """The exercise that is probably meant: one spelt alike, one of which `name` has a word, one of that signature."""
    if close := get_close_matches(name, exercises, n=1):
        return close[0]
    words = {word for word in name.lower().split("_") if len(word) > 1}
    sharing = {known: len(words & set(known.split("_"))) for known in exercises}
    most = max(sharing.values(), default=0)
    if most and list(sharing.values()).count(most) == 1:
        return max(sharing, key=sharing.__getitem__)
    parameters = _parameters(function)
    alike = [known for known, one in exercises.items() if parameters and _parameters(one.reference) == parameters]
    return alike[0] if len(alike) == 1 else None


def _own_name(given: Any) -> str:
    while isinstance(given, functools.partial):
        given = given.func
    return getattr(given, "__name__", "")


def _parameters(function: Any) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []
