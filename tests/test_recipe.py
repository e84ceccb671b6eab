import dataclasses

import pytest

from deepscan import config
from deepscan.errors import ConfigError
from deepscan.recipe import Augment, Loss, Optimizer, Pseudo, Recipe, Schedule


def test_the_defaults_are_valid():
    assert Recipe().epochs >= 1


@pytest.mark.parametrize(
    ("setting", "value", "allowed"),
    [
        ("epochs", 0, "at least 1"),
        ("batch_size", 0, "at least 1"),
        ("accumulate", 0, "at least 1"),
        ("ema_decay", -0.1, "in [0, 1)"),
        ("ema_decay", 1.0, "in [0, 1)"),
        ("gate", -0.01, "in [0, 1)"),
        ("gate", 1.0, "in [0, 1)"),
        ("optimizer.lr", 0.0, "above 0"),
        ("optimizer.lr", -1e-3, "above 0"),
        ("schedule.warmup", -0.01, "in [0, 1)"),
        ("schedule.warmup", 1.0, "in [0, 1)"),
        ("loss.label_smoothing", -0.1, "in [0, 1)"),
        ("loss.label_smoothing", 1.0, "in [0, 1)"),
        ("augment.crop", 0.0, "in (0, 1]"),
        ("augment.crop", 1.5, "in (0, 1]"),
        ("optimizer.sam_rho", -0.1, "at least 0"),
        ("loss.mask_weight", -1.0, "at least 0"),
        ("pseudo.share", -0.1, "in [0, 1]"),
        ("pseudo.share", 1.1, "in [0, 1]"),
        ("freeze_epochs", 10, "below epochs (10)"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_what_is_allowed(setting, value, allowed):
    with pytest.raises(ConfigError) as caught:
        config.override(Recipe(), [f"{setting}={value}"])
    assert str(caught.value) == f"Setting {setting!r} must be {allowed}, not {value}."


@pytest.mark.parametrize("name", ["optimizer.lr", "schedule.warmup", "augment.crop", "ema_decay"])
def test_not_a_number_is_out_of_every_range(name):
    with pytest.raises(ConfigError, match="not nan"):
        config.override(Recipe(), [f"{name}=NaN"])


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 1},
        {"batch_size": 1, "accumulate": 1},
        {"ema_decay": 0.9999},
        {"optimizer": Optimizer(lr=1e-9)},
        {"schedule": Schedule(warmup=0.0)},
        {"loss": Loss(label_smoothing=0.999)},
        {"augment": Augment(crop=1.0)},
        {"epochs": 3, "freeze_epochs": 2},
    ],
)
def test_the_ends_of_the_ranges_are_allowed(changes):
    recipe = dataclasses.replace(Recipe(), **changes)
    assert {name: getattr(recipe, name) for name in changes} == changes


@pytest.mark.parametrize(
    "assignment",
    ["optimizer.name=adam", "schedule.name=linear", "loss.name=hinge", "amp=fp8", "augment.level=wild"],
)
def test_an_unknown_choice_is_refused_with_the_choices(assignment):
    with pytest.raises(ConfigError, match=r"Input should be '.*' or '"):
        config.override(Recipe(), [assignment])


def test_a_recipe_cannot_be_changed_behind_a_runs_back():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe().epochs = 5
    with pytest.raises(AttributeError):
        Recipe().optimizer.lr = 1.0


def test_every_setting_is_described():
    parts = [Recipe, *(type(v) for v in vars_of(Recipe()).values() if dataclasses.is_dataclass(v))]
    undescribed = [
        f"{part.__name__}.{field.name}"
        for part in parts
        for field in dataclasses.fields(part)
        if f"        {field.name}: " not in f"    {part.__doc__}"
    ]
    assert len(parts) == 9
    assert undescribed == []


def vars_of(settings):
    return {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}


def test_pairs_need_batches_of_two():
    Recipe(batch_size=2, pseudo=Pseudo(kind="any"))
    Recipe(batch_size=1, pseudo=Pseudo(kind="any", share=0.0))
    with pytest.raises(ConfigError, match="'batch_size' must be at least 2 with pseudo-fakes"):
        Recipe(batch_size=1, pseudo=Pseudo(kind="any"))


@pytest.mark.parametrize(
    ("settings", "counts"),
    [
        (Pseudo(), (9, 4)),
        (Pseudo(kind="any"), (5, 8)),
        (Pseudo(kind="any", share=0.5), (7, 6)),
        (Pseudo(kind="any", share=0.0), (9, 4)),
    ],
)
def test_classes_are_counted_with_the_pseudo_fakes(settings, counts):
    assert settings.counts(9, 4) == counts
