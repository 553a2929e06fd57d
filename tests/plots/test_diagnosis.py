"""The picture of a diagnosis shows its numbers."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import InputError
from physdiff.plots.diagnosis import diagnosis_plot


def found() -> xr.Dataset:
    k, ratio = np.arange(5), np.array([0.1, 1.0, 10.0])
    flat = ("noise_ratio", np.array([0.2, 0.1, 0.05]))
    spectra = ("variable", "wavenumber")
    out = xr.Dataset({"fokker_planck": flat, "asymmetry": flat, "circulation": ("noise_ratio", np.zeros(3))})
    for name in ("prior_gain", "sde_ratio", "spread_ratio"):
        out[name] = (spectra, np.full((2, 5), 0.8))
    out["data_variance"] = out["prior_variance"] = (spectra, np.array([[0.0, 1, 0.5, 0.1, 1e-9]] * 2))
    out["step_gain"] = (("sampler", *spectra), np.stack([np.full((2, 5), 0.9), np.full((2, 5), 1.1)]))
    return out.assign_coords(noise_ratio=ratio, wavenumber=k, variable=["u", "v"], sampler=["own: DDPM", "DDIM"])


def test_lines_are_the_values_where_there_is_variance() -> None:
    levels, gains, ratios = diagnosis_plot(found(), variable="v")[0]
    np.testing.assert_allclose(levels.lines[0].get_ydata(), [0.2, 0.1, 0.05])
    assert float(levels.lines[2].get_ydata()[0]) == 1e-5
    assert gains.lines[0].get_xdata().tolist() == [1, 2, 3] and gains.lines[1].get_ydata().tolist() == [1.1] * 3
    assert len(ratios.lines) == 4 and gains.get_title(loc="left").startswith("v")


def test_refusals() -> None:
    with pytest.raises(InputError, match="expected one of u, v"):
        diagnosis_plot(found(), variable="w")
