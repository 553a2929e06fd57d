r"""The best sampler for a number of evaluations, on your own prior and data: samplers and time grids tried, two rounds, judged by fields.

First round: every sampler on every grid draws from the same starts. The grids are its own, "edm", "arctan" at the data's spread, "angle" and
"spectral" where a Gaussian base is, the two cheapest paths of a fine run of the flow, and that of the reverse SDE (`path_grid`); the samplers are the
house's, and on each grid a multistep method whose coefficients are fitted to a fine run from other starts (`fit_multistep`). Second round: the best
and the prior's own sampler on other starts and windows, which decide. A fine run of the flow from the same starts is judged beside them.
Against data,

    score = (ln 10 / 20) rms_dB(spectrum of draws / spectrum of data) + CRPS / CRPS of the fine run

the first term is about the relative error of a wavenumber's amplitude, the second is there if the prior has known frames. Against the flow, score is
the rms difference to the fine run over the data's standard deviation, which asks for accuracy alone and rules fresh noise out. A score of looks (FID)
has no place here. Reference: methods/diffusion 7.3, 11.1, 11.2 and 11.4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.checks import check_one_of
from physdiff.base.errors import DataError, Diverged, InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.samplers.ddim import DDIM, DDPM
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.diffusion.samplers.dpm_single import DPMSolverSingle
from physdiff.diffusion.samplers.er_sde import ERSDE
from physdiff.diffusion.samplers.exact_linear import ExactLinear
from physdiff.diffusion.samplers.exponential import ExponentialMultistep, UniPC
from physdiff.diffusion.samplers.fixed_grid import FixedGrid
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.samplers.sampler import Sampler
from physdiff.diffusion.samplers.timesteps import timesteps
from physdiff.evaluation.diagnose import known_frames, windows_of
from physdiff.evaluation.fit_multistep import fit_multistep
from physdiff.evaluation.path_grid import cheapest_path, divergence_costs, step_costs
from physdiff.evaluation.sample_gap import spectrum_of
from physdiff.scores.crps import crps

__all__ = ["TunedSampler", "TuningEffort", "tune_sampler", "tuning_table"]

_SHARE = 1e-4  # wavenumbers with less of the variance say nothing about a field, as in `diagnose`


@dataclass(frozen=True)
class TuningEffort:
    """How much is drawn; some ``60 * cases * members * nfe`` evaluations in the first round, and half as many for grids and fits.

    Args:
        cases: Windows in each round; without known frames they only give conditions.
        members: Draws for each.
        finalists: Candidates of the first round that come to the second.
        nodes: Levels of the fine run from which time grids are made, and steps of the run that stands for the exact flow.
    """

    cases: int = 8
    members: int = 8
    finalists: int = 4
    nodes: int = 60

    def __post_init__(self) -> None:
        for what, least in (("cases", 1), ("members", 2), ("finalists", 1), ("nodes", 8)):
            if getattr(self, what) < least:
                raise InputError(f"TuningEffort.{what}: expected at least {least}, got {getattr(self, what)}")


@dataclass(frozen=True, eq=False)
class TunedSampler:
    """What `tune_sampler` found.

    Args:
        sampler: The best sampler with its times.
        table: On `candidate`: steps, evaluations, times (NaN beyond the last), spectrum_db, difference, crps (of the last round a candidate came to),
            score (second round; NaN for those that are not in it) and first_score. The candidate "own" is the prior's sampler at this budget,
            "fine" the fine run, which is no candidate.
    """

    sampler: FixedGrid
    table: xr.Dataset

    @property
    def steps(self) -> int:
        """Steps of the sampler's times."""
        return len(self.sampler.times) - 1

    def put_into(self, prior: DiffusionPrior) -> DiffusionPrior:
        """The prior with this sampler and its number of steps; its `save` keeps both."""
        return prior.with_sampler(self.sampler, self.steps)


@dataclass(frozen=True, eq=False)
class _Round:
    """Starts, conditions and truth of one round, and the fine run from these starts."""

    rng: Rng
    truth: Tensor
    cond: Tensor | None
    fine: Tensor


