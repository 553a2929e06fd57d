"""At most 400 lines a file, 60 a function (docstring included), 8 parameters, 3 by position."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.sources import FLOORS, ROOT, sources

FOLDERS = ("physdiff", "tests", "datasets", "examples", "benchmarks")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST, *, owner: str = "") -> Iterator[tuple[Function, str]]:
    """Every function of a tree with the name of its class, or an empty string."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, Function):
            yield child, owner
        yield from functions(child, owner=child.name if isinstance(child, ast.ClassDef) else "")


def parameters(function: Function, *, method: bool) -> tuple[int, int]:
    """Count (all, positional) parameters, the bound first one of a method left out."""
    static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in function.decorator_list)
    positional = len(function.args.posonlyargs) + len(function.args.args) - (method and not static)
    return positional + len(function.args.kwonlyargs), positional


def called_by_position(function: Function) -> bool:
    """Whether others call it by position: a trainer's hook, a contract of floors.toml."""
    return function.name.startswith("on_") or function.name in FLOORS["positional"]


def test_files_are_at_most_400_lines():
    long = {p.relative_to(ROOT).as_posix(): n for p in FILES if (n := len(p.read_text().splitlines())) > 400}
    assert not long


def test_functions_are_at_most_60_lines():
    long = []
    for path in FILES:
        for function, _ in functions(ast.parse(path.read_text())):
            lines = function.end_lineno - function.lineno + 1
            if lines > 60:
                long.append(f"{path.relative_to(ROOT)}:{function.lineno}: {function.name} has {lines} lines")
    assert not long, "\n" + "\n".join(long)


def test_at_most_8_parameters_and_3_by_position():
    wide = []
    for source in sources():
        for function, owner in functions(source.tree):
            total, positional = parameters(function, method=bool(owner))
            where = f"{source.where}:{function.lineno}: {function.name}"
            private = owner.startswith("_") or (function.name.startswith("_") and function.name != "__init__")
            if total > 8:
                wide.append(f"{where} has {total} parameters; pass built parts")
            if positional > 3 and not private and not called_by_position(function):
                wide.append(f"{where} takes {positional} by position; put * after the third")
    assert not wide, "\n" + "\n".join(wide)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f(a, b, /, c, *, d): ...", (4, 3)),
        ("class A:\n    def f(self, a, *rest, b=1, **more): ...", (2, 1)),
        ("class A:\n    @staticmethod\n    def f(a, b): ...", (2, 2)),
        ("class A:\n    @classmethod\n    def f(cls, a): ...", (1, 1)),
    ],
)
def test_the_count_leaves_out_self(text, expected):
    ((function, owner),) = functions(ast.parse(text))
    assert parameters(function, method=bool(owner)) == expected


def test_the_files_are_found():
    assert Path(ROOT / "physdiff" / "__init__.py") in FILES
