"""What forecasts keep: means and divergence of the last known frame, together."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.forecast.conserved import Conserved
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.solenoidal import Solenoidal

MASK = torch.ones(9, 12, dtype=torch.bool)
MASK[4:6, 3:5] = False
SPEC = FieldSpec(("u", "v", "p"), ("m s-1", "m s-1", "Pa"), CartesianGrid((9, 12), extent=(1.0, 2.0), periodic=False), 1.0, frames=4, mask=MASK)


def frames(count: int, seed: int) -> torch.Tensor:
    return torch.where(MASK, Rng(seed).normal((3, 3, count, 9, 12), like=torch.zeros((), dtype=torch.float64)), torch.nan)


def test_divergence_and_means_are_those_of_the_last_known_frame():
    new, known = frames(4, 0), frames(2, 1)
    before = new.clone()
    found = Conserved(SPEC, ("u", "divergence(u v)", "p"))(new, known)
    torch.testing.assert_close(new, before, rtol=0, atol=0, equal_nan=True)
    means = [x[..., MASK].mean(-1) for x in (found, known[:, :, -1:], new)]
    for c in (0, 2):
        torch.testing.assert_close(means[0][:, c], means[1][:, c].expand(3, 4), rtol=0, atol=1e-12)
    assert float((means[0] - means[1])[:, 1].abs().min()) > 1e-4  # v was not named
    made = Solenoidal(SPEC)
    due = made.divergence(known[:, :, -1:].expand(3, 3, 4, 9, 12))
    torch.testing.assert_close(made.divergence(found), due, rtol=0, atol=1e-10)
    assert float((made.divergence(new) - due).abs().max()) > 1
    Conserved(SPEC, ("p",))(new, known)
    torch.testing.assert_close(new, before, rtol=0, atol=0, equal_nan=True)
    # pressure is shifted only
    off = (found - new)[:, 2, :, MASK]
    assert float((off - off[..., :1]).abs().max()) < 1e-12


def test_what_cannot_be_kept_is_refused():
    for keep, said in (
        ("rain", "expected one of the fields u, v, p"),
        ("divergence(u w)", "expected one of the fields u, v, p"),
        ("divergence()", r"components of the velocity, as divergence\(u v\)"),
        ("divergence(u)", "expected 2 components"),
    ):
        with pytest.raises(InputError, match=said):
            Conserved(SPEC, (keep,))
