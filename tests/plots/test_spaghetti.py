"""One contour of every member."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgb

from physdiff.base.errors import InputError
from physdiff.plots.colours import TRUTH
from physdiff.plots.spaghetti import spaghetti_plot


def ensemble() -> xr.DataArray:
    x = np.linspace(0, 1, 11)
    values = np.stack([np.broadcast_to(x + 0.1 * k, (7, 11)) for k in range(3)])
    return xr.DataArray(values, dims=("member", "y", "x"), coords={"x": x, "y": np.arange(7.0)})


def test_each_member_has_its_line_where_it_takes_the_value() -> None:
    members = ensemble()
    axes = spaghetti_plot(members, 0.55, members.isel(member=1))
    places = [float(np.mean([p.vertices[:, 0].mean() for p in c.get_paths() if len(p.vertices)])) for c in axes.collections]
    np.testing.assert_allclose(places, [0.55, 0.45, 0.35, 0.45], atol=1e-12)
    np.testing.assert_allclose(axes.collections[-1].get_edgecolor()[0][:3], to_rgb(TRUTH))


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(InputError, match="within the members' values"):
        spaghetti_plot(ensemble(), [7.0])
    with pytest.raises(InputError, match="dim 'member'"):
        spaghetti_plot(ensemble().isel(member=0), 0.5)
