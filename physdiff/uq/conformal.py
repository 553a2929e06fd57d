r"""Split conformal prediction: a bound that holds for the next case with a stated probability, whatever the law.

Given nonconformity scores $s_1, \dots, s_n$ of calibration cases, exchangeable with the next one, and a level $1-\alpha$,

$$q = s_{(k)}, \qquad k = \lceil (n+1)(1-\alpha) \rceil , \qquad 1-\alpha \le P(s_{n+1} \le q) \le 1-\alpha + \tfrac{1}{n+1}$$

(the upper side without ties), the probability being over calibration and next case together. For one set of calibration cases the coverage
is itself random, with the law Beta(k, n+1-k): 0.90 with a standard deviation of 0.066 for 19 cases, of 0.030 for 99. With k > n no finite bound
has the level.
References: Vovk, Gammerman and Shafer (2005); Lei et al. (2018), "Distribution-free predictive inference for regression";
Angelopoulos and Bates (2023), section 3.2 for the Beta law.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError

__all__ = ["CoverageLaw", "cases_needed", "conformal_quantile", "coverage_law"]


class CoverageLaw(NamedTuple):
    """Coverage of one conformal bound, Beta(a, b) for scores without ties; infinite bounds (b = 0) cover always.

    Args:
        a: k, the rank of the bound.
        b: n + 1 - k.
    """

    a: int
    b: int

    @property
    def mean(self) -> float:
        """K / (n + 1)."""
        return self.a / (self.a + self.b)

    @property
    def std(self) -> float:
        """Standard deviation over sets of calibration cases."""
        total = self.a + self.b
        return math.sqrt(self.a * self.b / (total + 1)) / total


def cases_needed(level: float) -> int:
    """Smallest number of calibration cases with a finite bound at `level`: level / (1 - level) rounded up, 9 for 0.9.

    Raises:
        InputError: If level is not strictly between 0 and 1.
    """
    # 0.9 / (1 - 0.9) is 9.000000000000002 in floating point
    return max(1, math.ceil(_checked(level) / (1 - level) - 1e-9))


def coverage_law(cases: int, level: float) -> CoverageLaw:
    """Law of the coverage of a bound from so many exchangeable cases.

    Raises:
        InputError: If level is not strictly between 0 and 1.
        ShapeError: If the cases are too few for a finite bound.
    """
    needed = cases_needed(level)
    if cases < needed:
        raise ShapeError(
            f"conformal: expected at least {needed} calibration cases for a level of {level:g}, got {cases}; "
            f"give more cases or a level of at most {cases / (cases + 1):.3g}"
        )
    k = _rank(cases, level)
    return CoverageLaw(k, cases + 1 - k)


def conformal_quantile(scores: Tensor, level: float) -> Tensor:
    """The k-th smallest of the scores, cell by cell, k = ceil((n+1) level).

    Args:
        scores: (n, *S), NaN where a case has none; every cell has its own n then.
        level: Probability with which the next case is to stay below.

    Returns:
        (*S): infinite where a cell has too few scores for the level, NaN where it has none at all.

    Raises:
        InputError: If level is not strictly between 0 and 1.
        ShapeError: If there is no case.
    """
    _checked(level)
    if scores.ndim < 1 or scores.shape[0] < 1:
        raise ShapeError(f"conformal_quantile: expected scores (n, ...) of at least one case, got {tuple(scores.shape)}")
    missing = scores.isnan()
    count = (~missing).sum(0)
    # NaN sorts last; ranks are counted among those that are there
    ordered = scores.masked_fill(missing, float("inf")).sort(0).values
    ranks = torch.tensor([_rank(n, level) for n in range(scores.shape[0] + 1)], device=scores.device)[count]
    chosen = ordered.gather(0, (ranks - 1).clamp(max=scores.shape[0] - 1)[None])[0]
    return chosen.masked_fill(ranks > count, float("inf")).masked_fill(count == 0, float("nan"))


def _rank(cases: int, level: float) -> int:
    return max(1, math.ceil((cases + 1) * level - 1e-9))


def _checked(level: float) -> float:
    if not 0 < level < 1:
        raise InputError(f"level: expected a number between 0 and 1, as in 0.9, got {level!r}")
    return level
