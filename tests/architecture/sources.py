"""The package as its syntax trees: which modules exist, what each defines, what each imports."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "physdiff"
FLOORS = tomllib.loads((ROOT / "tests" / "architecture" / "floors.toml").read_text())
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Import:
    """One import: `from module import name`, or `import module` (name None)."""

    module: str
    name: str | None
    line: int
    inside_function: bool
    level: int


@dataclass(frozen=True)
class Source:
    """One file of the package."""

    path: Path
    tree: ast.Module

    @property
    def where(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def module(self) -> str:
        parts = self.path.relative_to(ROOT).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def is_door(self) -> bool:
        return self.path == PACKAGE / "__init__.py"

    @property
    def is_init(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def room(self) -> str | None:
        """The room, or None for the root door."""
        return None if self.is_door else self.path.relative_to(PACKAGE).parts[0].removesuffix(".py")

    def imports(self) -> Iterator[Import]:
        yield from _imports(self.tree, inside=False)

    def defines(self) -> set[str]:
        """Names bound at the top of the module by a definition or an assignment (not by an import)."""
        return {name for node in _top(self.tree.body) for name in _bound(node)}

    def definitions(self) -> list[Definition]:
        return [n for n in _top(self.tree.body) if isinstance(n, Definition)]

    def listed(self) -> list[str] | None:
        """The entries of `__all__`, or None if there is none."""
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and "__all__" in _bound(node):
                return list(ast.literal_eval(node.value))
        return None


@cache
def sources() -> tuple[Source, ...]:
    """All files of the package."""
    return tuple(Source(p, ast.parse(p.read_text(), filename=str(p))) for p in sorted(PACKAGE.rglob("*.py")))


def by_module() -> dict[str, Source]:
    return {s.module: s for s in sources()}


def floor_of(room: str) -> int:
    return FLOORS["rooms"][room]["floor"]


def may_import(room: str) -> set[str]:
    listed = FLOORS["rooms"][room]["imports"]
    if listed == "below":
        return {r for r in FLOORS["rooms"] if floor_of(r) < floor_of(room)}
    return set(listed)


def _imports(node: ast.AST, *, inside: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, None, child.lineno, inside, 0)
        elif isinstance(child, ast.ImportFrom):
            for alias in child.names:
                yield Import(child.module or "", alias.name, child.lineno, inside, child.level)
        else:
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, inside=inside or function)


def _top(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements at the top of a module, those under `if` and `try` included."""
    for node in body:
        yield node
        for part in ("body", "orelse", "finalbody"):
            if isinstance(node, ast.If | ast.Try):
                yield from _top(getattr(node, part, []))


def _bound(node: ast.stmt) -> set[str]:
    if isinstance(node, Definition):
        return {node.name}
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
