"""A recorded step is the step to the last bit, for every length, with and without the explicit part of the step before."""

import pytest
import torch

from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.navier_stokes import KolmogorovForcing, NavierStokes
from physdiff.solvers.etdrk import ETDRK2, ETDRK4, StrehmelWeiner

PLANE = CartesianGrid((12, 16), extent=(1.0, 1.5))
CASES = {
    "line": (Burgers(0.05), CartesianGrid(32, extent=2.0)),
    "plane": (NavierStokes(torch.tensor([0.01, 0.03]), forcing=KolmogorovForcing(2.0, 6.0)), PLANE),
    "two fields": (Burgers(0.05), PLANE),
}


def steppers(kind, name, dtype):
    """The same stepper twice, without and with recordings, and a state."""
    law, grid = CASES[name]
    plain, replayed = (kind(law, Spectral(grid)) for _ in range(2))
    plain._form._replays = False
    u = {n: torch.randn(2, *grid.shape, dtype=dtype, generator=torch.Generator().manual_seed(1)) for n in law.fields}
    return plain, replayed, plain.enter(u)


@pytest.mark.parametrize("kind", [ETDRK2, ETDRK4, StrehmelWeiner])
@pytest.mark.parametrize("name", CASES)
def test_one_recording_serves_every_length_to_the_last_bit(kind, name):
    plain, replayed, state = steppers(kind, name, torch.float32)
    for i, dt in enumerate((0.01, 0.02, 0.005, 0.03, 0.011)):
        got, wanted = (s.advance(state, 0.1 * i, dt) for s in (replayed, plain))
        assert all(torch.equal(got[n], wanted[n]) for n in wanted), i
        state = wanted
    assert [trials for made, trials in replayed._step._replay._found.values() if made is not None] == [0]


@pytest.mark.parametrize("kind", [ETDRK2, ETDRK4, StrehmelWeiner])
def test_steps_that_watch_their_error_too(kind):
    plain, replayed, start = steppers(kind, "plane", torch.float64)
    states = [start, start]
    for dt in (0.002, 0.004, 0.004, 0.003, 0.002, 0.002):
        (one, e), (other, f) = (s.advance_with_error(v, 0.0, dt) for s, v in zip((replayed, plain), states, strict=True))
        torch.testing.assert_close(one["vorticity"], other["vorticity"], rtol=0, atol=0)
        torch.testing.assert_close(one.slopes["vorticity"], other.slopes["vorticity"], rtol=0, atol=0)
        torch.testing.assert_close(e, f, rtol=1e-12, atol=0)
        states = [one, other]
    # the first step has no explicit part from before: a list of its own
    assert [trials for made, trials in replayed._watched_step._replay._found.values() if made is not None][-1] == 0


def test_two_states_of_one_stepper_do_not_share_results():
    _, replayed, state = steppers(ETDRK4, "line", torch.float64)
    for _ in range(4):
        first = replayed.advance(state, 0.0, 0.01)
    kept = {n: v.clone() for n, v in first.items()}
    replayed.advance({n: 2 * v for n, v in state.items()}, 0.0, 0.01)
    assert all(torch.equal(first[n], kept[n]) for n in kept)
