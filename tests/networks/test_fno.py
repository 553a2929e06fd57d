"""Fourier operators: symmetry, resolution, derivatives, sizes, storage, a linear operator learned."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import read, write
from physdiff.networks import fourier_basis
from physdiff.networks.fno import FFNO, FNO

BOTH = pytest.mark.parametrize("kind", [FNO, FFNO])


def heat(u: torch.Tensor, t: float = 0.01) -> torch.Tensor:
    """Exact heat flow on the unit circle or torus."""
    axes = tuple(range(2, u.ndim))
    waves = torch.meshgrid(*(torch.fft.fftfreq(n, 1 / n) for n in u.shape[2:]), indexing="ij")
    decay = torch.exp(-t * (2 * torch.pi) ** 2 * sum(k**2 for k in waves))
    return torch.fft.ifftn(torch.fft.fftn(u, dim=axes) * decay, dim=axes).real


def smooth(batch: int, axes: tuple[int, ...], *, seed: int, highest: int = 4) -> torch.Tensor:
    """Random fields of few waves, variance about one, the same on every grid."""
    rng = torch.Generator().manual_seed(seed)
    field = torch.zeros(batch, 1, *axes)
    places = torch.meshgrid(*(torch.arange(n) / n for n in axes), indexing="ij")
    for _ in range(6):
        k = torch.randint(-highest, highest + 1, (batch, len(axes)), generator=rng)
        phase = torch.rand(batch, generator=rng)
        angle = 2 * torch.pi * (sum(k[(slice(None), d) + (None,) * len(axes)] * p for d, p in enumerate(places)) + phase.view(-1, *[1] * len(axes)))
        field[:, 0] += angle.cos() / 6**0.5 * 2**0.5
    return field


@BOTH
@pytest.mark.parametrize("axes", [(1,), (13,), (8, 5), (1, 6), (4, 3, 5)])
@pytest.mark.parametrize("closed", [True, False])
def test_any_lengths_of_the_axes(kind, axes, closed):
    net = kind(3, 2, ndim=len(axes), periodic=closed, width=4, modes=3, layers=2)
    y = net(torch.randn(2, 3, *axes))
    assert y.shape == (2, 2, *axes) and bool(y.isfinite().all()) and y.is_contiguous()


@BOTH
@pytest.mark.parametrize(
    ("axes", "closed", "shift"), [((16,), (True,), (5,)), ((9, 12), (True, True), (2, 7)), ((5, 8, 6), (True, False, True), (1, 0, 5))]
)
def test_every_shift_along_circles_commutes(kind, axes, closed, shift):
    torch.manual_seed(0)
    net = kind(2, 3, ndim=len(axes), periodic=closed, width=4, modes=3, coordinates=False).double()
    x, dims = torch.randn(2, 2, *axes, dtype=torch.float64), tuple(range(2, 2 + len(axes)))
    torch.testing.assert_close(net(x.roll(shift, dims)), net(x).roll(shift, dims), rtol=1e-10, atol=1e-10)  # rounding


def test_with_coordinates_shifts_do_not_commute():
    net, x = FNO(1, 1, ndim=1, periodic=True, width=4, modes=3, coordinates=True), torch.randn(1, 1, 16)
    assert (net(x.roll(1, 2)) - net(x).roll(1, 2)).abs().max() > 1e-4


@BOTH
def test_modes_are_per_axis(kind):
    net = kind(1, 1, periodic=True, width=4, modes=(5, 2), layers=1)
    assert FNO is not kind or net.layers[0].conv.weight.shape == (2, 10, 3, 4, 4)
    with pytest.raises(InputError, match="modes"):
        kind(1, 1, modes=(5, 2, 1))


def test_parameters_are_those_of_the_reference_library():
    """neuraloperator 2.0.0: FNO(n_modes=(16, 16), hidden_channels=32), 2 more inputs for the coordinates."""
    assert sum(p.numel() for p in FNO(1, 1, periodic=True, width=32, modes=8, coordinates=True).parameters()) == 1_192_801
    assert sum(p.numel() for p in FNO(1, 1, periodic=True, width=32, modes=16, coordinates=True).parameters()) == 4_469_601


@BOTH
def test_derivatives_reach_every_weight_and_the_input(kind):
    torch.manual_seed(0)
    net = kind(2, 1, ndim=2, width=4, modes=2, layers=2).double()
    x = torch.randn(1, 2, 6, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(net, (x,), fast_mode=True) and torch.autograd.gradcheck(net.eval(), (x,), fast_mode=True)
    net.train()(x).square().sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in net.parameters())


def test_bad_arguments_are_refused():
    for wrong in ({"width": 0}, {"layers": 0}, {"ndim": 4}, {"modes": 0}, {"periodic": (True,)}):
        with pytest.raises(InputError):
            FNO(1, 1, **{"ndim": 2, **wrong})
    with pytest.raises(InputError, match="no levels"):
        FNO(1, 1)(torch.zeros(1, 1, 8, 8), torch.zeros(()))
    with pytest.raises(ShapeError, match="expected"):
        FNO(2, 1)(torch.zeros(1, 1, 8, 8))


@BOTH
def test_it_is_written_and_read(kind, tmp_path):
    net, x = kind(1, 2, ndim=1, width=4, modes=(3,), layers=1), torch.randn(1, 1, 9)
    write(tmp_path / "net", net)
    again, _ = read(tmp_path / "net")
    assert torch.equal(again(x), net(x))


def trained(net: nn.Module, *, steps: int, axes: tuple[int, ...], batch: int = 16) -> nn.Module:
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        x = smooth(batch, axes, seed=step)
        optimiser.zero_grad()
        (net(x) - heat(x)).square().mean().backward()
        optimiser.step()
        schedule.step()
    return net.eval()


def error(net: nn.Module, axes: tuple[int, ...]) -> float:
    x = smooth(64, axes, seed=10**6)
    with torch.no_grad():
        y = heat(x)
        return float(((net(x) - y).flatten(1).norm(dim=1) / y.flatten(1).norm(dim=1)).mean())


@pytest.mark.slow
@BOTH
def test_heat_flow_is_learned_on_one_grid_and_known_on_finer_ones(kind):
    """Fields of waves up to 4 on 32 points; 64 and 128 points are never seen."""
    torch.manual_seed(0)
    net = trained(kind(1, 1, ndim=1, periodic=True, width=16, modes=8, layers=2), steps=2000, axes=(32,))
    errors = [error(net, (n,)) for n in (32, 64, 128)]
    assert errors[0] < 1.5e-2 and max(errors) < 2 * errors[0], errors  # eight starts of FNO have 0.008 to 0.012


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, on its way through the compiler
@BOTH
def test_the_compiler_takes_it_whole(kind):
    net, x = kind(1, 1, width=4, modes=3, layers=2), torch.randn(2, 1, 9, 8)
    torch.testing.assert_close(torch.compile(net, fullgraph=True)(x), net(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("wide", [1, 10**6])
def test_training_computes_what_evaluation_does(wide, monkeypatch):
    """Passes written out by hand, with and without wide products: values, first and second derivatives."""
    monkeypatch.setattr(fourier_basis, "_WIDE", wide)
    torch.manual_seed(0)
    net, x = FNO(1, 1, width=4, modes=2, layers=2).double(), torch.randn(2, 1, 6, 5, dtype=torch.float64, requires_grad=True)
    wanted, found = [x, *net.parameters()], []
    for mode in (True, False):
        out = net.train(mode)(x)
        first = torch.autograd.grad(out.square().sum(), wanted, create_graph=True)
        plain = torch.autograd.grad(net(x).square().sum(), wanted)
        found.append((out, first, plain, torch.autograd.grad(sum(g.square().sum() for g in first), wanted)))
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-10)
