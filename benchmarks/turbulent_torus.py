"""Decaying turbulence on the torus by a network for each window of time, t to 10, by Gauss-Newton steps.

    python benchmarks/turbulent_torus.py [--waves 16] [--units 1] [--window 0.1] [--moments 2] [--end 10] [--steps 2]

The setting of jaxpi's table (Wang, Sankaran, Wang and Perdikaris, 2023): the square of side 2 pi, viscosity 0.01, a random start of largest speed 3
whose energy lies around wave number 2 (log-normal, of variance 0.25), random numbers of our own. In each window

    omega = omega_0 + s sum_k a_k(s) e_k(x, y),   psi = psi_0 + s sum_k a_k(s) e_k / |k|^2,   s from 0 to 1,

e_k the cosines and sines of all waves up to a wave number and a(s) a network of the time alone with one hidden layer: the start, both closed axes and
the stream function are met by construction, and what is left is the transport of vorticity, nearly linear in the last layer, so that two Gauss-Newton
steps do, on a grid of three points for the shortest wave at a few moments of each window. What is left of the law in shorter waves does not count: a
network that is asked to have less of it makes itself smooth. A window starts from the end of the one before it. Judged by ETDRK4 on 128 x 128 points
(relative L2 of the vorticity by time, and over all ends of windows), beside the same solver with no more waves than the network. One line of JSON,
appended to ``pinn_table.jsonl``.
"""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

import numpy as np
import torch
from lines import tell
from torch import Tensor, nn

from physdiff import ETDRK4, MLP, CartesianGrid, NavierStokes, Rng, Spectral, levenberg_marquardt, solve
from physdiff.operators.jet import Jet
from physdiff.operators.jet_orders import closed
from physdiff.operators.taylor import Taylor
from physdiff.pinn.levenberg_marquardt import Damped

DOUBLE = torch.float64
LAW = NavierStokes(viscosity=0.01)
ORDERS = closed([(2, 0, 0), (0, 2, 0), (0, 0, 1)])
FINE = 128


def start(seed: int) -> Tensor:
    """Vorticity on the fine grid, the same whatever the grid."""
    k = torch.fft.fftfreq(FINE, 1 / FINE, dtype=DOUBLE)
    size = torch.hypot(k[None], k[:, None]).clamp(min=1e-9)
    energy = torch.exp(-((size.log() - math.log(2.0) - 0.25) ** 2) / 0.5) / size
    noise = torch.fft.fft2(Rng(seed).normal((FINE, FINE)).double())
    psi = torch.fft.fft2(torch.fft.ifft2(noise * (energy / size).sqrt() / size * ((size > 0.5) & (size < FINE / 4))).real)
    u, v = (torch.fft.ifft2(part * psi).real for part in (1j * k[:, None], -1j * k[None]))
    return torch.fft.ifft2(psi * size**2).real * (3 / float(torch.hypot(u, v).max()))


class Waves:
    """Cosines and sines of the waves (kx, ky) up to a wave number, one of each pair of opposite ones."""

    def __init__(self, most: int) -> None:
        pairs = [(a, b) for a in range(most + 1) for b in range(-most, most + 1) if (a > 0 or b > 0) and a * a + b * b <= most * most]
        self.k = torch.tensor(pairs, dtype=DOUBLE)
        self.squares = torch.cat((self.k, self.k)).square().sum(1)

    def jets(self, x: Tensor, y: Tensor) -> list[Tensor]:
        """Their Taylor coefficients (n, waves) at points for each of `ORDERS`; those in time are those of the values."""
        angle = x[:, None] * self.k[:, 0] + y[:, None] * self.k[:, 1]
        c, s = torch.cos(angle), torch.sin(angle)
        turns = ((c, s), (-s, c), (-c, -s))
        rows = []
        for a, b, _ in ORDERS:
            factor = self.k[:, 0] ** a * self.k[:, 1] ** b / (math.factorial(a) * math.factorial(b))
            rows.append(torch.cat([part * factor for part in turns[a + b]], dim=1))
        return rows

    def of(self, field: Tensor) -> Tensor:
        """Coefficients of a field (n, n)."""
        n = len(field)
        at = torch.fft.fft2(field)[self.k[:, 1].long() % n, self.k[:, 0].long() % n] * (2 / n**2)
        return torch.cat((at.real, -at.imag))

    def on_grid(self, coefficients: Tensor, n: int = FINE) -> Tensor:
        """The field (n, n)."""
        cosines, sines = coefficients.chunk(2)
        half = torch.complex(cosines, -sines) * (n**2 / 2)
        a, b = self.k[:, 0].long(), self.k[:, 1].long()
        spectrum = torch.zeros(n, n, dtype=half.dtype)
        spectrum[b % n, a % n], spectrum[-b % n, -a % n] = half, half.conj()
        return torch.fft.ifft2(spectrum).real


