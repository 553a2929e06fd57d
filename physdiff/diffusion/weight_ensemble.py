r"""Members that are networks of their own: one prior with many vectors of weights.

Deep ensembles, SWAG, Laplace's Gaussian and chains on weights all give M vectors $\theta_m$ of the trainable weights of one network. Draw number k
is a draw of the prior with $\theta_{k \bmod M}$,

$$ p(x \mid c) = \frac1M \sum_m p(x \mid c, \theta_m), $$

and keeps it through all blocks of a forecast: it is one model's trajectory. What is rolled out, scored, saved or calibrated does not know the
difference to any other prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.base.saved import describe
from physdiff.diffusion.window_prior import WindowPrior

__all__ = ["WeightEnsemble", "borrow"]


class WeightEnsemble(WindowPrior):
    """A prior (deterministic or not) with many weights.

    Args:
        prior: Gives everything but the weights of its network.
        weights: (M, P), each as `torch.nn.utils.parameters_to_vector` orders the trainable parameters of ``prior.model``.

    Raises:
        ShapeError: If the vectors have another length than the parameters.
        InputError: If a weight is not finite.
    """

    no_posterior: ClassVar[str] = "it is many networks, each with a denoiser of its own; condition them one by one"

    def __init__(self, prior: WindowPrior, weights: Tensor) -> None:
        super().__init__()
        total = sum(p.numel() for p in _trainable(prior.model))
        if weights.ndim != 2 or not len(weights) or weights.shape[1] != total:
            raise ShapeError(f"WeightEnsemble: expected weights (M, {total}), M >= 1, got {tuple(weights.shape)}; freeze the same ones")
        if not bool(weights.isfinite().all()):
            raise InputError(f"WeightEnsemble: expected finite weights, got {int((~weights.isfinite()).sum())} that are not")
        self.prior, self.weights = prior, weights.detach()
        borrow(self, prior)

    @classmethod
    def of(cls, priors: Sequence[WindowPrior]) -> Self:
        """The deep ensemble of priors trained alike, on the same data from other first weights.

        Raises:
            InputError: If there are less than two, or they differ in more than the trainable weights of their networks.
        """
        if len(priors) < 2:
            raise InputError(f"WeightEnsemble.of: expected two priors or more, got {len(priors)}")
        first = _fixed(priors[0])
        for k, prior in enumerate(priors[1:], start=1):
            other = _fixed(prior)
            odd = [name for name in first.keys() | other.keys() if not _same(first.get(name), other.get(name))]
            if odd:
                raise InputError(
                    f"WeightEnsemble.of: expected priors that differ in the weights of their networks alone, got another {sorted(odd)[0]} "
                    f"in number {k}; train all on the same data with the same choices, and other seeds"
                )
        rows = [nn.utils.parameters_to_vector(_trainable(p.model)).detach() for p in priors]
        return cls(priors[0], torch.stack([r.to(rows[0]) for r in rows]))

    @property
    def model(self) -> nn.Module:
        """The network, with the weights of the prior."""
        return self.prior.model

    def base(self, completed: Tensor | None) -> Tensor | None:
        """That of the prior."""
        return self.prior.base(completed)

    def draw(self, noise: Tensor, completed: Tensor | None, *, rng: Rng) -> Tensor:
        """See `WindowPrior.draw`; row i with the weights number i."""
        return self._drawn(noise, completed, rng=rng, numbers=range(len(noise)))

    def _drawn(self, noise: Tensor, completed: Tensor | None, *, rng: Rng, numbers: Sequence[int]) -> Tensor:
        parameters = _trainable(self.prior.model)
        before = nn.utils.parameters_to_vector(parameters).detach().clone()
        chosen = torch.tensor([k % len(self.weights) for k in numbers])
        out = torch.empty_like(noise)
        try:
            for k in chosen.unique().tolist():
                rows = (chosen == k).nonzero()[:, 0].tolist()
                nn.utils.vector_to_parameters(self.weights[k].to(before), parameters)
                known = completed if completed is None or len(completed) == 1 else completed[rows]
                out[rows] = self.prior.draw(noise[rows], known, rng=rng.only(rows))
        finally:
            nn.utils.vector_to_parameters(before, parameters)
        return out


def borrow(wrapper: WindowPrior, prior: WindowPrior) -> None:
    """Give a prior around another one its parts, none of which becomes a part of the wrapper's own state."""
    for name in ("transform", "spec", "cond_transform", "cond_spec", "steps"):
        object.__setattr__(wrapper, name, getattr(prior, name))


def _trainable(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]


def _fixed(prior: WindowPrior) -> dict[str, object]:
    """All that a prior is but the trainable weights of its network."""
    tensors: dict[str, Tensor] = {}
    found: dict[str, object] = {"description": describe(prior, tensors)}
    learned = {id(p) for p in _trainable(prior.model)}
    found.update({name: v for name, v in prior.state_dict(keep_vars=True).items() if id(v) not in learned})
    return found | {f"argument {name}": v for name, v in tensors.items()}


def _same(a: object, b: object) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and bool(torch.equal(a.detach().cpu(), b.detach().cpu()))
    return a == b
