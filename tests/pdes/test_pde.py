"""The abstract law: what it derives, binds, refuses."""

from dataclasses import dataclass

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError, UnsupportedOperator
from physdiff.base.saved import build, describe
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.navier_stokes import KolmogorovForcing, NavierStokes
from physdiff.pdes.pde import PDE, space_mean

GRID = CartesianGrid((6, 10), extent=(1.5, 2.0))


def field(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Spreading(PDE):
    diffusivity: float
    rate: float
    fields = ("c",)

    def stiff(self, u, D):
        return {"c": self.diffusivity * D.lap(u["c"])}

    def nonstiff(self, u, D, t):
        return {"c": self.rate * u["c"] * (1 - u["c"])}


@dataclass(frozen=True, eq=False)
class Transport(PDE):
    speed: float
    fields = ("h",)

    def flux(self, u, D, t):
        return {"h": (self.speed * u["h"], 0.5 * self.speed * u["h"])}


def test_right_hand_side_is_the_sum_of_both_parts():
    D, c = Spectral(GRID), field(2, 6, 10)
    law = Spreading(0.1, 2.0)
    torch.testing.assert_close(law.rhs({"c": c}, D, 0.0)["c"], 0.1 * D.lap(c) + 2 * c * (1 - c))
    torch.testing.assert_close(law.explicit({"c": c}, D, 0.0)["c"], 2 * c * (1 - c))


def test_a_flux_alone_is_a_law():
    D, h = Spectral(GRID), field(2, 6, 10)
    torch.testing.assert_close(Transport(3.0).rhs({"h": h}, D, 0.0)["h"], -D.div((3.0 * h, 1.5 * h)))


def test_a_law_without_text_or_fields_is_refused_when_it_is_written():
    with pytest.raises(InputError, match="expected a method stiff, nonstiff, flux or production"):
        type("Empty", (PDE,), {"fields": ("c",)})
    with pytest.raises(InputError, match="expected `fields"):
        type("Nameless", (PDE,), {"stiff": lambda self, u, D: u})


def test_a_batch_of_parameters_is_a_loop_over_single_laws():
    D, w = Spectral(GRID), field(3, 6, 10)
    nu, drag, strength = torch.tensor([0.1, 0.2, 0.4]), torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, -1.0, 3.0])
    together = NavierStokes(nu.double(), drag.double(), KolmogorovForcing(strength.double(), 4.0), mean_flow=(0.5, nu.double()))
    assert together.batch == 3
    for i in range(3):
        single = NavierStokes(float(nu[i]), float(drag[i]), KolmogorovForcing(float(strength[i]), 4.0), mean_flow=(0.5, float(nu[i])))
        assert single.batch == 1
        # rounding: the parameters pass through float32 once
        torch.testing.assert_close(
            together.rhs({"vorticity": w}, D, 0.0)["vorticity"][i], single.rhs({"vorticity": w[i : i + 1]}, D, 0.0)["vorticity"][0]
        )


def test_binding_twice_is_binding_once_and_binding_numbers_is_nothing():
    law = Burgers(torch.tensor([0.1, 0.2]))
    once = law.bound(2)
    assert once.viscosity.shape == (2, 1, 1)
    assert once.bound(2) is once
    assert law.viscosity.shape == (2,)
    plain = Burgers(0.1)
    assert plain.bound(2) is plain


def test_parameters_take_the_precision_of_the_fields():
    law = Burgers(torch.tensor([0.1, 0.2], dtype=torch.float64))
    u = field(2, 6, 10).float()
    assert law.rhs({"u": u}, Spectral(GRID), 0.0)["u"].dtype == torch.float32
    assert law.viscosity.dtype == torch.float64


def test_parameters_for_two_batches_are_refused():
    law = NavierStokes(torch.tensor([0.1, 0.2]), torch.tensor([0.1, 0.2, 0.3]))
    with pytest.raises(ShapeError, match=r"one number of samples, got \[2, 3\]"):
        _ = law.batch


