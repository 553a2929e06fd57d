r"""The probability flow to a tolerance: reference samples, and log densities.

In y = x/alpha and lam the flow is dy/dlam = D - y for every schedule, and along it d log p(y)/dlam = d - tr(dD/dy), so that for data x

    log p_t(x) = log p_T(x_T) + log |dx_T/dx|,    log p(x) = log p(y) - d log alpha

Integrated by Dormand and Prince's pair of orders 5 and 4, each step's error below `tol` for the worst sample of the batch. The trace is exact
(d backward passes of one batch each) or Hutchinson's, z^T (dD/dy) z with one fixed sign vector z for the whole path: unbiased in the log
density. Far too dear to sample with, and what others are compared with. References: Dormand and Prince, A family of embedded Runge-Kutta
formulae, 1980; Song et al., 2021; Grathwohl et al., FFJORD, 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import Diverged, InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.samplers.ddim import first_order_kernel
from physdiff.diffusion.samplers.sampler import Sampler, denoised, level_at, start_state
from physdiff.diffusion.schedule import Schedule

__all__ = ["ProbabilityFlow", "log_likelihood"]

State = tuple[Tensor, Tensor]  # y (B, ...) and the change of log density (B,)
_NODES = (0.0, 0.2, 0.3, 0.8, 8 / 9, 1.0)
_STAGES = (
    (0.2,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
_MOST_STEPS = 20_000


class ProbabilityFlow(Sampler):
    """The flow to a tolerance; deterministic, between the given times only their ends count.

    Args:
        tol: Error of a step, relative to the size of y (and absolute below 1).
    """

    def __init__(self, tol: float = 1e-8) -> None:
        self.tol = check_positive(tol, "ProbabilityFlow.tol")

    def run(self, denoiser: Denoiser, x: Tensor, times: Tensor, *, cond: Tensor | None = None, rng: Rng) -> Tensor:
        """Carry x from times[0] to times[-1], see `Sampler.run`; where lam is infinite the first or last step is a step of `ddim`."""
        schedule = denoiser.schedule
        x, steps = start_state(x, times)
        ends = [level_at(schedule, t) for t in (steps[0][0], *(s for _, s in steps))]
        first, last = (0 if ends[0].lam.isfinite() else 1), (len(steps) if ends[-1].lam.isfinite() else len(steps) - 1)
        grid = [steps[0][0], *(s for _, s in steps)]
        if first == 1:
            mean = denoised(denoiser, x, grid[0], cond=cond, step=0, steps=len(steps))
            x = first_order_kernel(schedule, x, mean, t=grid[0], s=grid[1], eta=0.0).mean
        if last > first:
            slope = _slope(denoiser, cond, None)
            y, _ = _integrate(slope, (x / ends[first].alpha.to(x), x.new_zeros(len(x))), float(ends[first].lam), float(ends[last].lam), tol=self.tol)
            x = y * ends[last].alpha.to(x)
        if last < len(steps) and last >= first:
            x = denoised(denoiser, x, grid[last], cond=cond, step=last, steps=len(steps))
        return x


def log_likelihood(
    denoiser: Denoiser,
    x: Tensor,
    *,
    start: GaussianDenoiser,
    cond: Tensor | None = None,
    smallest: float = 1e-4,
    largest: float = 1e3,
    tol: float = 1e-8,
    probe: Rng | None = None,
) -> Tensor:
    """Log density of clean samples under the prior's flow.

    Args:
        denoiser: The denoiser; float64 for many digits.
        x: Clean samples (B, C, T, *S).
        start: Mean and covariance of the data, whose Gaussian is the law at the noisy end: its error falls as the cube of std/u there.
        cond: Encoded condition (B or 1, ...).
        smallest: Noise ratio u at which the flow begins: the density is that of data with so much noise.
        largest: Noise ratio at which it ends, lowered to what the schedule has.
        tol: Error of a step.
        probe: None: the exact trace, d backward passes per evaluation; else Hutchinson's estimate with signs from this key.

    Returns:
        Log densities (B,), dtype of x, float64 if x is.

    Raises:
        InputError: If the schedule has no finite end between `smallest` and `largest`.
    """
    schedule = denoiser.schedule
    high = min(float(schedule.lam(1e-9)), -math.log(check_positive(smallest, "log_likelihood.smallest")))
    low = max(float(schedule.lam(1.0)), -math.log(check_positive(largest, "log_likelihood.largest")))
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"log_likelihood: expected a schedule with finite ends within smallest < largest, got lam from {low} to {high}; set both")
    signs = None if probe is None else probe.normal_each(range(len(x)), x.shape[1:], like=x).sign()
    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
    y, change = _integrate(_slope(denoiser, cond, signs, trace=True), (wide, wide.new_zeros(len(x))), high, low, tol=tol)
    t = schedule.time_of(low)
    alpha, size = schedule.alpha(t).to(y), x[0].numel()
    # d log p(y)/dlam is minus the divergence of dy/dlam, and lam falls on the way out
    return _gaussian_log_prob(start, y, schedule, t, cond=cond) + size * torch.log(alpha) + change


def _gaussian_log_prob(start: GaussianDenoiser, y: Tensor, schedule: Schedule, t: Tensor, *, cond: Tensor | None) -> Tensor:
    """Log density of x = alpha y under N(alpha m, alpha^2 C + sigma^2), (B,)."""
    alpha, sigma = (float(v) for v in schedule(t))
    off = alpha * (y - start.prior_mean(y, cond))
    squared = (off * start.covariance.apply_function(lambda c: 1 / (alpha**2 * c + sigma**2), off)).flatten(1).sum(1)
    log_det = off[0].numel() * float(start.covariance.mean_function(lambda c: torch.log(alpha**2 * c + sigma**2)))
    return -0.5 * (squared + log_det + off[0].numel() * math.log(2 * math.pi))


def _slope(denoiser: Denoiser, cond: Tensor | None, signs: Tensor | None, *, trace: bool = False) -> Callable[[float, State], State]:
    schedule = denoiser.schedule

    def slope(lam: float, state: State) -> State:
        y = state[0]
        t = schedule.time_of(lam)
        alpha = schedule.alpha(t).to(y)

        def mean(at: Tensor) -> Tensor:
            return denoised(denoiser, alpha * at, t, cond=cond, step=0, steps=1)

        if not trace:
            return mean(y) - y, torch.zeros_like(state[1])
        with torch.enable_grad():
            at = y.detach().requires_grad_()
            value = mean(at)
            divergence = _trace(value, at, signs)
        return value.detach() - y, divergence - y[0].numel()

    return slope


def _trace(value: Tensor, at: Tensor, signs: Tensor | None) -> Tensor:
    if signs is not None:
        (back,) = torch.autograd.grad((value * signs).sum(), at)
        return (back * signs).flatten(1).sum(1)
    total = torch.zeros(len(at), dtype=at.dtype, device=at.device)
    for i, entry in enumerate(value.flatten(1).unbind(1)):
        (back,) = torch.autograd.grad(entry.sum(), at, retain_graph=True)
        total = total + back.flatten(1)[:, i]
    return total


def _integrate(slope: Callable[[float, State], State], state: State, start: float, end: float, *, tol: float) -> State:
    lam, step = start, (end - start) / 20
    first = slope(lam, state)
    for _ in range(_MOST_STEPS):
        if abs(end - lam) <= 1e-14 * (1 + abs(end)):
            return state
        step = math.copysign(min(abs(step), abs(end - lam)), step)
        slopes = [first]
        for node, row in zip((*_NODES[1:], 1.0), _STAGES, strict=True):
            new = _moved(state, slopes, row, step)
            slopes.append(slope(lam + node * step, new))
        error = _size(_moved(None, slopes, _ERROR, step), state, tol)
        if error <= 1:
            lam, state, first = lam + step, new, slopes[-1]  # the last stage is the next step's first
        step *= min(5.0, max(0.2, 0.9 * error**-0.2 if error > 0 else 5.0))
    raise Diverged("probability flow", lam, f"no end after {_MOST_STEPS} steps; raise tol, or use float64")


def _moved(state: State | None, slopes: list[State], row: tuple[float, ...], step: float) -> State:
    parts = [sum((step * w * k[j] for w, k in zip(row, slopes, strict=False) if w), torch.zeros_like(slopes[0][j])) for j in (0, 1)]
    if state is None:
        return parts[0], parts[1]
    return state[0] + parts[0], state[1] + parts[1]


def _size(error: State, state: State, tol: float) -> float:
    y = (error[0].abs() / (tol * (1 + state[0].abs()))).max()
    return float(torch.maximum(y, (error[1].abs() / tol).max()))
