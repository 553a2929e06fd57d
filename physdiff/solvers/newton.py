r"""Implicit stages: the root of a nonlinear equation of fields by Newton's method, differentiated by the implicit function theorem.

A stage of an implicit method is the Y with $Y = r + s f(Y)$. Newton's step $\delta$ solves $(I - sJ)\,\delta = r + s f(Y) - Y$, $J = f'(Y)$,
by GMRES; products with J and its transpose come from one differentiation of f (the gradient of $\langle J^T w, v\rangle$ in w is $Jv$). GMRES
is helped by the J of the mean state, which is a convolution on a uniform periodic grid and there inverted by Fourier transforms; elsewhere it
is a neighbour of J and only helps less.

At the root $(I - sJ)\,dY = dr + s\,\partial_\theta f\,d\theta$, so a gradient $\bar Y$ goes back through one solve of the adjoint system
$(I - sJ)^T w = \bar Y$ to the known part and to the parameters $\theta$ of f, whatever the number of iterations was: memory is that of one
evaluation of f. References: Knoll and Keyes, Jacobian-free Newton-Krylov methods, 2004; Bai, Kolter and Koltun, Deep equilibrium models, 2019.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from physdiff.base.errors import Diverged, InputError
from physdiff.base.linalg import gmres
from physdiff.grids.field_spec import Fields

__all__ = ["Newton", "implicit_stage"]

TensorMap = Callable[[Tensor], Tensor]

_LINEAR = 1e-4  # share of the residual that a Newton step may leave: the error of a root is this times the last step
_HALVINGS = 10


@dataclass(frozen=True)
class Newton:
    """How hard roots are sought.

    Args:
        tolerance: Size of the last Newton step over that of the fields (root mean square, each field in its own unit); raised to 32 times the
            rounding of the fields' precision where that is larger. The error of the root is smaller by some four digits.
        steps: Most Newton steps.
        krylov: Largest dimension of a Krylov space.
        restarts: Most Krylov spaces of one linear system.
    """

    tolerance: float = 1e-9
    steps: int = 20
    krylov: int = 60
    restarts: int = 5

    def reachable(self, dtype: torch.dtype) -> float:
        """The tolerance, or what rounding allows."""
        return max(self.tolerance, 32 * torch.finfo(dtype).eps)


def implicit_stage(
    rhs: Callable[[Fields], Fields],
    known: Fields,
    share: float,
    *,
    guess: Fields | None = None,
    time: float = 0.0,
    newton: Newton | None = None,
) -> dict[str, Tensor]:
    """The fields Y = known + share * rhs(Y), differentiable in `known` and in all that `rhs` depends on, once.

    Args:
        rhs: Fields (B, *S) to fields (B, *S); twice differentiable operations that do not mix samples.
        known: Fields (B, *S).
        share: Length of the step times the stage's weight.
        guess: First guess; `known` if None.
        time: For messages.
        newton: How hard the root is sought.

    Raises:
        Diverged: If the root is not found, or the adjoint system is not solved in a backward pass.
        InputError: If a backward pass asks for second derivatives.
    """
    names, settings = tuple(known), newton or Newton()

    def slope(y: Tensor) -> Tensor:
        found = rhs(dict(zip(names, y.unbind(1), strict=True)))
        return torch.stack([found[n] for n in names], dim=1)

    r = torch.stack([known[n] for n in names], dim=1)
    start = r if guess is None else torch.stack([guess[n] for n in names], dim=1)
    stage = _Stage(slope, share, settings, time=time, names=names)
    root = stage.solve(r.detach(), start.detach())
    if torch.is_grad_enabled():
        # its graph reaches r and the parameters; how the root itself moves is the adjoint solve's part
        attached = r + share * slope(root)
        if attached.requires_grad:
            root = _Root.apply(attached, root, stage)
    return dict(zip(names, root.unbind(1), strict=True))


class _Root(torch.autograd.Function):
    """The root, whose gradient is that of the right-hand side behind the inverse of I - sJ."""

    @staticmethod
    def forward(ctx: Any, attached: Tensor, root: Tensor, stage: _Stage) -> Tensor:  # noqa: ANN401 - torch's context
        ctx.stage = stage
        ctx.save_for_backward(root)
        return root.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401 - torch's context
        if torch.is_grad_enabled():
            raise InputError("implicit_stage: expected first derivatives only, got create_graph=True; leave it out, or use an explicit stepper")
        (root,) = ctx.saved_tensors
        return ctx.stage.adjoint(root, grad), None, None


class _Stage:
    """One equation Y = r + s f(Y) for stacked fields (B, F, *S)."""

    def __init__(self, slope: TensorMap, share: float, settings: Newton, *, time: float, names: tuple[str, ...]) -> None:
        self._slope, self._share, self._settings = slope, share, settings
        self._time, self._names = time, names

    def solve(self, r: Tensor, y: Tensor) -> Tensor:
        """The root from the guess y, by steps that are halved until the residual falls."""
        unit = _size(torch.maximum(r.abs(), y.abs()))
        unit = torch.where(unit > 0, unit, torch.ones_like(unit))
        tolerance = self._settings.reachable(r.dtype)
        line, near = _Linear(self._slope, y), self._near(y, unit)
        residual = (r + self._share * line.value - y) / unit
        for _ in range(self._settings.steps):
            if not bool(residual.isfinite().all()):
                break
            step, solved = self._linear(line, residual, unit, near=near, rtol=_LINEAR)
            small = solved & (_norm(step) <= tolerance * _norm(y / unit).clamp_min(1.0))
            y, line, step, residual = self._damped(r, y, step, residual, unit=unit, small=small)
            if bool(small.all()) and bool(residual.isfinite().all()):
                return y
        raise self._failed("is not found by Newton's method", residual)

    def _damped(self, r: Tensor, y: Tensor, step: Tensor, residual: Tensor, *, unit: Tensor, small: Tensor) -> tuple[Tensor, _Linear, Tensor, Tensor]:
        before = _norm(residual)
        for _ in range(_HALVINGS):
            line = _Linear(self._slope, y + step * unit)
            new = (r + self._share * line.value - y - step * unit) / unit
            # below the tolerance a step is rounding, and so is its residual
            bad = ~(small | (_norm(new) < before)) & (before > 0)
            if not bool(bad.any()):
                return y + step * unit, line, step, new
            step = torch.where(bad, 0.5 * step, step)
        raise self._failed("is not found by Newton's method", new)

    def adjoint(self, y: Tensor, grad: Tensor) -> Tensor:
        """The w with (I - sJ)^T w = grad."""
        settings = self._settings
        with torch.inference_mode(False):
            line = _Linear(self._slope, y)
        rtol = settings.reachable(y.dtype) * 0.1
        unit = _size(y)
        unit = torch.where(unit > 0, unit, torch.ones_like(unit))
        goal = grad * unit
        near = self._near(y, unit, transposed=True)
        w, solved = self._linear(line, goal, unit, near=near, rtol=rtol, transposed=True)
        if not bool(solved.all()):
            raise self._failed("has an adjoint system that is not solved", goal)
        return w / unit

    def _linear(self, line: _Linear, b: Tensor, unit: Tensor, *, near: TensorMap, rtol: float, transposed: bool = False) -> tuple[Tensor, Tensor]:
        """The x with (I - s J) x = b in units of the fields, or with the transpose of that matrix; and for which samples it is one.

        Rounding may keep the residual above `rtol`, so that a thousand times as much is enough.
        """

        def product(v: Tensor) -> Tensor:
            w = near(v)
            return w - self._share * (line.vjp(w / unit) * unit if transposed else line.jvp(w * unit) / unit)

        x, left, size = torch.zeros_like(b), b, _norm(b)
        for _ in range(self._settings.restarts):
            if bool((_norm(left) <= rtol * size).all()):
                break
            # of what is left, as much as is missing
            ratio = float((rtol * size / _norm(left).clamp_min(torch.finfo(b.dtype).tiny)).min().clamp(1e-14, 0.5))
            x = x + gmres(product, left, rtol=ratio, max_iter=self._settings.krylov)
            left = b - product(x)
        return near(x), _norm(left) <= min(1e3 * rtol, 0.1) * size

    def _near(self, y: Tensor, unit: Tensor, *, transposed: bool = False) -> TensorMap:
        """The inverse of I - s J at the mean state, as a convolution: the response to an impulse in the middle, transformed."""
        axes, fields = tuple(range(2, y.ndim)), y.shape[1]
        line = _Linear(self._slope, y.mean(axes, keepdim=True).expand_as(y).contiguous())
        middle = tuple(n // 2 for n in y.shape[2:])
        columns = []
        for i in range(fields):
            impulse = torch.zeros_like(y)
            spot = impulse[:, i]
            for at in middle:
                spot = spot.select(1, at)
            spot.fill_(1.0)
            response = (impulse - self._share * line.jvp(impulse * unit) / unit).roll([-m for m in middle], axes)
            columns.append(torch.fft.rfftn(response, dim=axes))
        block = torch.stack(columns, dim=2).movedim((1, 2), (-2, -1))
        identity = torch.eye(fields, dtype=block.dtype, device=block.device)
        usable = block.isfinite().all(-1).all(-1)[..., None, None] & (torch.linalg.det(torch.nan_to_num(block)).abs() > 1e-3)[..., None, None]
        inverse = torch.linalg.inv(torch.where(usable, block, identity))
        if transposed:
            inverse = inverse.mH

        def apply(v: Tensor) -> Tensor:
            spectrum = torch.fft.rfftn(v, dim=axes).movedim(1, -1).unsqueeze(-1)
            return torch.fft.irfftn((inverse @ spectrum).squeeze(-1).movedim(-1, 1), s=v.shape[2:], dim=axes)

        return apply

    def _failed(self, what: str, residual: Tensor) -> Diverged:
        worst = torch.nan_to_num(_size(residual), nan=torch.inf).reshape(*residual.shape[:2]).amax(0).argmax()
        remedy = "take shorter steps, a better initial field, or more Newton steps (newton=Newton(...))"
        return Diverged(self._names[int(worst)], self._time, remedy, event=what)


class _Linear:
    """The function's value at a point and its derivative there, both ways, from one differentiation."""

    def __init__(self, slope: TensorMap, point: Tensor) -> None:
        # nobody else's hooks: inside a checkpoint they would compute the march again for each product
        own = torch.autograd.graph.saved_tensors_hooks(_same, _same)
        with torch.inference_mode(False), torch.enable_grad(), own:
            self.point = point.detach().clone().requires_grad_()
            value = slope(self.point)
            self._value = value
            self.value = value.detach()
            self._weight = torch.zeros_like(self.value).requires_grad_()
            self._transposed = self._pull(value, self.point, self._weight, create=True)

    def vjp(self, w: Tensor) -> Tensor:
        """J^T w."""
        return self._pull(self._value, self.point, w, create=False)

    def jvp(self, v: Tensor) -> Tensor:
        """J v, as the gradient in w of <J^T w, v>."""
        return self._pull(self._transposed, self._weight, v, create=False)

    @staticmethod
    def _pull(value: Tensor, point: Tensor, weight: Tensor, *, create: bool) -> Tensor:
        if not value.requires_grad:
            return torch.zeros_like(point)
        (found,) = torch.autograd.grad(value, point, weight, create_graph=create, retain_graph=True, allow_unused=True)
        return torch.zeros_like(point) if found is None else found


def _same(x: Tensor) -> Tensor:
    return x


def _size(f: Tensor) -> Tensor:
    """Root mean square of each field of each sample, (B, F, 1, ...)."""
    return f.square().mean(tuple(range(2, f.ndim)), keepdim=True).sqrt()


def _norm(f: Tensor) -> Tensor:
    """Root mean square over all fields of each sample, (B, 1, ...)."""
    return f.square().mean(tuple(range(1, f.ndim)), keepdim=True).sqrt()