def tune_sampler(
    prior: DiffusionPrior,
    nfe: int,
    data: xr.Dataset,
    *,
    samplers: Mapping[str, Sampler] | None = None,
    against: str = "data",
    effort: TuningEffort = TuningEffort(),  # noqa: B008 - a frozen value
    rng: Rng = Rng(0),  # noqa: B008
) -> TunedSampler:
    """Find the sampler, with its times, that a budget of evaluations is best spent on.

    Args:
        prior: The prior, trained.
        nfe: Evaluations of the network for one draw, at most.
        data: Trajectories in house conventions, best such that it was not trained on.
        samplers: Samplers to try, by name; None: the house's.
        against: ``"data"``: spectra and CRPS decide; ``"flow"``: the difference to a fine run from the same starts.
        effort: How much is drawn.
        rng: Randomness.

    Returns:
        The sampler and the table of all candidates. Its score in the second round is that of the best of few, a little too good on average.

    Raises:
        InputError: If the prior is of another kind, no sampler can do with so few evaluations, or `against` is unknown.
        DataError: If the data have no windows, or only one.
        GridMismatch: If they are on another grid.
    """
    if not isinstance(prior, DiffusionPrior):
        raise InputError(f"tune_sampler: expected a DiffusionPrior, got {type(prior).__name__}; other priors have samplers of their own")
    check_one_of(against, ("data", "flow"), "tune_sampler.against")
    able = _able(prior, nfe, samplers)
    x, cond = windows_of(prior, data, max(64, 2 * effort.cases))
    if len(x) < 2:
        raise DataError(f"tune_sampler: expected two windows or more, got {len(x)}; give longer data")
    training = prior.training
    prior.eval()
    try:
        first, second = _rounds(prior, x, cond, effort=effort, rng=rng)
        tried = {"own": able.pop("own")} | _with_grids(prior, able, first, nodes=effort.nodes, fitted=samplers is None)
        scale = _centre_and_std(prior, x)
        early = {name: _scores(prior, s, first, scale=scale, against=against) for name, s in tried.items()}
        order = sorted((n for n in early if n != "own"), key=lambda n: early[n]["score"])
        late = {name: _scores(prior, tried[name], second, scale=scale, against=against) for name in ["own", *order[: effort.finalists]]}
        fine = {"fine": _judge(prior, second.fine, second, scale=scale, against=against)}
    finally:
        prior.train(training)
    best = min(late, key=lambda n: late[n]["score"])
    if not math.isfinite(late[best]["score"]):
        raise InputError(f"tune_sampler: expected a sampler that ends in finite fields with {nfe} evaluations, got none; give more, or train longer")
    return TunedSampler(tried[best], _table(tried, early, late | fine, nodes=effort.nodes).assign_attrs(best=best, nfe=nfe, against=against))


def tuning_table(found: TunedSampler, most: int = 12) -> str:
    """The best candidates as text, a line each, in order of the second round's score, then the first's."""
    table = found.table
    late, early = (np.nan_to_num(table[k].values, nan=np.inf, posinf=np.inf) for k in ("score", "first_score"))
    order = np.lexsort((early, late))
    head = ("score", "first_score", "spectrum_db", "difference", "crps")
    lines = [f"{'candidate':32} {'evaluations':>11} " + " ".join(f"{h:>11}" for h in head)]
    for i in order[:most]:
        row = table.isel(candidate=i)
        numbers = " ".join(f"{float(row[h]):11.4g}" for h in head)
        lines.append(f"{row['candidate'].item()!s:32} {int(row['evaluations']):11d} {numbers}")
    return "\n".join([*lines, f"best: {table.attrs['best']}, {found.steps} steps"])


def _base(prior: DiffusionPrior) -> GaussianDenoiser | None:
    denoiser = prior.denoiser
    base = denoiser.base if isinstance(denoiser, PreconditionedDenoiser) else denoiser
    return base if isinstance(base, GaussianDenoiser) else None


def _inner(sampler: Sampler) -> Sampler:
    return sampler.sampler if isinstance(sampler, FixedGrid) else sampler


def _able(prior: DiffusionPrior, nfe: int, samplers: Mapping[str, Sampler] | None) -> dict[str, FixedGrid]:
    """The samplers that can do with so few evaluations, on their own grids, and "own", the prior's (the first that can, if it cannot)."""
    if samplers is None:
        samplers = {
            "DPMSolver2M": DPMSolver2M(),
            "UniPC(2)": UniPC(2),
            "UniPC(3)": UniPC(3),
            "ExponentialMultistep(2, noise=1)": ExponentialMultistep(2, noise=1.0),
            "DDIM": DDIM(),
            "DDPM": DDPM(),
            "ERSDE": ERSDE(),
            "DPMSolverSingle(2)": DPMSolverSingle(2),
            "Heun": Heun(),
        } | ({} if _base(prior) is None else {"ExactLinear": ExactLinear()})
    able = {name: _inner(s) for name, s in samplers.items() if nfe >= _least(_inner(s))}
    if not able:
        least = min((_least(_inner(s)) for s in samplers.values()), default=1)
        raise InputError(f"tune_sampler: expected at least {least} evaluations for {', '.join(samplers) or 'a sampler'}, got {nfe}; give more")
    own = prior.sampler if nfe >= _least(prior.sampler) else next(iter(able.values()))
    return {name: FixedGrid(_inner(s), s.grid(prior.denoiser, s.steps_for(nfe))) for name, s in {"own": own, **able}.items()}


