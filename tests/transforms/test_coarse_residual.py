"""What a coarse window leaves: inverse, means, likeness under stretching, and what the network is told of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError, NotFitted
from physdiff.base.saved import build, describe
from physdiff.grids.blocks import coarsened, reconstructed
from physdiff.transforms.coarse_residual import CoarseCondition, CoarseResidual
from physdiff.transforms.transform import Sample
from physdiff.transforms.wavelet import WaveletTransform

FINE, LIKE = (8, 12), torch.zeros((), dtype=torch.float64)


def fields(periodic: tuple[bool, ...] = (True, False), *, batch: int = 3) -> tuple[Tensor, Tensor]:
    """Windows (B, 2, 4, 8, 12) with fields of other sizes, and their condition with the first frame known."""
    x = torch.randn(batch, 2, 4, *FINE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x[:, 1] = 300 + 20 * x[:, 1]
    known = torch.zeros_like(x)
    known[:, :, 0] = 1
    return x, torch.cat([x * known, known, reconstructed(coarsened(x, 2), 2, periodic)], 1)


def fitted(periodic: tuple[bool, ...] = (True, False)) -> CoarseResidual:
    x, cond = fields(periodic)
    spec = None
    return CoarseResidual(2, periodic).fitted_from(lambda: iter([Sample(x, cond)]), spec)  # type: ignore[arg-type]


def test_windows_come_back_with_the_means_of_the_coarse_cells() -> None:
    made, (x, cond) = fitted(), fields()
    y = made.encode(x, cond)
    torch.testing.assert_close(coarsened(y, 2), torch.zeros_like(coarsened(y, 2)), rtol=0, atol=1e-10)
    torch.testing.assert_close(made.decode(y, cond), x, rtol=0, atol=1e-10)
    torch.testing.assert_close(coarsened(made.decode(torch.randn_like(y), cond), 2), coarsened(x, 2), rtol=0, atol=1e-9)
    assert made.out_shape((2, 4, *FINE)) == (2, 4, *FINE)
    again = build(describe(made))
    assert torch.equal(again.encode(x, cond), y)


@pytest.mark.parametrize("closed", [True, False])
def test_the_unit_is_the_largest_second_difference_within_two_cells(closed: bool) -> None:
    made = CoarseResidual(2, (closed,), torch.tensor([0.5]))
    cells = torch.zeros(1, 1, 1, 12)
    cells[..., 9] = 1.0  # second differences 1, -2, 1 at 8, 9, 10
    lines = reconstructed(cells, 2, (closed,))
    bent = made.encode(lines + 1, lines)[0, 0, 0, ::2]
    wanted = [0, 0, 0, 0, 0, 0, 1, 2, 2, 2, 2, 2]
    if closed:  # 10 reaches over the end to 0
        wanted[0] = 1
    torch.testing.assert_close(1 / bent, 0.5 + torch.tensor(wanted, dtype=torch.float32))


def test_fields_that_are_stretched_and_moved_look_the_same() -> None:
    made, (x, cond) = CoarseResidual(2, (True, False), torch.zeros(2)), fields()
    y, told = made.encode(x, cond), made.shapes(cond[:, 4:])
    assert told.shape == (3, 4, 4, *FINE) and bool(told.isfinite().all())
    other = torch.cat([cond[:, :4], 7 + 0.01 * cond[:, 4:]], 1)
    torch.testing.assert_close(made.encode(7 + 0.01 * x, other), y, rtol=0, atol=1e-8)
    torch.testing.assert_close(made.shapes(other[:, 4:]), told, rtol=0, atol=1e-8)


@pytest.mark.parametrize("wavelet", ["haar", "pixels", None])
def test_the_condition_tells_what_is_known_in_the_units_of_the_residual(wavelet: str | None) -> None:
    made, (x, cond) = fitted(), fields()
    packed = None if wavelet is None else WaveletTransform(wavelet, 1, ("time", "y", "x")).fitted_to((4, *FINE), ("y", "x"), (True, False))
    condition = CoarseCondition(2, packed, made, scale=0.5)
    found = condition.encode(cond)
    assert tuple(found.shape[1:]) == condition.out_shape((6, 4, *FINE))
    known = torch.zeros_like(x)
    known[:, :, 0] = 1
    y = made.encode(x, cond) * known / 0.5
    n = 2 if packed is None else 16
    torch.testing.assert_close(found[:, :n], y if packed is None else packed.encode(y), rtol=0, atol=1e-10)
    # what stands where nothing is known is not looked at
    hidden = torch.cat([torch.where(known > 0.5, cond[:, :2], 99.0), cond[:, 2:]], 1)
    torch.testing.assert_close(condition.encode(hidden), found, rtol=0, atol=1e-10)
    assert torch.equal(build(describe(condition)).encode(cond), found)
    assert condition.with_wavelet(None).encode(cond).shape[2:] == x.shape[2:]


def test_a_coarse_grid_of_one_or_two_cells_has_no_bend() -> None:
    made = CoarseResidual(2, (True,), torch.ones(1))
    for n in (1, 2):
        lines = reconstructed(torch.randn(1, 1, 2, n), 2, (True,))
        assert bool(made.shapes(lines).isfinite().all())
        torch.testing.assert_close(made.encode(lines + 1, lines), torch.ones(1, 1, 2, 2 * n))


def test_errors_say_what_to_do() -> None:
    with pytest.raises(InputError, match="at least 2, got 1"):
        CoarseResidual(1, (True,))
    with pytest.raises(InputError, match="holds a coarse window"):
        fitted().encode(torch.zeros(1, 2, 4, *FINE))
    with pytest.raises(NotFitted, match="size of the fields"):
        CoarseResidual(2, (True, False)).encode(*fields())
