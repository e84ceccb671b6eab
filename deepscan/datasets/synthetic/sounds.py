"""Sets of sounds: a made-up voice, or a user's own recordings, and what vocoders make of them.

A fake is the re-synthesis of the very recording that it is paired with: words, pauses, length, level and
file format are those of the real one, and only the vocoder tells them apart.
"""

import logging
import pathlib
from typing import Any

import numpy as np

from deepscan.datasets.layout import digest, scan
from deepscan.datasets.synthetic.sets import File, Order, Progress, Source, write_set
from deepscan.datasets.synthetic.voice import RATE_HZ, draw_room, draw_speaker, record, speak
from deepscan.errors import AbstainError, ConfigError, DataError, MediaError
from deepscan.media.encode import encode_wav
from deepscan.media.source import Media
from deepscan.media.vocode import VOCODERS, Wave, level

VERSION = 1
"""Counted up when the same seed gives other sounds."""

LENGTHS_S = (3.0, 5.0)
"""Shortest and longest utterance."""

COPIED_S = (0.5, 30.0)
"""A recording that is shorter is left out; of a longer one the beginning is copied."""

_FAINT_RMS = 1e-3
_log = logging.getLogger(__name__)


def make_sounds(order: Order, progress: Progress | None = None) -> pathlib.Path:
    """Write utterances of made-up voices, each beside its copy by one of ``VOCODERS`` in turn.

    Args:
        order: ``count`` is 200 by default; ``size_px`` and ``recordings`` have no use.
        progress: Called with the pairs done and their number.

    Returns:
        The manifest.

    Raises:
        ConfigError: A setting has no use.
        DataError: The folder holds other things.
    """
    order.refuse(size_px="sounds have no pictures", recordings="the voices are made up")
    count = order.count or 200
    names = list(VOCODERS)

    def make(index: int) -> list[File]:
        rng = np.random.default_rng((order.seed, index))
        speaker, room = draw_speaker(rng), draw_room(rng)
        speech = speak(speaker, round(rng.uniform(*LENGTHS_S), 2), rng)
        wave_N = record(speech.wave_N, room, rng)
        truth = {"pitch_hz": round(speaker.pitch_hz, 1), "duration_s": wave_N.size / RATE_HZ}
        name = names[index % len(names)]
        copy_N = vocoded(wave_N, name, rng)
        return [_file(wave_N, "", truth), _file(copy_N, name, truth)]

    sources = [Source(name=f"utterance-{index:05}") for index in range(count // 2)]
    settings = {"kind": "sounds", "version": VERSION, "count": count, "seed": order.seed}
    return write_set(order.out, settings, sources, make, progress)


def copy_recordings(order: Order, progress: Progress | None = None) -> pathlib.Path:
    """Write a user's real recordings as 16 kHz WAV, each beside its copies by all of ``VOCODERS``.

    Sources and splits are those of the recordings. Recordings that do not decode, are silent or shorter
    than ``COPIED_S`` are left out, with a warning in the log.

    Args:
        order: ``recordings`` is needed: a folder or manifest whose rows say real or fake; the fake ones
            are passed over. ``count`` and ``size_px`` have no use.
        progress: Called with the recordings done and their number.

    Returns:
        The manifest.

    Raises:
        ConfigError: ``recordings`` is absent, or a setting has no use.
        DataError: The recordings cannot be listed, none is real, or the folder holds other things.
    """
    order.refuse(count="every recording is copied", size_px="sounds have no pictures")
    if order.recordings is None:
        msg = "There is nothing to copy: give recordings, a folder with a folder 'real' in it, or a manifest."
        raise ConfigError(msg)
    table = scan(order.recordings)
    rows = [row for row in table.to_pylist() if row["label"] == 0]
    if not rows:
        msg = f"{str(order.recordings)!r} lists no real recordings; copies are made of real ones only."
        raise DataError(msg)

    def make(index: int) -> list[File]:
        path = pathlib.Path(rows[index]["path"])
        wave_N = _heard(path)
        if wave_N is None:
            return []
        rng = np.random.default_rng((order.seed, index))
        truth = {"copied_from": path.name, "duration_s": wave_N.size / RATE_HZ}
        copies = [_file(vocoded(wave_N, name, rng), name, truth) for name in VOCODERS]
        return [_file(wave_N, "", truth), *copies]

    sources = [Source(name=row["source"], split=row["split"]) for row in rows]
    settings = {"kind": "copies", "version": VERSION, "seed": order.seed, "of": digest(table)}
    return write_set(order.out, settings, sources, make, progress)


def vocoded(wave_N: Wave, vocoder: str, rng: np.random.Generator) -> Wave:
    """Return the copy of a recording by one of ``VOCODERS``, as loud as the recording.

    Args:
        wave_N: Sound at 16 kHz, float32 [N] in [-1, 1].
        vocoder: Its name.
        rng: What the vocoder draws.
    """
    return level(VOCODERS[vocoder](wave_N, rng), float(np.sqrt(np.mean(np.square(wave_N)))))


def _heard(path: pathlib.Path) -> Wave | None:
    """Return the beginning of a recording; None, with a warning, where there is nothing to copy."""
    try:
        wave_N = Media.from_path(path).sound_N[: int(COPIED_S[1] * RATE_HZ)]
    except (MediaError, AbstainError) as error:
        _log.warning("Left out: %s", error)
        return None
    if wave_N.size < COPIED_S[0] * RATE_HZ or np.sqrt(np.mean(np.square(wave_N))) < _FAINT_RMS:
        _log.warning("Left out: %r is silent or shorter than %.1f s.", str(path), COPIED_S[0])
        return None
    return wave_N


def _file(wave_N: Wave, generator: str, truth: dict[str, Any]) -> File:
    return File(data=encode_wav(wave_N), suffix=".wav", generator=generator, truth=truth)
