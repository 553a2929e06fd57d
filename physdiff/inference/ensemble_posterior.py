r"""Ensemble Kalman methods as posterior samplers: draws of any prior, moved to the readings by their own covariances.

Nothing is asked of the prior but draws, and nothing of the operators but their values: black boxes are welcome. For a Gaussian prior and linear
readings exact as the ensemble grows; else it keeps the prior's shape where nothing was read and is a Gaussian approximation of the update where
something was. `eki` tempers and linearises anew at every step; `etkf` and `enkf` take one step. With as many entries as a field and few members
give `radius`: without it chance correlations move all of the field. References: see `ensemble_kalman` and `ensemble_inversion`.
"""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from physdiff.base.checks import check_one_of, check_positive
from physdiff.base.errors import Diverged, InputError
from physdiff.base.rng import Rng
from physdiff.inference.ensemble import Ensemble
from physdiff.inference.ensemble_inversion import eki
from physdiff.inference.ensemble_kalman import enkf, etkf, letkf
from physdiff.inference.localisation import window_taper
from physdiff.inference.noise import GaussianNoise, NormalNoise, fitted_to
from physdiff.inference.observation import Observation
from physdiff.inference.posterior import Posterior, PosteriorSampler
from physdiff.inference.sensors import Sensors

__all__ = ["EnsembleKalman", "flat_readings", "flat_taper", "prior_draws"]

_LEAST = 64
# Readings this many standard deviations of ensemble and noise off (root mean square) are in another unit.
_IMPLAUSIBLE = 30.0
METHODS = ("eki", "etkf", "enkf")


