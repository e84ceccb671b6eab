"""docs/models.md lists every model as the registry has it.

``python -m tests.docs_examples.test_models_page`` prints the table.
"""

import itertools
import pathlib
import re
import shlex

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from deepscan.models.catalog import load_builtin
from deepscan.recipe import Augment
from deepscan.training.settings import settle

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
ROWS = {row.split("`")[1]: row for row in re.findall(r"^\| `.*\|$", PAGE.split("## ")[0], re.MULTILINE)}
SETTINGS = re.findall(r"--model ([\w-]+)((?:\\\n|[^\n])*)", PAGE)
ORDER = ("image", "video", "audio", "av", "forensic")
COUNTING = {"statistics", "rich-statistics", "rich-residual", "clip-statistics"}
"""Models whose work is counting patterns, which is no multiplication."""


def short(number):
    """Three digits and a unit."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(int(number))


def build(spec, config):
    """The module, without numbers where shapes are enough to run it."""
    with torch.device("cpu" if spec.name in COUNTING else "meta"):
        return spec.build(config).eval()


def run(module, prep):
    """What the module says of one Example."""
    device = next(module.parameters()).device
    inputs = {
        name: torch.ones((1, *column.shape), dtype=getattr(torch, column.dtype), device=device)
        for name, column in prep.inputs.items()
    }
    with torch.inference_mode():
        return module(**inputs)


def work(spec):
    if spec.name in COUNTING:
        return "counts"
    with FlopCounterMode(display=False) as counter:
        run(build(spec, spec.config()), spec.prep)
    return short(counter.get_total_flops() / 2)


def reads(spec):
    prep = spec.prep
    if hasattr(prep, "sampling"):
        parts = f"{prep.segments} times " if prep.segments > 1 else ""
        return f"face, {parts}{prep.sampling.count} frames, {prep.size_px} px"
    if hasattr(prep, "region"):
        return f"{prep.region}, {prep.size_px} px"
    if hasattr(prep, "front_end"):
        return f"{prep.window_s:g} s, {prep.front_end.kind}"
    if hasattr(prep, "analyzers"):
        return "measurements of all analyzers"
    return f"mouth and sound, {prep.window_s:g} s"


def row(spec, work):
    parameters = sum(each.numel() for each in build(spec, spec.config()).parameters())
    start = "yes" if spec.imagenet else ""
    cells = (f"`{spec.name}`", spec.modality, reads(spec), short(parameters), work, start, spec.summary)
    return "| " + " | ".join(cells) + " |"


def listed():
    """The built-in models by modality; a plug-in of another test is none of them."""
    built_in = [spec for spec in load_builtin() if spec.build.__module__.startswith("deepscan.")]
    return sorted(built_in, key=lambda spec: ORDER.index(spec.modality))


@pytest.mark.parametrize("spec", listed(), ids=lambda spec: spec.name)
def test_a_model_has_its_row(spec):
    found = ROWS[spec.name]
    assert found == row(spec, found.split(" | ")[4])


@pytest.mark.slow
@pytest.mark.parametrize("spec", listed(), ids=lambda spec: spec.name)
def test_a_row_tells_the_work(spec):
    assert ROWS[spec.name].split(" | ")[4] == work(spec)


def test_no_row_is_left_of_a_model_that_went():
    assert set(ROWS) == {spec.name for spec in listed()}


def test_the_page_shows_settings():
    assert len(SETTINGS) >= 5


@pytest.mark.parametrize(("name", "rest"), SETTINGS, ids=[name for name, _ in SETTINGS])
def test_a_documented_setting_is_one_and_the_model_runs_with_it(name, rest):
    words = shlex.split(rest.replace("\\\n", " "))
    overrides = tuple(after for word, after in itertools.pairwise(words) if word == "--set")
    settings = settle(load_builtin().get(name), overrides)
    module = build(settings.spec, settings.model)
    assert run(module, settings.prep)["logit"].shape == (1,)


def test_every_level_of_augmentation_is_told():
    told = re.findall(r"^\| `(\w+)` \| [^|]*\| [^|]*\| [^|]*\| [^|]*\|$", PAGE, re.MULTILINE)
    assert [level for level in told if level not in ROWS] == list(
        Augment.__dataclass_fields__["level"].type.__args__
    )


if __name__ == "__main__":
    import sys

    sys.stdout.write("".join(f"{row(spec, work(spec))}\n" for spec in listed()))
