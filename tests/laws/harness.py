"""What every law and stepper is held to: measured orders, closed budgets, gradients of a whole solve against differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.operators import Operators
from physdiff.operators.spectral import Spectral
from physdiff.pdes.pde import PDE
from physdiff.solvers.runge_kutta import RungeKutta
from physdiff.solvers.solve import solve
from physdiff.solvers.stepper import Stepper

__all__ = ["Case", "budget_gaps", "gradients_agree", "measured_orders", "smooth_fields"]


@dataclass(frozen=True)
class Case:
    """A law for the table of laws: a line of a test is a case.

    Args:
        law: Function of the parameters, each a number or a Tensor () or (B,), to the law.
        parameters: Values of the parameters that gradients are taken in.
        ndim: Of space.
        offset: Mean of the smooth fields, for laws of quantities that are not negative.
        operators: What the law is written in.
    """

    law: Callable[..., PDE]
    parameters: tuple[float, ...]
    ndim: int = 1
    offset: float = 0.5
    operators: Callable[[CartesianGrid], Operators] = Spectral


def measured_orders(
    make: Callable[[], Stepper], start: Mapping[str, Tensor], end: Mapping[str, Tensor], *, time: float, steps: Sequence[int]
) -> list[float]:
    """Base-two logarithms of the ratios of errors when the number of steps is doubled, from the largest error of all fields."""
    times, errors = torch.tensor([0.0, time], dtype=torch.float64), []
    for n in steps:
        with torch.no_grad():
            out = solve(make(), start, times, substeps=n)
        errors.append(max(float((out[name][:, -1] - v).abs().max() / v.abs().max()) for name, v in end.items()))
    return [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]


def smooth_fields(law: PDE, grid: CartesianGrid, *, offset: float, batch: int = 1) -> dict[str, Tensor]:
    """Trigonometric fields without symmetry, of amplitude 0.4 around the offset, one for each field and sample; a velocity has no divergence."""
    x = [2 * math.pi * c / length for c, length in zip(grid.coordinates(), reversed(grid.extent), strict=True)]
    out = {}
    for i, name in enumerate(law.fields):
        rows = []
        for j in range(batch):
            f = offset + 0.25 * torch.sin(x[0] + 0.9 * i + 0.5 * j) + 0.15 * torch.cos(2 * x[0] + 1.7 * j)
            if grid.ndim > 1:
                f = f + 0.1 * torch.sin(x[0] + 2 * x[1] + 0.3 + i) + 0.1 * torch.cos(x[1] - j)
            rows.append(f)
        out[name] = torch.stack(rows)
    if "velocity_x" in out:
        names = [name for name in out if name.startswith("velocity_")]
        out.update(zip(names, Spectral(grid).project(tuple(out[name] for name in names)), strict=True))
    return out


def budget_gaps(law: PDE, operators: Operators, grid: CartesianGrid, *, start: Mapping[str, Tensor], interval: float = 1e-3) -> dict[str, float]:
    """For each invariant: its rate by differences of order four along a fine solve, minus the expected one, over the size of both."""
    times = interval * torch.arange(5, dtype=torch.float64)
    out = solve(RungeKutta(law, operators), dict(start), times, cfl=0.2)
    frames = [law.complete({n: v[:, i] for n, v in out.items()}, operators) for i in range(5)]
    values = [law.invariants(u, grid) for u in frames]
    expected = law.expected_rates(frames[2], operators, float(times[2]), grid=grid)
    assert expected and set(expected) <= set(values[0]), (set(expected), set(values[0]))
    gaps = {}
    for name, rate in expected.items():
        found = (values[0][name] - 8 * values[1][name] + 8 * values[3][name] - values[4][name]) / (12 * interval)
        size = torch.maximum(torch.maximum(rate.abs(), found.abs()), values[2][name].abs())
        gaps[name] = float(((found - rate).abs() / size.clamp_min(1e-3)).max())
    return gaps


def gradients_agree(case: Case, *, time: float = 2e-3, steps: int = 2) -> bool:
    """Gradcheck of the fields after a few steps in the initial fields and the parameters, one per sample of a batch of two."""
    grid = CartesianGrid(12, extent=2.0) if case.ndim == 1 else CartesianGrid((8, 10), extent=(1.5, 2.0))
    values = [torch.tensor([p, 1.1 * p], dtype=torch.float64, requires_grad=True) for p in case.parameters]
    start = smooth_fields(case.law(*case.parameters), grid, offset=case.offset, batch=2)

    def final(*inputs: Tensor) -> tuple[Tensor, ...]:
        fields = dict(zip(start, inputs, strict=False))
        law = case.law(*inputs[len(start) :])
        out = solve(RungeKutta(law, case.operators(grid)), fields, torch.tensor([0.0, time], dtype=torch.float64), substeps=steps)
        return tuple(v[:, -1] for v in out.values())

    return torch.autograd.gradcheck(final, (*(v.requires_grad_() for v in start.values()), *values), fast_mode=True)