class Window(nn.Module):
    """Vorticity and stream function in one window of time, from the coefficients at its start."""

    def __init__(self, waves: Waves, begin: Tensor, units: int, span: float) -> None:
        super().__init__()
        self.waves, self.begin, self.span = waves, begin, span
        self.inner = MLP(1, len(begin), width=units, depth=1).double()
        first, last = self.inner.layers
        with torch.no_grad():  # slopes and places of the units, spread over the window; no change at first
            first.weight.copy_(torch.linspace(0.5, 1.5, units, dtype=DOUBLE)[:, None])
            first.bias.copy_(torch.linspace(-1, 1, units, dtype=DOUBLE))
            last.weight.zero_()

    def amplitudes(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients (n, waves) at shares s of the window, and their rates in time."""
        rows = torch.stack((2 * s - 1, torch.full_like(s, 2.0)))[..., None]
        a, slope = self.inner(Jet(rows, ((0,), (1,)))).data
        return self.begin + s[:, None] * a, (a + s[:, None] * slope) / self.span

    def fields(self, rows: list[Tensor], s: Tensor) -> dict[str, Any]:
        """Jets of both fields at points whose waves are given."""
        values, rates = self.amplitudes(s)
        terms = [(rates if order[2] else values) * row for order, row in zip(ORDERS, rows, strict=True)]
        omega, psi = (torch.stack([(t / by).sum(1) for t in terms]) for by in (torch.ones_like(self.waves.squares), self.waves.squares))
        return {"vorticity": Jet(omega, ORDERS), "streamfunction": Jet(psi, ORDERS)}

    def end(self) -> Tensor:
        """Coefficients at its end."""
        with torch.no_grad():
            return self.amplitudes(torch.ones(1, dtype=DOUBLE))[0][0]


def train(window: Window, most: int, options: argparse.Namespace) -> float:
    """Gauss-Newton steps; the rms residual left in the waves of the network.

    What of the residual is in waves beyond, as it was before a step, is taken off it: no wave of the network could cancel it, and the network would
    make itself smooth to have less of it.
    """
    n, moments = 3 * most, torch.tensor(np.polynomial.legendre.leggauss(options.moments)[0]) / 2 + 0.5
    grid = CartesianGrid((n, n), extent=(2 * math.pi, 2 * math.pi))
    x, y = (c.double().reshape(-1).repeat(len(moments)) for c in grid.coordinates())
    s = moments.repeat_interleave(n * n)
    rows, D = [r.repeat(len(moments), 1) for r in window.waves.jets(x[: n * n], y[: n * n])], Taylor((x, y), s, orders=ORDERS)
    beyond: dict[int, Tensor] = {}

    def residuals(step: int) -> list[Tensor]:
        left = D.value(LAW.residual(window.fields(rows, s), D, D.time)["vorticity"])
        if step not in beyond:
            beyond[step] = torch.cat([f - window.waves.on_grid(window.waves.of(f), n) for f in left.detach().reshape(-1, n, n)]).reshape(-1)
        return [(left - beyond[step]) / math.sqrt(len(s))]

    return math.sqrt(levenberg_marquardt(window, residuals, steps=options.steps, state=Damped(damping=1e-3)).losses[-1])


def solved(omega: Tensor, times: Tensor, points: int) -> Tensor:
    """The spectral solver's vorticity (T, points, points), two thirds of whose waves count."""
    grid = CartesianGrid((points, points), extent=(2 * math.pi, 2 * math.pi))
    substeps = max(10, round(float(times[1] - times[0]) / 0.005))
    return solve(ETDRK4(LAW, Spectral(grid)), {"vorticity": omega[None]}, times, substeps=substeps)["vorticity"][0]


def relative(got: Tensor, truth: Tensor) -> float:
    """Relative L2 distance."""
    return float((got - truth).norm() / truth.norm())


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All windows; errors by time."""
    count = round(options.end / options.window)
    times = torch.linspace(0, options.end, count + 1, dtype=DOUBLE)
    omega, waves = start(options.seed), Waves(options.waves)
    truth = solved(omega, times, FINE)
    points = 3 * options.waves  # of which the solver keeps as many waves
    few = solved(_sampled(omega, points), times, points)
    state, ends, errors, beyond, solver = waves.of(omega), [], [], [], []
    begun = time.process_time()
    for k in range(count):
        window = Window(waves, state, options.units, options.window)
        left = train(window, options.waves, options)
        state = window.end()
        ends.append(waves.on_grid(state))
        errors.append(relative(ends[-1], truth[k + 1]))
        beyond.append(relative(waves.on_grid(waves.of(truth[k + 1])), truth[k + 1]))
        solver.append(relative(waves.on_grid(waves.of(few[k + 1])), truth[k + 1]))
        if (k + 1) % max(1, count // 10) == 0:
            print(f"t = {float(times[k + 1]):.2f}: error {errors[-1]:.3f}, waves beyond {beyond[-1]:.3f}, residual {left:.2f}", flush=True)
    every = max(1, count // 10)
    passed = {f"passes_{mark:g}_at": next((float(t) for t, e in zip(times[1:], errors, strict=True) if e > mark), None) for mark in (0.1, 0.35)}
    rounded = {
        name: [float(f"{e:.3g}") for e in values[every - 1 :: every]]
        for name, values in (("error_by_time", errors), ("waves_beyond", beyond), ("solver_of_as_many_waves", solver))
    }
    weights = sum(p.numel() for p in Window(waves, state, options.units, 1.0).parameters())
    error = relative(torch.stack(ends), truth[1:])
    return {"error": error, **rounded, **passed, "weights": weights, "windows": count, "cpu_s": time.process_time() - begun}


def _sampled(omega: Tensor, points: int) -> Tensor:
    """The field on a coarser grid, without the waves that do not fit."""
    k = torch.arange(-(points // 2) + 1, points // 2)
    spectrum = torch.zeros(points, points, dtype=torch.complex128)
    spectrum[(k % points)[:, None], k % points] = torch.fft.fft2(omega)[(k % FINE)[:, None], k % FINE] * (points / FINE) ** 2
    return torch.fft.ifft2(spectrum).real


def main() -> None:
    """Print and keep one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waves", type=int, default=16, help="largest wave number")
    parser.add_argument("--units", type=int, default=1, help="of the hidden layer")
    parser.add_argument("--window", type=float, default=0.1)
    parser.add_argument("--end", type=float, default=10.0)
    parser.add_argument("--moments", type=int, default=2, help="of each window at which the law is asked, Gauss's")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="benchmarks/results")
    parser.add_argument("--commit", default="", help="of the code that runs, for the line")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    names = ("seed", "waves", "units", "window", "end", "moments", "steps", "commit")
    row = {"case": "torus_turbulent", **{name: getattr(options, name) for name in names}, **run(options)}
    tell(row, options.out, "pinn_table.jsonl")


if __name__ == "__main__":
    main()
