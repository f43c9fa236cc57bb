"""The comparison that decides a claim: an expression over recorded metrics, such as `"vae/kl" < "ae/kl" + 1`."""

from __future__ import annotations

import ast
import operator
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

_OPERATORS: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_FUNCTIONS: dict[str, Callable[[list[float]], float]] = {"min": min, "max": max, "mean": statistics.fmean}
Metrics = Mapping[str, float]


@dataclass(frozen=True)
class Comparison:
    """`smaller < larger`, two expressions over metrics."""

    smaller: ast.expr
    larger: ast.expr

    def difference(self, metrics: Metrics) -> float:
        """larger - smaller in one run: by how much the comparison holds.

        Raises KeyError for a metric that is not there, ValueError where one that is divided by is 0.
        """
        try:
            return _value(self.larger, metrics) - _value(self.smaller, metrics)
        except ZeroDivisionError:
            raise ValueError(f"`{ast.unparse(self.smaller)} < {ast.unparse(self.larger)}` divides by 0") from None

    def names(self) -> set[str]:
        """The metrics, and patterns of metrics, that it reads."""
        nodes = [*ast.walk(self.smaller), *ast.walk(self.larger)]
        return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@dataclass(frozen=True)
class Junction:
    """`all(...)` or `any(...)` of comparisons."""

    every: bool  # all, else any
    parts: tuple[Decision, ...]

    def difference(self, metrics: Metrics) -> float:
        """The smallest difference of all(...), the largest of any(...): positive just where the whole is true."""
        return (min if self.every else max)(part.difference(metrics) for part in self.parts)

    def names(self) -> set[str]:
        return set().union(*(part.names() for part in self.parts))


Decision = Comparison | Junction


def parse(text: str) -> Decision:
    """The comparison that `text` writes down.

    Metrics are names in double quotes, put together by numbers, + - * /, abs(), and min(), max() or mean() of several
    or of a pattern such as "auc/*". Two such values are compared by < or >, and comparisons joined by all() or any().
    Raises ValueError, in one sentence, for anything else.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"{text!r} cannot be read as an expression: {error.msg}") from error
    try:
        return _decision(tree)
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None


def missing(decision: Decision, metrics: Metrics) -> list[str]:
    """The names that the comparison reads and that `metrics` lacks, and patterns that nothing there fits."""
    return sorted(name for name in decision.names() if not _matching(name, metrics))


def _decision(node: ast.expr) -> Decision:
    match node:
        case ast.Compare(left, [ast.Lt()], [right]):
            return Comparison(_checked(left), _checked(right))
        case ast.Compare(left, [ast.Gt()], [right]):
            return Comparison(_checked(right), _checked(left))
        case ast.Compare():
            raise ValueError("compare two values by one < or >")
        case ast.Call(ast.Name("all" | "any" as word), [_, *_] as parts, []):
            return Junction(word == "all", tuple(map(_decision, parts)))
    raise ValueError(f"`{ast.unparse(node)}` compares nothing: use <, >, all(...) or any(...)")


def _checked(node: ast.expr, *, pattern: bool = False) -> ast.expr:
    """The node, if it is an expression over metrics; a pattern may stand only where several values may."""
    match node:
        case ast.Constant(str() as name):
            if "*" in name and not pattern:
                raise ValueError(f'"{name}" stands for several metrics: put it into min(), max() or mean()')
        case ast.Constant(int() | float()) if not isinstance(node.value, bool):
            pass
        case ast.BinOp(left, op, right) if type(op) in _OPERATORS:
            _checked(left), _checked(right)
        case ast.UnaryOp(ast.USub(), operand):
            _checked(operand)
        case ast.Call(ast.Name("abs"), [argument], []):
            _checked(argument)
        case ast.Call(ast.Name(word), [_, *_] as arguments, []) if word in _FUNCTIONS:
            for argument in arguments:
                _checked(argument, pattern=True)
        case _:
            raise ValueError(f"`{ast.unparse(node)}` is no value: metrics stand in double quotes, beside numbers")
    return node


def _value(node: ast.expr, metrics: Metrics) -> float:
    match node:
        case ast.Constant(str() as name):
            return metrics[name]
        case ast.Constant(number):
            return float(number)
        case ast.BinOp(left, op, right):
            return _OPERATORS[type(op)](_value(left, metrics), _value(right, metrics))
        case ast.UnaryOp(_, operand):
            return -_value(operand, metrics)
        case ast.Call(ast.Name("abs"), [argument]):
            return abs(_value(argument, metrics))
        case ast.Call(ast.Name(word), arguments):
            return _FUNCTIONS[word]([value for argument in arguments for value in _values(argument, metrics)])
    raise AssertionError(ast.dump(node))  # parse() lets nothing else through


def _values(node: ast.expr, metrics: Metrics) -> Iterator[float]:
    match node:
        case ast.Constant(str() as name):
            for found in _matching(name, metrics) or [name]:
                yield metrics[found]
        case _:
            yield _value(node, metrics)


def _matching(name: str, metrics: Metrics) -> list[str]:
    if "*" not in name:
        return [name] if name in metrics else []
    escaped = name.replace("[", "[[]").replace("?", "[?]")
    return [other for other in metrics if fnmatchcase(other, escaped)]
