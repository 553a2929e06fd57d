r"""A solution in pieces of time, a network for each.

Long or chaotic evolutions are learned window by window: each starts from the end of the one before it, so that a network never has to hold more
than it can. Wight and Zhao, Solving Allen-Cahn and Cahn-Hilliard equations using the adaptive physics informed neural networks, 2020, arXiv
2007.04542; Krishnapriyan and others, 2021, arXiv 2109.01050.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from physdiff.base.errors import InputError
from physdiff.base.saved import Saved
from physdiff.pinn.collocated import Known, Matched
from physdiff.pinn.coordinate_net import CoordinateNet

__all__ = ["TimeWindows", "joined_windows", "known_in_window", "matched_in_window", "windowed_net"]


class TimeWindows(Saved, nn.Module):
    """Networks side by side in time: (n, features) -> (n, values), the last feature being the time in [-1, 1].

    Each sees its own span brought to [-1, 1]; on the border between two, the later one counts.

    Args:
        networks: One for each window, in order of time.
        edges: Ends of the windows in the time of the whole, increasing from -1 to 1, one more than networks; equal windows if left out.

    Raises:
        InputError: If the edges do not fit.
    """

    def __init__(self, networks: Sequence[nn.Module], edges: tuple[float, ...] = ()) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        count = len(self.networks)
        self.edges = tuple(edges) or tuple(-1 + 2 * k / max(count, 1) for k in range(count + 1))
        if not count or len(self.edges) != count + 1 or any(not a < b for a, b in zip(self.edges, self.edges[1:], strict=False)):
            raise InputError(f"TimeWindows: expected networks and one more increasing edge, got {count} networks and edges {self.edges}")

    def forward(self, features: Tensor) -> Tensor:
        """The values of the network that each time belongs to."""
        time = features[..., -1]
        plain = time if isinstance(time, Tensor) else time.value  # type: ignore[unreachable]  # a jet passes as a tensor
        index = torch.bucketize(plain.detach().contiguous(), torch.tensor(self.edges[1:-1], dtype=plain.dtype, device=plain.device), right=True)
        parts, order = [], []
        for k, network in enumerate(self.networks):
            rows = (index == k).nonzero()[:, 0]
            if not len(rows):
                continue
            a, b = self.edges[k], self.edges[k + 1]
            own = features[rows]
            local = (own[..., -1:] - 0.5 * (a + b)) * (2 / (b - a))
            parts.append(network(torch.cat((own[..., :-1], local), dim=-1)))
            order.append(rows)
        return torch.cat(parts, dim=0)[torch.cat(order).argsort()]


def windowed_net(net: CoordinateNet, network: nn.Module, t: tuple[float, float]) -> CoordinateNet:
    """The same fields by another network over a part of the time."""
    lower, upper = (*net.lower[:-1], t[0]), (*net.upper[:-1], t[1])
    made = CoordinateNet(network, net.names, lower=lower, upper=upper, periodic=net.periodic, mean=net.mean, std=net.std)
    return made.to(next(net.parameters()))


def joined_windows(nets: Sequence[CoordinateNet]) -> CoordinateNet:
    """One net over all windows, from those of the windows in order of time."""
    first, last = nets[0], nets[-1]
    start, span = first.lower[-1], last.upper[-1] - first.lower[-1]
    ends = [first.lower[-1], *(net.upper[-1] for net in nets)]
    edges = (-1.0, *(2 * (t - start) / span - 1 for t in ends[1:-1]), 1.0)
    return windowed_net(first, TimeWindows(tuple(net.network for net in nets), edges), (start, last.upper[-1]))


@torch.no_grad()
def known_in_window(known: Sequence[Known], t: tuple[float, float], *, start: float, before: CoordinateNet | None) -> list[Known]:
    """Known values within a window; those at the very start are, in later windows, what the net before gives at the same places.

    Args:
        known: Of the whole.
        t: First and last time of the window.
        start: First time of the whole.
        before: Net of the window before; None for the first one.
    """
    slack, found, handed = 1e-9 * (t[1] - t[0]), [], []
    for part in known:
        times = part.points[:, -1]
        inside = (times >= t[0] - slack) & (times <= t[1] + slack)
        if before is not None:
            initial = (times - start).abs() <= slack
            inside = inside & ~initial
            if bool(initial.any()):
                handed.append((part, initial))
        if bool(inside.any()):
            found.append(replace(part, points=part.points[inside], values={name: v[inside] for name, v in part.values.items()}))
    first = [_handed_on(part, rows, t=t[0], others=found, before=before) for part, rows in handed if before is not None]
    return [*(part for part in first if len(part.points)), *found]


def matched_in_window(matched: Sequence[Matched], t: tuple[float, float]) -> list[Matched]:
    """Pairs both of whose points lie within a window."""
    slack, found = 1e-9 * (t[1] - t[0]), []
    for part in matched:
        times = torch.stack((part.points[:, -1], part.others[:, -1]))
        inside = ((times >= t[0] - slack) & (times <= t[1] + slack)).all(0)
        if bool(inside.any()):
            found.append(replace(part, points=part.points[inside], others=part.others[inside]))
    return found


def _handed_on(part: Known, rows: Tensor, *, t: float, others: Sequence[Known], before: CoordinateNet) -> Known:
    """What a net gives at these places at a time; where walls say what the value is, they are believed."""
    points = part.points[rows].clone()
    points[:, -1] = t
    for name in part.values:
        walls = [o.points for o in others if name in o.values]
        if walls:
            points = points[torch.cdist(points, torch.cat(walls).to(points)).min(1).values > 1e-9]
    values = before.fields(points.to(next(before.parameters())))
    return Known(points, {name: values[name].to(points) for name in part.values}, part.weight, part.scale)
