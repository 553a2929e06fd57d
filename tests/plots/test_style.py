"""Labels from attributes, numbers to three digits, no global state."""

from __future__ import annotations

import math
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import InputError
from physdiff.plots.style import (
    axes_grid,
    even_choice,
    figure_of,
    label_of,
    lead_of,
    new_axes,
    plain,
    pretty_unit,
    quantity,
    show_number,
    step_label,
    tidy,
)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.16549, "0.165"),
        (0.12, "0.120"),
        (12.345, "12.3"),
        (99.96, "100"),
        (85612.0, "85600"),
        (-0.5, "−0.500"),
        (1.2345e-5, "1.23 × 10⁻⁵"),
        (-2e9, "−2.00 × 10⁹"),
        (0.0, "0"),
        (1234567, "1234567"),
        (math.nan, "–"),
        (-math.inf, "−∞"),
    ],
)
def test_three_significant_digits(number, text):
    assert show_number(number) == text


def test_shown_numbers_are_within_half_a_unit_of_the_third_digit():
    for x in np.random.default_rng(0).lognormal(0, 4, 200):
        shown = float(show_number(float(x)).replace(" × 10", "e").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")))
        assert abs(shown - x) <= 0.005000001 * x


@pytest.mark.parametrize(("unit", "shown"), [("K", "K"), ("m**2 s**-2", "m² s⁻²"), ("1", ""), ("kg kg-1", ""), ("W/m2", "W m⁻²"), ("%", "%")])
def test_units(unit, shown):
    assert pretty_unit(unit) == shown


def test_labels_come_from_attributes():
    array = xr.DataArray(0.0, name="z_500", attrs={"units": "m2 s-2", "long_name": "geopotential"})
    assert label_of(array) == "geopotential (m² s⁻²)"
    assert label_of(xr.DataArray(0.0, name="q")) == "q"
    assert quantity("lead time", "h") == "lead time (h)"


def coordinate(values, name="lead_time", **attrs):
    return xr.DataArray(values, dims=name, coords={name: values}, name=name).assign_attrs(attrs)


@pytest.mark.parametrize(
    ("values", "attrs", "expected", "unit"),
    [
        (np.array([1, 24]) * np.timedelta64(3600, "s"), {}, [1, 24], "h"),
        (np.array([1, 10]) * np.timedelta64(86400, "s"), {}, [1, 10], "d"),
        (np.array([600.0, 1200.0]), {"units": "seconds"}, [10, 20], "min"),
        (np.array([0.5, 1.5]), {"units": "s"}, [0.5, 1.5], "s"),
        (np.array([0.5, 1.5]), {"units": "1"}, [0.5, 1.5], "1"),
    ],
)
def test_lead_times_in_a_unit_that_reads_well(values, attrs, expected, unit):
    got, got_unit = lead_of(coordinate(values, **attrs))
    np.testing.assert_allclose(got, expected)
    assert got_unit == unit


def test_step_labels():
    assert step_label(coordinate(np.array([1, 6]) * np.timedelta64(3600, "s")), 1) == "+6 h"
    assert step_label(coordinate(np.array([0.5, 3.5]), name="time"), 1) == "t = 3.5"
    assert step_label(coordinate(np.array(["2019-03-16T06"], dtype="datetime64[ns]"), name="time"), 0) == "2019-03-16T06:00"


def test_dollars_and_underscores_are_shown_as_they_are():
    axes = tidy(new_axes()[0, 0], x=r"$\nonsense{$", y="a $ b")
    axes.plot([0, 1], label=plain("_hidden"))
    assert [t.get_text()[1:] for t in axes.legend().get_texts()] == ["_hidden"]
    figure_of(axes).canvas.draw()  # a formula that does not parse would raise


def test_no_global_state_and_no_pyplot():
    before = dict(matplotlib.rcParams)
    figure_of(new_axes(2, 3)).canvas.draw()
    assert dict(matplotlib.rcParams) == before
    code = (
        "import sys, physdiff.plots.maps, physdiff.plots.spectra, physdiff.plots.calibration, physdiff.plots.trajectories, physdiff.report.html\n"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_given_axes_are_used_and_counted():
    grid = new_axes(1, 2)
    assert axes_grid([grid[0, 0], grid[0, 1]], 1, 2, size=(1, 1))[0, 1] is grid[0, 1]
    with pytest.raises(InputError, match="expected 1 x 3 = 3, got 2"):
        axes_grid(grid, 1, 3, size=(1, 1))
    with pytest.raises(InputError, match="expected axes"):
        figure_of([None])


def test_even_choice_keeps_both_ends():
    assert list(even_choice(24, 3)) == [0, 12, 23]
    assert list(even_choice(2, 3)) == [0, 1]
    assert list(even_choice(1, 3)) == [0]
