# %% [markdown]
# # 06 A network of the coordinates with an unknown parameter
#
# At the end you have the viscosity of Burgers' equation from a hundred noisy readings, with an error bar that holds the truth. The solution
# is the published file `burgers_gauss_nu0p1.nc` if it is there (`PHYSDIFF_DATA`), else our own solver makes it; the viscosity is 0.1 in
# both.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import torch
import xarray as xr

import physdiff

SMALL = os.environ.get("PHYSDIFF_SMALL") == "1"
path = Path(os.environ.get("PHYSDIFF_DATA", "../shared/data")) / "pde" / "burgers_gauss_nu0p1.nc"
torch.manual_seed(0)
if path.exists():
    with xr.open_dataset(path) as ds:
        field = ds["u"].transpose("t" if "t" in ds["u"].dims else "time", "x").load()
    x, t, u = (torch.as_tensor(a.values.copy()).double() for a in (field["x"], field[field.dims[0]], field))
    print("data: the published solution", tuple(u.shape))
else:
    grid = physdiff.CartesianGrid(256, extent=16.0, origin=-8.0)
    x, t = grid.coordinates()[0], torch.linspace(0, 10, 101, dtype=torch.float64)
    stepper = physdiff.ETDRK4(physdiff.Burgers(viscosity=0.1), physdiff.Spectral(grid))
    u = physdiff.solve(stepper, {"u": torch.exp(-((x + 2) ** 2))[None]}, t, substeps=20)["u"][0]
    print("data: generated")

# %% [markdown]
# Readings at random places and times, with noise of 1 % of the largest value. The law is asked at points of its own; the viscosity starts
# at three times the truth.

# %%
rng, count, noise = physdiff.Rng(0), 80 if SMALL else 200, 0.01
window = (t <= 4.0).nonzero()[-1].item() + 1
rows, columns = rng.child("rows").integers(0, window, (count,)), rng.child("columns").integers(0, len(x), (count,))
places = torch.stack([x[columns], t[rows]], 1)
values = u[rows, columns] + noise * rng.child("noise").normal((count,)).double()

lower, upper = (float(x[0]), 0.0), (float(x[-1]), float(t[window - 1]))
net = physdiff.CoordinateNet(physdiff.MLP(2, 1, width=10 if SMALL else 16, depth=2), ("u",), lower=lower, upper=upper).double()
problem = physdiff.Collocated(net, physdiff.Burgers(viscosity=0.3), [physdiff.Known(places, {"u": values}, scale=noise)], unknown=("viscosity",))
line = physdiff.CartesianGrid(64, extent=upper[0] - lower[0], origin=lower[0], periodic=False)
box = physdiff.UniformPoints(line, t=(0.0, upper[1]), dtype=torch.float64)
points = box.draw(150 if SMALL else 500, rng.child("points"))


def left(step=0):
    """What the weights are judged by: readings over their noise, the law over the residual that is believed possible."""
    return physdiff.deviations(problem, points, law_std=0.02)


physdiff.levenberg_marquardt(problem, left, steps=40 if SMALL else 150)
gaussian = physdiff.weight_laplace(problem, left, prior_std=100.0)
draws = gaussian.draw(50, rng=physdiff.Rng(1))
viscosity = draws.coefficients()["viscosity"].flatten()
mean, std = float(viscosity.mean()), float(viscosity.std())

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3.5))
axes[0].pcolormesh(t[:window], x, u[:window].T, shading="nearest")
axes[0].scatter(places[:, 1], places[:, 0], s=4, c="k")
axes[0].set(xlabel="t", ylabel="x", title="the field and its readings")
axes[1].hist(viscosity.numpy(), 15)
axes[1].axvline(0.1, color="k", label="truth")
axes[1].set(xlabel="viscosity")
axes[1].legend()
figure.tight_layout()

# %% [markdown]
# The number: the distance of the found viscosity from 0.1. Readings of 1 % at a hundred places tell it to some hundredths of itself; the
# network's own error and the 0.02 that the law may be missed by add as much. Three of its own standard deviations and a tenth of the value
# hold it, or something is wrong.

# %%
print(f"viscosity {mean:.4f} +- {std:.4f}, truth 0.1")
assert abs(mean - 0.1) < 3 * std + 0.01
