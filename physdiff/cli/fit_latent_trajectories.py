"""``physdiff fit --tasks --transform``: priors of whole trajectories in latents."""

from __future__ import annotations

from collections.abc import Callable

from physdiff.cli.captions import SelectTold
from physdiff.cli.fit_trajectories import fitted_trajectories
from physdiff.cli.options import Training
from physdiff.networks.field_network import FieldNetwork
from physdiff.networks.unet import UNet
from physdiff.transforms.autoencoder import Autoencoder
from physdiff.transforms.mesh_autoencoder import MeshAutoencoder

__all__ = ["fit_latent_trajectories"]


def fit_latent_trajectories(
    data: str | list[str],
    out: str,
    tasks: list[dict[str, list[int] | str]],
    *,
    transform: Autoencoder | MeshAutoencoder,
    network: Callable[[int, int], FieldNetwork] = UNet,
    training: Training = Training(),  # noqa: B008 - a frozen value
    select: SelectTold = SelectTold(),  # noqa: B008
) -> None:
    """Train a prior of whole trajectories in the latents of an autoencoder.

    The autoencoder is trained first; scattered points have a ``MeshAutoencoder``. ``forecast --known`` draws from it as from other priors of
    ``fit --tasks``.

    Args:
        data: One netCDF file, several, or a pattern; every trajectory of it is one window.
        out: File of the prior; checkpoints and the loss lie in the folder of the same name with ``.fit`` added.
        tasks: Frames that are known of each field, as in ``[{u: [0], force: all}]``; several: one model for all.
        transform: As in ``--transform Autoencoder --transform.factor 4``, or ``MeshAutoencoder`` for scattered points; as many steps as the prior, or
            a third of a budget of seconds.
        network: As in ``--network DiT --network.width 64``.
        training: How long and how (50 epochs if nothing is said).
        select: Which fields and times, and texts; leave test data out here.
    """
    fitted_trajectories(data, out, tasks, training=training, select=select, chain={"wavelet": transform, "network": network})
