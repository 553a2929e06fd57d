r"""A network made into a denoiser: input, target and effective loss weight have unit size at every level.

    D = c_skip x_t + c_out F(c_in x_t, cond; c_noise),    V = alpha^2 s^2 + sigma^2,
    c_in = V^-1/2,  c_skip = alpha s^2 / V,  c_out = sigma s V^-1/2,  c_noise = log(u)/4,  weight = 1/c_out^2

With a Gaussian base the linear answer is built in and the network learns what is not Gaussian: D = D_base +
c_out F, where c_out^2 is the mean posterior variance of the base. For Gaussian data the optimal F is then
zero. References: Karras et al., 2022, section 5, for general (alpha, sigma); methods/diffusion 1.5 for the
base.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import describe
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.schedule import Schedule, per_sample

__all__ = ["PreconditionedDenoiser"]


class PreconditionedDenoiser(Denoiser):
    """A network F with preconditioning.

    The network is a Saved module with an attribute `ndim`, the number of axes it works on, called as
    ``network(x, c_noise)`` with x (B, C + C'', *axes) and c_noise () or (B,). If `ndim` is the number of axes
    in space, the one frame of (B, C, 1, *S) is squeezed out; if it is one more, time is its first axis.

    Args:
        network: The network.
        schedule: The noise schedule.
        sigma_data: Standard deviation of the clean samples.
        base: A Gaussian denoiser of the same samples and schedule, to which the network adds; `sigma_data`
            then is not used.
        share: What c_out F is multiplied by, in [0, 1]; see `network_share`.

    Raises:
        InputError: If the base has another schedule, or the share makes no sense.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        sigma_data: float = 1.0,
        *,
        base: GaussianDenoiser | None = None,
        share: float = 1.0,
    ) -> None:
        super().__init__()
        check_positive(sigma_data, "PreconditionedDenoiser.sigma_data")
        if base is not None and describe(base.schedule) != describe(schedule):
            raise InputError(
                "PreconditionedDenoiser: expected a base with the same schedule, "
                f"got {describe(base.schedule)} beside {describe(schedule)}; give both the same"
            )
        if not 0 <= share <= 1:
            raise InputError(f"PreconditionedDenoiser: expected a share of the network within 0 and 1, got {share}")
        self.share = share
        self.network = network
        self.schedule = schedule
        self.sigma_data = sigma_data
        self.base = base

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """Estimate E[x_0 given x_t], (B, C, T, *S)."""
        alpha, sigma = self.schedule(t)
        # at the ends lam may be infinite; beyond +-20 the network cannot tell levels apart anyway
        c_noise = -0.25 * self.schedule.lam(t).clamp(-20, 20)
        total = alpha**2 * self._data_variance() + sigma**2
        out = self._network(per_sample(total.rsqrt(), x_t) * x_t, c_noise.to(device=x_t.device, dtype=x_t.dtype), cond)
        if self.base is not None:
            linear = self.base(x_t, t, cond)
        else:
            linear = per_sample(alpha * self.sigma_data**2 / total, x_t) * x_t
        return linear + per_sample(self.share * self._out_variance(t).sqrt(), x_t) * out

    def weight(self, t: Tensor) -> Tensor:
        """Weight 1/c_out^2 of the squared error: every noise level counts the same; float64, shape of t."""
        return 1 / self._out_variance(t)

    def _data_variance(self) -> Tensor | float:
        if self.base is None:
            return self.sigma_data**2
        return self.base.covariance.mean_function(lambda c: c)[0]

    def _out_variance(self, t: Tensor) -> Tensor:
        if self.base is not None:
            return self.base.posterior_variance(t)
        alpha, sigma = self.schedule(t)
        variance = self.sigma_data**2
        return sigma**2 * variance / (alpha**2 * variance + sigma**2)

    def _network(self, x: Tensor, c_noise: Tensor, cond: Tensor | None) -> Tensor:
        frames, axes = x.shape[2], x.ndim - 2
        if cond is not None:
            if cond.shape[2:] != x.shape[2:] or cond.shape[0] not in (1, x.shape[0]):
                raise ShapeError(
                    f"PreconditionedDenoiser: expected cond on the grid of x {tuple(x.shape)}, its batch or 1, "
                    f"got {tuple(cond.shape)}; encode it with cond_transform"
                )
            x = torch.cat([x, cond.to(x.dtype).expand(x.shape[0], *cond.shape[1:])], 1)
        ndim = int(self.network.ndim)  # type: ignore[arg-type]
        squeeze = ndim == axes - 1
        if not squeeze and ndim != axes or squeeze and frames != 1:
            raise ShapeError(
                f"PreconditionedDenoiser: expected (B, C, T, *S) for a network on {ndim} axes, got T = {frames} "
                f"and {axes - 1} axes in space; use FramesToChannels, or a network with ndim={axes}"
            )
        out = self.network((x.squeeze(2) if squeeze else x).to(self._network_dtype(x)), c_noise).to(x.dtype)
        return out.unsqueeze(2) if squeeze else out

    def _network_dtype(self, x: Tensor) -> torch.dtype:
        return next((p.dtype for p in self.network.parameters() if p.is_floating_point()), x.dtype)
