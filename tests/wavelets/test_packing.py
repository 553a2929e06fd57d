"""Packing is a permutation; shares of known points follow the same layout."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.wavelets.dwt import Decomposition, wavedec
from physdiff.wavelets.packing import pack, pack_share, unpack


def numbers(*shape: int) -> Tensor:
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float64).reshape(shape)


def test_layout_by_hand() -> None:
    coarse, fine = numbers(1, 2, 3) + 100, numbers(1, 2, 6)
    packed = pack(Decomposition(coarse, ({"d": coarse + 100}, {"d": fine})), axes=(2,))
    assert packed.shape == (1, 8, 3)
    torch.testing.assert_close(packed[:, :2], coarse, rtol=0, atol=0)  # part 0 of both channels
    torch.testing.assert_close(packed[:, 2:4], coarse + 100, rtol=0, atol=0)
    torch.testing.assert_close(packed[:, 4:6], fine[..., 0::2], rtol=0, atol=0)
    torch.testing.assert_close(packed[:, 6:8], fine[..., 1::2], rtol=0, atol=0)


@pytest.mark.parametrize("axes", [(4,), (3, 4), (4, 2), (2, 3, 4)])
@pytest.mark.parametrize("levels", [0, 1, 2])
def test_packing_is_a_permutation(axes: tuple[int, ...], levels: int) -> None:
    x = numbers(2, 3, 4, 8, 12)
    coefficients = wavedec(x, "haar", levels, axes=axes)
    packed = pack(coefficients, axes)
    parts = 2 ** (levels * len(axes))
    assert packed.shape[:2] == (2, 3 * parts)
    every = [coefficients.approximation, *(band for level in coefficients.details for band in level.values())]
    torch.testing.assert_close(
        packed.flatten().sort().values, torch.cat([b.flatten() for b in every]).sort().values, rtol=0, atol=0
    )
    back = unpack(packed, levels, axes)
    torch.testing.assert_close(back.approximation, coefficients.approximation, rtol=0, atol=0)
    for ours, theirs in zip(back.details, coefficients.details, strict=True):
        for name in theirs:
            torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=0)


def test_a_coefficient_stands_over_its_cell() -> None:
    x = torch.zeros(1, 1, 16, dtype=torch.float64)
    x[..., 12] = 1  # coarsest cell 3 of 4 (level 2), fine cell 6: the first of the two sub-grids
    packed = pack(wavedec(x, "haar", 2, axes=(2,)), (2,))
    assert packed[0].nonzero().tolist() == [[0, 3], [1, 3], [2, 3]]


def test_share_is_the_mean_over_each_cell_brute_force() -> None:
    generator = torch.Generator().manual_seed(0)
    known = (torch.rand(2, 3, 2, 8, 12, generator=generator) < 0.6).double()
    share = pack_share(known, 2, (3, 4))
    assert share.shape == (2, 3 * 16, 2, 2, 3)
    # parts 0-3 are of level 2 (cells of 4 x 4), parts 4-15 of level 1: three bands of 2 x 2 sub-grids
    for part in range(16):
        for i in range(2):
            for j in range(3):
                if part < 4:
                    cell = known[..., 4 * i : 4 * i + 4, 4 * j : 4 * j + 4]
                else:
                    row, column = 2 * i + (part - 4) % 4 // 2, 2 * j + (part - 4) % 2
                    cell = known[..., 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                torch.testing.assert_close(
                    share[:, 3 * part : 3 * part + 3, :, i, j], cell.mean((-2, -1)), rtol=0, atol=1e-15
                )


def test_errors() -> None:
    with pytest.raises(ShapeError, match="channels a multiple of .* = 4"):
        unpack(numbers(1, 6, 4, 4), 1, (2, 3))
    with pytest.raises(InputError, match="expected the bands ad, da, dd"):
        pack(wavedec(numbers(1, 1, 4, 4), "haar", 1, axes=(3,)), (2, 3))
    with pytest.raises(ShapeError, match="divisible by 4 along axis 2, got 6"):
        pack_share(numbers(1, 1, 6), 2, (2,))
    with pytest.raises(ShapeError, match=r"expected bands of \(6,\) points 1 levels above one of \(3,\), got \(5,\)"):
        pack(wavedec(numbers(1, 1, 10), "haar", 2, axes=(2,)), (2,))
