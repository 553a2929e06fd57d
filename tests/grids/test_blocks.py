"""Block means, and lines in blocks that keep them."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import ShapeError
from physdiff.grids.blocks import coarsened, reconstructed, refined


def test_means_of_repeated_cells_are_the_cells() -> None:
    x = torch.randn(2, 2, 4, 8, 6)
    assert torch.equal(coarsened(refined(x, 2), 2), x)
    torch.testing.assert_close(coarsened(x, 2)[..., 1, 2], x[..., 2:4, 4:6].mean((-1, -2)))
    with pytest.raises(ShapeError, match="divisible by 4"):
        coarsened(x, 4)


@pytest.mark.parametrize("closed", [True, False])
def test_lines_in_coarse_cells_keep_their_means_and_have_their_order(closed: bool) -> None:
    x = torch.randn(2, 1, 3, 6, 4, dtype=torch.float64)
    torch.testing.assert_close(coarsened(reconstructed(x, 3, (closed, not closed)), 3), x, rtol=0, atol=1e-14)
    thin = reconstructed(x[..., :1], 2, (closed, closed))  # one cell has no neighbour
    assert torch.equal(thin, reconstructed(x[..., 0], 2, (closed,))[..., None].expand(-1, -1, -1, -1, 2))
    errors = []
    for n in (32, 64):
        fine = torch.arange(2 * n + 1, dtype=torch.float64) / (2 * n) * 2 * torch.pi
        means = (torch.cos(fine[:-1]) - torch.cos(fine[1:]))[None, None, None] * n / torch.pi  # of sin over the fine cells
        errors.append(float((reconstructed(coarsened(means, 2), 2, (closed,)) - means).abs().max()))
    # u_{i+1} - u_{i-1} is the difference of the halves of a cell to third order on a circle; at an end to second order
    assert errors[0] / errors[1] > (7.5 if closed else 3.8)
