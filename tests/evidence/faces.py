"""Portraits for tests of what is measured on them."""

import numpy as np

from deepscan.media.faces import Face
from deepscan.media.portraits import EYE_PX, MOUTH_PX, SKIN, Portrait
from deepscan.media.tracks import Sight, Track

POINTS = np.array([(70, 60), (130, 60), (100, 98), (75, 122), (125, 122)], np.float64)


def still_portrait(frames, rate_hz=25.0, **parts):
    """Returns a portrait of so many frames in which nothing moves but what is given."""
    times_s = np.arange(frames) / rate_hz
    face = Face(box_px=(50, 20, 150, 150), score=1.0, landmarks_px=POINTS.astype(np.float32))
    sights = tuple(Sight(frame=n, time_s=float(at_s), face=face) for n, at_s in enumerate(times_s))
    grey = {
        "eyes_TEHW": np.full((frames, 2, *EYE_PX[::-1]), 128, np.uint8),
        "mouth_THW": np.full((frames, MOUTH_PX, MOUTH_PX), 128, np.uint8),
        "skin_TR3": np.full((frames, len(SKIN), 3), 150.0),
        "points_TL2": np.repeat(POINTS[None], frames, axis=0),
        "track": Track(sights),
    }
    return Portrait(times_s_T=times_s, box=(0.2, 0.1, 0.8, 0.9), size_px=(200, 160), **grey | parts)
