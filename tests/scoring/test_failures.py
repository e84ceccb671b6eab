"""Scoring while processes and machines are taken away: no file is lost, none has two rows."""

import os
import signal
from collections import Counter

import numpy as np
import pytest
import ray

from deepscan.ensemble import select
from deepscan.models.catalog import load_plugin
from deepscan.scoring.parts import read_scores
from deepscan.scoring.plan import Work
from deepscan.scoring.run import open_task, score
from deepscan.watch import LogWatch
from tests.material import encoded
from tests.scoring.drivers import PROCESSES, Telling, drive, lose_a_node
from tests.tiny_bundles import PLUGIN, WHOLE, fresh_bundle, noise, tiny_bundle

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]
KILLS = 10


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny").path


@pytest.fixture(scope="module")
def make_inbox(tmp_path_factory):
    """Returns ``make_inbox(files)``: pictures of 20 contents and files that are none, under many names."""

    def make(files):
        folder = tmp_path_factory.mktemp("inbox")
        contents = [noise(i) for i in range(19)] + [b"no picture"]
        for i in range(files):
            path = folder / f"{i // 100:02}" / f"{i:05}.png"
            path.parent.mkdir(exist_ok=True)
            if i < len(contents):
                path.write_bytes(contents[i])
            else:
                os.link(folder / "00" / f"{i % len(contents):05}.png", path)
        return folder

    return make


def finish(inbox, out, bundle, watch, plugin=PLUGIN, **more):
    work = Work(device="cpu", actors=2, plugin=plugin, **more)
    return score(open_task(str(inbox), str(out), select([bundle]), work, watch), watch)


def assert_one_row_a_file(inbox, out):
    rows = Counter(row["path"] for row in read_scores(out))
    expected = {str(path) for path in inbox.rglob("*.png")}
    assert (expected - set(rows), set(rows) - expected) == (set(), set()), "lost, or never there"
    assert {path: count for path, count in rows.items() if count > 1} == {}, "repeated"


def test_killed_at_ten_random_moments_no_row_is_lost_and_none_repeated(
    ray_cluster, make_inbox, bundle, tmp_path
):
    inbox, out, rng = make_inbox(2000), tmp_path / "scores.parquet", np.random.default_rng(0)
    address, given = ray.get_runtime_context().gcs_address, (str(inbox), str(out), str(bundle))
    done = []
    for kill in range(KILLS):
        telling = Telling(PROCESSES.Event(), PROCESSES.Event(), PROCESSES.Value("i", 0))
        run = PROCESSES.Process(target=drive, args=(address, given, 80.0, telling))
        run.start()
        # Three kills fall into the start of the actors, the others into their work.
        assert (telling.begun if kill % 4 == 1 else telling.moving).wait(120)
        run.join(rng.uniform(0, 1.5))
        assert run.is_alive(), "it was killed in the middle"
        run.kill()
        run.join()
        assert run.exitcode == -signal.SIGKILL
        done.append(telling.done.value)
    assert 0 < max(done) < 2000
    assert len(set(done)) > 3, "the moments were different ones"
    finish(inbox, out, bundle, LogWatch())
    assert_one_row_a_file(inbox, out)
    assert Counter(row["status"] for row in read_scores(out)) == {"scored": 1900, "error": 100}


def test_a_machine_is_lost_and_the_work_finishes(make_inbox, bundle, tmp_path):
    inbox, out, answer = make_inbox(600), tmp_path / "scores.parquet", PROCESSES.Queue()
    run = PROCESSES.Process(target=lose_a_node, args=((str(inbox), str(out), str(bundle)), answer))
    run.start()
    try:
        counts, lost_actors = answer.get(timeout=240)
    finally:
        run.join(20)
        run.kill()
    assert lost_actors >= 1, "the machine had work"
    assert sum(counts.values()) == 600
    assert_one_row_a_file(inbox, out)


class Reaping(LogWatch):
    """A Watch that kills an actor with SIGKILL as soon as files are done."""

    killed = 0

    def advance(self, done, total):
        if done and not self.killed:
            actors = [a for a in ray._private.state.actors().values() if a["State"] == "ALIVE"]
            self.killed = next(a["Pid"] for a in actors if "MapWorker" in a["ActorClassName"])
            os.kill(self.killed, signal.SIGKILL)


def test_an_actor_dies_and_its_piece_is_done_by_another(ray_cluster, make_inbox, bundle, tmp_path):
    inbox, out, watch = make_inbox(400), tmp_path / "scores.parquet", Reaping()
    counts = finish(inbox, out, bundle, watch, rate_hz=100.0)
    assert watch.killed
    assert sum(counts.values()) == 400
    assert_one_row_a_file(inbox, out)


FRAGILE = PLUGIN.with_name("fragile.py")


def test_files_that_fail_or_end_whoever_judges_them_do_not_keep_the_others_back(
    ray_cluster, make_inbox, tmp_path
):
    load_plugin(FRAGILE)
    bundle = fresh_bundle(tmp_path / "fragile", "fragile", WHOLE, plugin=FRAGILE.name).path
    inbox, out = make_inbox(60), tmp_path / "scores.parquet"
    for name, level in (("black.png", 0), ("white.png", 255)):
        (inbox / name).write_bytes(encoded(np.full((40, 40, 3), level, np.uint8)))
    finish(inbox, out, bundle, LogWatch(), FRAGILE)
    assert_one_row_a_file(inbox, out)
    [ended] = [row for row in read_scores(out) if row["error"] == "ResourceError"]
    assert ended["path"].endswith("white.png")
    assert "2 processes ended" in ended["message"]
    [failed] = [row for row in read_scores(out) if row["error"] == "DeepscanError"]
    assert failed["path"].endswith("black.png")
    assert failed["message"] == "A defect: judging it raised ZeroDivisionError. Ray's log says where."
