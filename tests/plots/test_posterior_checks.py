"""The pictures of a calibration show its numbers."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import InputError
from physdiff.plots.posterior_checks import posterior_checks_plot, rank_ecdf_plot


def found(cases: int = 40, members: int = 19) -> xr.Dataset:
    ranks = (np.arange(cases) * 7) % (members + 1)
    out = xr.Dataset(
        {
            "rank": (("case", "quantity"), np.stack([ranks, np.zeros(cases)], 1)),
            "truth": (("case", "quantity"), np.stack([np.linspace(-1, 1, cases)] * 2, 1)),
            "mean": (("case", "quantity"), np.zeros((cases, 2))),
            "std": (("case", "quantity"), np.full((cases, 2), 0.5)),
            "tarp_rank": ("case", ranks),
            "ranks": (("case", "variable", "rank_of_cell"), np.full((cases, 1, members + 1), 1 / (members + 1))),
            "crps": (("case", "variable"), np.linspace(0.1, 0.3, cases)[:, None]),
            "coverage": (("case", "variable"), np.linspace(0.8, 1.0, cases)[:, None]),
            "variance": (("case", "variable"), np.full((cases, 1), 0.25)),
            "squared_error": (("case", "variable"), np.full((cases, 1), 0.25)),
        },
        coords={"quantity": ["u mean", "u at 0, 3"], "variable": ["u"]},
        attrs={"members": members, "level": 0.9, "error": 0.05, "tests": 3, "tarp_p": 0.4, "truths": "prior", "mean_nfe": 12.0},
    )
    out.attrs["verdict"] = f"{cases} cases show no fault"
    for name, values in {"p_value": [0.5, 1e-6], "p_chi2": [0.5, 1e-6], "tilt": [0.0, -0.5], "width": [1.0, 2.7]}.items():
        out[name] = ("quantity", np.array(values))
    return out


def test_lines_are_distribution_functions_minus_the_uniform_one() -> None:
    axes = rank_ecdf_plot({"right": np.arange(20), "zero": np.zeros(20)}, 19)
    right, zero = axes.lines[0].get_ydata(), axes.lines[1].get_ydata()
    np.testing.assert_allclose(right, 0, atol=1e-12)
    np.testing.assert_allclose(zero[1:-1], 1 - axes.lines[1].get_xdata()[1:-1])
    # the band holds zero everywhere and is closed at the ends
    corners = axes.collections[0].get_paths()[0].vertices
    assert corners[:, 1].min() < -0.2 and corners[:, 1].max() > 0.2


def test_four_panels() -> None:
    grid = posterior_checks_plot(found())
    assert grid.shape == (2, 2) and len(grid[0, 0].lines) == 3
    assert "p = 0.4" in grid[0, 1].get_title(loc="left") and len(grid[1, 0].patches) >= 20


def test_refusals() -> None:
    with pytest.raises(InputError, match=r"same cases for each name, got \[2, 3\]"):
        rank_ecdf_plot({"a": np.zeros(2), "b": np.zeros(3)}, 9)
