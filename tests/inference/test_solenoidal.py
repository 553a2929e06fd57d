"""Windows without divergence: in closed boxes, between ends, around a mask, and like another window's."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError, UnitError
from physdiff.base.rng import Rng
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.latlon import LatLonGrid
from physdiff.inference.constraints import constrained_flow
from physdiff.inference.mapped import divergence
from physdiff.inference.solenoidal import Solenoidal
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral

BLOCK = torch.ones(12, 15, dtype=torch.bool)
BLOCK[5:8, 4:7] = False
CASES = {
    "closed": (True, None),
    "open": (False, None),
    "channel": ((False, True), None),
    "obstacle": (False, BLOCK),
    "street": ((True, False), BLOCK),
}


def flow(case, units=("m s-1", "m s-1", "Pa")) -> FieldSpec:
    periodic, mask = CASES[case]
    return FieldSpec(("u", "v", "p"), units, CartesianGrid((12, 15), extent=(2.0, 5.0), periodic=periodic), 1.0, frames=3, mask=mask)


def windows(spec, seed=0) -> torch.Tensor:
    return Rng(seed).normal((2, *spec.shape), like=torch.zeros((), dtype=torch.float64))


@pytest.mark.parametrize("case", CASES)
def test_it_is_an_orthogonal_projection_onto_flows_without_divergence(case):
    spec = flow(case)
    made, x, y = Solenoidal(spec), windows(spec), windows(spec, 1)
    p, q = made(x), made(y)
    assert float(made.divergence(x).abs().max()) > 1
    assert float(made.divergence(p).abs().max()) < 1e-10
    assert torch.equal(p[:, 2], x[:, 2])
    torch.testing.assert_close(made(p), p, rtol=0, atol=1e-10)
    wet = torch.ones_like(x[0, 0], dtype=torch.bool) if spec.mask is None else spec.mask
    dot = [float(((a - b) * c)[:, :2].where(wet, torch.zeros(())).sum()) for a, b, c in ((x, p, q), (y, q, p))]
    assert max(map(abs, dot)) < 1e-9  # what is taken away is at right angles to all that stays, of some hundred numbers of size one


def test_the_divergence_is_that_of_the_package():
    spec = flow("closed")
    x = windows(spec)
    torch.testing.assert_close(Solenoidal(spec).divergence(x), divergence(spec)(x)[:, 0], rtol=0, atol=1e-12)
    spec = flow("open")
    expected = divergence(spec, operators=FiniteDifference(spec.grid, order=2))(x)[:, 0]
    torch.testing.assert_close(Solenoidal(spec, order=2).divergence(x), expected, rtol=0, atol=1e-12)
    spec = flow("obstacle")
    seen = FiniteDifference(spec.grid, order=4).div((spec.mask.double(),) * 2) == 0  # no jump of the mask in reach
    inside = FiniteDifference(spec.grid, order=4).div((x[:, 0], x[:, 1]))
    found = Solenoidal(spec).divergence(x)
    torch.testing.assert_close(found, torch.where(found == 0, 0.0, inside), rtol=0, atol=1e-12)
    assert bool((found[..., seen & spec.mask] != 0).all()) and int((found[0, 0] == 0).sum()) > 9


def test_closed_boxes_are_projected_as_spectral_does():
    spec = flow("closed")
    x = windows(spec)
    u, v = Spectral(spec.grid).project((x[:, 0], x[:, 1]))
    torch.testing.assert_close(Solenoidal(spec)(x)[:, :2], torch.stack([u, v], 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("case", ["closed", "obstacle"])
def test_the_divergence_of_a_known_frame_is_kept(case):
    spec = flow(case)
    made, x = Solenoidal(spec), windows(spec)
    known = windows(spec, 1)[:, :, -1:]
    kept = made(x, known)
    due = made.divergence(known)
    torch.testing.assert_close(made.divergence(kept), due.expand_as(made.divergence(x)), rtol=0, atol=1e-10)
    # nearest: what was moved is what would be of the difference
    off = x - known
    torch.testing.assert_close(kept - x, made(off) - off, rtol=0, atol=1e-10)


def test_a_mask_stays_and_so_does_the_type():
    spec = flow("obstacle")
    x = torch.where(BLOCK, windows(spec), torch.nan).float()
    made = Solenoidal(spec)
    p = made(x)
    assert p.dtype == torch.float32 and bool(p[..., ~BLOCK].isnan().all()) and bool(p[..., BLOCK].isfinite().all())
    assert float(made.divergence(p).abs().max()) < 1e-4
    zero = torch.where(BLOCK, x, torch.zeros(()))
    assert torch.equal(made(zero, x)[..., ~BLOCK], zero[..., ~BLOCK])  # known frames with NaN in the obstacle


def test_a_flow_of_samples_ends_on_it():
    spec = flow("obstacle")
    made, noise = Solenoidal(spec), windows(spec)
    end = constrained_flow(lambda x, t: -x, noise, made, steps=3)
    assert float(made.divergence(end).abs().max()) < 1e-10


def test_nonsense_is_refused():
    spec = flow("open")
    for names in (("u",), ("u", "u"), ("u", "v", "p")):
        with pytest.raises(InputError, match=r"expected 2 components \(order x, y, z\)"):
            Solenoidal(spec, names)
    with pytest.raises(InputError, match="expected one of the fields u, v, p"):
        Solenoidal(spec, ("u", "w"))
    with pytest.raises(UnitError, match="u, v in one unit, got km h-1, m s-1"):
        Solenoidal(flow("open", ("m s-1", "km h-1", "Pa")))
    earth = FieldSpec(("u", "v"), ("m s-1",) * 2, LatLonGrid(torch.linspace(58, 50, 9), torch.linspace(-10, 2, 13)), 1.0)
    with pytest.raises(InputError, match="uniform CartesianGrid"):
        Solenoidal(earth)
