"""The source of a function, as it is or as one would type it in a notebook."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from textwrap import dedent


def source_of(function: Callable) -> str:
    """The source of a function, without the indentation of where it stands."""
    return dedent(inspect.getsource(function))


def untyped(function: Callable) -> str:
    """The source of a function without the types in its signature, whose names a notebook need not know."""
    source = source_of(function)
    starts = [0]  # of each line, in bytes, as ast counts
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    text = source.encode()
    cuts = [cut for node in ast.walk(ast.parse(source)) for cut in _types(node, starts, text)]
    for start, end in sorted(cuts, reverse=True):
        rest = text[end:]
        text = text[:start] + (b"=" + rest[3:] if rest.startswith(b" = ") else rest)
    return text.decode()


def _types(node: ast.AST, starts: list[int], text: bytes) -> Iterator[tuple[int, int]]:
    """Where the types in the signature of a function begin and end."""
    if isinstance(node, ast.arg) and node.annotation is not None:
        yield starts[node.lineno - 1] + node.col_offset + len(node.arg.encode()), _end(node.annotation, starts)
    if isinstance(node, ast.FunctionDef) and node.returns is not None:
        end = _end(node.returns, starts)
        yield text.rindex(b")", 0, text.rindex(b"->", 0, end)) + 1, end


def _end(node: ast.expr, starts: list[int]) -> int:
    return starts[node.end_lineno - 1] + node.end_col_offset
