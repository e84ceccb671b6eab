import asyncio
import dataclasses
import threading
from typing import Any

import pytest

from deepscan import pipeline
from deepscan.errors import ConfigError, CorruptMediaError, DecoderCrashedError, NoFaceError, OverloadedError
from deepscan.media.source import Limits, Media, Sampling
from deepscan.modalities.image import ImagePrep
from deepscan.modalities.video import VideoPrep
from deepscan.serving.config import ServeArgs
from deepscan.serving.preparing import Workbench, local_bench, stage_bench
from deepscan.verdict import FAILED
from tests.clips import clip
from tests.material import DrawnFace, draw

PREP = ImagePrep(region="whole", size_px=32)
FACE = ImagePrep(finder="haar", size_px=32)


@pytest.fixture
def media(picture):
    return Media.from_bytes(picture(0), "a.png")


@pytest.fixture
def counted(monkeypatch):
    """How often a file was prepared."""
    calls = []
    prepare = pipeline.prepare
    monkeypatch.setattr(pipeline, "prepare", lambda *given: calls.append(given) or prepare(*given))
    return calls


def prepared(bench: Workbench, *asked: tuple[Any, ...]) -> list[Any]:
    async def work() -> list[Any]:
        return [await bench.prepare(*each) for each in asked]

    return asyncio.run(work())


def test_a_file_is_prepared_once_and_told_what_it_is_like(media, picture, counted):
    renamed = Media.from_bytes(picture(0), "b.png")
    first, again = prepared(Workbench(cache_bytes=10**6), (PREP, media), (PREP, renamed))
    assert len(counted) == 1
    assert again.prepared is first.prepared
    assert first.statistics["parts"] == 1
    assert 0 < first.statistics["pixels_mean"] < 1
    assert first.elapsed_ms > again.elapsed_ms >= 0


def test_another_prep_another_file_and_no_room_are_prepared_anew(media, picture, counted):
    other = Media.from_bytes(picture(1), "a.png")
    bench = Workbench(cache_bytes=10**6)
    prepared(bench, (PREP, media), (PREP, other), (ImagePrep(region="whole", size_px=40), media))
    assert len(counted) == 3
    prepared(Workbench(cache_bytes=0), (PREP, media), (PREP, media))
    assert len(counted) == 5


def test_a_reason_to_abstain_is_remembered_too(media, counted):
    first, again = prepared(Workbench(cache_bytes=10**6), (FACE, media), (FACE, media))
    assert isinstance(first.prepared, NoFaceError)
    assert again.prepared is first.prepared
    assert (len(counted), first.statistics) == (1, {})


def test_what_does_not_decode_is_a_value_and_is_not_remembered(picture, counted):
    broken = Media.from_bytes(picture(0)[:4000], "a.png")
    first, again = prepared(Workbench(cache_bytes=10**6), (PREP, broken), (PREP, broken))
    assert isinstance(first.prepared, CorruptMediaError)
    assert isinstance(again.prepared, CorruptMediaError)
    assert len(counted) == 2


def test_frames_are_another_prep():
    film = Media.from_bytes(clip([draw(DrawnFace(x_px=80 + i)) for i in range(8)]), "a.mp4")
    prep = VideoPrep(sampling=Sampling(count=4), size_px=32, finder="haar")
    bench = Workbench(cache_bytes=10**7)
    four, three, two = prepared(bench, (prep, film), (prep, film, 3), (prep, film, 2))
    assert [len(each.prepared[0]["frames"]) for each in (four, three)] == [4, 3]
    assert isinstance(two.prepared, ConfigError)
    assert "min_frames" in str(two.prepared)


def test_a_full_bench_refuses(media, monkeypatch):
    go_on = threading.Event()
    monkeypatch.setattr(pipeline, "prepare", lambda *_: go_on.wait(10) and [])

    async def crowd() -> None:
        bench = Workbench(at_once=1, max_queued=1)
        tasks = [asyncio.create_task(bench.prepare(PREP, media)) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(OverloadedError, match="1 files wait"):
            await bench.prepare(PREP, media)
        with pytest.raises(OverloadedError):
            await bench.testify(media)
        go_on.set()
        await asyncio.gather(*tasks)

    asyncio.run(crowd())


def untimed(evidence):
    return [dataclasses.replace(each, elapsed_ms=0.0) for each in evidence]


@pytest.mark.parametrize(("make", "processes"), [(local_bench, 2), (stage_bench, 1)])
def test_decoding_is_apart_where_that_is_wished(make, processes, picture):
    bench = make(ServeArgs(bundles=("a",), decoding={"processes": 2}))
    try:
        assert bench.decoders._slots._initial_value == processes
        media = asyncio.run(bench.probe(picture(0), "a.png", Limits()))
        apart, here = prepared(bench, (PREP, media)), prepared(Workbench(), (PREP, media))
        assert (apart[0].prepared[0]["pixels"] == here[0].prepared[0]["pixels"]).all()
        assert untimed(asyncio.run(bench.testify(media))) == untimed(pipeline.testify_all(media))
    finally:
        bench.close()
    assert make(ServeArgs(bundles=("a",), decoding={"processes": 0})).decoders is None


def test_a_file_that_ends_its_decoder_leaves_the_reason_in_the_place_of_evidence(media, monkeypatch):
    bench = stage_bench(ServeArgs(bundles=("a",)))

    def died(media):
        raise DecoderCrashedError("the decoder died of it")

    monkeypatch.setattr(bench.decoders, "testify", died)
    try:
        found = asyncio.run(bench.testify(media))
    finally:
        bench.close()
    assert {each.analyzer for each in found} == {each.analyzer for each in pipeline.testify_all(media)}
    assert {(each.finding, each.reason, each.summary) for each in found} == {
        ("none", FAILED, "the decoder died of it")
    }


def test_evidence_comes_from_a_decoder_as_it_was_given():
    from tests.sounds import speech, wav

    voice = Media.from_bytes(wav(speech(1.5)), "a.wav")
    bench = stage_bench(ServeArgs(bundles=("a",)))
    try:
        found = asyncio.run(bench.testify(voice))
    finally:
        bench.close()
    assert untimed(found) == untimed(pipeline.testify_all(voice))
    assert len(found) >= 1
