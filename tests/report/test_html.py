"""The page is one file, escapes everything, and says what it shows."""

from __future__ import annotations

import base64
import math

import pytest
from jinja2.exceptions import UndefinedError

from physdiff.base.errors import DataError, InputError
from physdiff.plots.style import new_axes
from physdiff.report.html import Section, Table, run_facts, show_duration, to_picture, write_report
from tests.report.page import Page

EVIL = '<script>alert("1")</script>'


def line_picture(vector=False, alt="A line that rises from 0 to 1."):
    axes = new_axes()
    axes[0, 0].plot([0, 1], [0, 1])
    return to_picture(axes, caption=f"caption {EVIL}", alt=alt, vector=vector)


def evil_page(tmp_path):
    table = Table(f"table {EVIL}", ("Model", EVIL), ((EVIL, 0.123456), ("b", EVIL)), strong=frozenset({(0, 1)}), note=EVIL)
    part = Section(f"One {EVIL}", (EVIL,), (line_picture(), line_picture(vector=True, alt=f'quote " and {EVIL}')), (table,))
    sections = [part, Section("Two", level=3), part]
    return write_report(tmp_path, EVIL, sections, facts={EVIL: EVIL}, timings={EVIL: 3.0, "b": 65.0}, summary=EVIL)


def test_everything_is_escaped_and_inside(tmp_path):
    path = evil_page(tmp_path)
    assert path == tmp_path / "index.html" and [p.name for p in tmp_path.iterdir()] == ["index.html"]
    page = Page(path)
    page.check_self_contained()
    assert page.texts["h1"] == [EVIL] and page.texts["title"] == [EVIL]
    assert EVIL in page.texts["td"] and EVIL in page.texts["p"]
    assert [a["alt"] for a in page.all("img")] == ["A line that rises from 0 to 1.", f'quote " and {EVIL}'] * 2


def test_pictures_are_what_they_claim(tmp_path):
    raster, vector = line_picture(), line_picture(vector=True)
    assert raster.media == "image/png" and raster.data.startswith(b"\x89PNG")
    assert vector.media == "image/svg+xml" and b"<svg" in vector.data
    assert base64.b64decode(raster.url.split(",", 1)[1]) == raster.data
    assert (raster.width, raster.height) == (round(96 * 4.6), round(96 * 3.1))
    # the same input gives the same bytes: no date, no random names
    assert line_picture().data == raster.data and line_picture(vector=True).data == vector.data


def test_a_large_drawing_falls_back_to_png():
    axes = new_axes()
    axes[0, 0].plot([math.sin(7.3 * k) for k in range(20000)])
    assert to_picture(axes, caption="", alt="noise", vector=True).media == "image/png"


def test_a_picture_needs_words():
    with pytest.raises(InputError, match="alternative text"):
        line_picture(alt=" ")


def test_tables_show_three_digits_and_bold(tmp_path):
    table = Table("t", ("a", "b", "c"), (("x", 0.123456, 1234567), ("y", None, float("nan"))), strong=frozenset({(0, 1)}))
    page = Page(write_report(tmp_path / "sub" / "page.html", "T", [Section("S", tables=(table,))]))
    assert page.texts["strong"] == ["0.123"]
    assert page.texts["td"] == ["1234567", "–", "–"]
    assert page.texts["th"] == ["a", "b", "c", "x", "y"]
    assert page.texts["caption"] == ["t"]
    with pytest.raises(InputError, match="expected 2 entries in every row, got 1 in row 1"):
        Table("t", ("a", "b"), (("x", 1), ("y",)))


def test_run_and_timings_are_told(tmp_path):
    facts = run_facts("physdiff demo --out demo", date="2026-01-02 03:04 UTC", extra={"Data": "turbulence.nc"})
    page = Page(write_report(tmp_path, "T", [], facts=facts, timings={"training": 120.0, "forecast": 30.0}))
    assert {"physdiff demo --out demo", "2026-01-02 03:04 UTC", "turbulence.nc"} <= set(page.texts["td"])
    assert any("CPU core" in text for text in page.texts["td"]) and any("torch 2" in text for text in page.texts["td"])
    assert {"2 min 0 s", "30.0 s"} <= set(page.texts["td"]) and page.texts["strong"] == ["2 min 30 s"]
    assert [a["style"] for a in page.all("span")] == ["width: 100%", "width: 25%"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4211, "0.421 s"), (12.34, "12.3 s"), (125.4, "2 min 5 s"), (3599.6, "1 h 0 min"), (3780, "1 h 3 min")]
)
def test_durations(seconds, text):
    assert show_duration(seconds) == text


def test_the_page_follows_light_and_dark_and_prints(tmp_path):
    style = write_report(tmp_path, "T", []).read_text()
    assert "prefers-color-scheme: dark" in style and "@media print" in style and '<html lang="en">' in style


def test_an_old_page_stays_if_the_new_one_cannot_be_written(tmp_path):
    target = tmp_path / "file"
    target.write_text("not a folder")
    with pytest.raises(DataError, match="expected to write a report"):
        write_report(target / "index.html", "T", [])
    old = write_report(tmp_path, "old", []).read_text()
    with pytest.raises(UndefinedError):
        write_report(tmp_path, "new", ["no section"])
    assert (tmp_path / "index.html").read_text() == old
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "index.html"]
