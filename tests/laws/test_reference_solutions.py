"""Solutions that others computed and published with their networks: our residual, our solver and our coefficients on them.

The files hold 512 points and 201 or 251 frames (data card: residuals 7e-8, 5e-7 and 1.5e-4 with differences of fourth order in time). A time
derivative of eighth order shows that this is the frames' interval, not the files: the fields obey our semi-discrete laws much further.
"""

import pytest
import torch

from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.pdes.allen_cahn import AllenCahn
from physdiff.pdes.korteweg_de_vries import KortewegDeVries
from physdiff.pdes.kuramoto_sivashinsky import KuramotoSivashinsky
from physdiff.pdes.residual import residual_scale, window_residual
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.solve import solve

xr = pytest.importorskip("xarray")

# law, extent, largest residual with time differences of order 4 and of order 8, as shares of the largest term
CASES = {
    "allen_cahn_periodic_nu1e-4": (AllenCahn(1e-4, 5.0), 2.0, 1e-7, 2e-11),
    "kdv_cos_L2": (KortewegDeVries(1.0, 0.0025), 2.0, 1e-6, 1e-9),
    "ks_L20": (KuramotoSivashinsky(), 20.0, 2e-4, 3e-6),
}


@pytest.fixture(scope="module", params=CASES)
def solution(request, shared_data):
    """Law, grid, times, fields (time, x) without a repeated end point, and the two shares."""
    law, extent, *shares = CASES[request.param]
    with xr.open_dataset(shared_data / "pde" / f"{request.param}.nc") as ds:
        u, x, t = (torch.tensor(ds[name].values) for name in ("u", "x", "t"))
    if abs(float(x[-1] - x[0]) - extent) < 1e-9:
        assert torch.equal(u[:, 0], u[:, -1])
        u, x = u[:, :-1], x[:-1]
    grid = CartesianGrid(u.shape[1], extent=extent, origin=float(x[0]))
    torch.testing.assert_close(grid.axes()[0], x)
    return law, grid, t, u, shares


def rms(f):
    return float(f.square().mean().sqrt())


def inner(f):
    """Without the first and last eight frames: initial values have kinks at the seam, and the time difference is one-sided there."""
    return f[..., 8:-8, :]


def slope_in_time(u, t, order):
    line = CartesianGrid(len(t), extent=float(t[1] - t[0]) * len(t), periodic=False)
    return FiniteDifference(line, order=order).partial(u.T.contiguous(), 0).T


def test_residual_of_the_stored_solution(solution):
    law, grid, t, u, (share, _) = solution
    ops = Spectral(grid, dt=float(t[1] - t[0]))
    left, scale = window_residual(law, {"u": u[None]}, ops)["u"], residual_scale(law, {"u": u[None]}, ops)["u"]
    size = rms(inner(left)) / rms(inner(ops.dt(u[None])))
    print(f"{type(law).__name__}: residual {size:.1e} of the rate of change, {rms(left) / float(scale):.1e} of the largest term")
    assert size < share and rms(left) / float(scale) < 8 * share


def test_residual_with_a_finer_time_difference(solution):
    law, grid, t, u, (_, share) = solution
    rate = slope_in_time(u, t, 8)
    left = rms(inner(rate - law.rhs({"u": u}, Spectral(grid), 0.0)["u"])) / rms(inner(rate))
    print(f"{type(law).__name__}: residual {left:.1e} of the rate of change")
    assert left < share


@pytest.mark.parametrize("order", [4, 8])
def test_coefficients_by_least_squares(solution, order):
    law, grid, t, u, shares = solution
    D, f = Spectral(grid), u
    (slope,) = D.grad(f)
    bend = D.lap(f)
    terms, wanted = {
        AllenCahn: ((bend, f, f**3), (1e-4, 5.0, -5.0)),
        KortewegDeVries: ((f * slope, D.lap(slope)), (-1.0, -0.0025)),
        KuramotoSivashinsky: ((f * slope, bend, D.lap(bend)), (-1.0, -1.0, -1.0)),
    }[type(law)]
    columns = torch.stack([inner(term).reshape(-1) for term in terms], dim=1)
    size = columns.square().mean(0).sqrt()
    found = torch.linalg.lstsq(columns / size, inner(slope_in_time(u, t, order)).reshape(-1, 1)).solution[:, 0] / size
    print(type(law).__name__, *(f"{float(v):.9g}" for v in found))
    # the share of the rate of change that the law leaves, a few times over
    assert float((found / torch.tensor(wanted, dtype=torch.float64) - 1).abs().max()) < 5 * shares[order == 8]


@pytest.mark.parametrize("frame", [20, 100])
def test_our_solver_goes_from_their_first_frame_to_a_later_one(solution, frame):
    law, grid, t, u, _ = solution
    # steps of 0.005, 0.00125 and 0.05; the walls of Allen-Cahn need all waves of this grid
    steps, tolerance = {AllenCahn: (1, 5e-9), KortewegDeVries: (4, 1e-7), KuramotoSivashinsky: (4, 5e-6)}[type(law)]
    found = solve(ETDRK4(law, Spectral(grid, dealias=False)), {"u": u[:1]}, t[[0, frame]], substeps=steps * frame)["u"][0, -1]
    error = float((found - u[frame]).abs().max())
    print(f"{type(law).__name__}: t = {float(t[frame]):g}, largest error {error:.1e}")
    assert error < tolerance
