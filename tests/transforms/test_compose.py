"""Chains: order, inverse, fitting stage by stage, missing values on their way."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.base.saved import build, describe
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.transforms.anomaly import Anomaly, Increment, SubtractGuess
from physdiff.transforms.compose import Compose
from physdiff.transforms.frames import DropHistory, FramesToChannels
from physdiff.transforms.normalizer import Normalizer
from physdiff.transforms.transform import Sample, Transform
from physdiff.transforms.wavelet import WaveletTransform

LIKE = torch.zeros((), dtype=torch.float64)
GRID = CartesianGrid((4, 6), periodic=(False, True))
SPEC = FieldSpec(("t", "p"), ("K", "Pa"), GRID, 3600.0, frames=4)


def shift(mean: float, std: float) -> Normalizer:
    return Normalizer((), torch.full((1, 1, 1, 1), mean), torch.full((1, 1, 1, 1), std))


def windows(n: int = 30, *, missing: float = 0.0) -> tuple[Tensor, Tensor]:
    """Temperatures and pressures with a mean of their own at every point, and completed conditions (values, known, guess)."""
    rng = Rng(0)
    x = rng.child("x").normal((n, 2, 4, 4, 6), like=LIKE) + 5 * rng.child("m").normal((2, 1, 4, 6), like=LIKE)
    x = torch.tensor([280.0, 1e5]).double().reshape(2, 1, 1, 1) + torch.tensor([1.0, 300.0]).reshape(2, 1, 1, 1) * x
    known = torch.zeros(n, 1, 4, 4, 6).double()
    known[:, :, :2] = 1
    filled = torch.where(known > 0, x, x[:, :, 1:2])
    cond = torch.cat([filled, known, 0.5 * rng.child("g").normal(x.shape, like=LIKE)], dim=1)
    return torch.where(rng.child("gap").uniform(x.shape) < missing, torch.nan, x), cond


def batches(x: Tensor, cond: Tensor | None = None, size: int = 8):
    def stream() -> Iterator[Sample]:
        for i in range(0, len(x), size):
            yield Sample(x[i : i + size], None if cond is None else cond[i : i + size])

    return stream


def typical() -> Compose:
    return Compose(
        (
            DropHistory(2),
            Anomaly("all"),
            SubtractGuess(),
            Normalizer(("channel", "time")),
            FramesToChannels(2),
            WaveletTransform("db2", 1),
            Normalizer(("channel",), centre=False),
        )
    )


def test_parts_apply_first_to_last_and_invert_last_to_first() -> None:
    x = torch.full((1, 1, 1, 2), 10.0)
    chain = Compose((shift(4, 2), shift(1, 4)))
    assert torch.equal(chain.encode(x), torch.full_like(x, ((10 - 4) / 2 - 1) / 4))
    assert torch.equal(chain.decode(chain.encode(x)), x)
    assert [type(p) for p in chain] == [Normalizer, Normalizer]


def test_no_parts_change_nothing() -> None:
    x = torch.ones(2, 1, 3, 4)
    assert torch.equal(Compose().encode(x), x)
    assert Compose().out_shape((1, 3, 4)) == (1, 3, 4)


@pytest.mark.parametrize("guessed", [True, False])
def test_the_typical_chain_is_inverted_with_its_condition(guessed: bool) -> None:
    x, cond = windows()
    chain = typical() if guessed else Compose((DropHistory(2), Increment(2), Normalizer(centre=False), FramesToChannels(2)))
    fitted = chain.fitted_from(batches(x, cond), SPEC)
    z = fitted.encode(x, cond)
    assert tuple(z.shape[1:]) == fitted.out_shape(SPEC.shape)
    # numbers near 1e5 in float64
    torch.testing.assert_close(fitted.decode(z, cond), x, rtol=1e-13, atol=0)
    again = build(describe(fitted))
    assert torch.equal(again.encode(x, cond), z)


def test_every_stage_is_fitted_on_what_the_stages_before_leave() -> None:
    x, cond = windows()
    fitted = typical().fitted_from(batches(x, cond), SPEC)
    z = fitted.encode(x, cond)
    torch.testing.assert_close(z.square().mean((0, 2, 3, 4)), torch.ones(z.shape[1]).double(), rtol=1e-6, atol=0)
    parts = list(fitted)
    torch.testing.assert_close(parts[1].climatology[0].double(), x[:, :, 2:].mean((0, 2)), rtol=1e-6, atol=0)
    normal = x[:, :, 2:] - parts[1].climatology[0][None, :, None] - cond[:, 3:, 2:]
    torch.testing.assert_close(parts[3].std.double(), normal.std((0, 3, 4), correction=0)[..., None, None], rtol=1e-6, atol=0)


def test_missing_values_never_count_as_numbers() -> None:
    """Gaps of 40 %: mean and spread are numpy's of what is there; a gap filled before the mean is out would be 0 kelvin."""
    x, cond = windows(60, missing=0.4)
    x[..., 0, 0] = torch.nan
    stages = (DropHistory(2), Anomaly("all"), Normalizer(("channel",)), FramesToChannels(2), Normalizer(("channel",), centre=False))
    for chain in (Compose(stages), Compose((Compose(stages[:2]), *stages[2:4], Compose(stages[4:])))):
        fitted = chain.fitted_from(batches(x, cond), SPEC)
        parts = [p for q in fitted for p in (q if isinstance(q, Compose) else [q])]
        future = x[:, :, 2:].numpy()
        there = np.ones((4, 6), dtype=bool)
        there[0, 0] = False
        np.testing.assert_allclose(parts[1].climatology[0][:, there], np.nanmean(future[..., there], (0, 2)), rtol=1e-6)
        rest = (future - parts[1].climatology[0].double().numpy()[None, :, None])[..., there]
        np.testing.assert_allclose(parts[2].std.flatten(), np.nanstd(rest, (0, 2, 3)), rtol=1e-6)
        normal = rest / parts[2].std.double().numpy()[..., 0]
        np.testing.assert_allclose(parts[4].std.flatten(), np.sqrt(np.nanmean(normal**2, (0, 3))).flatten(), rtol=1e-4)


