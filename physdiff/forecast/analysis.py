r"""How readings change an ensemble of forecasts: ensemble Kalman updates, weighted particles, or draws of a posterior.

An analysis sees the window of the last known frames and the frames to come of every member, and the readings of the latter. Kalman updates and
particles move the window as a whole, so that the known frames a prior needs stay consistent with what follows. References: see `ensemble_kalman`;
Gordon, Salmond and Smith, 1993 (particles); Musso, Oudjane and Le Gland, Improving regularised particle filters, 2001 (jitter);
Wang and Bishop, A comparison of breeding and ensemble transform Kalman filter ensemble forecast schemes, 2003 (inflation by innovations).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from physdiff.base.checks import check_one_of, check_positive
from physdiff.base.errors import CollapsedWeights, InputError
from physdiff.base.rng import Rng
from physdiff.data.timeline import show_time
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.forecast.forecast_models import ForecastModel, PriorModel
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.ensemble_inversion import eki
from physdiff.inference.ensemble_kalman import enkf, etkf, inflated, letkf
from physdiff.inference.ensemble_posterior import flat_readings, flat_taper
from physdiff.inference.observation import Observation
from physdiff.inference.posterior import Posterior, PosteriorSampler
from physdiff.inference.resampling import SCHEMES
from physdiff.inference.sensors import Sensors
from physdiff.inference.weights import LogWeights

__all__ = ["Analysis", "Cycle", "KalmanAnalysis", "ParticleAnalysis", "PosteriorAnalysis"]

_MOST_INFLATION = 2.0  # what the misfits of one cycle may claim: a gross reading must not blow the ensemble up


@dataclass(frozen=True, eq=False)
class Cycle:
    """One forecast and its readings.

    Args:
        model: Forecast model.
        known: Known frames (N, C, h, *S).
        forecast: Frames to come (N, C, s, *S).
        start: Time of the last known frame.
        points: Places that were read, (n, ndim).
        y: Readings (C, h + s, n); NaN where nothing was read.
        std: Standard deviation of the noise of each field, (C,).
    """

    model: ForecastModel
    known: Tensor
    forecast: Tensor
    start: Any
    points: Tensor
    y: Tensor
    std: Tensor

    @property
    def window(self) -> Tensor:
        """Known frames and forecast, (N, C, h + s, *S)."""
        return torch.cat([self.known, self.forecast], 2)

    def observation(self, spec: FieldSpec) -> Observation:
        """The readings of windows of `spec`, which may have more frames than the cycle."""
        more = spec.frames - self.y.shape[1]
        y = torch.cat([self.y, self.y.new_full((len(self.y), more, self.y.shape[2]), torch.nan)], 1)
        return Observation(Sensors(spec, self.points), y, std=self.std.reshape(-1, 1, 1))

    @property
    def here(self) -> Observation:
        """The readings of the cycle's own window."""
        return self.observation(self.model.spec.with_frames(self.known.shape[2] + self.forecast.shape[2]))


class Analysis(ABC):
    """Abstract analysis."""

    @abstractmethod
    def __call__(self, cycle: Cycle, *, rng: Rng) -> tuple[Tensor, dict[str, float]]:
        """The window (N, C, h + s, *S) after the analysis, and what the method reports of it, by name."""

    def check(self, model: ForecastModel, steps: int) -> None:  # noqa: B027 - most methods work with every model
        """Raise InputError if the method cannot work with this model and this number of frames between analyses; default: it can."""


class KalmanAnalysis(Analysis):
    """Ensemble Kalman analysis.

    Args:
        method: ``"etkf"``, ``"enkf"``, ``"letkf"`` (needs `radius`) or ``"eki"`` (tempered, for readings that are not linear).
        inflation: Factor of the anomalies after the analysis, 1 or a little more; or ``"adaptive"``: of those before it, by the readings of the
            cycle. With d the misfits to the mean forecast, s the noise and v the ensemble's variance of the readings, d^2/s^2 has the mean
            f^2 v/s^2 + 1, so that f, kept from 1 to 2, follows from their averages.
        radius: Of ``"letkf"``: half of the distance at which a reading's influence ends, degrees on the sphere, else the grid's length unit.
        turned: Whether the anomalies are turned at random (not for ``"enkf"``), which keeps long runs from growing outliers.

    Raises:
        InputError: If an argument makes no sense.
    """

    def __init__(self, method: str = "etkf", *, inflation: float | str = 1.0, radius: float | None = None, turned: bool = True) -> None:
        self.method = check_one_of(method, ("etkf", "enkf", "letkf", "eki"), "KalmanAnalysis method")
        if isinstance(inflation, str):
            check_one_of(inflation, ("adaptive",), "KalmanAnalysis inflation")
        else:
            check_positive(inflation, "KalmanAnalysis inflation")
        self.inflation = inflation
        if (radius is not None) != (method == "letkf"):
            raise InputError(f"KalmanAnalysis: expected radius with 'letkf' and only there, got {radius} with {method!r}")
        if radius is not None:
            check_positive(radius, "KalmanAnalysis radius")
        self.radius, self.turned = radius, turned

    def __call__(self, cycle: Cycle, *, rng: Rng) -> tuple[Tensor, dict[str, float]]:
        """See Analysis; reports ``inflation`` where it is adaptive.

        Raises:
            CollapsedWeights: If all members are one.
        """
        o, window = cycle.here, cycle.window
        valid = window.isfinite().all(0)
        x = torch.where(valid, window, 0.0)
        predicted, y, std = flat_readings((o,), window)
        if len(x) < 2 or not bool((predicted - predicted[:1]).any()):
            raise CollapsedWeights(
                f"KalmanAnalysis: expected members that differ, got {len(x)} that read the same after {show_time(cycle.start)}; "
                "start from different members, raise the inflation, or give the model noise"
            )
        factor = 1.0
        if self.inflation == "adaptive":
            factor = _needed_inflation(predicted, y, std)
            x = inflated(x, factor)
            predicted = flat_readings((o,), torch.where(valid, x, torch.nan))[0]
        key = rng.child("update") if self.turned or self.method == "enkf" else None
        if self.method == "enkf" and key is not None:
            moved = enkf(x, predicted, y, std=std, rng=key)
        elif self.method == "letkf":
            assert self.radius is not None
            moved = letkf(x, predicted, y, std=std, taper=flat_taper((o,), self.radius), rng=key)
        elif self.method == "eki":
            moved, _ = eki(x, lambda m: flat_readings((o,), torch.where(valid, m, torch.nan))[0], y, std=std, rng=key)
        else:
            moved = etkf(x, predicted, y, std=std, rng=key)
        if isinstance(self.inflation, str):
            return torch.where(valid, moved, torch.nan), {"inflation": factor}
        return torch.where(valid, inflated(moved, self.inflation), torch.nan), {}


