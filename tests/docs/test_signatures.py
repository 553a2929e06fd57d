"""The list of signatures in docs/architecture.md is what the code has; `python -m tests.docs.test_signatures` writes it anew."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import physdiff

PAGE = Path(__file__).resolve().parents[2] / "docs" / "architecture.md"
BEGIN, END = "<!-- signatures: python -m tests.docs.test_signatures writes them -->\n```text\n", "```\n<!-- end of signatures -->"
# final classes whose methods users call
SHOWN = ("DiffusionPrior", "Ensemble", "FieldSpec", "Gaussian", "Observation", "PDE", "Posterior", "Rng", "Rollout", "TrajectoryWindows", "Tableau")


def signature(found: object, *, drop: int = 0) -> str:
    """Parameters without annotations; a default that is no number, text or tuple of these as ``...``."""
    parts, star = [], False
    for p in list(inspect.signature(found).parameters.values())[drop:]:  # type: ignore[arg-type]
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name in ("args", "kwargs"):
            continue  # a class without a constructor of its own
        if p.kind is p.KEYWORD_ONLY and not star:
            parts, star = [*parts, "*"], True
        if p.default is inspect.Parameter.empty:
            parts.append(str(p.replace(annotation=inspect.Parameter.empty)))
        else:
            plain = isinstance(p.default, int | float | str | tuple | type(None))
            parts.append(f"{p.name}={p.default!r}" if plain else f"{p.name}=...")
    return f"({', '.join(parts)})"


def methods(cls: type) -> list[str]:
    """Public methods of an abstract class, and of the final ones users call methods of."""
    abstract = getattr(cls, "__abstractmethods__", frozenset())
    if not abstract and cls.__name__ not in SHOWN:
        return []
    lines = []
    for name, value in vars(cls).items():
        plain = value.__func__ if isinstance(value, classmethod) else value
        if not inspect.isfunction(plain) or (name.startswith("_") and name not in (*abstract, "__call__")):
            continue
        mark = "   # abstract" if name in abstract else ""
        lines.append(f"    .{name}{signature(plain, drop=1)}{mark}")
    return lines


def block() -> str:
    """All names of the door by module."""
    lines: list[str] = []
    last = ""
    for name, module in physdiff._DOOR.items():
        found = getattr(importlib.import_module(module), name)
        if module != last:
            lines, last = [*lines, f"# {module.removeprefix('physdiff.').replace('.', '/')}.py"], module
        if inspect.isclass(found):
            own = "__init__" if found.__init__ is not object.__init__ else ""
            lines += [f"{name}{signature(found.__init__, drop=1) if own else '()'}", *methods(found)]
        elif inspect.isfunction(found):
            lines.append(f"{name}{signature(found)}")
        else:
            lines.append(name)
    return "\n".join(lines) + "\n"


def test_the_page_lists_what_the_code_has():
    text = PAGE.read_text(encoding="utf-8")
    listed = text.split(BEGIN)[1].split(END)[0].splitlines()
    now = block().splitlines()
    changed = [f"- {line}" for line in listed if line not in now] + [f"+ {line}" for line in now if line not in listed]
    assert listed == now, "docs/architecture.md: run python -m tests.docs.test_signatures\n" + "\n".join(changed)


def test_the_glossary_has_a_line_for_every_name():
    text = (PAGE.parent / "glossary.md").read_text(encoding="utf-8")
    missing = [name for name in physdiff._DOOR if f"| `{name}` |" not in text]
    assert not missing, f"docs/glossary.md: expected a line | `name` | meaning | for {', '.join(missing)}"


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    PAGE.write_text(before + BEGIN + block() + END + rest.split(END)[1], encoding="utf-8")
