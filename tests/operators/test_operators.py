"""What every backend must hold, and that one law's text runs on all of them."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import ShapeError, UnsupportedOperator
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.latlon import LatLonGrid
from physdiff.operators.autograd import Autograd
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.fourier_symbol import FourierSymbol
from physdiff.operators.operators import Operators, PoissonOperators
from physdiff.operators.spectral import Spectral
from physdiff.operators.sphere import Sphere
from tests.operators.fields import GRIDS, relative, waves

BOX = CartesianGrid((20, 33), extent=(1.7, 3.1), periodic=False)
BACKENDS = {
    "Spectral": lambda: Spectral(GRIDS[2], dt=0.5),
    "FiniteDifference": lambda: FiniteDifference(GRIDS[2], dt=0.5, order=4),
    "FiniteDifference with ends": lambda: FiniteDifference(BOX, dt=0.5, order=6),
    "Sphere": lambda: Sphere(LatLonGrid(torch.linspace(90, -90, 20, dtype=torch.float64), torch.arange(33) * (360 / 33), 1.0), dt=0.5),
    "Sphere of a region": lambda: Sphere(LatLonGrid(torch.linspace(40, 60, 20), torch.linspace(0, 50, 33), 1.0), dt=0.5),
}


@pytest.fixture(params=BACKENDS)
def ops(request):
    return BACKENDS[request.param]()


def noise(*leading, seed=0):
    return torch.randn(*leading, 20, 33, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_constants_have_no_derivative(ops):
    f = torch.full((2, 5, 20, 33), 7.0, dtype=torch.float64)
    for g in (*ops.grad(f), ops.lap(f), ops.dt(f)):
        # cancellation of 7 by weights of up to the square of the inverse spacing
        assert g.abs().max() < 1e-9


def test_operators_are_linear_and_act_on_each_leading_index_alone(ops):
    f, g = noise(2, 5), noise(2, 5, seed=1)
    for operator in (ops.lap, ops.dt, lambda h: ops.grad(h)[0], lambda h: ops.grad(h)[1], lambda h: ops.div((h, 2 * h))):
        assert relative(operator(3 * f - g), 3 * operator(f) - operator(g)) < 1e-12
        assert relative(operator(f)[1], operator(f[1])) < 1e-12
        assert operator(f).shape == f.shape


def test_advection_is_the_sum_of_velocity_times_gradient(ops):
    f, u, v = noise(2), noise(2, seed=1), noise(2, seed=2)
    east, north = ops.grad(f)
    assert relative(ops.advect((u, v), f), u * east + v * north) < 1e-13
    assert relative(ops.advect((2.0, -1.0), f), 2 * east - north) < 1e-13


def test_results_stay_on_the_device_and_in_the_precision_of_the_field(ops, device):
    f = noise(2, 5)
    for operator in (ops.lap, ops.dt, lambda h: ops.grad(h)[0], lambda h: ops.div((h, -h)), ops.dealias):
        wanted = operator(f)
        got = operator(f.to(device, torch.float32))
        assert got.device.type == device.type and got.dtype == torch.float32
        assert relative(got.cpu(), wanted) < 1e-3
    x, _ = ops.coordinates_as(f.to(device, torch.float32))
    assert x.device.type == device.type and x.dtype == torch.float32 and x.shape == (20, 33)


def test_wrong_numbers_of_components_are_refused(ops):
    f = noise()
    for call in (ops.div, lambda v: ops.advect(v, f)):
        with pytest.raises(ShapeError, match="expected 2 components"):
            call((f, f, f))


def test_abstract_classes_cannot_be_built():
    for cls in (Operators, PoissonOperators):
        with pytest.raises(TypeError, match="abstract"):
            cls()


def test_only_poisson_backends_have_nonlocal_steps(ops):
    if isinstance(ops, PoissonOperators):
        assert ops.inv_lap(noise()).shape == (20, 33)
        return
    for call in (lambda: ops.inv_lap(noise()), lambda: ops.project((noise(), noise()))):
        with pytest.raises(UnsupportedOperator, match="use Spectral on a periodic CartesianGrid"):
            call()


def test_sphere_has_no_plain_partial_derivatives():
    with pytest.raises(UnsupportedOperator, match="`partial`"):
        BACKENDS["Sphere"]().partial(noise(), 0)


def test_one_law_gives_one_residual_on_every_backend():
    """Advection-diffusion-reaction without x-y symmetry, in space and time."""

    def residual(c, v, D):
        return D.dt(c) + D.advect(v, c) + c * D.div(v) - 0.3 * D.lap(c) + 0.2 * c**2

    grid = CartesianGrid((60, 90), extent=(1.7, 3.1), origin=(-0.6, 0.2))
    x, f, p, q = grid.coordinates(), waves(grid), waves(grid, shift=0.6), waves(grid, shift=1.9)
    t = 0.01 * torch.arange(7, dtype=torch.float64)[:, None, None]
    c, v = (1 + t - 2 * t**2) * f(x), (p(x), q(x))
    wanted = (1 - 4 * t) * f(x) + (1 + t - 2 * t**2) * (
        p(x) * f.grad(x)[0] + q(x) * f.grad(x)[1] + f(x) * (p.grad(x)[0] + q.grad(x)[1]) - 0.3 * f.lap(x)
    )
    wanted = wanted + 0.2 * c**2
    v = tuple(a.expand(c.shape) for a in v)
    assert relative(residual(c, v, Spectral(grid, dt=0.01)), wanted) < 1e-11
    # 20 points per shortest wave, order eight
    assert relative(residual(c, v, FiniteDifference(grid, dt=0.01, order=8)), wanted) < 1e-5
    points = tuple(a.expand(c.shape).clone().requires_grad_() for a in x)
    time = t.expand(c.shape).clone().requires_grad_()
    network = (1 + time - 2 * time**2) * f(points)
    assert relative(residual(network, (p(points), q(points)), Autograd(points, time)), wanted) < 1e-12
    # and its linear part on Fourier amplitudes
    symbol = FourierSymbol(grid).symbol(lambda u, D: {"c": 0.3 * D.lap(u["c"])}, ("c",))["c"]
    assert relative(Spectral(grid).from_spectrum(symbol * torch.fft.rfft2(f(x))), 0.3 * f.lap(x)) < 1e-12


def test_a_name_that_no_backend_has_is_answered_with_those_there_are(ops):
    assert all(hasattr(ops, n) for n in ("dt", "grad", "div", "lap", "partial", "advect", "inv_lap", "project", "dealias", "coordinates_as"))
    with pytest.raises(AttributeError, match=rf"expected one of dt, grad, .*, got {type(ops).__name__}.laplacian; D.lap"):
        ops.laplacian(noise())