def _least(sampler: Sampler) -> int:
    return sampler.evaluations(sampler.least_steps())


def _rounds(prior: DiffusionPrior, x: Tensor, cond: Tensor | None, *, effort: TuningEffort, rng: Rng) -> tuple[_Round, _Round]:
    """Two rounds with other starts and, as far as there are two halves, other windows."""
    half = len(x) // 2
    found = []
    for key, rows in (("first", slice(None, half)), ("second", slice(half, None))):
        truth, own = x[rows], None if cond is None else cond[rows]
        pick = torch.linspace(0, len(truth) - 1, min(effort.cases, len(truth))).round().long()
        if own is None:
            many, known, judged = effort.cases * effort.members, None, truth
        else:
            many = effort.members * len(pick)
            known, judged = own[pick].repeat_interleave(effort.members, 0), truth[pick]
        fine = prior.with_sampler(UniPC(3), effort.nodes).sample(many, cond=known, rng=rng.child(key)).cpu()
        found.append(_Round(rng.child(key), judged, known, fine))
    return found[0], found[1]


@dataclass(frozen=True, eq=False)
class _Material:
    """What grids and fits are made from: 32 draws of the fine run in coefficients, states at time 1 from starts that no round has, and conditions."""

    clean: Tensor
    start: Tensor
    cond: Tensor | None
    rng: Rng


@torch.no_grad()
def _material(prior: DiffusionPrior, first: _Round) -> _Material:
    draws, rng = first.fine[:32], first.rng.child("fit")
    completed = prior.complete(None if first.cond is None else first.cond[:32].to(_device(prior)))
    like = next((p for p in prior.denoiser.parameters()), torch.zeros((), dtype=draws.dtype)).detach()
    like = like.to(torch.promote_types(like.dtype, torch.float32))
    encoded = prior.encode_cond(completed)
    noise = rng.child("start").normal_each(range(len(draws)), prior.latent_shape, like=like)
    start = prior.noisiest(noise, torch.ones((), dtype=torch.float64), encoded)
    return _Material(prior.encode(draws.to(like), completed), start, encoded, rng)


def _grids(prior: DiffusionPrior, made: _Material, counts: set[int], *, nodes: int) -> dict[str, dict[int, Tensor]]:
    """Times by kind and number of steps."""
    denoiser, base = prior.denoiser, _base(prior)
    paths = {f"path by {w}": step_costs(denoiser, made.start, cond=made.cond, nodes=nodes, weight=w) for w in ("modes", "energy")}
    paths["path by divergence"] = divergence_costs(denoiser, made.clean, cond=made.cond, nodes=nodes, rng=made.rng)
    # as many steps as there are nodes at most
    grids = {kind: {n: t[cheapest_path(cost, n)] for n in counts if 1 < n < len(t)} for kind, (t, cost) in paths.items()}
    covariance = None if base is None else base.covariance
    for kind in ("edm", "arctan") if base is None else ("edm", "arctan", "angle", "spectral"):
        scale = float(made.clean.std()) if kind == "arctan" else 1.0
        grids[kind] = {n: timesteps(denoiser.schedule, n, kind, scale=scale, covariance=covariance) for n in counts}
    return grids


def _with_grids(prior: DiffusionPrior, able: Mapping[str, FixedGrid], first: _Round, *, nodes: int, fitted: bool) -> dict[str, FixedGrid]:
    """Each sampler on each grid, "sampler, grid"; grids equal to one that is there are left out."""
    made, counts = _material(prior, first), {len(s.times) - 1 for s in able.values()}
    grids = _grids(prior, made, counts, nodes=nodes)
    found = {f"{name}, own grid": s for name, s in able.items()}
    for name, s in able.items():
        seen = [s.times]
        for kind, by_steps in grids.items():
            laid = by_steps.get(len(s.times) - 1)
            if laid is not None and not any(torch.allclose(laid, other, rtol=1e-6, atol=1e-12) for other in seen):
                seen.append(laid)
                found[f"{name}, {kind}"] = FixedGrid(s.sampler, laid)
    most = max(counts)
    if fitted and most > 1:
        # one evaluation a step: as many steps as any method has
        laid_out = {"equal steps of lam": timesteps(prior.denoiser.schedule, most)} | {k: g[most] for k, g in grids.items() if most in g}
        for kind, times in laid_out.items():
            fit = fit_multistep(prior.denoiser, made.start, times, cond=made.cond, nodes=max(nodes, 3 * most))
            found[f"fitted, {kind}"] = FixedGrid(fit, times)
    return found