def test_sub_band_statistics_skip_cells_known_to_less_than_one_half() -> None:
    """Three quarters of the points never known: the spread of the approximation is that of the cells that are."""
    x, _ = windows(200)
    x[..., :, 3:] = torch.nan
    x[..., 2:, :3] = torch.nan
    chain = Compose((Anomaly("all"), Normalizer(("channel",)), WaveletTransform("haar", 1), Normalizer(("channel",), centre=False)))
    fitted = chain.fitted_from(batches(x), SPEC)
    parts = list(fitted)
    # haar, cell of rows 0, 1 and columns 0, 1: the only one wholly known; columns 2, 3 make a cell known to one half
    whole = (x[..., :2, :2] - parts[0].climatology[0][None, :, None, :2, :2]) / parts[1].std
    half = (x[..., :2, 2:3] - parts[0].climatology[0][None, :, None, :2, 2:3]) / parts[1].std
    coefficient = torch.stack([whole.sum((-1, -2)) / 2, half.sum((-1, -2)) / 2])
    expected = coefficient.square().mean((0, 1, 3)).sqrt()
    torch.testing.assert_close(parts[3].std.flatten()[:2].double(), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("levels", [1, 2])
def test_weights_of_missing_data_are_box_means_on_the_coefficients(levels: int) -> None:
    x, cond = windows(4)
    chain = Compose((DropHistory(2), shift(0, 1), FramesToChannels(2), WaveletTransform("haar", levels), shift(0, 1)))
    fitted = chain.fitted_from(batches(x, cond), SPEC)
    known = (Rng(5).uniform(x.shape, like=LIKE) > 0.4).double()
    share = fitted.weight(known)
    z = fitted.encode(x, cond)
    assert share.shape == z.shape
    # the first cell in space that no padding touches
    n = 2**levels
    torch.testing.assert_close(share[:, :4, 0, 0, 0], known[:, :, 2:, :n, :n].mean((3, 4)).flatten(1))
    assert torch.equal(fitted.weight(torch.ones_like(x)), torch.ones_like(z))
    assert torch.equal(fitted.weight(torch.zeros_like(x)), torch.zeros_like(z))


def test_encode_refuses_missing_values() -> None:
    x, cond = windows(4, missing=0.1)
    with pytest.raises(InputError, match=r"Compose\.encode: expected finite"):
        Compose((DropHistory(2),)).encode(x, cond)


def test_the_parts_are_seen_as_a_module() -> None:
    class Scale(Transform):
        """One learnt number."""

        def __init__(self) -> None:
            super().__init__()
            self.factor = torch.nn.Parameter(torch.ones(()))

        def _encode(self, x: Tensor, cond: Tensor | None) -> Tensor:
            return x * self.factor

        def _decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
            return z / self.factor

        def out_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
            return shape

    assert list(Compose((Scale(),)).state_dict()) == ["parts.0.factor"]
