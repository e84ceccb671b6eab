"""What frames cost over time, and where that changes suddenly although nothing else does."""

import numpy as np
from numpy.typing import NDArray

from deepscan.evidence import ANALYZERS, Analyzer
from deepscan.evidence.exhibits import curve
from deepscan.media.packets import Stored, is_stored_in_packets, scene_changes, stored
from deepscan.media.source import Media
from deepscan.verdict import Evidence

NAMES = (
    "rate_mean_kbit_s",
    "rate_busiest_kbit_s",
    "bits_per_px",
    "steps",
    "step_largest_octaves",
    "step_largest_s",
)
LEAST_FRAMES = 12
WINDOW_S = 0.5
SIDE_S, LEAST_SIDE_FRAMES = 1.0, 12
STEP = 1.0
"""A step in the size of frames beyond what kind and motion explain, in octaves. Six genuine clips have none;
their largest is 0.57."""

_STIR = 0.1
LIMITS = (
    "Encoders spread bits as they see fit: light, focus, a hand before the lens or a network that slows down "
    "change the rate of genuine clips, too. A piece put in before the last encoding leaves no step."
)
Floats = NDArray[np.float64]


def testify(media: Media) -> Evidence:
    """Measure the rate over the whole clip, and steps in it where it was decoded.

    ``unusual`` is a step that neither a scene change nor motion explains.

    Raises:
        TooShortError: Fewer than twelve frames decode.
        MediaError: It does not decode.
    """
    clip = stored(media, LEAST_FRAMES)
    steps_N = steps(clip)
    peaks = _peaks(steps_N, _side(clip))
    largest = int(np.abs(steps_N).argmax())
    middle_N, rates_N = _rates(clip)
    width_px, height_px = clip.size_px
    figures = (
        _length_rate(clip),
        rates_N.max(),
        8 * clip.size_N.mean() / (width_px * height_px),
        len(peaks),
        abs(steps_N[largest]),
        clip.times_s[largest],
    )
    measured = {name: float(figure) for name, figure in zip(NAMES, figures, strict=True)}
    return Evidence(
        analyzer="bitrate",
        summary=_in_words(measured),
        measurements=measured,
        limits=LIMITS,
        finding="unusual" if peaks else "ordinary",
        curves=(
            curve(
                "rate",
                "Bits a second, half a second at a time; marked are steps that nothing to be seen explains.",
                middle_N,
                rates_N,
                ("s", "kbit/s"),
                [
                    (max(0.0, float(clip.times_s[at]) - WINDOW_S), float(clip.times_s[at]) + WINDOW_S)
                    for at in peaks
                ],
            ),
        ),
    )


def _step_s(clip: Stored) -> float:
    return max(float(np.median(np.diff(clip.times_s))), 1e-3)


def _length_rate(clip: Stored) -> float:
    length_s = float(clip.times_s[-1] - clip.times_s[0]) + _step_s(clip)
    return 8e-3 * float(clip.size_N.sum()) / length_s


def _rates(clip: Stored) -> tuple[Floats, Floats]:
    """Return the middles of windows in seconds, and the rates in them in kbit/s."""
    begin_s, end_s = float(clip.times_s[0]), float(clip.times_s[-1]) + _step_s(clip)
    count = max(1, int((end_s - begin_s) / WINDOW_S))
    edges_s = np.linspace(begin_s, end_s, count + 1)
    sums, _ = np.histogram(clip.times_s, edges_s, weights=clip.size_N)
    return (edges_s[1:] + edges_s[:-1]) / 2, 8e-3 * sums / np.diff(edges_s)


def _side(clip: Stored) -> int:
    return max(LEAST_SIDE_FRAMES, round(SIDE_S / _step_s(clip)))


def steps(clip: Stored) -> Floats:
    """Return by how much frames cost more after each place than before it, in octaves, float64 [N].

    It is the difference of the medians of a second on either side, of what kind and motion leave unexplained;
    0 near the ends, near scene changes and where nothing was decoded.
    """
    unexplained_N = _unexplained(clip)
    side, steps_N = _side(clip), np.zeros(len(clip.size_N))
    if clip.seen >= 2 * side:
        windows = np.lib.stride_tricks.sliding_window_view(unexplained_N, side)
        medians = np.median(windows, axis=1)
        steps_N[side : clip.seen - side + 1] = (medians[side:] - medians[:-side])[: clip.seen - 2 * side + 1]
    for at in np.flatnonzero(scene_changes(clip)).tolist():
        steps_N[max(0, at - side) : at + side] = 0.0
    return steps_N


def _unexplained(clip: Stored) -> Floats:
    """Return sizes in octaves less the median of their kind and what a line through motion predicts."""
    seen = clip.seen
    kinds = np.array(list(clip.kinds[:seen]))
    sizes_N = np.log2(np.maximum(clip.size_N[:seen], 1.0))
    for kind in sorted(set(kinds.tolist())):
        sizes_N[kinds == kind] -= np.median(sizes_N[kinds == kind])
    stir_N = np.log2(np.nan_to_num(clip.change_N[:seen]) + _STIR)
    stir_N -= stir_N.mean()
    spread = float((stir_N**2).sum())
    slope = float((stir_N * sizes_N).sum()) / spread if spread > 0 else 0.0
    return sizes_N - max(0.0, slope) * stir_N


def _peaks(steps_N: Floats, side: int) -> list[int]:
    """Return the places of the largest steps, no two within one side of each other."""
    found: list[int] = []
    left = np.abs(steps_N)
    while len(left) and left.max() > STEP:
        at = int(left.argmax())
        found.append(at)
        left[max(0, at - side) : at + side] = 0.0
    return sorted(found)


def _in_words(measured: dict[str, float]) -> str:
    words = (
        f"{measured['rate_mean_kbit_s']:.0f} kbit/s, {measured['bits_per_px']:.3f} bits a pixel; the busiest "
        f"half second has {measured['rate_busiest_kbit_s']:.0f} kbit/s"
    )
    times = 2 ** measured["step_largest_octaves"]
    if measured["steps"]:
        return (
            f"{words}; at {measured['step_largest_s']:.1f} s frames come to cost {times:.1f} times as much "
            "or as little, which no change of scene or motion explains."
        )
    return f"{words}; no sudden change beyond a factor of {times:.1f}."


ANALYZERS.register(
    "bitrate",
    Analyzer(
        name="bitrate",
        group="compression",
        summary="Bits over time and sudden changes that no scene change explains",
        measures=NAMES,
        accepts=is_stored_in_packets,
        testify=testify,
    ),
)
