r"""Self-scaled Broyden methods: quasi-Newton steps with a dense inverse Hessian H, chosen between BFGS and DFP at every step.

With $s = \alpha d$, $d = -Hg$, y the change of the gradient, $\rho = 1/y^T s$, $h = \rho\,y^T H y$, $b = -\alpha\rho\,s^T g$ and $a = hb - 1 \ge 0$,

$$H^+ = \tau^{-1}\Big[H - \frac{Hy\,(Hy)^T}{y^T H y} + \varphi\,(y^T H y)\,v v^T\Big] + \rho\,s s^T, \qquad
v = \rho s - \frac{Hy}{y^T H y}, \qquad \varphi = \frac{1-\theta}{1+a\theta},$$

which satisfies $H^+ y = s$. $\theta$ (0: BFGS, 1: DFP) and the scale $\tau$ keep the eigenvalues of H together; on the loss of a small PINN this gets
orders of magnitude lower than L-BFGS. Al-Baali and Khalfan, A combined class of self-scaling and modified quasi-Newton methods, 2012; Urban,
Stefanou and Pons, Unveiling the optimization process of physics-informed neural networks, 2025, arXiv 2405.04230.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from physdiff.base.checks import check_one_of, check_positive
from physdiff.base.errors import InputError
from physdiff.pinn.line_search import Place, strong_wolfe

__all__ = ["SelfScaledBroyden", "update_inverse"]

_MOST = 20_000
"""Parameters above which H, in double precision, takes more than 3.2 GB."""


class SelfScaledBroyden(torch.optim.Optimizer):
    """Self-scaled Broyden steps with a line search, for up to about five thousand parameters in double precision.

    Used as `torch.optim.LBFGS`: give `step` a closure that clears gradients, computes the loss, calls backward and returns it. Points must stay the
    same within a step, and change only between phases. When no step goes down, H starts again from the identity, once; `stalled` then tells
    that this did not help either.

    Args:
        params: Parameters, float64, on one device; one group.
        max_iter: Quasi-Newton steps per call of `step`.
        kind: broyden (theta and tau as above) or bfgs (theta = 0, no scaling after the first step).
        tolerance_grad: Ends when the largest entry of the gradient is below this.
        tolerance_change: Ends when the loss falls by less than this share of itself.
        curvature: How much of the slope a line search may leave, below 1; small ones search more exactly.

    Attributes:
        stalled: Whether the last call ended because no step along the gradient went down.

    Raises:
        InputError: If parameters are not float64, or too many.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        max_iter: int = 20,
        *,
        kind: str = "broyden",
        tolerance_grad: float = 1e-12,
        tolerance_change: float = 0.0,
        curvature: float = 0.9,
    ) -> None:
        check_positive(max_iter, "SelfScaledBroyden max_iter")
        check_one_of(kind, ("bfgs", "broyden"), "SelfScaledBroyden kind")
        check_positive(tolerance_grad, "SelfScaledBroyden tolerance_grad", zero=True)
        check_positive(tolerance_change, "SelfScaledBroyden tolerance_change", zero=True)
        if not 1e-4 < curvature < 1:
            raise InputError(f"SelfScaledBroyden curvature: expected above 1e-4 (the decrease) and below 1, got {curvature}")
        ends = {"tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change}
        super().__init__(params, {"max_iter": max_iter, "kind": kind, "curvature": curvature, **ends})
        if len(self.param_groups) != 1:
            raise InputError(f"SelfScaledBroyden: expected one group of parameters, got {len(self.param_groups)}; join them")
        self._params: list[Tensor] = self.param_groups[0]["params"]
        size = sum(p.numel() for p in self._params)
        if size > _MOST:
            memory = f"{8e-9 * size**2:.0f} GB"
            raise InputError(f"SelfScaledBroyden: expected at most {_MOST} parameters, got {size}, whose H takes {memory}; use SOAP or L-BFGS")
        if any(p.dtype != torch.float64 for p in self._params):
            raise InputError("SelfScaledBroyden: expected float64 parameters, got others; call `network.double()` first")
        self.stalled = False

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Take up to `max_iter` quasi-Newton steps; returns the loss at the end.

        Raises:
            InputError: If the loss or its gradient is not finite at the start.
        """
        group, state = self.param_groups[0], self.state[self._params[0]]
        x = torch.cat([p.reshape(-1) for p in self._params])
        here = self._evaluate(closure, x, x.new_zeros(len(x)), 0.0)
        if not (math.isfinite(here.value) and bool(here.gradient.isfinite().all())):
            raise InputError(f"SelfScaledBroyden: expected a finite loss and gradient, got {here.value}; start from other parameters")
        if "inverse" not in state:
            state.update(inverse=torch.eye(len(x), dtype=x.dtype, device=x.device), fresh=True, steps=0)
        self.stalled = False
        for _ in range(group["max_iter"]):
            if float(here.gradient.abs().max()) <= group["tolerance_grad"]:
                break
            found, d = self._search(closure, x, here)
            if found is None:
                self.stalled = True
                break
            s, y = found.step * d, found.gradient - here.gradient
            change = here.value - found.value
            self._learn(s, y, found.step, here.gradient)
            x, before, here = x + s, here.value, found
            state["steps"] += 1
            if change <= group["tolerance_change"] * abs(before):
                break
        self._place(x)
        return x.new_tensor(here.value)

    def _search(self, closure: Callable[[], Tensor], x: Tensor, here: Place) -> tuple[Place | None, Tensor]:
        """A step along -H g, or along -g with H started again."""
        state = self.state[self._params[0]]
        while True:
            d = -(state["inverse"] @ here.gradient)
            slope = float(d @ here.gradient)
            found = None
            if slope < 0 and math.isfinite(slope):
                start = Place(0.0, here.value, slope, here.gradient)
                # the length of a first step along the gradient is unknown: move by one at most
                first = min(1.0, 1.0 / float(here.gradient.abs().sum())) if state["fresh"] else 1.0
                curvature = self.param_groups[0]["curvature"]
                found = strong_wolfe(functools.partial(self._evaluate, closure, x, d), start, first=first, curvature=curvature)
            if found is not None or state["fresh"]:
                return found, d
            state["inverse"].zero_().fill_diagonal_(1.0)
            state["fresh"] = True

    def _learn(self, s: Tensor, y: Tensor, step: float, gradient: Tensor) -> None:
        state = self.state[self._params[0]]
        ys = float(y @ s)
        # the Wolfe conditions make it positive, but for rounding
        if ys > 1e-16 * float(y.norm() * s.norm()):
            scaled = self.param_groups[0]["kind"] == "broyden"
            update_inverse(state["inverse"], s, y, bs=-step * float(s @ gradient), first=state["fresh"], scaled=scaled)
            state["fresh"] = False

    def _evaluate(self, closure: Callable[[], Tensor], x: Tensor, d: Tensor, step: float) -> Place:
        self._place(x + step * d if step else x)
        with torch.enable_grad():
            value = float(closure().detach())
        gradient = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in self._params])
        return Place(step, value, float(gradient @ d), gradient)

    def _place(self, x: Tensor) -> None:
        for p, part in zip(self._params, x.split([p.numel() for p in self._params]), strict=True):
            p.copy_(part.view_as(p))


def update_inverse(inverse: Tensor, s: Tensor, y: Tensor, *, bs: float, first: bool = False, scaled: bool = True) -> Tensor:
    """Change an inverse Hessian H (n, n) in place by one self-scaled Broyden step, so that H y = s.

    Args:
        inverse: H, symmetric and positive definite.
        s: Step (n,).
        y: Change of the gradient (n,), with y^T s > 0.
        bs: s^T H^-1 s, which is -alpha s^T g for a step of length alpha along -H g.
        first: Whether H says nothing yet: the scale is then h/(1 + a theta).
        scaled: False for BFGS.
    """
    hy = inverse @ y
    rho, yhy = 1.0 / float(y @ s), float(y @ hy)
    h, b = rho * yhy, rho * bs
    theta, tau, sigma = _choice(h, b, len(s)) if scaled else (0.0, 1.0, 1.0)
    if first:
        tau = h / sigma
    phi = (1.0 - theta) / sigma
    # everything added lies in the plane of Hy and s: H/tau + [Hy s] C [Hy s]^T
    corner = -phi * rho / tau
    c = inverse.new_tensor([[(phi - 1.0) / (yhy * tau), corner], [corner, phi * yhy * rho**2 / tau + rho]])
    plane = torch.stack((hy, s), dim=1)
    return torch.addmm(inverse, plane @ c, plane.T, beta=1.0 / tau, out=inverse)


def _choice(h: float, b: float, n: int) -> tuple[float, float, float]:
    """The numbers theta, tau and 1 + a theta of Al-Baali and Khalfan."""
    a = h * b - 1.0
    c = min(1.0, 1.0 / b)
    if a <= 1e-14:  # s is along H y: all members of the class coincide
        return 0.0, c, 1.0
    # 1 - sqrt(a/(1 + a)) without the difference, which is lost for large a
    below = min(1.0, h / ((1.0 + a) * (1.0 + math.sqrt(a / (1.0 + a)))))
    theta = max((below - 1.0) / a, min(1.0 / below, (1.0 - b) / b))
    sigma = max(1.0 + theta * a, below)  # equal to it at the lower bound, where the sum may round to zero
    spread = abs(sigma) ** (1.0 / (1.0 - n)) if n > 1 else 1.0
    return theta, min(c * spread, sigma) if theta <= 0 else c * min(spread, 1.0 / theta), sigma
