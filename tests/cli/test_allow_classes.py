"""A configuration file from a stranger names classes of physdiff only: nothing else is imported, let alone run, unless it is allowed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from jsonargparse import set_parsing_settings
from jsonargparse._common import parsing_settings

from physdiff.base.errors import InputError
from physdiff.cli.parse import parsed

PAYLOAD = """
from pathlib import Path
from physdiff import UNet
Path(__file__).with_name("ran").touch()
class Net(UNet):
    pass
"""


@pytest.fixture
def stranger(tmp_path, monkeypatch) -> Path:
    """A module beside the configuration, which leaves a mark when it is imported, and a configuration that names it."""
    (tmp_path / "payload.py").write_text(PAYLOAD)
    (tmp_path / "a.yaml").write_text("data: a.nc\nout: b\nnetwork:\n  class_path: payload.Net\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = dict(parsing_settings)
    yield tmp_path
    parsing_settings.clear()
    parsing_settings.update(before)
    sys.modules.pop("payload", None)


def test_its_code_does_not_run(stranger) -> None:
    with pytest.raises(InputError, match="expected classes of physdiff, got payload.Net; --allow-classes takes any, and runs their code"):
        parsed("fit", ["--config", str(stranger / "a.yaml")])
    with pytest.raises(InputError, match="got payload.Net"):
        parsed("fit", "--data a --out b --network payload.Net".split())
    assert not (stranger / "ran").exists() and "payload" not in sys.modules


@pytest.mark.parametrize("path", ["os.system", "subprocess.Popen", "builtins.eval", "torch.load", "tests.cli.command.works"])
def test_nor_does_that_of_libraries(stranger, path) -> None:
    (stranger / "b.yaml").write_text(f"data: a\nout: b\nnetwork:\n  class_path: {path}\n  init_args:\n    args: [touch {stranger / 'ran'}]\n")
    with pytest.raises(InputError, match=f"expected classes of physdiff, got {path}"):
        parsed("fit", ["--config", str(stranger / "b.yaml")])
    assert not (stranger / "ran").exists()


def test_own_classes_are_found_and_others_can_be_allowed(stranger) -> None:
    (stranger / "c.yaml").write_text("data: a\nout: b\nnetwork:\n  class_path: physdiff.networks.fno.FNO\n  init_args: {width: 8}\n")
    parsed("fit", ["--config", str(stranger / "c.yaml")])
    parsed("fit", ["--config", str(stranger / "a.yaml"), "--allow-classes"])
    assert (stranger / "ran").exists()
    with pytest.raises(InputError, match="got payload.Net"):  # only for that call
        parsed("fit", ["--config", str(stranger / "a.yaml")])


def test_settings_of_others_stay(stranger) -> None:
    """A program of the user's that parses with jsonargparse itself keeps its own rules."""
    set_parsing_settings(import_path_denylist=["math"])
    before = dict(parsing_settings)
    parsed("fit", "--data a --out b".split())
    assert dict(parsing_settings) == before
