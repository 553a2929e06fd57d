"""Log weights: formulas against plain sums, invariances, dead particles, worded collapse."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import CollapsedWeights, ShapeError
from physdiff.base.rng import Rng
from physdiff.inference.weights import LogWeights

LIKE = torch.zeros((), dtype=torch.float64)


def test_the_formulas_are_the_plain_sums() -> None:
    w, g = Rng(0).uniform((3, 7), like=LIKE), Rng(1).uniform((3, 7), like=LIKE)
    logs = LogWeights(w.log())
    share = w / w.sum(1, keepdim=True)
    torch.testing.assert_close(logs.normalised, share)
    torch.testing.assert_close(logs.ess, 1 / (share**2).sum(1))
    torch.testing.assert_close(logs.log_mean, w.mean(1).log())
    torch.testing.assert_close(logs.times(g.log()).values, (w * g).log())
    torch.testing.assert_close(logs.log_ratio(g.log()), (share * g).sum(1).log())
    torch.testing.assert_close(logs.cess(g.log()), 7 * (share * g).sum(1) ** 2 / (share * g**2).sum(1))


def test_a_constant_changes_nothing_but_the_evidence() -> None:
    """Weights of exp(-800) underflow in float64; their logarithms do not. 1e-12: 800 carries rounding of 1e-13."""
    values = Rng(0).normal((50,), like=LIKE)
    plain, far = LogWeights(values), LogWeights(values - 800)
    torch.testing.assert_close(plain.normalised, far.normalised, rtol=1e-12, atol=0)
    torch.testing.assert_close(plain.ess, far.ess, rtol=1e-12, atol=0)
    assert math.isclose(float(plain.log_mean - far.log_mean), 800, rel_tol=1e-14)


def test_equal_increments_leave_a_full_conditional_size() -> None:
    logs = LogWeights(3 * Rng(0).normal((40,), like=LIKE))
    assert math.isclose(float(logs.cess(torch.full((40,), -3.0))), 40, rel_tol=1e-12)
    assert math.isclose(float(LogWeights.equal((2, 40)).ess[1]), 40, rel_tol=1e-12)


def test_single_precision_becomes_double_and_nothing_changes_in_place() -> None:
    values = torch.zeros(4)
    logs = LogWeights(values)
    assert logs.values.dtype == torch.float64
    after = logs.times(torch.tensor([0.0, 1.0, 2.0, 3.0]))
    assert bool((logs.values == 0).all()) and after.values.tolist() == [0, 1, 2, 3]
    with pytest.raises(AttributeError):
        logs.values = values  # type: ignore[misc]


def test_dead_particles_stay_dead_and_do_not_spoil_the_sums() -> None:
    logs = LogWeights(torch.tensor([0.0, -torch.inf, 0.0])).times(torch.tensor([1.0, torch.nan, 1.0]))
    assert logs.values.tolist() == [1, -math.inf, 1]
    assert float(logs.ess) == pytest.approx(2)
    assert float(logs.cess(torch.tensor([0.5, torch.inf, 0.5]))) == pytest.approx(3)
    assert float(logs.log_ratio(torch.tensor([-torch.inf, 0.0, 0.0]))) == pytest.approx(math.log(0.5))


@pytest.mark.parametrize(
    ("values", "got"),
    [
        ([0.0, math.nan], "NaN or inf at 1 of 2"),
        ([0.0, math.inf], "NaN or inf at 1 of 2"),
        ([-math.inf, -math.inf], "zero weights only"),
    ],
)
def test_collapse_says_what_to_do(values, got) -> None:
    with pytest.raises(CollapsedWeights, match=f"{got}; raise the noise std or temper"):
        LogWeights(torch.tensor(values))


def test_one_collapsed_population_of_a_batch_is_an_error() -> None:
    with pytest.raises(CollapsedWeights):
        LogWeights(torch.tensor([[0.0, 0.0], [-torch.inf, -torch.inf]]))
    with pytest.raises(CollapsedWeights):
        LogWeights.equal((2,)).times(torch.tensor([0.0, torch.nan]))


def test_shapes_are_checked() -> None:
    with pytest.raises(ShapeError, match=r"expected \(\.\.\., particles\)"):
        LogWeights(torch.tensor(0.0))
    with pytest.raises(ShapeError, match="expected increments of shape"):
        LogWeights.equal((3,)).times(torch.zeros(2))
