r"""Monte Carlo dropout: the dropout of a network's training kept on in its draws.

Every pass of the network multiplies the entries x of each dropout layer by $m/(1 - p)$, m = 0 with probability p and else 1, other masks for each
draw and each pass. Draws approximate a variational posterior (Gal and Ghahramani, Dropout as a Bayesian approximation, 2016), whose spread follows p
and not what the data tell; look at the coverage. Masks are keyed as all noise of the house, so that draws can be repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.weight_ensemble import borrow
from physdiff.diffusion.window_prior import WindowPrior

__all__ = ["DropoutEnsemble"]


class DropoutEnsemble(WindowPrior):
    """A prior whose network was trained with dropout (`UNet`, `FieldTransformer`), drawn with it.

    Args:
        prior: The prior.
        share: p; that of the training if None.

    Raises:
        InputError: If the network has no dropout layer with a share above zero (and none is given), or the share is not in [0, 1).
    """

    no_posterior: ClassVar[str] = "its network is another one at every pass, so that no denoiser belongs to it"

    def __init__(self, prior: WindowPrior, share: float | None = None) -> None:
        super().__init__()
        if share is not None and not 0 <= share < 1:
            raise InputError(f"DropoutEnsemble share: expected a number in [0, 1), got {share}")
        self.prior, self.share = prior, share
        if not self._layers():
            name = type(prior.model).__name__
            raise InputError(f"DropoutEnsemble: expected a network with dropout layers that drop something, got none in {name}; train with one")
        borrow(self, prior)

    @property
    def model(self) -> nn.Module:
        """The network."""
        return self.prior.model

    def base(self, completed: Tensor | None) -> Tensor | None:
        """That of the prior."""
        return self.prior.base(completed)

    def draw(self, noise: Tensor, completed: Tensor | None, *, rng: Rng) -> Tensor:
        """See `WindowPrior.draw`; masks by row of the batch."""
        with self._masks(rng.child("dropout"), len(noise)):
            return self.prior.draw(noise, _each(completed, len(noise)), rng=rng)

    def _layers(self) -> list[nn.Dropout]:
        found = [m for m in self.prior.model.modules() if isinstance(m, nn.Dropout)]
        return [m for m in found if (m.p if self.share is None else self.share) > 0]

    @contextmanager
    def _masks(self, rng: Rng, rows: int) -> Iterator[None]:
        """The layers, in evaluation mode, masked by keys (layer, pass, row)."""
        passes = [0] * len(self._layers())

        def masked(k: int, layer: nn.Dropout, out: Tensor) -> Tensor:
            share = layer.p if self.share is None else self.share
            key, passes[k] = rng.child(k, passes[k]), passes[k] + 1
            # rows before axes in every network of the house, or tokens flattened behind them
            dice = key.normal_each(range(rows), (out.numel() // rows,), like=out.float())
            kept = (torch.special.ndtr(dice) >= share).reshape(out.shape)
            return out * kept.to(out) / (1 - share)

        def hook(k: int) -> Any:  # noqa: ANN401 - what torch calls a hook
            return lambda layer, _, out: masked(k, layer, out)

        handles = [layer.register_forward_hook(hook(k)) for k, layer in enumerate(self._layers())]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _each(completed: Tensor | None, rows: int) -> Tensor | None:
    """A shared condition once for each row: a deterministic network is passed by conditions, not by draws."""
    return completed if completed is None or len(completed) == rows else completed.expand(rows, *completed.shape[1:])
