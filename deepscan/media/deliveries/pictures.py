"""Deliveries of pictures: compression, scaling, blur, noise, cutting, screens and what services do.

What is no compression is written as PNG, so that nothing else changes. Metadata are lost in all of them.
"""

import functools
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from deepscan.errors import MediaTooLargeError
from deepscan.media import degrade, pixels
from deepscan.media.deliveries import Delivery, Make, register
from deepscan.media.encode import IMAGE
from deepscan.media.pixels import Picture
from deepscan.media.source import Media

JPEG_QUALITIES = (95, 90, 80, 70, 60, 50, 40, 30)
WEBP_QUALITIES = (90, 75, 50, 30)
DOWNSCALES = (0.75, 0.5, 0.25)
UPSCALES = (1.25, 1.5, 2.0)
BLURS_PX = (0.5, 1.0, 2.0)
NOISES = (2.0, 5.0, 10.0)
KEPT_SHARES = (0.9, 0.75, 0.5)
SCREENS = (0.8, 0.5)
SHARPENED = 0.5
MESSENGER_PX, POST_PX = 1280, 1080

Change = Callable[[Picture, np.random.Generator], Picture]


def write(picture: Picture, suffix: str, *options: int) -> bytes:
    """Encode a picture by OpenCV.

    Args:
        picture: RGB uint8 [H, W, 3].
        suffix: That of the format, as ``.jpg``.
        options: Pairs of OpenCV's numbers of a setting and its value.

    Raises:
        MediaTooLargeError: It has a side that the format does not know.
    """
    done, data = cv2.imencode(suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    if not done:
        height, width = picture.shape[:2]
        msg = f"A picture of {width} x {height} px does not fit into {suffix[1:]}; give a smaller one."
        raise MediaTooLargeError(msg)
    return data.tobytes()


def write_jpeg(picture: Picture, quality: int) -> bytes:
    """Encode as JPEG with halved chroma; ``quality`` is libjpeg's, 1 to 100."""
    return write(picture, ".jpg", cv2.IMWRITE_JPEG_QUALITY, quality)


def write_png(picture: Picture) -> bytes:
    """Encode without loss."""
    return write(picture, ".png", cv2.IMWRITE_PNG_COMPRESSION, 1)


def fit(picture: Picture, side_px: int) -> Picture:
    """Shrink until the longer side is at most ``side_px``; smaller pictures stay as they are."""
    return scaled(picture, min(1.0, side_px / max(picture.shape[:2])))


def scaled(picture: Picture, factor: float) -> Picture:
    """Resize both sides by a factor, to at least a pixel; 1 changes nothing."""
    height, width = picture.shape[:2]
    return pixels.resize(picture, max(1, round(width * factor)), max(1, round(height * factor)))


def _jpeg(media: Media, rng: np.random.Generator, quality: int) -> bytes:
    return write_jpeg(media.picture_HWC, quality)


def _webp(media: Media, rng: np.random.Generator, quality: int) -> bytes:
    return write(media.picture_HWC, ".webp", cv2.IMWRITE_WEBP_QUALITY, quality)


def _changed(media: Media, rng: np.random.Generator, change: Change) -> bytes:
    return write_png(change(media.picture_HWC, rng))


def _scaled(picture: Picture, rng: np.random.Generator, factor: float) -> Picture:
    return scaled(picture, factor)


def _blurred(picture: Picture, rng: np.random.Generator, sigma_px: float) -> Picture:
    return degrade.blur(picture, sigma_px)


def _noisy(picture: Picture, rng: np.random.Generator, sigma: float) -> Picture:
    return degrade.noise(picture, sigma, rng)


def _cropped(picture: Picture, rng: np.random.Generator, share: float) -> Picture:
    """Keep a share of both sides, anywhere: the grid of an earlier JPEG moves with it."""
    height, width = picture.shape[:2]
    kept = [max(1, round(share * side)) for side in (height, width)]
    top, left = (
        int(rng.integers(0, side - part + 1)) for side, part in zip((height, width), kept, strict=True)
    )
    return degrade.crop(picture, top, left, kept[0], kept[1])


def _on_screen(picture: Picture, rng: np.random.Generator, factor: float) -> Picture:
    """Return what a screen shows: scaled, and sharpened by the viewer."""
    return pixels.sharpen(scaled(picture, factor), SHARPENED)


def _posted(media: Media, rng: np.random.Generator) -> bytes:
    return write(fit(media.picture_HWC, POST_PX), ".webp", cv2.IMWRITE_WEBP_QUALITY, 80)


def _sent(media: Media, rng: np.random.Generator, qualities: tuple[int, ...]) -> bytes:
    """Shrink for a messenger and compress once a hop."""
    picture = fit(media.picture_HWC, MESSENGER_PX)
    for quality in qualities[:-1]:
        picture = degrade.jpeg(picture, quality)
    return write_jpeg(picture, qualities[-1])


def _screenshot_sent(media: Media, rng: np.random.Generator) -> bytes:
    shown = _on_screen(media.picture_HWC, rng, SCREENS[0])
    return write_jpeg(degrade.jpeg(fit(shown, MESSENGER_PX), 85), 70)


def _steps(family: str, makes: dict[str, Make], quick: str = "", mild: str = "") -> Iterator[Delivery]:
    """Yield a family, the mildest first; keys are the settings, and with the family the names."""
    for severity, (setting, make) in enumerate(makes.items(), 1):
        yield Delivery(
            name=f"{family}-{setting}",
            family=family,
            severity=severity,
            setting=setting,
            kinds=(IMAGE,),
            make=make,
            quick=setting == quick,
            mild=setting == mild,
        )


def _changes(change: Callable[..., Picture], values: tuple[float, ...]) -> dict[str, Make]:
    """Return a way of each value, the second argument of a change after the generator."""
    return {
        f"{value:g}": functools.partial(_changed, change=functools.partial(_with, change=change, value=value))
        for value in values
    }


def _with(
    picture: Picture, rng: np.random.Generator, change: Callable[..., Picture], value: float
) -> Picture:
    return change(picture, rng, value)


def _chains() -> Iterator[Delivery]:
    ways: dict[str, Make] = {
        "post": _posted,
        "messenger": functools.partial(_sent, qualities=(85, 70)),
        "screenshot": _screenshot_sent,
        "forwarded": functools.partial(_sent, qualities=(85, 70, 75, 60)),
    }
    for severity, (name, make) in enumerate(ways.items(), 1):
        yield Delivery(
            name=f"picture-{name}",
            family="picture-chain",
            severity=severity,
            setting=name,
            kinds=(IMAGE,),
            make=make,
            quick=name == "messenger",
        )


register(
    _steps("jpeg", {str(q): functools.partial(_jpeg, quality=q) for q in JPEG_QUALITIES}, "70", mild="90")
)
register(_steps("webp", {str(q): functools.partial(_webp, quality=q) for q in WEBP_QUALITIES}, "75"))
register(_steps("downscale", _changes(_scaled, DOWNSCALES), "0.5", mild="0.75"))
register(_steps("upscale", _changes(_scaled, UPSCALES)))
register(_steps("blur", _changes(_blurred, BLURS_PX), "1"))
register(_steps("noise", _changes(_noisy, NOISES), "5"))
register(_steps("crop", _changes(_cropped, KEPT_SHARES), mild="0.9"))
register(_steps("screenshot", _changes(_on_screen, SCREENS), "0.8"))
register(_chains())