def _needed_inflation(predicted: Tensor, y: Tensor, std: Tensor) -> float:
    """Factor of the anomalies of readings (N, m) under which misfits are as large as spread and noise say, in [1, _MOST_INFLATION]."""
    misfit, spread = (((y - predicted.mean(0)) / std) ** 2).mean(), (predicted.var(0) / std**2).mean()
    return min(max(math.sqrt(max(float((misfit - 1) / spread), 0.0)), 1.0), _MOST_INFLATION)


class ParticleAnalysis(Analysis):
    """Members weighted by the likelihood of the readings and resampled in every cycle: exact as members grow in number, and hungry for them.

    Args:
        scheme: Resampling scheme, see `run_smc`.
        jitter: Noise on resampled members, as a share of the ensemble's standard deviation at each entry: models without randomness of their own
            need some (0.1), else copies stay copies.
    """

    def __init__(self, scheme: str = "systematic", *, jitter: float = 0.0) -> None:
        self.scheme = check_one_of(scheme, SCHEMES, "ParticleAnalysis scheme")
        self.jitter = check_positive(jitter, "ParticleAnalysis jitter", zero=True)

    def __call__(self, cycle: Cycle, *, rng: Rng) -> tuple[Tensor, dict[str, float]]:
        """See Analysis; reports ``ess`` and ``survivors``.

        Raises:
            CollapsedWeights: If no member, or one only, explains the readings.
        """
        window = cycle.window
        weights = LogWeights.equal((len(window),)).times(cycle.here.log_prob(window))
        chosen = SCHEMES[self.scheme](weights.normalised, rng.child("resample"))
        survivors = len(torch.unique(chosen))
        if survivors < 2:
            raise CollapsedWeights(
                f"ParticleAnalysis: expected two or more particles that explain the readings after {show_time(cycle.start)}, got {survivors} of "
                f"{len(window)}; take more members, a larger std, fewer readings at once, or KalmanAnalysis"
            )
        moved = window[chosen]
        if self.jitter:
            noise = rng.child("jitter").normal(moved.shape, like=moved)
            moved = moved + self.jitter * moved.std(0) * noise
        return moved, {"ess": float(weights.ess), "survivors": float(survivors)}


class PosteriorAnalysis(Analysis):
    """Every member's frames drawn anew from the posterior of a prior given that member's known frames and the readings.

    Members keep equal weights: how well their known frames foretold the readings does not count, so that the past is not corrected by them (a
    filter, not a smoother). Exact where the readings say nothing about the known frames.

    Args:
        sampler: How a posterior is drawn from, as `Guided`.
    """

    def __init__(self, sampler: PosteriorSampler) -> None:
        self.sampler = sampler

    def check(self, model: ForecastModel, steps: int) -> None:
        """See Analysis."""
        if not isinstance(model, PriorModel) or not isinstance(model.prior, DiffusionPrior):
            raise InputError("PosteriorAnalysis: expected a PriorModel of a DiffusionPrior, whose posterior is drawn from; take KalmanAnalysis")
        if steps > model.horizon:
            raise InputError(f"PosteriorAnalysis: expected at most {model.horizon} frames between analyses, got {steps}; give every={model.horizon}")

    def __call__(self, cycle: Cycle, *, rng: Rng) -> tuple[Tensor, dict[str, float]]:
        """See Analysis; reports the means over members of what the sampler reports."""
        model = cycle.model
        assert isinstance(model, PriorModel) and isinstance(model.prior, DiffusionPrior)
        observation = cycle.observation(model.prior.spec)
        conditions = model.conditions(cycle.known.float(), cycle.start)
        drawn, notes = [], list[dict[str, float]]()
        for m, cond in enumerate(conditions):
            key = rng.child("member", m)
            ensemble = self.sampler.sample(Posterior(model.prior, observation, cond[None]), 1, rng=key)
            drawn.append(ensemble.members.cpu())
            notes.append({k: float(v.double().mean()) for k, v in ensemble.info.items() if v.numel()})
        frames = cycle.known.shape[2] + cycle.forecast.shape[2]
        report = {k: sum(n[k] for n in notes) / len(notes) for k in notes[0]}
        return torch.cat(drawn)[:, :, :frames].to(cycle.known.dtype), report
