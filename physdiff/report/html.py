"""One self-contained HTML page: sections of text, pictures and tables, what was run and how long it took.

Everything is inside the one file: pictures as data URLs, style in the head, one small script (page.js), nothing fetched. All text goes
through jinja2 with autoescape, so a variable called ``<script>`` is shown, not run; and the page's policy lets no other script run than the
one whose digest it names. The page is readable by keyboard and screen reader (headings, captions, scoped headers, alternative texts, sorting
and sliders by ordinary buttons and range inputs), follows the reader's light or dark setting, and prints; without scripts all of it is there but
the sorting and the frames of a slider besides three.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import platform
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jinja2 import Environment, StrictUndefined

from physdiff import __version__
from physdiff.base.errors import DataError, InputError
from physdiff.plots.style import figure_of, show_number

__all__ = ["Cell", "Picture", "Section", "Slides", "Table", "to_picture", "run_facts", "show_duration", "write_report"]

Cell = str | int | float | None
_LARGEST_SVG = 150_000
_PACKAGES = ("torch", "lightning", "numpy", "xarray")


@dataclass(frozen=True)
class Picture:
    """A picture ready to be embedded; made by `to_picture`.

    Args:
        caption: What the reader should see in it, under the picture.
        alt: What it shows, for those who do not see it.
        media: ``"image/png"`` or ``"image/svg+xml"``.
        data: The file.
        width: Width on the page in CSS pixels.
        height: Height likewise.
    """

    caption: str
    alt: str
    media: str
    data: bytes
    width: int
    height: int

    @property
    def url(self) -> str:
        """The picture as a data URL."""
        return f"data:{self.media};base64,{base64.b64encode(self.data).decode('ascii')}"


@dataclass(frozen=True)
class Slides:
    """Pictures of one thing at several times: the reader sees one and moves a slider; paper, and a page without scripts, show three of them.

    Args:
        caption: What the reader should see in them.
        label: What the slider moves along, such as lead time.
        frames: Name and picture of each, in order; the pictures' captions are not shown.

    Raises:
        InputError: If there is no frame.
    """

    caption: str
    label: str
    frames: tuple[tuple[str, Picture], ...]

    def __post_init__(self) -> None:
        if not self.frames:
            raise InputError("slides: expected at least one picture, got none")

    @property
    def printed(self) -> frozenset[int]:
        """The frames that paper shows: the first, the middle and the last."""
        return frozenset({0, len(self.frames) // 2, len(self.frames) - 1})


@dataclass(frozen=True)
class Table:
    """A table; numbers are shown to three significant digits, whole numbers (int) as they are.

    Args:
        caption: What the table holds, with units.
        columns: Headings of all columns.
        rows: One entry per column; the first is the heading of the row.
        strong: (row, column) of the entries to set in bold, counted from 0 with the heading column as 0.
        note: A line under the table.
        below: (row, column) -> what stands small under the number, such as its interval.
        marks: (row, column) -> a sign behind the number, which the note explains.

    Raises:
        InputError: If a row has another number of entries than there are columns.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    strong: frozenset[tuple[int, int]] = frozenset()
    note: str = ""
    below: Mapping[tuple[int, int], str] = field(default_factory=dict)
    marks: Mapping[tuple[int, int], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wrong = [i for i, row in enumerate(self.rows) if len(row) != len(self.columns)]
        if wrong:
            got = f"{len(self.rows[wrong[0]])} in row {wrong[0]}"
            raise InputError(f"Table {self.caption!r}: expected {len(self.columns)} entries in every row, got {got}; None for no value")

    def shown(self) -> list[list[dict[str, Any]]]:
        """The entries as the template wants them."""
        return [[self._entry(cell, (i, j)) for j, cell in enumerate(row)] for i, row in enumerate(self.rows)]

    @property
    def texts(self) -> frozenset[int]:
        """Columns of words."""
        return frozenset(j for j in range(len(self.columns)) if self.rows and all(isinstance(row[j], str) for row in self.rows))

    def _entry(self, cell: Cell, at: tuple[int, int]) -> dict[str, Any]:
        number = not isinstance(cell, str)
        value = "" if cell is None or not number or cell != cell else repr(float(cell))
        more = {"strong": at in self.strong, "below": self.below.get(at, ""), "mark": self.marks.get(at, "")}
        return {"text": _shown(cell), "number": number, "value": value, **more}


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        title: Heading.
        text: Paragraphs.
        figures: Pictures, shown after the text.
        tables: Tables, shown after the pictures.
        level: 2 for a part of its own, 3 for one below the last of level 2.
    """

    title: str
    text: tuple[str, ...] = ()
    figures: tuple[Picture | Slides, ...] = ()
    tables: tuple[Table, ...] = field(default=())
    level: int = 2


def to_picture(axes: Any, *, caption: str, alt: str, vector: bool = False, dpi: int = 150) -> Picture:  # noqa: ANN401 - axes or an array of axes
    """Turn the figure that axes belong to into an embedded picture.

    Args:
        axes: What a plot function has returned.
        caption: Text under the picture.
        alt: What the picture shows; must not be empty.
        vector: SVG instead of PNG, for lines; falls back to PNG above 150 kB.
        dpi: Dots per inch of a PNG.

    Raises:
        InputError: If there is no alternative text.
    """
    if not alt.strip():
        raise InputError("picture: expected an alternative text, got none; say in one sentence what the picture shows")
    figure = figure_of(axes)
    width, height = (round(96 * side) for side in figure.get_size_inches())
    if vector:
        buffer = io.BytesIO()
        with matplotlib.rc_context({"svg.hashsalt": "physdiff"}):
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        if buffer.tell() <= _LARGEST_SVG:
            return Picture(caption, alt, "image/svg+xml", buffer.getvalue(), width, height)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return Picture(caption, alt, "image/png", buffer.getvalue(), width, height)


def run_facts(command: str, *, date: str, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What was run and on what, for the head of the page.

    Args:
        command: The command line.
        date: Date and time of the run as text; passed in, so that the same input gives the same page.
        extra: Further facts, such as the data and the number of parameters.
    """
    found = {"Command": command, "Date": date, "physdiff": __version__}
    found["Software"] = ", ".join([f"Python {platform.python_version()}", *(f"{name} {_version(name)}" for name in _PACKAGES)])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found["Machine"] = f"{platform.system()} {platform.machine()}, {cores} CPU core{'s' if cores > 1 else ''}"
    return {**found, **dict(extra or {})}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"


def show_duration(seconds: float) -> str:
    """Seconds for readers: ``0.42 s``, ``12.3 s``, ``2 min 5 s``, ``1 h 3 min``."""
    if seconds < 100:
        return f"{show_number(float(seconds))} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(whole / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def write_report(
    path: str | os.PathLike[str],
    title: str,
    sections: Sequence[Section],
    *,
    facts: Mapping[str, str] | None = None,
    timings: Mapping[str, float] | None = None,
    summary: str = "",
) -> Path:
    """Write the page, whole or not at all.

    Args:
        path: File to write, or a folder, which gets an ``index.html``.
        title: Heading of the page.
        sections: Its parts in order.
        facts: What was run, see `run_facts`.
        timings: Seconds of each stage.
        summary: A sentence under the heading.

    Returns:
        The file.

    Raises:
        DataError: If the file cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() not in (".html", ".htm"):
        target = target / "index.html"
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    shipped = files("physdiff.report")
    template = environment.from_string(shipped.joinpath("template.html").read_text(encoding="utf-8"))
    script = shipped.joinpath("page.js").read_text(encoding="utf-8")
    durations = {name: float(seconds) for name, seconds in (timings or {}).items()}
    longest = max(durations.values(), default=0.0)
    page = template.render(
        title=title,
        summary=summary,
        sections=list(enumerate(sections, start=1)),
        facts=dict(facts or {}),
        timings=[(name, show_duration(s), round(100 * s / longest) if longest else 0) for name, s in durations.items()],
        total=show_duration(sum(durations.values())),
        script=script,
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )
    _write_whole(target, page)
    return target


def _write_whole(target: Path, page: str) -> None:
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(page, encoding="utf-8")
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{target}: expected to write a report, got {error}; check the folder and the space left") from error


def _shown(cell: Cell) -> str:
    if cell is None:
        return "–"
    return cell if isinstance(cell, str) else show_number(cell.item() if isinstance(cell, np.generic) else cell)
