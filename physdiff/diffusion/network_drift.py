r"""A network made into the drift of an interpolant, and a drift that conserves linear invariants.

One network predicts both means with unit-size inputs and targets. With the second moments (v_0, v_1, c) of the ends and
V = a^2 v_0 + b^2 v_1 + 2ab c + gamma^2 the linear regressions on x_t are built in,

    v = (a a' v_0 + b b' v_1 + (a b' + a' b) c)/V x_t + s_v F_v,    h = gamma/V x_t + s_h F_h,    (F_v, F_h) = F(x_t/sqrt(V), cond; t)

with s_v, s_h the standard deviations of what the regressions leave. Invariants: where L x_0 = L x_1 for every pair (mass, momentum, any linear
functional) and a + b = 1, projecting z, v and h on the kernel of L keeps L x_t = L x_0 to rounding on the whole way. References: Karras et al.,
2022, section 5, and Zhou et al., Denoising diffusion bridge models, 2024, for the preconditioning.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from physdiff.base.errors import InputError, ShapeError
from physdiff.diffusion.interpolant import Drift, Interpolant
from physdiff.diffusion.schedule import per_sample

__all__ = ["ConservingDrift", "NetworkDrift"]


class NetworkDrift(Drift):
    """Both means by one network, a Saved module as in `PreconditionedDenoiser` with twice as many outputs as channels.

    Args:
        network: Called as ``network(x, c_noise)`` with x (B, C + C'', *axes); gives (B, 2C, *axes).
        interpolant: The path.
        moments: Mean squares of x_0 and x_1 and of their product, (v_0, v_1, c).

    Raises:
        InputError: If the moments are none.
    """

    def __init__(self, network: nn.Module, interpolant: Interpolant, moments: tuple[float, float, float] = (0.0, 1.0, 0.0)) -> None:
        super().__init__()
        v_0, v_1, c = moments
        if v_0 < 0 or v_1 <= 0 or c**2 > v_0 * v_1 * (1 + 1e-6):
            raise InputError(f"NetworkDrift: expected v_0 >= 0, v_1 > 0 and c^2 <= v_0 v_1, got {moments}")
        self.network, self.interpolant, self.moments = network, interpolant, (v_0, v_1, c)

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(v, h), see `Drift.forward`."""
        total, (k_v, s_v), (k_h, s_h) = self._linear(t)
        x = per_sample(total.rsqrt(), x_t) * x_t
        if cond is not None:
            if cond.shape[2:] != x.shape[2:] or cond.shape[0] not in (1, x.shape[0]):
                raise ShapeError(f"NetworkDrift: expected cond on the grid of x {tuple(x_t.shape)}, got {tuple(cond.shape)}; encode it")
            x = torch.cat([x, cond.to(x.dtype).expand(x.shape[0], *cond.shape[1:])], 1)
        ndim = int(self.network.ndim)  # type: ignore[arg-type]
        squeeze = ndim == x.ndim - 3
        if squeeze and x.shape[2] != 1 or not squeeze and ndim != x.ndim - 2:
            raise ShapeError(f"NetworkDrift: expected (B, C, T, *S) for a network on {ndim} axes, got {tuple(x_t.shape)}; use FramesToChannels")
        dtype = next((p.dtype for p in self.network.parameters() if p.is_floating_point()), x.dtype)
        # networks embed a number of the size of log(u)/4 of diffusion: the log odds of t, halved
        when = 0.5 * torch.logit(t.double().clamp(1e-6, 1 - 1e-6)).to(device=x.device, dtype=x_t.dtype)
        out = self.network((x.squeeze(2) if squeeze else x).to(dtype), when).to(x_t.dtype)
        first, second = (out.unsqueeze(2) if squeeze else out).chunk(2, dim=1)
        v = per_sample(k_v, x_t) * x_t + per_sample(s_v, x_t) * first
        return v, per_sample(k_h, x_t) * x_t + per_sample(s_h, x_t) * second

    def weights(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """1/s_v^2 and 1/s_h^2: every time counts the same."""
        _, (_, s_v), (_, s_h) = self._linear(t)
        return s_v**-2, s_h**-2

    def _linear(self, t: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        p, (v_0, v_1, c) = self.interpolant(t), self.moments
        total = (p.a**2 * v_0 + p.b**2 * v_1 + 2 * p.a * p.b * c + p.gamma**2).clamp_min(1e-8)
        with_v = p.a * p.da * v_0 + p.b * p.db * v_1 + (p.a * p.db + p.da * p.b) * c
        square_v = p.da**2 * v_0 + p.db**2 * v_1 + 2 * p.da * p.db * c
        # what is left may vanish (a point, or one end): a floor keeps targets and weights finite
        left_v = (square_v - with_v**2 / total).clamp_min(1e-3 * v_1)
        left_h = (1 - p.gamma**2 / total).clamp_min(1e-3)
        return total, (with_v / total, left_v.sqrt()), (p.gamma / total, left_h.sqrt())


class ConservingDrift(Drift):
    """A drift projected on what keeps linear invariants that both ends share.

    Args:
        inner: The drift.
        invariants: Functionals (r, C, T, *S): the kept numbers are sum(invariants[i] * x).

    Raises:
        InputError: If the path does not keep them (a + b must be 1: linear, or one-sided with invariants zero), or they depend on each other.
        ShapeError: If there are none.
    """

    basis: Tensor

    def __init__(self, inner: Drift, invariants: Tensor) -> None:
        super().__init__()
        if inner.interpolant.path != "linear":
            raise InputError(f"ConservingDrift: expected the linear path, for which a + b = 1, got {inner.interpolant.path!r}")
        if invariants.ndim < 2 or len(invariants) == 0:
            raise ShapeError(f"ConservingDrift: expected invariants (r, C, T, *S), got {tuple(invariants.shape)}")
        rows = invariants.double().flatten(1)
        q, triangle = torch.linalg.qr(rows.T)
        if float(triangle.diagonal().abs().min()) < 1e-10 * float(rows.norm(dim=1).max()):
            raise InputError("ConservingDrift: expected independent invariants, got some that follow from others; leave them out")
        self.inner, self.interpolant, self.invariants = inner, inner.interpolant, invariants
        self.register_buffer("basis", q.T.reshape(invariants.shape), persistent=False)

    def project(self, z: Tensor) -> Tensor:
        """The part of z (B, C, T, *S) that changes no invariant."""
        rows = self.basis.to(z).flatten(1)
        flat = z.flatten(1)
        for _ in range(2):  # once more for the last digits
            flat = flat - (flat @ rows.T) @ rows
        return flat.reshape(z.shape)

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(v, h) of the inner drift, projected."""
        v, h = self.inner(x_t, t, cond)
        return self.project(v), self.project(h)

    def weights(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Those of the inner drift."""
        return self.inner.weights(t)
