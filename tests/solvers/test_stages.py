"""What Runge-Kutta methods share: the stability function against steps of the test equation, checks in words."""

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.solvers.implicit import CRANK_NICOLSON, SDIRK3
from physdiff.solvers.runge_kutta import RK4
from physdiff.solvers.stages import check_stages, moved, stability


@pytest.mark.parametrize("tableau", [RK4, SDIRK3, CRANK_NICOLSON], ids=lambda t: t.name)
def test_stability_is_the_formula_of_butcher(tableau):
    """R = det(I - z A + z 1 b^T) / det(I - z A)."""
    n = len(tableau.b)
    a = torch.zeros(n, n, dtype=torch.complex128)
    for i, row in enumerate(tableau.a):
        a[i, : len(row)] = torch.tensor(row, dtype=torch.complex128)
    one, b = torch.eye(n, dtype=torch.complex128), torch.tensor(tableau.b, dtype=torch.complex128)
    for z in (0.3 + 0.4j, -2.0 + 0j, 1.5j):  # det by det: rounding
        want = torch.linalg.det(one - z * a + z * torch.outer(torch.ones(n, dtype=torch.complex128), b)) / torch.linalg.det(one - z * a)
        assert abs(complex(stability(tableau.a, tableau.b, torch.tensor(z, dtype=torch.complex128))) - complex(want)) < 1e-13


def test_a_weight_beyond_the_slopes_is_left_out():
    u, slopes = {"a": torch.ones(2)}, [{"a": torch.tensor([1.0, 2.0])}]
    assert torch.equal(moved(u, 0.5, (2.0, 7.0), slopes=slopes)["a"], torch.tensor([2.0, 3.0]))
    assert u["a"].sum() == 2


@pytest.mark.parametrize(
    ("a", "b", "implicit", "said"),
    [
        (((), (0.5,)), (1.0,), False, "expected row i of `a` with i entries and as many rows as `b`"),
        (((0.5,),), (1.0,), False, "with i entries"),
        (((),), (1.0,), True, "with i \\+ 1 entries, the last at least zero,"),
        (((-0.5,),), (1.0,), True, "the last at least zero"),
        (((),), (0.5,), False, "weights b that sum to 1"),
    ],
)
def test_checks(a, b, implicit, said):
    with pytest.raises(InputError, match=f"mine: .*{said}"):
        check_stages("mine", a, b, implicit=implicit)
