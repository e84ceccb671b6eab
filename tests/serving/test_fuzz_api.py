"""The program that sends harmful files, and sixty of its files through the routes of this process."""

import asyncio
import collections
import contextlib
import os
import subprocess

import httpx
import numpy as np
import pytest

from benchmarks import fuzz_api
from benchmarks.fuzz_api import (
    MADE,
    MUTATIONS,
    Answered,
    Footprint,
    Sample,
    footprint,
    problem_of,
    samples,
    table,
)
from deepscan.detector import Detector
from deepscan.errors import MediaError
from deepscan.media.source import Limits, Media
from deepscan.serving.local import local_ensemble
from tests.material import encoded
from tests.serving.standins import FakeBackend, api_of
from tests.sounds import speech, wav
from tests.tiny_bundles import noise

ORIGINALS = [noise(0), encoded(np.zeros((40, 40, 3), np.uint8), "JPEG"), wav(speech(0.5))]


def test_the_same_seed_gives_the_same_files_and_another_gives_others():
    first, again, other = (list(samples(ORIGINALS, 30, seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_third_of_the_files_is_made_from_nothing_and_every_way_comes_up():
    found = collections.Counter(each.mutation for each in samples(ORIGINALS, 400, 0))
    made = {make.__name__ for make in MADE}
    assert set(found) == made | {mutate.__name__ for mutate in MUTATIONS}
    assert sum(found[name] for name in made) == 133


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__)
def test_a_mutation_changes_the_file_in_most_draws(mutate):
    changed = [mutate(*ORIGINALS[:2], np.random.default_rng(seed)) != ORIGINALS[0] for seed in range(20)]
    assert sum(changed) >= 15


@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
def test_what_is_made_from_nothing_is_a_typed_error_or_sound(make):
    limits = Limits(max_bytes=2**20)
    for seed in range(6):
        with contextlib.suppress(MediaError):
            media = Media.from_bytes(make(np.random.default_rng(seed)), "a", limits)
            assert media.facts.bytes <= limits.max_bytes


@pytest.mark.parametrize(
    ("status", "body", "kind", "wrong"),
    [
        (200, b'{"label": "fake"}', "fake", False),
        (200, b'{"label": "maybe"}', "maybe", True),
        (422, b'{"error": {"type": "MediaError", "message": "Cut."}}', "MediaError", False),
        (422, b'{"error": {"type": "MediaError", "message": ""}}', "MediaError", True),
        (422, b'{"detail": "x"}', "None", True),
        (500, b'{"error": {"type": "InternalError", "message": "x"}}', "InternalError", True),
        (500, b"Internal Server Error", "no JSON", True),
    ],
)
def test_only_verdicts_and_refusals_in_the_form_of_errors_are_wanted(status, body, kind, wrong):
    found, problem = problem_of(status, body)
    assert (found, bool(problem)) == (kind, wrong)


def test_growth_beyond_the_usual_is_told():
    before = Footprint(memory_bytes=100, descriptors=10, processes=1, temporaries=0)
    after = Footprint(memory_bytes=150, descriptors=30, processes=3, temporaries=1)
    assert after.grown(before, 50) == ["descriptors grew from 10 to 30", "temporaries grew from 0 to 1"]
    assert before.grown(before, 0) == []


def test_a_footprint_counts_memory_children_open_files_and_temporary_files(tmp_path):
    (tmp_path / "left").touch()
    before = footprint(os.getpid(), tmp_path)
    with (tmp_path / "left").open(), subprocess.Popen(["sleep", "60"]) as child:
        after = footprint(os.getpid(), tmp_path)
        child.kill()
    assert before.temporaries == 1
    assert before.memory_bytes > 2**20
    assert after.processes == before.processes + 1
    assert after.descriptors > before.descriptors


def test_whole_files_are_small_ones_of_each_type(tmp_path):
    for name, size_bytes in (("a.jpg", 5), ("b.jpg", 6), ("c.wav", 7), ("d.wav", 5000)):
        (tmp_path / name).write_bytes(bytes(size_bytes))
    found = fuzz_api.originals(tmp_path, most_bytes=100, each=1, seed=0)
    assert sorted(map(len, found))[1:] == [7]
    assert len(found[0]) in (5, 6)
    with pytest.raises(SystemExit, match="--most-kb"):
        fuzz_api.originals(tmp_path, most_bytes=1, each=1, seed=0)


def test_the_table_counts_by_mutation_and_by_kind():
    answers = [
        Answered(mutation=name, route="r", status=status, kind="K", seconds=1.0)
        for name, status in (("join", 200), ("join", 422), ("empty", 422))
    ]
    lines = table(answers).splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["mutation", "200", "422", "slowest"],
        ["empty", "0", "1", "1.0", "s"],
        ["join", "1", "1", "1.0", "s"],
    ]
    assert lines[-1].split() == ["3", "K"]


def bombarded(api, files, routes, keep=None):
    async def run():
        transport = httpx.ASGITransport(api, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await fuzz_api.bombard(client, files, routes, keep)

    return asyncio.run(run())


def test_sixty_harmful_files_get_an_answer_each(make_bundle):
    detector = Detector.load(make_bundle("fuzzed").path, "cpu")
    api = api_of(local_ensemble([detector]), limits=Limits(max_bytes=2**20, max_pixels=10**6))
    answers = bombarded(api, samples(ORIGINALS, 60, 0), ("image",))
    assert [answer.problem for answer in answers if answer.problem] == []
    assert len(answers) == 60
    assert len({answer.status for answer in answers}) >= 4


def test_a_file_that_is_answered_wrongly_is_kept(tmp_path):
    api = api_of(FakeBackend(RuntimeError("a bug")))
    broken = iter([Sample(mutation="join", data=noise())])
    (answer,) = bombarded(api, broken, ("image",), tmp_path / "kept")
    assert answer.status == 500
    assert "500" in answer.problem
    assert [path.read_bytes() for path in (tmp_path / "kept").iterdir()] == [noise()]
