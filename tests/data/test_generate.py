from __future__ import annotations

import numpy as np
import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.data.convert import spec_of
from physdiff.data.generate import generate
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.initial import RandomField

GRID = CartesianGrid((12, 16), (1.0, 1.5))
NU, VELOCITY = 0.01, (0.5, -0.25)
LAW = AdvectionDiffusion(NU, VELOCITY)
TIMES = torch.linspace(0, 1, 5, dtype=torch.float64)


def made(**keywords):
    keywords = {"samples": 3, "rng": Rng(0), "substeps": 4, **keywords}
    return generate(ETDRK4(LAW, Spectral(GRID)), RandomField(length=0.2), TIMES, **keywords)


def exact(initial: np.ndarray, t: float) -> np.ndarray:
    """Every wave moves with the flow and decays: c_k(t) = c_k(0) exp(-(nu k^2 + i k v) t)."""
    ky, kx = (2 * np.pi * np.fft.fftfreq(n, h) for n, h in zip(GRID.shape, GRID.spacing, strict=True))
    ky, kx = ky[:, None], kx[None]
    # the field's two-sided shortest waves carry nothing of a random field this smooth
    factor = np.exp(-(NU * (kx**2 + ky**2) + 1j * (kx * VELOCITY[0] + ky * VELOCITY[1])) * t)
    return np.fft.ifft2(np.fft.fft2(initial) * factor).real


def test_trajectories_follow_the_exact_solution():
    ds = made()
    assert ds.c.dims == ("sample", "time", "y", "x") and ds.c.dtype == np.float64 and ds.sizes["time"] == 5
    start = ds.c.isel(time=0).values
    assert start.std() == pytest.approx(1, abs=0.3)
    # shortest waves of amplitude 1e-5 and the error of ETDRK4 with steps of 1/16 and waves of speed k v below 8
    np.testing.assert_allclose(ds.c.isel(time=4), exact(start, 1.0), atol=2e-3)


def test_samples_do_not_depend_on_their_number_or_the_batch():
    a, b = made(samples=4, batch_size=4), made(samples=3, batch_size=2)
    # FFTs of another batch size may round differently
    np.testing.assert_allclose(a.c.isel(sample=slice(0, 3)), b.c, atol=1e-12)
    assert not np.allclose(a.c[0], a.c[1])


def test_spin_up_is_time_before_the_first_frame():
    late, early = made(spin_up=0.5), made()
    np.testing.assert_allclose(late.c.isel(time=slice(0, 3)), early.c.isel(time=slice(2, 5)), atol=1e-12)
    np.testing.assert_array_equal(late.time, early.time)


def test_what_comes_out_knows_its_grid_and_law():
    ds = generate(ETDRK4(LAW, Spectral(GRID)), {"c": RandomField(length=0.2)}, [0.0, 0.1, 0.2], samples=1, rng=Rng(1))
    spec = spec_of(ds)
    assert ds.c.dtype == np.float32 and spec.grid.same_as(GRID) and spec.grid.periodic == (True, True) and spec.dt == pytest.approx(0.1)
    assert "AdvectionDiffusion" in ds.attrs["source"] and "0.01" in ds.attrs["source"]


def test_requests_that_make_no_sense():
    for keywords, message in (({"samples": 0}, "at least 1"), ({"spin_up": -1.0}, "spin_up")):
        with pytest.raises(InputError, match=message):
            made(**keywords)
    for times in ([0.0], [0.0, 1.0, 3.0], [1.0, 0.0]):
        with pytest.raises(InputError, match="generate times"):
            generate(ETDRK4(LAW, Spectral(GRID)), RandomField(length=0.2), times, samples=1, rng=Rng(0))


def test_a_number_is_no_source_of_randomness():
    with pytest.raises(InputError, match=r"generate rng: expected a source of randomness, as in rng=Rng\(0\), got 0"):
        made(rng=0)
