# %% [markdown]
# # 08 Control of smoke
#
# At the end you have strengths of three nozzles that put a wanted amount of smoke at a wanted place, found by drawing from a prior of smoke
# and nozzles together, and tested in the law itself. The data are generated: smoke from three nozzles in a steady wind, with random
# strengths.

# %%
import os

import matplotlib.pyplot as plt
import torch

import physdiff

SMALL = os.environ.get("PHYSDIFF_SMALL") == "1"
n = 16 if SMALL else 32
grid = physdiff.CartesianGrid((n, n), extent=1.0, periodic=True)
columns, rows = (c.double() for c in grid.coordinates())  # x and y of each point, (y, x)
nozzles = torch.stack([torch.exp(-((columns - 0.2) ** 2 + (rows - at) ** 2) / (2 * 0.06**2)) for at in (0.25, 0.5, 0.75)])
times = torch.linspace(0, 1.2, 4, dtype=torch.float64)


def smoke_of(strengths):
    """Smoke (B, y, x) at the end for strengths (B, 3), by the law."""
    feed = torch.einsum("bk,kyx->byx", strengths.double(), nozzles)
    law = physdiff.AdvectionDiffusion(diffusivity=0.004, velocity=(0.4, 0.1), source=lambda x, y, t: feed)
    stepper = physdiff.RungeKutta(law, physdiff.FiniteDifference(grid, order=4))
    return physdiff.solve(stepper, {"c": torch.zeros_like(feed)}, times, substeps=24)["c"][:, -1]


# %% [markdown]
# The prior: windows with two fields, the smoke at the end and the feed, over many random strengths. As smoke is linear in its sources a
# Gaussian of rank three is exact; a trained `DiffusionPrior` takes its place where the law is not linear.

# %%
rng = physdiff.Rng(0)
strengths = 1 + 0.5 * rng.normal((60, 3)).double()
windows = torch.stack([smoke_of(strengths), torch.einsum("bk,kyx->byx", strengths, nozzles)], 1)[:, :, None]
spec = physdiff.FieldSpec(("smoke", "feed"), ("1", "s-1"), grid, dt=1.0)
scale = physdiff.Normalizer(mean=windows.mean((0, 2, 3, 4)).reshape(2, 1, 1, 1), std=windows.std((0, 2, 3, 4)).reshape(2, 1, 1, 1))
mean, covariance = physdiff.low_rank_covariance(scale.encode(windows), 3)
denoiser = physdiff.GaussianDenoiser(physdiff.EDMSchedule(0.002, 200.0), mean, covariance)
prior = physdiff.DiffusionPrior(denoiser, scale, spec, sampler=physdiff.ExponentialMultistep(2, noise=1.0), steps=16 if SMALL else 40)
print("data: generated,", tuple(windows.shape))

# %% [markdown]
# The wish: half more than the usual dose in the upper right quarter, within a twentieth. A wish that is linear in the window is an
# observation that has not been made: its value is what is wanted, its standard deviation what is tolerated, and `Guided` is exact for it
# here. `physdiff.control` takes any differentiable cost instead; it moves the belief without differentiating the network, and is rough
# where the prior is as narrow as this one.

# %%
target = ((columns > 0.5) & (rows > 0.5)).double()


def dose(smoke):
    """Mean smoke in the quarter, (B,)."""
    return (smoke.double() * target).sum((-2, -1)) / target.sum()


usual = float(dose(windows[:, 0, 0]).mean())
wanted, within = 1.5 * usual, 0.05 * usual
row = torch.stack([target / target.sum(), torch.zeros_like(target)]).reshape(1, -1)
wish = physdiff.Observation(physdiff.MatrixOperator(row, spec.shape), torch.tensor([wanted]), std=within)
draws = 8 if SMALL else 32
found = physdiff.Guided().sample(physdiff.Posterior(prior, wish), draws, rng=rng.child("wish")).members


def objective(x):
    """Half the squared miss over what is tolerated, (B,)."""
    return 0.5 * ((dose(x[:, 0, 0]) - wanted) / within).square().to(x.dtype)


steered = physdiff.control(prior, objective, draws, rng=rng.child("control"))

# %% [markdown]
# The state that comes with a control is the model's belief. So the feeds go through the true law: strengths are read off the drawn feeds,
# and the smoke is made anew.

# %%
basis = nozzles.flatten(1)
chosen, rough = (torch.linalg.lstsq(basis.T, f[:, 1, 0].double().flatten(1).T).solution.T for f in (found, steered))
reached, without = dose(smoke_of(chosen)), dose(windows[:, 0, 0])
print("strengths:", chosen.mean(0).tolist(), "(usual: 1, 1, 1)")
print(f"dose over the usual one: wanted {wanted / usual:.2f}, reached {float(reached.mean()) / usual:.2f} +- {float(reached.std()) / usual:.2f}")
print(f"by physdiff.control: {float(dose(smoke_of(rough)).mean()) / usual:.2f}")

# %%
figure, axes = plt.subplots(1, 2, figsize=(8, 3.3))
for a, field, title in ((axes[0], windows[0, 0, 0], "smoke, random strengths"), (axes[1], smoke_of(chosen[:1])[0], "smoke, chosen strengths")):
    a.pcolormesh(columns, rows, field, vmin=0, vmax=float(smoke_of(chosen[:1]).max()), shading="nearest")
    a.plot([0.5, 1, 1, 0.5, 0.5], [0.5, 0.5, 1, 1, 0.5], "w--", clip_on=False)
    a.set(xlim=(float(columns.min()), float(columns.max())), ylim=(float(rows.min()), float(rows.max())), aspect="equal")
    a.set(title=title, aspect="equal")
figure.tight_layout()

# %% [markdown]
# The number: root mean square miss of the dose, in the true law, over the miss without control. The prior is exact and the wish linear, so
# that what is left is the tolerance of a twentieth of the usual dose and the sampler's steps; random strengths miss by half the usual dose
# or more. That is a tenth, and a third leaves room for the few steps and draws of the small mode. Both ways are held to it.

# %%
loose = float((without - wanted).square().mean().sqrt())
miss, miss_of_control = (float((dose(smoke_of(s)) - wanted).square().mean().sqrt()) / loose for s in (chosen, rough))
print(f"miss over the miss without control: {miss:.2f}, by physdiff.control {miss_of_control:.2f}")
assert max(miss, miss_of_control) < 0.33
