"""Batches: every window once an epoch, the order a function of (seed, epoch), the position one of the step."""

from __future__ import annotations

import subprocess
import sys

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import Dataset

from physdiff.base.errors import DataError, InputError
from physdiff.data import loader
from physdiff.data.windows import TrajectoryWindows
from physdiff.training.datamodule import KeyedBatches, TrajectoryDataModule
from tests.training.problems import calendar, line


def batches(**options: object) -> list[list[int]]:
    return list(KeyedBatches(10, 3, seed=options.pop("seed", 0), **options))


def test_every_window_at_most_once_in_an_order_keyed_by_seed_and_epoch() -> None:
    first, again = batches(), batches()
    assert first == again and len(first) == len(KeyedBatches(10, 3, seed=0)) == 3
    drawn = sum(first, [])
    assert len(set(drawn)) == 9 and set(drawn) < set(range(10))
    assert batches(seed=1) != first
    assert batches(position=lambda n: (1, 0)) != first


def test_it_begins_where_training_stands() -> None:
    for epoch in (0, 4):
        whole = batches(position=lambda n, e=epoch: (e, 0))
        assert batches(position=lambda n, e=epoch: (e, 2)) == whole[2:]


def test_fewer_windows_than_a_batch() -> None:
    assert [sorted(b) for b in KeyedBatches(2, 16, seed=0)] == [[0, 1]]


@pytest.mark.parametrize(("size", "batch_size"), [(0, 3), (3, 0)])
def test_empty_batches_are_refused(size, batch_size) -> None:
    with pytest.raises(InputError, match="batch_size"):
        KeyedBatches(size, batch_size, seed=0)


