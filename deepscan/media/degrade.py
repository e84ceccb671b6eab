"""What happens to pictures on their way: compression, blur, noise, rescaling, recolouring, cutting.

Pure functions, RGB uint8 [H, W, 3] in and out, C-contiguous; nothing is random but ``noise``, which
draws from the generator given. They serve training-time augmentation and tests of robustness.
"""

import fractions
import functools
import math
import statistics
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from deepscan.errors import ConfigError
from deepscan.media import pixels
from deepscan.media.pixels import Picture

# ITU-R BT.601 luma, and the two chroma axes of NTSC (YIQ) at right angles to it.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
_RGB = np.linalg.inv(_YIQ)
_MIDDLE = 127.5


def flip(picture: Picture) -> Picture:
    """Mirror left and right."""
    return _u8(cv2.flip(picture, 1))


def crop(picture: Picture, top: int, left: int, height: int, width: int) -> Picture:
    """Cut out a rectangle, given in pixels.

    Raises:
        ConfigError: It reaches beyond the picture or is empty.
    """
    _check_rectangle(picture, top, left, height, width)
    return np.ascontiguousarray(picture[top : top + height, left : left + width])


def cutout(picture: Picture, top: int, left: int, height: int, width: int, value: int) -> Picture:
    """Cover a rectangle, given in pixels, with a grey of ``value`` (DeVries & Taylor, 2017).

    Raises:
        ConfigError: It reaches beyond the picture or is empty, or ``value`` is not in [0, 255].
    """
    _check_rectangle(picture, top, left, height, width)
    _require(0 <= value <= 255, "value", value, "in [0, 255]")
    covered = picture.copy()
    covered[top : top + height, left : left + width] = value
    return covered


def rotate(picture: Picture, angle_deg: float) -> Picture:
    """Turn counter-clockwise about the centre, linearly interpolated; corners are mirrored in."""
    height, width = picture.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle_deg, 1.0)
    turned = cv2.warpAffine(
        picture, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return _u8(turned)


def rescale(picture: Picture, factor: float) -> Picture:
    """Shrink both sides by ``factor`` in (0, 1] and grow them back, as a messenger and its viewer do.

    Raises:
        ConfigError: ``factor`` is out of range.
    """
    _require(0 < factor <= 1, "factor", factor, "in (0, 1]")
    height, width = picture.shape[:2]
    small = pixels.resize(picture, max(1, round(width * factor)), max(1, round(height * factor)))
    return pixels.resize(small, width, height)


def jpeg(picture: Picture, quality: int) -> Picture:
    """Compress as JPEG with halved chroma (4:2:0) and decompress; ``quality`` is libjpeg's, 1 to 100.

    Raises:
        ConfigError: ``quality`` is out of range.
    """
    _require(1 <= quality <= 100, "quality", quality, "in [1, 100]")
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return _u8(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))


def h264(picture: Picture, crf: int) -> Picture:
    """Encode as one frame of a clip by x264, chroma halved (4:2:0), and decode it.

    Args:
        picture: RGB uint8 [H, W, 3].
        crf: Constant rate factor, 0 to 51; 18 is hard to tell from the picture, 23 usual, 40 coarse.

    Raises:
        ConfigError: ``crf`` is out of range.
    """
    import av  # takes longer than all else that pictures need

    from deepscan.media.encode import x264_options

    _require(0 <= crf <= 51, "crf", crf, "in [0, 51]")
    height, width = picture.shape[:2]
    even = _u8(cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE))
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = even.shape[1], even.shape[0], "yuv420p"
    encoder.time_base = fractions.Fraction(1, 25)
    encoder.options = {"crf": str(crf), "preset": "veryfast", "tune": "zerolatency"} | x264_options()
    frame = av.VideoFrame.from_ndarray(even, format="rgb24").reformat(format="yuv420p")
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    packets = [*encoder.encode(frame), *encoder.encode(None), None]
    decoded = next(shown for packet in packets for shown in decoder.decode(packet))
    return np.ascontiguousarray(_u8(decoded.to_ndarray(format="rgb24"))[:height, :width])


def blur(picture: Picture, sigma_px: float) -> Picture:
    """Blur by a Gaussian of ``sigma_px``; 0 changes nothing.

    Raises:
        ConfigError: ``sigma_px`` is negative.
    """
    _require(sigma_px >= 0, "sigma_px", sigma_px, "at least 0")
    return picture.copy() if sigma_px == 0 else _u8(cv2.GaussianBlur(picture, (0, 0), sigma_px))


def noise(picture: Picture, sigma: float, rng: np.random.Generator) -> Picture:
    """Add normal noise of standard deviation ``sigma`` levels of 255, each sample on its own.

    Raises:
        ConfigError: ``sigma`` is negative.
    """
    _require(sigma >= 0, "sigma", sigma, "at least 0")
    # Looking up one of 256 quantiles by a random byte is six times faster than drawing normal floats.
    ranks = rng.integers(0, 256, picture.shape, dtype=np.uint8)
    grain = cv2.LUT(ranks, sigma * _normal_quantiles())
    return _u8(cv2.add(picture, grain, dtype=cv2.CV_8U))


def adjust_color(
    picture: Picture,
    *,
    brightness: float = 0.0,
    contrast: float = 1.0,
    saturation: float = 1.0,
    hue_deg: float = 0.0,
) -> Picture:
    """Recolour by one affine map of RGB; the defaults change nothing.

    Args:
        picture: RGB uint8 [H, W, 3].
        brightness: Added to all channels, as a share of the full range, in [-1, 1].
        contrast: Factor on the distance from middle grey, at least 0.
        saturation: Factor on the chroma at the same luma, at least 0; 0 makes grey.
        hue_deg: Angle by which the chroma turns at the same luma, from red towards yellow.

    Raises:
        ConfigError: A value is out of range.
    """
    _require(-1 <= brightness <= 1, "brightness", brightness, "in [-1, 1]")
    _require(contrast >= 0, "contrast", contrast, "at least 0")
    _require(saturation >= 0, "saturation", saturation, "at least 0")
    cos, sin = math.cos(math.radians(hue_deg)), math.sin(math.radians(hue_deg))
    chroma = np.eye(3)
    chroma[1:, 1:] = saturation * np.array([[cos, sin], [-sin, cos]])
    offset = np.full((3, 1), (1 - contrast) * _MIDDLE + 255 * brightness)
    return _u8(cv2.transform(picture, np.hstack([contrast * _RGB @ chroma @ _YIQ, offset])))


@functools.cache
def _normal_quantiles() -> NDArray[np.float32]:
    """The medians of 256 equally likely slices of the normal distribution, brought to unit deviation."""
    normal = statistics.NormalDist()
    quantiles = np.array([normal.inv_cdf((rank + 0.5) / 256) for rank in range(256)])
    return np.asarray(quantiles / quantiles.std(), dtype=np.float32)


def _check_rectangle(picture: Picture, top: int, left: int, height: int, width: int) -> None:
    rows, columns = picture.shape[:2]
    inside = 0 <= top < top + height <= rows and 0 <= left < left + width <= columns
    allowed = f"a rectangle inside the picture's {rows} x {columns}"
    _require(inside, "top, left, height, width", (top, left, height, width), allowed)


def _require(ok: bool, name: str, given: object, allowed: str) -> None:
    if not ok:
        msg = f"{name} must be {allowed}, not {given}."
        raise ConfigError(msg)


def _u8(array: NDArray[np.generic]) -> Picture:
    assert array.dtype == np.uint8
    return array.astype(np.uint8, copy=False)
