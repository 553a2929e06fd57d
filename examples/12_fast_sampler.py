# %% [markdown]
# # 12 A fast sampler for your prior
#
# At the end you have a sampler, with its times, that draws from a prior in eight evaluations of its denoiser better than the default does.
# The prior is a mixture whose denoiser is known exactly, so that everything seen is the sampler's; with a prior of your own only the first
# cell changes (`prior = DiffusionPrior.load(...)`). The data are draws.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
import torch

import physdiff

SMALL = os.environ.get("PHYSDIFF_SMALL") == "1"
n = 32
grid = physdiff.CartesianGrid(n, extent=1.0)
spec = physdiff.FieldSpec(("u",), ("1",), grid, dt=1.0)
wave = torch.sin(2 * torch.pi * grid.coordinates()[0].double()).reshape(1, 1, n)
weights, stds = torch.tensor([[0.4, 0.6], [0.35, 0.5]], dtype=torch.float64)
denoiser = physdiff.MixtureDenoiser(physdiff.EDMSchedule(0.002, 80.0), weights, torch.stack([-1.5 * wave, wave]), stds=stds)
unchanged = physdiff.Normalizer((), torch.zeros(()).double(), torch.ones(()).double())
prior = physdiff.DiffusionPrior(denoiser, unchanged, spec, sampler=physdiff.DPMSolver2M(), steps=8)

rng = physdiff.Rng(0)
choice = (rng.child("which").uniform((64,)) < 0.4).double().reshape(-1, 1, 1, 1)
drawn = choice * (-1.5 * wave) + (1 - choice) * wave
drawn = drawn + (choice * stds[0] + (1 - choice) * stds[1]) * rng.child("noise").normal(drawn.shape).double()
data = physdiff.to_dataset(drawn.reshape(32, 2, 1, n).transpose(1, 2), spec.with_frames(2), np.array([0.0, 1.0]), batch="sample")
print("data: 64 draws of a mixture of two waves")

# %% [markdown]
# `tune_sampler` tries samplers on time grids, two of which are made from the prior itself (the cheapest paths of a fine run), and fits the
# coefficients of a multistep method to a fine run. `against="flow"` asks for accuracy alone: the difference to the exact flow from the same
# starts. Against data (the default) spectra and CRPS decide.

# %%
effort = physdiff.TuningEffort(cases=4, members=4 if SMALL else 8, nodes=30 if SMALL else 60)
tuned = physdiff.tune_sampler(prior, 8, data, against="flow", effort=effort)
table = tuned.table.first_score.to_series().sort_values()
print("best:", tuned.table.attrs["best"])
print(table.head(8))

# %% [markdown]
# Judged on starts that it has not seen, beside the prior's own sampler and a run of three hundred steps. All begin with the same noise.

# %%
fast = tuned.put_into(prior)
reference, own, ours = (p.sample(128, rng=physdiff.Rng(77)) for p in (prior.with_sampler(physdiff.UniPC(3), 300), prior, fast))
errors = [float((x - reference).square().mean().sqrt()) for x in (own, ours)]

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3.5))
axes[0].plot(reference[:3, 0, 0].T, color="0.75", lw=5)
axes[0].plot(ours[:3, 0, 0].T, "--", lw=1.2)
axes[0].set(xlabel="point", title="fine run (grey), eight evaluations (dashed)")
axes[1].barh(list(table.index[:10]), table.values[:10])
axes[1].set(xlabel="difference to the fine run, standard deviations")
figure.tight_layout()

# %% [markdown]
# The number: the tuned sampler's error over that of the default. The default stands among the candidates, on the same kind of starts, and
# times fitted to this prior beat general ones by a factor of two or so; a ratio of 0.8 leaves room for the choice's own noise.

# %%
print(f"rms difference to the fine run: default {errors[0]:.4f}, tuned {errors[1]:.4f}")
assert errors[1] < 0.8 * errors[0]
