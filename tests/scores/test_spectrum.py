"""Spectra: Parseval, single waves in their shell, the full transform as a twin, non-square axes."""

import math

import numpy as np
import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.scores.spectrum import (
    band_power_ratio,
    fine_scale_power,
    isotropic_spectrum,
    log_spectral_distance,
    spectral_coherence,
    zonal_spectrum,
)

F64 = torch.float64


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


@pytest.mark.parametrize("shape", [(16,), (15,), (12, 18), (9, 14), (6, 8, 10), (5, 7, 9), (8, 1)])
def test_parseval(shape):
    u = draws(2, *shape)
    _, energy = isotropic_spectrum(u, space=len(shape), spacing=0.3)
    axes = tuple(range(1, u.ndim))
    # rounding of the transform
    torch.testing.assert_close(energy.sum(-1), u.square().mean(axes) / 2, rtol=1e-12, atol=0)
    _, zonal = zonal_spectrum(u, torch.ones(shape))
    torch.testing.assert_close(zonal.sum(-1), u.square().mean(axes) / 2, rtol=1e-12, atol=0)


@pytest.mark.parametrize("shape", [(10, 16), (11, 7)])
def test_shells_are_those_of_the_full_transform(shape):
    spacing = (0.2, 0.1)
    u = draws(*shape)
    wavenumber, energy = isotropic_spectrum(u, space=2, spacing=spacing)
    modes = torch.fft.fft2(u, norm="forward").abs().square() / 2
    width = max(2 * math.pi / (n * h) for n, h in zip(shape, spacing, strict=True))
    expected = [0.0] * len(energy)
    for i in range(shape[0]):
        for j in range(shape[1]):
            signed = [k - n if 2 * k > n else k for k, n in zip((i, j), shape, strict=True)]
            size = math.hypot(
                *(2 * math.pi * k / (n * h) for k, n, h in zip(signed, shape, spacing, strict=True))
            )
            expected[math.floor(size / width + 0.5 + 1e-9)] += float(modes[i, j])
    torch.testing.assert_close(energy, torch.tensor(expected, dtype=F64), rtol=1e-11, atol=1e-14)
    torch.testing.assert_close(wavenumber, width * torch.arange(len(energy), dtype=F64), rtol=1e-14, atol=0)


@pytest.mark.parametrize("wave", [(0, 3), (2, 0), (3, 4)])
def test_a_single_wave_lies_in_its_shell(wave):
    # a box of 2 pi square with a non-square number of points: wavenumbers are integers
    ny, nx = 20, 32
    y, x = torch.meshgrid(
        torch.arange(ny) * 2 * math.pi / ny, torch.arange(nx) * 2 * math.pi / nx, indexing="ij"
    )
    u = 3 * torch.cos(wave[0] * y + wave[1] * x).double()
    k, energy = isotropic_spectrum(u, space=2, spacing=(2 * math.pi / ny, 2 * math.pi / nx))
    shell = round(math.hypot(*wave))
    # energy A^2 / 4; coordinates are single precision
    assert float(energy[shell]) == pytest.approx(9 / 4, rel=1e-5)
    assert float(energy.sum() - energy[shell]) < 1e-5
    assert float(k[shell]) == pytest.approx(shell, rel=1e-12)


