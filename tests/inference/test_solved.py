"""A solver between unknowns and readings: the exact damping of waves, gradients by differences, parameters kept positive, worded errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.observation import MatrixOperator
from physdiff.inference.solved import Solved
from physdiff.operators.spectral import Spectral
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.pde import PDE
from physdiff.solvers.etdrk import ETDRK2
from physdiff.solvers.stepper import Stepper

N = 16
GRID = CartesianGrid((N,), extent=(2 * math.pi,), periodic=True)
SPEC = FieldSpec(("c", "log_k"), ("1", "1"), GRID, 1.0, 1)
TIMES = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)


def stepper(law: PDE) -> Stepper:
    return ETDRK2(law, Spectral(GRID))


def carried(**words) -> Solved:
    return Solved(AdvectionDiffusion(0.1, (1.0,)), stepper, SPEC, times=TIMES, parameters={"diffusivity": ("log_k", torch.exp)}, **words)


def waves(log_k: list[float]) -> Tensor:
    x = torch.zeros(len(log_k), 2, 1, N, dtype=torch.float64)
    x[:, 0, 0] = torch.sin(torch.arange(N, dtype=torch.float64) * 2 * math.pi / N)
    x[:, 1] = torch.tensor(log_k, dtype=torch.float64)[:, None, None]
    return x


def test_a_wave_is_carried_and_damped_as_it_should() -> None:
    """sin(x - t) e^(-k t), every sample with its own k; the integrator is exact here."""
    y = carried()(waves([-2.0, 0.0]))
    place = torch.arange(N, dtype=torch.float64) * 2 * math.pi / N
    for row, k in zip(y, (math.exp(-2), 1.0), strict=True):
        exact = torch.sin(place - TIMES[:, None]) * torch.exp(-k * TIMES[:, None])
        torch.testing.assert_close(row[0], exact, rtol=0, atol=1e-12)


def test_gradients_of_state_and_parameter() -> None:
    """Against central differences along a random direction, whose own error is 1e-12 of the third derivative."""
    operator = carried(reading=MatrixOperator(Rng(0).normal((3, 1, 3, N), like=TIMES)), checkpoint=1)
    x = waves([-1.0, 0.3]).requires_grad_()
    weights = Rng(1).normal((2, 3), like=TIMES)
    (slope,) = torch.autograd.grad((operator(x) * weights).sum(), x)
    step = 1e-6 * Rng(2).normal(x.shape, like=TIMES)
    with torch.no_grad():
        change = ((operator(x + step) - operator(x - step)) * weights).sum() / 2
    assert float((slope * step).sum()) == pytest.approx(float(change), rel=1e-7)
    assert bool((slope[:, 1] != 0).all())


def test_bad_input() -> None:
    law = AdvectionDiffusion(0.1, (1.0,))
    with pytest.raises(InputError, match="expected the channels k among c, log_k"):
        Solved(law, stepper, SPEC, times=TIMES, parameters={"diffusivity": "k"})
    with pytest.raises(InputError, match="of AdvectionDiffusion, got 'viscosity'"):
        Solved(law, stepper, SPEC, times=TIMES, parameters={"viscosity": "log_k"})
    with pytest.raises(InputError, match="windows of one frame, the state at the start, got 3"):
        Solved(law, stepper, SPEC.with_frames(3), times=TIMES)
