"""Fokker-Planck by tensors in the plane: exact processes, equilibria, orders, positivity, refusals."""

import math

import pytest
import torch

from physdiff.base.errors import GridMismatch, InputError, ShapeError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.exact_diffusion import OrnsteinUhlenbeck
from physdiff.pdes.fokker_planck import FokkerPlanck
from physdiff.solvers.chang_cooper import ChangCooper
from physdiff.solvers.markov_chain import MarkovChain
from physdiff.solvers.solve import solve

F64 = torch.float64
# turns as it is pulled in: the steady state has a current
TURNING = OrnsteinUhlenbeck(((1.0, 2.0), (-1.5, 0.8)), ((0.5, 0.2), (0.2, 0.3)), (0.8, -0.5), ((0.1, 0.02), (0.02, 0.08)))
TWO_PI = 2 * math.pi


def box(n, size=4.0):
    return CartesianGrid((n, n + n // 10), extent=(2 * size, 2.2 * size), origin=(-size, -1.1 * size), periodic=False)


def distance(p, q, grid):
    return float((p - q).abs().sum() * math.prod(grid.spacing))


def orders(errors):
    return [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]


def steady_gaussian(process, grid):
    x = torch.stack(grid.coordinates(), dim=-1)
    sigma = process.steady_covariance()
    return torch.exp(-(x * torch.linalg.solve(sigma, x[..., None])[..., 0]).sum(-1) / 2) / (2 * math.pi * torch.linalg.det(sigma).sqrt())


def test_steady_state_and_motion_of_a_process_that_turns():
    law, steady, moved = FokkerPlanck(TURNING.drift, TURNING.diffusion), [], []
    for n in (20, 40, 80):
        grid = box(n)
        chain, (x, y) = MarkovChain(law, grid), grid.coordinates()
        steady.append(distance(chain.steady(x)[0], steady_gaussian(TURNING, grid), grid))
        start = {"density": TURNING.density(x, y, 0.0)[None]}
        end = solve(chain, start, torch.tensor([0.0, 0.5]), substeps=1)["density"][0, -1]
        moved.append(distance(end, TURNING.density(x, y, 0.5), grid))
        assert float(end.min()) >= 0 and abs(float((end - start["density"][0]).sum() * math.prod(grid.spacing))) < 1e-13
    assert abs(orders(steady)[-1] - 2) < 0.15 and abs(orders(moved)[-1] - 2) < 0.15, (steady, moved)
    assert steady[-1] < 0.012 and moved[-1] < 0.016, (steady, moved)


def test_diagonal_tensors_agree_with_chang_and_cooper_and_both_with_the_exact_gaussian():
    process = OrnsteinUhlenbeck(((1.0, 2.0), (-1.5, 0.8)), (0.5, 0.3), (0.0, 0.0), ((0.1, 0.0), (0.0, 0.1)))
    law, errors = FokkerPlanck(process.drift, process.diffusion), []
    for n in (20, 40):
        grid = box(n)
        like = torch.zeros(())
        sweeps, chain = ChangCooper(law, grid).steady(like), MarkovChain(law, grid).steady(like)
        assert float((sweeps - chain).abs().max()) < 1e-12  # the same rates, from other formulas
        errors.append(distance(sweeps[0], steady_gaussian(process, grid), grid))
    assert abs(orders(errors)[0] - 2) < 0.25 and errors[-1] < 0.05, errors


def test_equilibrium_of_a_gradient_is_kept_to_rounding():
    """A = -D grad phi with one constant D: p = e^-phi, whatever the cells."""
    (a, b, c), grid = (0.5, -0.35, 0.4), CartesianGrid((12, 15), extent=(3.0, 4.0), origin=(-1.6, -1.7), periodic=False)

    def slopes(x, y):
        return x**3 - x + 0.4 * y, 1.4 * y + 0.4 * x

    drift = (lambda x, y, t: -(a * slopes(x, y)[0] + b * slopes(x, y)[1]), lambda x, y, t: -(b * slopes(x, y)[0] + c * slopes(x, y)[1]))
    law = FokkerPlanck(drift, ((a, b), (b, c)))
    x, y = grid.coordinates()
    exact = torch.exp(-(x**4 / 4 - x**2 / 2 + 0.4 * x * y + 0.7 * y**2))
    exact = exact / (exact.sum() * math.prod(grid.spacing))
    chain = MarkovChain(law, grid)
    # rounding times the number of cells on the way
    assert float((chain.steady(x)[0] / exact - 1).abs().max()) < 1e-12
    assert float((chain.step({"density": exact[None]}, 0.0, 3.0)["density"][0] / exact - 1).abs().max()) < 1e-12


def varying():
    """A tensor whose axes turn by place, with phi = sin x + cos(x + y) at equilibrium and a current along its level lines."""

    def entry(i, j):
        def value(x, y, t):
            angle = 0.7 * torch.sin(x + y) + 0.9
            n = (torch.cos(angle), torch.sin(angle))
            return (0.1 if i == j else 0.0) + 0.5 * n[i] * n[j]

        return value

    across = entry(0, 1)
    rows = ((entry(0, 0), across), (across, entry(1, 1)))

    def drift(i):
        def value(x, y, t):
            with torch.enable_grad():
                x, y = x.detach().requires_grad_(), y.detach().requires_grad_()
                phi = torch.sin(x) + torch.cos(x + y)
                slope = torch.autograd.grad(phi.sum(), (x, y))
                spread = [torch.autograd.grad((rows[i][j](x, y, t)).sum(), (x, y))[j] for j in range(2)]
            turning = 0.8 * (slope[1] if i == 0 else -slope[0])  # e^-phi times it has no divergence
            return (sum(spread) - sum(rows[i][j](x, y, t) * slope[j] for j in range(2)) + turning).detach()

        return value

    return FokkerPlanck((drift(0), drift(1)), rows)


def test_a_tensor_that_turns_from_place_to_place():
    law, errors = varying(), []
    for n in (16, 32, 64):
        grid = CartesianGrid((n, n), extent=TWO_PI)
        x, y = grid.coordinates()
        exact = torch.exp(-(torch.sin(x) + torch.cos(x + y)))
        exact = exact / (exact.sum() * math.prod(grid.spacing))
        errors.append(distance(MarkovChain(law, grid).steady(x)[0], exact, grid))
    assert abs(orders(errors)[-1] - 2) < 0.25 and errors[-1] < 0.02, errors


def test_noise_in_the_velocity_alone():
    """Klein and Kramers: the place feels no noise, so its drift is upwind, of first order."""
    process = OrnsteinUhlenbeck(((0.0, -1.0), (1.0, 0.7)), ((0.0, 0.0), (0.0, 0.35)), (0.5, 0.0), ((0.2, 0.0), (0.0, 0.2)))
    law, errors = FokkerPlanck(process.drift, process.diffusion), []
    for n in (40, 80):
        grid = box(n)
        errors.append(distance(MarkovChain(law, grid).steady(torch.zeros(()))[0], steady_gaussian(process, grid), grid))
    assert 0.7 < orders(errors)[0] < 1.2, errors


def test_coefficients_in_time_are_of_second_order_and_samples_have_their_own():
    grid, mean = box(20, 3.0), torch.tensor([0.5, 1.0], dtype=F64)
    law = FokkerPlanck((lambda x, y, t: torch.cos(4 * torch.as_tensor(t)) - x, lambda x, y, t: -y), ((0.3, 0.1 * mean), (0.1 * mean, 0.3)))
    x, y = grid.coordinates()
    start = {"density": torch.exp(-(x**2 + y**2) * 2).expand(2, -1, -1).contiguous()}
    ends = [solve(MarkovChain(law, grid), start, torch.tensor([0.0, 1.0], dtype=F64), substeps=n)["density"][:, -1] for n in (4, 8, 16)]
    assert abs(orders([float((a - b).abs().max()) for a, b in zip(ends, ends[1:], strict=False)])[0] - 2) < 0.25
    alone = FokkerPlanck(law.drift, ((0.3, 0.1), (0.1, 0.3)))
    one = solve(MarkovChain(alone, grid), {"density": start["density"][1:]}, torch.tensor([0.0, 1.0], dtype=F64), substeps=4)["density"][0, -1]
    torch.testing.assert_close(one, ends[0][1])


def test_loss_and_source_close_the_budget():
    grid = CartesianGrid((10, 12), extent=(2.0, 3.0), periodic=False)
    law = FokkerPlanck((0.3, -0.2), ((0.2, 0.1), (0.1, 0.2)), loss=0.5, source=lambda x, y, t: 1 + 0.3 * x)
    p = torch.ones(1, 10, 12, dtype=F64)
    end = MarkovChain(law, grid).step({"density": p}, 0.0, 2.0)["density"]
    fed = 1 + 0.3 * grid.coordinates()[0].mean()
    assert abs(float(end.mean() - (math.exp(-1.0) + fed * (1 - math.exp(-1.0)) / 0.5))) < 1e-13


def test_gradients_of_a_step_and_of_the_steady_state():
    grid = CartesianGrid((4, 4), extent=2.0, origin=-1.0, periodic=False)
    p = torch.rand(1, 4, 4, dtype=F64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    d = torch.tensor(0.1, dtype=F64, requires_grad=True)

    def chain(d):
        return MarkovChain(FokkerPlanck((lambda x, y, t: y - x, lambda x, y, t: -x - y), ((0.3, d), (d, 0.2))), grid)

    assert torch.autograd.gradcheck(lambda p, d: chain(d).step({"density": p}, 0.0, 0.3)["density"], (p, d), fast_mode=True)
    assert torch.autograd.gradcheck(lambda d: chain(d).steady(d), (d,))


@pytest.mark.parametrize(
    ("law", "error", "said"),
    [
        (((0.0, 0.0), ((0.1, lambda x, y, t: 0.3 + 0 * x), (lambda x, y, t: 0.3 + 0 * x, 0.1))), InputError, "expected a symmetric matrix"),
        (((0.0, 0.0), ((0.1, 0.3), (0.3, 0.1))), InputError, "expected a matrix without negative eigenvalues"),
        (((0.0, 0.0), ((0.1, 0.3), (0.2, 0.1))), InputError, "expected a symmetric matrix"),
        (((0.0, 0.0), ((0.1, 0.0),)), ShapeError, "expected 2 entries"),
    ],
)
def test_the_law_refuses_bad_tensors(law, error, said):
    with pytest.raises((error, ShapeError), match=f"{said}|expected 2"):
        FokkerPlanck(*law)


def test_the_chain_refuses_what_it_cannot_do():
    grid, p = box(10), {"density": torch.ones(1, 10, 11, dtype=F64)}
    off = lambda x, y, t: 0.3 + 0 * x  # noqa: E731 - an entry that is a function
    with pytest.raises(InputError, match="without negative eigenvalues in every cell, got one in row 0, column 0"):
        MarkovChain(FokkerPlanck((0.0, 0.0), ((0.1, off), (off, 0.1))), grid).step(p, 0.0, 0.1)
    with pytest.raises(InputError, match="expected jumps of at most 9 cells, got a diffusion so uneven"):
        MarkovChain(FokkerPlanck((0.0, 0.0), ((1.0, 0.6180339), (0.6180339, 0.3819661))), grid).step(p, 0.0, 0.1)
    with pytest.raises(InputError, match="density of at least zero"):
        MarkovChain(FokkerPlanck((0.0, 0.0), 0.1), grid).step({"density": -p["density"]}, 0.0, 0.1)
    with pytest.raises(InputError, match="drift along x with finite values"):
        MarkovChain(FokkerPlanck((lambda x, y, t: 1 / (0 * x), 0.0), 0.1), grid).step(p, 0.0, 0.1)
    with pytest.raises(InputError, match="neither loss nor source"):
        MarkovChain(FokkerPlanck((0.0, 0.0), 0.1, loss=1.0), grid).steady(p["density"])
    with pytest.raises(ShapeError, match="ChangCooper takes lines"):
        MarkovChain(FokkerPlanck((0.0,), 0.1), CartesianGrid(8))
    with pytest.raises(GridMismatch, match="uniform CartesianGrid"):
        MarkovChain(FokkerPlanck((0.0, 0.0), 0.1), CartesianGrid((2, 2), points=(torch.tensor([0.0, 1.0]),) * 2, periodic=False))
    with pytest.raises(InputError, match="expected a FokkerPlanck law"):
        MarkovChain(Burgers(0.1), grid)
    with pytest.raises(InputError, match="use MarkovChain"):
        ChangCooper(FokkerPlanck((0.0, 0.0), ((0.1, 0.0), (0.0, 0.1))), grid)
