import re
from pathlib import Path

import pytest
import torch

from deepscan.models import MODELS, catalog
from deepscan.models.catalog import load_builtin, load_plugin
from deepscan.objectives import classification

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "add-a-model.md").read_text()


@pytest.fixture
def spec(tmp_path, monkeypatch):
    """The model of the page, loaded as a user would, and forgotten afterwards."""
    load_builtin()
    monkeypatch.setattr(MODELS, "_items", dict(MODELS._items))
    monkeypatch.setattr(catalog, "_loaded", {})
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "my_model.py").write_text(example)
    (spec,) = load_plugin(tmp_path / "my_model.py")
    return spec


def test_the_example_can_be_trained(spec):
    torch.manual_seed(0)
    module, column = spec.build(spec.config()), spec.prep.columns["pixels"]
    pixels = torch.randint(0, 256, (4, *column.shape), dtype=torch.uint8)
    batch = {"pixels": pixels, "label": torch.tensor([0.0, 1.0, 0.0, 1.0])}
    results = classification(spec.prep.inputs, spec.recipe.loss, (2, 2))(module, batch)
    results["loss"].backward()
    assert results["logit"].shape == (4,)
    assert results["logit"].dtype == torch.float32
    assert all(p.grad.any() for p in module.parameters())


def test_the_page_names_files_and_classes_that_exist():
    files = re.findall(r"`(deepscan/[\w/.]+)`|(tests/[\w/.]+)", PAGE)
    assert len(files) >= 3
    assert all((ROOT / (inner or outer)).exists() for inner, outer in files)
