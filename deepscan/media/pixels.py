"""Pictures as arrays: decoding to RGB, and the pure operations that preprocessing is made of.

A picture is uint8 [H, W, 3], RGB. Operations never change their argument.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepscan.errors import ConfigError
from deepscan.media.probe import opened, orientation

Picture = NDArray[np.uint8]

_DENOISE_DIAMETER_PX = 5
_DENOISE_LEVELS = 40.0
_CLAHE_CLIP = 2.0
_CLAHE_TILES = (8, 8)
_SHARPEN_SIGMA_PX = 1.5
_SHARPEN_AMOUNT = 1.0


def decode_picture(data: bytes, name: str = "picture") -> Picture:
    """Decode a picture to upright RGB.

    Pillow decodes, because it refuses truncated files where OpenCV fills the missing part with grey
    without a word, and because it knows CMYK, palettes and every kind of transparency. The first
    frame stands for an animation, the first page for a document. The EXIF orientation is applied.
    Transparent pixels are composited over white, as a viewer shows them, so that colours hidden
    beneath full transparency cannot sway a detector. 16-bit samples keep their high byte. CMYK is
    converted by complement; colour profiles are not applied.

    Args:
        data: The whole file, whose size ``probe`` has checked: no limit is checked here.
        name: File name, for messages only.

    Returns:
        uint8 [H, W, 3], C-contiguous, read-only.

    Raises:
        MediaError: The content is empty, unsupported, truncated or damaged.
    """
    with opened(data, name) as picture:
        picture.load()
        rgb = np.asarray(_to_rgb(picture))
        turn = orientation(data, picture)
    result = np.ascontiguousarray(upright(rgb, turn))
    result.setflags(write=False)
    return result


def decode_pages(data: bytes, pages: Sequence[int], name: str = "animation") -> Iterator[Picture]:
    """Decode frames of an animation the way ``decode_picture`` decodes its first.

    Args:
        data: The whole file: GIF, WebP or PNG.
        pages: Numbers of the frames, from 0, in order; a PNG's still picture beside its animation is none.
        name: File name, for messages only.

    Yields:
        uint8 [H, W, 3], C-contiguous.

    Raises:
        MediaError: The next frame is truncated or damaged.
    """
    with opened(data, name) as picture:
        turn, first = orientation(data, picture), int(getattr(picture, "default_image", False))
        for page in pages:
            picture.seek(first + page)
            yield np.ascontiguousarray(upright(np.array(_to_rgb(picture)), turn))


def upright(picture: Picture, orientation: int) -> Picture:
    """Undo an EXIF orientation, 1 to 8: mirror where the camera mirrored, turn where it was turned."""
    if orientation >= 5:
        picture = picture.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    return picture


def resize(picture: Picture, width_px: int, height_px: int) -> Picture:
    """Resize to exactly ``width_px`` by ``height_px``; bit-exact where the size stays.

    A side that shrinks is averaged over areas, which keeps out aliasing; a side that grows is
    interpolated by cubics.
    """
    height, width = picture.shape[:2]
    smaller = (min(width, width_px), min(height, height_px))
    shrunk = cv2.resize(picture, smaller, interpolation=cv2.INTER_AREA)
    return _u8(cv2.resize(shrunk, (width_px, height_px), interpolation=cv2.INTER_CUBIC))


def fit_square(picture: Picture, size_px: int) -> Picture:
    """Cut out the largest centred square and resize it to ``size_px``; bit-exact where it fits already."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return resize(picture[top : top + side, left : left + side], size_px, size_px)


def denoise(picture: Picture, strength: float) -> Picture:
    """Smooth noise but not edges, by a bilateral filter (Tomasi & Manduchi, ICCV 1998).

    Args:
        picture: uint8 [H, W, 3].
        strength: Share of the filter's effect in [0, 1]; 0 returns the picture unchanged.

    Raises:
        ConfigError: ``strength`` is out of range.
    """
    smooth = cv2.bilateralFilter(picture, _DENOISE_DIAMETER_PX, _DENOISE_LEVELS, _DENOISE_DIAMETER_PX / 2)
    return _towards(picture, _u8(smooth), strength)


def equalize(picture: Picture, strength: float) -> Picture:
    """Even out contrast by CLAHE on the luma, which leaves hues alone (Zuiderveld, Graphics Gems IV 1994).

    Args:
        picture: uint8 [H, W, 3].
        strength: Share of the equalisation in [0, 1]; 0 returns the picture unchanged.

    Raises:
        ConfigError: ``strength`` is out of range.
    """
    ycc = cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb)
    ycc[..., 0] = cv2.createCLAHE(_CLAHE_CLIP, _CLAHE_TILES).apply(ycc[..., 0])
    return _towards(picture, _u8(cv2.cvtColor(ycc, cv2.COLOR_YCrCb2RGB)), strength)


def sharpen(picture: Picture, strength: float) -> Picture:
    """Raise fine detail by an unsharp mask: add the difference to a Gaussian blur.

    Args:
        picture: uint8 [H, W, 3].
        strength: Share of the mask that is added, in [0, 1]; 0 returns the picture unchanged.

    Raises:
        ConfigError: ``strength`` is out of range.
    """
    blurred = cv2.GaussianBlur(picture, (0, 0), _SHARPEN_SIGMA_PX)
    crisp = cv2.addWeighted(picture, 1 + _SHARPEN_AMOUNT, blurred, -_SHARPEN_AMOUNT, 0)
    return _towards(picture, _u8(crisp), strength)


def _towards(picture: Picture, changed: Picture, strength: float) -> Picture:
    """Blend, which makes the effect of every operation grow with its strength, pixel by pixel."""
    if not 0 <= strength <= 1:
        msg = f"strength must be in [0, 1], not {strength}; 0 leaves the picture unchanged."
        raise ConfigError(msg)
    return _u8(cv2.addWeighted(changed, strength, picture, 1 - strength, 0))


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16"):
        picture = _high_byte(picture)
    if not picture.has_transparency_data:
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    rgba = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _high_byte(picture: Image.Image) -> Image.Image:
    """Bring 16-bit grey to 8 bits the way 16-bit RGB comes out of the decoder, transparency included."""
    values = np.asarray(picture)
    grey = Image.fromarray((values >> 8).astype(np.uint8))
    if (hidden := picture.info.get("transparency")) is None:
        return grey
    alpha = Image.fromarray(np.where(values == hidden, 0, 255).astype(np.uint8))
    return Image.merge("LA", (grey, alpha))


def _u8(array: NDArray[np.generic]) -> Picture:
    assert array.dtype == np.uint8
    return array.astype(np.uint8, copy=False)
