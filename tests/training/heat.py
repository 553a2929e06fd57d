"""A heated line with a known solution, small enough to be learned in a second: c = exp(-pi^2 D t) sin(pi x) on [0, 1] x [0, 1]."""

from __future__ import annotations

import math

import torch
import xarray as xr

from physdiff.data.convert import to_dataset
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.networks.mlp import MLP
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pinn.collocated import Collocated, Known
from physdiff.pinn.collocation import UniformPoints
from physdiff.pinn.coordinate_net import CoordinateNet

D = 0.07
GRID = CartesianGrid(20, extent=1.0, periodic=False)
BOX = UniformPoints(GRID, t=(0.0, 1.0), dtype=torch.float64)


def exact(points: torch.Tensor) -> torch.Tensor:
    return torch.exp(-(math.pi**2) * D * points[:, 1]) * torch.sin(math.pi * points[:, 0])


def reference(last: float = 1.0) -> xr.Dataset:
    x, t = GRID.coordinates()[0].double(), torch.linspace(0, last, 11, dtype=torch.float64)
    values = torch.exp(-(math.pi**2) * D * t)[:, None] * torch.sin(math.pi * x)[None]
    return to_dataset(values[None], FieldSpec(("c",), ("1",), GRID, float(t[1])), t.numpy())


def problem(*, width: int = 6, unknown: tuple[str, ...] = (), net: torch.nn.Module | None = None) -> Collocated:
    torch.manual_seed(0)
    field = CoordinateNet(net or MLP(2, 1, width=width, depth=1), ("c",), lower=(0.0, 0.0), upper=(1.0, 1.0)).double()
    x = torch.linspace(0, 1, 13, dtype=torch.float64)
    start = torch.stack((x, 0 * x), dim=-1)
    ends = torch.cat([torch.stack((torch.full_like(x, s), x), dim=-1) for s in (0.0, 1.0)])
    known = [Known(start, {"c": exact(start)}, weight=10.0), Known(ends, {"c": torch.zeros(26, dtype=torch.float64)}, weight=10.0)]
    law = AdvectionDiffusion(diffusivity=0.2 if unknown else D, velocity=(0.0,))
    if unknown:
        inside = torch.rand(30, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        known.append(Known(inside, {"c": exact(inside)}, scale=0.1))
    return Collocated(field, law, known, unknown=unknown)
