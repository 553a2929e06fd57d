r"""One window in place of a distribution: a network from the condition to the coefficients, in the house of priors.

$$ \hat x = T^{-1}\big(f(c)\big), $$

f any network, c the encoded condition (known frames, forcings, static fields), T the transform (increments, anomalies, normalisation,
wavelets). Trained by squared error it tends to the mean of what the condition allows, and says nothing of the spread: all draws are one. It is
rolled out, scored, saved and resumed as every prior is, and is the baseline that an ensemble has to beat.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.base.saved import Saved
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.grids.field_spec import FieldSpec
from physdiff.transforms.condition import ConditionTransform
from physdiff.transforms.transform import Transform

__all__ = ["Forecaster", "NetworkMap"]


class NetworkMap(Saved, nn.Module):
    """A network as a map of encoded conditions; the state and the time of a walk are looked at by none.

    Args:
        network: A Saved module with an attribute `ndim`, called as ``network(c)`` with c (B, C'', *axes); where `ndim` is the number of axes in
            space, the one frame of (B, C'', 1, *S) is squeezed out.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """Coefficients (B, C', T, *S) of the condition (B, C'', T, *S); x_t and t are not used.

        Raises:
            InputError: If there is no condition.
            ShapeError: If the network has another number of axes.
        """
        if cond is None:
            raise InputError("NetworkMap: expected a condition to map, got none; a forecaster without one would always say the same")
        ndim, axes = int(self.network.ndim), cond.ndim - 2  # type: ignore[arg-type]
        squeeze = ndim == axes - 1 and cond.shape[2] == 1
        if not squeeze and ndim != axes:
            raise ShapeError(f"NetworkMap: expected (B, C, T, *S) for a network on {ndim} axes, got {tuple(cond.shape)}; use FramesToChannels")
        dtype = next((p.dtype for p in self.network.parameters() if p.is_floating_point()), cond.dtype)
        out: Tensor = self.network((cond.squeeze(2) if squeeze else cond).to(dtype)).to(cond.dtype)
        return out.unsqueeze(2) if squeeze else out


class Forecaster(WindowPrior):
    """A deterministic forecast (or any map given a condition) of windows (C, T, *S).

    Args:
        network: See `NetworkMap`; as many inputs as the encoded condition has channels, as many outputs as the coefficients.
        transform: Between physical windows and coefficients, fitted.
        spec: Names, units, grid, time step and number of frames of the windows.
        cond_transform: How a condition window is completed and encoded.
        cond_spec: Names and units of the condition window.
    """

    no_posterior: ClassVar[str] = "it knows one window and no spread, so that there is nothing to weigh readings against"

    def __init__(
        self, network: nn.Module, transform: Transform, spec: FieldSpec, *, cond_transform: ConditionTransform, cond_spec: FieldSpec
    ) -> None:
        super().__init__()
        self.map, self.transform, self.cond_transform = NetworkMap(network), transform, cond_transform
        self.spec, self.cond_spec, self.steps = spec, cond_spec, 1
        self._check_parts()

    @property
    def model(self) -> nn.Module:
        """The network, called as a denoiser is."""
        return self.map

    def draw(self, noise: Tensor, completed: Tensor | None, *, rng: Rng) -> Tensor:
        """Coefficients of the condition, see `WindowPrior.draw`; the noise gives the shape alone."""
        encoded = self.encode_cond(completed)
        out: Tensor = self.map(noise, noise.new_zeros(()), encoded).to(noise.dtype)
        if out.shape[1:] != noise.shape[1:]:
            raise ShapeError(f"Forecaster: expected coefficients {tuple(noise.shape[1:])} from the network, got {tuple(out.shape[1:])}")
        return out.expand_as(noise).contiguous()
