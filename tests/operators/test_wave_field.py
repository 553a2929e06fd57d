"""Fields that stay waves: every use gives what a plain field gives, and only products are paid for."""

import pytest
import torch

from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.operators.wave_field import WaveField, plain
from physdiff.operators.wave_operators import WaveOperators

GRID = CartesianGrid((10, 14), extent=(1.0, 2.5))


def start(samples=2, dtype=torch.float64):
    """Operators, a WaveField of random resolved waves, and the same as a plain field."""
    spectral = Spectral(GRID)
    D = WaveOperators(spectral)
    f = torch.randn(samples, *GRID.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5)).to(dtype)
    f = spectral.dealias(f)
    return D, D.begin({"c": D.block.forward(f)})["c"], f


OTHER = torch.linspace(-1, 2, 140, dtype=torch.float64).reshape(10, 14)
EACH = torch.tensor([2.0, -3.0], dtype=torch.float64).reshape(2, 1, 1)
USES = {
    "minus": lambda f: -f,
    "number": lambda f: 3 * f / 2 - 0.5 * f,
    "number that is added": lambda f: 1.5 - f + 2,
    "zero that is added": lambda f: 0.0 + f,
    "field that is added": lambda f: OTHER - 2 * (f + OTHER),
    "constant of each sample": lambda f: EACH * f + f * EACH.sum(),
    "constant of each sample added": lambda f: f + EACH,
    "square": lambda f: f**2 + f * f,
    "field times": lambda f: OTHER * f / (2 + OTHER**2),
    "quotient": lambda f: OTHER / (3 + f.abs()),
    "torch": lambda f: torch.where(f > 0, torch.sin(f), f.clamp(min=-0.5)),
    "stack": lambda f: torch.stack([f, 2 * f]).sum(0),
    "sum from zeros": lambda f: sum((f**2, -f), torch.zeros_like(f)),
    "zeros": lambda f: torch.zeros_like(f) + 0.0,
    "ones": lambda f: torch.ones_like(f) * f,
}


@pytest.mark.parametrize("use", USES)
def test_every_use_is_that_of_a_plain_field(use):
    _, wave, f = start()
    torch.testing.assert_close(plain(USES[use](wave)), USES[use](f))


@pytest.mark.parametrize("use", USES)
def test_its_waves_are_those_of_the_plain_result(use):
    D, wave, f = start()
    got = D.end({"c": USES[use](wave)})["c"]
    wanted = D.block.forward(USES[use](f))
    torch.testing.assert_close(got + torch.zeros_like(wanted), wanted * D.block.root.like(wanted))


def test_it_is_a_tensor_with_the_metadata_of_the_field():
    _, wave, f = start(dtype=torch.float32)
    assert isinstance(wave, torch.Tensor) and isinstance(wave, WaveField)
    assert (wave.shape, wave.ndim, wave.dtype, wave.device) == (f.shape, f.ndim, f.dtype, f.device)
    assert OTHER.to(wave).dtype is torch.float32


def test_components_of_one_gradient_are_transformed_together_and_sums_not_at_all(monkeypatch):
    D, wave, _ = start()
    taken = []
    inverse = D.block.inverse
    monkeypatch.setattr(D.block, "inverse", lambda w: taken.append(tuple(w.shape[:-2])) or inverse(w))
    x, y = D.grad(-D.inv_lap(wave))
    total = -D.lap(x) + 2 * y
    assert not taken
    _ = x * y
    assert taken == [(2, 2)]
    D.end({"c": total})
    assert len(taken) == 1


def test_gradients_pass():
    D, _, f = start(samples=1)

    def both(waves):
        D_fields = D.begin({"c": D.block.forward(waves)})
        x, y = D.grad(D_fields["c"])
        return D.block.inverse(D.end({"c": x * y - 3 * D.lap(x) + D_fields["c"] ** 2})["c"])

    assert torch.autograd.gradcheck(both, (f.requires_grad_(),))
