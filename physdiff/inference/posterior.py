r"""The target: prior times likelihood, $p(x \mid y) \propto p(x \mid \text{cond}) \prod_j p(y_j \mid x)$."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from itertools import chain

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.inference.ensemble import Ensemble
from physdiff.inference.observation import Observation

__all__ = ["Posterior", "PosteriorSampler"]


class Posterior:
    """A prior and what was observed.

    Args:
        prior: Distribution of windows.
        observations: One or several; each in physical units.
        cond: Condition window (1, C', T, *S) of the prior, if it has one.

    Attributes:
        calls: Number of windows that the operators have read so far.

    Raises:
        InputError: If there is no observation, the condition has a batch, or an operator reads other fields or numbers of frames than the
            prior draws.
        GridMismatch: If an operator is for another grid or time step than the prior's.
    """

    def __init__(self, prior: DiffusionPrior, observations: Observation | tuple[Observation, ...], cond: Tensor | None = None) -> None:
        if not isinstance(prior, DiffusionPrior):
            why = getattr(prior, "no_posterior", "it is no prior of windows")
            raise InputError(f"Posterior: expected a DiffusionPrior, got {type(prior).__name__}: {why}; train one with process 'diffusion'")
        self.prior = prior
        self.observations = (observations,) if isinstance(observations, Observation) else tuple(observations)
        if not self.observations:
            raise InputError("Posterior: expected at least one observation, got none; sample the prior instead")
        if cond is not None and cond.shape[0] != 1:
            raise InputError(f"Posterior: expected one condition window (1, ...), got batch {cond.shape[0]}; make one posterior for each")
        for o in self.observations:
            spec, what = o.operator.spec, f"Posterior: {type(o.operator).__name__}"
            if spec is not None and spec is not prior.spec:
                prior.check_grid(spec, what)
                if spec.frames != prior.spec.frames:
                    raise InputError(f"{what}: expected windows of {prior.spec.frames} frames, got {spec.frames}; build it with the prior's spec")
        self.calls = 0
        self.completed = prior.complete(None if cond is None else cond.to(self.state))

    @property
    def state(self) -> Tensor:
        """An empty tensor with the dtype (float32 at least) and the device in which the prior's coefficients are sampled."""
        module = self.prior.denoiser
        first = next((p for p in chain(module.parameters(), module.buffers()) if p.is_floating_point()), torch.zeros(()))
        dtype = first.dtype if first.dtype in (torch.float32, torch.float64) else torch.float32
        return torch.empty((), dtype=dtype, device=first.device)

    def check_differentiable(self, what: str) -> None:
        """Raise InputError if an operator says that it has no gradient.

        Args:
            what: Who needs one, for the message.
        """
        boxes = [type(o.operator).__name__ for o in self.observations if not o.operator.differentiable]
        if boxes:
            takers = "TemperedSMC or AnnealedSMC(guidance=0) (BootstrapSMC)"
            raise InputError(f"{what}: expected operators that torch can differentiate, got {', '.join(boxes)}; use {takers}, which need no gradient")

    def decode(self, z: Tensor) -> Tensor:
        """Coefficients to physical windows, on the data's own units; the only place where a posterior leaves coefficients."""
        return self.prior.decode(z, self.completed)

    def log_likelihood(self, x: Tensor, *, on_the_way: bool = False) -> Tensor:
        """Sum of the observations' log likelihoods of windows (B, C, T, *S), (B,), float64.

        Args:
            x: Windows in physical units.
            on_the_way: Whether they are states between noise and data, for which a law of the noise that cannot be (negative counts) is continued.
        """
        extra = torch.zeros((), dtype=torch.float64, device=x.device) if on_the_way else None
        self.calls += len(x)
        return torch.stack([o.log_prob(x, extra) for o in self.observations]).sum(0)

    def begin(self) -> tuple[float, int]:
        """Time and calls at the start of a run, for `cost`."""
        return time.monotonic(), self.calls

    def cost(self, begun: tuple[float, int], particles: int) -> dict[str, Tensor]:
        """What every sampler reports of a run since `begin`: ``operator_calls`` of the operators for each of so many particles, and ``seconds``."""
        moment, calls = begun
        each = torch.tensor((self.calls - calls) / particles, dtype=torch.float64)
        return {"operator_calls": each, "seconds": torch.tensor(time.monotonic() - moment, dtype=torch.float64)}


class PosteriorSampler(ABC):
    """Abstract method that draws from a posterior."""

    @abstractmethod
    def sample(self, posterior: Posterior, n: int, *, rng: Rng) -> Ensemble:
        """Draw n members; the ensemble reports its own quality and cost in `info`.

        Every sampler: ``ess`` (*k), effective sizes along the way, in particles; ``nfe`` and ``operator_calls``, evaluations of the network and of
        the operators per member, particle or chain; ``seconds``. Where there are such: ``log_evidence``, ``acceptance``, ``gradient_calls``.
        """
