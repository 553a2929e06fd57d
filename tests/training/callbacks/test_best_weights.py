"""The best weights come back, the averaged ones; patience; resumed as if nothing had been."""

from __future__ import annotations

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from physdiff.base.errors import InputError
from physdiff.training.callbacks.best_weights import BestWeights
from physdiff.training.callbacks.weight_average import WeightAverage
from physdiff.training.datamodule import TrajectoryDataModule
from physdiff.training.fit import fit
from tests.training.callbacks.quadratic import trainer
from tests.training.problems import calendar


class Walk(pl.LightningModule):
    """The weight grows by one each step; validation likes it best at `target`."""

    def __init__(self, target: float, decay: float = 0.0) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(()))
        self.target, self.decay = target, decay
        self.seen: list[float] = []

    def configure_callbacks(self) -> list[pl.Callback]:
        return [WeightAverage(self.decay)] if self.decay else []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)

    def training_step(self, batch: object, batch_idx: int) -> Tensor:
        return -self.w

    def validation_step(self, batch: object, batch_idx: int) -> None:
        self.seen.append(self.w.item())
        self.log("val_loss", (self.w - self.target).square(), batch_size=1)


def data(batches: int = 2) -> DataLoader:
    return DataLoader(TensorDataset(torch.zeros(batches, 1)), batch_size=1)


def test_it_stops_and_gives_the_best_weights_back() -> None:
    module, best = Walk(5.0), BestWeights(patience=2)
    trainer(best, max_epochs=50).fit(module, data(), data(1))
    assert module.seen == [2.0, 4.0, 6.0, 8.0]  # 4 and 6 are equally far: the first counts, then two without a gain
    assert module.w.item() == 4.0 and (best.best, best.step) == (1.0, 4)


def test_with_an_average_the_average_is_kept() -> None:
    module, best = Walk(3.0, decay=0.5), BestWeights(patience=1)
    trainer(best, max_epochs=50).fit(module, data(), data(1))
    nearest = min(module.seen, key=lambda w: abs(w - 3.0))
    assert module.w.item() == nearest and nearest != round(nearest)  # no weight of the walk itself


def test_a_resumed_run_is_the_same(tmp_path) -> None:
    windows = TrajectoryDataModule(calendar(12), calendar(12), history=1, horizon=1, batch_size=4)

    def run(folder: str, *budgets: int) -> tuple[float, list[float]]:
        seen: list[float] = []
        for steps in budgets:
            module = Walk(7.0)
            fit(module, windows, max_steps=steps, out=tmp_path / folder, save_every=1, callbacks=[BestWeights(patience=3)])
            seen += module.seen
        return module.w.item(), seen

    whole, parts = run("a", 14), run("b", 6, 14)
    # 2 steps an epoch: seen 2, 4, 6, 8, ..., of which 6 and 8 are equally far but for the clip; the gradient is clipped to 1/(1 + 1e-6)
    assert whole[0] == parts[0] == pytest.approx(8.0, rel=1e-5) and whole[1] == parts[1]


def test_what_it_refuses() -> None:
    with pytest.raises(InputError, match="patience >= 1"):
        BestWeights(0)
    with pytest.raises(InputError, match="expected 'other' among .*val_loss"):
        trainer(BestWeights(monitor="other"), max_epochs=2).fit(Walk(1.0), data(), data(1))
