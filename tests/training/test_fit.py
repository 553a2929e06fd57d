"""`fit` is sugar: budgets, files, quiet, and errors in words."""

from __future__ import annotations

import csv
import logging
import time
import warnings

import lightning.pytorch as pl
import pytest
import torch

from physdiff.base.errors import DataError, InputError
from physdiff.training.datamodule import TrajectoryDataModule
from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.fit import fit, steps_for
from physdiff.training.recipe import Recipe, prepare
from tests.training.problems import calendar, tiny


def problem(*, val: bool = False, width: int = 4) -> tuple[DiffusionModule, TrajectoryDataModule]:
    def network(i, o, **options):
        return tiny(i, o, width=width, **options)

    prior, data = prepare(calendar(31), Recipe(history=2, horizon=2, guess="increment"), network=network, batch_size=8)
    return DiffusionModule(prior, 1e-2, 0.9), TrajectoryDataModule(data.train_windows, data.train_windows if val else None, batch_size=8)


def steps_of(module, data, **budget) -> int:
    fit(module, data, **budget)
    return module.trainer.global_step


def test_whichever_budget_is_used_up_first() -> None:
    module, data = problem()  # 3 batches an epoch
    assert steps_of(module, data, max_epochs=2) == 6
    assert steps_of(module, data, max_steps=4) == 4
    assert steps_of(module, data, max_epochs=1, max_steps=5) == 3
    assert steps_of(module, data, max_epochs=3, max_steps=5) == 5


def test_what_it_writes(tmp_path) -> None:
    module, data = problem(val=True)
    result = fit(module, data, max_epochs=7, out=tmp_path / "new" / "folder", save_every=4)
    assert result is module and not module.prior.training
    folder = tmp_path / "new" / "folder"
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == ["last.ckpt", "log/metrics.csv", "log/report.json"]
    rows = list(csv.DictReader((folder / "log" / "metrics.csv").read_text().splitlines()))
    assert [int(r["step"]) for r in rows if r["val_loss"]] == [3, 6, 9, 12, 15, 18, 21]
    assert all(float(r["loss"]) > 0 for r in rows if r["loss"]) and float(rows[-1]["lr"]) < 1e-4
    # nothing but tensors, numbers and names: it opens without running anybody's code
    found = torch.load(folder / "last.ckpt", weights_only=True)
    assert found["global_step"] == 21 and "hyper_parameters" not in found


def test_nothing_is_written_without_a_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    fit(*problem(), max_steps=2)
    assert not list(tmp_path.iterdir())


def test_it_can_be_told_not_to_resume(tmp_path) -> None:
    module, data = problem()
    fit(module, data, max_steps=4, out=tmp_path)
    assert steps_of(*problem(), max_steps=6, out=tmp_path) == 6
    fresh, data = problem()
    fit(fresh, data, max_steps=2, out=tmp_path, resume=False)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 2


