r"""Hard constraints h(u) = b: conservation, boundary values, any differentiable equation, to rounding.

One update serves all. With $J = \partial h$ and a metric C

    u <- x - C J^T (J C J^T)^+ (h(u) - b + J (x - u))

C = I         the nearest point that obeys (`project` without a metric; PCFM): for draws x it gives the law of what was projected, which is the
              conditional law only where the covariance is a multiple of the identity
C = Cov x     Matheron's rule: draws of a Gaussian law become exact draws of the law given h = b, for linear h; with std > 0 given h = b + N(0, std^2)
              (`condition_gaussian` has the moments: ProbConserv)

Linear h takes one step, others go on (Gauss-Newton). Inside a sampler the same update is made of every denoised state (`ConstrainedDenoiser`), or
of the end of every straight path of a flow (`constrained_flow`): x1 = x + (1 - t) v; x1 <- corrected; x = t' x1 + (1 - t') z. With the first noise z
kept that is PCFM, with several rounds per step and fresh noise ECI. These heed the constraint and no more: what they draw is no conditional law.
References: Hansen et al., Learning physical models that can respect conservation laws, 2023 (ProbConserv); Utkarsh et al., Physics-constrained flow
matching, 2025 (PCFM); Cheng et al., Gradient-free generation for hard-constrained systems, 2025 (ECI); Doucet, A note on efficient conditional
simulation of Gaussian distributions, 2010 (Matheron's rule).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import Diverged, InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.diffusion.denoiser import Denoiser
from physdiff.inference.ensemble import Ensemble
from physdiff.inference.observation import LinearOperator, Operator

__all__ = ["ConstrainedDenoiser", "condition_gaussian", "constrain", "constrained_flow", "ensemble_covariance", "project"]

Metric = Callable[[Tensor], Tensor]
"""C v for vectors (B, C, T, *S): a `Covariance` of windows, or what `ensemble_covariance` returns."""


def condition_gaussian(mean: Tensor, covariance: Tensor, matrix: Tensor, *, value: Tensor, std: float = 0.0) -> tuple[Tensor, Tensor]:
    r"""The law N(m, S) given $G u = b$ (ProbConserv), or given $G u = b + N(0, \sigma^2)$.

    $m' = m - S G^\top (\sigma^2 I + G S G^\top)^{+} (G m - b)$, $S' = S - S G^\top (\sigma^2 I + G S G^\top)^{+} G S$, in float64.

    Args:
        mean: m, (d,).
        covariance: S, (d, d).
        matrix: G, (k, d), as the weights of a quadrature rule.
        value: b, (k,).
        std: sigma; zero for a hard constraint.

    Returns:
        m' and S'.

    Raises:
        ShapeError: If the sizes do not fit.
        InputError: If std is negative, or b cannot be met: some row of G is zero under S, and its value is another.
    """
    m, s, g, b = (torch.as_tensor(v, dtype=torch.float64) for v in (mean, covariance, matrix, value))
    if m.ndim != 1 or s.shape != (len(m), len(m)) or g.ndim != 2 or g.shape[1] != len(m) or b.shape != (len(g),):
        got = [tuple(v.shape) for v in (m, s, g, b)]
        raise ShapeError(f"condition_gaussian: expected mean (d,), covariance (d, d), matrix (k, d) and value (k,), got {got}")
    check_positive(std, "condition_gaussian std", zero=True)
    cross = s @ g.T
    gain = cross @ torch.linalg.pinv(g @ cross + std**2 * torch.eye(len(g), dtype=torch.float64), hermitian=True)
    found = m - gain @ (g @ m - b)
    if std == 0:
        _check_met(g @ found - b, b, g @ m - b)
    left = s - gain @ cross.T
    return found, (left + left.T) / 2


def ensemble_covariance(members: Tensor) -> Metric:
    """The sample covariance of an ensemble (N, C, T, *S) as a metric: v -> A^T A v / (N - 1) with the anomalies A, without the matrix.

    Raises:
        InputError: If there are fewer than two members.
    """
    if len(members) < 2:
        raise InputError(f"ensemble_covariance: expected two members or more, got {len(members)}")
    anomalies = (members.double() - members.double().mean(0)).flatten(1) / (len(members) - 1) ** 0.5
    return lambda v: ((v.double().flatten(1) @ anomalies.T.to(v.device)) @ anomalies.to(v.device)).reshape(v.shape).to(v)


def project(
    x: Tensor,
    operator: Operator,
    value: Tensor | float,
    *,
    metric: Metric | None = None,
    std: float = 0.0,
    rng: Rng | None = None,
    iterations: int = 50,
    tolerance: float = 1e-9,
) -> Tensor:
    """Windows moved onto a constraint, see above; work grows with the number of the operator's readings: integrals, boundaries, not fields.

    Args:
        x: (B, C, T, *S) in physical units.
        operator: h.
        value: b, of the shape of one window's readings, or one number for all.
        metric: C; None is the Euclidean projection.
        std: Standard deviation of the noise of a soft constraint, whose readings are perturbed (linear operators).
        rng: Randomness of that noise.
        iterations: Most Gauss-Newton steps.
        tolerance: Largest |h(u) - b| that is left, over the largest of |b| and |h(x)|.

    Returns:
        Shape and dtype of x; all inside is float64.

    Raises:
        InputError: If the operator has no gradient, the constraint cannot be met along C, or a soft one is not linear or has no rng.
        Diverged: If the steps do not come down to the tolerance.
    """
    if not operator.differentiable:
        raise InputError(f"project: expected an operator with a gradient, got {type(operator).__name__}; weight draws by it (TemperedSMC) instead")
    check_positive(std, "project std", zero=True)
    linear = isinstance(operator, LinearOperator)
    if std > 0 and (rng is None or not linear):
        raise InputError("project: expected a linear operator and an rng for a constraint with std > 0; use an Observation for one that bends")
    start = x.detach().double()
    with torch.no_grad():
        before = operator(start)
    goal = torch.as_tensor(value).to(before).expand(before.shape[1:]).flatten().expand(len(start), -1)
    if std > 0 and rng is not None:
        goal = goal + std * rng.normal(goal.shape, like=goal)
    first = before.flatten(1) - goal
    scale = torch.maximum(goal.abs().max(), before.abs().max())
    u, left = start, first
    for _ in range(1 if linear else max(1, iterations)):
        h, rows = _linearised(operator, u, once=linear)
        off = h - goal + torch.einsum("bmd,bd->bm", rows.expand(len(u), -1, -1), (start - u).flatten(1))
        u = start - _step(rows, off, metric, std, u.shape)
        with torch.no_grad():
            left = operator(u).flatten(1) - goal
        if std > 0 or bool(left.abs().max() <= tolerance * scale):
            return u.to(x)
    if linear:
        _check_met(left, goal, first)
        return u.to(x)
    raise Diverged("constraint", float(iterations), f"off by {float(left.abs().max()):.2g} after these steps; start nearer or allow more iterations")


def _linearised(operator: Operator, u: Tensor, *, once: bool) -> tuple[Tensor, Tensor]:
    """Readings (B, m) and their derivative (B, m, d), or (1, m, d) where one serves all."""
    with torch.enable_grad():
        point = u.clone().requires_grad_()
        h = operator(point).flatten(1)
        if not h.requires_grad:
            raise InputError(f"project: expected an operator that torch can differentiate, got {type(operator).__name__} without gradient")
        if once:
            unit = torch.eye(h.shape[1], dtype=u.dtype, device=u.device)
            shape = (h.shape[1], *operator(u[:1]).shape[1:])
            assert isinstance(operator, LinearOperator)
            return h.detach(), operator.adjoint(unit.reshape(shape)).flatten(1)[None]
        rows = [torch.autograd.grad(h[:, i].sum(), point, retain_graph=True)[0].flatten(1) for i in range(h.shape[1])]
    return h.detach(), torch.stack(rows, 1)


def _step(rows: Tensor, off: Tensor, metric: Metric | None, std: float, shape: torch.Size) -> Tensor:
    """C J^T (J C J^T + std^2)^+ off, (B, C, T, *S)."""
    spread = rows if metric is None else metric(rows.reshape(-1, *shape[1:])).reshape(rows.shape).to(rows)
    gram = rows @ spread.mT
    gram = (gram + gram.mT) / 2 + std**2 * torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
    weights = (torch.linalg.pinv(gram, hermitian=True) @ off[:, :, None])[:, :, 0]
    return torch.einsum("bm,bmd->bd", weights, spread.expand(len(off), -1, -1)).reshape(shape)


def _check_met(left: Tensor, goal: Tensor, first: Tensor) -> None:
    """A linear constraint is met after one step, or cannot be: rows that contradict each other, or that nothing varies along."""
    size = max(float(goal.abs().max()), float((first + goal).abs().max()))
    if float(left.abs().max()) > 1e-6 * size:
        raise InputError(
            f"constraint: expected one that can be met, got {float(left.abs().max()):.3g} left of {float(first.abs().max()):.3g}; values contradict "
            "each other, or the covariance has no spread along it: drop one, use more members, or the Euclidean metric"
        )


def constrain(
    ensemble: Ensemble,
    operator: Operator,
    value: Tensor | float,
    *,
    metric: Metric | str | None = "ensemble",
    rng: Rng | None = None,
    std: float = 0.0,
) -> Ensemble:
    """An ensemble moved onto a constraint after it was drawn; weights are kept.

    Args:
        ensemble: Equally weighted where its own covariance is the metric.
        operator: h.
        value: b.
        metric: "ensemble": the members' own covariance (exact for Gaussian posteriors and linear h as members grow in number); None: Euclidean; or C.
        rng: See `project`.
        std: See `project`.

    Returns:
        The ensemble with ``constraint_before`` in `info`, the root mean square of h - b it had, and ``constraint_moved``, that of the moves.

    Raises:
        InputError: See `project`; or if weights differ and the metric is the ensemble's own.
    """
    if isinstance(metric, str):
        if metric != "ensemble":
            raise InputError(f"constrain: expected the metric 'ensemble', None or a covariance, got {metric!r}")
        metric = ensemble_covariance(ensemble.draws("constrain with metric 'ensemble'"))
    members = project(ensemble.members, operator, value, metric=metric, std=std, rng=rng)
    with torch.no_grad():
        before = operator(ensemble.members)
        before = (before - torch.as_tensor(value).to(before)).double()
    moved = (members - ensemble.members).double().square().mean().sqrt()
    return Ensemble(members, ensemble.log_weights, {**ensemble.info, "constraint_before": before.square().mean().sqrt(), "constraint_moved": moved})


class ConstrainedDenoiser(Denoiser):
    """A denoiser whose results obey a constraint, whichever sampler runs it; the last state of a sampler that ends on one obeys it too.

    Args:
        denoiser: Any, a guided one too.
        decode: From coefficients to physical windows (`Posterior.decode`, or lambda z: prior.decode(z, None)).
        operator: h.
        value: b.
        metric: C of the coefficients; None is the Euclidean projection.
        iterations: Gauss-Newton steps for each state; linear constraints need one.

    Raises:
        InputError: If the operator has no gradient.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        decode: Callable[[Tensor], Tensor],
        operator: Operator,
        *,
        value: Tensor | float,
        metric: Metric | None = None,
        iterations: int = 1,
    ) -> None:
        super().__init__()
        if not operator.differentiable:
            raise InputError(f"ConstrainedDenoiser: expected an operator with a gradient, got {type(operator).__name__}")
        self.denoiser, self.schedule, self.decode = denoiser, denoiser.schedule, decode
        self.operator, self.value, self.metric, self.iterations = operator, value, metric, iterations

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """E[z_0 | z_t] moved onto the constraint; see Denoiser.forward."""
        mean = self.denoiser(x_t, t, cond)
        start = mean.detach()
        u = start
        for _ in range(self.iterations):
            with torch.enable_grad():
                point = u.clone().requires_grad_()
                reading = self.operator(self.decode(point))
                h = reading.flatten(1) - torch.as_tensor(self.value).to(reading).expand(reading.shape[1:]).flatten()
                rows = torch.stack(
                    [torch.autograd.grad(h[:, i].sum(), point, retain_graph=True)[0].flatten(1) for i in range(h.shape[1])], 1
                ).double()
            off = h.detach().double() + torch.einsum("bmd,bd->bm", rows, (start - u).double().flatten(1))
            u = start - _step(rows, off, self.metric, 0.0, start.shape).to(start)
        return mean + (u - start)


