"""Maps on a slider: every lead time, few bytes, words that say the numbers."""

from __future__ import annotations

import re

import numpy as np
import pytest

from physdiff.data.cases import matched
from physdiff.plots.style import show_number
from physdiff.report import forecast_maps
from physdiff.report.forecast_maps import map_section
from physdiff.report.html import Slides
from tests.report.test_forecast_page import boxes, hourly


def test_a_frame_for_each_lead_time_says_its_numbers():
    forecast, truth = hourly()
    section = map_section("t2m", matched(forecast, truth), heading="Maps")
    slides, fan = section.figures
    assert isinstance(slides, Slides) and slides.label == "Lead time" and slides.printed == {0, 2, 3}
    assert [name for name, _ in slides.frames] == ["+1 h", "+2 h", "+3 h", "+4 h"]
    # the middle of three starts is that at 04:00
    real, drawn = truth["t2m"].values[4 + 3], forecast["t2m"].values[1, :, 2]
    off = np.sqrt(((drawn.mean(0) - real) ** 2).mean())
    alt, shown = slides.frames[2][1].alt, show_number(float(off))
    assert alt.startswith(f"Maps of t2m at +3 h: truth {real.min():.0f} to {real.max():.0f} K; the ensemble mean is off by {shown} rms")
    spread = float(re.search(r"members spread by (\d+\.\d+)", alt)[1])
    # printed to three digits
    assert abs(spread - np.sqrt(drawn.var(0, ddof=1).mean())) < 0.006
    pictures = {picture.data for _, picture in slides.frames}
    assert len(pictures) == 4 and len({(p.width, p.height) for _, p in slides.frames}) == 1
    assert fan.alt.startswith("Line plot of t2m")


def test_one_dimension_of_space_has_lines_on_a_slider():
    forecast, truth = (ds.isel(latitude=2, drop=True).rename(longitude="x") for ds in hourly())
    for ds in (forecast, truth):
        ds["x"].attrs.update(units="km")
    whole, slides, place = map_section("t2m", matched(forecast, truth), heading="Maps").figures
    assert whole.alt.startswith("Space-time") and place.alt.startswith("Line plot of t2m at x")
    assert isinstance(slides, Slides) and [n for n, _ in slides.frames] == ["+1 h", "+2 h", "+3 h", "+4 h"] and "along x" in slides.caption
    # the middle of three starts is that at 04:00
    real, drawn = truth["t2m"].values[7], forecast["t2m"].values[1, :, 2]
    off = show_number(float(np.sqrt(((drawn.mean(0) - real) ** 2).mean())))
    alt = slides.frames[2][1].alt
    assert alt.startswith("Line plot of t2m at +3 h") and f"off by {off} rms" in alt and "Panels" not in alt
    assert len({p.data for _, p in slides.frames}) == 4


@pytest.mark.slow
def test_frames_are_fewer_where_asked_or_where_they_are_large(monkeypatch):
    forecast, truth = boxes()
    cases = matched(forecast, truth)
    assert [n for n, _ in map_section("vorticity", cases, heading="Maps", most=2).figures[0].frames] == ["+0.5", "+2"]
    monkeypatch.setattr(forecast_maps, "_BYTES", 1000)
    assert [n for n, _ in map_section("vorticity", cases, heading="Maps").figures[0].frames] == ["+0.5", "+1.5", "+2"]
