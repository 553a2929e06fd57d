r"""Where to read next: sites whose readings the members of an ensemble foretell most differently.

The readings at sites A foretold by members $i = 1 \dots N$ of weights w are taken as a mixture of normals around the members' predictions
$\hat y_i$, whose entropy, looked at from its centres, is up to a constant

$$ H(A) = -\sum_i w_i \log \sum_j w_j \exp\Big(-\sum_{a \in A} \frac{(\hat y_i(a) - \hat y_j(a))^2}{2 s_a^2}\Big). $$

Sites are added one by one, each the one that raises H most. The sum over A is what keeps a second site beside the first from being chosen: it
tells members apart that are told apart already. For a Gaussian ensemble, with S the covariance of $\hat y/s$ at A, H(A) goes to
$\tfrac12 \log\det(I + S) + \tfrac12 \mathrm{tr}\,S (I + S)^{-1}$. References: Nolan et al., Active diffusion subsampling, 2024 (one site, with
H as written there); Krause, Singh and Guestrin, Near-optimal sensor placements in Gaussian processes, 2008 (greedy choices).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError

__all__ = ["choose_sensors"]

_MOST_ENTRIES = 2**24


def choose_sensors(
    predicted: Tensor, count: int, *, std: float | Tensor, taken: Sequence[int] = (), weights: Tensor | None = None
) -> tuple[list[int], Tensor]:
    """Choose sites one by one.

    Args:
        predicted: What each member of an ensemble foretells at every site that could be read, (N, m): an operator on `Ensemble.members`.
        count: Number of sites to choose.
        std: s, standard deviation of the readings' noise; one number, or one for each site (m,).
        taken: Sites that are read anyway but are not in the ensemble yet; they are not chosen again.
        weights: Of the members (N,), as `Ensemble.weights`; equal if None.

    Returns:
        The sites in the order of choice, and H with each of them (count,), in nats.

    Raises:
        ShapeError: If `predicted` is not (N, m), or there is not one weight for each member.
        InputError: If there are fewer than two members or free sites than `count`, a std is not positive, or a prediction not finite.
    """
    if predicted.ndim != 2:
        raise ShapeError(f"choose_sensors: expected what each member foretells at every site, (N, m), got {tuple(predicted.shape)}; flatten it")
    n, m = predicted.shape
    w = torch.full((n,), 1 / n, dtype=torch.float64) if weights is None else weights.detach().double().cpu()
    if w.shape != (n,):
        raise ShapeError(f"choose_sensors: expected one weight for each of {n} members, got {tuple(w.shape)}")
    free = torch.ones(m, dtype=torch.bool)
    if any(not 0 <= a < m for a in taken):
        raise InputError(f"choose_sensors: expected taken sites within 0 to {m - 1}, got {tuple(taken)}")
    free[list(taken)] = False
    if n < 2 or not 1 <= count <= int(free.sum()):
        raise InputError(f"choose_sensors: expected two members or more and 1 to {int(free.sum())} sites, got {n} and {count}")
    s = torch.as_tensor(std, dtype=torch.float64).cpu()
    if not bool((s.isfinite() & (s > 0)).all()) or s.numel() not in (1, m):
        got = s.tolist() if s.numel() < 9 else f"{s.numel()} of them"
        raise InputError(f"choose_sensors: expected a positive std for all sites or for each of {m}, got {got}")
    y = predicted.detach().double().cpu() / s
    if not bool(y.isfinite().all()):
        raise InputError("choose_sensors: expected finite predictions, got some that are not; leave these sites out")
    apart, chosen, entropies = _apart(y[:, list(taken)]), list[int](), []
    for _ in range(count):
        found = _entropies(y, apart, w)
        best = int(torch.where(free, found, -torch.inf).argmax())
        chosen.append(best)
        entropies.append(found[best])
        free[best] = False
        apart = apart + _apart(y[:, [best]])
    return chosen, torch.stack(entropies)


def _apart(y: Tensor) -> Tensor:
    """Half the squared distances of members, (N, N)."""
    return 0.5 * ((y[:, None] - y) ** 2).sum(-1)


def _entropies(y: Tensor, apart: Tensor, w: Tensor) -> Tensor:
    """H with each site added to those whose distances are `apart`, (m,)."""
    out = []
    for part in y.T.split(max(1, _MOST_ENTRIES // len(y) ** 2)):
        distance = apart + 0.5 * (part[:, :, None] - part[:, None]) ** 2
        out.append(-torch.logsumexp(w.log() - distance, 2) @ w)
    return torch.cat(out)
