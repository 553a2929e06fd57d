"""The root is the only door: its table, its names for type checkers and what exists agree; it is quick."""

from __future__ import annotations

import ast
import importlib
import os
import resource
import subprocess
import sys

import pytest

import physdiff
from tests.architecture.sources import PACKAGE, ROOT, by_module

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
DOOR = physdiff._DOOR


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, timeout=60)


def cpu_seconds(code: str, *arguments: str) -> float:
    """Processor time of a fresh interpreter; unlike wall time it does not grow with the machine's load."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run(code, *arguments)
    assert done.returncode == 0, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def order(entry: tuple[str, str]) -> tuple[str, str]:
    """By module, then by name whatever its case, as ruff sorts imports."""
    module, name = entry
    return module, name.lower()


def typed_names() -> dict[str, str]:
    """The names that the stub imports, with their modules."""
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    imports = [n for n in tree.body if isinstance(n, ast.ImportFrom)]
    names = [alias for n in imports for alias in n.names]
    assert all(alias.name == alias.asname for alias in names), "write `from M import N as N`"
    return {alias.name: n.module for n in imports for alias in n.names}


def test_type_checkers_see_the_table():
    entries = sorted(((module, name) for name, module in DOOR.items()), key=order)
    expected = "\n".join(f"from {module} import {name} as {name}" for module, name in entries)
    assert typed_names() == DOOR, f"__init__.pyi should read\n{expected}"


def test_the_table_is_in_order():
    entries = [(module, name) for name, module in DOOR.items()]
    assert entries == sorted(entries, key=order), "sort the table by module, then by name"


@pytest.mark.parametrize("name", sorted(DOOR))
def test_every_entry_exists_where_it_is_defined(name):
    source = by_module().get(DOOR[name])
    assert source is not None, f"there is no module {DOOR[name]}"
    assert name in (source.listed() or []), f"{DOOR[name]} does not list {name} in __all__"
    assert getattr(physdiff, name) is getattr(importlib.import_module(DOOR[name]), name)
    assert name in dir(physdiff)


def test_no_entry_is_named_like_a_room():
    """Importing the room would replace the name."""
    assert not {name for name in DOOR if (PACKAGE / name).is_dir()}


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'NoSuchName'"):
        physdiff.NoSuchName  # noqa: B018 - the lookup is the test


def test_import_loads_nothing_heavy():
    heavy = ("torch", "numpy", "xarray", "lightning", "matplotlib")
    done = run(f"import sys, physdiff; print(sorted(set({heavy}) & set(sys.modules)))")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_import_takes_less_than_a_fifth_of_a_second():
    assert min(cpu_seconds("import physdiff") for _ in range(3)) < 0.2


MAIN = "import sys; sys.argv[0] = 'physdiff'; from physdiff.cli.main import main; sys.exit(main())"


def test_help_takes_less_than_one_and_a_half_seconds():
    assert min(cpu_seconds(MAIN, "--help") for _ in range(3)) < 1.5


def test_the_command_makes_openmp_wait_passively_before_torch_is_loaded():
    """torch reads the policy when it loads: the entry point must set it first, and not load torch itself."""
    code = (
        "import atexit, os, sys; os.environ.pop('OMP_WAIT_POLICY', None); from physdiff.cli.main import main;"
        "assert 'torch' not in sys.modules; sys.argv = ['physdiff', '--help'];"
        "atexit.register(lambda: print('policy', os.environ.get('OMP_WAIT_POLICY'))); main()"
    )
    assert "policy PASSIVE" in run(code).stdout


def test_a_star_brings_every_name():
    import physdiff

    assert set(physdiff.__all__) >= {"PDE", "Rng", "open_dataset"} and all(name in dir(physdiff) for name in physdiff.__all__)
