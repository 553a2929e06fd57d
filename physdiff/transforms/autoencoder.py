r"""A learned, lossy representation: fields on a grid to a few channels on a coarser one.

With u a frame cut into boxes of $f^n$ cells, C fields each, and $\Lambda, V$ the leading variances and patterns of these boxes in training data,

$$ z = \Lambda^{-1/2} V^\top (u - m) + E(u), \qquad \hat u = m + V \Lambda^{1/2} z + D(z), $$

with convolutional networks E and D that are zero before training: an autoencoder begins as the best linear one of its boxes (Karhunen-Loeve)
and can only gain from there. ``width=0`` leaves the networks out. With boxes as large as the grid that is principal component analysis: linear,
so that posteriors in the latent space are those of a Gaussian in closed form. Each frame is encoded by itself; time stays an axis.

After training the latents are shifted and scaled to mean zero and variance one per channel. They may be bounded smoothly, $z / \sqrt{1 +
z^2/b^2}$, instead of by a Kullback-Leibler term, which costs accuracy (Rozet et al., 2025, arXiv 2507.02608). `decode(encode(x))` is x up to
`error`, the root mean square of what is lost, in standard deviations; a prior's draws carry that error, their likelihoods are differentiable.

Encode what is normalised: the first guess of the network is that all fields have the same size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError, NotFitted, ShapeError
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.points import PointGrid
from physdiff.networks.encoder import ConvDecoder, ConvEncoder, halvings
from physdiff.networks.padding import pad_end
from physdiff.networks.patches import patchify, unpatchify
from physdiff.transforms.frame_coder import FrameCoder
from physdiff.transforms.transform import Batches, Shape
from physdiff.transforms.wavelet import cross_fade

__all__ = ["Autoencoder", "factor_for"]

_LARGEST = 8
_COARSEST = 4  # cells that an axis keeps at least, if the factor is chosen here
_SMALLEST = 1e-6  # share of the largest variance below which a pattern is not divided by its own


class Autoencoder(FrameCoder):
    """Windows (B, C, T, *S) to (B, latent, T, *S/factor) and back, frame by frame.

    Axes that are no multiple of the factor are prolonged by a straight line from their last value to their first, and cropped after decoding.

    Args:
        compression: Numbers of the field for each number of the latents; the latter get C factor^n / compression channels, at least 1.
        factor: Cells of the field for each cell of the latents along every axis; None: the largest of 2, 4, 8 that leaves 4 cells. A
            power of 2, or any number with width 0.
        width: Channels of the networks at their finest level; 0: the linear map alone.
        blocks: Residual blocks at each level.
        bound: Bound b of the latents in standard deviations; None: none.
        channels: Number C of fields; None until fitted, as the next two.
        shape: Lengths *S of the axes in space; an axis may have another length later if it is a multiple of the factor and this one is.
        periodic: Whether each axis in space is circular.

    Raises:
        InputError: If an argument makes no sense.
        NotFitted: If used before it is fitted.
    """

    mean: Tensor
    std: Tensor
    error: Tensor

    def __init__(
        self,
        compression: float = 16.0,
        factor: int | None = None,
        width: int = 32,
        *,
        blocks: int = 2,
        bound: float | None = None,
        channels: int | None = None,
        shape: tuple[int, ...] | None = None,
        periodic: tuple[bool, ...] | None = None,
    ) -> None:
        super().__init__()
        check_positive(compression, "Autoencoder compression")
        if width < 0 or blocks < 1 or (factor is not None and factor < 2) or (bound is not None and not bound > 0):
            got = f"{width}, {blocks}, {factor} and {bound}"
            raise InputError(f"Autoencoder: expected width >= 0, blocks >= 1, factor >= 2 and a positive bound, got {got}")
        if width and factor is not None:
            halvings(factor)
        self.compression, self.width, self.blocks, self.bound = compression, width, blocks, bound
        self.asked, self.channels, self.shape, self.periodic = factor, channels, shape, periodic
        if channels is not None and shape is not None and periodic is not None:
            self._build(channels, tuple(shape), tuple(periodic))
        elif (channels, shape, periodic) != (None, None, None):
            raise InputError(f"Autoencoder: expected channels, shape and periodic together, got {channels}, {shape} and {periodic}")

    def _build(self, channels: int, shape: tuple[int, ...], periodic: tuple[bool, ...]) -> None:
        if len(shape) != len(periodic) or not 1 <= len(shape) <= 3:
            raise InputError(f"Autoencoder: expected shape and periodic of 1 to 3 axes, got {shape} and {periodic}")
        self.factor = factor_for(shape) if self.asked is None else self.asked
        entries = channels * self.factor ** len(shape)
        self.latent = min(entries, max(1, round(entries / self.compression)))
        self.register_buffer("centre", torch.zeros(entries))
        # patterns over and times their standard deviations; trained on with the networks
        self.analysis, self.synthesis = (torch.nn.Parameter(torch.zeros(size)) for size in ((self.latent, entries), (entries, self.latent)))
        self.register_buffer("mean", torch.zeros(self.latent))
        self.register_buffer("std", torch.ones(self.latent))
        self.register_buffer("error", torch.full((), math.nan))
        if self.width:
            options = {"factor": self.factor, "width": self.width, "blocks": self.blocks}
            self.encoder = ConvEncoder(channels, self.latent, periodic, **options)
            self.decoder = ConvDecoder(self.latent, channels, periodic, **options)
        self.requires_grad_(False)

    def fitted_to(self, channels: int, shape: tuple[int, ...], periodic: tuple[bool, ...]) -> Autoencoder:
        """The same choices for fields of that size, without weights yet; `fitted_from` finds both."""
        return Autoencoder(
            self.compression, self.asked, self.width, blocks=self.blocks, bound=self.bound, channels=channels, shape=shape, periodic=periodic
        )

    def fitted_from(self, batches: Batches, spec: FieldSpec, cond_spec: FieldSpec | None = None) -> Autoencoder:
        """Size and linear part from the windows; one that has them stays as it is. Missing values count as zero, the centre of what is normalised.

        Raises:
            InputError: If there are fewer boxes than latents, or values at scattered points.
        """
        del cond_spec
        if self.channels is not None and bool(self.error.isfinite()):
            return self
        if isinstance(spec.grid, PointGrid):
            raise InputError(f"Autoencoder: expected windows on a grid, got {spec.grid.summary()}; take MeshAutoencoder")
        made: Autoencoder | None = None
        count, total, square = 0, torch.zeros(()).double(), torch.zeros(()).double()
        for sample in batches():
            if made is None:
                made = self.fitted_to(sample.x.shape[1], tuple(sample.x.shape[3:]), spec.grid.periodic)
            boxes = made._boxes(torch.nan_to_num(sample.x)).movedim(1, -1).flatten(0, -2).double()
            count, total, square = count + len(boxes), total + boxes.sum(0), square + boxes.T @ boxes
        if made is None or count <= made.latent:
            least = "windows" if made is None else f"more than {made.latent} boxes"
            raise InputError(f"Autoencoder: expected {least} to be fitted to, got {count}; give more data or a larger compression")
        with torch.random.fork_rng(devices=[]):
            made._take_patterns(total / count, square / count - torch.outer(total / count, total / count))
        return made

    def _take_patterns(self, centre: Tensor, covariance: Tensor) -> None:
        """Set the linear part to the leading eigenvectors."""
        values, vectors = torch.linalg.eigh(covariance)
        values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)[:, : self.latent]
        size = values[: self.latent].clamp_min(_SMALLEST * values[0].clamp_min(1e-30)).sqrt()
        with torch.no_grad():
            self.get_buffer("centre").copy_(centre)
            self.analysis.copy_((vectors / size).T)
            self.synthesis.copy_(vectors * size)
            self.error.copy_((values[self.latent :].sum() / len(values)).sqrt())

    def at(self, shape: tuple[int, ...]) -> Autoencoder:
        """The same weights (shared) for fields on another grid of the same kind: the networks are made of convolutions.

        Raises:
            InputError: If the number of axes differs.
        """
        if self.channels is None or self.shape is None or self.periodic is None:
            raise NotFitted("Autoencoder.at: expected a fitted autoencoder, got one without weights")
        if len(shape) != len(self.shape):
            raise InputError(f"Autoencoder.at: expected {len(self.shape)} axes, got {shape}")
        made = Autoencoder(
            self.compression, self.factor, self.width, blocks=self.blocks, bound=self.bound,
            channels=self.channels, shape=tuple(shape), periodic=self.periodic,
        )  # fmt: skip
        for name, held in [*self.named_parameters(recurse=False), *self.named_buffers(recurse=False)]:
            setattr(made, name, held)
        if self.width:
            made.encoder, made.decoder = self.encoder, self.decoder
        return made

    def _ready(self) -> tuple[int, ...]:
        if self.shape is None:
            raise NotFitted("Autoencoder: expected a fitted one, got one without size or weights; use fitted(transform, data) or prepare")
        return self.shape

    @property
    def coarse(self) -> tuple[int, ...]:
        """Lengths of the latents' axes in space."""
        return tuple(-(-n // self.factor) for n in self._ready())

    def _boxes(self, x: Tensor) -> Tensor:
        """(B, C, T, *S) -> (B T, C f^n, *S/f)."""
        shape = self._ready()
        if x.ndim != 3 + len(shape) or x.shape[1] != self.channels or tuple(x.shape[3:]) != shape:
            raise ShapeError(f"Autoencoder: expected (B, {self.channels}, T, *{shape}), got {tuple(x.shape)}; `at` gives one for another grid")
        return patchify(self._prolonged(x).transpose(1, 2).flatten(0, 1), (self.factor,) * len(shape))

    def _prolonged(self, x: Tensor) -> Tensor:
        for axis, length in enumerate(self._ready(), start=3):
            x = cross_fade(x, -(-length // self.factor) * self.factor, axis)
        return x

    def _encode(self, x: Tensor, cond: Tensor | None) -> Tensor:
        boxes = self._boxes(x)
        z = torch.einsum("ke,be...->bk...", self.analysis.to(x), boxes - _channel(self.get_buffer("centre"), boxes))
        if self.width:
            sides = (self.factor,) * len(self._ready())
            z = z + self.encoder(unpatchify(boxes, sides).to(self.analysis)).to(x)
        if self.bound is not None:
            z = z * torch.rsqrt(1 + (z / self.bound).square())
        z = (z - _channel(self.mean, z)) / _channel(self.std, z)
        return _unfolded(z, x.shape[0])

    def _decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
        shape, coarse = self._ready(), self.coarse
        if z.ndim != 3 + len(shape) or z.shape[1] != self.latent or tuple(z.shape[3:]) != coarse:
            raise ShapeError(f"Autoencoder.decode: expected (B, {self.latent}, T, *{coarse}), got {tuple(z.shape)}")
        flat = z.transpose(1, 2).flatten(0, 1)
        flat = flat * _channel(self.std, flat) + _channel(self.mean, flat)
        boxes = torch.einsum("ek,bk...->be...", self.synthesis.to(z), flat)
        fine = unpatchify(boxes + _channel(self.get_buffer("centre"), boxes), (self.factor,) * len(shape))
        if self.width:
            fine = fine + self.decoder(flat.to(self.analysis)).to(z)
        for axis, length in enumerate(shape, start=2):
            fine = fine.narrow(axis, 0, length)
        return _unfolded(fine, z.shape[0])

    def out_shape(self, shape: Shape) -> Shape:
        """(C, T, *S) -> (latent, T, *S/factor)."""
        if (shape[0], *shape[2:]) != (self.channels, *self._ready()):
            raise ShapeError(f"Autoencoder.out_shape: expected ({self.channels}, T, *{self.shape}), got {shape}")
        return (self.latent, shape[1], *self.coarse)

    def shares(self, known: Tensor) -> Tensor:
        """Means of maps (B, M, T, *S) over the cell of each latent: (B, M, T, *S/factor)."""
        n, m = len(self._ready()), known.shape[1]
        widths = tuple(-length % self.factor for length in known.shape[3:])
        flat = pad_end(known.transpose(1, 2).flatten(0, 1), widths, (False,) * n)
        boxes = patchify(flat, (self.factor,) * n)
        return _unfolded(boxes.reshape(len(flat), m, -1, *boxes.shape[2:]).mean(2), known.shape[0])

    def weight(self, known: Tensor) -> Tensor:
        """Share of known cells (and fields) behind each latent."""
        share = self.shares(known).mean(1, keepdim=True)
        return share.expand(-1, self.latent, *share.shape[2:])

    def rescale(self, latents: Iterator[Tensor]) -> None:
        """Set mean and variance of the latents (B, latent, T, *S') of training data to 0 and 1; called after training."""
        count, total, square = 0, torch.zeros(()).double(), torch.zeros(()).double()
        for z in latents:
            rows = z.movedim(1, -1).flatten(0, -2).double()
            count, total, square = count + len(rows), total + rows.sum(0), square + rows.square().sum(0)
        mean = total / count
        std = (square / count - mean.square()).clamp_min(1e-12).sqrt()
        with torch.no_grad():
            self.mean.add_(self.std * mean.to(self.mean))
            self.std.mul_(std.to(self.std))


def factor_for(shape: tuple[int, ...]) -> int:
    """The largest of 2, 4 and 8 that leaves at least 4 cells along the shortest axis, else 2."""
    return max((f for f in (2, 4, _LARGEST) if min(shape) >= f * _COARSEST), default=2)


def _unfolded(x: Tensor, batch: int) -> Tensor:
    """(B T, C, *S) -> (B, C, T, *S)."""
    return x.reshape(batch, -1, *x.shape[1:]).transpose(1, 2)


def _channel(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like).reshape(-1, *[1] * (like.ndim - 2))
