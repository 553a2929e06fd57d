r"""Can a prior be trusted? Checks that need no truth but the training data, each with a verdict.

Three kinds of error are told apart. The network: does its denoiser obey what every posterior mean obeys (`evaluation/consistency.py`)? The
steps: does the sampler keep the spread, on Gaussian data with the data's own spectrum, where the answer is exact, and on this prior against
very many steps? The whole: do ODE and SDE, which share their marginals only for a true score, give the same ensemble, and does its spread
match its error, wavenumber by wavenumber? Reference: methods/diffusion 2.4 and 14.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.data.statistics import stream
from physdiff.data.timeline import FORCINGS
from physdiff.data.windows import TrajectoryWindows
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.samplers.ddim import DDIM, DDPM
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.diffusion.samplers.exponential import ExponentialMultistep, UniPC
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.samplers.sampler import Sampler
from physdiff.diffusion.schedule import per_sample
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.evaluation.consistency import circulation, fokker_planck_terms, jacobian_products
from physdiff.evaluation.numerical_spread import apply_gains, gain_curve, largest_variance
from physdiff.evaluation.sample_gap import sample_gap, spectrum_of
from physdiff.transforms.compose import Compose
from physdiff.transforms.frames import DropHistory

__all__ = ["CHECKS", "Check", "Effort", "check_table", "diagnose", "known_frames", "windows_of"]

_SHARE = 1e-4  # shells with less of the variance than this say nothing about a field


@dataclass(frozen=True)
class Check:
    """What is checked, up to which value it is good and from which it is bad, and what it means.

    Limits: a tenth of the size of what should cancel, or of the spread, is at the level of sampling error of an ensemble of some 50 members; a
    third is seen in every score. Spread: 5 % is what 200 cases can tell, 15 % what image grids lose at 16 steps.
    """

    title: str
    good: float
    bad: float
    meaning: str


CHECKS: dict[str, Check] = {
    "fokker_planck": Check(
        "Fokker-Planck residual", 0.1, 0.4, "share of the denoiser's change with noise that no law explains; ODE, SDE and likelihood rest on it"
    ),
    "asymmetry": Check("Jacobian asymmetry", 0.01, 0.1, "antisymmetric share of the posterior covariance; symmetrise it where it is used"),
    "circulation": Check("work around loops", 0.02, 0.1, "score that is no gradient, on loops as wide as the noise"),
    "energy_gap": Check("ODE to SDE, energy distance", 0.02, 0.1, "laws of both ensembles apart (counts only where p < 0.01)"),
    "mean_gap": Check("ODE to SDE, means", 0.1, 0.3, "in standard deviations of the ensemble"),
    "spectrum_gap": Check("ODE to SDE, variance spectrum (dB)", 1.0, 3.0, "root mean square over wavenumbers; 3 dB are a factor of two"),
    "step_error": Check("spread lost to steps, Gaussian", 0.05, 0.15, "the sampler alone, exact denoiser on the data's spectrum"),
    "worst_step_error": Check("the same, worst wavenumber", 0.1, 0.3, "which scales an ensemble of this sampler lacks"),
    "prior_step_error": Check("spread lost to steps, this prior", 0.05, 0.15, "against very many steps of the same network"),
    "spread_error": Check("spread against error (dB)", 1.0, 3.0, "ensemble variance over squared error of its mean, both on these data"),
}


@dataclass(frozen=True)
class Effort:
    """How much is drawn.

    Args:
        windows: Windows of the data looked at.
        levels: Noise levels, log-uniform in u from 0.1 to 10 standard deviations of the data.
        cases: Conditions from which ensembles are drawn (one without a condition).
        members: Members for each; `cases` times as many without a condition.
        steps: Steps of the samplers that stand for the exact ODE and SDE, of second order or more.
    """

    windows: int = 64
    levels: int = 8
    cases: int = 16
    members: int = 8
    steps: int = 64

    def __post_init__(self) -> None:
        for what, least in (("windows", 4), ("levels", 1), ("cases", 1), ("members", 2), ("steps", 8)):
            if getattr(self, what) < least:
                raise InputError(f"Effort.{what}: expected at least {least}, got {getattr(self, what)}")
        check_positive(self.steps, "Effort.steps")


def diagnose(prior: DiffusionPrior, data: xr.Dataset, *, effort: Effort = Effort(), rng: Rng = Rng(0)) -> xr.Dataset:  # noqa: B008
    """Check a prior on data of its kind.

    Args:
        prior: The prior, trained.
        data: Trajectories in house conventions, best such that it was not trained on.
        effort: How much is drawn; the cost is about ``cases * members * (2 * steps + prior.steps)`` evaluations.
        rng: Randomness.

    Returns:
        Variables on `check` (value, good, bad, verdict, meaning); on `noise_ratio` (fokker_planck, asymmetry, circulation by noise level); on
        (sampler, variable, wavenumber) step_gain; on (variable, wavenumber) prior_gain, spread_ratio, sde_ratio (all in standard deviations).

    Raises:
        DataError: If the data have no window of the prior.
        GridMismatch: If they are on another grid.
        InputError: If the prior has no denoiser; an interpolant's spread against its error is what `match_spread` looks at.
    """
    if not isinstance(prior, DiffusionPrior):
        kind = type(prior).__name__
        raise InputError(f"diagnose: expected a DiffusionPrior, got {kind}: {prior.no_posterior}; match_spread looks at its spread and error")
    x, cond = windows_of(prior, data, max(effort.windows, effort.cases))
    training = prior.training
    prior.eval()
    try:
        out = _denoiser(prior, x[: effort.windows], cond, effort=effort, rng=rng.child("denoiser"))
        out = out.merge(_steps(prior, x, cond))
        out = out.merge(_ensembles(prior, x, cond, effort=effort, rng=rng), combine_attrs="no_conflicts")
    finally:
        prior.train(training)
    return _judged(out)


def check_table(found: xr.Dataset) -> str:
    """The result of `diagnose` as text, a line for each check."""
    lines = [f"{'check':36} {'value':>9} {'good to':>8} {'bad from':>9}  verdict"]
    for name in found["check"].values:
        row = found.sel(check=name)
        value, good, bad = (float(row[k]) for k in ("value", "good", "bad"))
        lines.append(f"{CHECKS[str(name)].title:36} {value:9.3g} {good:8.3g} {bad:9.3g}  {row['verdict'].item()}")
    return "\n".join([*lines, str(found.attrs["verdict"])])


def windows_of(prior: WindowPrior, data: xr.Dataset, most: int) -> tuple[Tensor, Tensor | None]:
    """Windows (n, C, T, *S) of the data, at most so many, and their condition windows, as a prior takes them."""
    history = known_frames(prior)
    names = prior.cond_spec.names[len(prior.spec.names) + 1 :] if prior.cond_spec is not None else ()
    windows = TrajectoryWindows(
        data,
        history=history,
        horizon=prior.spec.frames - history,
        spec=prior.spec,
        extras=tuple(n for n in names if n in FORCINGS),
        statics=tuple(n for n in names if n not in FORCINGS),
        fill=None if prior.cond_transform is None else prior.cond_transform.fill,
    )
    batches = list(stream(windows, most=most))
    cond = None if batches[0].cond is None else torch.cat([b.cond for b in batches if b.cond is not None])
    return torch.cat([b.x for b in batches]), cond


def known_frames(prior: WindowPrior) -> int:
    """Number of known frames of a prior's windows."""
    if prior.cond_spec is None:
        return 0
    parts = list(prior.transform) if isinstance(prior.transform, Compose) else [prior.transform]
    return next((p.history for p in parts if isinstance(p, DropHistory)), prior.cond_spec.history)


