"""What is wrong with an option, in one sentence."""

from __future__ import annotations

import subprocess
import sys

import pytest

from physdiff.cli.fit import fit
from physdiff.cli.wording import sentence
from tests.architecture.sources import ROOT
from tests.cli.command import refuses, untouched

BURGERS = "--pde Burgers --pde.viscosity 0.1 --grid.shape 16 --out OUT"
FIT = "--data a.nc --out OUT"
FORECAST = "--prior a --initial b --lead 2 --out OUT"

CASES = [
    ("generate", "--out OUT", "expected --pde and --grid, got none of them; --help tells all options"),
    ("generate", "--pde Burgers --grid.shape 16 --out OUT", "expected --pde.viscosity, got none; --help tells all options"),
    (
        "generate",
        "--pde Burgers --pde.visc 1 --grid.shape 16 --out OUT",
        "expected options that there are, got --pde.visc; did you mean --pde.viscosity?",
    ),
    ("generate", f"{BURGERS} --pde.viscosity thick", "--pde.viscosity: expected a number, got 'thick'"),
    ("generate", f"{BURGERS} --grid.shape wide", "--grid.shape: expected a whole number or a list as '[a, b]', got 'wide'"),
    ("generate", f"{BURGERS} --grid.shape 0", "CartesianGrid: expected 1 to 3 positive sizes, got 0"),
    ("generate", f"{BURGERS} --samples two", "--samples: expected a whole number, got 'two'"),
    ("generate", f"{BURGERS} --sampels 2", "expected options of this verb, got --sampels 2; did you mean --samples?"),
    ("generate", f"{BURGERS} --initial RandomField --initial.length -1", "RandomField length: expected a positive finite number, got -1.0"),
    ("generate", f"{BURGERS} --frames.dt soon", "--frames.dt: expected a number, got 'soon'"),
    ("fit", "--data a.nc", "expected --out, got none; --help tells all options"),
    ("forecast", "--known 3 --prior a --out OUT", "--known: expected names with values as '{a: 1}', got '3'"),
    ("fit", f"{FIT} --network UNett", "got 'UNett'; did you mean UNet?"),
    ("fit", f"{FIT} --network.width wide", "--network.width: expected a whole number, got 'wide'"),
    ("fit", f"{FIT} --network UNet --network.widht 8", "expected options that there are, got --network.widht; did you mean --network.width?"),
    ("fit", f"{FIT} --transform Wavelets", "one of Autoencoder, MeshAutoencoder, WaveletTransform, got 'Wavelets'; did you mean WaveletTransform?"),
    ("fit", f"{FIT} --transform WaveletTransform --transform.wavelet db99", "got 'db99'; did you mean db9"),
    ("fit", f"{FIT} --recipe 3", "--recipe: expected a YAML file or an option of this group, got '3'; --help tells them"),
    ("fit", f"{FIT} --training.seconds fast", "--training.seconds: expected a number, got 'fast'"),
    ("fit", f"{FIT} extra.nc", "expected options alone, got 'extra.nc'; quote patterns and write lists as '[a, b]'"),
    ("forecast", f"{FORECAST} --lead 2.5", "--lead: expected a whole number, got '2.5'"),
    ("forecast", "--lead --prior a", "--lead: expected a value after it, got none"),
    ("inspect", "", "expected path, got none; --help tells all options"),
    ("infer", "--prior a --out OUT", "expected --sensors, got none; --help tells all options"),
]


@pytest.mark.parametrize(("verb", "words", "said"), CASES)
def test_a_wrong_option_is_one_sentence(tmp_path, verb, words, said):
    with untouched(tmp_path):
        assert said in refuses(verb, words.replace("OUT", str(tmp_path / "out")))


def test_a_wrong_settings_file_is_one_sentence(tmp_path):
    for name, text, said in (
        ("broken.yaml", "out: [\n", "--config: expected a YAML file of options, got something else"),
        ("list.yaml", "- 1\n", "--config: expected a YAML file of options, got something else"),
        ("odd.yaml", "memberz: 3\n", "expected options that there are, got --memberz; did you mean --members?"),
    ):
        path = tmp_path / name
        path.write_text(text)
        assert said in refuses("forecast", "--config", path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(bytes(range(128, 256)))
    assert "--config: expected a YAML file of options, got something else" in refuses("forecast", "--config", binary)
    assert "none.yaml, which is none; --print_config > FILE.yaml" in refuses("forecast", "--config", tmp_path / "none.yaml")
    assert "which is none" in refuses("forecast", "--config", tmp_path)


def test_what_is_not_known_comes_out_on_one_line():
    assert sentence('Parser key "out":\n  Something\n    new', fit, ()) == "--out: Something new"
    assert sentence("Something\nnew", fit, ()) == "Something new"


@pytest.mark.parametrize("name", ["Burger", "VectorBurger"])
def test_a_law_that_is_none_is_told_the_nearest(name, tmp_path):
    """In a process of its own: the list is of the classes that are loaded, and other tests load more than the command does."""
    code = "import sys; sys.argv[0] = 'physdiff'; from physdiff.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "generate", "--pde", name, "--grid.shape", "16", "--out", str(tmp_path / "out.nc")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert "--pde: expected one of AdvectionAdsorption, AdvectionDiffusion, " in done.stderr
    assert f", got '{name}'; did you mean {name}s?" in done.stderr
