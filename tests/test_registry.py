import pytest

from deepscan.errors import ConfigError, DeepscanError, UnknownNameError
from deepscan.registry import Registry, nearest


@pytest.fixture
def shelf():
    registry = Registry("vegetable")
    for name, price in (("turnip", 3), ("carrot", 1), ("leek", 2)):
        registry.register(name, price)
    return registry


def test_register_returns_the_item_so_that_it_can_stand_in_an_assignment():
    item = object()
    assert Registry("thing").register("a", item) is item


def test_items_are_found_by_name(shelf):
    assert [shelf.get(name) for name in ("leek", "turnip")] == [2, 3]


def test_an_underscore_finds_a_hyphen_unless_the_name_itself_is_there():
    registry = Registry("thing")
    registry.register("b0-lstm", 1)
    assert registry.get("b0_lstm") == 1
    registry.register("b0_lstm", 2)
    assert [registry.get(name) for name in ("b0-lstm", "b0_lstm")] == [1, 2]


def test_by_name_the_order_of_registration_does_not_show(shelf):
    ordered = shelf.by_name()
    assert list(ordered.names()) == sorted(shelf.names())
    assert list(ordered) == [shelf.get(name) for name in sorted(shelf.names())]
    assert ordered.kind == shelf.kind


def test_names_and_items_keep_the_order_of_registration(shelf):
    assert shelf.names() == ("turnip", "carrot", "leek")
    assert list(shelf) == [3, 1, 2]
    assert len(shelf) == 3


def test_membership_is_by_name(shelf):
    assert "leek" in shelf
    assert "onion" not in shelf
    assert 2 not in shelf


def test_a_taken_name_is_refused_and_the_first_item_stays(shelf):
    with pytest.raises(ConfigError, match="A vegetable named 'leek' is registered already"):
        shelf.register("leek", 9)
    assert shelf.get("leek") == 2


def test_an_unknown_name_is_refused_with_the_nearest_and_all_known(shelf):
    with pytest.raises(UnknownNameError) as caught:
        shelf.get("carot")
    assert str(caught.value) == (
        "No vegetable is named 'carot'. Did you mean 'carrot'? Known: turnip, carrot, leek."
    )
    assert isinstance(caught.value, DeepscanError)


def test_an_empty_registry_says_so():
    with pytest.raises(UnknownNameError, match=r"No thing is named 'x'\. Known: none\."):
        Registry("thing").get("x")


def test_registries_do_not_share_items(shelf):
    assert len(Registry("vegetable")) == 0


@pytest.mark.parametrize(
    ("name", "hint"),
    [("efficientnet", " Did you mean 'efficientnet_b0'?"), ("b0", ""), ("", ""), ("qqq", "")],
)
def test_nearest_suggests_only_what_is_near(name, hint):
    assert nearest(name, ["cnn", "efficientnet_b0"]) == hint


def test_nearest_takes_any_iterable():
    assert nearest("cn", (name for name in ["cnn"])) == " Did you mean 'cnn'?"
