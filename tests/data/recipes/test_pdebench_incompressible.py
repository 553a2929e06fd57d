"""What is kept, and what the force does, from the noise made anew."""

from __future__ import annotations

import numpy as np
import torch

from physdiff.base.rng import Rng
from physdiff.data.recipes.pdebench_incompressible import PDEBenchIncompressible
from physdiff.data.recipes.smooth_noise import smooth_noise
from physdiff.grids.boundary import Dirichlet
from physdiff.pdes.incompressible import IncompressibleFlow
from physdiff.solvers.staggered import StaggeredFlow


def test_what_the_force_does():
    """After a short time the flow differs from one without force by the projection of particles times force, both from their noise."""
    made, rng, short = PDEBenchIncompressible(resolution=32, frames=2, interval=1e-3, step=1e-3), Rng(0), 1e-3
    ds = made.generate(2, rng, dtype=torch.float64)
    settings = {"velocity_x": (0.4, 1.0), "velocity_y": (0.4, 1.0), "particles": (0.4, 1.0), "force_x": (0.15, 3.0), "force_y": (0.15, 3.0)}
    noise = {n: smooth_noise(made.grid, range(2), rng.child(n), scale=s, smoothness=m, like=made.like) for n, (s, m) in settings.items()}
    free = StaggeredFlow(IncompressibleFlow(0.01), made.grid, Dirichlet(), limited=True)
    end = free.step(free.from_centres({n: noise[n] for n in free.pde.fields}), 0.0, short)
    without = free.at_centres(end)
    pushed = free.at_centres(free.from_centres({f"velocity_{a}": noise["particles"] * noise[f"force_{a}"] for a in "xy"}))
    for name, rate in pushed.items():
        found = (torch.from_numpy(ds[name][:, 1].values) - without[name]) / short
        # float32 of velocities near two over the time: 2e-4; means of products for products of means: some per cent of the force
        assert float((found - rate).square().mean().sqrt() / rate.square().mean().sqrt()) < 0.05
    np.testing.assert_allclose(ds.particles[:, 0], noise["particles"], atol=1e-5)
    total = ds.particles.mean(("y", "x"))
    np.testing.assert_allclose(total, np.zeros_like(total), atol=2e-6)


def test_fields_begin_as_noise_and_the_force_is_steady():
    ds = PDEBenchIncompressible(resolution=16, frames=2, step=0.0025).generate(2, Rng(3))
    np.testing.assert_allclose((ds.particles[:, 0] ** 2).mean(("y", "x")), 1.0, rtol=1e-5)
    assert bool((ds.force_x[:, 0] == ds.force_x[:, 1]).all()) and not bool((ds.force_x == ds.force_y).all())
    # what the walls and the pressure leave of velocities of standard deviation one
    assert 0.1 < float((ds.velocity_x[:, 0] ** 2).mean()) < 1.0
