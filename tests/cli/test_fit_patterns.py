"""``physdiff fit --patterns``: whole trajectories along leading patterns from the command line, and what is refused."""

from __future__ import annotations

import torch
import xarray as xr

from physdiff.base.saved import read
from physdiff.cli.fit import module_of
from physdiff.cli.options import Training
from physdiff.diffusion.objective import LogNormalNoise
from physdiff.training.pattern_prior import pattern_noise
from physdiff.transforms.patterns import Patterns
from tests.cli.command import refuses, untouched, works

GIVEN = ("--patterns 3 --width 16", "--tasks", '[{"u":[0]}]', "--training.max_steps 4 --training.batch_size 4")


def test_it_trains_along_patterns_and_its_draws_are_scored(tmp_path, burgers):
    works("fit", *GIVEN, "--data", burgers, "--out", tmp_path / "a.prior")
    prior, card = read(tmp_path / "a.prior")
    last = list(prior.transform)[-1]
    assert isinstance(last, Patterns) and prior.latent_shape[0] <= 3 and card["patterns"] == 3
    # trained at the noise levels of its patterns, not at those of images
    assert vars(module_of(prior, Training()).noise) == vars(pattern_noise(prior)) != vars(LogNormalNoise())
    out = tmp_path / "drawn.nc"
    works("forecast", "--known", '{"u":[0]}', "--members 3 --prior", tmp_path / "a.prior", "--initial", burgers, "--out", out)
    with xr.open_dataset(out, decode_timedelta=False) as drawn:
        assert drawn["u"].sizes["member"] == 3 and bool(drawn["u"].notnull().all())
        assert float(drawn["u"].isel(lead_time=5).std("member").min()) > 0
    # the same command again goes on and changes nothing
    works("fit", *GIVEN, "--data", burgers, "--out", tmp_path / "a.prior")
    again = read(tmp_path / "a.prior")[0]
    assert all(torch.equal(a, b) for a, b in zip(prior.state_dict().values(), again.state_dict().values(), strict=True))


def test_sizes_that_make_no_sense_and_what_has_no_network_of_fields_are_refused(tmp_path, burgers):
    rest = ("--tasks", '[{"u":[0]}]', "--data", burgers, "--out", tmp_path / "a.prior")
    with untouched(tmp_path):
        assert "patterns: expected a whole number, at least 1" in refuses("fit", "--patterns 0", *rest)
        assert "width: expected a whole number, at least 1" in refuses("fit", "--patterns 3 --width 0", *rest)
        assert "network" in refuses("fit", "--patterns 3 --network UNet", *rest)