def _device(prior: DiffusionPrior) -> torch.device:
    return next((p.device for p in prior.denoiser.parameters()), torch.device("cpu"))


def _centre_and_std(prior: DiffusionPrior, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean window and standard deviation of each variable, (1, C, 1, *S) and (1, C, 1, ...), float64."""
    new = x[:, :, known_frames(prior) :].nan_to_num().double()
    std = new.transpose(0, 1).flatten(1).std(1).clamp_min(1e-30)
    return new.mean((0, 2), keepdim=True), std.reshape(1, -1, 1, *[1] * prior.spec.grid.ndim)


def _scores(prior: DiffusionPrior, sampler: FixedGrid, work: _Round, *, scale: tuple[Tensor, Tensor], against: str) -> dict[str, float]:
    try:
        draws = prior.with_sampler(sampler, len(sampler.times) - 1).sample(len(work.fine), cond=work.cond, rng=work.rng).cpu()
    except Diverged:
        return {"spectrum_db": math.inf, "difference": math.inf, "crps": math.nan, "score": math.inf}
    return _judge(prior, draws, work, scale=scale, against=against)


def _judge(prior: DiffusionPrior, draws: Tensor, work: _Round, *, scale: tuple[Tensor, Tensor], against: str) -> dict[str, float]:
    history, (centre, std) = known_frames(prior), scale

    def ready(window: Tensor) -> Tensor:
        return (torch.nan_to_num(window[:, :, history:].double()) - centre) / std

    own, fine, truth = ready(draws), ready(work.fine), ready(work.truth)
    own_power, true_power = (spectrum_of(f, prior.spec.grid)[1].mean((0, 2)) for f in (own, truth))
    heard = true_power > _SHARE * true_power.sum(-1, keepdim=True)
    ratio = (own_power[heard] / true_power[heard]).clamp_min(1e-30)
    found = {
        "spectrum_db": float((10 * ratio.log10()).square().mean().sqrt()),
        "difference": float((own - fine).square().mean().sqrt()),
        "crps": math.nan,
    }
    score = math.log(10) / 20 * found["spectrum_db"]
    if history:
        cases = len(truth)
        weights = prior.spec.grid.weights().double()
        found["crps"], floor = (float(crps(f.unflatten(0, (cases, -1)).transpose(0, 1), truth, weights).mean()) for f in (own, fine))
        score += found["crps"] / floor
    score = score if against == "data" else found["difference"]
    return found | {"score": score if math.isfinite(score) else math.inf}


def _table(tried: Mapping[str, FixedGrid], early: Mapping[str, dict[str, float]], late: Mapping[str, dict[str, float]], *, nodes: int) -> xr.Dataset:
    names, rows = [*tried, "fine"], dict(late)
    long_names = {
        "score": "score in the second round, smaller is better",
        "spectrum_db": "rms of the ratio of spectra of draws and data (dB)",
        "difference": "rms difference to the fine run from the same starts, in standard deviations",
        "crps": "fair CRPS, in standard deviations",
    }
    out = xr.Dataset(coords={"candidate": names})
    for key, long_name in long_names.items():
        # what came to the second round is described by it, the rest by the first
        values = [rows[n][key] if n in rows else math.nan if key == "score" else early[n][key] for n in names]
        out[key] = ("candidate", np.array(values), {"long_name": long_name})
    out["first_score"] = ("candidate", np.array([early[n]["score"] if n in early else math.nan for n in names]))
    steps = [len(s.times) - 1 for s in tried.values()]
    evaluations = [s.evaluations(n) for s, n in zip(tried.values(), steps, strict=True)]
    out["steps"] = ("candidate", np.array([*steps, nodes]))
    out["evaluations"] = ("candidate", np.array([*evaluations, nodes]))
    times = np.full((len(names), max(steps) + 1), math.nan)
    for row, sampler in zip(times, tried.values(), strict=False):
        row[: len(sampler.times)] = sampler.times.numpy()
    out["times"] = (("candidate", "node"), times, {"long_name": "diffusion times"})
    return out
