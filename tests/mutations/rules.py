"""Faults planted by rule: small changes to a module's source, each of which its tests should notice.

Left alone is what no behaviour hangs on or only wording does: annotations, decorators, docstrings, what ``raise`` and
the log say, ``assert``, and a few arguments (``_LEFT_ALONE``).
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Mutant", "plant"]

_OPERATORS: dict[type, tuple[str, str]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "//"),
    ast.Pow: ("**", "*"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
    ast.BitAnd: ("&", "|"),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
}
_SWAPS = {"min": "max", "max": "min", "any": "all", "all": "any", "floor": "ceil", "ceil": "floor", "sum": "mean"}
_SWAPS |= {"mean": "sum"}
_SWAPPED = {name for name in _SWAPS if name not in ("sum", "mean")}  # as plain names; tensors have the other two
# The reader's arguments, zip's guard against what cannot happen, and what only a machine with a GPU can tell apart.
_LEFT_ALONE = ("encoding", "indent", "stacklevel", "strict", "device", "non_blocking", "pin_memory")
_LOGS = re.compile(r"_LOG\.\w+|warnings\.warn")


@dataclass(frozen=True)
class Mutant:
    """One planted fault.

    Attributes:
        name: module, function, rule and the changed lines: the same for as long as these stay as they are.
        line: where, counted from 1.
        source: the whole module with the fault in it.
    """

    name: str
    line: int
    source: str


def plant(module: str, source: str) -> list[Mutant]:
    """Return every fault that the rules find in ``source``; ``module`` begins their names."""
    planter = _Planter(source)
    planter.walk(ast.parse(source), [])
    found, seen = [], Counter[str]()
    for scope, rule, start, end, text in planter.faults:
        first, last = source.rfind("\n", 0, start) + 1, (source + "\n").find("\n", end)
        old, new = (" ".join(t.split()) for t in (source[first:last], source[first:start] + text + source[end:last]))
        name = f"{module} {scope} {rule}: {old} => {new}"
        seen[name] += 1
        if seen[name] > 1:
            name += f" #{seen[name]}"
        found.append(Mutant(name, source.count("\n", 0, start) + 1, source[:start] + text + source[end:]))
    return found


class _Planter:
    def __init__(self, source: str) -> None:
        self.source = source
        self.faults: list[tuple[str, str, int, int, str]] = []
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._lines = source.splitlines()

    def walk(self, node: ast.AST, scope: list[str]) -> None:
        """Plant in ``node`` and below it, leaving alone what is named in this module's docstring."""
        if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom):
            return
        here = ".".join(scope) or "(module)"
        for rule, start, end, text in self._found(node):
            self.faults.append((here, rule, start, end, text))
        if isinstance(node, ast.Call) and _LOGS.match(self._text(node)):
            return
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            scope = [*scope, node.name]
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns", "decorator_list", "bases"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not (isinstance(child, ast.keyword) and child.arg in _LEFT_ALONE):
                    self.walk(child, scope)

    def _found(self, node: ast.AST) -> Iterator[tuple[str, int, int, str]]:
        if isinstance(node, ast.Constant):
            yield from self._constant(node)
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            for left, right, operator in zip(sides, sides[1:], node.ops):
                yield from self._operator(node, left, right, operator, "comparison")
        elif isinstance(node, ast.BinOp) and not any(_is_text(side) for side in (node.left, node.right)):
            yield from self._operator(node, node.left, node.right, node.op, "arithmetic")
        elif isinstance(node, ast.AugAssign):
            yield from self._operator(node, node.target, node.value, node.op, "arithmetic")
        elif isinstance(node, ast.BoolOp):
            yield from self._boolean(node)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield "not", *self._span(node), f"({self._text(node.operand)})"
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not _is_number(node.operand):
            yield "sign", *self._span(node), f"({self._text(node.operand)})"
        elif isinstance(node, ast.Call):
            yield from self._call(node)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield "dropped statement", *self._span(node), "pass"
        elif isinstance(node, ast.Return) and not (node.value is None or isinstance(node.value, ast.Constant)):
            yield "return", *self._span(node), "return None"
        for test in _tests(node):
            if not isinstance(test, ast.Compare | ast.BoolOp | ast.UnaryOp):
                yield "condition", *self._span(test), f"(not ({self._text(test)}))"

    def _constant(self, node: ast.Constant) -> Iterator[tuple[str, int, int, str]]:
        value = node.value
        if isinstance(value, bool):
            yield "constant", *self._span(node), str(not value)
        elif isinstance(value, int):
            yield "constant", *self._span(node), str({0: 1, 1: 0}.get(value, value + 1))
        elif isinstance(value, float):
            yield "constant", *self._span(node), repr(2 * value if value else 1.0)

    def _operator(
        self, node: ast.AST, left: ast.AST, right: ast.AST, operator: ast.AST, rule: str
    ) -> Iterator[tuple[str, int, int, str]]:
        if type(operator) not in _OPERATORS:
            return
        old, new = _OPERATORS[type(operator)]
        start, end = self._span(node)
        gap_start, gap_end = self._span(left)[1], self._span(right)[0]
        text = self.source[start:gap_start] + self.source[gap_start:gap_end].replace(old, new, 1)
        text += self.source[gap_end:end]
        yield rule, start, end, text if isinstance(node, ast.AugAssign | ast.Compare) else f"({text})"

    def _boolean(self, node: ast.BoolOp) -> Iterator[tuple[str, int, int, str]]:
        old, new = _OPERATORS[type(node.op)]
        start, end = self._span(node)
        text, done = "", start
        for left, right in zip(node.values, node.values[1:]):
            gap_start, gap_end = self._span(left)[1], self._span(right)[0]
            text += self.source[done:gap_start] + self.source[gap_start:gap_end].replace(old, new, 1)
            done = gap_end
        yield "and, or", start, end, f"({text}{self.source[done:end]})"

    def _call(self, node: ast.Call) -> Iterator[tuple[str, int, int, str]]:
        called = node.func
        if isinstance(called, ast.Name) and called.id in _SWAPPED:
            yield "swapped function", *self._span(called), _SWAPS[called.id]
        elif isinstance(called, ast.Attribute) and called.attr in _SWAPS:
            start, end = self._span(called)
            yield "swapped function", start, end, self.source[start : end - len(called.attr)] + _SWAPS[called.attr]
        for dropped in node.keywords:
            if dropped.arg is not None and dropped.arg not in _LEFT_ALONE and not _LOGS.match(self._text(node)):
                kept = [*node.args, *(keyword for keyword in node.keywords if keyword is not dropped)]
                kept.sort(key=lambda argument: self._span(argument)[0])
                arguments = ", ".join(self._text(argument) for argument in kept)
                yield "dropped argument", *self._span(node), f"{self._text(called)}({arguments})"

    def _span(self, node: ast.AST) -> tuple[int, int]:
        """Where a node stands, in characters of the source. (Python counts columns in bytes.)"""
        first, last = node.lineno - 1, node.end_lineno - 1  # type: ignore[attr-defined]
        begin = self._lines[first].encode()[: node.col_offset].decode()  # type: ignore[attr-defined]
        stop = self._lines[last].encode()[: node.end_col_offset].decode()  # type: ignore[attr-defined]
        return self._starts[first] + len(begin), self._starts[last] + len(stop)

    def _text(self, node: ast.AST) -> str:
        start, end = self._span(node)
        return self.source[start:end]


def _tests(node: ast.AST) -> list[ast.expr]:
    """What decides at this node which way the program goes."""
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        return [node.test]
    return list(node.ifs) if isinstance(node, ast.comprehension) else []


def _is_number(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant)


def _is_text(node: ast.AST) -> bool:
    """Texts and lists are joined or repeated: another operator is a TypeError that says nothing about the tests."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str)
    return isinstance(node, ast.JoinedStr | ast.List | ast.Tuple)
