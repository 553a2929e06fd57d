from __future__ import annotations

import copy
import pickle

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError, UnsupportedOperator
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.latlon import LatLonGrid
from physdiff.operators.operators import PoissonOperators
from physdiff.operators.spectral import Spectral
from tests.operators.fields import GRIDS, relative, waves

# rounding of a transform, times the largest wave number squared over a typical one
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-4}


def random_field(grid, *leading, seed=0, dtype=torch.float64):
    return torch.randn(*leading, *grid.shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("ndim", GRIDS)
@pytest.mark.parametrize("precision", TOLERANCE)
def test_derivatives_of_trigonometric_polynomials_are_exact(ndim, precision):
    grid = GRIDS[ndim]
    ops, x, f = Spectral(grid), grid.coordinates(), waves(grid)
    field = f(x).to(precision).expand(2, 3, *grid.shape)
    for got, wanted in zip(ops.grad(field), f.grad(x), strict=True):
        assert got.dtype == precision and got.shape == field.shape
        assert relative(got, wanted) < TOLERANCE[precision]
    assert relative(ops.lap(field), f.lap(x)) < TOLERANCE[precision]
    third = f(x, *((3,) + (0,) * (ndim - 1)))
    assert relative(ops.partial(field, 0, 3), third) < 10 * TOLERANCE[precision]


@pytest.mark.parametrize("ndim", GRIDS)
def test_divergence_is_exact_and_tells_directions_apart(ndim):
    grid = GRIDS[ndim]
    ops, x = Spectral(grid), grid.coordinates()
    parts = [waves(grid, shift=0.4 * i) for i in range(ndim)]
    wanted = sum(p.grad(x)[i] for i, p in enumerate(parts))
    assert relative(ops.div(tuple(p(x) for p in parts)), wanted) < 1e-12
    if ndim > 1:
        swapped = ops.div(tuple(p(x) for p in reversed(parts)))
        assert relative(swapped, wanted) > 0.1


@pytest.mark.parametrize("ndim", GRIDS)
def test_advection_is_the_sum_of_products(ndim):
    grid = GRIDS[ndim]
    ops, x, f = Spectral(grid), grid.coordinates(), waves(grid)
    v = tuple(waves(grid, shift=0.7 * i + 0.2)(x) for i in range(ndim))
    wanted = sum(a * b for a, b in zip(v, f.grad(x), strict=True))
    assert relative(ops.advect(v, f(x)), wanted) < 1e-12


@pytest.mark.parametrize("ndim", GRIDS)
def test_divergence_of_gradient_is_the_laplacian_below_the_shortest_wave(ndim):
    grid = GRIDS[ndim]
    ops = Spectral(grid)
    # noise fills every wave; one derivative and its inverse take out the shortest ones of even axes
    f = ops.dealias(random_field(grid, 2))
    assert relative(ops.div(ops.grad(f)), ops.lap(f)) < 1e-12


@pytest.mark.parametrize("n", [8, 9])
def test_shortest_wave_has_no_slope_but_a_curvature(n):
    grid = CartesianGrid((6, n), extent=(1.0, 2.0))
    ops, (x, _) = Spectral(grid), grid.coordinates()
    m = n // 2
    k = torch.pi * m
    f = torch.cos(k * x)
    slope, _ = ops.grad(f)
    wanted = -k * torch.sin(k * x) if n % 2 else torch.zeros_like(x)
    assert (slope - wanted).abs().max() < 1e-12 * k
    assert relative(ops.lap(f), -(k**2) * f) < 1e-12


@pytest.mark.parametrize("ndim", GRIDS)
def test_inverse_laplacian_undoes_the_laplacian_up_to_the_mean(ndim):
    grid = GRIDS[ndim]
    ops = Spectral(grid)
    f = random_field(grid, 2) + 3.0
    space = tuple(range(1, ndim + 1))
    anomaly = f - f.mean(space, keepdim=True)
    # inverse Laplacian of the shortest wave is 1e3 times smaller than that of the longest
    assert relative(ops.inv_lap(ops.lap(f)), anomaly) < 1e-12
    assert relative(ops.lap(ops.inv_lap(f)), anomaly) < 1e-12
    assert ops.inv_lap(f).mean(space).abs().max() < 1e-14


@pytest.mark.parametrize("ndim", GRIDS)
def test_projection_removes_divergence_and_gradients_and_nothing_else(ndim):
    grid = GRIDS[ndim]
    ops = Spectral(grid)
    v = tuple(random_field(grid, 2, seed=i) + 0.5 * (i + 1) for i in range(ndim))
    p = ops.project(v)
    largest = max(float(ops.grad(c)[0].abs().max()) for c in v)
    assert ops.div(p).abs().max() < 1e-12 * largest
    again = ops.project(p)
    assert max(relative(a, b) for a, b in zip(again, p, strict=True)) < 1e-12
    # gradients out, mean flow in
    potential = ops.grad(random_field(grid, 2, seed=9))
    size = max(float(g.abs().max()) for g in potential)
    assert max(float(c.abs().max()) for c in ops.project(potential)) < 1e-12 * size
    space = tuple(range(1, ndim + 1))
    for a, b in zip(p, v, strict=True):
        torch.testing.assert_close(a.mean(space), b.mean(space), rtol=1e-12, atol=1e-12)


def test_projection_is_the_velocity_less_the_gradient_of_a_pressure():
    grid = GRIDS[2]
    ops, x = Spectral(grid), grid.coordinates()
    v = (waves(grid)(x), waves(grid, shift=1.3)(x))
    pressure = ops.inv_lap(ops.div(v))
    for got, c, g in zip(ops.project(v), v, ops.grad(pressure), strict=True):
        assert relative(got, c - g) < 1e-12
    # nothing is left of a swirl only in a world where axes are swapped
    stream = waves(grid, shift=0.5)(x)
    d_x, d_y = ops.grad(stream)
    swirl = (-d_y, d_x)
    assert max(relative(a, b) for a, b in zip(ops.project(swirl), swirl, strict=True)) < 1e-12


def test_a_component_may_be_the_same_for_all_samples():
    grid = GRIDS[2]
    ops = Spectral(grid)
    u, v = random_field(grid), random_field(grid, 3, seed=1)
    wanted = ops.div((u.expand(3, -1, -1).clone(), v))
    assert relative(Spectral(grid).div((u, v)), wanted) < 1e-14
    flipped = ops.div((v, u.expand(3, -1, -1).clone()))
    assert relative(Spectral(grid).div((v, u)), flipped) < 1e-14


def test_dealiasing_keeps_resolved_fields_and_cleans_quadratic_products():
    grid = CartesianGrid((18, 25), extent=(1.7, 3.1))
    fine = CartesianGrid((54, 75), extent=(1.7, 3.1))
    ops = Spectral(grid)
    f, g = (ops.dealias(random_field(grid, seed=s)) for s in (1, 2))
    assert relative(ops.dealias(f), f) < 1e-13

    def refined(h):
        """The same trigonometric polynomial on three times as many points."""
        spectrum = torch.zeros(54, 38, dtype=torch.complex128)
        coarse = torch.fft.rfft2(h)
        spectrum[:9, :13], spectrum[-8:, :13] = coarse[:9], coarse[-8:]
        return torch.fft.irfft2(9 * spectrum, s=fine.shape)

    assert relative(refined(f)[::3, ::3], f) < 1e-12
    wanted = torch.fft.rfft2(refined(f) * refined(g)) / 9
    kept = ops.spectrum.resolved(f).bool()
    coarse = torch.fft.rfft2(ops.dealias(f * g))
    picked = torch.cat([wanted[:9, :13], wanted[-9:, :13]])
    assert relative(coarse[kept], picked[kept]) < 1e-12
    assert coarse[~kept].abs().max() < 1e-10
    # without the rule the same product is far off in the waves that are kept
    dirty = random_field(grid, seed=1) * random_field(grid, seed=2)
    assert relative(torch.fft.rfft2(dirty)[kept], picked[kept]) > 0.1
    assert int(kept.sum()) == 11 * 9  # |m| < 6 of 18, m < 25/3


def test_dealiasing_can_be_turned_off():
    grid = GRIDS[2]
    f = random_field(grid)
    assert Spectral(grid, dealias=False).dealias(f) is f
    assert relative(Spectral(grid).dealias(f), f) > 0.1


@pytest.mark.parametrize(("frames", "degree"), [(3, 2), (4, 2), (5, 4), (9, 4)])
def test_time_derivative_is_exact_for_polynomials_of_its_order(frames, degree):
    grid = GRIDS[2]
    t = 0.3 * torch.arange(frames, dtype=torch.float64)
    shape = waves(grid)(grid.coordinates())
    f = (t**degree - t)[:, None, None] * shape
    wanted = (degree * t ** (degree - 1) - 1)[:, None, None] * shape
    got = Spectral(grid, dt=0.3).dt(f.expand(2, frames, *grid.shape))
    assert relative(got, wanted) < 1e-12


def test_gradients_flow_and_remembered_transforms_do_not_break_a_second_backward():
    grid = GRIDS[2]
    ops = Spectral(grid)
    f = random_field(grid).requires_grad_()
    g = random_field(grid, seed=3)
    for _ in range(2):
        (ops.lap(f) * g).sum().backward()
    # the Laplacian is symmetric
    assert relative(f.grad, 2 * ops.lap(g)) < 1e-12
    with torch.no_grad():
        ops.lap(f)
    assert ops.lap(f).requires_grad


def test_remembered_transforms_follow_changes_in_place():
    grid = GRIDS[2]
    ops = Spectral(grid)
    f = random_field(grid)
    ops.lap(f)
    f.mul_(2.0)
    assert relative(ops.lap(f), Spectral(grid).lap(f)) < 1e-14
    amplitudes = ops.to_spectrum(f)
    amplitudes.mul_(0.0)
    assert relative(ops.lap(f), Spectral(grid).lap(f)) < 1e-14
    a, b = ops.grad(f)
    before = ops.div((a, b))
    a.zero_()
    assert relative(ops.div((a, b)), before) > 0.1


def test_what_no_real_field_has_does_not_survive_in_remembered_amplitudes():
    grid = GRIDS[2]
    ops = Spectral(grid)
    amplitudes = ops.to_spectrum(random_field(grid, 2)).clone()
    # the waves without an x part hold both k and -k; a field's own part there is even, this one is odd
    amplitudes[:, 3, 0] += 5.0
    amplitudes[:, -3, 0] -= 5.0
    u = ops.from_spectrum(amplitudes)
    assert relative(ops.to_spectrum(u), ops.spectrum.forward(u)) < 1e-13


def test_fields_and_transforms_are_forgotten_together():
    grid = GRIDS[2]
    ops = Spectral(grid)
    f = random_field(grid)
    ops.lap(f)
    assert len(ops._recent._entries) == 1
    del f
    assert len(ops._recent._entries) == 0


def test_copies_work_in_other_processes():
    grid = GRIDS[2]
    ops = Spectral(grid, dt=0.1)
    f = random_field(grid)
    wanted = ops.lap(f)
    for other in (copy.deepcopy(ops), pickle.loads(pickle.dumps(ops))):
        assert relative(other.lap(f), wanted) < 1e-15


# torch's forward mode still loads torch.jit.script, which it deprecates itself
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_vmap_and_forward_mode_agree_with_the_plain_call():
    grid = GRIDS[2]
    ops = Spectral(grid)
    f, d = random_field(grid, 3), random_field(grid, 3, seed=1)
    assert relative(torch.func.vmap(ops.lap)(f), ops.lap(f)) < 1e-12
    _, tangent = torch.func.jvp(ops.lap, (f,), (d,))
    assert relative(tangent, ops.lap(d)) < 1e-12


def test_inference_mode_works():
    grid = GRIDS[2]
    ops = Spectral(grid)
    with torch.inference_mode():
        f = random_field(grid)
        assert relative(ops.div(ops.grad(ops.dealias(f))), ops.lap(ops.dealias(f))) < 1e-12


def test_it_is_a_poisson_backend_with_coordinates_in_the_fields_precision():
    ops = Spectral(GRIDS[2])
    assert isinstance(ops, PoissonOperators) and ops.ndim == 2
    x, y = ops.coordinates_as(torch.zeros((), dtype=torch.float32))
    assert x.dtype == torch.float32
    assert float(x[0, 1] - x[0, 0]) == pytest.approx(3.1 / 33, rel=1e-5)
    assert float(y[1, 0] - y[0, 0]) == pytest.approx(1.7 / 20, rel=1e-5)


def test_refusals_name_the_axis_and_the_remedy():
    with pytest.raises(UnsupportedOperator, match="Spectral.*but y of.*FiniteDifference"):
        Spectral(CartesianGrid((8, 9), periodic=(False, True)))
    uneven = CartesianGrid((2, 3), points=(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0, 4.0])), periodic=False)
    with pytest.raises(UnsupportedOperator, match="uniform axes"):
        Spectral(uneven)
    with pytest.raises(UnsupportedOperator, match="Sphere"):
        Spectral(LatLonGrid([-10.0, 0.0, 10.0], [0.0, 120.0, 240.0]))
    ops = Spectral(GRIDS[2])
    with pytest.raises(ShapeError, match=r"expected a field \(\.\.\., 20, 33\), got \(33, 20\)"):
        ops.lap(torch.zeros(33, 20))
    with pytest.raises(ShapeError, match="expected 2 components"):
        ops.div((torch.zeros(20, 33),))
    with pytest.raises(InputError, match="float32 or float64"):
        ops.lap(torch.zeros(20, 33, dtype=torch.int64))
    with pytest.raises(UnsupportedOperator, match=r"`dt`.*Spectral\(grid, dt=\.\.\.\)"):
        ops.dt(torch.zeros(5, 20, 33))
    with pytest.raises(ShapeError, match="at least 3 frames"):
        Spectral(GRIDS[2], dt=1.0).dt(torch.zeros(2, 20, 33))
    with pytest.raises(ShapeError, match="at least 3 frames"):
        Spectral(GRIDS[2], dt=1.0).dt(torch.zeros(20, 33))
    with pytest.raises(InputError, match="dt > 0"):
        Spectral(GRIDS[2], dt=-1.0)
