r"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner.

For a matrix parameter with gradient G, $L \leftarrow \beta L + (1-\beta) G G^T$ and $R \leftarrow \beta R + (1-\beta) G^T G$. Their eigenvectors
$Q_L, Q_R$ are refreshed every few steps by one step of the power method and a QR decomposition; in between, Adam runs on $Q_L^T G\, Q_R$, and its
step is rotated back. The mean gradient is kept unrotated and rotated by the present basis, so that a change of basis does not blur it. Vectors and
sides too long for a basis are left as they are (plain Adam). Vyas, Morwani, Zhao, Shapira, Brandfonbrener, Janson and Kakade, SOAP: improving and
stabilizing Shampoo using Adam, 2024, arXiv 2409.11321.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError

__all__ = ["SOAP"]


class SOAP(torch.optim.Optimizer):
    """Adam in a slowly turning eigenbasis, for matrices; plain Adam for vectors.

    The first step only starts the basis and moves nothing, so that no gradient is seen in its own basis.

    Args:
        params: Parameters or groups of them, as for any optimiser of torch.
        lr: Learning rate.
        betas: Memories of the mean gradient and of its square.
        memory: Memory of L and R; None for the second of `betas`.
        every: Steps between refreshed bases; larger is cheaper.
        weight_decay: Decoupled decay, per unit of learning rate.
        longest: Sides above this get no basis.
        eps: Added to the root of the mean square.

    Raises:
        InputError: If an argument makes no sense.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        *,
        memory: float | None = None,
        every: int = 10,
        weight_decay: float = 0.0,
        longest: int = 4096,
        eps: float = 1e-8,
    ) -> None:
        for value, name in ((lr, "lr"), (weight_decay, "weight_decay"), (eps, "eps")):
            check_positive(value, f"SOAP {name}", zero=True)
        memories = (*betas, betas[1] if memory is None else memory)
        if len(betas) != 2 or not all(0 <= b < 1 for b in memories):
            raise InputError(f"SOAP betas and memory: expected numbers from 0 to below 1, got {betas} and {memory}")
        check_positive(every, "SOAP every")
        settings = {"lr": lr, "betas": betas, "memory": memories[2], "every": every, "weight_decay": weight_decay, "longest": longest, "eps": eps}
        super().__init__(params, settings)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        """Take one step with the gradients there are, or those the closure makes; returns the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._move(p, group)
        return loss

    def _move(self, p: Tensor, group: dict[str, Any]) -> None:
        state, g = self.state[p], p.grad
        assert g is not None
        if not state:
            state["step"] = 0
            state["mean"], state["square"] = torch.zeros_like(p), torch.zeros_like(p)
            if p.ndim == 2:
                for side, moment in _moments(g, group["longest"]):
                    state[f"moment_{side}"] = (1 - group["memory"]) * moment
                    state[f"basis_{side}"] = torch.linalg.eigh(moment).eigenvectors.flip(1)
                if any(f"basis_{side}" in state for side in (0, 1)):
                    return
        state["step"] += 1
        first, second = group["betas"]
        turned = _turn(g, state)
        state["mean"].lerp_(g, 1 - first)
        state["square"].mul_(second).addcmul_(turned, turned, value=1 - second)
        mean = _turn(state["mean"], state) / (1 - first ** state["step"])
        size = (state["square"] / (1 - second ** state["step"])).sqrt_().add_(group["eps"])
        if group["weight_decay"]:
            p.mul_(1 - group["lr"] * group["weight_decay"])
        p.sub_(_turn_back(mean.div_(size), state), alpha=group["lr"])
        if p.ndim == 2:
            for side, moment in _moments(g, group["longest"]):
                state[f"moment_{side}"].lerp_(moment, 1 - group["memory"])
            if state["step"] % group["every"] == 0:
                _refresh(state)


def _moments(g: Tensor, longest: int) -> list[tuple[int, Tensor]]:
    """G G^T for rows and G^T G for columns, of the sides that get a basis."""
    return [(side, g @ g.mT if side == 0 else g.mT @ g) for side in (0, 1) if 1 < g.shape[side] <= longest]


def _turn(g: Tensor, state: dict[str, Any]) -> Tensor:
    if "basis_0" in state:
        g = state["basis_0"].mT @ g
    return g @ state["basis_1"] if "basis_1" in state else g


def _turn_back(g: Tensor, state: dict[str, Any]) -> Tensor:
    if "basis_0" in state:
        g = state["basis_0"] @ g
    return g @ state["basis_1"].mT if "basis_1" in state else g


def _refresh(state: dict[str, Any]) -> None:
    """One step of the power method for each side, columns by falling eigenvalue; the mean squares go with their columns."""
    for side in (0, 1):
        if f"basis_{side}" not in state:
            continue
        moment, basis = state[f"moment_{side}"], state[f"basis_{side}"]
        image = moment @ basis
        order = (basis * image).sum(0).argsort(descending=True)
        state["square"] = state["square"].index_select(side, order)
        state[f"basis_{side}"] = torch.linalg.qr(image[:, order]).Q
