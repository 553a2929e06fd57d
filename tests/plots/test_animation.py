"""Films: every frame shows its own time in the colours of all, and nothing is left half-written."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from matplotlib.animation import FFMpegWriter
from PIL import Image

from physdiff.base.errors import InputError
from physdiff.plots.animation import field_frames, save_animation


def film() -> xr.DataArray:
    values = np.arange(3 * 4 * 5, dtype=np.float64).reshape(3, 4, 5)
    return xr.DataArray(values, dims=("time", "y", "x"), coords={"time": [0.0, 1.0, 2.0], "y": np.arange(4.0), "x": np.arange(5.0)})


def test_frames_share_their_colours() -> None:
    seen, sizes = [], set()
    for a in field_frames(film()):
        seen.append((np.asarray(a.collections[0].get_array()).ravel().copy(), a.collections[0].get_clim(), a.get_title()))
        sizes.add(a.title.get_fontsize())
    assert len(sizes) == 1  # titles do not jump
    for k, (values, limits, title) in enumerate(seen):
        np.testing.assert_allclose(values, film().values[k].ravel())
        assert limits == seen[0][1] and str(k) in title
    assert len({title for *_, title in seen}) == 3
    with pytest.raises(InputError, match="dim of time"):
        next(iter(field_frames(film().isel(time=0))))


def test_a_gif_has_all_frames(tmp_path) -> None:
    path = save_animation(field_frames(film()), tmp_path / "film.gif", fps=4)
    with Image.open(path) as image:
        assert image.n_frames == 3 and image.info["duration"] == 250
    assert [p.name for p in tmp_path.iterdir()] == ["film.gif"]


def test_a_page_holds_its_frames(tmp_path) -> None:
    text = save_animation(field_frames(film()), tmp_path / "film.html").read_text()
    assert text.count("data:image/png;base64") == 3
    assert [p.name for p in tmp_path.iterdir()] == ["film.html"]


def test_what_cannot_be_written_is_refused_and_an_old_film_stays(tmp_path) -> None:
    with pytest.raises(InputError, match="ends in"):
        save_animation(field_frames(film()), tmp_path / "film.avi")
    with pytest.raises(InputError, match="one frame"):
        save_animation([], tmp_path / "film.gif")
    if not FFMpegWriter.isAvailable():
        with pytest.raises(InputError, match="ffmpeg"):
            save_animation(field_frames(film()), tmp_path / "film.mp4")
    old = save_animation(field_frames(film()), tmp_path / "film.gif").read_bytes()

    def broken():
        yield from field_frames(film().isel(time=slice(0, 1)))
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        save_animation(broken(), tmp_path / "film.gif")
    assert (tmp_path / "film.gif").read_bytes() == old and len(list(tmp_path.iterdir())) == 1
