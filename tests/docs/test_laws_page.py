"""docs/laws.md names every law and every picture, and each picture has its function in the script."""

import importlib
import re
from pathlib import Path

import pytest

import physdiff
from physdiff.pdes.pde import PDE

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
PAGE = (ROOT / "docs" / "laws.md").read_text(encoding="utf-8")


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(IMAGES))
    return importlib.import_module("make_law_pictures")


def laws():
    """Names of all laws of the package: what the door gives that is a PDE."""
    offered = (getattr(physdiff, name) for name in dir(physdiff) if name[0].isupper())
    return sorted(thing.__name__ for thing in offered if isinstance(thing, type) and issubclass(thing, PDE) and getattr(thing, "fields", ()))


@pytest.mark.parametrize("law", laws())
def test_the_table_has_a_row_for_every_law(law):
    assert f"| `{law}` " in PAGE, f"docs/laws.md: expected a row for {law}; add one to the table"


def test_every_picture_of_the_page_exists_and_can_be_made(script):
    named = set(re.findall(r"\]\(images/(law_\w+\.png)\)", PAGE))
    assert named and named <= {f"law_{name}.png" for name in script.PICTURES}
    for name in named:
        size = (IMAGES / name).stat().st_size
        assert 5_000 < size < 150_000, f"{name}: {size} bytes"


def test_every_row_names_files_that_exist():
    for module in set(re.findall(r"`(pdes/\w+\.py)`", PAGE)):
        assert (ROOT / "physdiff" / module).is_file(), module
