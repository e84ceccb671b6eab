"""What pictures are like: tone, colour, texture and layout in some thirty numbers, whoever is in them.

Natural pictures keep to narrow ranges: power that falls with frequency about alike at all scales (Field,
JOSA A 1987), sparse edges, few blocks without any noise. Drawings, pages of text and noise do not.
"""

import functools

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Picture = NDArray[np.uint8]

SMALLEST_PX = 16
"""Sides of pictures that are described at least: smaller ones hold no octaves to compare."""

BLOCK_PX = 8
FLAT = 1.5
EDGE = 24.0
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
OCTAVES = 4
GRID = 8


def describe(picture: Picture) -> dict[str, float]:
    """Return the statistics of a picture by name.

    Args:
        picture: uint8 [H, W, 3] or [H, W], both sides at least ``SMALLEST_PX``.
    """
    colour = picture.ndim == 3 and picture.shape[2] >= 3
    if colour:
        rgb_HWC = picture[..., :3].astype(np.float32)
        luma_HW = rgb_HWC @ LUMA
        return _tone(luma_HW) | _texture(luma_HW) | _spectrum(luma_HW) | _layout(luma_HW) | _colour(rgb_HWC)
    luma_HW = picture.reshape(picture.shape[:2]).astype(np.float32)
    return _tone(luma_HW) | _texture(luma_HW) | _spectrum(luma_HW) | _layout(luma_HW)


def _tone(luma_HW: Floats) -> dict[str, float]:
    mean, std = float(luma_HW.mean()), float(luma_HW.std())
    centred_HW = luma_HW - mean
    skewness = float(np.mean(centred_HW * centred_HW * centred_HW)) / (std + 1) ** 3
    counts = np.bincount((luma_HW / 4).astype(np.uint8).ravel())
    share = counts[counts > 0] / luma_HW.size
    return {
        "brightness": mean / 255,
        "contrast": std / 255,
        "skewness": skewness,
        "entropy_bits": float(-(share * np.log2(share)).sum()),
        "dark": float((luma_HW < 16).mean()),
        "bright": float((luma_HW > 240).mean()),
    }


def _texture(luma_HW: Floats) -> dict[str, float]:
    across_HW, down_HW = np.diff(luma_HW[:-1], axis=1), np.diff(luma_HW[:, :-1], axis=0)
    squares_HW = across_HW**2 + down_HW**2
    energy = float(squares_HW.mean())
    # Lines of text and of windows run along the axes, those of nature do so rarely.
    least_HW, most_HW = np.minimum(abs(across_HW), abs(down_HW)), np.maximum(abs(across_HW), abs(down_HW))
    along = float(squares_HW[least_HW < 0.2 * most_HW].sum()) / (squares_HW.size * energy + 1)
    residual_HW = luma_HW[1:-1, 1:-1] * 4 - luma_HW[:-2, 1:-1] - luma_HW[2:, 1:-1]
    residual_HW -= luma_HW[1:-1, :-2] + luma_HW[1:-1, 2:]
    deviation_B = _blocks(luma_HW).std(axis=1)
    return {
        "edges": float((squares_HW > EDGE**2).mean()),
        "sparseness": float(np.log(np.mean(squares_HW**2) / (energy**2 + 1e-3) + 1e-3)),
        "along_axes": along,
        "direction": float(np.log((np.mean(across_HW**2) + 1) / (np.mean(down_HW**2) + 1))),
        "noise": float(np.log(np.median(abs(residual_HW)) + 0.5)),
        "flat_blocks": float((deviation_B < FLAT).mean()),
        "block_deviation": float(np.log(np.median(deviation_B) + 0.5)),
        "block_spread": float(np.log(deviation_B.std() + 0.5)),
    }


def _blocks(luma_HW: Floats) -> Floats:
    """Return a picture's whole blocks, [B, pixels]."""
    rows, columns = luma_HW.shape[0] // BLOCK_PX, luma_HW.shape[1] // BLOCK_PX
    whole_HW = luma_HW[: rows * BLOCK_PX, : columns * BLOCK_PX]
    blocks = whole_HW.reshape(rows, BLOCK_PX, columns, BLOCK_PX).swapaxes(1, 2)
    return np.asarray(blocks.reshape(rows * columns, BLOCK_PX**2))


