"""Names to channels and back."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import build, describe
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec

GRID = CartesianGrid((3, 4), (1.0, 2.0))


def spec(**changes: object) -> FieldSpec:
    return FieldSpec(**{"names": ("u", "v", "p"), "units": ("m s-1", "m s-1", "Pa"), "grid": GRID, "dt": 0.1, "frames": 5} | changes)


@pytest.mark.parametrize("frames", [1, 5, 7])
def test_stack_inverts_split(frames: int) -> None:
    x = torch.randn(2, 3, frames, 3, 4, generator=torch.Generator().manual_seed(0))
    fields = spec().split(x)
    assert list(fields) == ["u", "v", "p"]
    assert torch.equal(fields["p"], x[:, 2])
    assert torch.equal(spec().stack(fields), x)
    shuffled = {**{k: fields[k] for k in ("p", "v", "u")}, "more": torch.zeros(1)}
    assert torch.equal(spec().stack(shuffled), x)


def test_shape_and_channel() -> None:
    assert spec().shape == (3, 5, 3, 4)
    assert spec().with_frames(2).shape == (3, 2, 3, 4)
    assert [spec().channel(n) for n in ("u", "v", "p")] == [0, 1, 2]


def test_built_again_it_is_the_same() -> None:
    mask = torch.rand(3, 4, generator=torch.Generator().manual_seed(1)) > 0.5
    again = build(describe(spec(mask=mask, names=["u", "v", "p"], time_unit="1")))
    assert (again.names, again.units, again.dt, again.frames, again.time_unit) == (("u", "v", "p"), spec().units, 0.1, 5, "1")
    assert again.grid.same_as(GRID)
    assert torch.equal(again.mask, mask)


@pytest.mark.parametrize("shape", [(2, 2, 5, 3, 4), (2, 3, 5, 4, 3), (3, 5, 3, 4), (2, 3, 5, 3)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"expected \(batch, 3, time, 3, 4\) for u, v, p"):
        spec().check(torch.zeros(shape))


def test_missing_fields_are_named() -> None:
    with pytest.raises(InputError, match="missing v, p"):
        spec().stack({"u": torch.zeros(1, 5, 3, 4)})
    with pytest.raises(InputError, match="got 'w'"):
        spec().channel("w")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": ("u", "u", "p")}, "distinct names"),
        ({"units": ("m",)}, "one unit each"),
        ({"names": (), "units": ()}, "distinct names"),
        ({"dt": 0.0}, "dt > 0"),
        ({"dt": float("nan")}, "dt > 0"),
        ({"frames": 0}, "frames >= 1"),
        ({"mask": torch.ones(3, 4)}, "booleans"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        spec(**changes)


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"mask: expected the grid's shape \(3, 4\), got \(4, 3\)"):
        spec(mask=torch.ones(4, 3) > 0)
