"""Pieces of work shared out over processes in turns, whose results all of them get."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch.distributed as dist

from physdiff.base.errors import PhysdiffError, Stopped
from physdiff.inference.sharding import Sharded

__all__ = ["Crew"]

Piece = TypeVar("Piece")


@dataclass(frozen=True, eq=False)
class Crew:
    """The processes of a `Sharded` number, or this one alone.

    Args:
        members: The number.
    """

    members: int | Sharded

    @property
    def count(self) -> int:
        """The number itself."""
        return self.members.count if isinstance(self.members, Sharded) else self.members

    @property
    def processes(self) -> int:
        """How many there are."""
        return self.members.processes if isinstance(self.members, Sharded) else 1

    @property
    def rank(self) -> int:
        """Which one this is."""
        return dist.get_rank(self.members.group) if isinstance(self.members, Sharded) else 0

    def told(self, value: Any) -> Any:  # noqa: ANN401 - whatever is told
        """What the first process has, in all."""
        return self._gathered(value if self.rank == 0 else None)[0]

    def done(self, pieces: Sequence[Piece], work: Callable[[Piece], Any]) -> Iterator[tuple[Piece, Any]]:
        """Every piece with its result, in order; each process works on its own of every turn.

        Raises:
            Stopped: If another process raised; that one raises its own error.
        """
        for turn in range(0, len(pieces), self.processes):
            mine = turn + self.rank
            error: PhysdiffError | None = None
            result = None
            if mine < len(pieces):
                try:
                    result = work(pieces[mine])
                except PhysdiffError as found:
                    error = found
            answers = self._gathered((result, None if error is None else str(error)))
            if error is not None:
                raise error
            wrong = next((text for _, text in answers if text is not None), None)
            if wrong is not None:
                raise Stopped(f"expected all processes to do their part, one of them could not: {wrong}")
            for piece, (value, _) in zip(pieces[turn : turn + self.processes], answers, strict=False):
                yield piece, value

    def _gathered(self, value: Any) -> list[Any]:  # noqa: ANN401
        """The values of all processes."""
        if not isinstance(self.members, Sharded) or self.processes == 1:
            return [value]
        found: list[Any] = [None] * self.processes
        dist.all_gather_object(found, value, group=self.members.group)
        return found
