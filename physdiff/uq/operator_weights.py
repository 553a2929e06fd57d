r"""How sure the weights of a trained forecast are: what SWAG, Laplace's Gaussian and chains ask of a `Forecaster` and its training windows.

With z the coefficients of window w and $\hat z(\theta)$ what the network makes of its condition, the likelihood is Gaussian with the errors that the
trained network makes, $\sigma^2 = \overline{(\hat z - z)^2}$, and its entries count as r independent ones in each window of n,

$$ -\log p(\theta \mid \text{windows}) = \frac r n \sum_w \frac{|\hat z_w(\theta) - z_w|^2}{2\sigma^2} + \frac{|\theta|^2}{2s^2} + \text{const}. $$

Errors of neighbouring points are alike, so that r = n would make any posterior far too sharp; r is one for each map if it is not given. The spread
of the weights is what the windows do not decide; the errors $\sigma$ themselves are not in the draws: `post_process` and `calibrate` add what is
missing. Immer, Korzepa and Bauer, Improving predictions of Bayesian neural nets via local linearization, 2021; Holmes and Walker, Assigning a value
to a power likelihood in a general Bayesian model, 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.diffusion.forecaster import Forecaster
from physdiff.uq.laplace import WeightGaussian
from physdiff.uq.weight_draws import trainable

__all__ = ["OperatorTask", "last_layer_laplace", "operator_task"]

_MOST_WEIGHTS = 4000
_BLOCK = 8


@dataclass(frozen=True, eq=False)
class OperatorTask:
    """What a forecaster was trained on, encoded once.

    Args:
        forecaster: The forecaster, which is not touched.
        z: Coefficients (N, C', T', *S').
        cond: Encoded conditions (N, C'', T', *S').
        std: sigma, of the trained network's errors.
        power: r/n.
    """

    forecaster: Forecaster
    z: Tensor
    cond: Tensor
    std: float
    power: float

    def errors(self, network: nn.Module, rows: Tensor | None = None) -> Tensor:
        """What the network makes of the conditions of `rows` (all if None), less the coefficients."""
        z, c = (self.z, self.cond) if rows is None else (self.z[rows], self.cond[rows])
        out: Tensor = network(z, z.new_zeros(()), c)
        return out - z

    def deviations(self, network: nn.Module) -> list[Tensor]:
        """The errors in units of their standard deviation, tempered: for `weight_chains`."""
        return [self.errors(network).reshape(-1) * (math.sqrt(self.power) / self.std)]

    def double(self) -> OperatorTask:
        """The same in float64, for chains."""
        return replace(self, z=self.z.double(), cond=self.cond.double())

    def loss(self, network: nn.Module, *, rng: Rng, batch: int = 16) -> Callable[[int], Tensor]:
        """Mean square of the errors of random windows, by the step: for `descent_iterates`."""
        return lambda step: self.errors(network, rng.child(step).permutation(len(self.z))[:batch]).square().mean()


def operator_task(forecaster: Forecaster, x: Tensor, cond: Tensor, *, readings: float | None = None) -> OperatorTask:
    """Encode training windows.

    Args:
        forecaster: Trained.
        x: Windows (N, C, T, *S), physical units, some hundreds.
        cond: Their condition windows (N, C', T, *S).
        readings: r; the number of coefficient maps of a window if None.

    Raises:
        InputError: If the network leaves no error, or a number makes no sense.
        ShapeError: If windows and conditions are not those of the forecaster, or not equally many.
    """
    if len(x) != len(cond) or not len(x):
        raise ShapeError(f"operator_task: expected windows and as many conditions, one at least, got {len(x)} and {len(cond)}")
    like = next(forecaster.model.parameters())
    parts = []
    with torch.no_grad():
        for rows in torch.arange(len(x)).split(32):
            completed = forecaster.complete(cond[rows].to(like))
            parts.append((forecaster.encode(x[rows].to(like), completed), forecaster.encode_cond(completed)))
        z, encoded = torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts if p[1] is not None])
        errors = OperatorTask(forecaster, z, encoded, 1.0, 1.0).errors(forecaster.model)
    std = float(errors.square().mean().sqrt())
    if not std > 0:
        raise InputError("operator_task: expected a network with errors on these windows, got none; give windows it was not fitted to exactly")
    power = check_positive(z.shape[1] * z.shape[2] if readings is None else readings, "operator_task readings") / z[0].numel()
    return OperatorTask(forecaster, z, encoded, std, power)


def last_layer_laplace(task: OperatorTask, *, prior_std: float = 1.0) -> WeightGaussian:
    """Laplace's Gaussian of the last layer of a forecaster's network: exact where that layer ends it.

    Args:
        task: See `operator_task`.
        prior_std: s, of every weight of the layer around what training gave it.

    Returns:
        The Gaussian of `trainable` weights of ``forecaster.model``, others than the last layer's at what they are.

    Raises:
        InputError: If the network does not end in a layer that is linear in its weights, or that has more than 4000.
    """
    precision = 1 / check_positive(prior_std, "last_layer_laplace prior_std") ** 2
    network = task.forecaster.model
    layer, free = _last_layer(network)
    total = int(free.numel())
    if total > _MOST_WEIGHTS:
        raise InputError(f"last_layer_laplace: expected a last layer of at most {_MOST_WEIGHTS} weights, got {total}; take SWAG or an ensemble")
    places = _by_output(layer)
    one, square = torch.zeros(places.shape[1], places.shape[1], dtype=torch.float64), 0.0
    for rows in torch.arange(len(task.z)).split(_BLOCK):
        with torch.no_grad():
            phi, d = _features(task, network, layer, rows)
        one += (phi.mT @ phi).double()
        square += float(d.double().square().sum())
    # outputs share their features and no weight: one block for each
    H = torch.zeros(total, total, dtype=torch.float64)
    for place in places:
        H[place[:, None], place] = one
    scale = task.power / task.std**2
    H = scale * H
    H.diagonal().add_(precision)
    root, failed = torch.linalg.cholesky_ex(H)
    if int(failed):
        raise InputError("last_layer_laplace: expected a positive definite Hessian, got one that is not, to rounding; take a smaller prior_std")
    theta = nn.utils.parameters_to_vector(trainable(network)).detach()
    determinant = 2 * root.diagonal().log().sum() + 2 * math.log(prior_std) * total
    seen = task.power * task.z.numel()
    evidence = -0.5 * (scale * square + determinant + seen * math.log(2 * math.pi * task.std**2))
    inverse = torch.linalg.solve_triangular(root, torch.eye(total, dtype=root.dtype), upper=False)
    return WeightGaussian(network, theta.double(), root, free, evidence, total - precision * inverse.square().sum())


def _last_layer(network: nn.Module) -> tuple[nn.Module, Tensor]:
    """The last module with trainable weights of its own, and their places in the vector of all."""
    with_own = [m for m in network.modules() if any(p.requires_grad for p in m.parameters(recurse=False))]
    if not with_own:
        raise InputError("last_layer_laplace: expected a network with trainable weights, got none; call `requires_grad_(True)`")
    own = {id(p) for p in with_own[-1].parameters(recurse=False)}
    parts, start = [], 0
    for p in trainable(network):
        if id(p) in own:
            parts.append(torch.arange(start, start + p.numel()))
        start += p.numel()
    return with_own[-1], torch.cat(parts)


def _by_output(layer: nn.Module) -> Tensor:
    """Places of the weights of each output in the layer's vector, (outputs, F), those of one output in the order of `_features`."""
    parts, start = [], 0
    for p in (p for p in layer.parameters(recurse=False) if p.requires_grad):
        parts.append(torch.arange(start, start + p.numel()).reshape(p.shape[0], -1))
        start += p.numel()
    if len({len(part) for part in parts}) > 1:
        raise _not_last(layer)
    return torch.cat(parts, 1)


def _features(task: OperatorTask, network: nn.Module, layer: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
    """What the layer's first output is in its weights, (places, F), alike for all outputs; and errors of the network."""
    held: list[tuple[Tensor, Tensor]] = []
    handle = layer.register_forward_hook(lambda _, given, out: held.append((given[0], out)))
    try:
        errors = task.errors(network, rows)
    finally:
        handle.remove()
    whole = errors + task.z[rows]
    if len(held) != 1 or held[0][1].numel() != whole.numel():
        raise _not_last(layer)
    given, out = held[0]
    # the outputs of the network are those of the layer, in some order: sums of squares do not ask in which
    tolerance = 1e-5 * float(whole.abs().max()) + 1e-12
    if not bool((out.reshape(-1).sort().values - whole.reshape(-1).to(out).sort().values).abs().max() <= tolerance):
        raise _not_last(layer)
    own = {name: p for name, p in layer.named_parameters(recurse=False) if p.requires_grad}
    fixed = {name: torch.zeros_like(p) for name, p in own.items()}
    columns = []
    for name, p in own.items():
        for k in range(p[0].numel()):
            basis = torch.zeros_like(p)
            basis[0].view(-1)[k] = 1.0
            made: Tensor = torch.func.functional_call(layer, {**fixed, name: basis}, (given,))
            columns.append(_outputs(made, layer)[..., 0].reshape(-1))
    phi = torch.stack(columns, -1)
    now = torch.cat([p.detach().reshape(len(p), -1) for p in own.values()], 1)
    if not bool((phi @ now.mT - _outputs(out, layer).reshape(len(phi), -1)).abs().max() <= 10 * tolerance):
        raise _not_last(layer)
    return phi, errors


def _outputs(x: Tensor, layer: nn.Module) -> Tensor:
    """The layer's outputs along the last axis: they are the channels of a convolution."""
    return x if isinstance(layer, nn.Linear) else x.movedim(1, -1)


def _not_last(layer: nn.Module) -> InputError:
    name = type(layer).__name__
    return InputError(
        f"last_layer_laplace: expected a network that ends in a layer linear in its weights, got one whose last layer, {name}, is none; "
        "take SWAG or an ensemble"
    )
