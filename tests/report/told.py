"""Verdicts for the tests of reports: of a clip with every kind of evidence, and of a picture."""

import dataclasses
import functools

import numpy as np

from deepscan import verdict as v
from deepscan.calibration import OperatingPoint
from deepscan.evidence.exhibits import curve, heat_map, thumbnail
from deepscan.media.source import Media
from deepscan.report.verdict import Context
from tests.clips import faces_clip, spoken
from tests.material import DrawnFace, draw, encoded
from tests.sounds import speech

HOSTILE = "\"'><img src=x onerror=alert(1)>&{{x}}.png"
FACE = (0.3, 0.15, 0.7, 0.85)
CLIP_S = 2.0
POINT = OperatingPoint(threshold=0.5, low=0.3, high=0.7, max_error_rate=0.05, real=120, fake=100)
CONTEXT = Context(
    point=POINT,
    points={"faces-1": POINT},
    tested={"faces-1": "On its own test files its AUC was 0.93."},
    made_at="2026-01-02 03:04 UTC",
)
COMMAND = "deepscan report 'a file.mp4' --bundle b -o report.html"


@functools.cache
def picture() -> Media:
    face = draw(DrawnFace(x_px=160, y_px=120, radius_px=70), size_px=(320, 240))
    return Media.from_bytes(encoded(face), HOSTILE)


@functools.cache
def moving() -> Media:
    frames = ([DrawnFace(x_px=80 + number, y_px=80, radius_px=45)] for number in range(40))
    return Media.from_bytes(spoken(faces_clip(*frames, rate_hz=20), speech(CLIP_S)), "talk.mkv")


def bump(height: int = 48, width: int = 64) -> np.ndarray:
    """A map that is highest in the middle."""
    y_H1, x_1W = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return np.exp(-4 * (x_1W**2 + y_H1**2))


def looked(region: v.Region, name: str = "attribution") -> v.Evidence:
    """What a detector looked at, as evidence of the group ``model``."""
    where = heat_map(name, "Where the detector found its traces.", bump(), (0.0, 1.0), region, "share")
    return v.Evidence(
        analyzer="faces heat map",
        group="model",
        summary="The detector looked at the mouth.",
        measurements={"inside_face_share": 0.91},
        limits="A map shows what moved the score and not what was changed.",
        finding="ordinary",
        pictures=(where,),
        elapsed_ms=120.0,
    )


def spectrum(hostile: str = "") -> v.Evidence:
    hz_N = np.linspace(0, 8000, 300)
    db_N = -20 - hz_N / 200 + 3 * np.sin(hz_N / 200)
    db_N[100:110] = np.nan
    return v.Evidence(
        analyzer=f"band limit{hostile}",
        group="spectrum",
        summary=f"The sound ends at 7200 Hz{hostile}.",
        measurements={"cutoff_hz": 7200.0, "edge_db": 31.27, "flat_share": 0.02},
        limits="Telephones cut there too.",
        finding="unusual",
        facts={f"codec{hostile}": f"aac{hostile}", "encoder": "Lavf60"},
        pictures=(thumbnail("spectrogram", "The spectrogram.", (bump() * 255).astype(np.uint8)),),
        curves=(curve("power", "Power over frequency.", hz_N, db_N, ("hz", "db"), [(7200, 9000)]),),
        elapsed_ms=33.4,
    )


def provenance(hostile: str = "") -> v.Evidence:
    said = f"Signed by a camera of Example Corp.: made by a generator{hostile}."
    return v.Evidence(
        analyzer="credentials",
        group="provenance",
        summary="A content credential with a signature that holds.",
        measurements={"signatures": 1.0},
        limits="Whoever has the key signs anything.",
        finding="telling",
        declaration=said,
        facts={"issuer": "Example Corp."},
        elapsed_ms=2.0,
    )


def silent() -> v.Evidence:
    return v.Evidence(
        analyzer="blinks", group="face", summary="No face was open-eyed.", measurements={}, limits="",
        finding="none", reason="no-face", elapsed_ms=1.0,
    )  # fmt: skip


def score(detector: str, probability: float, parts: tuple[v.Part, ...]) -> v.Score:
    return v.Score(
        detector=detector, bundle=f"{detector}-1", modality="video", logit=1.0, probability=probability,
        label="fake" if probability > 0.7 else "real", parts=parts, measures={"offset_frames": -7.0},
    )  # fmt: skip


def of_clip() -> v.Verdict:
    """A verdict with two detectors, an abstention, moments, and evidence of all findings."""
    seen = tuple(
        v.Part(probability=p, region=v.Region(box=FACE, start_s=n * 0.25, end_s=n * 0.25 + 0.25))
        for n, p in enumerate((0.1, 0.3, 0.55, 0.93, 0.88, 0.6, 0.2, 0.1))
    )
    heard = tuple(
        v.Part(probability=p, region=v.Region(start_s=float(n), end_s=n + 1.0))
        for n, p in enumerate((0.2, 0.45))
    )
    silence = v.Abstention(
        detector="lips", bundle="lips-1", modality="av", reason="too-short", message="Give a second or more."
    )
    return v.Verdict(
        label="fake",
        probability=0.78,
        uncertainty=v.Uncertainty(low=0.6, high=0.9, files=25, entropy=0.7, disagreement=0.28),
        scores=(score("faces", 0.9, seen), score("voices", 0.35, heard)),
        abstentions=(silence,),
        evidence=(
            spectrum(), silent(), looked(v.Region(box=FACE, start_s=0.75, end_s=1.0)), provenance()
        ),
        media=dataclasses.replace(moving().facts, notes=("The index is broken.",)),
        bundles=("faces-1", "lips-1", "voices-1"),
        elapsed_ms=480.0,
    )  # fmt: skip


def of_picture(hostile: str = "") -> v.Verdict:
    parts = (v.Part(probability=0.87, region=v.Region(box=FACE)),)
    given = score(f"faces{hostile}", 0.87, parts)
    return v.Verdict(
        label="fake",
        probability=0.87,
        uncertainty=v.Uncertainty(low=0.74, high=0.96, files=120),
        scores=(given,),
        abstentions=(),
        evidence=(looked(v.Region(box=(0.0, 0.0, 1.0, 1.0))), spectrum(hostile), provenance(hostile)),
        media=picture().facts,
        bundles=("faces-1",),
        elapsed_ms=48.0,
    )


def undecided() -> v.Verdict:
    """A verdict of a file that no detector could judge."""
    return dataclasses.replace(
        of_picture(), label="inconclusive", probability=None, uncertainty=None, scores=(), evidence=()
    )
