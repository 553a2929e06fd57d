r"""iPINNER: a population of networks of the coordinates between noisy readings and a law that may be wrong, by ensemble Kalman analyses.

Round by round: (1) every member is trained with weights of the objectives (readings, law, conditions) of its own, drawn from Dirichlet's law; (2)
NSGA-III picks those that are kept: front after front of members that none is better than in everything, and where a front does not fit, the ones
nearest to directions that are few so far; the others start again from kept ones; (3) the fields that the members predict at the readings are carried
to them by an ensemble Kalman analysis; (4) each member's analysis takes the place of the readings in its next training. Deb and Jain, NSGA-III, 2014;
Das and Dennis, 1998 (directions); iterative multi-objective PINN with ensemble Kalman filter (iPINNER), 2025. Offspring by crossing weights, as in
NSGA, is replaced by gradient training with drawn weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import torch
from torch import Tensor, nn

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.inference.ensemble_kalman import etkf, inflated
from physdiff.pinn.collocated import Collocated, Known
from physdiff.uq.weight_draws import WeightDraws, trainable

__all__ = ["ipinner", "niche_selection", "pareto_fronts", "reference_directions"]


def reference_directions(objectives: int, divisions: int) -> Tensor:
    """Points (R, k) of the simplex with coordinates in steps of 1/divisions (Das and Dennis): R = C(divisions + k - 1, k - 1)."""
    if objectives < 1 or divisions < 1:
        raise InputError(f"reference_directions: expected one objective and one division or more, got {objectives} and {divisions}")
    rows = []
    for bars in combinations(range(divisions + objectives - 1), objectives - 1):
        edges = (-1, *bars, divisions + objectives - 1)
        rows.append([edges[i + 1] - edges[i] - 1 for i in range(objectives)])
    return torch.tensor(rows, dtype=torch.float64) / divisions


def pareto_fronts(objectives: Tensor) -> Tensor:
    """Rank of each row (N, k), smaller is better: 0 for those that no other dominates, 1 for those after taking these away, ...

    A row dominates another if it is nowhere larger and somewhere smaller.

    Raises:
        InputError: If an objective is not finite.
    """
    if objectives.ndim != 2 or not bool(objectives.isfinite().all()):
        raise InputError(f"pareto_fronts: expected finite objectives (N, k), got {tuple(objectives.shape)}; drop members that failed")
    a, b = objectives[:, None], objectives[None]
    dominates = (a <= b).all(-1) & (a < b).any(-1)
    rank = torch.full((len(objectives),), -1)
    level = 0
    while bool((rank < 0).any()):
        left = rank < 0
        best = left & ~(dominates & left[:, None]).any(0)
        rank[best] = level
        level += 1
    return rank


def niche_selection(objectives: Tensor, n: int, *, directions: Tensor, rng: Rng) -> Tensor:
    """Indices (n,) that NSGA-III keeps of the rows (N, k).

    Args:
        objectives: Smaller is better.
        n: How many are kept.
        directions: (R, k), as `reference_directions`.
        rng: Decides between directions and members that are equally good.

    Raises:
        InputError: If n is not from 1 to N.
        ShapeError: If directions have another number of objectives.
    """
    if not 1 <= n <= len(objectives):
        raise InputError(f"niche_selection: expected 1 to {len(objectives)} members to keep, got {n}")
    if directions.shape[-1] != objectives.shape[-1]:
        raise ShapeError(f"niche_selection: expected directions (R, {objectives.shape[-1]}), got {tuple(directions.shape)}")
    rank = pareto_fronts(objectives)
    order = [torch.nonzero(rank == level)[:, 0].tolist() for level in range(int(rank.max()) + 1)]
    kept: list[int] = []
    while len(kept) + len(order[0]) <= n:
        kept += order.pop(0)
        if len(kept) == n:
            return torch.tensor(kept)
    nearest, far = _niches(objectives[[*kept, *order[0]]], directions)
    place = {member: k for k, member in enumerate([*kept, *order[0]])}
    counts = torch.bincount(nearest[: len(kept)], minlength=len(directions)) if kept else torch.zeros(len(directions), dtype=torch.int64)
    open_, step = list(order[0]), 0
    while len(kept) < n:
        held = {int(nearest[place[m]]) for m in open_}
        fewest = min(int(counts[j]) for j in held)
        ties = sorted(j for j in held if int(counts[j]) == fewest)
        niche = ties[int(rng.child(step).integers(0, len(ties)))]
        inside = [m for m in open_ if int(nearest[place[m]]) == niche]
        # the first of a niche is the closest to its direction, later ones are drawn
        chosen = min(inside, key=lambda m: float(far[place[m]])) if fewest == 0 else inside[int(rng.child(step, "member").integers(0, len(inside)))]
        kept.append(chosen)
        open_.remove(chosen)
        counts[niche] += 1
        step += 1
    return torch.tensor(kept)


def _niches(objectives: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """The direction nearest to each row after scaling, and the distance to it."""
    moved = objectives.double() - objectives.double().amin(0)
    # extreme points: smallest in the largest weighted objective, for weights along each axis
    k = moved.shape[1]
    weights = torch.full((k, k), 1e6, dtype=torch.float64)
    weights.fill_diagonal_(1.0)
    extreme = moved[(moved[None] * weights[:, None]).amax(-1).argmin(1)]
    span = moved.amax(0)
    try:
        intercepts = 1 / torch.linalg.solve(extreme, torch.ones(k, dtype=torch.float64))
        if bool((intercepts.isfinite() & (intercepts > 1e-10)).all()):
            span = intercepts
    except RuntimeError:
        pass  # extreme points in one plane with the ideal one: the largest values serve
    scaled = moved / span.clamp_min(torch.finfo(torch.float64).tiny)
    unit = directions / directions.norm(dim=1, keepdim=True)
    along = scaled @ unit.mT
    distance = (scaled[:, None] - along[..., None] * unit[None]).norm(dim=-1)
    far, nearest = distance.min(1)
    return nearest, far


def ipinner(
    train: Callable[[Known, Tensor, Tensor | None, Rng], Collocated],
    objectives: Callable[[Collocated], Tensor],
    readings: Known,
    *,
    terms: int = 2,
    members: int = 20,
    rounds: int = 3,
    inflation: float = 1.02,
    rng: Rng,
) -> WeightDraws:
    """Train a population by multi-objective selection and ensemble Kalman analyses of what it predicts.

    Args:
        train: From (readings of this member, weights (k,) of the objectives with mean 1, weights of the network to start from or None, key) to the
            trained problem; all of one architecture.
        objectives: Function of a problem that gives its objectives (k,), smaller is better.
        readings: Readings of fields with their standard deviation as `scale`.
        terms: k.
        members: N, four or more; half of them are kept after each round.
        rounds: Number of rounds; a selection and an analysis follow every one but the last.
        inflation: Factor on the predicted anomalies before an analysis.
        rng: Randomness.

    Returns:
        The population after the last round; `info`: ``objectives`` (N, k), ``increments`` (rounds - 1,): rms change by the analyses over the scale.

    Raises:
        InputError: If a number makes no sense.
        ShapeError: If there are not k objectives.
    """
    if members < 4 or rounds < 1 or terms < 1:
        raise InputError(f"ipinner: expected four members or more, one round or more and one objective or more, got {members}, {rounds} and {terms}")
    check_positive(inflation, "ipinner inflation")
    own, start = [readings] * members, list[Tensor | None]([None] * members)
    increments: list[Tensor] = []
    for step in range(rounds):
        key = rng.child("round", step)
        shares = _dirichlet(members, terms, key.child("shares"))
        problems = [train(own[k], shares[k], start[k], key.child("member", k)) for k in range(members)]
        scores = torch.stack([objectives(p).detach() for p in problems])
        if scores.shape != (members, terms):
            raise ShapeError(f"ipinner: expected objectives ({terms},), got {tuple(scores.shape[1:])}; give their number as terms")
        vectors = torch.stack([nn.utils.parameters_to_vector(trainable(p)).detach().clone() for p in problems])
        if step + 1 == rounds:
            break
        chosen = niche_selection(scores, members // 2, directions=reference_directions(terms, max(1, members // 2)), rng=key.child("niche"))
        heirs = torch.cat((chosen, chosen[torch.arange(members - len(chosen)) % len(chosen)]))
        start = [vectors[i] for i in heirs.tolist()]
        own, change = _analysed([problems[i] for i in heirs.tolist()], readings, inflation, key.child("analysis"))
        increments.append(change)
    info = {"objectives": scores, "increments": torch.stack(increments) if increments else torch.zeros(0, dtype=torch.float64)}
    return WeightDraws(problems[0], vectors, info)


def _analysed(problems: list[Collocated], readings: Known, inflation: float, rng: Rng) -> tuple[list[Known], Tensor]:
    """The readings that each member is trained on next: its predictions after the analysis; and their rms change over the scale."""
    names = list(readings.values)
    with torch.no_grad():
        rows = [p.net.fields(readings.points) for p in problems]
    predicted = torch.stack([torch.cat([r[name] for name in names]) for r in rows])
    y = torch.cat([readings.values[name] for name in names])
    before = inflated(predicted, inflation)
    after = etkf(before, before, y, std=readings.scale, rng=rng)
    change = ((after - predicted) / readings.scale).double().square().mean().sqrt()
    parts = [row.split(len(readings.points)) for row in after]
    return [replace(readings, values=dict(zip(names, part, strict=True))) for part in parts], change


def _dirichlet(n: int, k: int, rng: Rng) -> Tensor:
    """Weights (n, k), uniform on the simplex, of mean 1."""
    draws = -torch.log1p(-rng.uniform((n, k)).double())
    return k * draws / draws.sum(1, keepdim=True)
