"""Whether the trace of a colour filter array is found where pictures were demosaicked, and only there."""

import numpy as np
import pytest

from benchmarks.splice_maps import demosaicked
from deepscan.errors import NoPictureError
from deepscan.evidence import cfa
from deepscan.evidence.exhibits import values_of
from tests.scenery import disc, over, picture, scenery

PLAIN = [scenery(seed, grain=2.0) for seed in range(4)]


@pytest.mark.parametrize("shift", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_every_layout_of_the_array_leaves_a_strong_trace(shift):
    for values in PLAIN:
        evidence = cfa.testify(picture(np.roll(demosaicked(values), shift, (0, 1))))
        assert evidence.measurements["trace_db"] > 10
        assert evidence.measurements["traced_share"] > 0.95
        assert evidence.finding == "ordinary"
        assert "as cameras leave it" in evidence.summary


def test_what_was_not_demosaicked_has_no_trace():
    for values in PLAIN:
        evidence = cfa.testify(picture(values))
        assert evidence.measurements["traced_share"] < cfa.REGION
        assert evidence.measurements["overall_db"] < 0.5
        assert evidence.finding == "ordinary"
        assert evidence.summary.startswith("No trace")


def test_the_highest_quality_of_jpeg_leaves_a_trace_and_a_middling_one_does_not():
    values = demosaicked(PLAIN[0])
    fine, rough = (cfa.testify(picture(values, "JPEG", quality=q)).measurements for q in (99, 60))
    assert fine["traced_share"] > 0.8 > 0.3 > rough["traced_share"]


@pytest.mark.parametrize("number", range(3))
def test_a_region_without_the_trace_is_found(number):
    values = np.where(disc()[..., None], PLAIN[number + 1], demosaicked(PLAIN[number]))
    evidence = cfa.testify(picture(values))
    assert evidence.finding == "unusual"
    assert "lacks" in evidence.summary
    inside = over(disc(), (16, 16))
    found = values_of(evidence.pictures[0])
    assert np.median(found[inside]) < 3 < 10 < np.median(found[~inside])


def test_a_region_out_of_step_is_black():
    host = demosaicked(PLAIN[0])
    values = np.where(disc()[..., None], np.roll(demosaicked(PLAIN[1]), 1, 0), host)
    evidence = cfa.testify(picture(values))
    assert evidence.finding == "unusual"
    assert np.median(values_of(evidence.pictures[0])[over(disc(), (16, 16))]) < -5


def test_flat_and_small_pictures():
    flat = cfa.testify(picture(np.full((80, 90, 3), 100.0)))
    assert set(flat.measurements.values()) == {0.0}
    with pytest.raises(NoPictureError):
        cfa.testify(picture(scenery(0, 63, 80)))
