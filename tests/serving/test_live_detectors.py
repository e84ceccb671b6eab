"""Live streams before real detectors: what is said of a window is what is said of the same file."""

import asyncio
import json
import struct

import numpy as np
import pytest

from deepscan import pipeline
from deepscan.detector import Detector
from deepscan.errors import UnsupportedMediaError
from deepscan.media.source import Media, Sampling
from deepscan.media.spectra import FrontEnd
from deepscan.media.windows import clip_of, read_frame, sound_of
from deepscan.modalities.audio import AudioPrep
from deepscan.modalities.video import VideoPrep
from deepscan.serving.live import Judge
from deepscan.verdict import Verdict
from tests.material import DrawnFace, draw, encoded
from tests.serving.test_live import Peer, build, talk
from tests.sounds import speech
from tests.tiny_bundles import fresh_bundle

TIMES_S = tuple(number / 5 for number in range(6))
RATE_HZ = 16_000
SIZE_PX = (160, 120)


def pictures() -> list[bytes]:
    faces = [DrawnFace(x_px=70 + 3 * number, y_px=60, radius_px=35) for number in range(len(TIMES_S))]
    return [encoded(draw(face, size_px=SIZE_PX), "JPEG", quality=90) for face in faces]


def judge_of(*detectors: Detector) -> Judge:
    async def judge(media: Media) -> Verdict:
        if not pipeline.plan(media, detectors):
            raise UnsupportedMediaError("No detector here looks at such media.")
        return await asyncio.to_thread(pipeline.analyze, media, detectors)

    return judge


def heard(detector: Detector, first: dict[str, object], messages: list[bytes]) -> list[dict[str, object]]:
    """Returns the answers to a stream of these messages that is then ended."""
    answers: list[dict[str, object]] = []

    async def story(peer: Peer) -> None:
        for message in [first, *messages, {"end": True}]:
            await peer.send(message)
        while (event := await peer.outbox.get())["type"] == "websocket.send":
            answers.append(event)
        assert event["code"] == 1000

    talk(build(judge_of(detector)), story)
    return answers


def last(answers: list[dict[str, object]]) -> dict[str, object]:
    return json.loads(str(answers[-1]["text"]))


def stream_of_pictures(detector: Detector) -> dict[str, object]:
    messages = [struct.pack("<d", t) + data for t, data in zip(TIMES_S, pictures(), strict=True)]
    first = {"frames": {"window_s": 4, "every_s": 1, "timed": True}}
    return last(heard(detector, first, messages))


def test_a_detector_of_clips_says_of_a_window_what_it_says_of_the_clip(tmp_path):
    prep = VideoPrep(sampling=Sampling(count=4), finder="haar", size_px=64)
    detector = Detector.load(fresh_bundle(tmp_path, "residual-gru", prep).path, "cpu")
    answer = stream_of_pictures(detector)
    live = [read_frame(data, t) for t, data in zip(TIMES_S, pictures(), strict=True)]
    alone = pipeline.analyze(clip_of(live), [detector])
    assert alone.probability is not None
    assert answer["verdict"]["probability"] == pytest.approx(alone.probability, abs=1e-6)
    assert (answer["running"]["basis"], answer["running"]["probability"]) == (
        "clip",
        answer["verdict"]["probability"],
    )
    assert answer["verdict"]["scores"][0]["parts"][0]["region"]["end_s"] <= answer["window_s"] + 0.2


def test_a_detector_of_pictures_says_of_the_newest_frame_what_it_says_of_the_picture(make_bundle):
    detector = Detector.load(make_bundle("live").path, "cpu")
    answer = stream_of_pictures(detector)
    alone = pipeline.analyze(Media.from_bytes(pictures()[-1], "a.jpg"), [detector])
    assert answer["verdict"]["media"]["sha256"] == alone.media.sha256
    assert answer["running"]["basis"] == "frames"
    assert (
        answer["running"]["probability"]
        == answer["verdict"]["probability"]
        == pytest.approx(alone.probability, abs=1e-6)
    )


def test_a_detector_of_sound_says_of_a_window_what_it_says_of_the_file(tmp_path):
    prep = AudioPrep(front_end=FrontEnd(kind="wave"), window_s=1.0, hop_s=1.0)
    detector = Detector.load(fresh_bundle(tmp_path, "sinc-resnet", prep).path, "cpu")
    samples = np.rint(speech(2.0) * 32767).astype("<i2").tobytes()
    first = {"sound": {"rate_hz": RATE_HZ, "window_s": 4, "every_s": 2}}
    answer = last(heard(detector, first, [samples[:20_000], samples[20_000:]]))
    alone = pipeline.analyze(sound_of(samples, RATE_HZ, "s16le"), [detector])
    assert alone.probability is not None
    assert answer["running"]["basis"] == "sound"
    assert answer["verdict"]["probability"] == pytest.approx(alone.probability, abs=1e-6)


def test_frames_before_a_detector_of_sound_are_an_error_that_leaves_the_stream_open(tmp_path):
    prep = AudioPrep(front_end=FrontEnd(kind="wave"), window_s=1.0, hop_s=1.0)
    detector = Detector.load(fresh_bundle(tmp_path, "sinc-resnet", prep).path, "cpu")
    assert stream_of_pictures(detector)["error"]["type"] == "UnsupportedMediaError"