def test_residual_is_time_derivative_less_right_hand_side_and_takes_constraints_only_with_diagnostics():
    D, w = Spectral(GRID, dt=0.1), field(2, 5, 6, 10)
    law = NavierStokes(0.1)
    alone = law.residual({"vorticity": w}, D, 0.0)
    assert set(alone) == {"vorticity"}
    torch.testing.assert_close(alone["vorticity"], D.dt(w) - law.rhs({"vorticity": w}, D, 0.0)["vorticity"])
    psi = field(2, 5, 6, 10, seed=1)
    both = law.residual({"vorticity": w, "streamfunction": psi}, D, 0.0)
    torch.testing.assert_close(both["streamfunction"], D.lap(psi) + w)


def test_given_diagnostics_need_no_solver_and_missing_ones_do():
    D = FiniteDifference(GRID)
    w, psi = field(1, 6, 10), field(1, 6, 10, seed=1)
    gx, gy = D.grad(psi)
    got = NavierStokes(0.0).explicit({"vorticity": w, "streamfunction": psi}, D, 0.0)["vorticity"]
    torch.testing.assert_close(got, -D.advect((gy, -gx), w))
    with pytest.raises(UnsupportedOperator, match="inv_lap"):
        NavierStokes(0.0).explicit({"vorticity": w}, D, 0.0)


def test_missing_field_is_named():
    with pytest.raises(InputError, match="expected the fields u; got v, missing u"):
        Burgers(0.1).rhs({"v": field(1, 6, 10)}, Spectral(GRID), 0.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Burgers(-0.1),
        lambda: Burgers(float("nan")),
        lambda: Burgers(torch.tensor([0.1, -0.1])),
        lambda: Burgers("0.1"),
        lambda: Burgers(True),
        lambda: NavierStokes(0.1, drag=-1.0),
        lambda: NavierStokes(0.1, mean_flow=(1.0,)),
        lambda: AdvectionDiffusion(-1.0, (0.0,)),
        lambda: AdvectionDiffusion(1.0, 0.5),
        lambda: AdvectionDiffusion(1.0, (0.5, float("inf"))),
        lambda: AdvectionDiffusion(1.0, (0.5,), reaction=float("nan")),
        lambda: KolmogorovForcing(1.0, 0.0),
    ],
)
def test_bad_parameters_are_refused(make):
    with pytest.raises(InputError, match="expected"):
        make()


def test_a_field_as_parameter_is_refused():
    with pytest.raises(ShapeError, match="is a function of"):
        Burgers(torch.ones(3, 4))


def test_a_law_is_described_and_built_again():
    law = NavierStokes(torch.tensor([0.1, 0.2]), 0.1, KolmogorovForcing(2.0, 4.0))
    again = build(describe(law))
    w = field(2, 6, 10)
    D = Spectral(GRID)
    assert torch.equal(again.rhs({"vorticity": w}, D, 0.0)["vorticity"], law.rhs({"vorticity": w}, D, 0.0)["vorticity"])


def test_space_mean_is_the_weighted_mean():
    f = field(2, 3, 6, 10)
    torch.testing.assert_close(space_mean(f, GRID), f.mean((-2, -1)))


def test_a_law_with_other_parameters_is_checked_again():
    law = Spreading(0.1, 2.0).with_parameters(rate=3.0)
    assert (law.diffusivity, law.rate) == (0.1, 3.0) and [f.name for f in law.parameter_fields()] == ["diffusivity", "rate"]
    with pytest.raises(InputError, match="viscosity"):
        Burgers(0.1).with_parameters(viscosity=-1.0)


def test_a_rate_under_another_name_is_told():
    @dataclass(frozen=True, eq=False)
    class Misspelt(PDE):
        fields = ("u", "v")

        def nonstiff(self, u, D, t):
            return {"U": u["u"], "v": u["v"]}

    @dataclass(frozen=True, eq=False)
    class Forgetful(PDE):
        fields = ("u", "v")

        def production(self, u, D, t):
            return {"u": u["u"]}

    u = {"u": field(1, 6, 10), "v": field(1, 6, 10)}
    with pytest.raises(InputError, match=r"Misspelt.nonstiff: expected a rate of each field \(u, v\), got U, v; return torch.zeros_like"):
        Misspelt().explicit(u, Spectral(GRID), 0.0)
    with pytest.raises(InputError, match="Forgetful.production: expected a rate of each field"):
        Forgetful().rhs(u, Spectral(GRID), 0.0)
