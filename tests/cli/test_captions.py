"""Texts beside trajectories by command: told in training, asked for in drawing, left out of scores; and what is refused."""

from __future__ import annotations

import pytest
import torch
import xarray as xr

from physdiff.cli.captions import caption_fields, encoder_name, read_captions, spelled_out
from physdiff.data.captions import HashedWords
from physdiff.diffusion.window_prior import WindowPrior
from tests.cli.command import refuses, untouched, works

SMALL = "--network UNet --network.width 8 --network.multipliers [1,1] --training.max_steps 2"


class Letters:
    """An encoder of somebody's own: how often each of three letters comes."""

    def __call__(self, text: str) -> torch.Tensor:
        return torch.tensor([float(text.count(letter)) for letter in "abc"])


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "captions.txt"
    path.write_text("a calm start\na steep front\ntwo fronts that meet\na calm start\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def prior(tmp_path_factory, burgers, texts):
    path = tmp_path_factory.mktemp("told") / "a.prior"
    told = ("--select.captions", texts, "--select.encoder tests.cli.test_captions.Letters --allow-classes")
    works("fit", "--tasks", '[{"u":[0],"text":"all"}]', *told, SMALL, "--data", burgers, "--out", path)
    return path


def test_words_are_told_asked_for_and_not_scored(tmp_path, burgers, texts, prior):
    assert WindowPrior.load(prior).spec.names == ("u", "text_0", "text_1", "text_2")
    own = "--select.encoder tests.cli.test_captions.Letters --allow-classes --members 2"
    rest = (own, "--prior", prior, "--select.captions", texts)
    works("forecast", "--known", '{"u":[0],"text":"all"}', *rest, "--initial", burgers, "--out", tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc", decode_timedelta=False) as drawn:
        assert [float(v) for v in drawn["text_0"].isel(member=1, init_time=0, lead_time=5, x=3)] == [3.0, 1.0, 1.0, 3.0]
        assert [float(v) for v in drawn["text_2"].isel(member=0, init_time=0, lead_time=0, x=0)] == [1.0, 0.0, 0.0, 1.0]
    said = works("evaluate --forecast", tmp_path / "a.nc", "--truth", burgers, "--out", tmp_path / "page")
    assert "crps of u" in said and "text" not in said
    # of words alone, without data
    works("forecast", "--known", '{"text":"all"}', *rest, "--out", tmp_path / "b.nc")
    with xr.open_dataset(tmp_path / "b.nc", decode_timedelta=False) as drawn:
        assert drawn.sizes["sample"] == 4 and float(drawn["u"].std("member").min()) > 0


def test_what_does_not_fit_is_refused(tmp_path, burgers, texts, prior, burgers_prior):
    short, empty = tmp_path / "short.txt", tmp_path / "empty.txt"
    short.write_text("a\nb\n", encoding="utf-8")
    empty.write_text("a\n\nb\nc\n", encoding="utf-8")
    with untouched(tmp_path):
        fit = ("--data", burgers, "--out", tmp_path / "a.prior", SMALL)
        assert "got none; give --select.captions FILE" in refuses("fit", "--tasks", '[{"u":[0],"text":"all"}]', *fit)
        task = ("--tasks", '[{"text":"all"}]')
        assert "got 2 and 4 samples" in refuses("fit", *task, "--select.captions", short, *fit)
        assert "got none in line 2" in refuses("fit", *task, "--select.captions", empty, *fit)
        assert "expected a file of text" in refuses("fit", *task, "--select.captions", tmp_path / "none.txt", *fit)
        assert "which has no frames" in refuses("fit", "--tasks", '[{"text":[0]}]', "--select.captions", texts, *fit)
        denied = refuses("fit", *task, "--select.captions", texts, "--select.encoder tests.cli.test_captions.Letters", *fit)
        assert "--allow-classes" in denied
        draw = ("--prior", prior, "--out", tmp_path / "a.nc")
        said = refuses("forecast", "--known", '{"text":"all"}', "--select.captions", texts, *draw)
        assert "expected the encoder of the training, tests.cli.test_captions.Letters, got HashedWords(features=3)" in said
        assert "got none; give --select.captions" in refuses("forecast", "--known", '{"text":"all"}', "--initial", burgers, *draw)


def test_names_and_lines(tmp_path):
    assert encoder_name(None) == "HashedWords(features=16)" and encoder_name(HashedWords(3)) == encoder_name(None, 3)
    assert encoder_name(Letters()) == f"{Letters.__module__}.Letters"
    assert caption_fields(["u", "text_0", "text_x", "text_11"]) == ["text_0", "text_11"]
    assert spelled_out([{"u": (0,), "text": "all"}, {"u": (1,)}], ["u", "text_0"]) == [{"u": (0,), "text_0": "all"}, {"u": (1,)}]
    # a field of that name is itself
    assert spelled_out([{"text": (0,)}], ["text", "u"]) == [{"text": (0,)}]
    (tmp_path / "a.txt").write_text("one\ntwo", encoding="utf-8")
    assert read_captions(str(tmp_path / "a.txt")) == ["one", "two"]
