"""Particles shared out over the processes of a group: each moves its own, all know all weights, and resampled particles travel.

Weights are gathered and everything that follows from them (effective size, evidence, ancestors) is computed alike by every process; random numbers
are the rows that one process would have drawn for these particles. So the run is the run of one process: bit for bit where networks see the same
batches (a number of particles for each process that is a multiple of `max_batch`), to rounding elsewhere, where in float32 an ancestor may flip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from physdiff.base.errors import InputError, PhysdiffError
from physdiff.base.rng import Rng

__all__ = ["Alone", "Sharded"]

Particles = tuple[Tensor, ...]


@dataclass(frozen=True)
class Alone:
    """All particles in this process, under the names that `Sharded` has.

    Args:
        count: Number of particles.
    """

    count: int

    def bounds(self) -> tuple[int, int]:
        """First particle of this process, and the first that is not its own."""
        return 0, self.count

    def rows(self, rng: Rng) -> Rng:
        """The randomness of this process's particles."""
        return rng

    def weighed(self, make: Callable[[], tuple[Particles, Tensor]]) -> tuple[Particles, Tensor]:
        """This process's particles and the log weights of all."""
        return make()

    def gathered(self, part: Tensor) -> Tensor:
        """The rows of all processes."""
        return part

    def taken(self, part: Tensor, ancestors: Tensor) -> Tensor:
        """The ancestors' rows."""
        return part[ancestors]


@dataclass(frozen=True, eq=False)
class Sharded:
    """A number of particles, shared out over processes; takes the place of the number where a method asks for it.

    Every process calls the method with the same arguments and gets the whole ensemble. A process draws the random numbers of all particles and keeps
    its own rows: some nanoseconds for a number, against the network's microsecond.

    Args:
        count: Number of particles of all processes together.
        group: The processes; all of the default group if None.

    Raises:
        InputError: If no process group runs, or there are fewer particles than processes.
    """

    count: int
    group: dist.ProcessGroup | None = None

    def __post_init__(self) -> None:
        if not (dist.is_available() and dist.is_initialized()):
            raise InputError("Sharded: expected a process group, got none; start with torchrun and call torch.distributed.init_process_group")
        if self.count < self.processes:
            raise InputError(f"Sharded: expected at least one particle for each of {self.processes} processes, got {self.count}")

    @property
    def processes(self) -> int:
        """Number of processes."""
        return dist.get_world_size(self.group)

    def bounds(self, rank: int | None = None) -> tuple[int, int]:
        """First particle of a process (this one if None), and the first that is not its own."""
        r = dist.get_rank(self.group) if rank is None else rank
        return r * self.count // self.processes, (r + 1) * self.count // self.processes

    def rows(self, rng: Rng) -> Rng:
        """The randomness of this process's particles."""
        return _Rows(rng.seed, rng.path, (*self.bounds(), self.count))

    def weighed(self, make: Callable[[], tuple[Particles, Tensor]]) -> tuple[Particles, Tensor]:
        """This process's particles and the log weights of all; an error of one process ends all, for the others see NaN."""
        try:
            particles, log_weights = make()
        except PhysdiffError:
            first, last = self.bounds()
            self.gathered(torch.full((last - first,), torch.nan, dtype=torch.float64))
            raise
        return particles, self.gathered(log_weights.double())

    def gathered(self, part: Tensor) -> Tensor:
        """The rows of all processes, (count, ...), from each one's own."""
        longest = -(-self.count // self.processes)
        padded = torch.cat([part, part.new_zeros(longest - len(part), *part.shape[1:])]).contiguous()
        parts = [torch.empty_like(padded) for _ in range(self.processes)]
        dist.all_gather(parts, padded, group=self.group)
        sizes = [b - a for a, b in map(self.bounds, range(self.processes))]
        return torch.cat([p[:n] for p, n in zip(parts, sizes, strict=True)])

    def taken(self, part: Tensor, ancestors: Tensor) -> Tensor:
        """This process's new rows: those of the ancestors (count,), wherever they are; every row travels once to each process that needs it."""
        first, last = self.bounds()
        mine = ancestors[first:last]
        new = part.new_empty(len(mine), *part.shape[1:])
        here = _within(mine, first, last)
        new[here] = part[mine[here] - first]
        transfers, inbox = [], []
        for r in range(self.processes):
            a, b = self.bounds(r)
            if a == first:
                continue
            peer = r if self.group is None else dist.get_global_rank(self.group, r)
            theirs = ancestors[a:b]
            wanted = theirs[_within(theirs, first, last)].unique()
            if len(wanted):
                transfers.append(dist.P2POp(dist.isend, part[wanted - first].contiguous(), peer, self.group))
            asked = mine[_within(mine, a, b)].unique()
            if len(asked):
                buffer = part.new_empty(len(asked), *part.shape[1:])
                transfers.append(dist.P2POp(dist.irecv, buffer, peer, self.group))
                inbox.append((asked, buffer))
        for work in dist.batch_isend_irecv(transfers) if transfers else []:
            work.wait()
        for asked, buffer in inbox:
            hit = torch.isin(mine, asked)
            new[hit] = buffer[torch.searchsorted(asked, mine[hit])]
        return new


@dataclass(frozen=True)
class _Rows(Rng):
    """The same stream, of whose draws for all particles only rows first to last - 1 of the total are kept."""

    own: tuple[int, int, int] = (0, 1, 1)

    def child(self, *keys: int | str) -> _Rows:
        plain = Rng(self.seed, self.path).child(*keys)
        return _Rows(plain.seed, plain.path, self.own)

    def normal(self, shape: Sequence[int], *, like: Tensor | None = None) -> Tensor:
        return self._cut(Rng(self.seed, self.path).normal(self._whole(shape), like=like))

    def uniform(self, shape: Sequence[int] = (), *, like: Tensor | None = None) -> Tensor:
        return self._cut(Rng(self.seed, self.path).uniform(self._whole(shape), like=like))

    def integers(self, low: int, high: int, shape: Sequence[int] = ()) -> Tensor:
        return self._cut(Rng(self.seed, self.path).integers(low, high, self._whole(shape)))

    def _whole(self, shape: Sequence[int]) -> tuple[int, ...]:
        first, last, total = self.own
        if not shape or shape[0] != last - first:
            who = f"random numbers of particles {first} to {last - 1}"
            raise InputError(f"{who}: expected a shape that starts with {last - first}, got {tuple(shape)}")
        return (total, *shape[1:])

    def _cut(self, draw: Tensor) -> Tensor:
        return draw[self.own[0] : self.own[1]]


def _within(index: Tensor, first: int, last: int) -> Tensor:
    return (index >= first) & (index < last)
