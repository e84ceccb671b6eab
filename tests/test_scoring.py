import json

import numpy as np
import pytest
from PIL import Image

from deepscan.ensemble import select
from deepscan.errors import DataError
from deepscan.evaluation import Judging
from deepscan.scoring import read_verdicts, score_folder
from deepscan.watch import LogWatch

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(240)]


class Counting(LogWatch):
    def __init__(self):
        super().__init__()
        self.seen = []

    def advance(self, done, total):
        self.seen.append((done, total))


@pytest.fixture
def inbox(tmp_path):
    folder = tmp_path / "inbox"
    (folder / "inner").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(5):
        picture = rng.integers(0, 256, (70, 80, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / ("inner" if i % 2 else "") / f"{i}.png")
    (folder / "note.jpg").write_text("no picture", encoding="utf-8")
    (folder / ".hidden").write_bytes(b"x")
    return folder


def test_every_file_gets_a_verdict_or_its_error_and_a_second_run_only_does_what_is_new(
    ray_cluster, make_bundle, inbox, tmp_path
):
    bundle, out = make_bundle("scorer").path, tmp_path / "out"
    watch = Counting()
    counts = score_folder(inbox, select([bundle]), out, Judging(device="cpu"), watch)
    assert sum(counts.values()) == 6
    assert counts["error"] == 1
    assert watch.seen[0] == (0, 6)
    assert watch.seen[-1] == (6, 6)
    [error] = [line for line in read_verdicts(out) if line["label"] == "error"]
    assert error["error"] == "UnsupportedMediaError"
    assert error["file"].endswith("note.jpg")

    Image.new("RGB", (64, 64)).save(inbox / "new.png")
    again = Counting()
    counts = score_folder(inbox, select([bundle]), out, Judging(device="cpu"), again)
    assert again.seen == [(6, 7), (7, 7)]
    assert sum(counts.values()) == 7
    assert len({json.dumps(line["file"]) for line in read_verdicts(out)}) == 7


def test_a_folder_without_files_is_an_error(tmp_path):
    with pytest.raises(DataError, match="holds no files"):
        score_folder(tmp_path, select([]), tmp_path / "out", Judging(), LogWatch())
