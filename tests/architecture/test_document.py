"""docs/architecture.md tells of the code as it is."""

import itertools
import re

import pytest
from survey import ROOT
from test_imports import HEIGHT, LAYERS, RAY_MODULES

TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
DRAWING = TEXT.split("```mermaid")[1].split("```")[0]


def quoted_files():
    quoted = re.findall(r"`([\w./-]+(?:/|\.py|\.json|\.md))`", TEXT)
    return sorted(set(quoted) - {"bundle.json"})


@pytest.mark.parametrize("name", quoted_files())
def test_every_file_that_it_names_exists(name):
    beside = [ROOT, ROOT / "deepscan", ROOT / "deepscan" / "modalities"]
    assert any((folder / name).exists() for folder in beside)


def test_it_names_files_at_all():
    assert len(quoted_files()) > 20


def test_the_drawing_has_the_layers_in_their_order(modules):
    drawn = re.findall(r'^  (\w+)\["([^"<:]+)', DRAWING, re.MULTILINE)
    edges = re.sub(r"\n  cluster -->", " -->", DRAWING[DRAWING.index("words --> ") :])
    assert [name for name, _ in drawn] == re.findall(r"\w+", edges)
    units = [[unit.strip() for unit in text.split("·")] for _, text in drawn]
    heights = [[HEIGHT[unit] for unit in line] for line in units]
    assert all(max(low) < min(high) for low, high in itertools.pairwise(heights))
    existing = {module.unit for module in modules.values()} - {"deepscan", "jobs"}
    assert {unit for line in units for unit in line} == existing & set().union(*LAYERS)


def test_it_names_every_adapter_of_ray(modules):
    sentence = TEXT[TEXT.index("Ray is imported by its adapters only") :].split("\n\n")[0]
    adapters = {name for name in RAY_MODULES if name in modules}
    assert [n for n in sorted(adapters) if n.rpartition(".")[2] not in sentence] == []
