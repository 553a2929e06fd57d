"""Options from signatures: flags, YAML files, both, and what is wrong with them."""

from __future__ import annotations

import pytest
import yaml

from physdiff.base.errors import InputError
from physdiff.cli.forecast import forecast
from physdiff.cli.parse import command_line, parsed
from physdiff.networks.unet import UNet
from physdiff.pdes.burgers import Burgers
from physdiff.transforms.wavelet import WaveletTransform
from tests.cli.command import works

SNIPPETS = [
    "inspect era5.nc",
    "generate --pde Burgers --pde.viscosity 0.01 --grid.shape 256 --samples 1000 --out burgers.h5",
    "fit --data burgers.h5 --transform WaveletTransform --network UNet --network.width 64 --max_epochs 50 --out burgers.prior",
    "forecast --prior burgers.prior --initial burgers_test.h5 --lead 50 --members 32 --out forecast.nc",
    "infer --prior burgers.prior --sensors stations.csv --std 0.1 --members 256 --out posterior.nc",
    "evaluate --forecast forecast.nc --truth burgers_test.h5 --out report/",
    "demo",
]


@pytest.mark.parametrize("line", SNIPPETS)
def test_the_commands_of_the_design_parse(line):
    verb, *words = line.split()
    function, options = parsed(verb, words)
    assert function.__name__ == verb
    for flag, value in zip(words, words[1:], strict=False):
        if flag.startswith("--") and flag[2:] in options and isinstance(options[flag[2:]], str | int):
            assert str(options[flag[2:]]) == value


def test_classes_come_out_built():
    _, options = parsed("generate", "--pde Burgers --pde.viscosity 0.01 --grid.shape [8,12] --grid.extent [1.0,2.0] --out a".split())
    assert isinstance(options["pde"], Burgers) and options["pde"].viscosity == 0.01
    assert options["grid"].shape == (8, 12) and options["grid"].extent == (1.0, 2.0) and all(options["grid"].periodic)
    _, options = parsed("fit", "--data a --out b --transform WaveletTransform --transform.wavelet db4 --network UNet --network.width 64".split())
    assert isinstance(options["transform"], WaveletTransform) and options["transform"].wavelet == "db4"
    network = options["network"](2, 3, ndim=1, periodic=True)
    assert isinstance(network, UNet) and network._saved_arguments["width"] == 64


def test_several_files_are_a_list():
    assert parsed("inspect", ["a.nc", "b.nc"])[1]["path"] == ["a.nc", "b.nc"]
    assert parsed("inspect", ["a.nc"])[1]["path"] == "a.nc"
    for words in ("--data+ a --data+ b", "--data [a,b]"):
        assert parsed("fit", [*words.split(), "--out", "c"])[1]["data"] == ["a", "b"]
    assert parsed("fit", "--data a --out b --select.variables t2m".split())[1]["select"].variables == "t2m"


def test_a_yaml_file_and_flags_after_it(tmp_path):
    """The printed settings are a complete file; read back they are the same settings, and later flags win."""
    words = "--prior p --initial i --out o --lead 3 --select.stop 2019-03-15 --members 7".split()
    text = works("forecast", *words, "--print_config")
    settings = yaml.safe_load(text)
    assert settings["lead"] == 3 and settings["every"] == 1 and settings["select"] == {"start": None, "stop": "2019-03-15", "region": None}
    path = tmp_path / "run.yaml"
    path.write_text(text)
    function, options = parsed("forecast", ["--config", str(path)])
    assert function is forecast and options == parsed("forecast", words)[1]
    assert parsed("forecast", ["--config", str(path), "--lead", "5"])[1] == {**options, "lead": 5}


@pytest.mark.parametrize("verb", ["fit", "generate", "infer", "evaluate", "demo", "inspect"])
def test_every_verb_prints_its_settings(verb):
    given = {
        "fit": "--data a --out b --network.width 64 --recipe.levels 2 --training.roll x",
        "generate": "--pde NavierStokes --pde.viscosity 0.1 --grid.shape [8,8] --out a",
        "infer": "--prior a --sensors b --out c --std 0.3",
        "evaluate": "--forecast a --truth b --out c",
        "demo": "--size.points 32",
        "inspect": "a",
    }
    assert isinstance(yaml.safe_load(works(verb, given[verb], "--print_config")), dict)


def test_a_wrong_value_inside_a_class_is_the_class_own_error():
    with pytest.raises(InputError, match=r"Burgers viscosity: expected values that are not negative and finite, got -1\.0"):
        parsed("generate", "--pde Burgers --pde.viscosity -1 --grid.shape 8 --out a".split())
    with pytest.raises(InputError, match="Recipe anomaly: expected one of all, auto, hour, none; got 'daily'"):
        parsed("fit", "--data a --out b --recipe.anomaly daily".split())


def test_the_command_line_can_be_typed_again(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/usr/bin/physdiff", "inspect", "my file.nc"])
    assert command_line() == "physdiff inspect 'my file.nc'"


def test_help_tells_of_the_other_functions_of_a_verb():
    text = works("diagnose", "--help")
    assert "physdiff diagnose --sensors --help: Check whether a posterior sampler can be trusted" in " ".join(text.split())
    other = works("diagnose", "--sensors", "--help")
    assert "--trials.cases" in other and "--sensors --help" not in other
    assert "--network" in works("fit", "--folds", "--help") and "--folds" in works("fit", "--folds", "4", "--help")
