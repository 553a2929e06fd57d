"""The operators of an integrator: every law's text gives the dealiased result of Spectral, and the budgets of a plane flow close."""

import math
from dataclasses import dataclass

import pytest
import torch

from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.operators.wave_operators import WaveOperators
from physdiff.pdes.allen_cahn import AllenCahn
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.korteweg_de_vries import KortewegDeVries
from physdiff.pdes.kuramoto_sivashinsky import KuramotoSivashinsky
from physdiff.pdes.navier_stokes import KolmogorovForcing, NavierStokes
from physdiff.pdes.pde import PDE
from physdiff.pdes.steady import Steady

PLANE = CartesianGrid((16, 21), extent=(1.0, 2.5))
LINE = CartesianGrid(40, extent=3.0)
BOX = CartesianGrid((8, 9, 10), extent=(1.0, 2.0, 3.0))


@dataclass(frozen=True, eq=False)
class Projected(PDE):
    """Velocity of an incompressible flow in any number of dimensions: uses project, div of products and a partial derivative."""

    fields = ("velocity_x", "velocity_y", "velocity_z")

    def nonstiff(self, u, D, t):
        v = tuple(u[name] for name in self.fields)
        force = tuple(-D.advect(v, c) + 0.1 * D.partial(c, 1, 2) for c in v)
        return dict(zip(self.fields, D.project(force), strict=True))


LAWS = {
    "flow": (NavierStokes(1e-3, forcing=KolmogorovForcing(2.0, 2 * math.pi)), PLANE),
    "carried flow": (NavierStokes(1e-3, mean_flow=(0.7, torch.tensor([0.3, -1.0, 0.0], dtype=torch.float64))), PLANE),
    "burgers": (Burgers(0.1, forcing=lambda x, y, t: torch.sin(x + t) * y), PLANE),
    "line": (Burgers(0.1), LINE),
    "chaos": (KuramotoSivashinsky(), LINE),
    "chaos, potential": (KuramotoSivashinsky(potential=True), PLANE),
    "waves": (KortewegDeVries(), LINE),
    "phases": (AllenCahn(0.1), PLANE),
    "box": (Projected(), BOX),
}


def rough(grid, name="", samples=3):
    seed = sum(map(ord, name)) + 2
    return torch.randn(samples, *grid.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def explicit(law, u, D, t=0.3):
    """The explicit part's waves, as an integrator has them."""
    return D.end(law.bound(D.ndim).explicit(D.begin({n: D.block.forward(v) for n, v in u.items()}), D, t))


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("name", LAWS)
def test_a_law_gives_what_it_gives_with_spectral(name, cut):
    law, grid = LAWS[name]
    plain = Spectral(grid, dealias=cut)
    D = WaveOperators(plain)
    u = {n: plain.dealias(rough(grid, n)) for n in law.fields}
    wanted = {n: plain.dealias(v) for n, v in law.explicit(u, plain, 0.3).items()}
    got = explicit(law, u, D)
    for n in law.fields:
        found = D.block.inverse(got[n])
        # rounding of second derivatives of the shortest wave, about 1e3 times that of the products
        torch.testing.assert_close(found.expand(wanted[n].shape), wanted[n], rtol=1e-10, atol=1e-11 * float(wanted[n].abs().max()))


@pytest.mark.parametrize("cut", [True, False])
def test_unresolved_waves_are_not_seen(cut):
    law, plain = Burgers(0.1), Spectral(LINE, dealias=cut)
    D = WaveOperators(plain)
    u = rough(LINE)
    same = torch.allclose(explicit(law, {"u": u}, D)["u"], explicit(law, {"u": Spectral(LINE).dealias(u)}, D)["u"])
    assert same is cut


def test_advection_of_vorticity_keeps_energy_and_enstrophy_to_rounding():
    law, plain = NavierStokes(0.0), Spectral(PLANE)
    D = WaveOperators(plain)
    u = plain.dealias(rough(PLANE))
    u = u - u.mean((-2, -1), keepdim=True)
    change = D.block.inverse(explicit(law, {"vorticity": u}, D)["vorticity"])
    psi = law.complete({"vorticity": u}, plain)["streamfunction"]
    for weight in (u, psi):
        # against the sum of sizes; a random field, so nothing cancels by symmetry
        share = (weight * change).sum() / (weight * change).abs().sum()
        assert abs(float(share)) < 1e-14


def test_the_form_for_vorticity_needs_four_transforms(monkeypatch):
    D = WaveOperators(Spectral(PLANE))
    counts = {"forward": 0, "inverse": 0}
    w = D.block.forward(rough(PLANE))
    for name in counts:
        real = getattr(D.block, name)

        def counted(x, name=name, real=real):
            counts[name] += x.shape[:-2].numel() // 3
            return real(x)

        monkeypatch.setattr(D.block, name, counted)
    law = NavierStokes(1e-3, forcing=Steady(lambda x, y: torch.sin(y) + 0 * x)).bound(2)
    for expected in ({"forward": 2, "inverse": 2}, {"forward": 4, "inverse": 4}):
        D.end(law.explicit(D.begin({"vorticity": w}), D, 0.0))
        assert counts == expected  # the steady forcing has a single sample, which does not count here


def test_steady_values_are_kept_and_those_with_gradients_are_not():
    D, calls = WaveOperators(Spectral(PLANE)), []
    like = rough(PLANE)
    scale = torch.tensor(2.0, dtype=torch.float64)

    def force(x, y):
        calls.append(1)
        return scale * torch.sin(y)

    steady = Steady(force)
    assert D.steady(steady, 0.0, like) is D.steady(steady, 1.0, like)
    assert len(calls) == 1
    torch.testing.assert_close(D.steady(steady, 0.0, like.float()), steady(*D.coordinates_as(like.float()), 0.0))
    scale.requires_grad_()
    other = Steady(force)
    assert D.steady(other, 0.0, like) is not D.steady(other, 0.0, like)
