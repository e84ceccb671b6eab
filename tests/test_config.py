import dataclasses
import json
from typing import Literal

import pytest

from deepscan import config
from deepscan.errors import ConfigError
from deepscan.recipe import Recipe


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Inner:
    rate: float = 0.5
    mode: Literal["slow", "fast"] = "slow"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Outer:
    size_px: int
    name: str = "plain"
    flag: bool = False
    limit: float | None = None
    sides: tuple[int, ...] = (1, 2)
    span: tuple[float, float] = (0.0, 1.0)
    inner: Inner = Inner()
    spare: Inner | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Twin:
    size_px: int


FULL = Outer(
    size_px=8,
    name="other",
    flag=True,
    limit=2.5,
    sides=(3, 4, 5),
    span=(0.1, 0.9),
    inner=Inner(rate=0.1, mode="fast"),
    spare=Inner(rate=0.2),
)


def refusal(*assignments, settings=FULL):
    with pytest.raises(ConfigError) as caught:
        config.override(settings, assignments)
    return str(caught.value)


@pytest.mark.parametrize("settings", [FULL, Outer(size_px=1), Recipe()])
def test_settings_survive_the_way_through_json(settings):
    text = json.dumps(config.to_dict(settings))
    assert config.from_dict(type(settings), json.loads(text)) == settings


def test_a_dict_holds_only_what_json_knows():
    values = config.to_dict(FULL)
    assert values == json.loads(json.dumps(values))
    assert values["sides"] == [3, 4, 5]
    assert values["inner"] == {"rate": 0.1, "mode": "fast"}


def test_lists_of_json_become_tuples_again():
    settings = config.from_dict(Outer, {"size_px": 1, "sides": [7], "span": [0, 2]})
    assert (settings.sides, settings.span) == ((7,), (0.0, 2.0))
    assert isinstance(settings.sides, tuple)


def test_absent_fields_take_their_defaults():
    assert config.from_dict(Outer, {"size_px": 3, "inner": {"mode": "fast"}}) == Outer(
        size_px=3, inner=Inner(mode="fast")
    )


def test_nested_settings_may_be_given_as_they_are():
    assert config.from_dict(Outer, {"size_px": 3, "inner": Inner(rate=9.0)}).inner.rate == 9.0


def test_a_required_field_must_be_given():
    with pytest.raises(ConfigError, match="size_px"):
        config.from_dict(Outer, {"name": "x"})


@pytest.mark.parametrize(
    ("values", "where", "complaint"),
    [
        ({"size_px": "wide"}, "", "'size_px' cannot be 'wide'"),
        ({"size_px": 1, "sides": [1, "two"]}, "", "'sides' cannot be"),
        ({"size_px": 1, "span": [1.0]}, "", "'span' cannot be"),
        (
            {"size_px": 1, "inner": {"mode": "medium"}},
            "",
            "'inner.mode' cannot be 'medium'.*'slow' or 'fast'",
        ),
        ({"size_px": 1, "inner": {"rat": 1}}, "run.", "'run.inner.rat'.*'rate'"),
        ({"size_px": 1, "inner": 5}, "", "'inner' cannot be 5"),
        ({"size_px": 1, "spare": "none"}, "", "'spare' cannot be 'none'"),
        ({"siz_px": 1}, "", r"'siz_px'\. Did you mean 'size_px'\? Known: size_px, name"),
        ({"zzz": 1}, "", r"'zzz'\. Known: size_px"),
    ],
)
def test_a_wrong_value_or_name_is_refused_with_its_whole_path(values, where, complaint):
    with pytest.raises(ConfigError, match=complaint):
        config.from_dict(Outer, values, where)


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("size_px=9", {"size_px": 9}),
        (" size_px = 9 ", {"size_px": 9}),
        ("name=free text", {"name": "free text"}),
        ('name="7"', {"name": "7"}),
        ("name=a=b", {"name": "a=b"}),
        ("flag=false", {"flag": False}),
        ("flag=False", {"flag": False}),
        ("limit=null", {"limit": None}),
        ("limit=None", {"limit": None}),
        ("limit=1e-4", {"limit": 1e-4}),
        ("sides=[6]", {"sides": (6,)}),
        ("inner.rate=0.75", {"inner": Inner(rate=0.75, mode="fast")}),
        ("inner.mode=slow", {"inner": Inner(rate=0.1, mode="slow")}),
        ("spare=None", {"spare": None}),
        ("spare.rate=4", {"spare": Inner(rate=4.0)}),
    ],
)
def test_an_override_changes_what_it_names_and_nothing_else(assignment, expected):
    assert config.override(FULL, [assignment]) == dataclasses.replace(FULL, **expected)


def test_the_last_of_several_overrides_wins_and_the_original_stays():
    assert config.override(FULL, ["size_px=1", "size_px=2", "inner.rate=3"]).size_px == 2
    assert FULL.size_px == 8


def test_no_override_is_no_change():
    assert config.override(FULL, []) == FULL


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("size_px", ["'size_px' is no assignment", "key=value"]),
        ("siz_px=1", ["'siz_px'", "Did you mean 'size_px'?", "Known: size_px"]),
        ("iner.rate=1", ["'iner.rate'", "Did you mean 'inner'?"]),
        ("inner.mod=fast", ["'inner.mod'", "Did you mean 'mode'?", "Known: rate, mode"]),
        ("inner.mode=quick", ["'inner.mode' cannot be 'quick'", "'slow' or 'fast'"]),
        ("size_px=1.5", ["'size_px' cannot be 1.5"]),
        ("size_px=None", ["'size_px' cannot be None"]),
        ("name=7", ["'name' cannot be 7"]),
        ("size_px.deeper=1", ["'size_px.deeper'"]),
        ("=5", ["''", "Known: size_px"]),
    ],
)
def test_a_wrong_override_is_refused_with_a_way_out(assignment, words):
    message = refusal(assignment)
    assert [word for word in words if word not in message] == []


def test_an_override_is_checked_against_the_other_settings():
    assert "freeze_epochs" in refusal("freeze_epochs=10", settings=Recipe())


def leaves(values, prefix=""):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key


OTHER_VALUES = {
    "size_px": 9,
    "name": "x",
    "flag": "false",
    "limit": 7,
    "sides": "[1]",
    "span": "[0.1, 0.8]",
    "inner.rate": 9,
    "inner.mode": "slow",
    "spare.rate": 9,
    "spare.mode": "fast",
}


def test_the_digest_changes_with_every_field():
    assert set(OTHER_VALUES) == set(leaves(config.to_dict(FULL)))
    changed = [config.override(FULL, [f"{path}={value}"]) for path, value in OTHER_VALUES.items()]
    digests = {config.digest(settings) for settings in [FULL, *changed]}
    assert len(digests) == 1 + len(OTHER_VALUES)


def test_the_digest_changes_with_the_class():
    fields = [("size_px", int)]
    twin, other = (dataclasses.make_dataclass(name, fields, frozen=True)(1) for name in ("Twin", "Other"))
    assert config.digest(twin) == config.digest(Twin(size_px=1)) != config.digest(other)


def test_equal_settings_have_the_same_digest_in_every_version():
    assert config.digest(Inner()) == config.digest(Inner(rate=0.5, mode="slow")) == "174bf9cea962a6ee"
