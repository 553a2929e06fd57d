"""``physdiff fit --folds``: cross-fitted networks and the diffusion of their errors, going on after an interruption, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import physdiff.cli.fit_folds as module
from physdiff.base.errors import DataError
from physdiff.base.saved import read
from physdiff.data.open import open_dataset, open_forecast
from physdiff.diffusion.centred import CentredDenoiser
from physdiff.diffusion.forecaster import Forecaster
from physdiff.networks.averaged import AveragedNetwork
from physdiff.training.checkpoint_prior import prior_from_checkpoint
from physdiff.training.prior_module import PriorModule
from tests.cli.command import refuses, untouched, works
from tests.cli.conftest import weather
from tests.data.files import save

FOLDS = ("--folds 3 --recipe.horizon 2 --network UNet --network.width 8 --network.multipliers [1] --training.max_steps 12 --training.save_every 1",)


class Cut(Exception):
    """What ends a run in a test."""


def state(path) -> dict[str, torch.Tensor]:
    return read(path)[0].state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(v, other[k]) for k, v in one.items())


def test_an_ensemble_around_the_mean_of_all_networks(tmp_path, era):
    said = works("fit", *FOLDS, "--data", era, "--out", tmp_path / "a.prior")
    assert "fold     3 of 3" in said and "errors   41 windows" in said
    prior, card = read(tmp_path / "a.prior")
    assert isinstance(prior.denoiser, CentredDenoiser) and isinstance(prior.denoiser.mean.network, AveragedNetwork)
    assert len(prior.denoiser.mean.network.networks) == 3 and card["folds"] == 3
    # networks of their own: other first weights, other windows
    one, two = (torch.cat([p.flatten() for p in net.parameters()]) for net in prior.denoiser.mean.network.networks[:2])
    assert not torch.equal(one, two)
    works("forecast --lead 2 --members 3 --every 20 --prior", tmp_path / "a.prior", "--initial", era, "--out", tmp_path / "f.nc")
    with open_forecast(tmp_path / "f.nc") as found:
        assert bool(np.isfinite(found["t2m"]).all()) and float(found["t2m"].std("member").max()) > 0
    # the checkpoint beside it is of the errors alone, and no prior
    with pytest.raises(DataError, match="part of a prior"):
        prior_from_checkpoint(tmp_path / "a.prior.fit" / "last.ckpt")
    assert isinstance(prior_from_checkpoint(tmp_path / "a.prior.fit" / "fold0" / "last.ckpt")[0], Forecaster)


@pytest.mark.parametrize(("step", "left"), [(3, 3), (9, 1)])
def test_a_run_that_was_cut_goes_on_to_the_same_weights(tmp_path, monkeypatch, era, step, left):
    """In the second network's second step, and in the diffusion's third; networks that are done are read."""
    works("fit", *FOLDS, "--data", era, "--out", tmp_path / "whole.prior")
    whole, step_of, trained, calls = read(tmp_path / "whole.prior")[0], PriorModule.training_step, module.train, []

    def cut(self, *args):
        calls.append(self)
        if len(calls) > step:
            raise Cut
        return step_of(self, *args)

    monkeypatch.setattr(PriorModule, "training_step", cut)
    with pytest.raises(Cut):
        works("fit", *FOLDS, "--data", era, "--out", tmp_path / "cut.prior")
    assert not (tmp_path / "cut.prior").exists()
    monkeypatch.setattr(PriorModule, "training_step", step_of)
    again = []
    monkeypatch.setattr(module, "train", lambda *args, **options: again.append(args) or trained(*args, **options))
    works("fit", *FOLDS, "--data", era, "--out", tmp_path / "cut.prior")
    assert len(again) == left
    assert same(state(tmp_path / "cut.prior"), whole.state_dict())


def test_another_run_is_not_gone_on_with(tmp_path, era):
    works("fit", *FOLDS, "--data", era, "--out", tmp_path / "a.prior")
    with untouched(tmp_path):
        assert "got another training" in refuses("fit", *FOLDS, "--training.lr 0.01 --data", era, "--out", tmp_path / "a.prior")
        assert "got another folds" in refuses("fit", *FOLDS, "--folds 4 --data", era, "--out", tmp_path / "a.prior")


def test_what_is_missing_stays_out_of_the_errors(tmp_path):
    """What stands in the gap does not matter: the errors there have no weight."""
    ds, found = weather(), []
    known = np.ones((6, 8), bool)
    known[2:4, 3:6] = False
    path = save(ds.assign(t2m=ds["t2m"].where(known)), tmp_path / "gaps.nc")
    recorded = module.cross_fit
    try:
        module.cross_fit = lambda *args, **options: found.append(recorded(*args, **options)) or found[-1]
        module.train_folds(open_dataset(path), module.Recipe(horizon=2, wavelet="none"), folds=2, training=module.Training(max_steps=4))
    finally:
        module.cross_fit = recorded
    weights = found[0][1].held["weights"]
    assert set(weights.unique().tolist()) == {0.0, 1.0}
    assert bool((weights == torch.from_numpy(known).float()).all())


def test_recipes_without_a_forecast_are_refused(tmp_path, era):
    with untouched(tmp_path):
        rest = ("--data", era, "--out", tmp_path / "a.prior")
        assert "expected history >= 1" in refuses("fit", "--folds 3 --recipe.history 0", *rest)
        assert "process diffusion" in refuses("fit", "--folds 3 --recipe.process deterministic", *rest)
        assert "folds: expected a whole number, at least 2" in refuses("fit", "--folds 1", *rest)
        assert "share no frame" in refuses("fit", "--folds 2 --recipe.horizon 25", *rest)
