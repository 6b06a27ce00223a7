"""Mutants of a module: each its syntax tree with one change."""

import ast
import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

COMPARISONS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
BORDERS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
}  # fmt: skip
OPERATORS: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}  # fmt: skip
OPPOSITES: Final = {"is_": "is_not", "is_not": "is_", "in_": "not_in", "and_": "or_", "or_": "and_", "desc": "asc"}
"""Comparisons and booleans that are methods or functions in SQLAlchemy."""


@dataclass(frozen=True)
class Mutant:
    """One change: where, and what. Its text names it whatever line it moves to."""

    module: str
    function: str
    change: str
    tree: ast.Module

    def __str__(self) -> str:
        return f"{self.module}:{self.function}: {self.change}"


def mutants(module: str, source: str) -> Iterator[Mutant]:
    """Every mutant, in the order of the source."""
    tree = ast.parse(source)
    seen: Counter[tuple[str, str]] = Counter()
    for function, node, field, index in list(_places(tree)):
        original = _at(node, field, index)
        for change, replacement in _changes(original):
            _put(node, field, index, replacement)
            mutated = ast.fix_missing_locations(copy.deepcopy(tree))
            _put(node, field, index, original)
            seen[function, change] += 1
            again = f" ({seen[function, change]})" if seen[function, change] > 1 else ""
            yield Mutant(module, function, f"{change}{again}", mutated)


def _places(tree: ast.Module) -> Iterator[tuple[str, ast.AST, str, int | None]]:
    """Every part of the code that may be changed: its function, its parent, its field and its place in a list."""

    def walk(node: ast.AST, function: str) -> Iterator[tuple[str, ast.AST, str, int | None]]:
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns", "decorator_list", "bases", "type_params", "names"):
                continue
            children = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
            for index, child in children:
                if not isinstance(child, ast.AST) or _is_docstring(child) or _declares(child):
                    continue
                inside = child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function
                yield inside, node, field, index
                yield from walk(child, inside)

    yield from walk(tree, "")


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _declares(node: ast.AST) -> bool:
    """What only a type checker reads."""
    typing_only = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    return typing_only or isinstance(node, ast.Import | ast.ImportFrom)


def _changes(node: Any) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node, ast.stmt):
        yield from _of_statement(node)
    elif isinstance(node, ast.Compare):
        yield from _of_comparison(node)
    elif isinstance(node, ast.BoolOp):
        yield _said(node, ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub | ast.Invert):
        yield _said(node, node.operand)
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield _said(node, ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right))
    elif isinstance(node, ast.IfExp):
        yield _said(node, ast.IfExp(node.test, node.orelse, node.body))
    elif isinstance(node, ast.Constant):
        yield from _of_constant(node)
    elif isinstance(node, ast.Call):
        yield from _of_call(node)


def _of_statement(node: ast.stmt) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node, ast.Expr | ast.AugAssign | ast.Raise):
        yield f"without `{_text(node)}`", ast.Pass()
    elif isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield f"return None for `{_text(node)}`", ast.Return(ast.Constant(None))
    elif isinstance(node, ast.If | ast.While):
        for value in (True, False):
            if not (value and isinstance(node, ast.While)):
                yield f"if {value} for `{_text(node.test)}`", type(node)(ast.Constant(value), node.body, node.orelse)


def _of_comparison(node: ast.Compare) -> Iterator[tuple[str, ast.AST]]:
    for table in (COMPARISONS, BORDERS):
        for place, operator in enumerate(node.ops):
            if type(operator) in table:
                ops = [*node.ops[:place], table[type(operator)](), *node.ops[place + 1 :]]
                yield _said(node, ast.Compare(node.left, ops, node.comparators))


def _of_constant(node: ast.Constant) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node.value, bool):
        yield _said(node, ast.Constant(not node.value))
    elif isinstance(node.value, int | float):
        yield _said(node, ast.Constant(node.value + 1))
    elif isinstance(node.value, str) and node.value and " " not in node.value:
        yield _said(node, ast.Constant(f"{node.value}x"))


def _of_call(node: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    """An argument less, where there are others; a method turned round."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in OPPOSITES:
        func = copy.copy(node.func)
        setattr(func, "attr" if isinstance(func, ast.Attribute) else "id", OPPOSITES[name])
        if isinstance(func, ast.Attribute) or name in ("and_", "or_"):
            yield _said(node, ast.Call(func, node.args, node.keywords))
    if name in ("and_", "or_", "where", "order_by", "values") or node.keywords:
        for place, argument in enumerate(node.args):
            if len(node.args) > 1 and name in ("and_", "or_", "where", "order_by"):
                rest = [*node.args[:place], *node.args[place + 1 :]]
                yield f"without `{_text(argument)}` in `{name}`", ast.Call(node.func, rest, node.keywords)
        for place, keyword in enumerate(node.keywords):
            if keyword.arg is not None:
                others = [*node.keywords[:place], *node.keywords[place + 1 :]]
                yield f"without `{keyword.arg}=` in `{_text(node.func)}`", ast.Call(node.func, node.args, others)


def _said(before: ast.expr, after: ast.expr) -> tuple[str, ast.AST]:
    return f"`{_text(before)}` -> `{_text(after)}`", after


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _text(node: ast.AST) -> str:
    text = " ".join(ast.unparse(ast.fix_missing_locations(copy.deepcopy(node))).split())
    return text if len(text) <= 120 else text[:119] + "…"


def _at(node: ast.AST, field: str, index: int | None) -> Any:
    value = getattr(node, field)
    return value if index is None else value[index]


def _put(node: ast.AST, field: str, index: int | None, value: Any) -> None:
    if index is None:
        setattr(node, field, value)
    else:
        getattr(node, field)[index] = value