def constrained_flow(
    velocity: Callable[[Tensor, Tensor], Tensor],
    noise: Tensor,
    correct: Callable[[Tensor], Tensor],
    *,
    steps: int = 20,
    mixes: int = 1,
    refresh: int = 0,
    rng: Rng | None = None,
) -> Tensor:
    """A flow x = t x1 + (1 - t) z from noise to data that obeys a constraint at its end; PCFM by default, ECI with `mixes` and `refresh`.

    Args:
        velocity: E[x1 - z | x_t] of (x_t, t), t from 0 (noise) to 1, as `CoupledFlow` gives it.
        noise: z, (B, ...).
        correct: Moves ends onto the constraint: `project`, a copy of boundary values, a shift of the mean.
        steps: Equal steps in t.
        mixes: Rounds of extrapolation, correction and interpolation for each step.
        refresh: Evaluations after which the noise is drawn anew; 0: never.
        rng: Randomness of that noise.

    Returns:
        Samples, shape of `noise`, corrected last of all.

    Raises:
        InputError: If a number makes no sense, or noise shall be drawn without an rng.
        Diverged: If a state is not finite.
    """
    if min(steps, mixes) < 1 or refresh < 0 or (refresh and rng is None):
        raise InputError(f"constrained_flow: expected steps, mixes >= 1, refresh >= 0 and an rng with it, got {steps}, {mixes}, {refresh}")
    x, count = noise, 0
    for k in range(steps):
        for j in range(mixes):
            t, after = k / steps, (k + 1) / steps if j == mixes - 1 else k / steps
            end = correct(x + (1 - t) * velocity(x, torch.as_tensor(t, dtype=torch.float64, device=x.device)))
            count += 1
            if refresh and rng is not None and count % refresh == 0:
                noise = rng.child(count).normal(noise.shape, like=noise)
            x = after * end + (1 - after) * noise
            if not bool(x.isfinite().all()):
                raise Diverged("state", after, "take more steps, or a correction that moves less")
    return x
