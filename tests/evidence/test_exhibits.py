"""Maps, pictures and curves as they travel in a verdict."""

import base64
import io
import json

import numpy as np
import PIL.Image
import pytest

from deepscan.evidence.exhibits import MAP_PX, POINTS, curve, heat_map, thumbnail, values_of
from deepscan.verdict import Region


def opened(picture):
    return PIL.Image.open(io.BytesIO(base64.b64decode(picture.png)))


def test_a_map_gives_its_values_back_within_a_step_of_its_scale():
    values_HW = np.linspace(-1, 3, 60 * 80, dtype=np.float32).reshape(60, 80)
    made = heat_map("noise", "Where it is noisy.", values_HW, (0, 2), unit="levels")
    found_HW = values_of(made)
    assert found_HW.shape == (60, 80)
    assert np.abs(found_HW - np.clip(values_HW, 0, 2)).max() <= 2 / 255
    assert (made.low, made.high, made.unit) == (0, 2, "levels")


def test_a_large_map_is_shrunk_and_keeps_its_shape_and_mean():
    values_HW = np.random.default_rng(0).random((400, 800)).astype(np.float32)
    found_HW = values_of(heat_map("a", "b", values_HW, (0, 1)))
    assert found_HW.shape == (MAP_PX // 2, MAP_PX)
    assert found_HW.mean() == pytest.approx(values_HW.mean(), abs=0.01)


def test_what_is_not_finite_is_the_low_end_of_a_map():
    values_HW = np.array([[np.nan, 1.0], [5.0, np.inf]], np.float32)
    assert values_of(heat_map("a", "b", values_HW, (1, 5))).tolist() == [[1, 1], [5, 5]]


def test_a_map_without_a_scale_is_refused():
    with pytest.raises(ValueError, match="scale"):
        heat_map("a", "b", np.zeros((2, 2)), (1, 1))


def test_a_thumbnail_is_a_picture_of_the_same_shape_and_no_map():
    made = thumbnail("face", "The face.", np.full((100, 600, 3), 7, np.uint8), Region(start_s=1, end_s=2))
    assert opened(made).size == (256, 43)
    assert opened(made).mode == "RGB"
    with pytest.raises(ValueError, match="no map"):
        values_of(made)


def test_a_curve_is_json_with_gaps_where_nothing_was_measured():
    made = curve("pitch", "Its pitch.", np.arange(3), np.array([1.23456, np.nan, 2]), ("s", "hz"), [(0, 1)])
    assert (made.x, made.y, made.spans) == ((0.0, 1.0, 2.0), (1.235, None, 2.0), ((0.0, 1.0),))
    json.dumps([made.x, made.y], allow_nan=False)


def test_a_long_curve_is_averaged_over_all_of_its_length():
    made = curve("a", "b", np.arange(4000), np.arange(4000) * 2.0, ("s", ""))
    assert len(made.x) == len(made.y) == POINTS
    assert made.x[0] == pytest.approx(4.5)
    assert made.y[-1] == pytest.approx(2 * 3994.5, rel=1e-3)


def test_a_curve_with_too_few_values_is_refused():
    with pytest.raises(ValueError, match="as many"):
        curve("a", "b", np.arange(3), np.arange(2), ("s", ""))
