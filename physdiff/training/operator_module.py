r"""Training a deterministic operator: a LightningModule that a plain Trainer fits.

Loss of a window, with z its coefficients and $\hat z$ what the network makes of the condition:

$$ \text{relative: } \|\hat z - z\| / \|z\|, \qquad \text{mse: } \overline{(\hat z - z)^2}, $$

over the known coefficients. The first weighs every window alike, whatever its size (Li et al., 2020, arXiv 2010.08895); the second leads to the
conditional mean. A `Refiner` is asked one of its levels, drawn anew for each window. Everything else, resuming exactly included, is that of
`DiffusionModule`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.checks import check_one_of
from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.forecaster import Forecaster
from physdiff.diffusion.refiner import Refiner
from physdiff.training.prior_module import PriorModule

__all__ = ["OperatorModule", "operator_loss"]


class OperatorModule(PriorModule):
    """Fit the network of a `Forecaster` or of a `Refiner`.

    Args:
        prior: The forecaster; trained in place (with `ema`, it holds the averaged weights at the end).
        lr: Peak learning rate of AdamW; cosine to zero over the run after a warm-up of 5 % (at most 100 steps).
        ema: Decay of the exponential moving average of the weights (reached gradually); 0: no average.
        loss: "relative" or "mse".
        weight_decay: Of AdamW.
        input_noise: Standard deviation of noise added to the encoded condition; makes roll-outs forgiving of their own errors.
        roll: Names of periodic axes along which windows are shifted at random, as in `DiffusionModule`.
        seed: Seed of all training randomness.
    """

    def __init__(
        self,
        prior: Forecaster | Refiner,
        lr: float = 1e-3,
        ema: float = 0.999,
        *,
        loss: str = "mse",
        weight_decay: float = 1e-4,
        input_noise: float = 0.0,
        roll: tuple[str, ...] = (),
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not isinstance(prior, Forecaster | Refiner):
            got = f"a {type(prior).__name__}; take DiffusionModule for it"
            raise InputError(f"OperatorModule: expected a Forecaster or a Refiner, got {got}")
        self.loss = check_one_of(loss, ("relative", "mse"), "OperatorModule loss")
        self._begin(prior, lr=lr, ema=ema, weight_decay=weight_decay, input_noise=input_noise, roll=roll, seed=seed)

    def _loss(self, batch: dict[str, Tensor], rng: Rng, *, train: bool, step: int = 0) -> Tensor:
        """Loss of each window of a batch, (B,)."""
        z, c, weights = self._coefficients(self._shifted(batch, rng, train=train), rng, train=train)
        if not isinstance(self.prior, Refiner):
            return operator_loss(self.prior.model(z, z.new_zeros(()), c), z, loss=self.loss, weights=weights)
        index, model = batch["index"].tolist(), self.prior.model
        level = torch.stack([rng.child("level", i).integers(0, 1 + model.refinements) for i in index]).to(z)
        given, wanted = model.asked(z, level, rng.child("noise").normal_each(index, tuple(z.shape[1:]), like=z))
        return operator_loss(model(given, level, c), wanted, loss=self.loss, weights=weights)


def operator_loss(predicted: Tensor, z: Tensor, *, loss: str, weights: Tensor | None = None) -> Tensor:
    """Error of predictions (B, ...) of z, one number per sample; `weights` (known shares) broadcast against z."""
    share = torch.ones_like(z) if weights is None else weights.to(z).expand_as(z)
    # a weight of zero hides whatever stands in the data there
    wrong, right = (torch.where(share > 0, share * v.square(), torch.zeros_like(v)).flatten(1).sum(1) for v in (predicted - z, z))
    tiny = torch.finfo(z.dtype).tiny
    if loss == "mse":
        return wrong / share.flatten(1).sum(1).clamp_min(tiny)
    # the root has no slope at zero: an exact prediction shall have a zero gradient, not NaN
    return torch.where(wrong > 0, (wrong.clamp_min(tiny) / right.clamp_min(tiny)).sqrt(), torch.zeros_like(wrong))
