"""Forecast models: the solver's own steps, a prior's roll-out, functions, worded errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser, given_entries
from physdiff.diffusion.covariance import dense_covariance
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.forecast.forecast_models import PriorModel, SolverModel, StepModel
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.exact import ar1_covariance, plain_spec
from physdiff.operators.lattice import Lattice
from physdiff.pdes.lorenz import Lorenz63, Lorenz96
from physdiff.solvers.runge_kutta import RungeKutta
from physdiff.transforms.condition import ConditionTransform
from physdiff.transforms.frames import DropHistory

LIKE = torch.zeros((), dtype=torch.float64)


def test_the_solver_frame_by_frame() -> None:
    """The same steps as the stepper's own; noise of its size is added once a frame."""
    stepper = RungeKutta(Lorenz63(), Lattice(CartesianGrid(1)))
    model = SolverModel(stepper, 0.02, substeps=2)
    x = Rng(0).normal((5, 3, 1, 1), like=LIKE) + 5
    found = model.forecast(x, 0.0, steps=3, rng=Rng(0))
    u = dict(zip(model.spec.names, x[:, :, 0].unbind(1), strict=True))
    for k in range(6):
        u = stepper.step(u, 0.01 * k, 0.01)
    assert found.shape == (5, 3, 3, 1)
    torch.testing.assert_close(found[:, :, -1], torch.stack([u[n] for n in model.spec.names], 1), rtol=1e-12, atol=1e-12)
    noisy = SolverModel(stepper, 0.02, substeps=2, noise=0.5).forecast(x.repeat(200, 1, 1, 1), 0.0, steps=1, rng=Rng(1))
    off = (noisy - model.forecast(x.repeat(200, 1, 1, 1), 0.0, steps=1, rng=Rng(1))).flatten()
    # 3000 numbers, 4 standard errors
    assert float(off.std()) == pytest.approx(0.5, rel=4 / 6000**0.5)


def ar1_window() -> DiffusionPrior:
    """AR(1) of correlation 0.9 given one known frame, two to come, in closed form."""
    spec = plain_spec((1, 3, 1))
    offset, gain, rest = given_entries(torch.zeros(3).double(), ar1_covariance(3, 0.9), [0])
    cond_gain = torch.zeros(2, 3, dtype=torch.float64)
    cond_gain[:, 0] = gain[1:, 0]

    class Known(ConditionTransform):
        def encode(self, completed: Tensor) -> Tensor:
            return completed[:, :1]

        def out_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
            return (1, *shape[1:])

    denoiser = GaussianDenoiser(EDMSchedule(), offset[1:].reshape(1, 2, 1), dense_covariance(rest[1:, 1:]), gain=cond_gain)
    cond_spec = FieldSpec(("u0", "known"), ("1", "1"), spec.grid, 1.0, 3, history=1)
    return DiffusionPrior(denoiser, DropHistory(1), spec, sampler=Heun(), steps=30, cond_transform=Known(1, history=1), cond_spec=cond_spec)


def test_the_roll_out_of_a_prior_is_its_chain() -> None:
    """From 2 three steps on, two blocks: mean 0.9^k 2 and variance 1 - 0.81^k; 4 standard errors of 1200 members, and 2 % for Heun's 30 steps."""
    model, n = PriorModel(ar1_window(), max_batch=1200), 1200
    found = model.forecast(torch.full((n, 1, 1, 1), 2.0), 0.0, steps=3, rng=Rng(0)).double()[:, 0, :, 0]
    assert model.history == 1 and model.horizon == 2 and found.shape == (n, 3)
    for k in range(3):
        mean, var = 2 * 0.9 ** (k + 1), 1 - 0.81 ** (k + 1)
        assert float(found[:, k].mean()) == pytest.approx(mean, abs=4 * (var / n) ** 0.5 + 0.02)
        assert float(found[:, k].var()) == pytest.approx(var, rel=4 * (2 / n) ** 0.5 + 0.02)
    alone = model.forecast(torch.full((2, 1, 1, 1), 2.0), 0.0, steps=3, rng=Rng(0))[:, 0, :, 0].double()
    torch.testing.assert_close(alone, found[:2], rtol=0, atol=1e-5)


def test_the_roll_out_of_a_prior_is_told_its_static_fields() -> None:
    plain = ar1_window()
    told = FieldSpec(("u0", "known", "height"), ("1", "1", "m"), plain.spec.grid, 1.0, 3, history=1)
    parts = {"sampler": Heun(), "steps": 2, "cond_transform": plain.cond_transform, "cond_spec": told}
    prior = DiffusionPrior(plain.denoiser, DropHistory(1), plain.spec, **parts)
    model = PriorModel(prior, statics={"height": torch.full(plain.spec.grid.shape, 7.0)})
    cond = model.conditions(torch.full((2, 1, 1, 1), 2.0), 0.0)
    assert cond.shape == (2, 3, 3, 1) and bool((cond[:, 2] == 7).all()) and cond[0, 1, :, 0].tolist() == [1, 0, 0]
    with pytest.raises(InputError, match="expected the static fields that the prior is told, got none of height; pass statics"):
        PriorModel(prior)


def test_bad_input() -> None:
    stepper = RungeKutta(Lorenz96(), Lattice(CartesianGrid(5, extent=5.0)))
    with pytest.raises(InputError, match="SolverModel dt"):
        SolverModel(stepper, 0.0)
    with pytest.raises(InputError, match="expected a spec of one frame of state"):
        SolverModel(stepper, 0.1, spec=FieldSpec(("u",), ("1",), CartesianGrid(5), 0.1))
    with pytest.raises(InputError, match="forecast from 0.1: "):
        SolverModel(stepper, 0.1, substeps=1).forecast(torch.full((2, 1, 1, 5), torch.nan), np.float64(0.1), steps=1, rng=Rng(0))
    spec = FieldSpec(("u",), ("1",), CartesianGrid(5), 0.1)
    with pytest.raises(ShapeError, match="StepModel: expected states"):
        StepModel(lambda x: x[:, :, 1:], spec).forecast(torch.zeros(2, 1, 1, 5), 0.0, steps=1, rng=Rng(0))
