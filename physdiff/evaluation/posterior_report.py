r"""Can a posterior sampler be trusted? Known truths, simulated readings, draws, and where the truth lies among them.

For each case a truth comes from the prior (or is a held-out window of data), readings are simulated with the observations' noise, and the sampler
draws members. If the sampler is right, and truths come from the prior, the rank of any quantity of the truth among the members is uniform
(simulation-based calibration, scores/uniformity.py), so is the number of members nearer to a random point (scores/tarp.py), and intervals cover what
they say. With held-out truths the prior is tested too. Quantities: values at some places, mean and standard deviation of each field, and the log
likelihood, which sees a sampler that does not listen to the readings (Modrak et al., Simulation-based calibration checking with data-dependent
test quantities, 2023). The share of a field's cells that its intervals cover, one number a case, is tested against their level by Student's law.
P values are multiplied by the number of tests (Bonferroni).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from tqdm import tqdm

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.data.write import write_dataset
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.evaluation.diagnose import known_frames
from physdiff.evaluation.significance import student_p_value
from physdiff.inference.observation import Observation
from physdiff.inference.posterior import Posterior, PosteriorSampler
from physdiff.scores.coverage import coverage, members_needed
from physdiff.scores.crps import crps
from physdiff.scores.rank_histogram import rank_bounds, rank_histogram
from physdiff.scores.tarp import tarp_rank
from physdiff.scores.uniformity import rank_chi2, rank_p_value

__all__ = ["Trials", "posterior_report", "report_table", "simulated"]

_MADE_FROM = "made_from"


@dataclass(frozen=True)
class Trials:
    """How much is tried.

    Args:
        cases: Number of truths; those of the data if they are fewer.
        members: Members drawn for each; 19 at least for intervals of 90 %.
        places: Entries of each field whose ranks are kept, chosen at random.
        level: Probability of the intervals whose coverage is counted.
        error: Probability with which a sampler that is right is called wrong.
    """

    cases: int = 100
    members: int = 19
    places: int = 4
    level: float = 0.9
    error: float = 0.05

    def __post_init__(self) -> None:
        if self.cases < 10 or self.places < 0 or not 0 < self.error < 1:
            got = f"{self.cases}, {self.places} and {self.error}"
            raise InputError(f"Trials: expected cases >= 10, places >= 0 and an error in (0, 1), got {got}; fewer cases decide nothing")
        if self.members < members_needed(self.level):
            need = members_needed(self.level)
            raise InputError(f"Trials.members: expected at least {need} for intervals of {100 * self.level:g} %, got {self.members}")


def posterior_report(
    prior: DiffusionPrior,
    observations: Observation | tuple[Observation, ...],
    sampler: PosteriorSampler,
    *,
    truths: Tensor | None = None,
    cond: Tensor | None = None,
    trials: Trials = Trials(),  # noqa: B008 - a frozen value
    rng: Rng,
    folder: str | os.PathLike[str] | None = None,
) -> xr.Dataset:
    """Try a sampler on many cases.

    Args:
        prior: The prior.
        observations: Operators and noise; of their readings only which are missing (NaN) counts.
        sampler: The sampler.
        truths: Held-out windows (n, C, T, *S) in physical units; drawn from the prior if None.
        cond: Condition windows (n or 1, C', T, *S), for a prior that has one.
        trials: How much is tried.
        rng: Randomness.
        folder: Where finished cases are kept; the same call goes on where it was interrupted.

    Returns:
        On (case, quantity): rank, truth, mean, std of the members; on (case, variable): crps, coverage, variance, squared_error; on (case, variable,
        rank_of_cell): ranks, the rank histogram of the cells; tarp_rank (case); on quantity: p_value (exact, of the distribution function of ranks),
        p_chi2, tilt (mean rank in 0..1 minus 1/2), width (variance of the ranks over that of uniform ones: above 1 too narrow); attrs: tarp_p,
        verdict, and means of what the sampler reports of its runs.

    Raises:
        InputError: If the noise law cannot draw readings, the prior needs a condition and none came, or all cells of a field are known.
        ShapeError: If truths and conditions do not fit.
    """
    drawn = truths is None
    windows = _truths(prior, truths, cond, trials, rng.child("truth"))
    n, given = len(windows), (observations,) if isinstance(observations, Observation) else tuple(observations)
    probe = _Probes.of(prior, trials.places, rng.child("places"))
    store = None if folder is None else Path(folder)
    std = windows[:, :, probe.history :].flatten(2).double().std((0, 2)).clamp_min(1e-300)
    parts = []
    for i in tqdm(range(n), desc="cases", unit="case", disable=None):
        key = rng.child("case", i)
        readings = tuple(simulated(o, windows[i : i + 1], rng=key.child("noise", j)) for j, o in enumerate(given))
        case = _Case(windows[i], windows[(i + 1) % n], None if cond is None else cond[i % len(cond)][None], readings)
        path = None if store is None else store / f"case_{i:05d}.nc"
        mark = case.mark(sampler, trials, key)
        found = _kept(path, mark)
        if found is None:
            found = _tried(prior, sampler, case, probe, scale=std, trials=trials, rng=key)
            if path is not None:
                write_dataset(found.assign_attrs({_MADE_FROM: mark}), path)
        parts.append(found)
    return _judged(xr.concat(parts, dim="case", combine_attrs="drop"), trials, drawn)


def simulated(observation: Observation, truth: Tensor, *, rng: Rng) -> Observation:
    """The observation with readings of a truth (1, C, T, *S), with noise, missing where they are missing in the observation.

    Raises:
        InputError: If the noise law cannot draw readings.
    """
    with torch.no_grad():
        predicted = observation.operator(truth)[0]
    y = observation.noise.sample(predicted, rng=rng)
    y = torch.where(observation.seen(y.shape).to(y.device), y, torch.nan)
    return Observation(observation.operator, y, noise=observation.noise)


def report_table(found: xr.Dataset) -> str:
    """The result of `posterior_report` as text, a line for each quantity."""
    lines = [f"{'quantity':32} {'p value':>9} {'chi2':>8} {'tilt':>7} {'width':>7}"]
    for name in found["quantity"].values:
        row = found.sel(quantity=name)
        lines.append(f"{name!s:32} {float(row.p_value):9.3g} {float(row.p_chi2):8.3g} {float(row.tilt):+7.3f} {float(row.width):7.3f}")
    lines.append(f"{'distance to a random point':32} {found.attrs['tarp_p']:9.3g}")
    for name in found["variable"].values:
        row = found.sel(variable=name)
        cover, error = float(row.coverage.mean()), float(row.coverage.std(ddof=1)) / found.sizes["case"] ** 0.5
        lines.append(f"{name}: {100 * found.attrs['level']:g} % intervals cover {cover:.3f} +- {error:.3f}, crps {float(row.crps.mean()):.4g}")
        lines[-1] += f", p value {float(row.p_coverage):.3g}"
    tests, bound = found.attrs["tests"], found.attrs["error"] / found.attrs["tests"]
    lines.append(f"a fault is a p value below {bound:.2g} ({tests} tests); chi2 is told and not tested")
    return "\n".join([*lines, str(found.attrs["verdict"])])


@dataclass(frozen=True, eq=False)
class _Case:
    truth: Tensor
    reference: Tensor
    cond: Tensor | None
    readings: tuple[Observation, ...]

    def mark(self, sampler: PosteriorSampler, trials: Trials, rng: Rng) -> str:
        """What the result depends on: the truth and the readings (and so the prior and the operators), the sampler and the randomness."""
        text = f"{_text(sampler)} {trials} {rng}"
        digest = hashlib.sha256(text.encode())
        for tensor in (self.truth, self.reference, *(o.y for o in self.readings)):
            digest.update(tensor.detach().cpu().double().numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class _Probes:
    """The quantities whose ranks are kept."""

    names: tuple[str, ...]
    channels: tuple[int, ...]
    entries: tuple[int, ...]  # in (T, *S) after the known frames, flattened
    history: int
    cells: Tensor  # of (T, *S), True where the field has values that are not known
    labels: tuple[str, ...]

    @classmethod
    def of(cls, prior: DiffusionPrior, places: int, rng: Rng) -> _Probes:
        spec, history = prior.spec, known_frames(prior)
        cells = torch.ones(spec.frames - history, *spec.grid.shape, dtype=torch.bool)
        if spec.mask is not None:
            cells &= spec.mask.cpu()
        free = cells.flatten().nonzero()[:, 0]
        if not len(free):
            raise InputError("posterior_report: expected cells that are not known, got none; the prior's window must reach beyond its known frames")
        channels, entries, labels = [], [], []
        for c, name in enumerate(spec.names):
            for e in sorted(free[rng.child(c).permutation(len(free))[:places]].tolist()):
                channels.append(c)
                entries.append(int(e))
                where = np.unravel_index(int(e), tuple(cells.shape))
                labels.append(f"{name} at {', '.join(str(int(w)) for w in where)}")
        return cls(spec.names, tuple(channels), tuple(entries), history, cells, tuple(labels))

    @property
    def quantities(self) -> list[str]:
        return [*self.labels, *(f"{n} mean" for n in self.names), *(f"{n} std" for n in self.names), "log likelihood"]

    def __call__(self, x: Tensor, log_likelihood: Tensor) -> Tensor:
        """Windows (B, C, T, *S) to quantities (B, Q), float64."""
        fields = x[:, :, self.history :].double()
        chosen = fields.flatten(2)[:, list(self.channels), list(self.entries)]
        inside = fields.flatten(2)[:, :, self.cells.flatten().to(x.device)]
        return torch.cat([chosen, inside.mean(2), inside.std(2), log_likelihood[:, None].double()], 1)


def _truths(prior: DiffusionPrior, truths: Tensor | None, cond: Tensor | None, trials: Trials, rng: Rng) -> Tensor:
    if (prior.cond_spec is None) != (cond is None):
        need = "no condition, for this prior has none" if prior.cond_spec is None else "the condition windows this prior is given"
        raise InputError(f"posterior_report: expected {need}, got {'none' if cond is None else 'some'}")
    if truths is not None:
        if truths.shape[1:] != prior.spec.shape or (cond is not None and len(cond) not in (1, len(truths))):
            wanted = ", ".join(map(str, prior.spec.shape))
            raise ShapeError(f"posterior_report: expected truths (n, {wanted}) and a condition each, got {tuple(truths.shape)}")
        if len(truths) < 10:
            raise InputError(f"posterior_report: expected at least ten truths, got {len(truths)}; fewer decide nothing")
        return truths[: trials.cases]
    n = trials.cases if cond is None or len(cond) == 1 else min(trials.cases, len(cond))
    known = None if cond is None else cond.expand(n, *cond.shape[1:]) if len(cond) == 1 else cond[:n]
    return prior.sample(n, cond=known, rng=rng).cpu()


def _tried(
    prior: DiffusionPrior, sampler: PosteriorSampler, case: _Case, probe: _Probes, *, scale: Tensor, trials: Trials, rng: Rng
) -> xr.Dataset:
    """One case."""
    posterior = Posterior(prior, case.readings, case.cond)
    ensemble = sampler.sample(posterior, trials.members, rng=rng.child("draw"))
    if not ensemble.equally_weighted:
        ensemble = ensemble.resample(rng.child("equal"))
    members, truth, reference = (v.detach().cpu() for v in (ensemble.members, case.truth[None], case.reference[None]))
    with torch.no_grad():
        likelihoods = [posterior.log_likelihood(v.to(posterior.state)).cpu() for v in (members, truth)]
    q, own = (probe(v, value) for v, value in zip((members, truth), likelihoods, strict=True))
    low, high = rank_bounds(q, own[0])
    # a truth equal to members, as where draws were copied, takes any of its places
    rank = low + (rng.child("ties").uniform(low.shape, like=low) * (high - low + 1)).floor()
    inside = probe.cells.flatten()
    m, t, r = (v[:, :, probe.history :].flatten(2)[:, :, inside].double() for v in (members, truth, reference))
    found = {
        "rank": ("quantity", rank),
        "truth": ("quantity", own[0]),
        "mean": ("quantity", q.mean(0)),
        "std": ("quantity", q.std(0)),
        "crps": ("variable", crps(m, t[0]).mean(1)),
        "coverage": ("variable", coverage(m, t[0], level=trials.level).mean(1)),
        "variance": ("variable", m.var(0).mean(1)),
        "squared_error": ("variable", (m.mean(0) - t[0]).square().mean(1)),
        "ranks": (("variable", "rank_of_cell"), rank_histogram(m, t[0], space=1)),
        "tarp_rank": ((), tarp_rank(m[:, None], t, r, scale=scale[:, None].expand_as(t[0]))[0]),
        **{f"run_{k}": ((), v.double().mean()) for k, v in ensemble.info.items() if v.numel()},
    }
    out = xr.Dataset({k: (dims, np.asarray(v)) for k, (dims, v) in found.items()})
    return out.assign_coords(quantity=probe.quantities, variable=list(probe.names))


def _text(value: Any) -> str:  # noqa: ANN401 - whatever a sampler was made with
    """Settings as text, the same in every process."""
    if isinstance(value, Tensor):
        return hashlib.sha256(value.detach().cpu().double().numpy().tobytes()).hexdigest()
    if hasattr(value, "__qualname__"):
        return str(value.__qualname__)
    if hasattr(value, "__dict__"):
        return f"{type(value).__name__}({', '.join(f'{k}={_text(v)}' for k, v in sorted(vars(value).items()) if not k.startswith('_'))})"
    return repr(value)


def _kept(path: Path | None, mark: str) -> xr.Dataset | None:
    """A finished case, if it was made from the same."""
    if path is None or not path.is_file():
        return None
    with xr.open_dataset(path, engine="netcdf4") as part:
        return part.load() if part.attrs.get(_MADE_FROM) == mark else None


def _judged(out: xr.Dataset, trials: Trials, drawn: bool) -> xr.Dataset:
    ranks, m = out["rank"].values, trials.members
    tests = out.sizes["quantity"] + 1 + out.sizes["variable"]
    p = [rank_p_value(torch.from_numpy(column), m) for column in ranks.T]
    out["p_value"] = ("quantity", np.array(p), {"long_name": "exact p value of the distribution function of ranks"})
    out["p_chi2"] = ("quantity", np.array([rank_chi2(torch.from_numpy(column), m) for column in ranks.T]))
    uniform = (m * (m + 2)) / 12
    out["tilt"] = ("quantity", ranks.mean(0) / m - 0.5)
    out["width"] = ("quantity", ((ranks - m / 2) ** 2).mean(0) / uniform)
    tarp = rank_p_value(torch.from_numpy(out["tarp_rank"].values), m)
    runs = {str(k).replace("run_", "mean_"): float(v.mean()) for k, v in out.data_vars.items() if str(k).startswith("run_")}
    failed = [str(q) for q, v in zip(out["quantity"].values, p, strict=True) if v * tests < trials.error]
    cover = out["coverage"].mean("case")
    out["p_coverage"] = ("variable", [_t_test(out["coverage"].sel(variable=n).values - trials.level) for n in out["variable"].values])
    off = {str(n): float(cover.sel(variable=n)) - trials.level for n in out["variable"].values}
    unlikely = [n for n in off if float(out["p_coverage"].sel(variable=n)) * tests < trials.error]
    wide = [f"intervals of {n} too {'wide' if off[n] > 0 else 'narrow'}" for n in unlikely]
    attrs = {"members": m, "level": trials.level, "error": trials.error, "tests": tests, "tarp_p": tarp, "truths": "prior" if drawn else "data"}
    out.attrs.update(attrs, **runs, verdict=_verdict(out, failed, wide, tarp=tarp * tests < trials.error))
    return out


def _t_test(off: np.ndarray) -> float:
    """P-value of a mean of zero, by Student's law; the same number in every case is no chance unless it is zero."""
    spread = float(off.std(ddof=1))
    if spread == 0.0:
        return 1.0 if float(off.mean()) == 0.0 else 0.0
    return float(student_p_value(off.mean()[None], np.array([spread / off.size**0.5]), np.array([off.size - 1.0]))[0])


def _verdict(out: xr.Dataset, failed: Sequence[str], wide: Sequence[str], *, tarp: bool) -> str:
    cases = out.sizes["case"]
    if not failed and not wide and not tarp:
        return f"{cases} cases show no fault"
    said: list[str] = []
    for name in failed[:4]:
        row: Any = out.sel(quantity=name)
        off, width = float(row["tilt"]), float(row["width"])
        shape = "too narrow" if width > 1.15 else "too wide" if width < 0.85 else "of the wrong shape"
        said.append(f"{name} {'too low' if off > 0.1 else 'too high' if off < -0.1 else shape}")
    more = f" and {len(failed) - 4} more" if len(failed) > 4 else ""
    together = ["distances to random points (the dependence between places)"] if tarp else []
    return f"not calibrated in {cases} cases: {', '.join([*said, *wide, *together])}{more}"