@torch.no_grad()
def _encoded(prior: DiffusionPrior, x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Coefficients, completed and encoded condition."""
    device = next((p.device for p in prior.denoiser.parameters()), x.device)
    completed = prior.complete(None if cond is None else cond[: len(x)].to(device))
    return prior.encode(x.to(device), completed), completed, prior.encode_cond(completed)


@torch.no_grad()
def _denoiser(prior: DiffusionPrior, x: Tensor, cond: Tensor | None, *, effort: Effort, rng: Rng) -> xr.Dataset:
    z, _, encoded = _encoded(prior, x, cond)
    denoiser, schedule = prior.denoiser, prior.denoiser.schedule
    ratios = torch.logspace(-1, 1, effort.levels, dtype=torch.float64) * float(z.std())
    sums = {name: np.zeros((effort.levels, 2)) for name in ("fokker_planck", "asymmetry", "circulation")}
    for level, u in enumerate(ratios):
        t = schedule.time_of(-u.log()).to(z.device)
        key, rows = rng.child(level), range(len(z))
        noise, *more = (key.child(k).normal_each(rows, z.shape[1:], like=z) for k in ("noise", "first", "second", "third"))
        alpha, sigma = schedule(t)
        for i in range(0, len(z), 16):
            part, c = slice(i, i + 16), None if encoded is None else encoded[i : i + 16]
            x_t = per_sample(alpha, z) * z[part] + per_sample(sigma, z) * noise[part]
            probes = torch.stack([m[part].sign() for m in more[:2]])
            terms = fokker_planck_terms(denoiser, x_t, t, probes=probes, cond=c)
            jv, jtv = jacobian_products(denoiser, x_t, t, probe=probes[0], cond=c)
            loops = circulation(denoiser, x_t, t, sides=(more[1][part], more[2][part]), cond=c)
            found = {
                "fokker_planck": (terms.square().sum(), terms.scale().sum()),
                "asymmetry": ((jv - jtv).square().sum(), jv.square().sum() + jtv.square().sum()),
                "circulation": (loops.square().sum(), torch.tensor(float(len(loops)))),
            }
            for name, pair in found.items():
                sums[name][level] += [float(v) for v in pair]
    out = xr.Dataset(coords={"noise_ratio": ("noise_ratio", ratios.numpy(), {"long_name": "noise-to-signal ratio u"})})
    for name, both in sums.items():
        ratio = np.maximum(both[:, 0], 0) / both[:, 1]
        whole = max(both[:, 0].sum(), 0) / both[:, 1].sum()
        root = name != "asymmetry"
        facts = {"long_name": CHECKS[name].title, "overall": float(whole**0.5 if root else whole)}
        out[name] = ("noise_ratio", np.sqrt(ratio) if root else ratio, facts)
    return out


def _candidates(prior: DiffusionPrior) -> dict[str, tuple[Sampler, int]]:
    """The prior's sampler and others at the same number of evaluations."""
    own, steps = prior.sampler, prior.steps
    evaluations = own.evaluations(steps)
    others: tuple[Sampler, ...] = (DDIM(), DDPM(), DPMSolver2M(), UniPC(), Heun())
    # a method with too few evaluations for its order is left out
    able = {type(s).__name__: (s, s.steps_for(evaluations)) for s in others if evaluations >= s.evaluations(s.least_steps())}
    return {"own": (own, steps)} | {name: pair for name, pair in able.items() if type(own).__name__ != name}


@torch.no_grad()
def _steps(prior: DiffusionPrior, x: Tensor, cond: Tensor | None) -> xr.Dataset:
    z, completed, _ = _encoded(prior, x, cond)
    z = z.float() if z.dtype not in (torch.float32, torch.float64) else z
    centre = z.mean(0, keepdim=True)
    schedule, largest = prior.denoiser.schedule, largest_variance(z - centre)
    start = "exact" if _exact_start(prior) else "unit" if isinstance(prior.denoiser, PreconditionedDenoiser) else "noise"
    samplers = _candidates(prior)
    curves: list[Callable[[Tensor], Tensor]] = [
        gain_curve(s, schedule, s.grid(prior.denoiser, n), largest=largest, start=start) for s, n in samplers.values()
    ]
    middle = prior.transform.decode(centre.expand_as(z), completed)
    spectra = []
    for departure in (z - centre, *apply_gains(z - centre, curves)):
        fields = (prior.transform.decode(centre + departure, completed) - middle)[:, :, known_frames(prior) :]
        wavenumber, energy = spectrum_of(fields, prior.spec.grid)
        spectra.append(energy.mean((0, 2)))
    names = ["own: " + type(prior.sampler).__name__, *list(samplers)[1:]]
    gain = torch.stack([(s / spectra[0].clamp_min(1e-300)).sqrt() for s in spectra[1:]]).cpu().numpy()
    out = xr.Dataset({"step_gain": (("sampler", "variable", "wavenumber"), gain, {"long_name": "standard deviation kept, Gaussian data"})})
    out["data_variance"] = (("variable", "wavenumber"), spectra[0].cpu().numpy(), {"long_name": "half the variance per wavenumber"})
    return out.assign_coords(sampler=names, variable=list(prior.spec.names), wavenumber=wavenumber.numpy())


def _exact_start(prior: DiffusionPrior) -> bool:
    denoiser = prior.denoiser
    base = denoiser.base if isinstance(denoiser, PreconditionedDenoiser) else denoiser
    return isinstance(base, GaussianDenoiser)


def _ensembles(prior: DiffusionPrior, x: Tensor, cond: Tensor | None, *, effort: Effort, rng: Rng) -> xr.Dataset:
    history = known_frames(prior)
    cases = 1 if cond is None else min(effort.cases, len(x))
    members = effort.members * (effort.cases if cond is None else 1)
    known = None if cond is None else cond[:cases].repeat_interleave(members, 0)
    std = x[:, :, history:].flatten(2).nan_to_num().std((0, 2)).clamp_min(1e-30).reshape(1, -1, 1, *[1] * prior.spec.grid.ndim)

    def drawn(sampler: Sampler, steps: int, key: str) -> Tensor:
        found = prior.with_sampler(sampler, steps).sample(cases * members, cond=known, rng=rng.child(key)).cpu()
        return torch.nan_to_num(found[:, :, history:] / std).unflatten(0, (cases, members))

    own = drawn(prior.sampler, prior.steps, "draws")
    ode = drawn(UniPC(), effort.steps, "draws")  # the same starts as the prior's own draws
    sde = drawn(ExponentialMultistep(2, noise=1.0), effort.steps, "others")
    gap = sample_gap(ode, sde, rng=rng.child("exchange"))
    truth = torch.nan_to_num(x[: len(x) if cond is None else cases, :, history:] / std)
    mean = own.mean(1)
    wavenumber, error = spectrum_of(truth - mean, prior.spec.grid)
    spread = {k: _variance(v, prior) for k, v in (("own", own), ("ode", ode), ("sde", sde))}
    ratio = {
        "prior_gain": (spread["own"] / spread["ode"]).sqrt(),
        "sde_ratio": (spread["sde"] / spread["ode"]).sqrt(),
        "spread_ratio": (spread["own"] * (members + 1) / members / error.mean((0, 2)).clamp_min(1e-300)).sqrt(),
    }
    out = xr.Dataset({k: (("variable", "wavenumber"), v.numpy()) for k, v in ratio.items()})
    out["prior_variance"] = (("variable", "wavenumber"), spread["ode"].numpy())
    out.attrs.update(energy_gap=gap.energy, energy_p=gap.p_value, mean_gap=gap.mean)
    return out.assign_coords(variable=list(prior.spec.names), wavenumber=wavenumber.numpy())


def _variance(draws: Tensor, prior: DiffusionPrior) -> Tensor:
    """Unbiased variance by wavenumber (C, K) of draws (cases, members, C, T, *S)."""
    m = draws.shape[1]
    energy = spectrum_of(draws - draws.mean(1, keepdim=True), prior.spec.grid)[1]
    return (energy.mean((0, 1, 3)) * m / (m - 1)).clamp_min(1e-300)


def _judged(out: xr.Dataset) -> xr.Dataset:
    """Values of all checks, their verdicts, and the whole in one sentence."""
    values = {name: float(out[name].attrs["overall"]) for name in ("fokker_planck", "asymmetry", "circulation")}
    values |= {name: float(out.attrs[name]) for name in ("energy_gap", "mean_gap")}
    share = (out["prior_variance"] / out["prior_variance"].sum("wavenumber")).values
    heard = share > _SHARE
    data_share = (out["data_variance"] / out["data_variance"].sum("wavenumber")).values
    own = out["step_gain"].values[0]
    values["spectrum_gap"] = _decibels(out["sde_ratio"].values[heard])
    # the total variance, whose root is the spread of the fields
    values["step_error"] = float(np.abs(1 - np.sqrt((own**2 * data_share).sum(-1))).max())
    values["worst_step_error"] = float(np.abs(1 - own[data_share > _SHARE]).max())
    values["prior_step_error"] = float(np.abs(1 - np.sqrt((out["prior_gain"].values ** 2 * share).sum(-1))).max())
    values["spread_error"] = _decibels(out["spread_ratio"].values[heard])
    verdicts = []
    for name, check in CHECKS.items():
        value = values[name]
        if name == "energy_gap" and out.attrs["energy_p"] >= 0.01:
            verdicts.append("good")
        else:
            verdicts.append("good" if value <= check.good else "bad" if value >= check.bad or not np.isfinite(value) else "look")
    names = list(CHECKS)
    out = out.assign_coords(check=names)
    out["value"] = ("check", np.array([values[n] for n in names]))
    out["good"] = ("check", np.array([CHECKS[n].good for n in names]))
    out["bad"] = ("check", np.array([CHECKS[n].bad for n in names]))
    out["verdict"] = ("check", np.array(verdicts, dtype=object))
    out["meaning"] = ("check", np.array([CHECKS[n].meaning for n in names], dtype=object))
    out.attrs["verdict"] = _together(dict(zip(names, verdicts, strict=True)))
    return out


def _decibels(ratio: np.ndarray) -> float:
    """Root mean square of ratios of standard deviations, in decibels of variance."""
    return float(np.sqrt(np.mean((20 * np.log10(np.maximum(ratio, 1e-6))) ** 2)))


def _together(verdicts: dict[str, str]) -> str:
    bad, look = ([CHECKS[n].title for n, v in verdicts.items() if v == kind] for kind in ("bad", "look"))
    if not bad and not look:
        return f"all {len(verdicts)} checks are good"
    parts = [f"bad: {', '.join(bad)}"] if bad else []
    return "; ".join(parts + ([f"look at: {', '.join(look)}"] if look else []))
