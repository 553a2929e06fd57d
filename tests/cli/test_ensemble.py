"""``physdiff ensemble``: every method makes a prior that forecast and evaluate take; what does not go together is refused."""

from __future__ import annotations

import numpy as np
import pytest

from physdiff.data.open import open_forecast
from physdiff.diffusion.dropout_ensemble import DropoutEnsemble
from physdiff.diffusion.input_perturbed import InputPerturbed
from physdiff.diffusion.weight_ensemble import WeightEnsemble
from physdiff.diffusion.window_prior import WindowPrior
from tests.cli.command import TINY, physdiff, refuses, untouched, works

SMALL = ("--recipe.process deterministic --network.width 4 --network.multipliers [1] --network.attention false",)


@pytest.fixture(scope="module")
def operators(tmp_path_factory, era):
    """Two trainings of one small deterministic forecast."""
    folder = tmp_path_factory.mktemp("operators")
    for seed in (0, 1):
        works("fit", *TINY, *SMALL, "--training.seed", seed, "--data", era, "--out", folder / f"{seed}.prior")
    return folder


def forecast(prior, era, out):
    works("forecast --lead 3 --members 3 --every 12 --prior", prior, "--initial", era, "--out", out)
    return open_forecast(out)["t2m"]


@pytest.mark.parametrize(
    ("method", "kind", "more"),
    [
        ("trainings", WeightEnsemble, ""),
        ("dropout", DropoutEnsemble, "--how.share 0.2"),
        pytest.param("inputs", InputPerturbed, "--how.size 0.3", marks=pytest.mark.slow),
        pytest.param("swag", WeightEnsemble, "--how.steps 10 --how.rate 1", marks=pytest.mark.slow),
        pytest.param("laplace", WeightEnsemble, "--how.prior_std 0.5", marks=pytest.mark.slow),
        pytest.param("chains", WeightEnsemble, "--how.steps 4 --how.warmup 30", marks=pytest.mark.slow),
    ],
)
def test_every_method_makes_a_prior_whose_members_differ(tmp_path, era, operators, method, kind, more):
    files = f"[{operators / '0.prior'}, {operators / '1.prior'}]" if method == "trainings" else operators / "0.prior"
    data = () if method in ("trainings", "dropout") else ("--data", era, "--members 4")
    said = works("ensemble --method", method, "--out", tmp_path / "e.prior", *data, more, "--prior", str(files).replace(" ", ""))
    assert f"({method})" in said and isinstance(WindowPrior.load(tmp_path / "e.prior"), kind)
    fc = forecast(tmp_path / "e.prior", era, tmp_path / "fc.nc")
    assert np.isfinite(fc.values).all()
    # after three steps of training differences drown in float32 at 280 K in many cells
    assert float((fc.std("member") > 0).mean()) > 0.2
    if method == "trainings":
        alone = [forecast(operators / f"{k}.prior", era, tmp_path / f"{k}.nc").isel(member=0) for k in (0, 1)]
        for k in range(3):
            np.testing.assert_allclose(fc.isel(member=k), alone[k % 2], rtol=1e-5)


@pytest.mark.slow
def test_chains_that_never_moved_are_no_ensemble(tmp_path, era, operators):
    words = ("ensemble --method chains --how.steps 2 --how.warmup 2 --members 4 --prior", operators / "0.prior", "--data", era, "--out")
    with untouched(tmp_path):
        done = physdiff(*words, tmp_path / "e.prior")
    assert done.code == 2 and "expected draws that differ, got none after 2 moves" in done.err.splitlines()[-1]


@pytest.mark.slow
def test_evaluate_takes_their_forecasts(tmp_path, era, operators):
    works("ensemble --out", tmp_path / "e.prior", "--prior", f"[{operators / '0.prior'},{operators / '1.prior'}]")
    forecast(tmp_path / "e.prior", era, tmp_path / "fc.nc")
    works("evaluate --forecast", tmp_path / "fc.nc", "--truth", era, "--out", tmp_path / "page")
    assert (tmp_path / "page" / "index.html").is_file()


def test_what_does_not_go_together_is_refused(tmp_path, era, era_prior, operators):
    one, out = operators / "0.prior", tmp_path / "e.prior"
    with untouched(tmp_path):
        for words, said in (
            (("--prior", one), "expected two files or more for trainings and one for other methods, got 1 for trainings"),
            (("--prior", f"[{one},{one}]", "--method dropout"), "got 2 for dropout"),
            (("--prior", one, "--method swag"), "expected training data for inputs, swag, laplace and chains alone, got none for swag"),
            (("--prior", one, "--method dropout --data", era), "got some for dropout"),
            (("--prior", era_prior, "--method laplace --data", era), "expected a deterministic forecast"),
            (("--prior", f"[{one},{era_prior}]"), "weights of their networks alone"),
            (("--prior", one, "--method inputs --members 0 --data", era), "members: expected a whole number, at least 1"),
            (("--prior", one, "--method inputs --how.size -1 --data", era), "size"),
        ):
            assert said in refuses("ensemble", "--out", out, *words)
