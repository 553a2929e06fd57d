"""A law in Fourier space: norms are those of the grid, the explicit part is that of the law, waves above the cut move by the stiff part alone."""

import pytest
import torch

from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.burgers import Burgers
from physdiff.solvers.etdrk import ETDRK4, etd_weights
from physdiff.solvers.fourier_form import FourierForm, WaveState


def form(shape, nu=0.1):
    grid = CartesianGrid(shape, extent=tuple(1.0 + i for i in range(len(shape))))
    return FourierForm(Burgers(nu), Spectral(grid), what="test", weights=etd_weights), Spectral(grid)


def rough(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("shape", [(16,), (15,), (9, 14), (6, 5, 8)])
def test_norms_of_waves_are_root_mean_squares_of_fields(shape):
    f, plain = form(shape)
    u = rough(2, *shape)
    axes = tuple(range(1, u.ndim))
    torch.testing.assert_close(f.norm(f.waves({"u": u})["u"]), u.square().mean(axes).sqrt())
    resolved = plain.dealias(u)
    kept = f.kept(f.waves({"u": resolved}))["u"]
    torch.testing.assert_close(f.norm(kept), resolved.square().mean(axes).sqrt())
    torch.testing.assert_close(f.inverse(kept, like=f.waves({"u": u})["u"]), resolved)


def test_the_explicit_part_is_that_of_the_law_and_is_kept_in_the_state():
    f, plain = form((9, 14))
    u = plain.dealias(rough(2, 9, 14))
    state = f.waves({"u": u})
    found = f.slopes(state, 0.0)
    torch.testing.assert_close(f.inverse(found["u"], like=state["u"]), plain.dealias(Burgers(0.1).explicit({"u": u}, plain, 0.0)["u"]))
    assert f.slopes(WaveState(state, found), 0.0) is found


def test_weights_are_kept_for_as_many_lengths_as_a_controller_uses():
    f, _ = form((12,))
    state = f.waves({"u": rough(1, 12)})
    first = f.weights(state, 0.1)
    for i in range(10):
        f.weights(state, 0.2 + i)
    assert f.weights(state, 0.1) is first
    assert f.weights(f.waves({"u": rough(1, 12).float()}), 0.1)["u"]["q"].dtype is torch.complex64


def test_waves_above_the_cut_decay_as_the_stiff_part_says():
    _, plain = form((12,))
    x = plain.coordinates[0]
    high = torch.cos(2 * torch.pi * 5 * x)[None]  # 5 of at most 6, the cut is below 4
    low = torch.sin(2 * torch.pi * x)[None]
    stepper = ETDRK4(Burgers(0.01), plain)
    got = stepper.step({"u": low + high}, 0.0, 0.05)["u"]
    decayed = high * torch.exp(torch.tensor(-0.01 * (10 * torch.pi) ** 2 * 0.05, dtype=torch.float64))
    torch.testing.assert_close(got, stepper.step({"u": low}, 0.0, 0.05)["u"] + decayed)
