r"""A fully connected network between the modes of a covariance: small, fast denoisers of smooth windows.

Windows of a few dozen leading patterns need no convolutions. With $x = V^{-1/2} x_\sigma$ the input of a preconditioned denoiser, $\lambda_i$ the
variances along orthonormal patterns $e_i$, and $V$ and $P$ the means over all entries of $\lambda$ and of $\lambda\sigma^2/(\lambda + \sigma^2)$,

$$ F(x) = \sum_i e_i \sqrt{\frac{\lambda_i\sigma^2}{(\lambda_i + \sigma^2)\,P}}\; f_i(\xi, \log\sigma), \qquad
\xi_i = \sqrt{\frac{V + \sigma^2}{\lambda_i + \sigma^2}}\; e_i\cdot x, $$

so that every mode has variance one on its way in, and in its own posterior standard deviation on its way out, at every noise level: modes of very
different sizes are learnt equally well. Beyond the patterns the output is zero; a Gaussian base under the network takes what is there. f is a
residual network of fully connected layers (He et al., 2016) with layer normalisation, told the noise level in each.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import Saved
from physdiff.networks.embedding import NoiseEmbedding

__all__ = ["ModeNetwork"]


class ModeNetwork(Saved, nn.Module):
    """Network (B, C + C'', *axes) and a noise level -> (B, C, *axes) that works between modes; zero before training.

    Args:
        patterns: Orthonormal rows (r, d), each a sample flattened over (C, *axes); those of the base of the denoiser it is put in.
        variances: Variances along them (r,), positive.
        rest: Variance in every other direction.
        ndim: Number of axes.
        width: Length of the hidden layers.
        depth: Number of residual layers.
        given: Entries of the condition, which follow those of the sample.

    Raises:
        InputError: If a number makes no sense.
        ShapeError: If patterns and variances do not fit.
    """

    patterns: Tensor
    variances: Tensor

    def __init__(
        self, patterns: Tensor, variances: Tensor, rest: float = 0.0, *, ndim: int = 1, width: int = 256, depth: int = 4, given: int = 0
    ) -> None:
        super().__init__()
        if patterns.ndim != 2 or variances.shape != patterns.shape[:1]:
            shapes = f"{tuple(patterns.shape)} and {tuple(variances.shape)}"
            raise ShapeError(f"ModeNetwork: expected patterns (r, d) and variances (r,), got {shapes}")
        if not variances.is_meta and not bool((variances > 0).all()):
            raise InputError(f"ModeNetwork: expected positive variances, got {float(variances.min()):g}; leave out patterns without any")
        for value, name in ((ndim, "ndim"), (width, "width"), (depth, "depth")):
            check_positive(value, f"ModeNetwork {name}")
        self.ndim, self.rest = ndim, check_positive(rest, "ModeNetwork rest", zero=True)
        self.given = int(check_positive(given, "ModeNetwork given", zero=True))
        self.register_buffer("patterns", patterns, persistent=False)
        self.register_buffer("variances", variances, persistent=False)
        modes = patterns.shape[0]
        self.embedding = NoiseEmbedding(width)
        self.stem = nn.Linear(modes + self.given, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.told = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.head = nn.Linear(width, modes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Apply the network; `noise` (B,) or () is log(sigma/alpha)/4, see PreconditionedDenoiser.

        Raises:
            ShapeError: If a sample has another number of entries than the patterns.
        """
        rank, size = self.patterns.shape
        if x.ndim != self.ndim + 2 or x[0].numel() != size + self.given:
            raise ShapeError(f"ModeNetwork: expected samples of {size + self.given} entries on {self.ndim} axes, got {tuple(x.shape)}")
        flat, axes = x.flatten(1), x.shape[2:]
        level, values = torch.exp(8 * noise.double()).reshape(-1, 1), self.variances.double()
        total = (values.sum() + self.rest * (size - rank)) / size + level
        left = ((values * level / (values + level)).sum(1, keepdim=True) + (size - rank) * self.rest * level / (self.rest + level)) / size
        inward, outward = (total / (values + level)).sqrt(), (values * level / ((values + level) * left)).sqrt()
        told = self.embedding(noise, x.shape[0])
        hidden = self.stem(torch.cat([flat[:, :size] @ self.patterns.T * inward.to(x.dtype), flat[:, size:]], 1))
        for layer, tell, norm in zip(self.layers, self.told, self.norms, strict=True):
            hidden = hidden + layer(functional.silu(norm(hidden) + tell(told)))
        modes: Tensor = self.head(functional.silu(hidden)) * outward.to(x.dtype)
        return (modes @ self.patterns).reshape(len(x), -1, *axes)
