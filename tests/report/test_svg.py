"""Positions, ticks and escaping of the drawing functions."""

import xml.etree.ElementTree as ET

import pytest

from deepscan.calibration import OperatingPoint
from deepscan.metrics import Curves, Figure
from deepscan.report import charts, svg


def frame():
    return svg.Frame(x=svg.axis("x", 0, 10), y=svg.axis("y", 0, 1))


def test_axes_map_their_ends_to_the_margins_and_y_upwards():
    f = frame()
    assert f.x_px(0) == svg.LEFT_PX
    assert f.x_px(10) == f.width_px - svg.RIGHT_PX
    assert f.y_px(0) == f.height_px - svg.BOTTOM_PX
    assert f.y_px(1) == svg.TOP_PX


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0, 1, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (0, 11, ["0", "5", "10"]),
        (0.13, 0.71, ["0.2", "0.4", "0.6"]),
        (1e-6, 1e-3, ["0.0002", "0.0004", "0.0006", "0.0008", "0.001"]),
        (-3, 3, ["-2", "0", "2"]),
    ],
)
def test_ticks_are_round_and_inside(low, high, labels):
    axis = svg.axis("a", low, high)
    assert [text for _, text in axis.ticks] == labels
    assert all(low - 1e-9 <= value <= high + 1e-9 for value, _ in axis.ticks)


@pytest.mark.parametrize("value", [0.0, 5.0, -0.001])
def test_an_axis_without_extent_is_widened_around_its_value(value):
    axis = svg.axis("a", value, value)
    assert axis.low < value < axis.high
    assert axis.share(value) == pytest.approx(0.5)


def test_text_and_attributes_are_escaped():
    drawn = svg.chart("chart-a", "<b>", '"&', frame(), [svg.note(frame(), (1, 1), "<script>", '"><i>')])
    root = ET.fromstring(drawn)
    assert root.find("title").text == "<b>"
    assert root.find("desc").text == '"&'
    assert root.findall("text")[-1].text == "<script>"
    assert root.findall("text")[-1].get("class") == 'note "><i>'


def test_a_line_goes_through_its_points():
    line = ET.fromstring(svg.line(frame(), [(0, 0), (10, 1)], "main"))
    assert line.get("points") == "56.0,284.0 424.0,14.0"
    assert line.get("class") == "line main"


def test_an_area_has_a_positive_size_whatever_its_corners():
    one, two = (
        ET.fromstring(svg.area(frame(), *corners, "k"))
        for corners in (((2, 0.5), (4, -0.0)), ((4, 0.0), (2, 0.5)))
    )
    assert one.attrib == two.attrib
    assert (float(one.get("width")), float(one.get("height"))) == (pytest.approx(73.6), pytest.approx(135))


def test_a_whisker_without_interval_is_a_dot_alone_and_without_value_a_scale():
    full = ET.fromstring(charts.whisker("a", Figure(value=0.5, low=0.25, high=0.75)))
    assert full.find("circle").get("cx") == "75.0"
    assert full.find("polyline").get("points") == "40.5,10.0 109.5,10.0"
    dot = ET.fromstring(charts.whisker("b", Figure(value=0.5, low=None, high=None)))
    assert dot.find("polyline") is None
    nothing = ET.fromstring(charts.whisker("c", Figure(value=None, low=None, high=None)))
    assert nothing.find("circle") is None


def test_parts_of_a_stack_follow_each_other_and_fill_it():
    parts = ET.fromstring(charts.stacked("s", "t", {"a": 3, "b": 1})).findall("rect")
    assert [(part.get("x"), part.get("width")) for part in parts] == [("0.0", "675.0"), ("675.0", "225.0")]


def test_the_histogram_shades_the_band_and_draws_only_occupied_bins():
    counts = (5, 0, 5, *[0] * 37)
    curves = Curves(
        roc=(), precision_recall=(), reliability=(), histogram_real=counts, histogram_fake=counts[::-1]
    )
    drawn = ET.fromstring(charts.histogram(curves, 0.5, OperatingPoint(low=0.25, threshold=0.5, high=0.75)))
    kinds = [rect.get("class") for rect in drawn.findall("rect")]
    assert sorted(kinds) == ["area band", "area fake", "area fake", "area real", "area real"]
    band = next(rect for rect in drawn.findall("rect") if rect.get("class") == "area band")
    assert float(band.get("width")) == pytest.approx((440 - svg.LEFT_PX - svg.RIGHT_PX) / 2)
    real = [rect for rect in drawn.findall("rect") if rect.get("class") == "area real"]
    assert len({rect.get("height") for rect in real}) == 1
