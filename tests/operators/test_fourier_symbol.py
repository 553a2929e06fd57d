from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import ShapeError, UnsupportedOperator
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.fourier_symbol import FourierSymbol
from physdiff.operators.spectral import Spectral
from tests.operators.fields import GRIDS, relative


def noise(grid, *leading, seed=0):
    return torch.randn(*leading, *grid.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("ndim", GRIDS)
def test_operators_on_amplitudes_equal_spectral_on_fields(ndim):
    # noise fills every wave, the shortest ones of even axes too
    grid = GRIDS[ndim]
    fourier, ops = FourierSymbol(grid), Spectral(grid)
    v = tuple(noise(grid, 2, seed=i) for i in range(ndim))
    amplitudes = tuple(ops.to_spectrum(c) for c in v)
    f, a = v[0], amplitudes[0]
    pairs = [
        (fourier.lap(a), ops.lap(f)),
        (fourier.inv_lap(a), ops.inv_lap(f)),
        (fourier.div(amplitudes), ops.div(v)),
        (fourier.partial(a, 0, 3), ops.partial(f, 0, 3)),
        (fourier.partial(a, ndim - 1, 4), ops.partial(f, ndim - 1, 4)),
        *zip(fourier.grad(a), ops.grad(f), strict=True),
        *zip(fourier.project(amplitudes), ops.project(v), strict=True),
    ]
    for got, wanted in pairs:
        assert relative(ops.from_spectrum(got), wanted) < 1e-12


@pytest.mark.parametrize("ndim", GRIDS)
def test_symbol_of_a_stiff_part_acts_like_it(ndim):
    grid = GRIDS[ndim]
    flow = (0.7, -0.4, 0.2)[:ndim]

    def stiff(u, D):
        return {
            "a": 0.3 * D.lap(u["a"]) - D.advect(flow, u["a"]) - 0.1 * u["a"],
            "b": -0.01 * D.lap(D.lap(u["b"])) - D.partial(u["b"], 0, 3),
        }

    symbols = FourierSymbol(grid).symbol(stiff, ("a", "b", "c"))
    ops = Spectral(grid)
    u = {name: noise(grid, seed=i) for i, name in enumerate(("a", "b", "c"))}
    wanted = stiff(u, ops)
    for name in ("a", "b"):
        got = ops.from_spectrum(symbols[name] * ops.to_spectrum(u[name]))
        assert relative(got, wanted[name]) < 1e-12
    assert not symbols["c"].any() and symbols["c"].shape == symbols["a"].shape


def test_symbol_of_advection_and_diffusion_in_closed_form():
    grid = CartesianGrid((7, 10), extent=(2.0, 5.0))
    symbol = FourierSymbol(grid).symbol(lambda u, D: {"c": 0.2 * D.lap(u["c"]) - D.advect((3.0, 0.5), u["c"])}, ("c",))["c"]
    assert symbol.shape == (7, 6) and symbol.dtype == torch.complex128
    k_x, k_y = 2 * math.pi * 3 / 5.0, -2 * math.pi * 2 / 2.0
    assert complex(symbol[-2, 3]) == pytest.approx(-0.2 * (k_x**2 + k_y**2) - 1j * (3.0 * k_x + 0.5 * k_y), abs=1e-12)
    # the shortest wave along x is damped, not moved
    k_x = 2 * math.pi * 5 / 5.0
    assert complex(symbol[0, 5]) == pytest.approx(-0.2 * k_x**2, abs=1e-12)


def test_parameters_of_a_batch_and_their_gradients():
    grid = GRIDS[2]
    viscosity = torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64, requires_grad=True)
    fourier = FourierSymbol(grid)
    symbol = fourier.symbol(lambda u, D: {"w": viscosity[:, None, None] * D.lap(u["w"])}, ("w",))["w"]
    assert symbol.shape == (3, 20, 17)
    square = fourier.spectrum.laplacian(viscosity)
    assert relative(symbol[1], 0.5 * square.to(symbol.dtype)) < 1e-14
    (gradient,) = torch.autograd.grad(symbol.real.sum(), viscosity)
    assert relative(gradient, square.sum().expand(3)) < 1e-14


def test_symbol_takes_the_precision_of_the_fields():
    like = torch.zeros((), dtype=torch.float32)
    symbol = FourierSymbol(GRIDS[2]).symbol(lambda u, D: {"w": D.lap(u["w"])}, ("w",), like)["w"]
    assert symbol.dtype == torch.complex64


@pytest.mark.parametrize(
    ("stiff", "message"),
    [
        (lambda u, D: {"a": D.lap(u["a"]) + 1.0}, r"stiff\['a'\] has a source"),
        (lambda u, D: {"a": u["a"] * u["a"]}, r"stiff\['a'\] is not linear"),
        (lambda u, D: {"a": -D.advect((u["a"], u["a"]), u["a"])}, r"stiff\['a'\] is not linear"),
        (lambda u, D: {"b": D.div((u["a"], u["b"]))}, r"stiff\['b'\] depends on 'a': it mixes fields"),
        (lambda u, D: {"a": u["a"].abs() * 1.0}, r"stiff\['a'\] is not linear"),
        (lambda u, D: {"a": u["a"] + 0.1 * u["a"].conj()}, r"stiff\['a'\] is not linear"),
        (lambda u, D: {"b": u["b"] + u["b"] * u["a"]}, r"stiff\['b'\] is not linear"),
        (lambda u, D: {"b": u["b"].mean() + u["b"]}, r"stiff\['b'\] is not linear"),
        (lambda u, D: {"a": D.coordinates[0] * u["a"]}, "`coordinates`: a coefficient depends on the place"),
        (lambda u, D: {"a": D.coordinates_as(u["a"])[0] * u["a"]}, "`coordinates`: a coefficient depends on the place"),
        (lambda u, D: {"a": D.dt(u["a"])}, "`dt`"),
        (lambda u, D: {"a": u["psi"]}, "it asks for 'psi', which does not evolve"),
        (lambda u, D: {"psi": u["a"]}, "it changes psi, which does not evolve"),
    ],
)
def test_what_breaks_the_rule_is_named(stiff, message):
    with pytest.raises(UnsupportedOperator, match=message) as caught:
        FourierSymbol(GRIDS[2]).symbol(stiff, ("a", "b"))
    assert "nonstiff" in str(caught.value) or "Spectral" in str(caught.value)


def test_fields_in_place_of_amplitudes_are_refused():
    with pytest.raises(ShapeError, match="Spectral on fields"):
        FourierSymbol(GRIDS[2]).lap(torch.zeros(20, 33))
    with pytest.raises(UnsupportedOperator, match="FourierSymbol.*but x of"):
        FourierSymbol(CartesianGrid((8, 9), periodic=(True, False)))