class Recorder(pl.LightningModule):
    """Notes the windows it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[list[int]] = []
        self.checked: list[int] = []

    def training_step(self, batch: dict, batch_idx: int) -> torch.Tensor:
        self.seen.append(batch["index"].tolist())
        return self.weight.square()

    def validation_step(self, batch: dict, batch_idx: int) -> None:
        self.checked += batch["index"].tolist()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fitted(data: TrajectoryDataModule, **options: object) -> Recorder:
    module = Recorder()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(accelerator="cpu", num_sanity_val_steps=0, **quiet, **options)
    trainer.fit(module, data)
    assert trainer.limit_val_batches == 1.0  # as it was before
    return module


def data_of(val: bool = False, **options: object) -> TrajectoryDataModule:
    # 6 samples of 8 frames: 6 windows of 3 frames each, 36 in all, 4 batches of 8
    return TrajectoryDataModule(line(), line(2, key="val") if val else None, history=1, horizon=2, batch_size=8, **options)


def test_a_trainer_sees_epoch_after_epoch() -> None:
    seen = fitted(data_of(seed=2), max_epochs=2).seen
    expected = [b for epoch in (0, 1) for b in KeyedBatches(36, 8, seed=2, position=lambda n, e=epoch: (e, 0))]
    assert seen == expected


def test_worker_processes_change_nothing() -> None:
    assert fitted(data_of(num_workers=2), max_epochs=2).seen == fitted(data_of(), max_epochs=2).seen


def test_limits_and_accumulation_do_not_shift_the_order() -> None:
    plain = fitted(data_of(), max_epochs=3).seen
    assert fitted(data_of(), max_epochs=3, accumulate_grad_batches=3).seen == plain
    first_two = [plain[k] for k in (0, 1, 4, 5, 8, 9)]
    assert fitted(data_of(), max_epochs=3, limit_train_batches=2).seen == first_two
    assert fitted(data_of(), max_epochs=3, limit_train_batches=0.5).seen == first_two


@pytest.mark.parametrize("workers", [0, 2])
def test_one_big_batch_is_alive_in_training(workers, monkeypatch) -> None:
    monkeypatch.setattr(loader, "_BIG", 0)
    windows = TrajectoryWindows(line(40), history=0, horizon=3)
    right = {i: windows.fields_at(i) for i in range(len(windows))}
    places = set()

    class Reader(Recorder):
        def training_step(self, batch: dict, batch_idx: int) -> torch.Tensor:
            places.add(batch["x"].data_ptr())
            assert all(torch.equal(x, right[i]) for x, i in zip(batch["x"], batch["index"].tolist(), strict=True))
            return (self.weight * batch["x"]).sum()  # which the graph keeps

    trainer = pl.Trainer(max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.fit(Reader(), TrajectoryDataModule(windows, batch_size=4, num_workers=workers))
    assert trainer.global_step >= 16 and len(places) == 1


def test_validation_in_order() -> None:
    assert fitted(data_of(val=True), max_epochs=1).checked == list(range(12))
    module = Recorder()
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    trainer.validate(module, data_of(val=True), verbose=False)
    assert module.checked == list(range(12))
    with pytest.raises(DataError, match="pass val"):
        trainer.validate(module, data_of(), verbose=False)


def test_loading_leaves_the_callers_random_numbers_alone() -> None:
    state = torch.get_rng_state()
    loader = data_of(val=True).train_dataloader()
    assert len(list(loader)) == len(loader) == 4
    assert torch.equal(torch.get_rng_state(), state)


def test_windows_and_data_sets_are_the_same_to_it() -> None:
    ds = calendar(20)
    by_data = TrajectoryDataModule(ds, history=2, horizon=3, extras=("hour_sin", "hour_cos"))
    by_windows = TrajectoryDataModule(TrajectoryWindows(ds, history=2, horizon=3, extras=("hour_sin", "hour_cos")))
    a, b = next(iter(by_data.train_dataloader())), next(iter(by_windows.train_dataloader()))
    assert a.keys() == b.keys() == {"x", "cond", "index"}
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert by_data.spec.frames == 5 and by_data.cond_spec.names == ("t2m", "known", "hour_sin", "hour_cos")
    assert TrajectoryDataModule(ds, history=0, horizon=1).cond_spec is None


def test_wrong_numbers_and_empty_data_are_refused() -> None:
    for options in ({"batch_size": 0}, {"num_workers": -1}):
        with pytest.raises(InputError, match="batch_size"):
            TrajectoryDataModule(calendar(20), **options)

    class Empty(Dataset):
        def __len__(self) -> int:
            return 0

    with pytest.raises(DataError, match="at least one window"):
        TrajectoryDataModule(calendar(20), Empty())
    with pytest.raises(DataError, match="frames"):
        TrajectoryDataModule(calendar(4), history=2, horizon=4)


def test_processes_share_every_batch():
    whole = list(KeyedBatches(13, 6, seed=4))
    parts = [list(KeyedBatches(13, 6, seed=4, share=(rank, 3))) for rank in range(3)]
    for k, batch in enumerate(whole):
        shares = [part[k] for part in parts]
        assert {len(s) for s in shares} == {2} and sorted(sum(shares, [])) == sorted(batch)
    with pytest.raises(InputError, match="got 6 windows; take a multiple of 4"):
        KeyedBatches(13, 6, seed=4, share=(0, 4))


@pytest.mark.slow
def test_two_processes_train_what_one_does(tmp_path):
    """The gradient of a batch is the mean over its windows, wherever they are; sums in another order move weights a little."""
    script = tmp_path / "two.py"
    script.write_text(_TWO, encoding="utf-8")
    found = []
    for devices in (1, 2):
        command = [sys.executable, str(script), str(devices), str(tmp_path / f"{devices}.pt")]
        run = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert run.returncode == 0, run.stderr
        found.append(torch.load(tmp_path / f"{devices}.pt", weights_only=True))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-6)


_TWO = """
import sys
from functools import partial
import torch
from physdiff.networks.unet import UNet
from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.fit import fit
from physdiff.training.recipe import Recipe, prepare
from tests.training.problems import line

if __name__ == "__main__":
    torch.set_num_threads(1)
    network = partial(UNet, width=4, multipliers=(1, 2), dropout=0.0)  # its masks are drawn by each process
    prior, data = prepare(line(), Recipe(history=0, horizon=1, wavelet="none"), network=network, batch_size=8, seed=3)
    module = DiffusionModule(prior, 3e-3, 0.9, seed=5)
    options = {"devices": 2, "strategy": "ddp"} if sys.argv[1] == "2" else {}
    fit(module, data, max_steps=6, accelerator="cpu", **options)
    if module.global_rank == 0:
        torch.save(torch.cat([p.detach().flatten() for p in module.parameters()]), sys.argv[2])
"""
