"""Convolutional neural operators: one function on every grid, shifts by part of a cell, gradients, storage, a law learned."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import build, describe
from physdiff.networks.cno import CNO
from physdiff.networks.resample import resample
from tests.networks.test_fno import heat, smooth


def made(**options) -> CNO:
    torch.manual_seed(0)
    return CNO(1, 1, width=4, levels=1, blocks=1, **options).double()


def moved(x: torch.Tensor, cells: float) -> torch.Tensor:
    """Shift along the last, circular, axis by any part of a cell."""
    n = x.shape[-1]
    k = torch.fft.rfftfreq(n, 1 / n, dtype=torch.float64)
    return torch.fft.irfft(torch.fft.rfft(x) * torch.exp(-2j * torch.pi * k * cells / n), n=n)


@pytest.mark.parametrize(("axes", "closed"), [((13,), True), ((9, 8), (False, True)), ((4, 6, 5), False)])
def test_any_lengths_and_gradients_to_every_weight(axes, closed):
    net, x = made(ndim=len(axes), periodic=closed), torch.randn(2, 1, *axes, dtype=torch.float64, requires_grad=True)
    y = net(x)
    y.square().sum().backward()
    assert y.shape == (2, 1, *axes) and all(p.grad is not None and bool((p.grad != 0).any()) for p in (x, *net.parameters()))


def test_shifts_by_part_of_a_cell_nearly_commute(monkeypatch):
    net, x = made(ndim=1, periodic=True), smooth(4, (32,), seed=1, highest=6).double()

    def off() -> float:
        with torch.no_grad():
            return float((net(moved(x, 0.5)) - moved(net(x), 0.5)).norm() / net(x).norm())

    small = off()
    with monkeypatch.context() as patch:
        patch.setattr("physdiff.networks.cno.filtered", lambda act, v, _: act(v))
        plain = off()
    assert small < 0.01 and small < plain / 4, (small, plain)  # what GELU folds back from beyond the double band
    whole = moved(x, 2.0)
    torch.testing.assert_close(net(whole), moved(net(x), 2.0), rtol=1e-9, atol=1e-9)  # whole coarse cells: rounding


def test_one_function_on_every_grid():
    net = made(ndim=2, periodic=(True, False)).at((15, 10)).double()
    x = torch.randn(1, 1, 15, 10, dtype=torch.float64)
    finer = net(resample(x, [31, 24], net.periodic))
    torch.testing.assert_close(resample(finer, [15, 10], net.periodic), net(x), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(finer, resample(net(x), [31, 24], net.periodic), rtol=1e-10, atol=1e-10)
    assert net.at((4, 4)) is net


def test_it_is_stored_and_refuses_what_does_not_fit():
    net, x = made().at((8, 8)).double(), torch.randn(1, 1, 8, 8, dtype=torch.float64)
    again = build(describe(net)).double()
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(x), net(x))
    with pytest.raises(ShapeError, match="2 axes"):
        net(torch.zeros(1, 1, 8))
    with pytest.raises(InputError, match="NoiseChannels"):
        net(x, torch.zeros(()))
    with pytest.raises(InputError, match="shape"):
        CNO(1, 1, ndim=2, shape=(8,))


@pytest.mark.slow
def test_an_exact_operator_is_learned():
    """Heat flow on a circle, from 64 fields."""
    torch.manual_seed(0)
    net, x, new = CNO(1, 1, ndim=1, periodic=True), smooth(64, (32,), seed=1), smooth(32, (32,), seed=2)
    y, wanted = heat(x), heat(new)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(120):
        optimizer.zero_grad()
        (net(x) - y).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        error = (net(new) - wanted).norm() / wanted.norm()
    assert error < 0.15 < (new - wanted).norm() / wanted.norm(), error
