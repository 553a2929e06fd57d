r"""Levenberg and Marquardt's method for residuals at points: Gauss-Newton steps, damped until the sum of squares falls.

$$(J^\mathsf T J + \mu I)\,\delta = -J^\mathsf T r, \qquad \mu \leftarrow \mu\,\max\!\big(\tfrac13,\, 1 - (2\rho - 1)^3\big) \text{ if } \rho > 0,$$

with the gain ratio $\rho$ of the fall found and the fall foreseen; else $\mu$ grows. A residual at a point depends on the network's pass at that
point only. So one backward pass of $\sum_i r_i$ to the outputs of the linear layers gives every row of J,
$\partial r_i/\partial W = \sum_\alpha g_{i\alpha} a_{i\alpha}^\mathsf T$, the sum over the rows of a jet; no row is differentiated by itself. For
networks of some thousand weights. Nielsen, Damping parameter in Marquardt's method, 1999; Dangel, Kunstner and Hennig, BackPACK, 2020.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from physdiff.base.errors import Diverged, InputError
from physdiff.operators.jet import Jet

__all__ = ["Damped", "LevenbergMarquardt", "jacobian", "levenberg_marquardt"]

_MOST_ENTRIES = 3 * 10**8
_TRIES = 12


@dataclass
class Damped:
    """Where a run stands: the damping, how fast it grows, and the losses so far; pass it again to go on."""

    damping: float = 1e-2
    growth: float = 2.0
    losses: tuple[float, ...] = ()


def levenberg_marquardt(
    module: nn.Module,
    residuals: Callable[[int], Sequence[Tensor]],
    *,
    steps: int = 100,
    state: Damped | None = None,
    tolerance: float = 0.0,
    after: Callable[[int, float], bool | None] | None = None,
) -> Damped:
    """Change the weights of a module until the sum of squares of its residuals stops falling.

    Args:
        module: Its trainable parameters are those of linear layers, each used once in a pass, and numbers (at most 16 besides).
        residuals: Function of the step that gives vectors (n,), entry i of a pass over points i; the same vectors if asked twice for one step.
            Points may change from step to step.
        steps: Most steps.
        state: Where an earlier run stopped.
        tolerance: Stop when the loss is below it.
        after: Called after each step with its number and its loss; True stops.

    Returns:
        The state, with the loss after each step.

    Raises:
        InputError: If a parameter is neither in a linear layer nor a number, or the Jacobian would be too large.
        Diverged: If a residual or its derivative is not finite; the message says which entry.
    """
    state = state or Damped()
    first = len(state.losses)
    for step in range(first, first + steps):
        loss = _one_step(module, residuals, step, state)
        state.losses = (*state.losses, loss)
        stop = after(step, loss) if after is not None else None
        if stop or loss <= tolerance:
            break
    return state


class LevenbergMarquardt(torch.optim.Optimizer):
    """The same steps as an optimiser of torch, whose closure gives the vectors of residuals instead of a loss.

    Args:
        module: Its trainable parameters are those of linear layers, each used once in a pass, and numbers.
        damping: Damping at the start.
    """

    def __init__(self, module: nn.Module, damping: float = 1e-2) -> None:
        super().__init__([p for p in module.parameters() if p.requires_grad], {"damping": damping})
        self.module = module

    def step(self, closure: Callable[[], Sequence[Tensor]]) -> float:  # type: ignore[override]
        """One step; the loss after it. The closure is asked again for each damping that is tried, and gives the same vectors for the same weights.

        Raises:
            InputError: If a parameter is neither in a linear layer nor a number, or the Jacobian would be too large.
        """
        group = self.param_groups[0]
        kept = self.state[group["params"][0]]
        at = Damped(kept.get("damping", group["damping"]), kept.get("growth", 2.0))
        with torch.enable_grad():
            loss = _one_step(self.module, lambda _: closure(), 0, at)
        kept.update(damping=at.damping, growth=at.growth)
        return loss


def _one_step(module: nn.Module, residuals: Callable[[int], Sequence[Tensor]], step: int, state: Damped) -> float:
    parameters = [p for p in module.parameters() if p.requires_grad]
    r, J = jacobian(module, lambda: residuals(step))
    before, slope = float(r @ r), J.mT @ r
    if not (math.isfinite(before) and bool(slope.isfinite().all())):
        bad = int((~r.isfinite()).nonzero()[0]) if not bool(r.isfinite().all()) else int((~J.isfinite()).any(1).nonzero()[0])
        what = f"residual {bad} of {len(r)}" if not bool(r.isfinite().all()) else f"derivative of residual {bad} of {len(r)}"
        error = Diverged(what, float(step), "look at the law and the values at this entry's point; the weights are those before the step")
        error.entry = bad
        raise error
    wide = len(r) < J.shape[1]
    gram = J @ J.mT if wide else J.mT @ J
    eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    start = nn.utils.parameters_to_vector(parameters).detach()
    for _ in range(_TRIES):
        factor, failed = torch.linalg.cholesky_ex(gram + state.damping * eye)
        if not int(failed):
            right = r if wide else slope
            solved = torch.cholesky_solve(right[:, None], factor)[:, 0]
            move = -(J.mT @ solved) if wide else -solved
            after = _loss_at(start + move, parameters, lambda: residuals(step))
            foreseen = float(state.damping * (move @ move) - slope @ move)
            gain = (before - after) / max(foreseen, 1e-300)
            if gain > 0:
                state.damping = max(state.damping * max(1 / 3, 1 - (2 * gain - 1) ** 3), 1e-14)
                state.growth = 2.0
                return after
        state.damping *= state.growth
        state.growth *= 2
    _loss_at(start, parameters, lambda: residuals(step))
    return before


def _loss_at(weights: Tensor, parameters: list[nn.Parameter], residuals: Callable[[], Sequence[Tensor]]) -> float:
    """The loss with these weights, which the module keeps."""
    nn.utils.vector_to_parameters(weights, parameters)
    try:
        with torch.no_grad():
            loss = float(sum(r.square().sum() for r in residuals()))
    except Diverged:  # a step too long
        return float("inf")
    return loss if loss == loss else float("inf")


def jacobian(module: nn.Module, residuals: Callable[[], Sequence[Tensor]]) -> tuple[Tensor, Tensor]:
    """All residuals (n,) and their derivatives (n, parameters), columns as `torch.nn.utils.parameters_to_vector` orders the parameters.

    Raises:
        InputError: If a parameter is neither in a linear layer nor a number, or the Jacobian would be too large.
    """
    layers = [m for m in module.modules() if isinstance(m, nn.Linear)]
    passes: list[tuple[nn.Linear, Tensor, Tensor]] = []

    def note(layer: nn.Module, given: tuple[Tensor | Jet, ...], out: Tensor | Jet) -> None:
        # passes without gradients choose points, they are no residuals
        if isinstance(layer, nn.Linear) and _data(out).requires_grad:
            passes.append((layer, _rows(given[0]), _data(out)))

    hooks = [m.register_forward_hook(note) for m in layers]
    try:
        blocks = list(residuals())
    finally:
        for hook in hooks:
            hook.remove()
    offsets, total = _offsets(module, layers)
    n = sum(map(len, blocks))
    if n * total > _MOST_ENTRIES:
        raise InputError(f"levenberg_marquardt: expected at most {_MOST_ENTRIES} entries of the Jacobian, got {n} x {total}; take fewer points")
    numbers = [p for p in module.parameters() if p.requires_grad and p.ndim == 0]
    return torch.cat(blocks).detach(), torch.cat([_block(r, passes, offsets=offsets, total=total, numbers=numbers) for r in blocks])


def _block(r: Tensor, passes: list[tuple[nn.Linear, Tensor, Tensor]], *, offsets: dict[int, int], total: int, numbers: list[nn.Parameter]) -> Tensor:
    """The rows of the Jacobian of one vector of residuals."""
    J = r.new_zeros(len(r), total)
    grads = torch.autograd.grad(r.sum(), [z for _, _, z in passes], retain_graph=True, allow_unused=True)
    for (layer, a, z), g in zip(passes, grads, strict=True):
        if g is None:
            continue
        g = g if z.ndim == 3 else g[None]
        if g.shape[1] != len(r):
            got = f"{len(r)} for a pass of {g.shape[1]} points"
            raise InputError(f"levenberg_marquardt: expected entry i of the residuals to belong to point i, got {got}")
        if layer.weight.requires_grad:
            at = offsets[id(layer.weight)]
            J[:, at : at + layer.weight.numel()] += torch.einsum("kno,kni->noi", g, a).flatten(1)
        if layer.bias is not None and layer.bias.requires_grad:
            at = offsets[id(layer.bias)]
            J[:, at : at + layer.bias.numel()] += g[0]
    for p in numbers:
        v = torch.ones_like(r, requires_grad=True)
        (product,) = torch.autograd.grad(r, p, grad_outputs=v, create_graph=True, retain_graph=True, allow_unused=True)
        if product is not None:
            # linear in v: its derivative is the column
            J[:, offsets[id(p)]] = torch.autograd.grad(product, v, retain_graph=True)[0]
    return J


def _offsets(module: nn.Module, layers: list[nn.Linear]) -> tuple[dict[int, int], int]:
    """Where each parameter's columns begin."""
    linear = {id(p) for m in layers for p in m.parameters(recurse=False)}
    offsets, total, numbers = {}, 0, 0
    for name, p in module.named_parameters():
        if not p.requires_grad:
            continue
        numbers += p.ndim == 0
        if (id(p) not in linear and p.ndim > 0) or numbers > 16:
            got = f"{name} {tuple(p.shape)}"
            raise InputError(f"levenberg_marquardt: expected parameters of linear layers and at most 16 numbers, got {got}; use Adam")
        offsets[id(p)] = total
        total += p.numel()
    return offsets, total


def _rows(x: Tensor | Jet) -> Tensor:
    """Rows of a jet (orders, n, features), one row for a plain tensor."""
    return (x.data if isinstance(x, Jet) else x[None]).detach()


def _data(x: Tensor | Jet) -> Tensor:
    return x.data if isinstance(x, Jet) else x
