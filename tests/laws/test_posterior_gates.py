"""Samplers that claim exactness against exact posteriors: distance, mode weights, moments and evidence within 4 standard errors of some runs.

Targets and figures are those of `posterior_gates`. A standard error that is large proves nothing: it has a bound too. What DDPM's steps add to
evidence and weights is allowed for as `bias`.
"""

from __future__ import annotations

from physdiff.inference.twisted_smc import TwistedSMC
from tests.laws.posterior_gates import Gate, measured, modes


def check(found: Gate, *, bias: float, error: float) -> None:
    """Evidence and weights within 4 standard errors and a bias; the distance within 4 of its own and the bias's share of it.

    Args:
        found: What runs gave.
        bias: Of evidence and weights, by the prior's steps.
        error: Largest standard error of the evidence that still says something.
    """
    assert found.ratio_error < error, found
    assert abs(found.ratio - 1) < 4 * found.ratio_error + bias, found
    assert found.shares < 4 or found.worst < bias, found
    # pointwise in the distribution functions of all slices
    assert found.distance < 4 * found.distance_error + bias, found


def test_twenty_five_modes_in_the_plane() -> None:
    method = TwistedSMC(steps=60, through_network=False, max_batch=500)
    check(measured(modes(2, 1, 0.5, 1), method, n=500, runs=3), bias=0.05, error=0.1)