class StopAt(pl.Callback):
    """End a run early, as a signal does."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        trainer.should_stop = trainer.should_stop or trainer.global_step == 2


def test_a_run_in_float64_goes_on_without_rounding(tmp_path) -> None:
    options = {"max_steps": 4, "save_every": 2, "progress": False, "precision": "64-true"}
    whole = fit(*problem(), **options)
    fit(*problem(), out=tmp_path, callbacks=[StopAt()], min_steps=1, **options)
    again = fit(*problem(), out=tmp_path, **options)
    one, other = whole.state_dict(), again.state_dict()
    assert any(v.dtype == torch.float64 for v in one.values()) and all(torch.equal(one[k], other[k]) for k in one)


def test_a_finished_run_gives_its_average_again(tmp_path) -> None:
    module, data = problem()
    fit(module, data, max_steps=4, out=tmp_path)
    again, data = problem()
    fit(again, data, max_steps=4, out=tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(module.state_dict().values(), again.state_dict().values(), strict=True))


def test_quiet_and_all_as_before(capfd, tmp_path, caplog) -> None:
    levels = {name: logging.getLogger(name).level for name in ("lightning", "lightning.pytorch", "lightning.fabric")}
    filters = list(warnings.filters)
    fit(*problem(val=True), max_steps=4, out=tmp_path, progress=False)
    fit(*problem(val=True), max_steps=6, out=tmp_path, progress=False)
    assert capfd.readouterr() == ("", "") and not caplog.records
    assert levels == {name: logging.getLogger(name).level for name in levels}
    assert warnings.filters == filters


def test_levels_come_back_after_an_error() -> None:
    module, data = problem()
    module.training_step = lambda *_: 1 / 0
    level = logging.getLogger("lightning.pytorch").level
    with pytest.raises(ZeroDivisionError):
        fit(module, data, max_steps=2)
    assert logging.getLogger("lightning.pytorch").level == level


def test_a_bar_and_an_estimate(capfd) -> None:
    fit(*problem(), max_steps=9, progress=True)
    out, err = capfd.readouterr()
    assert out == "" and "training 3 steps of about" in err and "9/9" in err and "loss=" in err


@pytest.mark.parametrize("options", [{"max_epochs": 0}, {"max_steps": 0}, {"max_steps": 1, "save_every": 0}])
def test_budgets_that_make_no_sense(options) -> None:
    with pytest.raises(InputError, match="positive"):
        fit(*problem(), **options)


def test_damaged_and_foreign_checkpoints(tmp_path) -> None:
    module, data = problem()
    fit(module, data, max_steps=2, out=tmp_path)
    whole = (tmp_path / "last.ckpt").read_bytes()
    for content in (b"", b"nonsense", whole[: len(whole) // 2]):
        (tmp_path / "last.ckpt").write_bytes(content)
        with pytest.raises(DataError, match="resume=False"):
            fit(*problem(), max_steps=4, out=tmp_path)
    (tmp_path / "last.ckpt").write_bytes(whole)
    wide = problem(width=8)
    before = [p.detach().clone() for p in wide[0].parameters()]
    with pytest.raises(DataError, match="of this model"):
        fit(*wide, max_steps=4, out=tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(before, wide[0].parameters(), strict=True))
    assert (tmp_path / "last.ckpt").read_bytes() == whole


def test_steps_follow_from_the_budget_and_leave_no_trace() -> None:
    module, data = problem()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    state = torch.get_rng_state()
    begin = time.perf_counter()
    steps, each = steps_for(module, data, seconds=10.0, floor=1)
    assert 0 < each < time.perf_counter() - begin and steps == int(10.0 / each)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items()) and torch.equal(torch.get_rng_state(), state)
    assert steps_for(module, data, seconds=1e-3, floor=600)[0] == 600
    # and what is trained afterwards is what would have been trained without
    other, other_data = problem()
    fit(module, data, max_steps=3)
    fit(other, other_data, max_steps=3)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("options", [{"seconds": 0.0}, {"seconds": float("nan")}, {"seconds": 1.0, "floor": 0}])
def test_time_budgets_are_checked(options) -> None:
    with pytest.raises(InputError, match="steps_for"):
        steps_for(*problem(), **options)


def test_any_module_and_any_data() -> None:
    class Line(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def training_step(self, batch, batch_idx):
            (x,) = batch
            return (self.layer(x) - 2 * x).square().mean()

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=0.1)

    class Points(pl.LightningDataModule):
        def train_dataloader(self):
            return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.linspace(-1, 1, 32)[:, None]), batch_size=8)

    module = fit(Line(), Points(), max_epochs=40)
    assert module.layer.weight.item() == pytest.approx(2, abs=0.05)
    assert steps_for(Line(), Points(), seconds=1.0, floor=1)[0] > 1


def test_options_of_the_trainer_are_passed_on_and_its_own_are_refused() -> None:
    module, data = problem()
    fit(module, data, max_steps=2, precision="bf16-mixed")
    assert module.trainer.precision == "bf16-mixed"
    assert all(p.dtype == torch.float32 for p in module.parameters())
    with pytest.raises(InputError, match="fit: it sets default_root_dir itself"):
        fit(module, data, max_steps=2, default_root_dir="x")
    with pytest.raises(InputError, match="fit logger: expected false, 'tensorboard' or a logger of Lightning, got True; log/metrics.csv"):
        fit(module, data, max_steps=2, logger=True)
    with pytest.raises(InputError, match="options of lightning's Trainer, got 'stratgy'; did you mean strategy?"):
        fit(module, data, max_steps=2, stratgy="ddp")
    with pytest.raises(InputError, match="options that Lightning's Trainer takes, got .*'fsdp_cpu_offload'.*requires a GPU"):
        fit(module, data, max_steps=2, strategy="fsdp_cpu_offload", accelerator="cpu")
