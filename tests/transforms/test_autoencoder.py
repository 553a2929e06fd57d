"""The autoencoder: its linear part is principal component analysis, its networks keep shifts, and what it loses is what it says."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError, NotFitted, ShapeError
from physdiff.base.saved import read, write
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.transforms.autoencoder import Autoencoder, factor_for
from physdiff.transforms.transform import Sample


def spec(shape: tuple[int, ...], periodic) -> FieldSpec:
    grid = CartesianGrid(shape, extent=(1.0,) * len(shape), periodic=periodic)
    return FieldSpec(("u", "v"), ("1", "1"), grid, 1.0)


def samples(shape: tuple[int, ...], n: int = 40) -> torch.Tensor:
    """Rough random fields of two channels and two frames, correlated between neighbours."""
    x = torch.randn(n, 2, 2, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for axis in range(3, x.ndim):
        x = x + x.roll(1, axis) + 0.5 * x.roll(2, axis)
    return x / x.std()


def fitted(shape=(8, 12), periodic=(False, True), *, stir: float = 0.0, data: torch.Tensor | None = None, **options) -> Autoencoder:
    given = samples(shape) if data is None else data
    torch.manual_seed(0)
    made = Autoencoder(**{"factor": 4, "width": 8, "blocks": 1, **options}).fitted_from(lambda: iter([Sample(given)]), spec(shape, periodic)).double()
    with torch.no_grad():
        for p in made.parameters():
            p.add_(torch.randn_like(p), alpha=stir)
    return made


def test_without_networks_it_is_principal_component_analysis():
    """With boxes as large as the grid: the reconstruction is the projection on the leading patterns, the error the variance left out."""
    x = samples((6,), 60)
    made = fitted((6,), (True,), data=x, factor=6, width=0, compression=3.0)
    rows = x.transpose(1, 2).flatten(0, 1).flatten(1)
    centre = rows.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(rows.T, correction=0))
    leading = vectors[:, -4:]
    expected = centre + (rows - centre) @ leading @ leading.T
    z = made.encode(x)
    assert z.shape == (60, 4, 2, 1) and made.out_shape((2, 2, 6)) == (4, 2, 1)
    # float32 weights
    torch.testing.assert_close(made.decode(z).transpose(1, 2).flatten(0, 1).flatten(1), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(made.error.double(), (values[:-4].sum() / 12).sqrt(), rtol=1e-5, atol=0)
    torch.testing.assert_close(z.square().mean((0, 2, 3)), torch.ones(4).double(), rtol=1e-4, atol=0)
    torch.testing.assert_close(made.encode(made.decode(z)), z, rtol=1e-4, atol=1e-5)


def test_all_patterns_lose_nothing_and_fresh_networks_add_nothing():
    x = samples((8, 12))
    whole, linear, fresh = fitted(compression=1.0, width=0), fitted(width=0), fitted(width=8)
    torch.testing.assert_close(whole.decode(whole.encode(x)), x, rtol=1e-4, atol=1e-4)
    assert torch.equal(fresh.decode(fresh.encode(x)), linear.decode(linear.encode(x)))


def test_shifts_by_whole_boxes_along_circles_commute():
    made, x = fitted(stir=0.05), samples((8, 12), 2)
    z = made.encode(x)
    torch.testing.assert_close(made.encode(x.roll(4, 4)), z.roll(1, 4), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(made.decode(z.roll(1, 4)), made.decode(z).roll(4, 4), rtol=1e-9, atol=1e-9)


def test_any_lengths_are_prolonged_and_cropped():
    x = samples((7, 9))
    made = fitted((7, 9), (True, False), compression=1.0, width=0)
    z = made.encode(x)
    assert z.shape[2:] == (2, 2, 3) == made.out_shape((2, 2, 7, 9))[1:] and made.coarse == (2, 3)
    torch.testing.assert_close(made.decode(z), x, rtol=1e-4, atol=1e-4)


def test_the_same_weights_on_another_grid():
    """A field that repeats itself is encoded to what repeats itself."""
    made, x = fitted(periodic=(True, True), stir=0.05), samples((8, 12), 2)
    wide = made.at((16, 36))
    assert wide.encoder is made.encoder and wide.analysis is made.analysis
    z = wide.encode(x.repeat(1, 1, 1, 2, 3))
    torch.testing.assert_close(z, made.encode(x).repeat(1, 1, 1, 2, 3), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(wide.decode(z), made.decode(made.encode(x)).repeat(1, 1, 1, 2, 3), rtol=1e-9, atol=1e-9)


def test_rescaled_latents_have_variance_one_and_decode_to_the_same():
    made, x = fitted(stir=0.05), samples((8, 12))
    before = made.decode(made.encode(x))
    made.rescale(iter(made.encode(x).split(7)))
    z = made.encode(x)
    over = (0, 2, 3, 4)
    torch.testing.assert_close(z.mean(over), torch.zeros(made.latent).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(z.square().mean(over), torch.ones(made.latent).double(), rtol=1e-9, atol=0)
    torch.testing.assert_close(made.decode(z), before, rtol=1e-9, atol=1e-9)


def test_bounded_latents():
    made, x = fitted(bound=1.5, width=0), 100 * samples((8, 12), 2)
    plain = fitted(width=0).encode(x)
    torch.testing.assert_close(made.encode(x), plain / (1 + (plain / 1.5) ** 2).sqrt(), rtol=1e-5, atol=1e-6)
    assert made.encode(x).abs().max() <= 1.5


def test_shares_are_box_means():
    made = fitted((7, 9), (False, False))
    known = torch.ones(1, 2, 1, 7, 9)
    known[:, 0, :, :4, :4] = 0.0
    share = made.weight(known)
    assert share.shape == (1, made.latent, 1, 2, 3)
    assert share[0, 0, 0].tolist() == [[0.5, 1, 1], [1, 1, 1]]


def test_gradients_go_through():
    made = fitted((4, 4), (True, True), stir=0.1)
    z = torch.randn(1, made.latent, 1, 1, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: made.decode(v), (z,))
    x = torch.randn(1, 2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: made.encode(v), (x,))


def test_a_file_gives_the_same(tmp_path):
    made, x = fitted(stir=0.05).float(), samples((8, 12), 2).float()
    made.rescale(iter([made.encode(x)]))
    write(tmp_path / "a", made)
    again, _ = read(tmp_path / "a")
    assert torch.equal(again.decode(again.encode(x)), made.decode(made.encode(x))) and torch.equal(again.error, made.error)


def test_sizes_follow_from_the_data():
    assert [factor_for(s) for s in ((4,), (8, 100), (16, 16), (33, 49), (181, 360))] == [2, 2, 4, 8, 8]
    made = Autoencoder(16.0).fitted_to(3, (64, 64), (True, True))
    assert made.factor == 8 and made.latent == 12 and made.out_shape((3, 5, 64, 64)) == (12, 5, 8, 8)
    assert fitted(compression=1e9).latent == 1


def test_what_makes_no_sense_is_refused():
    for wrong in ({"compression": 0}, {"width": -1}, {"blocks": 0}, {"factor": 1}, {"bound": 0.0}, {"factor": 3}, {"channels": 2}):
        with pytest.raises(InputError):
            Autoencoder(**wrong)
    with pytest.raises(NotFitted, match="use fitted"):
        Autoencoder().encode(torch.zeros(1, 2, 1, 8))
    made = fitted()
    assert made.fitted_from(lambda: iter([]), spec((8, 12), (False, True))) is made
    with pytest.raises(ShapeError, match="`at` gives one for another grid"):
        made.encode(torch.zeros(1, 2, 1, 8, 16))
    with pytest.raises(ShapeError, match=f"expected \\(B, {made.latent}, T, \\*\\(2, 3\\)\\)"):
        made.decode(torch.zeros(1, made.latent, 1, 2, 4))
    with pytest.raises(ShapeError):
        made.out_shape((1, 2, 8, 12))
    with pytest.raises(InputError, match="more than"):
        fitted(data=samples((8, 12), 1), compression=1.0)
    assert math.isnan(Autoencoder(4.0).fitted_to(1, (8,), (True,)).error)
