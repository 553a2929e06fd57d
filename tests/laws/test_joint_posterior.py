"""State and parameter together, the whole path: data with a diffusivity of their own, a trained prior, readings, the law at its tolerance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from physdiff.base.rng import Rng
from physdiff.data.convert import to_tensor
from physdiff.data.generate import generate
from physdiff.data.varied_law import VariedLaw
from physdiff.forecast.readings import Readings
from physdiff.forecast.reconstruct import reconstruct
from physdiff.grids.cartesian import CartesianGrid
from physdiff.inference.guided import Guided
from physdiff.inference.physics import PhysicsResidual, calibrated
from physdiff.operators.spectral import Spectral
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.scores.coverage import coverage
from physdiff.scores.crps import crps
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.initial import RandomField
from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.fit import fit
from physdiff.training.recipe import Recipe, prepare

GRID = CartesianGrid((24,), (1.0,), periodic=True)
LAW, NOISE, CASES, FRAMES, DT = AdvectionDiffusion(1.0, (1.0,)), 0.05, 24, 5, 0.03


def trajectories(samples: int, seed: int):
    varied = VariedLaw(LAW, lambda law: ETDRK4(law, Spectral(GRID)), {"diffusivity": (0.02, 0.2)})
    times = torch.arange(FRAMES, dtype=torch.float64) * DT
    return generate(varied, RandomField(length=0.15), times, samples=samples, rng=Rng(seed), substeps=1)


@pytest.mark.slow
def test_intervals_of_state_and_diffusivity_hold_what_they_say() -> None:
    """Waves carried and damped, 1000 trajectories, 600 steps of training; 12 of 120 values read in each of 24 unseen cases.

    Coverage of 90 % intervals within three standard errors over cases of 0.85 to 0.95, and the law tells the diffusivity: its CRPS falls.
    """
    prior, data = prepare(
        trajectories(1000, 1),
        Recipe(history=0, horizon=FRAMES, wavelet="none", gaussian="modes", parameters=("diffusivity",), steps=16),
        batch_size=64,
    )
    fit(DiffusionModule(prior, 2e-3, 0.99, seed=0), data, max_steps=600, progress=False)
    prior.eval()
    residual = PhysicsResidual(LAW, Spectral(GRID), prior.spec, parameters={"diffusivity": "diffusivity"})
    law = calibrated(residual, to_tensor(trajectories(64, 3), prior.spec), dependent=True, prior=prior)
    truths, (x,) = to_tensor(trajectories(CASES, 2), prior.spec), GRID.axes()
    scores: dict[str, list[float]] = {"state": [], "number": [], "number with law": [], "with law": [], "without": []}
    for k, truth in enumerate(truths):
        rng = Rng(4).child(k)
        frame, place = (torch.as_tensor(i) for i in np.unravel_index(rng.child("where").permutation(24 * FRAMES)[:12].numpy(), (FRAMES, 24)))
        values = truth[0, frame, place] + NOISE * rng.child("noise").normal((12,))
        readings = Readings(x[place][:, None], torch.stack([values, torch.full_like(values, torch.nan)]), frame.numpy() * DT)
        true = truth[1, 0, 0].log()
        for laws, name in (((), "number"), ((law,), "number with law")):
            drawn = reconstruct(prior, readings, Guided(shared=True), std=NOISE, members=20, rng=rng, initial=0.0, laws=laws)
            number = torch.from_numpy(drawn["diffusivity"].values).log()
            scores[name].append(float(coverage(number, true)))
            scores["with law" if laws else "without"].append(float(crps(number, true)))
        first = torch.from_numpy(drawn["c"].isel(time=0).values)
        scores["state"].append(float(coverage(first, truth[0, 0]).mean()))
    means = {name: float(np.mean(v)) for name, v in scores.items()}
    for name in ("state", "number", "number with law"):
        error = max(float(np.std(scores[name], ddof=1)), 0.05) / CASES**0.5
        assert 0.85 - 3 * error < means[name] < 0.95 + 3 * error, means
    assert means["with law"] < 0.8 * means["without"], means
