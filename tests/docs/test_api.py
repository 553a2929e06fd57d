"""The generated reference names what the door gives: a page for each room, a line for each public name, in the navigation.

    python -m tests.docs.test_api      writes docs/api and the part of mkdocs.yml
"""

from __future__ import annotations

import re
from pathlib import Path

import physdiff

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "api"
NAV = re.compile(r"(      - API:\n)(?:          - .*\n)*")


def pages() -> dict[str, str]:
    """Room -> text of its page."""
    rooms: dict[str, list[str]] = {}
    for name, module in sorted(physdiff._DOOR.items(), key=lambda pair: (pair[1], pair[0].lower())):
        rooms.setdefault(module.split(".")[1], []).append(f"::: {module}.{name}\n")
    return {room: f"# {room}\n\nWhat `import physdiff` gives from `physdiff/{room}`.\n\n" + "\n".join(lines) for room, lines in rooms.items()}


def navigation(config: str) -> str:
    """The configuration with the pages in its navigation."""
    lines = "".join(f"          - {room}: api/{room}.md\n" for room in pages())
    return NAV.sub(lambda found: found[1] + lines, config)


def test_the_pages_name_every_public_name() -> None:
    stored = {p.stem: p.read_text(encoding="utf-8") for p in FOLDER.glob("*.md")}
    assert stored == pages(), "run python -m tests.docs.test_api"


def test_the_navigation_holds_every_page() -> None:
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert config == navigation(config), "run python -m tests.docs.test_api"
    there = {p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md")}
    assert sorted(re.findall(r": (\S+\.md)$", config, re.MULTILINE)) == sorted(there)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for left in FOLDER.glob("*.md"):
        left.unlink()
    for room, text in pages().items():
        (FOLDER / f"{room}.md").write_text(text, encoding="utf-8")
    path = ROOT / "mkdocs.yml"
    path.write_text(navigation(path.read_text(encoding="utf-8")), encoding="utf-8")