def flat_readings(observations: tuple[Observation, ...], x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What observations say of windows (N, C, T, *S): predicted (N, m), readings y (m,) and their std (m,) of the m readings there are, float64.

    Where noise is correlated, predictions and readings are both turned so that it is independent.

    Raises:
        InputError: If a noise law is not normal.
    """
    predicted, values, stds = [], [], []
    for o in observations:
        if not isinstance(o.noise, NormalNoise):
            raise InputError(
                f"ensemble Kalman: expected normal noise, independent or correlated, got {type(o.noise).__name__}, which has no Kalman update; "
                "take a weighted sampler (TwistedSMC, AnnealedSMC or TemperedSMC)"
            )
        out = o.operator(x).double()
        shape = out.shape[1:]
        seen = o.seen(shape).to(out.device)
        y = o.y.to(out)
        y = y.expand(shape) if y.ndim == 0 else fitted_to(y, shape, "Observation y")
        turned, variance = o.noise.decorrelated(out, seen)
        predicted.append(turned)
        values.append(o.noise.decorrelated(torch.where(seen, y, 0.0)[None], seen)[0][0])
        stds.append(variance.sqrt())
    return torch.cat(predicted, 1), torch.cat(values), torch.cat(stds)


def flat_taper(observations: tuple[Observation, ...], radius: float) -> Tensor:
    """Weights of the readings, in the order of `flat_readings`, for every entry of a window, (C T P, m).

    Raises:
        InputError: If an operator is no `Sensors`, or its readings are turned for their correlated noise, so that they have no place.
    """
    parts = []
    for o in observations:
        if not isinstance(o.noise, GaussianNoise):
            raise InputError(
                f"localisation: expected independent noise, got {type(o.noise).__name__}, under which readings are mixed and have no place; "
                "leave radius out, or take each reading's own std"
            )
        if not isinstance(o.operator, Sensors):
            raise InputError(f"localisation: expected readings of Sensors, which have a place, got {type(o.operator).__name__}; leave radius out")
        sensors = o.operator
        taper = window_taper(sensors.spec, sensors.points, radius)
        shape = torch.Size((len(sensors.channels), len(sensors.frames), len(sensors.points)))
        whole = taper[:, None].expand(-1, shape[0] * shape[1], -1).flatten(1)
        parts.append(whole[:, o.seen(shape).flatten()])
    return torch.cat(parts, 1)


def prior_draws(posterior: Posterior, n: int, *, steps: int | None = None, rng: Rng, max_batch: int = 64) -> Tensor:
    """Draws of a posterior's prior given its condition, (n, C, T, *S), physical units; by `steps` of its sampler, its own number if None."""
    prior = posterior.prior if steps is None else posterior.prior.with_sampler(posterior.prior.sampler, steps)
    draws = []
    for first in range(0, n, max_batch):
        rows = range(first, min(first + max_batch, n))
        noise = rng.child("start").normal_each(rows, prior.latent_shape, like=posterior.state)
        draws.append(posterior.decode(prior.draw(noise, posterior.completed, rng=rng.child("path", first))))
    return torch.cat(draws)


class EnsembleKalman(PosteriorSampler):
    """Draw from a posterior by an ensemble Kalman update of draws of the prior.

    Args:
        method: ``"eki"`` (tempered, deterministic), ``"etkf"`` (one deterministic step) or ``"enkf"`` (one step, noise on the readings).
        steps: Steps of the prior's sampler; the prior's own number if None.
        ensemble: Number of draws that are moved; as many as members, at least 64, if None. The first of them are the members.
        radius: Half of the distance at which a reading's influence ends, in degrees on the sphere, else in the grid's length unit; None: no end.
            Only with readings of `Sensors`, and not with ``"enkf"``.
        max_batch: Number of draws that go through the network at once.

    Raises:
        InputError: If an argument makes no sense.
    """

    def __init__(
        self, method: str = "eki", steps: int | None = None, *, ensemble: int | None = None, radius: float | None = None, max_batch: int = 64
    ) -> None:
        self.method = check_one_of(method, METHODS, "EnsembleKalman method")
        if ensemble is not None and ensemble < 2:
            raise InputError(f"EnsembleKalman: expected an ensemble of 2 or more, got {ensemble}")
        if radius is not None:
            check_positive(radius, "EnsembleKalman radius")
            if method == "enkf":
                raise InputError("EnsembleKalman: expected radius with 'eki' or 'etkf', got it with 'enkf'; take 'etkf'")
        self.steps, self.ensemble, self.radius, self.max_batch = steps, ensemble, radius, max_batch

    @torch.no_grad()
    def sample(self, posterior: Posterior, n: int, *, rng: Rng) -> Ensemble:
        """Draw n members.

        `info`: ``ensemble``, ``solver_calls`` (of the operators, per member), ``exponents`` (steps h of the likelihood's power), ``misfit`` (n,):
        mean squared residual over noise variance; ``surprise``: root mean square of y less the readings' mean over their standard deviation, the
        ensemble's and the noise's together, before the update (about 1 where readings are plausible); ``spread``: standard deviation of the
        readings in the ensemble after over before; ``nfe`` per member, ``seconds``.

        Raises:
            InputError: If numbers make no sense, a noise law is not Gaussian, or the readings cannot be in the field's unit.
            Diverged: If an operator gives a number that is not finite.
        """
        begin = time.monotonic()
        size = max(n, _LEAST) if self.ensemble is None else self.ensemble
        if not 1 <= n <= size:
            raise InputError(f"EnsembleKalman: expected 1 to {size} members of an ensemble of {size}, got {n}; give a larger ensemble")
        prior = posterior.prior
        x = prior_draws(posterior, size, steps=self.steps, rng=rng.child("prior"), max_batch=self.max_batch)
        before, y, std = flat_readings(posterior.observations, x)
        if not bool(before.isfinite().all()):
            raise Diverged("reading", 0.0, "an operator gave NaN or inf for a draw of the prior; keep its input within its domain")
        surprise = float(((y - before.mean(0)) ** 2 / (before.var(0) + std**2)).mean().sqrt())
        if surprise > _IMPLAUSIBLE:
            units = ", ".join(f"{a} in {u}" for a, u in zip(prior.spec.names, prior.spec.units, strict=True))
            raise InputError(f"EnsembleKalman: expected readings in the prior's units ({units}), got some {surprise:.0f} sigma off; convert them")
        moved, exponents = self._moved(posterior, x, before, rng.child("update"))
        after, _, _ = flat_readings(posterior.observations, moved)
        info = {
            "ensemble": torch.tensor(size),
            "solver_calls": torch.tensor(len(exponents)),
            "operator_calls": torch.tensor(len(exponents)),
            "exponents": exponents,
            "misfit": ((y - after[:n]) / std).square().mean(1),
            "surprise": torch.tensor(surprise),
            "spread": (after.var(0).mean() / before.var(0).mean().clamp_min(torch.finfo(torch.float64).tiny)).sqrt(),
            "nfe": torch.tensor(prior.sampler.evaluations_per_step() * (self.steps or prior.steps)),
            "ess": torch.full((1,), float(n), dtype=torch.float64),
            "seconds": torch.tensor(time.monotonic() - begin),
        }
        return Ensemble.equal(prior.masked(moved[:n]), info)

    def _moved(self, posterior: Posterior, x: Tensor, before: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        observations = posterior.observations
        _, y, std = flat_readings(observations, x[:1])
        taper = None if self.radius is None else flat_taper(observations, self.radius).to(x.device)
        # entries without a value (a mask) are NaN in every member: they have no anomalies
        valid = x.isfinite().all(0)
        filled = torch.where(valid, x, 0.0)

        def analysis(members: Tensor, predicted: Tensor, wide: Tensor) -> Tensor:
            if taper is None:
                return etkf(members, predicted, y, std=wide)
            return letkf(members, predicted, y, std=wide, taper=taper)

        if self.method == "enkf":
            moved, exponents = enkf(filled, before, y, std=std, rng=rng), torch.ones(1, dtype=torch.float64)
        else:

            def forward(members: Tensor) -> Tensor:
                return flat_readings(observations, torch.where(valid, members, math.nan))[0]

            most = 1 if self.method == "etkf" else 100
            moved, exponents = eki(filled, forward, y, std=std, most=most, analysis=analysis)
        return torch.where(valid, moved, math.nan), exponents
