r"""PDE-Refiner: a deterministic forecast whose small errors a network takes out again, one noise level after the other.

With c the encoded condition, z the coefficients and levels $\sigma_k = \sigma_{min}^{k/K}$, k = 0 ... K, one network F is trained to

$$ F(0, c; \sigma_0) \approx z, \qquad F(z + \sigma_k\epsilon, c; \sigma_k) \approx \epsilon \quad (k \ge 1), $$

and a forecast is $\hat z_0 = F(0, c; \sigma_0)$, then $\tilde z = \hat z_{k-1} + \sigma_k\epsilon_k$,
$\hat z_k = \tilde z - \sigma_k F(\tilde z, c; \sigma_k)$ for k = 1 ... K. Squared error sees only what is large; each level makes the network look
at what is as small as its noise, which keeps long roll-outs alive. K = 0 is a `Forecaster`. Draws differ, but a single one is what is meant: their
spread is no uncertainty of the forecast.

Reference: Lippe et al., PDE-Refiner: achieving accurate long rollouts with neural PDE solvers, NeurIPS 2023 (arXiv 2308.05732).
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.base.saved import Saved
from physdiff.diffusion.schedule import per_sample
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.grids.field_spec import FieldSpec
from physdiff.transforms.condition import ConditionTransform
from physdiff.transforms.transform import Transform

__all__ = ["RefinedMap", "Refiner"]


class RefinedMap(Saved, nn.Module):
    """The network and the levels of a `Refiner`.

    Args:
        network: A Saved module with an attribute `ndim`, called as ``network(x, level)`` with x (B, C + C'', *axes), coefficients and encoded
            condition, and level log(sigma)/4; where `ndim` is the number of axes in space, the one frame of (B, C, 1, *S) is squeezed out.
        refinements: Number K of levels.
        smallest: Standard deviation sigma_min of the last one, in units of the coefficients.

    Raises:
        InputError: If there is no level, or the smallest is not below 1.
    """

    def __init__(self, network: nn.Module, refinements: int = 3, smallest: float = 6e-4) -> None:
        super().__init__()
        check_positive(smallest, "Refiner smallest")
        if refinements < 1 or smallest >= 1:
            raise InputError(f"Refiner: expected refinements >= 1 and a smallest level below 1, got {refinements} and {smallest}")
        self.network, self.refinements, self.smallest = network, refinements, smallest

    def sigma(self, k: Tensor) -> Tensor:
        """The level sigma_k of whole numbers k."""
        return torch.exp(k * (math.log(self.smallest) / self.refinements))

    def forward(self, x: Tensor, k: Tensor, cond: Tensor | None = None) -> Tensor:
        """F(x, c; sigma_k) of noised coefficients (B, C, T, *S), of level k = 0 for x = 0, k of shape () or (B,).

        Raises:
            InputError: If there is no condition.
            ShapeError: If the network has another number of axes.
        """
        if cond is None:
            raise InputError("Refiner: expected a condition to map, got none; a forecaster without one would always say the same")
        ndim, axes = int(self.network.ndim), x.ndim - 2  # type: ignore[arg-type]
        squeeze = ndim == axes - 1 and x.shape[2] == 1
        if not squeeze and ndim != axes:
            raise ShapeError(f"Refiner: expected (B, C, T, *S) for a network on {ndim} axes, got {tuple(x.shape)}; use FramesToChannels")
        both = torch.cat([x, cond.to(x.dtype).expand(x.shape[0], *cond.shape[1:])], 1)
        dtype = next((p.dtype for p in self.network.parameters() if p.is_floating_point()), x.dtype)
        level = self.sigma(k).log() / 4
        out: Tensor = self.network((both.squeeze(2) if squeeze else both).to(dtype), level.to(device=x.device, dtype=dtype)).to(x.dtype)
        return out.unsqueeze(2) if squeeze else out

    def asked(self, z: Tensor, k: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """What the network is given and what it should say, for coefficients z (B, ...), levels k (B,) and standard normal noise."""
        first = per_sample(k, z) == 0
        given = torch.where(first, torch.zeros_like(z), z + per_sample(self.sigma(k), z) * noise)
        return given, torch.where(first, z, noise)


class Refiner(WindowPrior):
    """A forecast of windows (C, T, *S), refined; `OperatorModule` trains it.

    Args:
        model: Network and levels.
        transform: Between physical windows and coefficients, fitted.
        spec: Names, units, grid, time step and number of frames of the windows.
        cond_transform: How a condition window is completed and encoded.
        cond_spec: Names and units of the condition window.
    """

    no_posterior: ClassVar[str] = "its draws are one forecast with small errors mended; their spread is no uncertainty to weigh readings against"

    def __init__(
        self, model: RefinedMap, transform: Transform, spec: FieldSpec, *, cond_transform: ConditionTransform, cond_spec: FieldSpec
    ) -> None:
        super().__init__()
        self.map, self.transform, self.cond_transform = model, transform, cond_transform
        self.spec, self.cond_spec, self.steps = spec, cond_spec, 1 + model.refinements
        self._check_parts()

    @property
    def model(self) -> RefinedMap:
        """The network, called as a denoiser is, with the number of the level in place of the time."""
        return self.map

    def draw(self, noise: Tensor, completed: Tensor | None, *, rng: Rng) -> Tensor:
        """The refined forecast, see `WindowPrior.draw`; the start noise is that of the first refinement."""
        encoded, k = self.encode_cond(completed), noise.new_zeros(())
        z = self.map(torch.zeros_like(noise), k, encoded)
        for number in range(1, 1 + self.map.refinements):
            k = noise.new_full((), number)
            sigma = self.map.sigma(k)
            z = z + sigma * (noise if number == 1 else rng.child(number).normal(tuple(noise.shape), like=noise))
            z = z - sigma * self.map(z, k, encoded)
        return z