def test_zonal_spectrum_weights_rows_and_skips_those_with_gaps():
    u = draws(3, 16)
    w = torch.tensor([1.0, 2.0, 5.0], dtype=F64)[:, None].expand(3, 16)
    k, energy = zonal_spectrum(u, w, spacing=2 * math.pi / 16)
    rows = torch.stack([isotropic_spectrum(r, space=1)[1] for r in u])
    torch.testing.assert_close(energy, (rows * w[:, :1]).sum(0) / 8, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(k, torch.arange(9, dtype=F64), rtol=1e-14, atol=0)
    u[2, 4] = float("nan")
    torch.testing.assert_close(
        zonal_spectrum(u, w)[1], (rows[:2] * w[:2, :1]).sum(0) / 3, rtol=1e-12, atol=1e-15
    )
    assert isotropic_spectrum(u, space=2)[1].isnan().all()


def test_taper_stops_the_leakage_of_an_open_axis():
    # a trend is a jump for the transform: its energy falls like 1/k^2, with the taper much faster
    trend = torch.linspace(0, 1, 64, dtype=F64)
    _, rough = isotropic_spectrum(trend, space=1)
    _, smooth = isotropic_spectrum(trend, space=1, periodic=False)
    assert float(smooth[16:].sum()) < 1e-3 * float(rough[16:].sum())
    # an interior wave keeps its energy A^2 / 4 exactly: window^2 has no harmonic above the second
    wave = torch.cos(2 * math.pi * 5 * torch.arange(64, dtype=F64) / 64)
    assert float(isotropic_spectrum(wave, space=1, periodic=False)[1].sum()) == pytest.approx(0.25, rel=1e-12)
    # white noise keeps its energy but for the mean's, on average over 2000 rows of 64: four standard errors,
    # where <window^4> = 1.94 raises the variance of the estimate
    noise = draws(2000, 64)
    _, energy = isotropic_spectrum(noise, space=1, periodic=False)
    assert float(energy.sum(-1).mean()) == pytest.approx(
        0.5 * 63 / 64, rel=4 * math.sqrt(2 * 1.94 / (2000 * 64))
    )


def test_distance_of_scaled_fields_is_known():
    y = draws(12, 16)
    x = torch.stack([2 * y, 2 * y.roll(3, 1)])
    # energy times four in every shell: 10 log10(4) decibels
    assert float(log_spectral_distance(x, y)) == pytest.approx(10 * math.log10(4), rel=1e-12)
    assert float(log_spectral_distance(x, y, torch.ones(12, 16), zonal=True)) == pytest.approx(
        10 * math.log10(4), rel=1e-12
    )
    assert float(log_spectral_distance(y[None].roll(5, 2), y)) < 1e-10


def test_distance_is_the_loop_over_shells():
    x, y = draws(3, 10, 14), draws(10, 14, seed=1)
    forecast = sum(isotropic_spectrum(m, space=2)[1] for m in x) / 3
    observed = isotropic_spectrum(y, space=2)[1]
    terms = [(10 * math.log10(float(f / o))) ** 2 for f, o in zip(forecast[1:], observed[1:], strict=True)]
    expected = math.sqrt(sum(terms) / len(terms))
    assert float(log_spectral_distance(x, y)) == pytest.approx(expected, rel=1e-12)


def test_empty_shells_agree_with_empty_shells():
    grid = torch.arange(32, dtype=F64) * 2 * math.pi / 32
    y = torch.cos(grid) + torch.cos(3 * grid)
    # all shells but two hold rounding errors only, of both fields: no distance may come from them
    assert float(log_spectral_distance(y[None].roll(7, 1), y)) < 1e-6


def test_a_faint_wave_is_not_taken_for_an_empty_shell():
    grid = torch.arange(32, dtype=F64) * 2 * math.pi / 32
    x = (torch.cos(grid) + 1e-12 * torch.cos(9 * grid))[None]
    y = torch.cos(grid) + 1e-11 * torch.cos(9 * grid)
    # one of 16 shells differs by 20 dB; rounding of 1e-16 against 1e-12 shows in the fourth digit at most
    assert float(log_spectral_distance(x, y)) == pytest.approx(20 / math.sqrt(16), rel=1e-3)


def test_band_power_is_a_ratio_of_averages():
    y = draws(3, 16, 16)
    x = torch.stack([y, 3 * y])
    w = torch.ones(16, 16)
    # member energies 1 and 9 times the truth's
    torch.testing.assert_close(
        fine_scale_power(x, y, w), torch.full((3,), 5.0, dtype=F64), rtol=1e-12, atol=0
    )
    parts = [part(x * torch.tensor([1.0, 2.0, 3.0])[:, None, None], y, w) for part in fine_scale_power.parts]
    expected = 5 * sum(a * float(e) for a, e in zip((1, 4, 9), parts[1], strict=True)) / float(parts[1].sum())
    assert float(fine_scale_power.combine(*(p.mean() for p in parts))) == pytest.approx(expected, rel=1e-12)


def test_bands_split_the_energy_of_the_truth():
    # smoothing removes the fine half and keeps the coarse: a wave in each
    grid = torch.arange(32, dtype=F64) * 2 * math.pi / 32
    y = (torch.cos(3 * grid) + torch.cos(12 * grid))[None].expand(6, 32)
    x = torch.cos(3 * grid)[None, None].expand(2, 6, 32)
    coarse = band_power_ratio(0.0, 0.49, spacing=0.1, zonal=True)
    assert float(coarse(x, y)) == pytest.approx(1.0, rel=1e-12)
    assert float(band_power_ratio(0.5, 1.0, spacing=0.1, zonal=True)(x, y)) < 1e-25


def test_bad_arguments_are_refused_in_words():
    with pytest.raises(InputError, match="low < high"):
        band_power_ratio(0.8, 0.5)
    with pytest.raises(InputError, match="spacing"):
        isotropic_spectrum(draws(4, 4), space=2, spacing=(1.0, 1.0, 1.0))
    with pytest.raises(InputError, match="dims of space"):
        isotropic_spectrum(draws(4, 4), space=3)


def test_coherence_is_the_shell_sum_of_the_full_transform():
    x, y = draws(3, 2, 8, 12), draws(2, 8, 12, seed=1)
    score = spectral_coherence()
    found = score(x, y, torch.ones(8, 12))
    kx, ky = np.meshgrid(np.fft.fftfreq(8, 1 / 8) / 8, np.fft.fftfreq(12, 1 / 12) / 12, indexing="ij")
    # unit spacing: the short side is the coarser one, shells are 1/8 wide
    shell = np.floor(np.hypot(kx, ky) * 8 + 0.5 + 1e-9).astype(int)
    for b in range(2):
        cross, own, other = (np.zeros(shell.max() + 1) for _ in range(3))
        Y = np.fft.fft2(y[b].numpy())
        np.add.at(other, shell, np.abs(Y) ** 2)
        for member in x[:, b]:
            X = np.fft.fft2(member.numpy())
            np.add.at(cross, shell, (X * Y.conj()).real / 3)
            np.add.at(own, shell, np.abs(X) ** 2 / 3)
        np.testing.assert_allclose(found[b].numpy(), cross / np.sqrt(own * other), rtol=1e-10, atol=1e-13)


def test_coherence_knows_phases_and_not_amplitudes():
    place = torch.arange(32, dtype=F64) * 2 * math.pi / 32
    y = torch.cos(3 * place) + torch.cos(5 * place)
    x = 2 * torch.cos(3 * place) + torch.cos(5 * place + math.pi / 3)
    found = spectral_coherence(zonal=True)(x[None], y, torch.ones(32))
    # an angle of sixty degrees has the cosine 1/2
    assert float(found[3]) == pytest.approx(1.0, abs=1e-12) and float(found[5]) == pytest.approx(0.5, abs=1e-12)
