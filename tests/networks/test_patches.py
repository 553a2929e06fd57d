"""Boxes as channels: where every cell goes, and back again."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import ShapeError
from physdiff.networks.patches import patchify, patchify_any, unpatchify

CASES = [((6,), (3,)), ((4, 6), (2, 3)), ((2, 4, 9), (1, 2, 3))]


@pytest.mark.parametrize(("axes", "sides"), CASES)
def test_there_and_back_is_exact(axes, sides):
    x = torch.randn(2, 3, *axes)
    assert torch.equal(unpatchify(patchify(x, sides), sides), x)


def test_every_cell_goes_to_its_place():
    x = torch.arange(2 * 4 * 6).reshape(1, 2, 4, 6)
    z = patchify(x, (2, 3))
    for c in range(2):
        for i in range(4):
            for j in range(6):
                assert z[0, c * 6 + (i % 2) * 3 + j % 3, i // 2, j // 3] == x[0, c, i, j]


def test_any_lengths_are_prolonged():
    x = torch.arange(5.0).reshape(1, 1, 5)
    assert patchify_any(x, (2,), (True,))[0, :, 2].tolist() == [4, 0]  # a circle goes on at its beginning
    assert patchify_any(x, (2,), (False,))[0, :, 2].tolist() == [4, 4]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match="multiples of \\(2,\\)"):
        patchify(torch.zeros(1, 1, 5), (2,))
    with pytest.raises(ShapeError, match="a multiple of 4"):
        unpatchify(torch.zeros(1, 3, 2, 2), (2, 2))
