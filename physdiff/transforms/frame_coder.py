"""What turns each frame into a few channels on a coarser regular grid: the abstract coder behind latent priors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

from torch import Tensor

from physdiff.transforms.transform import Transform

__all__ = ["FrameCoder"]


class FrameCoder(Transform):
    """Abstract lossy map of frames, (B, C, T, *S) -> (B, latent, T, *coarse); `Autoencoder` on grids, `MeshAutoencoder` on points.

    Attributes:
        channels: Number C of fields; None until fitted.
        periodic: Whether each axis of the latents is circular.
        width: Channels of its networks; 0: it is linear and need not be trained.
        latent: Channels of the latents.
        error: Root mean square of what is lost, in standard deviations.
    """

    channels: int | None
    periodic: tuple[bool, ...] | None
    width: int
    latent: int
    error: Tensor

    @property
    @abstractmethod
    def coarse(self) -> tuple[int, ...]:
        """Lengths of the latents' axes in space."""

    @abstractmethod
    def shares(self, known: Tensor) -> Tensor:
        """Means of maps (B, M, T, *S) over what is behind each latent: (B, M, T, *coarse)."""

    @abstractmethod
    def rescale(self, latents: Iterator[Tensor]) -> None:
        """Set mean and variance of the latents of training data to 0 and 1; called after training."""
