"""Operators from functions: transposes and gradients, derived fields against exact ones, compositions, what has no gradient and who refuses it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from physdiff.base.errors import GridMismatch, InputError, ShapeError, UnitError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import DiagonalCovariance
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.latlon import LatLonGrid
from physdiff.inference.exact import plain_prior
from physdiff.inference.exact_posterior import exact_posterior
from physdiff.inference.feynman_kac import AnnealedSMC
from physdiff.inference.guided import Guided
from physdiff.inference.mapped import BlackBox, Mapped, MappedLinear, compose, divergence, joined, time_means, vorticity, wind_speed
from physdiff.inference.observation import Observation
from physdiff.inference.posterior import Posterior
from physdiff.inference.sensors import Sensors
from physdiff.inference.tempered_smc import TemperedSMC
from physdiff.inference.twisted_smc import TwistedSMC
from physdiff.inference.weighted_cells import block_means

LIKE = torch.zeros((), dtype=torch.float64)
BOX = CartesianGrid((6, 8), extent=(1.0, 2.0))
OPEN = CartesianGrid((6, 8), extent=(1.0, 2.0), periodic=False)
GLOBE = LatLonGrid(torch.linspace(87.5, -87.5, 36), torch.arange(0, 360, 5.0))
GRIDS = {"box": BOX, "open": OPEN, "globe": GLOBE}


def spec(grid, frames: int = 3) -> FieldSpec:
    return FieldSpec(("u", "v"), ("m s-1", "m s-1"), grid, 1.0, frames)


def points(grid) -> torch.Tensor:
    return torch.tensor([[10.0, 50.0], [359.0, -20.0]]) if grid is GLOBE else torch.tensor([[0.3, 0.4], [1.6, 0.7]])


def linear_ones(s: FieldSpec) -> dict[str, MappedLinear]:
    means = time_means(s, ((0, 1), (-1,)), ((1.0, 3.0), (2.0,)))
    spin = vorticity(s)
    return {
        "vorticity": spin,
        "divergence": divergence(s),
        "time means": means,
        "vorticity at sensors": compose(Sensors(spin.derived, points(s.grid)), spin),
        "means of means": compose(block_means(means.derived, (3, 4)), means),
        "joined": joined(Sensors(s, points(s.grid)), spin),
        "function": MappedLinear(lambda x: x.flatten(2).cumsum(-1) + 3, s),
    }


@settings(max_examples=12)
@given(data=st.data())
def test_adjoint(data) -> None:
    s = spec(GRIDS[data.draw(st.sampled_from(sorted(GRIDS)))])
    operator = (every := linear_ones(s))[data.draw(st.sampled_from(sorted(every)))]
    rng = Rng(data.draw(st.integers(0, 2**20)))
    x = rng.child("x").normal((2, *s.shape), like=LIKE)
    linear = operator(x) - operator(0 * x)
    r = rng.child("r").normal(tuple(linear.shape), like=LIKE)
    one, other = (linear * r).sum(), (x * operator.adjoint(r)).sum()
    # near the poles of the globe derivatives add up terms a hundred times their sum
    assert float((one - other).abs()) <= 1e-10 * float(linear.norm() * r.norm())


def test_derivatives_are_the_packages_own() -> None:
    x_axis, y_axis = BOX.coordinates()
    k, q = math.pi, 2 * math.pi
    u, v = torch.sin(q * y_axis) + 0 * x_axis, torch.cos(k * x_axis) + 0 * y_axis
    x = torch.stack([u, v])[None, :, None].expand(1, 2, 3, *BOX.shape)
    torch.testing.assert_close(vorticity(spec(BOX))(x)[0, 0, 0], -k * torch.sin(k * x_axis) - q * torch.cos(q * y_axis), rtol=0, atol=1e-12)
    torch.testing.assert_close(divergence(spec(BOX))(x), torch.zeros(1, 1, 3, *BOX.shape).double(), rtol=0, atol=1e-12)
    assert vorticity(spec(BOX)).derived.units == ("m s-1 m-1",) and vorticity(spec(BOX)).derived.shape == (1, 3, 6, 8)
    # solid rotation about the axis: u = U cos(latitude) has vorticity 2 U sin(latitude) / a
    latitude = GLOBE.coordinates()[1]
    x = torch.stack([20 * torch.cos(latitude), 0 * latitude])[None, :, None].expand(1, 2, 3, *GLOBE.shape)
    expected = 40 * torch.sin(latitude) / GLOBE.radius
    # second order with 5 degrees: some permille
    torch.testing.assert_close(vorticity(spec(GLOBE))(x)[0, 0, 0], expected, rtol=0, atol=0.005 * 40 / GLOBE.radius)


def test_wind_speed_and_its_gradient() -> None:
    s = spec(BOX)
    x = Rng(1).normal((1, *s.shape), like=LIKE)
    wind = wind_speed(s)
    torch.testing.assert_close(wind(x)[:, 0], torch.hypot(x[:, 0], x[:, 1]))
    at = compose(Sensors(wind.derived, points(BOX)), wind)
    assert isinstance(at, Mapped) and at(x).shape == (1, 1, 3, 2)
    small = spec(CartesianGrid((2, 2)), 1)
    assert torch.autograd.gradcheck(wind_speed(small), (Rng(2).normal((2, *small.shape), like=LIKE).requires_grad_(),))
    still = torch.zeros(1, *s.shape, requires_grad=True)
    (slope,) = torch.autograd.grad(wind(still).sum(), still)
    assert not slope.any() and not wind(still).any()


def test_time_means() -> None:
    s = spec(BOX)
    x = Rng(3).normal((2, *s.shape), like=LIKE)
    found = time_means(s, ((0, 1, 2), (-1, 0)), ((1.0, 2.0, 1.0), (3.0, 1.0)))(x)
    torch.testing.assert_close(found[:, :, 0], (x[:, :, 0] + 2 * x[:, :, 1] + x[:, :, 2]) / 4)
    torch.testing.assert_close(found[:, :, 1], (3 * x[:, :, 2] + x[:, :, 0]) / 4)
    torch.testing.assert_close(time_means(s, ((0, 1, 2),))(x)[:, :, 0], x.mean(2))


def test_joined_readings_stand_side_by_side() -> None:
    s = spec(BOX)
    x, at, wind = Rng(6).normal((2, *s.shape), like=LIKE), Sensors(s, points(BOX)), wind_speed(s)
    torch.testing.assert_close(joined(at, wind)(x), torch.cat([at(x).flatten(1), wind(x).flatten(1)], 1))
    assert isinstance(joined(at, wind), Mapped) and isinstance(joined(at, BlackBox(lambda z: z)), BlackBox)
    for wrong in ((), (Mapped(lambda z: z),)):
        with pytest.raises(InputError, match="one says what the windows are"):
            joined(*wrong)


def gaussian(s: FieldSpec) -> Posterior:
    return plain_prior(GaussianDenoiser(EDMSchedule(), torch.zeros(s.shape).double(), DiagonalCovariance(torch.ones(s.shape).double())), s)


def test_a_derived_reading_in_the_closed_form() -> None:
    """Vorticity read at one place: the posterior of the winds, written out with the row of the operator."""
    s = spec(CartesianGrid((4, 4), extent=4.0), 1)
    spin = vorticity(s)
    operator = compose(Sensors(spin.derived, torch.tensor([[1.0, 2.0]])), spin)
    found = exact_posterior(Posterior(gaussian(s), Observation(operator, torch.tensor(0.7, dtype=torch.float64), std=0.5)))
    row = operator.adjoint(torch.ones(1, 1, 1, 1).double()).flatten()
    torch.testing.assert_close(found.posterior_mean, row * 0.7 / (row @ row + 0.25), rtol=1e-10, atol=1e-12)


def test_a_black_box_is_refused_where_gradients_are_asked_for_and_taken_elsewhere() -> None:
    s = spec(CartesianGrid((2, 2)), 1)
    box = BlackBox(lambda x: np.round(x.numpy().sum(axis=(1, 2, 3, 4), keepdims=False))[:, None], s)
    x = Rng(4).normal((3, *s.shape), like=LIKE).requires_grad_()
    assert box(x).shape == (3, 1) and not box(x).requires_grad and box(x).dtype == torch.float64
    posterior = Posterior(gaussian(s), (Observation(box, 2.0, std=1.0), Observation(Sensors(s, torch.tensor([[0.5, 0.5]])), 0.0, std=1.0)))
    for method in (Guided(steps=4), TwistedSMC(steps=4), AnnealedSMC(steps=4)):
        with pytest.raises(InputError, match="got BlackBox; use TemperedSMC or AnnealedSMC.guidance=0. .BootstrapSMC., which need no gradient"):
            method.sample(posterior, 2, rng=Rng(0))
    for method in (TemperedSMC(steps=4), AnnealedSMC(steps=4, guidance=0.0)):
        assert bool(method.sample(posterior, 8, rng=Rng(0)).members.isfinite().all())
    assert isinstance(compose(BlackBox(lambda x: x.flatten(1)), wind_speed(s)), BlackBox)


def test_worded_errors() -> None:
    s = spec(BOX)
    x = Rng(5).normal((2, *s.shape), like=LIKE)
    with pytest.raises(InputError, match="got one that bends; use Mapped"):
        MappedLinear(lambda z: z**2, s)
    with pytest.raises(InputError, match="results without gradient; use BlackBox"):
        Mapped(lambda z: z.detach(), s)(x.clone().requires_grad_())
    with pytest.raises(InputError, match="results without gradient; use BlackBox"):
        MappedLinear(lambda z: z.detach(), s).adjoint(x)
    with pytest.raises(ShapeError, match="gives .batch, readings. for 2 samples, got"):
        Mapped(lambda z: z.sum(), s)(x)
    with pytest.raises(ShapeError, match="expected windows of 3 frames, got 2"):
        Mapped(lambda z: z, s)(x[:, :, :2])
    with pytest.raises(InputError, match="expected one of the fields u, v; got 'w'"):
        vorticity(s, "u", "w")
    with pytest.raises(UnitError, match="in one unit, got 'm' and 's'"):
        wind_speed(FieldSpec(("u", "v"), ("m", "s"), BOX, 1.0))
    with pytest.raises(InputError, match="two axes of space"):
        vorticity(spec(CartesianGrid(8)))
    with pytest.raises(InputError, match="build it with inner.derived"):
        compose(Sensors(s, points(BOX)), vorticity(s))
    with pytest.raises(GridMismatch, match="compose: expected"):
        compose(Sensors(spec(OPEN), points(OPEN)), vorticity(s))
    with pytest.raises(InputError, match="gives readings; name what it derives"):
        compose(Sensors(s, points(BOX)), Mapped(lambda z: z, s))
    for frames, weights in (((), None), (((),), None), (((3,),), None), (((0, 1),), ((1.0,),)), (((0,),), ((0.0,),)), (((0, 1),), ((1.0, -1.0),))):
        with pytest.raises(InputError, match="time_means: expected"):
            time_means(s, frames, weights)
