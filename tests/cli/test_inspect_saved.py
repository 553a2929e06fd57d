"""``physdiff inspect`` of what physdiff wrote: a prior's contents, and a line that draws from it."""

from __future__ import annotations

from physdiff.base.saved import write
from physdiff.networks.mlp import MLP
from tests.cli.command import refuses, works
from tests.data.files import earth, save


def test_a_prior_says_what_it_is_of_and_how_it_is_used(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(earth(12), tmp_path / "x.nc")
    recipe = ("--recipe.history", 2, "--recipe.horizon", 1, "--recipe.wavelet", "none")
    works("fit", "--data", "x.nc", "--out", "x.prior", *recipe, "--training.max_steps", 1)
    text = works("inspect", "x.prior")
    for line in ("file     x.prior: DiffusionPrior, ", "fields   t2m (K)", "windows  3 frames, step 3600 s, the first 2 known"):
        assert line in text
    assert "draws by UNet, 24 steps" in text and "after    DropHistory > " in text
    use = next(line for line in text.splitlines() if line.startswith("use")).removeprefix("use").split()
    assert use[:2] == ["physdiff", "forecast"] and "\nmade by  " in text
    assert use[use.index("--lead") + 1] == "1"  # a window of three frames of which two are known
    places = {"DATA": "x.nc", "FILE": "y.nc"}
    works(*(places.get(word, word) for word in use[1:]), "--members", 1)  # the line is one that works
    assert "leave statistics out" in refuses("inspect", "x.prior", "--statistics", "s.nc")


def test_a_damaged_prior_is_told_as_one(tmp_path):
    write(tmp_path / "x.net", MLP(2, 3, width=4))
    assert "MLP" in works("inspect", tmp_path / "x.net")
    whole = bytearray((tmp_path / "x.net").read_bytes())
    whole[-1] ^= 1
    (tmp_path / "x.net").write_bytes(bytes(whole))
    assert "damaged" in refuses("inspect", tmp_path / "x.net")
