"""Statistics against numpy's, streamed; the guard against constants; the round trip."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, combinations

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from physdiff.base.errors import InputError, NotFitted
from physdiff.base.rng import Rng
from physdiff.base.saved import build, describe
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.transforms.normalizer import Moments, Normalizer, guarded
from physdiff.transforms.transform import Sample

AXES = ("channel", "time", "space")
SUBSETS = list(chain.from_iterable(combinations(AXES, k) for k in range(4)))
SPEC = FieldSpec(("t", "p"), ("K", "Pa"), CartesianGrid((3, 4)), 1.0, frames=5)
LIKE = torch.zeros((), dtype=torch.float64)


def data(n: int = 12, *, missing: float = 0.0, seed: int = 0) -> Tensor:
    """Temperatures near 280 and pressures near 1e5, some missing."""
    rng = Rng(seed)
    x = rng.normal((n, 2, 5, 3, 4), like=LIKE) * torch.tensor([3.0, 700.0]).double().reshape(2, 1, 1, 1)
    x = x + torch.tensor([280.0, 1e5]).double().reshape(2, 1, 1, 1) + torch.arange(5).reshape(5, 1, 1)
    return torch.where(rng.child("gap").uniform(x.shape) < missing, torch.nan, x)


def batches(x: Tensor, size: int, known: Tensor | None = None):
    def stream() -> Iterator[Sample]:
        for i in range(0, len(x), size):
            yield Sample(x[i : i + size], None, None if known is None else known[i : i + size])

    return stream


def over(per: tuple[str, ...]) -> tuple[int, ...]:
    places = {"channel": (1,), "time": (2,), "space": (3, 4)}
    return (0, *(p for name in AXES if name not in per for p in places[name]))


@pytest.mark.parametrize("per", SUBSETS, ids=lambda p: "-".join(p) or "none")
@pytest.mark.parametrize("size", [1, 5, 12])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_streamed_moments_are_numpys(per: tuple[str, ...], size: int, missing: float) -> None:
    x = data(missing=missing)
    moments = Moments(per)
    for i in range(0, 12, size):
        moments.add(x[i : i + size])
    assert torch.equal(moments.count, torch.from_numpy(np.isfinite(x.numpy()).sum(over(per), keepdims=True)[0]).double())
    np.testing.assert_allclose(moments.mean, np.nanmean(x.numpy(), over(per), keepdims=True)[0], rtol=1e-13)
    # two-pass accuracy: deviations of 3 around 280 keep 13 digits
    np.testing.assert_allclose(moments.std, np.nanstd(x.numpy(), over(per), keepdims=True)[0], rtol=1e-11)


@given(cuts=st.lists(st.integers(0, 12), max_size=5), seed=st.integers(0, 20))
def test_the_cuts_do_not_matter(cuts: list[int], seed: int) -> None:
    x = data(missing=0.4, seed=seed)
    moments = Moments(("channel", "space"))
    for part in torch.tensor_split(x, sorted(cuts)):
        moments.add(part)
    whole = Moments(("channel", "space"))
    whole.add(x)
    torch.testing.assert_close(moments.mean, whole.mean, rtol=1e-13, atol=0)
    torch.testing.assert_close(moments.std, whole.std, rtol=1e-9, atol=1e-12)


def test_a_large_mean_does_not_cost_the_variance() -> None:
    """The textbook formula E x^2 - (E x)^2 has no digit left here."""
    x = 1e8 + data(4) - data(4).mean((0, 2, 3, 4), keepdim=True)
    moments = Moments(())
    for row in x:
        moments.add(row[None])
    # x itself keeps 1e-8 of a deviation near 500
    assert float(moments.std) == pytest.approx(float(x.std(correction=0)), rel=1e-9)


def test_entries_known_to_less_than_one_half_do_not_count() -> None:
    x, known = data(), Rng(1).uniform((12, 2, 5, 3, 4), like=LIKE)
    moments = Moments(("channel",))
    moments.add(torch.where(known < 0.5, 1e9, x), known)
    expected = np.nanmean(torch.where(known < 0.5, torch.nan, x).numpy(), over(("channel",)), keepdims=True)[0]
    np.testing.assert_allclose(moments.mean, expected, rtol=1e-13)


@pytest.mark.parametrize("per", SUBSETS, ids=lambda p: "-".join(p) or "none")
def test_fitted_it_makes_zero_mean_and_unit_variance(per: tuple[str, ...]) -> None:
    x = data(40)
    transform = Normalizer(per).fitted_from(batches(x, 7), SPEC)
    z = transform.encode(x)
    # statistics are kept in float32: 1e5 to 4e-3 of a deviation of 700
    torch.testing.assert_close(z.mean(over(per)), torch.zeros_like(z.mean(over(per))), rtol=0, atol=1e-4)
    torch.testing.assert_close(z.std(over(per), correction=0), torch.ones_like(z.mean(over(per))), rtol=1e-6, atol=0)
    # with one mean for kelvin and pascal, 280 comes back as the difference of numbers near 1e5
    torch.testing.assert_close(transform.decode(z), x, rtol=0, atol=1e-10)
    assert transform.out_shape((2, 5, 3, 4)) == (2, 5, 3, 4)


def test_missing_values_are_left_out_of_a_fit() -> None:
    x = data(missing=0.3)
    transform = Normalizer().fitted_from(batches(x, 5), SPEC)
    assert torch.equal(transform.mean, torch.from_numpy(np.nanmean(x.numpy(), (0, 2, 3, 4), keepdims=True)[0]).float())
    known = x.isfinite().double()
    filled = Normalizer().fitted_from(batches(x.nan_to_num(), 5, known), SPEC)
    assert torch.equal(filled.mean, transform.mean)
    assert torch.equal(filled.std, transform.std)


def test_without_centre_zero_stays_zero_and_the_scale_is_the_root_mean_square() -> None:
    x = data(30) - 279
    transform = Normalizer(centre=False).fitted_from(batches(x, 7), SPEC)
    assert bool((transform.encode(torch.zeros(1, 2, 5, 3, 4)) == 0).all())
    torch.testing.assert_close(transform.encode(x).square().mean((0, 2, 3, 4)), torch.ones(2).double(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("value", [0.0, 273.15, -1e6])
def test_a_constant_becomes_zero_and_comes_back(value: float) -> None:
    x = data(6).float()
    x[:, 1] = value
    transform = Normalizer().fitted_from(batches(x, 2), SPEC)
    assert float(transform.std[1]) == 1
    assert float(transform.encode(x)[:, 1].abs().max()) < 1e-6 * max(1.0, abs(value))
    torch.testing.assert_close(transform.decode(transform.encode(x)), x, rtol=1e-6, atol=1e-6)


def test_a_constant_point_of_a_channel_that_varies_elsewhere() -> None:
    """Land points of the sea-surface temperature: rounding of an anomaly must not be blown up."""
    x = data(6)
    x[..., 0, 0] = 1e-9 * Rng(0).normal((6, 2, 5), like=LIKE)
    transform = Normalizer(("channel", "space"), centre=False).fitted_from(batches(x, 2), SPEC)
    assert transform.std[:, 0, 0, 0].tolist() == [1, 1]
    assert bool((transform.std[:, 0, 0, 1:] != 1).all())


@pytest.mark.parametrize("small", [1e-7, 1e-12])
def test_a_channel_of_small_numbers_is_no_constant(small: float) -> None:
    """Specific humidity in kg/kg beside pressure in Pa: the guard must not compare units."""
    x = data(6) - torch.tensor([280.0, 1e5]).double().reshape(2, 1, 1, 1)
    x[:, 0] *= small
    transform = Normalizer().fitted_from(batches(x, 2), SPEC)
    torch.testing.assert_close(transform.encode(x).std((0, 2, 3, 4), correction=0), torch.ones(2).double(), rtol=1e-6, atol=0)


def test_guarded_compares_within_a_channel() -> None:
    mean, std = torch.tensor([[0.0, 0.0, 100.0], [0.0, 0.0, 0.0]]), torch.tensor([[1.0, 1e-8, 1e-5], [1e-9, 2e-9, 0.0]])
    assert guarded(mean, std).tolist() == torch.tensor([[1.0, 1.0, 1.0], [1e-9, 2e-9, 1.0]]).tolist()


def test_a_point_that_is_always_missing_gets_the_identity() -> None:
    x = data(6)
    x[:, :, :, 1, 2] = torch.nan
    transform = Normalizer(("channel", "space")).fitted_from(batches(x, 2), SPEC)
    assert transform.mean[:, 0, 1, 2].tolist() == [0, 0]
    assert transform.std[:, 0, 1, 2].tolist() == [1, 1]


def test_statistics_survive_saving_and_a_second_fit() -> None:
    transform = Normalizer(("channel", "time")).fitted_from(batches(data(), 5), SPEC)
    again = build(describe(transform))
    assert torch.equal(again.mean, transform.mean)
    assert torch.equal(again.std, transform.std)
    assert transform.fitted_from(batches(data(seed=3), 5), SPEC) is transform


def test_what_makes_no_sense_is_refused() -> None:
    for arguments in (("level",), "channel"):
        with pytest.raises(InputError, match="expected per within"):
            Normalizer(arguments)
    with pytest.raises(InputError, match="mean and std together"):
        Normalizer(mean=torch.zeros(1))
    with pytest.raises(InputError, match="positive std"):
        Normalizer(mean=torch.zeros(2), std=torch.tensor([1.0, 0.0]))
    with pytest.raises(NotFitted, match="use fitted"):
        Normalizer().encode(torch.zeros(1, 1, 1, 2))
    with pytest.raises(InputError, match="at least one known value"):
        Normalizer().fitted_from(batches(torch.full((2, 2, 5, 3, 4), torch.nan), 1), SPEC)
