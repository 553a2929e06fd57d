"""Law and known values at points: residuals against reverse mode, coefficients, contradictions."""

import math

import pytest
import torch

from physdiff.base.errors import Diverged, InputError, ShapeError
from physdiff.networks.mlp import MLP
from physdiff.operators.autograd import Autograd
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.incompressible import IncompressibleFlow
from physdiff.pinn.collocated import Collocated, Known, Matched
from physdiff.pinn.coordinate_net import CoordinateNet

FLOW = ("velocity_x", "velocity_y", "pressure")
POINTS = torch.rand(12, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def net(names=("u",), d=2):
    torch.manual_seed(0)
    return CoordinateNet(MLP(d, len(names), width=6, depth=2), names, lower=(0.0,) * d, upper=(1.0,) * d).double()


def known(values, points=POINTS, **options):
    return Known(points, {"u": torch.as_tensor(values, dtype=torch.float64).expand(len(points))}, **options)


def test_residuals_are_those_of_reverse_mode_and_scaled_to_a_mean():
    field, law = net(), Burgers(0.05)
    problem = Collocated(field, law, [known(0.5, POINTS[:4], weight=9.0, scale=0.5)], weight=4.0)
    x, t = (column.clone().requires_grad_() for column in POINTS.unbind(-1))
    wanted = law.residual({"u": field(torch.stack((x, t), dim=-1))[:, 0]}, Autograd((x,), t), t)["u"]
    torch.testing.assert_close(problem.law_residuals(POINTS)["u"], wanted)
    data = 9 * ((field(POINTS[:4])[:, 0] - 0.5) / 0.5).square().mean()
    torch.testing.assert_close(problem(POINTS), 4 * wanted.square().mean() + data)


def test_unknown_coefficients_are_trained_and_keep_their_sign():
    problem = Collocated(net(), Burgers(0.05), unknown=("viscosity",))
    assert float(problem.coefficients()["viscosity"].detach()) == pytest.approx(0.05)
    problem(POINTS).backward()
    assert problem.theta["viscosity"].grad is not None and float(problem.theta["viscosity"].grad) != 0
    with torch.no_grad():
        problem.theta["viscosity"].copy_(torch.tensor(-3.0))
    assert float(problem.current_law().viscosity.detach()) == pytest.approx(0.05 * math.exp(-3))
    with pytest.raises(InputError, match="expected numbers of Burgers, got forcing"):
        Collocated(net(), Burgers(0.05), unknown=("forcing",))


def test_diagnostics_that_the_network_lacks_are_named():
    with pytest.raises(InputError, match="add pressure"):
        Collocated(net(("velocity_x", "velocity_y"), d=3), IncompressibleFlow(viscosity=0.1))
    with pytest.raises(InputError, match="known values of velocity_x, velocity_y, pressure, got T"):
        Collocated(net(FLOW, d=3), IncompressibleFlow(viscosity=0.1), [Known(torch.rand(2, 3), {"T": torch.rand(2)})])


def test_conditions_that_contradict_each_other_are_refused():
    corner = torch.tensor([[0.0, 0.0]], dtype=torch.float64)
    with pytest.raises(InputError, match=r"contradict each other, u = 1 and 0 at \[0.0, 0.0\]"):
        Collocated(net(), Burgers(0.1), [known(1.0, corner), known(0.0, corner)])
    Collocated(net(), Burgers(0.1), [known(1.0, corner), known(1.0, corner)])
    Collocated(net(), Burgers(0.1), [known(1.0, corner, exact=False), known(0.0, corner)])  # a reading beside a condition
    # sin(pi) beside a wall at zero: rounding is measured by the field's size, wherever it is met
    ends = torch.tensor([[0.5, 0.0], [0.0, 0.0]], dtype=torch.float64)
    start = Known(ends, {"u": torch.tensor([1.0, 1.2e-16], dtype=torch.float64)})
    Collocated(net(), Burgers(0.1), [start, known(0.0, corner)])


def test_contradictions_across_a_closed_axis_a_pair_and_a_reading():
    left, right = torch.tensor([[0.0, 0.4]], dtype=torch.float64), torch.tensor([[1.0, 0.4]], dtype=torch.float64)
    closed = CoordinateNet(MLP(3, 1, width=4, depth=1), ("u",), lower=(0.0, 0.0), upper=(1.0, 1.0), periodic=(True, False)).double()
    with pytest.raises(InputError, match="contradict each other, u = 1 and 0 at"):
        Collocated(closed, Burgers(0.1), [known(1.0, left), known(0.0, right)])
    Collocated(net(), Burgers(0.1), [known(1.0, left), known(0.0, right)])  # two walls
    with pytest.raises(InputError, match="u = 1 at .* and 0 at its partner in a Matched; drop the pair"):
        Collocated(net(), Burgers(0.1), [known(1.0, left), known(0.0, right), Matched(left, right)])
    Collocated(net(), Burgers(0.1), [known(1.0, left), known(0.0, right), Matched(left, right, "slope")])
    near = left + 1e-15
    with pytest.raises(InputError, match="a reading of 0.5 with standard deviation 0.01 at .*; drop one"):
        Collocated(net(), Burgers(0.1), [known(1.0, left), known(0.5, near, scale=0.01)])
    Collocated(net(), Burgers(0.1), [known(1.0, left), known(0.95, near, scale=0.01)])


def test_known_values_outside_of_the_box_are_refused():
    late = torch.tensor([[0.2, 0.5], [0.1, 1.5]], dtype=torch.float64)
    with pytest.raises(InputError, match=r"in the network's box, \[0.0, 0.0\] to \[1.0, 1.0\], got one at \[0.1, 1.5\]; drop it"):
        Collocated(net(), Burgers(0.1), [known(0.0, late)])
    with pytest.raises(ShapeError, match="with 2 columns"):
        Collocated(net(), Burgers(0.1), [known(0.0, torch.zeros(1, 3, dtype=torch.float64))])


def test_a_residual_that_is_not_finite_says_where():
    law = Burgers(0.1, forcing=lambda x, t: 1 / (x - 0.5))
    points = torch.tensor([[0.25, 0.1], [0.5, 0.75]], dtype=torch.float64)
    with pytest.raises(Diverged, match=r"`residual of u` is not finite at x = 0.5 at time 0.75: the network has u = \S+ there; look at what the law"):
        Collocated(net(), law).law_residuals(points)
    lost = net()
    for p in lost.parameters():
        torch.nn.init.constant_(p, torch.inf)
    with pytest.raises(Diverged, match="at x = 0.25 at time 0.1: the network itself has u = nan there; lower the learning rate"):
        Collocated(lost, Burgers(0.1)).law_residuals(points)


def test_known_values_are_checked():
    with pytest.raises(ShapeError, match=r"values \(n,\)"):
        Known(POINTS, {"u": torch.zeros(3)})
    with pytest.raises(InputError, match="above zero"):
        known(0.0, scale=0.0)
    with pytest.raises(InputError, match="expected finite values, got 12"):
        known(float("nan"))


def test_places_that_are_alike_against_reverse_mode():
    field, law = net(), Burgers(0.05)
    one, other = POINTS[:5], POINTS[5:10]

    def there(points):
        x, t = (c.clone().requires_grad_() for c in points.unbind(-1))
        u = field(torch.stack((x, t), dim=-1))[:, 0]
        slopes = torch.autograd.grad(u.sum(), (x, t), create_graph=True)
        return u, slopes, law.residual({"u": u}, Autograd((x,), t), t)["u"]

    (u, du, r), (v, dv, s) = there(one), there(other)
    terms = Collocated(field, law, [Matched(one, other, what, 4.0) for what in ("value", "slope", "residual")]).known_terms()
    wanted = {"matched 0 u": u - v, "matched 1 u slope 0": du[0] - dv[0], "matched 1 u slope 1": du[1] - dv[1], "matched 2 u": r - s}
    assert list(terms) == list(wanted)
    for name, left in wanted.items():
        torch.testing.assert_close(terms[name], left * math.sqrt(4 / 5))


def test_pairs_are_checked():
    with pytest.raises(ShapeError, match="two sets"):
        Matched(POINTS, POINTS[:3])
    with pytest.raises(InputError, match="slope"):
        Matched(POINTS, POINTS, "slop")
    with pytest.raises(InputError, match="above zero"):
        Matched(POINTS, POINTS, weight=0.0)


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_no_coefficient_has_the_name_of_a_formula(name):
    """Their names head the columns of looks.csv, which a table program may open."""
    net = CoordinateNet(MLP(2, 1, width=4, depth=1), ("u",), lower=(0, 0), upper=(1, 1)).double()
    with pytest.raises(InputError, match="expected numbers of Burgers"):
        Collocated(net, Burgers(viscosity=0.1), [], unknown=(name,))


def test_known_points_in_one_pass_are_those_one_by_one():
    sets = [torch.rand(n, 2, generator=torch.Generator().manual_seed(n), dtype=torch.float64) for n in (3, 5, 4)]
    values = [{name: torch.linspace(0, 1, len(x)).double() for name in names} for x, names in zip(sets, ("u", "bu", "b"), strict=True)]
    parts = [Known(x, v) for x, v in zip(sets, values, strict=True)]
    problem = Collocated(net(("u", "b")), Burgers(0.05), parts)
    one, apart = problem.known_terms(joined=True), problem.known_terms()
    assert list(one) == list(apart) and [len(r) for r in apart.values()] == [3, 5, 5, 4]
    torch.testing.assert_close(one, apart)
