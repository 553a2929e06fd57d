from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError, UnsupportedOperator
from physdiff.operators.autograd import Autograd
from tests.operators.fields import GRIDS, relative, waves


def points(ndim, *leading, seed=0, dtype=torch.float64):
    """Scattered points in the box, with times."""
    generator = torch.Generator().manual_seed(seed)
    shape = (*leading, 40)
    return tuple(torch.rand(shape, generator=generator, dtype=dtype).requires_grad_() for _ in range(ndim + 1))


@pytest.mark.parametrize("ndim", GRIDS)
@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_derivatives_equal_the_analytic_ones(ndim, precision, tolerance):
    *x, t = points(ndim, dtype=precision)
    x, f = tuple(x), waves(GRIDS[ndim])
    ops = Autograd(x, t)
    field = f(x) * torch.exp(-0.7 * t)
    decay = torch.exp(-0.7 * t)
    for got, wanted in zip(ops.grad(field), f.grad(x), strict=True):
        assert got.dtype == precision
        assert relative(got, wanted * decay) < tolerance
    assert relative(ops.lap(field), f.lap(x) * decay) < tolerance
    assert relative(ops.dt(field), -0.7 * field) < tolerance
    assert relative(ops.partial(field, 0, 3), f(x, *((3,) + (0,) * (ndim - 1))) * decay) < tolerance
    v = tuple(waves(GRIDS[ndim], shift=0.4 * i + 0.1)(x) for i in range(ndim))
    wanted = sum(waves(GRIDS[ndim], shift=0.4 * i + 0.1).grad(x)[i] for i in range(ndim))
    assert relative(ops.div(v), wanted) < tolerance
    wanted = sum(a * b * decay for a, b in zip(v, f.grad(x), strict=True))
    assert relative(ops.advect(v, field), wanted) < tolerance


def test_a_field_without_the_coordinates_has_derivative_zero():
    x, y, t = points(2)
    ops = Autograd((x, y), t)
    constant = torch.full_like(x, 3.0).detach()
    assert all(not d.any() for d in (*ops.grad(constant), ops.dt(constant), ops.lap(constant)))
    # depends on y alone, and linearly: its derivative is a constant without graph
    linear = 2.0 * y
    d_x, d_y = ops.grad(linear)
    assert not d_x.any() and bool((d_y == 2).all())
    assert not ops.dt(linear).any() and not ops.lap(linear).any()
    weight = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    assert not ops.dt(weight * torch.ones_like(x).detach()).any()


def test_families_of_points_do_not_sum_over_each_other():
    x, y, t = points(2, 3)
    ops = Autograd((x, y), t)
    scale = torch.tensor([1.0, 2.0, -4.0], dtype=torch.float64)[:, None]
    f = scale * torch.sin(x) * y**2 * t
    assert relative(ops.grad(f)[0], scale * torch.cos(x) * y**2 * t) < 1e-12
    assert relative(ops.lap(f), scale * torch.sin(x) * t * (2 - y**2)) < 1e-12
    (p, q, s) = points(2)
    shared = Autograd((p, q), s)
    with pytest.raises(ShapeError, match=r"points' shape \(40,\), got \(3, 40\).*repeats"):
        shared.grad(scale * torch.sin(p))


def test_residuals_can_be_trained():
    x, y, t = points(2)
    rate = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)

    def loss(value):
        f = torch.exp(-value * t) * torch.sin(2 * x + y)
        ops = Autograd((x, y), t)
        return ((ops.dt(f) - 0.3 * ops.lap(f)) ** 2).mean()

    (gradient,) = torch.autograd.grad(loss(rate), rate)
    step = 1e-5
    with torch.enable_grad():
        wanted = (loss(rate.detach() + step) - loss(rate.detach() - step)) / (2 * step)
    # central difference: step squared over six times the third derivative
    assert relative(gradient, wanted.detach()) < 1e-8
    # the decay of this wave is 0.3 (4 + 1)
    assert float(loss(torch.tensor(1.5, dtype=torch.float64)).detach()) < 1e-28


def test_one_backward_pass_serves_all_derivatives_of_a_field(monkeypatch):
    calls = []
    real = torch.autograd.grad

    def counted(*args, **kwargs):
        calls.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    x, y, t = points(2)
    ops = Autograd((x, y), t)
    f = torch.sin(x * y * t)
    ops.dt(f), ops.grad(f), ops.advect((f, f), f), ops.partial(f, 1)
    assert len(calls) == 1
    ops.lap(f)
    assert len(calls) == 3


def test_refusals():
    x, y, t = points(2)
    with pytest.raises(InputError, match="require gradients"):
        Autograd((x.detach(), y))
    with pytest.raises(InputError, match="at least one"):
        Autograd(())
    with pytest.raises(ShapeError, match="one shape"):
        Autograd((x, y[:5]))
    ops = Autograd((x, y))
    with pytest.raises(UnsupportedOperator, match=r"`dt`.*Autograd\(coordinates, time\)"):
        ops.dt(torch.sin(x))
    with pytest.raises(UnsupportedOperator, match="`inv_lap`.*constraints"):
        ops.inv_lap(torch.sin(x))
    f = torch.sin(x)
    with torch.no_grad(), pytest.raises(InputError, match="gradients to be enabled"):
        ops.grad(f)
    assert ops.coordinates_as(t)[0] is x
