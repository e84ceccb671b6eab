"""Openness, blinks and pupils of eyes that are drawn, and so known."""

import numpy as np
import pytest

from deepscan.media.eyes import PROMINENCE, blinks, openness, pupil
from deepscan.media.portraits import EYE_PX

WIDTH, HEIGHT = EYE_PX
RNG = np.random.default_rng(0)


def eye(opened=1.0, x=0.0, y=0.0, noise=2.0, dark=False):
    """Draws an eye with an iris of 12 px whose lids leave so much of it free."""
    y_HW, x_HW = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    y_HW, x_HW = y_HW - HEIGHT / 2, x_HW - WIDTH / 2
    skin, white, iris = (70.0, 130.0, 20.0) if dark else (170.0, 215.0, 60.0)
    drawn = np.full((HEIGHT, WIDTH), skin)
    between = (x_HW / 14) ** 2 + (y_HW / (6.5 * max(opened, 1e-3))) ** 2 <= 1
    drawn[between] = white
    drawn[between & (np.hypot(x_HW - x, y_HW - y) <= 6)] = iris
    lashes = (np.abs(y_HW - 2) < 1) & (np.abs(x_HW) < 13)
    drawn[lashes & (opened < 0.2)] *= 0.5
    drawn[: HEIGHT // 8] *= 0.5
    return np.clip(np.rint(drawn + RNG.normal(0, noise, drawn.shape)), 0, 255).astype(np.uint8)


def opened(*shares, **kinds):
    return openness(np.stack([[eye(share, **kinds)] * 2 for share in shares]))


@pytest.mark.parametrize("dark", [False, True])
def test_open_eyes_are_1_and_closed_ones_are_far_below(dark):
    open_TE = opened(1, 1, 1, 1, 0.5, 0.02, dark=dark)
    assert open_TE[:4] == pytest.approx(1, abs=0.1)
    assert (open_TE[4] < 0.95).all()
    assert (open_TE[5] < 0.5).all()


def test_light_and_dark_pictures_of_one_eye_are_alike():
    bright = np.stack([[eye(share, noise=0)] * 2 for share in (1, 1, 1, 0.4)])
    assert openness((bright * 0.4).astype(np.uint8)) == pytest.approx(openness(bright), abs=0.08)


def test_flat_patches_are_measured_too():
    assert np.isfinite(openness(np.zeros((3, 2, HEIGHT, WIDTH), np.uint8))).all()
    assert np.isfinite(pupil(np.full((HEIGHT, WIDTH), 128, np.uint8))).all()


@pytest.mark.parametrize(("x", "y"), [(0, 0), (4, 0), (-5, 0), (2, 2), (-3, -2)])
def test_the_pupil_is_found_to_within_a_pixel(x, y):
    assert pupil(eye(1.0, x, y)) == pytest.approx((x, y), abs=1.0)


def curve_of(times_s, *dips, depth=0.3, wide_s=0.06, noise=0.02):
    """Opening with dips at given times; Gaussians, so that half their depth is 2.35 times as wide."""
    down = sum((1 - depth) * np.exp(-(((times_s - at) / wide_s) ** 2) / 2) for at in dips)
    return 1 - down + np.random.default_rng(1).normal(0, noise, len(times_s))


@pytest.mark.parametrize("rate_hz", [12.5, 25, 30])
def test_every_dip_is_a_blink_at_its_time(rate_hz):
    times_s = np.arange(0, 10, 1 / rate_hz)
    found = blinks(times_s, curve_of(times_s, 1.0, 2.5, 2.9, 7.2))
    assert [each.time_s for each in found] == pytest.approx([1.0, 2.5, 2.9, 7.2], abs=0.6 / rate_hz)
    assert all(0.05 < each.duration_s < 0.25 for each in found)


def test_what_stays_down_is_no_blink():
    times_s = np.arange(0, 10, 0.04)
    looking_down = np.where((times_s > 3) & (times_s < 6), 0.6, 1.0)
    assert blinks(times_s, looking_down) == []
    closed = np.where((times_s > 3) & (times_s < 4.0), 0.2, 1.0)
    assert blinks(times_s, closed) == []


def test_noise_is_no_blink():
    times_s = np.arange(0, 20, 0.04)
    for noise in (0.02, 0.1, 0.2):
        assert len(blinks(times_s, curve_of(times_s, noise=noise))) <= 1


def test_shallow_dips_count_where_less_is_asked_for():
    times_s = np.arange(0, 4, 0.04)
    open_T = curve_of(times_s, 2.0, depth=0.83, noise=0.002)
    assert blinks(times_s, open_T) == []
    assert len(blinks(times_s, open_T, PROMINENCE / 2)) == 1
    assert blinks(times_s[:3], open_T[:3]) == []
