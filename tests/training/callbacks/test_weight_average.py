"""The average against its recursion by hand; where it is seen, and where not."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.training.callbacks.weight_average import WeightAverage
from tests.training.callbacks.quadratic import Quadratic, Validated, loader, trainer


def expected(steps: int, decay: float) -> float:
    """The recursion, in Python numbers."""
    average = 0.0
    for n in range(steps):
        d = min(decay, (1 + n) / (10 + n)) if n else 0.0
        average += (1 - d) * (1 - 0.75 ** (n + 1) - average)
    return average


@pytest.mark.parametrize("decay", [0.15, 0.9])
def test_the_recursion(decay) -> None:
    module = Validated()
    trainer(WeightAverage(decay), max_steps=7).fit(module, loader(), loader(1))
    # float32, seven additions
    assert module.w.item() == pytest.approx(expected(7, decay), rel=1e-6)
    assert module.frozen.item() == 7.0
    assert module.seen == pytest.approx([expected(4, decay)], rel=1e-6)  # validation after the first epoch of four


def test_training_goes_on_with_the_weights_themselves() -> None:
    module, plain = Validated(), Validated()
    callback = WeightAverage(0.9)
    trainer(callback, max_steps=6).fit(module, loader(2), loader(1))
    trainer(max_steps=6).fit(plain, loader(2), loader(1))
    assert plain.w.item() == pytest.approx(1 - 0.75**6, rel=1e-6) and module.w.item() != plain.w.item()
    # each epoch moved on from the weights: the average of epoch three is that of six undisturbed steps
    assert module.w.item() == pytest.approx(expected(6, 0.9), rel=1e-6)


def test_one_move_per_optimiser_step() -> None:
    module = Validated()
    callback = WeightAverage(0.9)
    trainer(callback, max_steps=3, accumulate_grad_batches=2).fit(module, loader(), loader(1))
    assert int(callback._average_model.n_averaged) == 3
    assert module.w.item() == pytest.approx(expected(3, 0.9), rel=1e-6)


def test_constants_are_not_copied_at_every_step(monkeypatch) -> None:
    """The covariance under a prior is a buffer of up to 144 MB."""
    calls = []
    monkeypatch.setattr(torch.optim.swa_utils.AveragedModel, "update_parameters", lambda *_: calls.append(1))
    module = Quadratic()
    trainer(WeightAverage(0.9), max_steps=2).fit(module, loader())
    assert not calls and torch.equal(module.table, torch.zeros(3))


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5])
def test_decays_are_checked(decay) -> None:
    with pytest.raises(InputError, match="decay"):
        WeightAverage(decay)
