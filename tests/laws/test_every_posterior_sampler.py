"""Every method of ``physdiff infer`` reports of its run under the same names, and counts what the operators were asked."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from physdiff.base.rng import Rng
from physdiff.cli.infer import METHODS
from physdiff.diffusion.samplers.heun import Heun
from physdiff.inference.observation import Observation, Operator
from physdiff.inference.posterior import Posterior
from tests.inference.test_feynman_kac import plane

# what a run of each is about besides what all report
EVIDENCE = {"FKC", "AFDPS", "BootstrapSMC", "TwistedSMC", "TemperedSMC"}
ACCEPTANCE = {"TemperedSMC", "HMC", "NUTS"}


class Counted(Operator):
    """The sum of a window and its difference, and how many windows it has read."""

    def __init__(self) -> None:
        self.windows = 0

    def __call__(self, x: Tensor) -> Tensor:
        self.windows += len(x)
        return x.flatten(1) @ x.new_tensor([[1.0, 1.0], [1.0, -1.0]])


@pytest.mark.parametrize("name", sorted(METHODS))
def test_what_a_run_reports(name) -> None:
    operator, n = Counted(), 64
    prior = plane().posterior(sampler=Heun(), steps=4).prior
    posterior = Posterior(prior, Observation(operator, torch.tensor([0.5, -0.5], dtype=torch.float64), std=0.7))
    method = METHODS[name](steps=4)
    for setting, few in (("warmup", 2), ("draws", 16), ("depth", 2), ("length", 2)):  # chains are long
        if hasattr(method, setting):
            setattr(method, setting, few)
    run = method.sample(posterior, n, rng=Rng(0))
    info = run.info
    assert {"ess", "nfe", "operator_calls", "seconds"} <= set(info), sorted(info)
    assert ("log_evidence" in info) >= (name in EVIDENCE) and ("acceptance" in info) >= (name in ACCEPTANCE)
    assert info["ess"].ndim == 1 and bool((info["ess"] >= 1 - 1e-9).all())
    assert float(info["nfe"]) >= 1 and float(info["operator_calls"]) > 0 and float(info["seconds"]) > 0
    for key in ("nfe", "operator_calls", "seconds", "log_evidence"):
        assert key not in info or info[key].numel() == 1
    if name in EVIDENCE | ACCEPTANCE:  # the others count updates, or products with derivatives too
        carriers = method.chains if name in ("HMC", "NUTS") else n
        assert float(info["operator_calls"]) * carriers == pytest.approx(operator.windows)
