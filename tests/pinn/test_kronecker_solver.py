"""Large grids by the Kronecker structure: the dense solution on a small grid, fewer columns, and a high frequency on many points."""

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.pinn import kronecker_solver
from physdiff.pinn.gaussian_solver import _evidence, kernel_solve
from physdiff.pinn.kronecker_solver import kronecker_solve
from physdiff.pinn.mixture_kernel import KernelOperators, MixtureKernel

T = torch.float64


def exact(x, y):
    return torch.sin(2 * math.pi * x) * torch.cos(3 * y) + x * y


def poisson(u, D):
    x, y = D.coordinates
    return D.lap(u) + (4 * math.pi**2 + 9) * torch.sin(2 * math.pi * x) * torch.cos(3 * y)


def allen_cahn(u, D):
    x, y = D.coordinates
    return poisson(u, D) + u * (u**2 - 1) - exact(x, y) * (exact(x, y) ** 2 - 1)


def problem(nx, ny):
    axes = (torch.linspace(0, 1, nx, dtype=T), torch.linspace(0, 1, ny, dtype=T))
    u = exact(axes[0][None, :], axes[1][:, None])
    known = torch.full_like(u, float("nan"))
    for edge in (slice(None, 1), slice(-1, None)):
        known[edge], known[:, edge] = u[edge], u[:, edge]
    return axes, known, u


def kernels():
    return [MixtureKernel(3, highest=1.5, decay=2.0), MixtureKernel(2, highest=1.0, decay=1.5)]


@pytest.mark.parametrize("law", [poisson, allen_cahn])
def test_with_all_columns_it_is_the_dense_solution(law):
    axes, known, _ = problem(9, 7)
    made, options = kernels(), {"law_std": 0.05, "known_std": 0.01, "steps": 0}
    dense = kernel_solve(law, axes, known, kernels=made, **options)
    found = kronecker_solve(law, axes, known, kernels=made, rank=63, **options)
    # the same algebra in another order; the condition number of the kernel's matrix takes some digits, and three Gauss-Newton steps of the dense
    # solver leave 2e-4 where the law is not linear
    slack = 1e-5 if law is poisson else 1e-3
    torch.testing.assert_close(found.values, dense.values, rtol=slack, atol=slack)
    torch.testing.assert_close(found.std, dense.std, rtol=100 * slack, atol=1e-6)
    if law is poisson:
        D, where = KernelOperators(axes, made), known.isfinite()

        def deviations(z, D):
            u = D.coloured(z.reshape(known.shape))
            return torch.cat((law(u, D).reshape(-1) / 0.05, (u[where] - known[where]) / 0.01))

        with torch.no_grad():
            wanted = float(_evidence(deviations, D, torch.zeros(63, dtype=T))[0])
        assert found.losses[-1] == pytest.approx(wanted, rel=1e-6)


def test_few_columns_are_enough_where_the_kernel_has_few_waves():
    axes, known, u = problem(24, 20)
    made, options = kernels(), {"law_std": 0.05, "known_std": 0.01, "steps": 0}
    dense = kernel_solve(poisson, axes, known, kernels=made, **options).values
    errors = [float((kronecker_solve(poisson, axes, known, kernels=made, rank=r, **options).values - dense).abs().max()) for r in (30, 160, 260)]
    # of 480
    assert errors[0] > 10 * errors[1] > 1e5 * errors[2] and errors[2] < 1e-6, errors
    assert float((dense - u).abs().max()) < 0.01


def test_kernels_are_trained_on_a_part_of_the_grid(monkeypatch):
    monkeypatch.setattr(kronecker_solver, "_COARSE", 150)
    axes, known, u = problem(70, 60)  # more points than the dense solver takes
    made = kernels()
    before = [p.detach().clone() for k in made for p in k.parameters()]
    found = kronecker_solve(poisson, axes, known, kernels=made, law_std=0.05, known_std=0.01, rank=300, steps=1)
    after = [p.detach() for k in made for p in k.parameters()]
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)) and len(found.losses) == 2
    assert float((found.values - u).norm() / u.norm()) < 0.01


@pytest.mark.slow
def test_a_high_frequency_on_many_points(monkeypatch):
    # u = sin(50 x) sin(50 y) on 120 x 120 points, eight waves along each axis; kernels trained on 24 x 24
    monkeypatch.setattr(kronecker_solver, "_COARSE", 600)
    axis = torch.linspace(0, 1, 120, dtype=T)
    u = torch.sin(50 * axis)[None, :] * torch.sin(50 * axis)[:, None]
    known = torch.full_like(u, float("nan"))
    for edge in (slice(None, 1), slice(-1, None)):
        known[edge], known[:, edge] = u[edge], u[:, edge]

    def law(v, D):
        x, y = D.coordinates
        return D.lap(v) + 5e3 * torch.sin(50 * x) * torch.sin(50 * y)

    made = [MixtureKernel(8, highest=10.0), MixtureKernel(8, highest=10.0)]
    found = kronecker_solve(law, (axis, axis), known, kernels=made, law_std=1.0, rank=1000, steps=60)
    error = float((found.values - u).norm() / u.norm())
    print(f"relative error {error:.2e}, std {float(found.std.max()):.1e}, losses {found.losses[0]:.0f} to {found.losses[-2]:.0f}")
    assert error < 1e-3


def test_bad_input_is_refused():
    axes, known, _ = problem(5, 4)
    with pytest.raises(ShapeError, match=r"known values \(4, 5\)"):
        kronecker_solve(poisson, axes, known.mT, kernels=kernels())
    with pytest.raises(InputError, match="got none"):
        kronecker_solve(poisson, axes, torch.full_like(known, float("nan")), kernels=kernels())
    with pytest.raises(InputError, match="rank"):
        kronecker_solve(poisson, axes, known, kernels=kernels(), rank=0)
    axes, known, _ = problem(70, 60)
    f = torch.zeros(60, 70, dtype=T)
    with pytest.raises(ShapeError, match=r"sources by D\.coordinates"):
        kronecker_solve(lambda u, D: D.lap(u) - f, axes, known, kernels=kernels())
