"""One small computation for each family, a few numbers each: what `tests/baselines/numbers.json` stores. Seeds are fixed; nothing is trained."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import xarray as xr

import physdiff as p

__all__ = ["FAMILIES"]

_DOUBLE = torch.zeros((), dtype=torch.float64)


def _norm(x: torch.Tensor) -> float:
    return float(x.double().square().mean().sqrt())


def solvers() -> dict[str, float]:
    """Burgers by each kind of stepper, from the same wave."""
    grid, law = p.CartesianGrid(32, extent=1.0), p.Burgers(viscosity=0.02)
    u = {"u": (torch.sin(2 * math.pi * grid.coordinates()[0]) + 0.3)[None]}
    steppers = {
        "etdrk4": p.ETDRK4(law, p.Spectral(grid)),
        "runge_kutta": p.RungeKutta(law, p.FiniteDifference(grid)),
        "imex": p.ImexRungeKutta(law, p.Spectral(grid)),
        "finite_volume": p.FiniteVolume(law, grid),
    }
    return {name: _norm(p.solve(s, u, [0.0, 0.3], substeps=60)["u"][:, -1]) for name, s in steppers.items()}


def operators() -> dict[str, float]:
    """Derivatives of one field by three backends."""
    grid = p.CartesianGrid((12, 16), extent=(1.0, 2.0))
    x, y = grid.coordinates()
    f = torch.exp(torch.sin(math.pi * x) * torch.cos(2 * math.pi * y))
    sphere = p.LatLonGrid(torch.linspace(80, -80, 17), torch.arange(24) * 15.0)
    return {
        "spectral": _norm(p.Spectral(grid).lap(f)),
        "finite_difference": _norm(p.FiniteDifference(grid).lap(f)),
        "sphere": 1e12 * _norm(p.Sphere(sphere).lap(sphere.coordinates()[1].sin().double())),
    }


def transforms() -> dict[str, float]:
    """Largest and root mean square coefficients of one field."""
    x = p.Rng(0).normal((2, 1, 3, 16, 16), like=_DOUBLE).cumsum(-1)
    found = {}
    for wavelet in ("haar", "db4"):
        z = p.WaveletTransform(wavelet, levels=2, shape=(3, 16, 16), dims=("y", "x"), periodic=(True, True)).encode(x)
        found[wavelet] = float(z.abs().max())
    return found


def samplers() -> dict[str, float]:
    """Spread that eight steps of each sampler leave of a red spectrum."""
    schedule = p.EDMSchedule()
    red = torch.arange(1, 17, dtype=torch.float64) ** -2.0
    tried = {"ddim": p.DDIM(), "ddpm": p.DDPM(), "dpm_2m": p.DPMSolver2M(), "heun": p.Heun(), "exponential": p.ExponentialMultistep(2, noise=1.0)}
    return {n: float(p.sampler_gain(s, schedule, p.timesteps(schedule, 8), variances=red).mean()) for n, s in tried.items()}


def schedules() -> dict[str, float]:
    """lam at one time."""
    t = torch.tensor(0.3, dtype=torch.float64)
    tried = {"edm": p.EDMSchedule(), "vp": p.VPSchedule(), "ve": p.VESchedule(), "cosine": p.CosineSchedule(), "rectified": p.RectifiedSchedule()}
    return {name: float(s.lam(t)) for name, s in tried.items()}


def posteriors() -> dict[str, float]:
    """A Gaussian prior with two readings: the exact answer and one draw of each sampler."""
    from physdiff.inference.exact import ar1_target

    target = ar1_target(6, 0.8, seen=(1, 4), y=torch.tensor([0.5, -1.0]), std=0.5)
    found = {"log_evidence": float(target.log_evidence)}
    for name, sampler in {"guided": p.Guided(steps=10), "twisted": p.TwistedSMC(steps=10, particles=32)}.items():
        found[name] = _norm(sampler.sample(target.posterior(), 8, rng=p.Rng(0)).members)
    return found


def filters() -> dict[str, float]:
    """One analysis of each Kalman filter."""
    members, predicted = p.Rng(0).normal((8, 5), like=_DOUBLE), p.Rng(1).normal((8, 3), like=_DOUBLE)
    y = torch.tensor([0.2, -0.4, 1.0], dtype=torch.float64)
    return {
        "etkf": _norm(p.etkf(members, predicted, y, std=0.5)),
        "enkf": _norm(p.enkf(members, predicted, y, std=0.5, rng=p.Rng(2))),
    }


def scores() -> dict[str, float]:
    """Scores of twenty members."""
    members, truth = p.Rng(0).normal((20, 4, 8, 8), like=_DOUBLE), p.Rng(1).normal((4, 8, 8), like=_DOUBLE)
    weights = torch.full((8, 8), 1 / 64, dtype=torch.float64)
    tried = {"crps": p.crps, "energy": p.energy_score, "spread": p.spread, "rmse": p.ensemble_rmse, "coverage": p.coverage}
    return {name: float(torch.as_tensor(score(members, truth, weights)).double().mean()) for name, score in tried.items()}


def networks() -> dict[str, float]:
    """What networks with random weights say of one input, and how many weights they have."""
    x, noise = p.Rng(0).normal((1, 2, 16, 16)), torch.zeros(1)
    found = {}
    for name in ("UNet", "FNO", "AxialViT"):
        torch.manual_seed(0)
        network = getattr(p, name)(2, 1, ndim=2, periodic=True, width=16).eval()
        found[name + " weights"] = float(sum(w.numel() for w in network.parameters()))
        with torch.no_grad():
            for k, weights in enumerate(network.parameters()):  # last layers begin at zero
                weights.add_(0.05 * p.Rng(k).normal(weights.shape))
            found[name] = _norm(network(x) if name == "FNO" else network(x, noise))
    return found


def pinns() -> dict[str, float]:
    """Three damped Gauss-Newton steps on decay in time."""
    torch.manual_seed(0)
    net = p.CoordinateNet(p.MLP(2, 1, width=6, depth=1), ("c",), lower=(0.0, 0.0), upper=(1.0, 1.0)).double()
    points = p.Rng(0).uniform((40, 2), like=_DOUBLE)
    known = p.Known(points, {"c": torch.exp(-points[:, 1])})
    problem = p.Collocated(net, p.AdvectionDiffusion(diffusivity=0.1, velocity=(1.0,)), [known])
    return {"loss": float(p.levenberg_marquardt(problem, lambda step: problem.residuals(points), steps=3).losses[-1])}


def bands() -> dict[str, float]:
    """Conformal quantiles, and scores of a baseline forecast."""
    times = np.arange("2019-03-01", "2019-03-04", dtype="datetime64[h]").astype("datetime64[ns]")
    values = np.sin(np.arange(times.size) / 4)[:, None, None] + np.linspace(0, 1, 12).reshape(3, 4)
    ds = xr.Dataset({"t": (("time", "y", "x"), values, {"units": "K"})}, {"time": times, "y": np.arange(3.0), "x": np.arange(4.0)})
    usual = p.evaluate(p.persistence(ds, times[2:40:5], lead=3), ds, {"mae": p.mae}).mae
    return {"conformal": float(p.conformal_quantile(torch.arange(30, dtype=torch.float64), 0.9)), "persistence": float(usual.mean())}


FAMILIES: dict[str, Callable[[], dict[str, float]]] = {
    f.__name__: f for f in (solvers, operators, transforms, samplers, schedules, posteriors, filters, scores, networks, pinns, bands)
}
