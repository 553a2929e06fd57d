"""``physdiff fit --coarse``: priors that add resolution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from physdiff.cli.captions import SelectTold
from physdiff.cli.fit_trajectories import fitted_trajectories
from physdiff.cli.options import Select, Training, check_at_least
from physdiff.networks.field_network import FieldNetwork
from physdiff.networks.unet import UNet

__all__ = ["fit_resolution"]


def fit_resolution(
    data: str | list[str],
    out: str,
    coarse: int,
    *,
    tasks: list[dict[str, list[int] | str]] | None = None,
    wavelet: str = "haar",
    network: Callable[[int, int], FieldNetwork] = UNet,
    training: Training = Training(),  # noqa: B008 - a frozen value
    select: Select = Select(),  # noqa: B008
) -> None:
    """Train a prior that adds resolution to whole trajectories: what straight lines in coarse cells leave.

    It serves finer grids than its own, too: ``physdiff forecast --known '{}' --coarse FILE``.

    Args:
        data: One netCDF file, several, or a pattern: fine trajectories, whose block means are the coarse ones.
        out: File of the prior; checkpoints and the loss lie in the folder of the same name with ``.fit`` added.
        coarse: Cells of the data in one coarse cell along each axis in space.
        tasks: Frames that are known on the fine grid besides, as in ``[{u: [0]}]``; nothing if not given.
        wavelet: Along space (haar along time); ``pixels``: the same channels without a wavelet.
        network: As in ``--network UNet --network.width 32``; one that works alike at every place.
        training: How long and how (50 epochs if nothing is said).
        select: Which fields and times; leave test data out here.
    """
    check_at_least(coarse, 2, "coarse")
    chain = {"wavelet": wavelet, "coarse": coarse, "network": network}
    fitted_trajectories(data, out, tasks or [{}], training=training, select=SelectTold(**asdict(select)), chain=chain)
