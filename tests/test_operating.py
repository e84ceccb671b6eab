"""Where a bundle decides: groups of files, as they are and delivered."""

import numpy as np
import pyarrow as pa
import pytest

from deepscan.calibration import Calibration, decide, fit_operating_point
from deepscan.errors import ConfigError
from deepscan.operating import DELIVERY, operating_point

FILES = 200


def judged(raised=0.0, seed=0, **columns):
    """Files of both classes, genuine ones of logits around -1 + ``raised``."""
    label = np.arange(FILES) % 2
    logit = np.random.default_rng(seed).normal(np.where(label == 1, 1.0, -1.0 + raised))
    return pa.table({"label": label, "logit": logit, **columns})


def delivered(name, raised, seed):
    return judged(raised, seed, **{DELIVERY: [name] * FILES})


def fitted(recipe, *tables):
    return operating_point(recipe, Calibration(), *tables)


def test_without_groups_it_is_that_of_all_files():
    files = judged()
    probability, label = Calibration().apply(files["logit"].to_numpy()), files["label"].to_numpy()
    assert fitted({}, files) == fit_operating_point(probability, label)
    wary = fitted({"max_error_rate": 0.1, "calls_real": False}, files)
    assert wary == fit_operating_point(probability, label, 0.1, calls_real=False)


def test_the_rate_is_kept_after_every_delivery():
    files = judged()
    mild, harsh = delivered("mild", 0.5, 1), delivered("harsh", 2.0, 2)
    point = fitted({}, files, pa.concat_tables([mild, harsh]))
    assert point.high > fitted({}, files, mild).high > fitted({}, files).high
    assert (point.real, point.fake, point.groups) == (FILES // 2, FILES // 2, 3)
    genuine = harsh["logit"].to_numpy()[harsh["label"].to_numpy() == 0]
    said = [decide(each, point) for each in Calibration().apply(genuine).tolist()]
    assert said.count("fake") <= 0.05 * len(said)
    pooled = pa.concat_tables([table.drop_columns([DELIVERY]) for table in (mild, harsh)])
    assert point.high > fitted({}, pooled).high, "the mild ones do not make up for the harsh ones"


def test_files_that_are_too_few_are_not_more_for_having_been_delivered():
    few, again = judged().slice(0, 20), delivered("mild", 0.0, 1)
    point = fitted({}, few, again)
    assert point.high > 1
    assert point.low == 0
    assert "No file is called fake" in point.shortfall


def test_delivered_files_of_one_collection_are_a_group_of_their_own():
    cameras = ["phone", "phone", "studio", "studio"] * (FILES // 4)
    files = judged(camera=cameras)
    again = delivered("mild", 0.0, 1).append_column("camera", pa.array(cameras))
    assert fitted({"error_rate_by": "camera"}, files).groups == 2
    assert fitted({"error_rate_by": "camera"}, files, again).groups == 4
    assert fitted({}, files, again).groups == 2
    with pytest.raises(ConfigError, match="no column 'lens'"):
        fitted({"error_rate_by": "lens"}, files)
