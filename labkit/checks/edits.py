"""Common mistakes as edits of the plain answer, right and wrong on one line; and its skeleton, for the last hint."""

from __future__ import annotations
import __future__

from collections.abc import Callable
from functools import cache, wraps
from textwrap import dedent

from labkit.checks.exercise import Mistake
from labkit.checks.source import source_of, untyped

BLANK = "___"


def mistakes(answer: Callable, text: str, **functions: Callable) -> tuple[Mistake, ...]:
    """The mistakes that `text` describes, in blocks with an empty line between them:

        softmax-over-the-batch: log_softmax(1) => log_softmax(0)
            The softmax runs over the images: the probabilities of one image add up to 1, along axis 1.

    The name, what stands exactly once in the answer's source, what to put there, and the message below it. Further
    edits of the same mistake follow on lines that begin with "+ "; "name: =" takes a function instead, the one given
    under that name (with underscores). Raises ValueError for a block without message or an unknown function; an edit
    that does not fit is found when the mistake is first called, since compiling hundreds of them takes a second.
    """
    found = []
    for block in dedent(text).strip().split("\n\n"):
        head, *rest = (line.strip() for line in block.splitlines())
        name, _, first = head.partition(": ")
        edits = [first, *(line[2:] for line in rest if line.startswith("+ "))]
        message = " ".join(line for line in rest if not line.startswith("+ "))
        if not message:
            raise ValueError(f"the mistake {name!r} of {answer.__name__} has no message below it")
        if first == "=" and name.replace("-", "_") not in functions:
            raise ValueError(f"the mistake {name!r} of {answer.__name__} needs a function {name.replace('-', '_')!r}")
        function = functions[name.replace("-", "_")] if first == "=" else edited(answer, *edits)
        found.append(Mistake(name, function, message))
    return tuple(found)


def edited(answer: Callable, *edits: str) -> Callable:
    """The answer with edits "old => new" made one after the other in its source, once it is called.

    It then raises ValueError for an `old` that does not stand exactly once.
    """

    @cache
    def compiled() -> Callable:
        source = source_of(answer)
        for edit in edits:
            old, arrow, new = (part.strip() for part in edit.partition("=>"))
            if not arrow:
                raise ValueError(f"{edit!r} is no edit of {answer.__name__}: write `old => new`")
            source = _replaced(answer, source, old, new)
        code = compile(source, f"<{answer.__name__}, edited>", "exec", __future__.annotations.compiler_flag)
        scope = dict(answer.__globals__)
        exec(code, scope)
        return scope[answer.__name__]

    @wraps(answer)
    def function(*args, **kwargs):
        return compiled()(*args, **kwargs)

    return function


def skeleton(answer: Callable, *blanks: str) -> str:
    """The answer's source with each of `blanks` left out.

    Raises ValueError unless each stands exactly once in it, and leaves no bracket without its partner.
    """
    source = untyped(answer)
    for blank in blanks:
        if any(blank.count(opening) != blank.count(closing) for opening, closing in ("()", "[]", "{}")):
            raise ValueError(f"{blank!r} leaves a bracket of {answer.__name__} alone")
        source = _replaced(answer, source, blank, BLANK)
    return source


def _replaced(answer: Callable, source: str, old: str, new: str) -> str:
    if source.count(old) != 1:
        raise ValueError(f"{old!r} stands {source.count(old)} times in {answer.__name__}, not once")
    return source.replace(old, new)
