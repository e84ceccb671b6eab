"""Deliveries of clips: re-encoding, fewer lines, fewer frames a second, and what services do.

Every frame is decoded, and encoded at the time at which it is shown, with the sound as one channel.
"""

import dataclasses
import fractions
import functools
import io
import itertools
from collections.abc import Iterator
from typing import Any

import av

from deepscan.errors import NoPictureError
from deepscan.media import pixels
from deepscan.media.deliveries import Delivery, register
from deepscan.media.deliveries.coding import REPEATABLE, add_sound_track, mux_sound
from deepscan.media.encode import VIDEO, x264_options
from deepscan.media.frames import Frame, Sampling
from deepscan.media.pixels import Picture
from deepscan.media.source import Media

TICKS_HZ = 90_000
EVERY_FRAME = Sampling(kind="every", step=1, count=2**31)

H264_CRF, H265_CRF, VP9_CRF = (18, 23, 28, 35, 40), (23, 28, 34), (31, 40, 50)
RATES_HZ = (24, 15, 10)
LINES = (720, 480, 240)
USUAL_CRF = 23


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Recoding:
    """How a clip is encoded anew.

    Attributes:
        coder: FFmpeg's name of the encoder of the pictures.
        crf: Its constant rate factor; the larger, the coarser.
        lines: The shorter side is brought down to so many pixels; None = it stays.
        rate_hz: Frames are left out until there are at most so many a second; None = all stay.
        sound: FFmpeg's name of the encoder of the sound.
        sound_bps: Its bits per second.
    """

    coder: str = "libx264"
    crf: int = USUAL_CRF
    lines: int | None = None
    rate_hz: float | None = None
    sound: str = "aac"
    sound_bps: int = 96_000


def recode(media: Media, recoding: Recoding) -> bytes:
    """Encode a clip anew; the same clip gives the same bytes with the same FFmpeg.

    An odd last row or column is cut off: the pictures become 4:2:0.

    Args:
        media: The clip.
        recoding: How.

    Raises:
        NoPictureError: The media has no moving pictures, or sides of a single pixel.
        CorruptMediaError: Nothing of it decodes.
        av.FFmpegError: An encoder refuses.
    """
    stream = io.BytesIO()
    container_name = "webm" if recoding.coder == "libvpx-vp9" else "mp4"
    with av.open(stream, "w", container_name, container_options=REPEATABLE) as container:
        frames = _shown(media, recoding)
        first = next(frames)
        track = _add_pictures(container, recoding, first.picture_HWC)
        recording = media.whole_recording() if media.facts.has_sound else None
        voice = recording and add_sound_track(
            container, recoding.sound, recording.rate_hz, recoding.sound_bps
        )
        for frame in itertools.chain([first], frames):
            container.mux(track.encode(_video_frame(frame)))
        container.mux(track.encode(None))
        if recording is not None:
            mux_sound(container, voice, recording)
    return stream.getvalue()


def _shown(media: Media, recoding: Recoding) -> Iterator[Frame]:
    """Yield the frames that stay, at the size that they get; each has to come later than the one before."""
    last = -1
    for frame in media.frames(EVERY_FRAME):
        # A little early is on time: ticks of a container are rounded.
        turn = round(frame.time_s * TICKS_HZ) if recoding.rate_hz is None else _turn(frame, recoding.rate_hz)
        if turn > last:
            last = turn
            yield Frame(frame.time_s, _sized(frame.picture_HWC, recoding.lines, media.facts.name))


def _turn(frame: Frame, rate_hz: float) -> int:
    return int(frame.time_s * rate_hz + 0.01)


def _sized(picture: Picture, lines: int | None, name: str) -> Picture:
    height, width = picture.shape[:2]
    factor = 1.0 if lines is None else min(1.0, lines / min(height, width))
    if factor < 1:
        return pixels.resize(picture, _even(width * factor), _even(height * factor))
    if min(height, width) < 2:
        msg = f"{name!r} has pictures of {width} x {height} px; clips are encoded from 2 x 2 px on."
        raise NoPictureError(msg)
    return picture[: height - height % 2, : width - width % 2]


def _even(side: float) -> int:
    return max(2, 2 * round(side / 2))


def _add_pictures(container: Any, recoding: Recoding, first: Picture) -> Any:
    track = container.add_stream(recoding.coder, rate=25, options=_options(recoding))
    track.height, track.width = first.shape[:2]
    track.pix_fmt = "yuv420p"
    track.codec_context.time_base = fractions.Fraction(1, TICKS_HZ)
    return track


def _options(recoding: Recoding) -> dict[str, str]:
    """Return options by which an encoder makes the same bytes in every run: more threads decide otherwise."""
    crf = str(recoding.crf)
    if recoding.coder == "libx264":
        return {"crf": crf, "preset": "veryfast"} | x264_options()
    if recoding.coder == "libx265":
        alone = "log-level=none:pools=none:frame-threads=1:wpp=0"
        return {"crf": crf, "preset": "superfast", "x265-params": alone}
    return {"crf": crf, "b": "0", "deadline": "realtime", "cpu-used": "7", "threads": "1"}


def _video_frame(frame: Frame) -> Any:
    picture = av.VideoFrame.from_ndarray(frame.picture_HWC, format="rgb24")
    picture.pts, picture.time_base = round(frame.time_s * TICKS_HZ), fractions.Fraction(1, TICKS_HZ)
    return picture


def _made(media: Media, rng: object, recodings: tuple[Recoding, ...]) -> bytes:
    """Encode anew, once for each hop."""
    data = b""
    for recoding in recodings:
        data = recode(media, recoding)
        media = Media.from_bytes(data, media.facts.name)
    return data


def _steps(
    family: str, ways: dict[str, tuple[Recoding, ...]], quick: str = "", mild: str = ""
) -> Iterator[Delivery]:
    for severity, (setting, recodings) in enumerate(ways.items(), 1):
        coders = {each.coder: None for each in recodings} | {each.sound: None for each in recodings}
        yield Delivery(
            name=f"{family.removesuffix('-chain')}-{setting}",
            family=family,
            severity=severity,
            setting=setting,
            kinds=(VIDEO,),
            make=functools.partial(_made, recodings=recodings),
            coders=tuple(coders),
            quick=setting == quick,
            mild=setting == mild,
        )


_SOCIAL = Recoding(crf=28, lines=480, sound_bps=64_000)
_SITE = Recoding(coder="libvpx-vp9", crf=36, lines=720, sound="libopus")
_MESSENGER = Recoding(crf=30, lines=360, rate_hz=24, sound_bps=48_000)

register(_steps("h264", {str(crf): (Recoding(crf=crf),) for crf in H264_CRF}, "28", mild="23"))
register(
    _steps("h265", {str(crf): (Recoding(coder="libx265", crf=crf),) for crf in H265_CRF}, "28", mild="23")
)
register(
    _steps(
        "vp9", {str(crf): (Recoding(coder="libvpx-vp9", crf=crf, sound="libopus"),) for crf in VP9_CRF}, "40"
    )
)
register(_steps("frame-rate", {f"{hz}fps": (Recoding(rate_hz=hz),) for hz in RATES_HZ}, "15fps"))
register(_steps("resolution", {f"{n}p": (Recoding(lines=n),) for n in LINES}, mild="480p"))
register(
    _steps(
        "clip-chain",
        {"site": (_SITE,), "social": (_SOCIAL,), "messenger": (_MESSENGER,), "reposted": (_SITE, _SOCIAL)},
        "social",
    )
)
