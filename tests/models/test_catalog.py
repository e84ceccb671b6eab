import subprocess
import sys

import pytest

from deepscan.errors import ConfigError
from deepscan.models import MODELS, catalog
from deepscan.models.catalog import load_builtin, load_plugin

PLUGIN = """
import dataclasses
from torch import nn
from deepscan.modalities.image import ImagePrep
from deepscan.models import ModelSpec, register

@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    width: int = 8

register(ModelSpec(name="{name}", modality="image", summary="a test", config=Config,
                   build=lambda config: nn.Identity(), prep=ImagePrep(size_px=64)))
"""


@pytest.fixture(autouse=True)
def forget_plugins(monkeypatch):
    load_builtin()
    monkeypatch.setattr(MODELS, "_items", dict(MODELS._items))
    monkeypatch.setattr(catalog, "_loaded", {})


@pytest.fixture
def write(tmp_path):
    def write(text, name="my_model.py"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_builtin_models_are_those_of_the_folder():
    expected = {"cnn", "efficientnet-b0", "efficientnet-b4", "mobilenet-v2", "resnet-50", "xception"}
    assert expected <= set(load_builtin().names())


def test_loading_builtin_models_twice_is_harmless():
    assert load_builtin().names() == load_builtin().names()


def test_the_package_itself_registers_nothing_and_leaves_torchvision_alone():
    program = (
        "import sys; from deepscan.models import MODELS;"
        "assert not len(MODELS); assert 'torchvision' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_plugin_registers_its_models_beside_the_builtin_ones(write):
    specs = load_plugin(write(PLUGIN.format(name="mine")))
    assert [spec.name for spec in specs] == ["mine"]
    assert MODELS.get("mine") is specs[0]
    assert "cnn" in MODELS


def test_loading_a_plugin_or_its_copy_again_is_harmless(write):
    first = load_plugin(write(PLUGIN.format(name="mine")))
    assert load_plugin(write(PLUGIN.format(name="mine"))) == first
    assert load_plugin(write(PLUGIN.format(name="mine"), "copy.py")) == first


def test_absent_plugin_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"No plug-in at .*nowhere\.py"):
        load_plugin(tmp_path / "nowhere.py")


def test_plugin_must_be_a_python_file(write):
    with pytest.raises(ConfigError, match=r"Python file"):
        load_plugin(write(PLUGIN, "model.txt"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("def broken(:", "SyntaxError"),
        ("undefined_name", "NameError"),
        ("1 / 0", "ZeroDivisionError"),
        ("raise RuntimeError('no GPU')", "RuntimeError: no GPU"),
    ],
)
def test_plugin_that_does_not_import_is_refused_with_its_own_problem(write, text, problem):
    with pytest.raises(ConfigError, match=f"does not import: {problem}"):
        load_plugin(write(text))


def test_plugin_that_registers_nothing_is_refused_every_time(write):
    for _ in range(2):
        with pytest.raises(ConfigError, match="registers no model"):
            load_plugin(write("x = 1"))


def test_plugin_cannot_take_the_name_of_another_model(write):
    with pytest.raises(ConfigError, match="'cnn' is registered already"):
        load_plugin(write(PLUGIN.format(name="cnn")))
