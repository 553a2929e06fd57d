"""The target: what it checks, what it decodes, sums of likelihoods."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import GridMismatch, InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import DiagonalCovariance
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.exact import plain_prior
from physdiff.inference.observation import Observation
from physdiff.inference.posterior import Posterior, PosteriorSampler
from physdiff.inference.sensors import Sensors

SPEC = FieldSpec(("u",), ("K",), CartesianGrid((3, 4), periodic=False), 60.0, 2)
POINTS = torch.tensor([[0.5, 0.5], [0.2, 0.8]])


def prior(dtype=torch.float32):
    ones = torch.ones(SPEC.shape, dtype=dtype)
    return plain_prior(GaussianDenoiser(EDMSchedule(), 0 * ones, DiagonalCovariance(ones)), SPEC)


def observation(spec: FieldSpec = SPEC, **arguments) -> Observation:
    return Observation(Sensors(spec, POINTS, **arguments), y=1.0, std=0.5)


def test_likelihoods_of_several_observations_add_up() -> None:
    x = Rng(1).normal((3, *SPEC.shape), like=torch.zeros(()).double())
    parts = observation(frames=(0,)), observation(frames=(1,))
    whole = Posterior(prior(), observation()).log_likelihood(x)
    torch.testing.assert_close(Posterior(prior(), parts).log_likelihood(x), whole, rtol=1e-13, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_state_is_as_wide_as_the_prior(dtype) -> None:
    assert Posterior(prior(dtype), observation()).state.dtype == dtype


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (FieldSpec(("u",), ("K",), CartesianGrid((3, 5), periodic=False), 60.0, 2), GridMismatch, "Sensors: expected CartesianGrid with y 3"),
        (FieldSpec(("u",), ("degC",), SPEC.grid, 60.0, 2), InputError, "Posterior: Sensors: expected the fields {'u': 'K'}, got {'u': 'degC'}"),
        (FieldSpec(("u",), ("K",), SPEC.grid, 30.0, 2), GridMismatch, "expected a time step of 60 s, got 30 s"),
        (FieldSpec(("u",), ("K",), SPEC.grid, 60.0, 3), InputError, "expected windows of 2 frames, got 3"),
    ],
    ids=["grid", "unit", "time step", "frames"],
)
def test_operators_for_other_windows_are_refused(spec, error, message) -> None:
    with pytest.raises(error, match=message):
        Posterior(prior(), observation(spec))


def test_worded_errors() -> None:
    with pytest.raises(InputError, match="at least one observation, got none; sample the prior"):
        Posterior(prior(), ())
    with pytest.raises(InputError, match="one condition window"):
        Posterior(prior(), observation(), torch.zeros(2, 1, 2, 3, 4))
    with pytest.raises(InputError, match="unconditional"):
        Posterior(prior(), observation(), torch.zeros(1, 1, 2, 3, 4))
    with pytest.raises(TypeError, match="abstract"):
        PosteriorSampler()
