r"""SWAG: a Gaussian through the iterates of stochastic gradient descent at a constant rate, for networks of any kind of layers.

Of T iterates $\theta_t$ after the descent has settled, with running means $\bar\theta_t$ and the last K deviations $D = (\theta_t - \bar\theta_t)$,

$$\theta = \bar\theta + \tfrac{1}{\sqrt 2}\,\mathrm{diag}(\sigma)\,z_1 + \frac{1}{\sqrt{2(K-1)}}\,D\,z_2, \qquad
  \sigma^2 = \overline{\theta^2} - \bar\theta^2,$$

so that the covariance is half diagonal, half of rank K. It is that of the iterates, not of a posterior: near a minimum with Hessian H, gradient noise
S and rate $\eta$ theirs solves $H\Sigma + \Sigma H - \eta H\Sigma H = \eta S$, and only the choice of rate and batch makes it that of the posterior.
Take the iterates far enough apart (an epoch). Maddox, Garipov, Izmailov, Vetrov and Wilson, A simple baseline for Bayesian uncertainty in deep
learning, 2019; Mandt, Hoffman and Blei, Stochastic gradient descent as approximate Bayesian inference, 2017.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from physdiff.base.checks import check_positive
from physdiff.base.errors import Diverged, InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.uq.weight_draws import WeightDraws, trainable

__all__ = ["IterateGaussian", "descent_iterates", "swag"]


@dataclass(frozen=True, eq=False)
class IterateGaussian:
    """Moments of weights along a descent.

    Args:
        module: The network or problem; its weights are not touched.
        mean: (P,).
        variance: (P,), of each weight.
        deviations: (K, P), the last ones, each from the mean of those before and itself.
    """

    module: nn.Module
    mean: Tensor
    variance: Tensor
    deviations: Tensor

    def draw(self, n: int, *, rng: Rng, scale: float = 1.0) -> WeightDraws:
        """Draw n weight vectors.

        Args:
            n: Number of draws.
            rng: Randomness.
            scale: Factor of all standard deviations, 1 as in the paper, 0 for the mean.

        Raises:
            InputError: If n is below 1 or the scale is negative.
        """
        if n < 1 or not scale >= 0:
            raise InputError(f"IterateGaussian: expected n >= 1 draws and a scale of at least zero, got {n} and {scale}")
        K, P = self.deviations.shape
        across = rng.child("diagonal").normal((n, P), like=self.mean) * (0.5 * self.variance).sqrt()
        along = rng.child("deviations").normal((n, K), like=self.mean) @ self.deviations / math.sqrt(2 * (K - 1))
        return WeightDraws(self.module, self.mean + scale * (across + along))

    def covariance(self) -> Tensor:
        """Of the draws, (P, P)."""
        return 0.5 * (torch.diag(self.variance) + self.deviations.mT @ self.deviations / (len(self.deviations) - 1))


def swag(module: nn.Module, iterates: Iterable[Tensor], *, rank: int = 20) -> IterateGaussian:
    """The Gaussian of iterates, one vector kept for each of the last `rank`.

    Args:
        module: What the weights are of.
        iterates: Weight vectors (P,), as `descent_iterates` gives them or from a training of your own; two at least.
        rank: K, at least 2.

    Raises:
        InputError: If there are less than two iterates or the rank is below 2.
        ShapeError: If an iterate has not as many numbers as the module's trainable parameters.
    """
    if rank < 2:
        raise InputError(f"swag: expected a rank of 2 at least, got {rank}")
    total = sum(p.numel() for p in trainable(module))
    mean, squares = torch.zeros(()), torch.zeros(())
    last: deque[Tensor] = deque(maxlen=rank)
    count = 0
    for theta in iterates:
        if theta.shape != (total,):
            raise ShapeError(f"swag: expected iterates of {total} weights, got {tuple(theta.shape)}; freeze the same parameters")
        theta, count = theta.detach(), count + 1
        before = mean
        mean = before + (theta - before) / count
        # Welford's sum: the mean of squares less the square of the mean cancels
        squares = squares + (theta - before) * (theta - mean)
        last.append(theta - mean)
    if count < 2:
        raise InputError(f"swag: expected two iterates or more, got {count}")
    return IterateGaussian(module, mean, squares / count, torch.stack(tuple(last)))


def descent_iterates(
    module: nn.Module, loss: Callable[[int], Tensor], *, steps: int, every: int, rate: float, momentum: float = 0.0
) -> Iterator[Tensor]:
    """Go on by stochastic gradient descent at a constant rate, and yield the weights now and then; the module is changed.

    Args:
        module: Trained.
        loss: Function of the step, of a batch or of points drawn anew, with gradients to the module.
        steps: Number of steps.
        every: Steps between iterates.
        rate: Learning rate.
        momentum: Of SGD.

    Raises:
        InputError: If a number makes no sense.
        Diverged: If the loss is not finite.
    """
    check_positive(rate, "descent_iterates rate")
    if steps < 1 or every < 1:
        raise InputError(f"descent_iterates: expected steps and every of at least 1, got {steps} and {every}")
    parameters = trainable(module)
    optimiser = torch.optim.SGD(parameters, lr=rate, momentum=momentum)
    for step in range(steps):
        optimiser.zero_grad()
        value = loss(step)
        if not bool(value.isfinite()):
            raise Diverged("loss of descent_iterates", float(step), "lower the rate")
        value.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if (step + 1) % every == 0:
            yield nn.utils.parameters_to_vector(parameters).detach().clone()
