r"""Hamiltonian chains on the weights of a network of the coordinates (B-PINN), coefficients of the law with them.

$$\log \pi(\theta) = -\tfrac12 \sum_i d_i(\theta)^2 - \tfrac{1}{2 s^2}|\theta|^2$$

Each chain first climbs from the weights it is given to the mode $\hat\theta$ near them and moves in $z$, $\theta = \hat\theta + L^{-\mathsf T} z$,
$H = L L^\mathsf T$ the Gauss-Newton Hessian there: directions, whose scales differ by many orders in weights, are alike in z, and where deviations
are linear $\pi$ is a standard normal law of z. It starts at a draw of that law, drawn towards the mode by halves until it is as probable as such a
draw should be. Where the posterior bends, the Hessian at the mode is that of no other place: in the first half of the warm-up z is made anew three
times, around the mean of what was seen, with the mean Hessian over it (by Stein's identity the covariance of the slope of a whole posterior).

Chains that start from trainings of their own stand at other weights that may be the same fields (hidden units can change places and signs), and
never meet in weights: R-hat of the weights says nothing of what is asked. `function_rhat` takes it of the fields. Yang, Meng and Karniadakis,
B-PINNs, 2021; Neal, Bayesian learning for neural networks, 1996; Izmailov, Vikram, Hoffman and Wilson, What are Bayesian neural network posteriors
really like?, 2021 (R-hat in function space); Papamarkou, Hinkle, Young and Womble, Challenges in Markov chain Monte Carlo for Bayesian neural
networks, 2022 (symmetries).
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from physdiff.base.checks import check_one_of, check_positive
from physdiff.base.errors import Diverged, InputError
from physdiff.base.rng import Rng
from physdiff.inference.chains import run_chains
from physdiff.inference.hamiltonian import Point, hmc_move, nuts_move
from physdiff.inference.mixing import bulk_size, split_rhat, tail_size
from physdiff.pinn.collocated import Collocated
from physdiff.pinn.coordinate_net import CoordinateNet
from physdiff.uq.laplace import weight_laplace
from physdiff.uq.weight_draws import WeightDraws, trainable

__all__ = ["function_rhat", "weight_chains"]

log = logging.getLogger(__name__)

_CHAINS = 4
_MOST_WEIGHTS = 5000  # a matrix of their square is kept
_CLIMBS, _CLIMB_STEPS = 2, 100
_RENEWED = (8, 8, 4)  # parts of the warm-up after which z is made anew
_LEAST_RENEWED = 40  # moves of warm-up for that
_SEEN = 16  # states whose Hessians are averaged
_ACCEPTANCE = 0.9  # steps that suit where the posterior bends most


def weight_chains(
    module: nn.Module | Sequence[nn.Module],
    deviations: Callable[[Any], Sequence[Tensor]],
    n: int,
    *,
    rng: Rng,
    prior_std: float = 1.0,
    method: str = "nuts",
    length: int = 64,
    warmup: int = 100,
) -> WeightDraws:
    """Draw n weight vectors by chains of HMC or NUTS around trained weights.

    Args:
        module: Trained, from which four chains start; or several trainings of one architecture, each the start of one chain. Float64. A network of
            the coordinates or a problem of one, its parameters those of linear layers and numbers; or any other network, as ``prior.model`` of a
            forecaster (with the deviations of an `OperatorTask`), whose z are its weights over the prior's s.
        deviations: Function of the module that gives terms in units of their standard deviations, as `deviations` of a problem.
        n: Number of draws, taken evenly from at least as many of each chain as are needed for it.
        rng: Randomness.
        prior_std: s, of every weight.
        method: ``"nuts"`` or ``"hmc"``.
        length: Steps of a trajectory: their mean with hmc, half the most with nuts.
        warmup: Moves of each chain that find step size, mass and, from 40 on, the coordinates z, and are dropped.

    Returns:
        Draws; `info`: ``rhat``, ``ess_bulk``, ``ess_tail`` (worst over weights and log density), ``acceptance``, ``divergences``, ``gradient_calls``,
        ``chain``, the number of each draw's chain, and ``below_mode``, how far the log density of the later half of the draws lies below the mode's,
        over P/2 for P weights: one where deviations are linear (a chi-squared law), somewhat less on a bent posterior. Chains that are still on their
        way from the mode have a small share that grows with more draws, and are too narrow though R-hat may be good.

    Raises:
        InputError: If a number makes no sense, trainings differ in architecture, or as `weight_laplace`.
    """
    modules, each = (list(module), 1) if isinstance(module, Sequence) else ([module], _CHAINS)
    _check(modules, n, method=method, length=length)
    move = partial(nuts_move, depth=length.bit_length()) if method == "nuts" else partial(hmc_move, length=length)
    chains, images, values, runs, below, more_gradients = each * len(modules), [], [], [], [], []
    draws = max(4, -(-n // chains))
    for k, one in enumerate(modules):
        key = rng.child("chains", k)
        target = _Target(one, deviations, check_positive(prior_std, "weight_chains prior_std"))
        start = target.near(key.child("start").normal((each, len(target.centre)), like=target.centre))
        start, left, spent = _renewed(target, start, move, warmup=warmup, rng=key)
        runs.append(run_chains(target, start, move, draws=draws, warmup=left, acceptance=_ACCEPTANCE, rng=key, what="weight_chains"))
        more_gradients.append(spent)
        images.append(runs[-1].images)
        values.append(runs[-1].values)
        below.append(target.below(values[-1][:, draws // 2 :]))
    theta = torch.cat(images)
    worst = _worst(torch.cat([torch.cat(values)[..., None], theta], -1))
    if each > 1 and float(worst["rhat"]) > 1.1:
        said = "weight_chains: chains have not mixed (R-hat %.2f, 1 is mixed; of fields see function_rhat); more warm-up and draws"
        log.warning(said, float(worst["rhat"]))
    flat = theta.transpose(0, 1).flatten(0, 1)
    which = ((torch.arange(n, dtype=torch.float64) + 0.5) * len(flat) / n).floor().long()
    gradients = (torch.cat([r.gradients for r in runs]).sum() + torch.stack(more_gradients).sum()).round().long()
    counts = {"divergences": torch.tensor(sum(r.divergences for r in runs)), "gradient_calls": gradients}
    more = {"acceptance": torch.stack([r.acceptance for r in runs]).mean(), "below_mode": torch.stack(below).mean()}
    return WeightDraws(modules[0], flat[which], {**worst, **more, **counts, "chain": which % chains})


def _renewed(target: _Target, start: Tensor, move: Callable[..., Any], *, warmup: int, rng: Rng) -> tuple[Tensor, int, Tensor]:
    """Make z anew in the first half of a warm-up; where chains stand, the moves that are left, and the gradients taken."""
    left, spent = warmup, torch.zeros(())
    if warmup >= _LEAST_RENEWED and target.whitened:
        for j, part in enumerate(warmup // share for share in _RENEWED):
            seen = run_chains(target, start, move, draws=part - part // 2, warmup=part // 2, rng=rng.child("renewed", j), what="weight_chains")
            start, left, spent = target.renewed(seen.images), left - part, spent + seen.gradients.sum()
    return start, left, spent


def function_rhat(draws: WeightDraws, points: Tensor) -> dict[str, Tensor]:
    """R-hat of the fields at points (n, d), each (n,): whether chains agree about what is asked, wherever their weights are.

    Raises:
        InputError: If the draws are not of `weight_chains`, or not equally many, four at least, of each of two chains or more.
    """
    chain = draws.info.get("chain")
    count = torch.zeros(0) if chain is None else torch.bincount(chain)
    if chain is None or len(count) < 2 or int(count.min()) < 4 or int(count.min()) < int(count.max()):
        got = "no chains" if chain is None else f"{count.tolist()} draws of chains"
        wanted = "four draws or more of each of two chains, equally many"
        raise InputError(f"function_rhat: expected {wanted}, got {got}; draw a multiple of the chains' number")
    order = chain.argsort(stable=True)
    return {name: split_rhat(v[order].unflatten(0, (len(count), -1))) for name, v in draws.fields(points).items()}


def _worst(x: Tensor) -> dict[str, Tensor]:
    worst = {"rhat": split_rhat(x).nan_to_num(0.0).amax(), "ess_bulk": bulk_size(x).nan_to_num(torch.inf).amin()}
    return {**worst, "ess_tail": tail_size(x).nan_to_num(torch.inf).amin()}


def _check(modules: Sequence[nn.Module], n: int, *, method: str, length: int) -> None:
    check_one_of(method, ("hmc", "nuts"), "weight_chains method")
    if n < 1 or length < 1 or not modules:
        raise InputError(f"weight_chains: expected n >= 1 draws, length >= 1 and a module or more, got {n}, {length} and {len(modules)} modules")
    shapes = [[tuple(p.shape) for p in trainable(m)] for m in modules]
    if any(s != shapes[0] for s in shapes):
        other = next(s for s in shapes if s != shapes[0])
        raise InputError(f"weight_chains: expected trainings of one architecture, got parameters {shapes[0]} and {other}")
    total = sum(p.numel() for p in trainable(modules[0]))
    if total > _MOST_WEIGHTS:
        raise InputError(f"weight_chains: expected a small network, at most {_MOST_WEIGHTS} trainable weights, got {total}; freeze some")
    if any(trainable(m)[0].dtype != torch.float64 for m in modules):
        raise InputError("weight_chains: expected float64 weights, got others; call `module.double()` first")


class _Target:
    """Log density of z with its gradient, chain by chain; the image is the weights."""

    def __init__(
        self, module: nn.Module, deviations: Callable[[Any], Sequence[Tensor]], prior_std: float
    ) -> None:
        self.twin, self.deviations, self.precision = copy.deepcopy(module), deviations, 1 / prior_std**2
        self.parameters = trainable(self.twin)
        self._whiten(prior_std)
        for _ in range(_CLIMBS):
            self.centre = self._image(self._climbed()[None])[0]
            self._whiten(prior_std)
        self.top, self.prior_std = self._one(self.centre)[0], prior_std

    def _whiten(self, prior_std: float) -> None:
        """Coordinates around the centre, which is where the weights are at first."""
        if hasattr(self, "centre"):
            with torch.no_grad():
                nn.utils.vector_to_parameters(self.centre, self.parameters)
        if not self.whitened:
            self.centre = nn.utils.parameters_to_vector(self.parameters).detach().clone()
            self.root = torch.eye(len(self.centre), dtype=self.centre.dtype) / prior_std
            return
        assert isinstance(self.twin, Collocated | CoordinateNet)
        gaussian = weight_laplace(self.twin, lambda: self.deviations(self.twin), prior_std=prior_std)
        self.centre, self.root = gaussian.mean, gaussian.root

    @property
    def whitened(self) -> bool:
        """Whether there is a Gauss-Newton Hessian: the network's parameters are those of linear layers and numbers."""
        return isinstance(self.twin, Collocated | CoordinateNet)

    def renewed(self, images: Tensor) -> Tensor:
        """Make z anew around the weights (chains, draws, P) that were seen; where the chains stand in it."""
        flat = images.flatten(0, 1)
        assert isinstance(self.twin, Collocated | CoordinateNet)
        hessian = torch.zeros_like(self.root)
        chosen = torch.linspace(0, len(flat) - 1, min(_SEEN, len(flat))).round().long()
        for theta in flat[chosen]:
            with torch.no_grad():
                nn.utils.vector_to_parameters(theta, self.parameters)
            root = weight_laplace(self.twin, lambda: self.deviations(self.twin), prior_std=self.prior_std).root
            hessian += root @ root.mT / len(chosen)
        self.centre, self.root = flat.mean(0), torch.linalg.cholesky(hessian)
        return (images[:, -1] - self.centre) @ self.root

    def _image(self, z: Tensor) -> Tensor:
        return self.centre + torch.linalg.solve_triangular(self.root.mT, z.mT, upper=True).mT

    def _climbed(self) -> Tensor:
        """Z at the mode, or as far as L-BFGS comes."""
        z = torch.zeros_like(self.centre)
        first, optimiser = self(z[None]).value, torch.optim.LBFGS([z], max_iter=_CLIMB_STEPS, history_size=50, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            at = self(z.detach()[None])
            z.grad = -at.slope[0]
            return -at.value[0]

        optimiser.step(loss)
        there = self(z[None]).value
        return z if bool(there.isfinite() & (there >= first)) else torch.zeros_like(z)

    def near(self, z: Tensor) -> Tensor:
        """Draws of a normal law, halved while they are less probable than they should be: |z|^2/2 below the mode; twice that is let pass."""
        top, allowed = self(torch.zeros_like(z[:1])).value, z.square().sum(1)
        for _ in range(20):
            bad = top - self(z).value > allowed
            if not bool(bad.any()):
                break
            z = torch.where(bad[:, None], 0.5 * z, z)
        return z

    def below(self, values: Tensor) -> Tensor:
        """How far log densities lie below the mode's in the mean, over half the number of weights."""
        return (self.top - values).mean() / (0.5 * len(self.centre))

    def __call__(self, z: Tensor) -> Point:
        theta = self._image(z)
        values, slopes = zip(*(self._one(row) for row in theta), strict=True)
        slope = torch.linalg.solve_triangular(self.root, torch.stack(slopes).mT, upper=False).mT
        return Point(z, torch.stack(values), slope, theta)

    def _one(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            nn.utils.vector_to_parameters(theta, self.parameters)
        with torch.enable_grad():
            try:
                half = 0.5 * torch.stack([d.square().sum() for d in self.deviations(self.twin)]).sum()
            except (Diverged, InputError):
                # a trajectory has run away, or taken a coefficient out of its law's range: no density there
                return theta.new_tensor(-torch.inf), torch.zeros_like(theta)
            grads = torch.autograd.grad(half, self.parameters, materialize_grads=True)
        value = -half.detach() - 0.5 * self.precision * (theta @ theta)
        slope = -torch.cat([g.reshape(-1) for g in grads]) - self.precision * theta
        finite = bool(value.isfinite()) and bool(slope.isfinite().all())
        return (value, slope) if finite else (theta.new_tensor(-torch.inf), torch.zeros_like(theta))
