"""Groups of pictures: how far key frames lie apart, which kinds follow, what the encoder wrote of itself."""

import re

import numpy as np
from numpy.typing import NDArray

from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.media.packets import Stored, is_stored_in_packets, stored
from deepscan.media.source import Media
from deepscan.verdict import Evidence

NAMES = (
    "key_frames",
    "key_distance_median_frames",
    "key_distance_min_frames",
    "key_distance_max_frames",
    "key_distance_same_share",
    "i_share",
    "p_share",
    "b_share",
    "b_run_max_frames",
    "encoders",
    "encoder_texts",
    "contradictions",
)
LEAST_FRAMES = 2
LIMITS = (
    "Encoders, their settings and every platform that encodes anew decide on this, not who is seen. Encoders "
    "also set key frames at scene changes. Text in a stream can be copied, altered or left out."
)
_SHOWN_KINDS = 60
_TAGS = ("encoder", "major_brand", "handler_name", "com.android.version", "creation_time")
_SETTING = re.compile(r"\b(keyint|bframes|intra_refresh)=(\d+)")


def testify(media: Media) -> Evidence:
    """Measure distances between key frames over the whole clip, kinds of frames where it was decoded.

    ``unusual`` is a stream that two different encoders signed, because pieces were joined, or one that breaks
    the limits which its encoder says it kept to: an encoder makes neither.

    Raises:
        TooShortError: Fewer than two frames decode.
        MediaError: It does not decode.
    """
    clip = stored(media, LEAST_FRAMES)
    signs, against = _encoders(clip), _contradictions(clip)
    measured = _distances(clip) | _shares(clip)
    counts = (len(signs), len(clip.texts), len(against))
    measured |= dict(zip(NAMES[-3:], map(float, counts), strict=True))
    return Evidence(
        analyzer="gop",
        summary=_in_words(clip, measured, signs, against),
        measurements=measured,
        limits=LIMITS,
        finding="unusual" if len(signs) > 1 or against else "ordinary",
        facts=_facts(clip, signs, against),
    )


def _gaps(clip: Stored) -> NDArray[np.int64]:
    """Return the distances between key frames; of a clip with one key frame, its length."""
    gaps = np.diff(np.flatnonzero(clip.key_N))
    return gaps if len(gaps) else np.array([len(clip.size_N)])


def _distances(clip: Stored) -> dict[str, float]:
    gaps = _gaps(clip)
    same = np.bincount(gaps).max() / len(gaps)
    figures = (clip.key_N.sum(), np.median(gaps), gaps.min(), gaps.max(), same)
    return {name: float(figure) for name, figure in zip(NAMES[:5], figures, strict=True)}


def _shares(clip: Stored) -> dict[str, float]:
    known = clip.kinds.replace("?", "")
    shares = {f"{kind.lower()}_share": known.count(kind) / len(known) for kind in "IPB"}
    return shares | {"b_run_max_frames": float(_longest_b_run(clip))}


def _longest_b_run(clip: Stored) -> int:
    return max(map(len, re.findall("B+", clip.kinds)), default=0)


def _encoders(clip: Stored) -> tuple[str, ...]:
    """Return the different encoders that signed the stream, without their settings."""
    names = (re.split(r" - H\.26|: \[| - options", text)[0].strip() for text in clip.texts)
    return tuple(dict.fromkeys(names))


def _contradictions(clip: Stored) -> list[str]:
    """Return in what the stream breaks the limits that x264 wrote down for it."""
    if len(set(clip.texts)) != 1:
        return []
    stated = {name: int(value) for name, value in _SETTING.findall(clip.texts[0])}
    found = []
    longest, run = int(_gaps(clip).max()), _longest_b_run(clip)
    # Frames that are shown before a key frame may be stored behind it, which moves it by as many.
    most = stated.get("keyint", longest) + stated.get("bframes", 0)
    if longest > most and not stated.get("intra_refresh"):
        found.append(
            f"key frames lie up to {longest} frames apart where the settings allow {stated['keyint']}"
        )
    if run > stated.get("bframes", run):
        found.append(f"{run} B frames follow each other where the settings allow {stated['bframes']}")
    return found


def _facts(clip: Stored, signs: tuple[str, ...], against: list[str]) -> dict[str, str]:
    facts = {"codec": clip.codec, "kinds": clip.kinds[:_SHOWN_KINDS]}
    facts |= {f"tag {name}": clip.tags[name] for name in _TAGS if clip.tags.get(name)}
    for number, sign in enumerate(signs, 1):
        facts[f"encoder {number}" if len(signs) > 1 else "encoder"] = sign
    if clip.texts and "options: " in clip.texts[0]:
        facts["settings"] = clip.texts[0].partition("options: ")[2]
    if against:
        facts["contradiction"] = "; ".join(against)
    return facts


def _in_words(clip: Stored, measured: dict[str, float], signs: tuple[str, ...], against: list[str]) -> str:
    keys = int(measured["key_frames"])
    kinds = ", ".join(f"{measured[f'{kind.lower()}_share']:.0%} {kind}" for kind in "IPB")
    if keys > 1:
        apart = f"{keys} key frames, {measured['key_distance_median_frames']:.0f} frames apart in the middle"
        apart += f" ({measured['key_distance_min_frames']:.0f} to {measured['key_distance_max_frames']:.0f})"
    else:
        apart = f"One key frame in {len(clip.size_N)} frames"
    words = f"{apart}; {kinds}"
    if len(signs) > 1:
        words += f"; {len(signs)} different encoders signed the stream, so it was joined from pieces"
    elif signs:
        words += f"; the stream names {signs[0]} as its encoder"
    return words + "".join(f"; {each}" for each in against) + "."


ANALYZERS.register(
    "gop",
    Analyzer(
        name="gop",
        group="compression",
        summary="Key frames, kinds of frames and what the encoder wrote of itself",
        measures=NAMES,
        accepts=is_stored_in_packets,
        testify=testify,
    ),
)
