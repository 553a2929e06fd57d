"""Every import against floors.toml: arrows point down, names come from where they are defined, no rings."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from sys import stdlib_module_names

import pytest

from tests.architecture.sources import (
    FLOORS,
    PACKAGE,
    ROOT,
    Import,
    Source,
    by_module,
    floor_of,
    may_import,
    sources,
)

INNER = [s for s in sources() if s.room in FLOORS["rooms"]]


def own_imports(source: Source) -> list[Import]:
    return [i for i in source.imports() if i.level or i.module.split(".")[0] == "physdiff"]


def report(problems: list[str]) -> None:
    assert not problems, "\n" + "\n".join(problems)


def test_the_table_itself_points_down():
    rooms = FLOORS["rooms"]
    report([f"{a} (floor {floor_of(a)}) -> {b} (floor {floor_of(b)})"
            for a in rooms for b in may_import(a) if floor_of(b) >= floor_of(a)])


def test_every_folder_is_a_room_of_the_table():
    entry = "physdiff/__main__.py"  # `python -m physdiff`: it calls the command and defines nothing
    unknown = [s for s in sources() if not s.is_door and s not in INNER and s.where != entry]
    report([f"{s.where}: room {s.room!r} is not in floors.toml" for s in unknown])


def test_imports_point_to_allowed_rooms():
    problems = []
    for source in INNER:
        allowed = may_import(source.room) | {source.room}
        for i in own_imports(source):
            target = i.module.split(".")[1:2]
            if target and target[0] not in allowed:
                problems.append(f"{source.where}:{i.line}: {source.room} may not import {target[0]}")
    report(problems)


def test_names_come_from_the_module_that_defines_them():
    modules, problems = by_module(), []
    for source in sources():
        for i in own_imports(source):
            place = f"{source.where}:{i.line}:"
            if i.level:
                problems.append(f"{place} relative import; write the absolute one")
            elif i.name is None:
                problems.append(f"{place} `import {i.module}`; write `from {i.module} import NAME`")
            elif i.module not in modules:
                problems.append(f"{place} there is no module {i.module}")
            elif i.name not in modules[i.module].defines():
                problems.append(f"{place} {i.name} is not defined in {i.module}; import it from where it is")
    report(problems)


def test_no_rings():
    graph = {s.module: {i.module for i in own_imports(s)} - {s.module} for s in INNER}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("modules import each other in a ring: " + " <- ".join(error.args[1]))


def names_of(requirements: Iterable[str]) -> set[str]:
    return {re.split(r"[\[<>=!~; ]", line)[0].lower() for line in requirements}


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = names_of(line for extra in ("dask", "zarr", "formats", "grib", "remote", "maps") for line in PROJECT["optional-dependencies"][extra])


def test_no_imports_inside_functions():
    """But of extras, which a plain install does not have."""
    lazy = FLOORS["lazy"]
    report([f"{s.where}:{i.line}: import of {i.module} inside a function; move it to the top"
            for s in sources() if s.where not in lazy["files"] and s.room not in lazy["rooms"]
            for i in s.imports() if i.inside_function and i.module.split(".")[0] not in EXTRAS])


@pytest.mark.parametrize("package", sorted(FLOORS["third_party"]))
def test_heavy_third_parties_stay_in_their_rooms(package):
    rule, problems = FLOORS["third_party"][package], []
    for source in INNER:
        folder = source.path.parent.relative_to(PACKAGE).as_posix()
        if "from_floor" in rule:
            fine = floor_of(source.room) >= rule["from_floor"]
        else:
            fine = any(folder == place or folder.startswith(place + "/") for place in rule["in"])
        problems += [f"{source.where}:{i.line}: {package} may not be imported here"
                     for i in source.imports() if i.module.split(".")[0] == package and not fine]
    report(problems)


def test_rooms_hold_a_docstring_only():
    problems = []
    for source in INNER:
        folder = source.path.parent
        if not (folder / "__init__.py").exists():
            problems.append(f"{folder.relative_to(ROOT)}: no __init__.py")
        if source.is_init and not (ast.get_docstring(source.tree) and len(source.tree.body) == 1):
            problems.append(f"{source.where}: a room's __init__.py holds a docstring and nothing else")
    report(problems)


def test_all_lists_what_the_module_defines_for_others():
    problems = []
    for source in INNER:
        if source.is_init:
            continue
        listed = source.listed()
        if listed is None:
            problems.append(f"{source.where}: no __all__")
            continue
        public = {n.name for n in source.definitions() if not n.name.startswith("_")}
        missing = sorted(public - set(listed))
        problems += [f"{source.where}: {n} is public and not in __all__" for n in missing]
        strange = sorted(set(listed) - source.defines())
        problems += [f"{source.where}: __all__ names {n}, not defined here" for n in strange]
    report(problems)


def test_every_module_has_its_mirrored_test():
    reasons, problems, seen = FLOORS["no_mirror"], [], set()
    for source in INNER:
        if source.is_init:
            continue
        inner = source.path.relative_to(PACKAGE)
        mirror = ROOT / "tests" / inner.parent / f"test_{inner.name}"
        key = inner.as_posix()
        seen.add(key)
        if not mirror.exists() and key not in reasons:
            wanted = mirror.relative_to(ROOT)
            problems.append(f"{source.where}: expected {wanted} or a reason in floors.toml [no_mirror]")
        if mirror.exists() and key in reasons:
            problems.append(f"floors.toml [no_mirror]: {key} has its test now; remove the line")
    problems += [f"floors.toml [no_mirror]: there is no {key}" for key in sorted(set(reasons) - seen)]
    report(problems)


def test_third_parties_are_declared():
    """Every package imported is a core dependency, so that a plain install is never half a command; a kind of file may need an extra."""
    core = names_of(PROJECT["dependencies"])
    distributions, problems = packages_distributions(), []
    for source in sources():
        for i in source.imports():
            top = i.module.split(".")[0]
            if i.level or top == "physdiff" or top in stdlib_module_names:
                continue
            declared = core | EXTRAS if i.inside_function else core
            if not declared & {d.lower() for d in distributions.get(top, [top])}:
                problems.append(f"{source.where}:{i.line}: {top} is not a dependency in pyproject.toml")
    report(problems)


def test_strict_typing_covers_floors_0_to_3():
    overrides = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["overrides"]
    strict = {m for o in overrides if o.get("disallow_untyped_defs") for m in o["module"]}
    low = {f"physdiff.{r}.*" for r in FLOORS["rooms"] if floor_of(r) <= 3}
    assert low <= strict
