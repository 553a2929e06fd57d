"""Residuals of a forecast beside those of the truth, by lead time."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import DataError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.report.law_section import law_section

N, DT, SPEED = 32, 0.02, 1.5


def wave(noise=0.0, starts=3, leads=5):
    """A sine that travels with SPEED, exactly; two members with noise."""
    x = np.arange(N) * 2 * np.pi / N
    axis = {"x": ("x", x, {"units": "1", "periodic": "true"})}
    times = DT * np.arange(20)
    truth = xr.Dataset({"c": (("time", "x"), np.sin(x - SPEED * times[:, None]), {"units": "1"})}, {"time": times, **axis})
    init, lead = times[: 4 * starts : 4], DT * np.arange(1, leads + 1)
    field = np.sin(x - SPEED * (init[:, None, None] + lead[:, None]))[:, None] + noise * np.random.default_rng(0).normal(size=(starts, 2, leads, N))
    coords = {"init_time": init, "member": [0, 1], "lead_time": lead, **axis}
    return xr.Dataset({"c": (("init_time", "member", "lead_time", "x"), field, {"units": "1"})}, coords), truth


def rows(noise):
    forecast, truth = wave(noise)
    grid = CartesianGrid((N,), 2 * np.pi)
    section = law_section(forecast, truth, AdvectionDiffusion(velocity=(SPEED,), diffusivity=0.0), operators=Spectral(grid))
    assert section.title == "Physics: AdvectionDiffusion"
    return {row[0].rpartition(", ")[2]: np.array(row[1:]) for row in section.tables[0].rows}


def test_members_that_are_the_truth_have_its_residual_and_noise_adds_to_it():
    exact = rows(0.0)
    np.testing.assert_allclose(exact["forecast"], exact["truth"], rtol=1e-5)
    # of a travelling sine: the error of the central difference of fourth order in time, DT^4 / 30 times the fifth derivative, rms of a cosine
    assert exact["truth"][2] == pytest.approx(SPEED**5 * DT**4 / 30 / np.sqrt(2), rel=0.01)
    noisy = rows(0.01)
    # the same difference (1, -8, 0, 8, -1) / 12 of white noise: 0.01 sqrt(130) / (12 DT) = 0.475, and its derivative in space,
    # 0.01 SPEED sqrt(mean k^2) = 0.14; together 0.495, of 192 values to 5 %
    assert noisy["forecast"][2] == pytest.approx(0.495, rel=0.2) and noisy["truth"][2] == pytest.approx(exact["truth"][2])


def test_two_lead_times_are_too_few():
    forecast, truth = wave(leads=2)
    law = AdvectionDiffusion(velocity=(SPEED,), diffusivity=0.0)
    with pytest.raises(DataError, match="three lead times or more"):
        law_section(forecast, truth, law, operators=Spectral(CartesianGrid((N,), 2 * np.pi)))
