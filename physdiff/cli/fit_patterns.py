"""``physdiff fit --patterns``: priors of whole trajectories along their leading patterns."""

from __future__ import annotations

from physdiff.cli.captions import SelectTold
from physdiff.cli.fit_trajectories import fitted_trajectories
from physdiff.cli.options import Training, check_at_least

__all__ = ["fit_patterns"]


def fit_patterns(
    data: str | list[str],
    out: str,
    tasks: list[dict[str, list[int] | str]],
    *,
    patterns: int = 400,
    width: int = 512,
    training: Training = Training(batch_size=256, lr=3e-3, ema=0.995),  # noqa: B008 - a frozen value
    select: SelectTold = SelectTold(),  # noqa: B008
) -> None:
    """Train a prior of whole trajectories along their leading patterns: minutes where a U-Net takes hours.

    It takes some hundred trajectories at least. A window is then a few hundred numbers, drawn by a fully connected network; what the patterns do
    not hold is lost. ``forecast --known`` draws from it as from other priors of ``fit --tasks``.

    Args:
        data: One netCDF file, several, or a pattern; every trajectory of it is one window.
        out: File of the prior; checkpoints and the loss lie in the folder of the same name with ``.fit`` added.
        tasks: Frames that are known of each field, as in ``[{u: [0], force: all}]`` (simulation) or ``[{u: [0, -1]}]`` (control); several: one model
            for all.
        patterns: Patterns at most; fewer where these hold all but 1e-4 of the variance.
        width: Of the network.
        training: How long and how (50 epochs if nothing is said).
        select: Which fields and times, and texts; leave test data out here.
    """
    check_at_least(patterns, 1, "patterns")
    check_at_least(width, 1, "width")
    chain = {"wavelet": "haar", "patterns": patterns, "width": width}
    fitted_trajectories(data, out, tasks, training=training, select=select, chain=chain)
