"""docs/pseudo-fakes.md tells of the pseudo-fakes as the modalities have them."""

import pathlib
import re

import pytest

from deepscan.datasets.pseudo import PseudoFakes
from deepscan.modalities.catalog import load_builtin as load_modalities
from deepscan.models.catalog import load_builtin
from deepscan.recipe import Pseudo, Recipe
from deepscan.training.settings import settle

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "pseudo-fakes.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^deepscan train --model ([\w-]+) (.*)$", PAGE, re.MULTILINE)


def test_every_kind_has_its_row():
    rows = re.findall(r"^\| `([\w-]+)` \| (\w+) \| (.*) \|$", PAGE, re.MULTILINE)
    assert rows == [
        (kind, modality.name, forgery.summary)
        for modality in load_modalities()
        for kind, forgery in modality.forgeries.items()
    ]


@pytest.mark.parametrize(("model", "rest"), COMMANDS)
def test_a_documented_command_makes_pseudo_fakes(model, rest):
    settings = settle(load_builtin().get(model), tuple(re.findall(r"--set (\S+)", rest)))
    modality = load_modalities().get(settings.spec.modality)
    assert PseudoFakes.of(modality, settings.prep, settings.recipe.pseudo, 0) is not None


def test_documented_defaults_are_those_of_the_code():
    assert len(COMMANDS) == 6
    told = dict(re.findall(r"`recipe\.([\w.]+)` \(default ([\d.]+)\)", PAGE))
    assert told == {"pseudo.share": "1", "loss.mask_weight": "1"}
    assert (Pseudo().share, Recipe().loss.mask_weight) == (1, 1)
    assert "`recipe.learns_from=both` (default)" in PAGE
    assert Recipe().learns_from == "both"