def _spectrum(luma_HW: Floats) -> dict[str, float]:
    """Return the power of the highest octave, and how much more each next one has."""
    bands, window_HW = _octaves(*luma_HW.shape[:2])
    power_HF = abs(np.fft.rfft2((luma_HW - luma_HW.mean()) * window_HW)).ravel() ** 2
    log_power = np.log10(np.bincount(bands, power_HF)[1:] / np.bincount(bands)[1:] / luma_HW.size + 1e-3)
    steps = np.diff(log_power)
    return {"octave_1": float(log_power[0])} | {
        f"octave_{number + 2}_more": float(step) for number, step in enumerate(steps)
    }


@functools.lru_cache(maxsize=8)
def _octaves(height: int, width: int) -> tuple[NDArray[np.intp], Floats]:
    """Return the octave of each frequency below Nyquist's, 1 the highest and 0 none, and a Hann window."""
    radius_HF = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]) * 2
    octave_HF = np.floor(-np.log2(np.maximum(radius_HF, 1e-9))).astype(np.intp) + 1
    octave_HF[(octave_HF < 1) | (octave_HF > OCTAVES) | (radius_HF > 1)] = 0
    return octave_HF.ravel(), np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)


def _layout(luma_HW: Floats) -> dict[str, float]:
    coarse_GG = _coarse(luma_HW)
    mirrored_GG = coarse_GG[:, ::-1]
    spread = float(coarse_GG.var())
    alike = float(((coarse_GG - coarse_GG.mean()) * (mirrored_GG - coarse_GG.mean())).mean())
    return {
        "symmetry": (alike + 1) / (spread + 1),
        "centre_brighter": _centred(coarse_GG) / 255,
        "top_brighter": float(coarse_GG[: GRID // 2].mean() - coarse_GG[GRID // 2 :].mean()) / 255,
        "coarse_share": spread / (float(luma_HW.var()) + 1),
    }


def _coarse(plane_HW: Floats) -> Floats:
    """Return the means of a plane in ``GRID`` by ``GRID`` cells."""
    rows, columns = plane_HW.shape[0] // GRID, plane_HW.shape[1] // GRID
    cells = plane_HW[: rows * GRID, : columns * GRID].reshape(GRID, rows, GRID, columns)
    return np.asarray(cells.mean(axis=(1, 3)))


def _centred(coarse_GG: Floats) -> float:
    """Return by how much the middle exceeds the rim."""
    inner_GG, quarter = np.zeros(coarse_GG.shape, bool), GRID // 4
    inner_GG[quarter:-quarter, quarter:-quarter] = True
    return float(coarse_GG[inner_GG].mean() - coarse_GG[~inner_GG].mean())


def _colour(rgb_HWC: Floats) -> dict[str, float]:
    """Return moments of saturation and of the opponent colours of Hasler & Süsstrunk (SPIE 2003)."""
    # Planes that lie apart in memory: several times faster than a last axis of three.
    r_HW, g_HW, b_HW = np.ascontiguousarray(rgb_HWC.transpose(2, 0, 1))
    most_HW = np.maximum(np.maximum(r_HW, g_HW), b_HW)
    saturation_HW = (most_HW - np.minimum(np.minimum(r_HW, g_HW), b_HW)) / (most_HW + 1)
    red_HW = (r_HW - g_HW) / 255
    yellow_HW = (r_HW + g_HW) / 510 - b_HW / 255
    return {
        "saturation": float(saturation_HW.mean()),
        "saturation_spread": float(saturation_HW.std()),
        "red": float(red_HW.mean()),
        "red_spread": float(np.log(red_HW.std() + 0.005)),
        "yellow": float(yellow_HW.mean()),
        "yellow_spread": float(np.log(yellow_HW.std() + 0.005)),
        "centre_redder": _centred(_coarse(red_HW)),
        "colour_noise": float(np.log(np.median(abs(np.diff(red_HW, axis=1))) * 255 + 0.25)),
    }
