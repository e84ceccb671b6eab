"""What may be searched, and what is refused before anything starts."""

import json

import pytest

from deepscan.errors import ConfigError
from deepscan.models.catalog import load_builtin
from deepscan.recipe import Choice, Range
from deepscan.training.settings import as_overrides, read_recipe, settle
from deepscan.tuning.space import Space, read_space, space_of

FIXED = ("prep.finder=haar",)
LR = "recipe.optimizer.lr"


@pytest.fixture
def spec():
    return load_builtin().get("statistics")


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "space.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize("name", [spec.name for spec in load_builtin() if spec.search])
def test_the_space_of_every_model_names_settings_that_take_its_values(name):
    spec = load_builtin().get(name)
    assert space_of(spec, FIXED if "finder" in dir(spec.prep) else (), None).ranges == spec.search


def test_a_file_adds_changes_and_takes_out(spec, write):
    path = write({LR: {"low": 1e-4, "high": 1e-2, "log": True}, "recipe.epochs": None, "recipe.amp": ["off"]})
    ranges = space_of(spec, FIXED, path).ranges
    assert ranges[LR] == Range(low=1e-4, high=1e-2, log=True)
    assert ranges["recipe.amp"] == Choice(values=("off",))
    assert "recipe.epochs" in spec.search
    assert "recipe.epochs" not in ranges
    assert ranges["model.dropout"] == spec.search["model.dropout"]


def test_what_is_fixed_is_not_searched(spec):
    assert LR in space_of(spec, FIXED, None).ranges
    assert LR not in space_of(spec, (*FIXED, f"{LR}=0.1"), None).ranges


def test_a_range_of_a_whole_number_is_known_by_its_default(spec, write):
    path = write(
        {
            "recipe.batch_size": {"low": 4, "high": 64, "log": True},
            "recipe.ema_decay": {"low": 0, "high": 0.9},
        }
    )
    space = space_of(spec, FIXED, path)
    assert "recipe.batch_size" in space.whole
    assert not {LR, "recipe.ema_decay"} & space.whole


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[1]", "must be an object"),
        ({LR: 0.1}, "give a list of values"),
        ({LR: {"low": 1}}, "Incomplete Range"),
        ({LR: {"low": 1, "hihg": 2}}, "Did you mean 'high'"),
        ({LR: {"low": 2, "high": 1}}, "low must be below high"),
        ({LR: {"low": 0, "high": 1, "log": True}}, "above 0 for log"),
        ({LR: []}, "no values"),
        ({LR: [-1]}, "must be above 0"),
        ({"recipe.optimizer.rate": [1]}, "Unknown setting"),
        ({"prep.size_px": [64, 128]}, "all trials share"),
        ({"epochs": [1]}, "is no setting"),
        (dict.fromkeys(load_builtin().get("statistics").search), "nothing to search"),
    ],
)
def test_a_wrong_space_is_refused_with_a_reason(spec, write, content, message):
    with pytest.raises(ConfigError, match=message):
        space_of(spec, FIXED, write(content))


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_space(tmp_path / "none.json")


SPACE = Space(
    ranges={
        "a": Range(low=1, high=2),
        "n": Range(low=4, high=8),
        "c": Choice(values=("x", "y")),
        "b": Choice(values=(True, False)),
    },
    whole=frozenset({"n"}),
)
POINT = {"a": 1.5, "n": 5, "c": "x", "b": True}


@pytest.mark.parametrize(
    ("change", "within"),
    [
        ({}, True),
        ({"a": 2}, True),
        ({"a": 2.1}, False),
        ({"n": 3}, False),
        ({"c": "z"}, False),
        ({"b": 1}, False),
        ({"d": 1}, False),
        ({"a": "1.5"}, False),
    ],
)
def test_a_point_is_within_where_every_value_is(change, within):
    assert SPACE.holds(POINT | change) is within


def test_a_point_that_lacks_a_setting_is_not_within():
    assert not SPACE.holds({"a": 1.5})


def test_numbers_are_moved_to_the_ends_of_their_ranges_and_stay_whole():
    moved = SPACE.clipped({"a": 2.4, "n": 3.2, "c": "y", "b": False})
    assert moved == {"a": 2, "n": 4, "c": "y", "b": False}
    assert isinstance(moved["n"], int)
    assert SPACE.holds(SPACE.clipped(POINT))


@pytest.mark.parametrize(
    "values",
    [
        {"recipe.optimizer.lr": 0.5, "recipe.loss.name": "focal", "model.dropout": 0.25},
        {"recipe": {"optimizer": {"lr": 0.5}, "loss": {"name": "focal"}}, "model": {"dropout": 0.25}},
    ],
)
def test_a_recipe_file_is_dotted_or_nested(spec, write, values):
    settings = settle(spec, (*FIXED, *read_recipe(write(values))))
    assert settings.recipe.optimizer.lr == 0.5
    assert settings.recipe.loss.name == "focal"
    assert settings.model.dropout == 0.25


def test_a_setting_on_the_line_comes_after_that_of_the_recipe_file(spec, write):
    given = (*FIXED, *read_recipe(write({"recipe.epochs": 3})), "recipe.epochs=4")
    assert settle(spec, given).recipe.epochs == 4


@pytest.mark.parametrize("content", ["no json", "[]"])
def test_a_file_that_is_no_recipe_is_refused(write, content):
    with pytest.raises(ConfigError, match="The recipe"):
        read_recipe(write(content))


def test_overrides_keep_words_and_numbers_apart(spec):
    texts = as_overrides({"recipe.amp": "off", "recipe.stop.target_auc": None, "recipe.epochs": 7})
    assert texts == ('recipe.amp="off"', "recipe.stop.target_auc=null", "recipe.epochs=7")
    assert settle(spec, (*FIXED, *texts)).recipe.amp == "off"
