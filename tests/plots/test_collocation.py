"""Pictures of a network on a law: lines in log scale with their last values, panels of field and residual."""

import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import InputError
from physdiff.plots.collocation import looks_plot, residual_maps


def test_lines_and_coefficients():
    looks = [{"step": k, "seconds": k, "residual": 10.0**-k, "loss": 0.0, "error": 0.5**k, "viscosity": 0.01 * k} for k in range(1, 5)]
    axes = looks_plot(looks)
    lines = {line.get_label().split(":")[0]: line for line in axes.get_lines()}
    np.testing.assert_allclose(lines["residual"].get_ydata(), [1e-1, 1e-2, 1e-3, 1e-4])
    assert np.isnan(lines["loss"].get_ydata()).all() and axes.get_yscale() == "log" and "viscosity = 0.04" in axes.get_title(loc="left")
    with pytest.raises(InputError, match="at least one look"):
        looks_plot([])


def test_panels():
    coords = {"time": [0.0, 1.0, 2.0], "x": np.linspace(0, 1, 6)}
    field = xr.DataArray(np.arange(18.0).reshape(3, 6), dims=("time", "x"), coords=coords, name="u")
    axes = residual_maps(field, 0.1 * field, field + 1)
    assert [a.get_title() for a in axes[0]] == ["network", "reference", "error", "residual of the law"]
    assert residual_maps(field, field).shape == (1, 2)
